//! The list of recording rules that a Prometheus server has, read strictly: what is not plainly all of it is a failure.

use std::collections::BTreeMap;
use std::future::Future;

use crate::measure::look::Missing;
use crate::measure::scrape::Failure;

/// A recording rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name of what it records.
    pub record: String,
    /// How that is computed.
    pub expression: String,
    /// The labels that it adds.
    pub labels: BTreeMap<String, String>,
}

impl Rule {
    /// The value of a label; empty when it does not add it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A server that lists its rules: the real one, or one of a test.
pub trait Rules: Send + Sync + 'static {
    /// The recording rules whose labels one of these selectors matches; a server that does not know the parameter lists more.
    ///
    /// # Errors
    /// When the whole of the list cannot be had; the failure says why.
    fn rules(&self, selectors: &[String]) -> impl Future<Output = Result<Vec<Rule>, Failure>> + Send;
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Data {
    groups: Vec<Group>,
}

#[derive(serde::Deserialize)]
struct Group {
    #[serde(default)]
    rules: Vec<Raw>,
}

#[derive(serde::Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    query: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Reads the body of an answer with this HTTP status.
///
/// # Errors
/// `Partial` when it warns, `QueryFailed` when it is an error or not such a list.
pub(in crate::measure) fn read(status: u16, body: &[u8]) -> Result<Vec<Rule>, Failure> {
    let failed = |message: String| Failure::new(Missing::QueryFailed, message);
    let answer = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer,
        Err(_) if status != 200 => return Err(failed(format!("HTTP {status} for /api/v1/rules"))),
        Err(error) => {
            let words = "is no list of rules as Prometheus, Thanos and Mimir give it";
            return Err(failed(format!("the answer of /api/v1/rules {words}: {error}; check the endpoint's url")));
        }
    };
    if status != 200 || answer.status != "success" {
        let said: String = answer.error.chars().take(300).collect();
        return Err(failed(format!("HTTP {status} for /api/v1/rules: {said}")));
    }
    if !answer.warnings.is_empty() {
        let said: String = answer.warnings.join("; ").chars().take(300).collect();
        return Err(Failure::new(Missing::Partial, said));
    }
    let Some(data) = answer.data else { return Err(failed("the answer of /api/v1/rules holds no groups".to_owned())) };
    let rules = data.groups.into_iter().flat_map(|group| group.rules).filter(|rule| rule.kind == "recording");
    let rules = rules.map(|Raw { name, query, labels, .. }| Rule {
        record: name,
        expression: query,
        labels: labels.unwrap_or_default(),
    });
    Ok(rules.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn recording_rules_are_read_from_all_groups() {
        let body = r#"{"status":"success","data":{"groups":[
            {"name":"a","file":"f","rules":[
                {"name":"slo:x","query":"vector(1)","labels":{"slo":"s"},"health":"ok","type":"recording"},
                {"state":"inactive","name":"Burns","query":"1 > 0","duration":0,"labels":{},"alerts":[],"type":"alerting"}]},
            {"name":"b","rules":[{"name":"y","query":"z","health":"unknown","type":"recording"}]}]}}"#;
        let rules = read(200, body.as_bytes()).unwrap();
        let told = rules.iter().map(|rule| (rule.record.as_str(), rule.expression.as_str(), rule.label("slo")));
        assert_eq!(told.collect::<Vec<_>>(), [("slo:x", "vector(1)", "s"), ("y", "z", "")]);
    }

    #[test]
    fn what_is_not_all_of_the_list_is_a_failure() {
        let why = |status, body: &str| read(status, body.as_bytes()).unwrap_err().why;
        let none = r#""status":"success","data":{"groups":[]}"#;
        assert_eq!(read(200, format!("{{{none}}}").as_bytes()).unwrap(), []);
        assert_eq!(why(200, &format!(r#"{{{none},"warnings":["a ruler is away"]}}"#)), Missing::Partial);
        for (status, body) in [
            (200, "<html>"),
            (404, "page not found"),
            (200, r#"{"status":"success"}"#),
            (200, r#"{"status":"error","error":"no"}"#),
            (503, r#"{"status":"success","data":{"groups":[]}}"#),
            (200, r#"{"status":"success","data":{"groups":[{"rules":[{"type":"recording"}]}]}}"#),
        ] {
            assert_eq!(why(status, body), Missing::QueryFailed, "{status} {body}");
        }
    }
}
