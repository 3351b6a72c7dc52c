//! What a Prometheus server answers, read strictly: what is not plainly all of the data is a failure.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::look::Missing;
use super::scrape::Failure;
use crate::config::PodLabels;

/// One series of an answer. Most queries have no labels but those of the namespace and the pod, or of the Deployment; one is
/// empty where the answer has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// The label that the endpoint has for the namespace.
    pub namespace: String,
    /// The label that the endpoint has for the pod.
    pub pod: String,
    /// The label `deployment`, which queries about budgets make of the pod's name.
    pub deployment: String,
    /// All other labels but the metric's name.
    pub others: Vec<(String, String)>,
    /// The points in time, earliest first: just one of an instant query.
    pub points: Vec<Point>,
}

impl Series {
    /// Every label that is not empty, by name.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = [("deployment", &self.deployment), ("namespace", &self.namespace), ("pod", &self.pod)];
        let known = known.into_iter().map(|(name, value)| (name, value.as_str()));
        let others = self.others.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut labels = known.chain(others).filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>();
        labels.sort_unstable();
        labels.into_iter()
    }
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// Any float, also NaN and the infinities.
    pub value: f64,
}

/// How much of a server's message is passed on.
const MESSAGE_LENGTH: usize = 300;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    status: Option<String>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    /// Said by servers that ask several stores, when one of them did not answer.
    #[serde(default)]
    is_partial: bool,
}

#[derive(serde::Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "camelCase")]
enum Data<'a> {
    Vector(#[serde(borrow)] Vec<Raw<'a>>),
    Matrix(#[serde(borrow)] Vec<Raw<'a>>),
    Scalar(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(serde::Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    metric: Labels<'a>,
    value: Option<(Seconds, Number)>,
    #[serde(default)]
    values: Vec<(Seconds, Number)>,
}

/// Names and values, but for the metric's name. Names are seldom escaped, and then borrowed from the body.
struct Labels<'a>(Vec<(Cow<'a, str>, String)>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Labels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<'de>, A::Error> {
                let mut labels = Vec::with_capacity(2);
                while let Some(LabelName(name)) = map.next_key()? {
                    let value = map.next_value::<String>()?;
                    if name != "__name__" {
                        labels.push((name, value));
                    }
                }
                Ok(Labels(labels))
            }
        }
        from.deserialize_map(Map)
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct LabelName<'a>(#[serde(borrow)] Cow<'a, str>);

/// A time as JSON has it, in seconds.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Seconds(f64);

/// A float as Prometheus writes it: in a string, since JSON has no NaN.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(|_| E::custom("not a number in a string"))
            }
        }
        from.deserialize_str(Text)
    }
}

/// Reads the body of an answer with this HTTP status.
///
/// # Errors
/// `TimedOut` when the server says so, `Partial` when it warns or says that data is lacking, `QueryFailed` for any other error
/// of it and for what is not its API.
pub(super) fn read(status: u16, body: &[u8], labels: &PodLabels) -> Result<Vec<Series>, Failure> {
    let answer = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer,
        Err(_) if status == 504 => return Err(Failure::new(Missing::TimedOut, "HTTP 504")),
        Err(_) if status != 200 => return Err(Failure::new(Missing::QueryFailed, format!("HTTP {status}"))),
        Err(error) => {
            let message =
                format!("the answer is not that of a Prometheus query API: {error}; check the endpoint's url");
            return Err(Failure::new(Missing::QueryFailed, message));
        }
    };
    if status != 200 || answer.status.as_deref() != Some("success") {
        let kind = answer.error_type.unwrap_or_default();
        let why = if kind == "timeout" || status == 504 { Missing::TimedOut } else { Missing::QueryFailed };
        let said = answer.error.unwrap_or_else(|| "no message".to_owned());
        return Err(Failure::new(why, clip(format!("HTTP {status} {kind}: {said}"))));
    }
    if !answer.warnings.is_empty() || answer.is_partial {
        let said = if answer.is_partial { "a part of the data only".to_owned() } else { answer.warnings.join("; ") };
        return Err(Failure::new(Missing::Partial, clip(said)));
    }
    if !answer.infos.is_empty() {
        // Remarks on the query, not on the data: for example that a name does not end in _total.
        tracing::debug!(infos = ?answer.infos, "Prometheus remarked on a query");
    }
    match answer.data {
        Some(Data::Vector(series) | Data::Matrix(series)) => {
            series.into_iter().map(|series| series.read(labels)).collect()
        }
        _ => Err(Failure::new(Missing::QueryFailed, "the answer holds no series")),
    }
}

impl Raw<'_> {
    fn read(self, labels: &PodLabels) -> Result<Series, Failure> {
        let points = self.value.into_iter().chain(self.values);
        let points =
            points.map(|(Seconds(at), Number(value))| Point { at: milliseconds(at), value }).collect::<Vec<_>>();
        if points.is_empty() {
            let message = "a series has no plain numbers; a native histogram is no counter";
            return Err(Failure::new(Missing::QueryFailed, message));
        }
        let mut series = Series { points, ..Series::default() };
        for (name, value) in self.metric.0 {
            match &*name {
                name if name == &*labels.namespace => series.namespace = value,
                name if name == &*labels.pod => series.pod = value,
                "deployment" => series.deployment = value,
                _ => series.others.push((name.into_owned(), value)),
            }
        }
        Ok(series)
    }
}

/// Milliseconds since the epoch of a time in seconds; out of range, the bound.
pub(super) fn milliseconds(seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "a float that does not fit becomes the bound")]
    let milliseconds = (seconds * 1000.0).round() as i64;
    milliseconds
}

fn clip(message: String) -> String {
    match message.char_indices().nth(MESSAGE_LENGTH) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_default(status: u16, body: &[u8]) -> Result<Vec<Series>, Failure> {
        read(status, body, &PodLabels::default())
    }

    fn why(status: u16, body: &str) -> Missing {
        read_default(status, body.as_bytes()).expect_err(body).why
    }

    #[test]
    fn a_vector_and_a_matrix_are_series_of_points() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"namespace":"shop","pod":"a","code":"500"},"value":[1700000000.5,"3"]},
            {"metric":{},"value":[1700000000,"NaN"]}]},"infos":["x"]}"#;
        let series = read_default(200, body.as_bytes()).unwrap();
        assert_eq!(series[0].points, [Point { at: 1_700_000_000_500, value: 3.0 }]);
        assert_eq!((series[0].namespace.as_str(), series[0].pod.as_str()), ("shop", "a"));
        assert_eq!(series[0].others, [("code".to_owned(), "500".to_owned())]);
        assert!(series[1].points[0].value.is_nan() && series[1].pod.is_empty());
        let body = r#"{"data":{"result":[{"metric":{"pod":"a"},"values":[[1,"+Inf"],[2,"1e+06"]]}],"resultType":"matrix"},
            "status":"success"}"#;
        let points = read_default(200, body.as_bytes()).unwrap().remove(0).points;
        assert_eq!(points, [Point { at: 1000, value: f64::INFINITY }, Point { at: 2000, value: 1e6 }]);
    }

    #[test]
    fn namespace_and_pod_are_the_labels_that_the_endpoint_has_for_them() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"k\u0038s_pod":"a","ns":"shop","pod":"b"},"value":[1,"3"]}]}}"#;
        let labels = PodLabels { namespace: "ns".into(), pod: "k8s_pod".into(), ..PodLabels::default() };
        let series = read(200, body.as_bytes(), &labels).unwrap().remove(0);
        assert_eq!((series.namespace.as_str(), series.pod.as_str()), ("shop", "a"));
        assert_eq!(series.others, [("pod".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn warnings_and_partial_answers_are_partial() {
        let data = r#""status":"success","data":{"resultType":"vector","result":[]}"#;
        assert_eq!(why(200, &format!(r#"{{{data},"warnings":["a store is down"]}}"#)), Missing::Partial);
        assert_eq!(why(200, &format!(r#"{{{data},"isPartial":true}}"#)), Missing::Partial);
    }

    #[test]
    fn errors_keep_the_servers_words() {
        let body = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
        let failure = read_default(422, body.as_bytes()).unwrap_err();
        assert_eq!(failure, Failure::new(Missing::QueryFailed, "HTTP 422 execution: too many samples"));
        assert_eq!(why(200, body), Missing::QueryFailed);
        assert_eq!(why(503, r#"{"status":"error","errorType":"timeout","error":"x"}"#), Missing::TimedOut);
        let long = format!(r#"{{"status":"error","error":"{}"}}"#, "ä".repeat(1000));
        assert!(read_default(500, long.as_bytes()).unwrap_err().message.chars().count() < 310);
    }

    #[test]
    fn what_is_not_the_api_is_a_failed_query() {
        for (status, body) in [
            (200, ""),
            (200, "<html>login</html>"),
            (200, "{}"),
            (200, "[]"),
            (200, r#"{"status":"success"}"#),
            (200, r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#),
            (200, r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#),
            (200, r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#),
            (404, "not found"),
            (502, ""),
        ] {
            assert_eq!(why(status, body), Missing::QueryFailed, "{status} {body}");
        }
        assert_eq!(why(504, "gateway timeout"), Missing::TimedOut);
    }

    proptest! {
        #[test]
        fn no_body_panics(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_default(status, &body);
        }
    }
}
