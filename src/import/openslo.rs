//! OpenSLO documents become the objectives of one policy.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::threshold;
use crate::measure::counter::Counter;

/// What a file with OpenSLO documents comes to.
#[derive(Debug, Default)]
pub(super) struct Imported {
    /// Objectives as a policy has them.
    pub(super) objectives: Vec<Value>,
    /// Which SLO each of them is from.
    pub(super) from: Vec<String>,
    /// Services that the SLOs are of.
    pub(super) services: Vec<String>,
    /// The namespace that the selectors name.
    pub(super) namespaces: Vec<String>,
    /// What became something else, or nothing, though the objective stands.
    pub(super) notes: Vec<String>,
    /// What could not become an objective.
    pub(super) refused: Vec<String>,
    /// Other objects.
    pub(super) skipped: usize,
}

/// Metric sources that speak PromQL.
const PROMETHEUS: [&str; 5] = ["prometheus", "thanos", "cortex", "mimir", "victoriametrics"];

/// Reads the SLOs among these objects, of this name alone if one is given.
pub(super) fn import(objects: &[Value], only: Option<&str>) -> Imported {
    let mut imported = Imported::default();
    let of_kind = |kind: &str| {
        let named: BTreeMap<&str, &Value> = objects
            .iter()
            .filter(|object| is_openslo(object) && object["kind"] == kind)
            .filter_map(|object| Some((name_of(object)?, object)))
            .collect();
        named
    };
    let (indicators, sources) = (of_kind("SLI"), of_kind("DataSource"));
    for object in objects {
        let name = name_of(object).unwrap_or("without a name");
        match object["kind"].as_str() {
            Some("SLO") if object["apiVersion"] == "openslo/v1" => {
                if only.is_none_or(|only| only == name) {
                    Slo { name, spec: &object["spec"], indicators: &indicators, sources: &sources }
                        .import(&mut imported);
                }
            }
            Some("SLO") => {
                let version = &object["apiVersion"];
                imported.refused.push(format!("SLO {name}: apiVersion is {version}; write openslo/v1"));
            }
            Some("SLI" | "DataSource" | "Service") if is_openslo(object) => {}
            _ => imported.skipped += 1,
        }
    }
    imported
}

fn is_openslo(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.starts_with("openslo/"))
}

fn name_of(object: &Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

/// What an indicator became.
struct Read {
    indicator: Value,
    /// What it is made of.
    counters: Vec<Counter>,
    /// The share of good requests that it names itself, as a ratio.
    quantile: Option<f64>,
}

struct Slo<'a> {
    name: &'a str,
    spec: &'a Value,
    indicators: &'a BTreeMap<&'a str, &'a Value>,
    sources: &'a BTreeMap<&'a str, &'a Value>,
}

impl<'a> Slo<'a> {
    fn import(&self, into: &mut Imported) {
        let spec = self.spec;
        for (field, why) in [
            ("alertPolicies", "the operator acts by itself, and its own metrics can be alerted on"),
            ("anomaly", "nothing is like it"),
        ] {
            if !spec[field].is_null() {
                into.notes.push(format!("SLO {}: spec.{field} is not carried over: {why}", self.name));
            }
        }
        let method = spec["budgetingMethod"].as_str().unwrap_or("Occurrences");
        if method != "Occurrences" {
            let note = "the budget is of requests here, and not of slices of time";
            into.notes.push(format!("SLO {}: spec.budgetingMethod: {method} is not carried over: {note}", self.name));
        }
        into.services.extend(spec["service"].as_str().map(ToOwned::to_owned));
        let window = self.window(&mut into.notes);
        let objectives = spec["objectives"].as_array().map_or(&[][..], Vec::as_slice);
        if objectives.is_empty() {
            into.refused.push(format!("SLO {}: spec.objectives is empty; write one with a target", self.name));
        }
        for (i, objective) in objectives.iter().enumerate() {
            let place = format!("SLO {}: spec.objectives[{i}]", self.name);
            let read = self.indicator(objective).and_then(|read| {
                let target =
                    read.quantile.map_or_else(|| target(objective), |quantile| Ok(percent(quantile * 100.0)))?;
                Ok((read, target))
            });
            match read {
                Err(why) => into.refused.push(format!("{place}: {why}")),
                Ok((read, target)) => {
                    if read.quantile.is_some() {
                        into.notes.push(format!(
                            "{place}: its target is of moments and is not carried over: {target} % of the requests, the \
                             quantile, are to be within its value"
                        ));
                    }
                    into.namespaces
                        .extend(read.counters.iter().filter_map(|of| of.label("namespace")).map(ToOwned::to_owned));
                    let mut entry = json!({
                        "name": self.objective_name(i, objective, objectives.len()),
                        "target": target,
                        "indicator": read.indicator,
                    });
                    if let Some(window) = &window {
                        entry["window"] = json!(window);
                    }
                    into.objectives.push(entry);
                    into.from.push(self.name.to_owned());
                }
            }
        }
    }

    /// The SLO's own name; where it has several objectives, with what tells them apart.
    fn objective_name(&self, i: usize, objective: &Value, of: usize) -> String {
        let own = objective["displayName"].as_str().map_or_else(|| (i + 1).to_string(), slug);
        let own = if own.is_empty() { (i + 1).to_string() } else { own };
        let name = if of == 1 { slug(self.name) } else { format!("{}-{own}", slug(self.name)) };
        name.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
    }

    /// The window as a policy has it; `None` when there is none, and the default does.
    fn window(&self, notes: &mut Vec<String>) -> Option<String> {
        let place = format!("SLO {}: spec.timeWindow", self.name);
        let windows = self.spec["timeWindow"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(window) = windows.first() else {
            notes.push(format!("{place} is not there: the window is 28d"));
            return None;
        };
        let text = window["duration"].as_str().unwrap_or_default();
        let rolls = window["isRolling"].as_bool().unwrap_or(window["calendar"].is_null());
        let number = text.trim_end_matches(|c: char| c.is_alphabetic()).parse::<u64>().ok();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let hours = match (number, unit) {
            (Some(minutes), "m") if minutes.is_multiple_of(60) => Some(minutes / 60),
            (Some(hours), "h") => Some(hours),
            (Some(days), "d") => Some(days * 24),
            (Some(weeks), "w") => Some(weeks * 7 * 24),
            (Some(months), "M") => Some(months * 30 * 24),
            (Some(quarters), "Q") => Some(quarters * 90 * 24),
            (Some(years), "Y") => Some(years * 365 * 24),
            _ => None,
        };
        let written = match hours {
            None | Some(0) => {
                notes.push(format!("{place}: {text:?} is no duration of whole hours: the window is 28d"));
                return None;
            }
            Some(hours) if hours > 90 * 24 => {
                notes.push(format!("{place}: {text} is longer than any window here: the window is 90d"));
                "90d".to_owned()
            }
            Some(hours) if hours % 24 == 0 => format!("{}d", hours / 24),
            Some(hours) => format!("{hours}h"),
        };
        if !rolls {
            notes
                .push(format!("{place} is aligned to the calendar, which no window here is: the last {written} count"));
        } else if ["M", "Q", "Y"].contains(&unit) && hours.is_some_and(|hours| hours <= 90 * 24) {
            notes.push(format!("{place}: {text} has no fixed length: the window is {written}"));
        }
        Some(written)
    }

    /// What tells good and bad requests apart.
    fn indicator(&self, objective: &'a Value) -> Result<Read, String> {
        let spec = self.indicator_spec(objective)?;
        if !spec["thresholdMetric"].is_null() {
            let query = self.query(&spec["thresholdMetric"]);
            let read = query.and_then(|query| threshold::read(query, objective));
            let read = read.map_err(|why| format!("thresholdMetric: {why}"))?;
            let counters = vec![read.histogram];
            return Ok(Read { indicator: read.indicator, counters, quantile: read.quantile });
        }
        let (errors, total) = self.ratio(&spec["ratioMetric"])?;
        let indicator = json!({"ratio": {"errors": errors.selector(), "total": total.selector()}});
        Ok(Read { indicator, counters: vec![errors, total], quantile: None })
    }

    /// The counters of bad requests and of all.
    fn ratio(&self, ratio: &Value) -> Result<(Counter, Counter), String> {
        if ratio.is_null() {
            return Err(
                "its indicator has neither ratioMetric nor thresholdMetric; write a ratioMetric with bad and total"
                    .to_owned(),
            );
        }
        if !ratio["raw"].is_null() {
            return Err(
                "ratioMetric.raw is a ratio already, of which nobody knows how many requests it is of; write bad \
                 and total"
                    .to_owned(),
            );
        }
        let read = |part: &str| match &ratio[part] {
            Value::Null => Ok(None),
            metric => self.counter(metric).map(Some).map_err(|why| format!("ratioMetric.{part}: {why}")),
        };
        let (good, bad, total) = (read("good")?, read("bad")?, read("total")?);
        if ratio["counter"] == false && [&good, &bad, &total].into_iter().flatten().any(|part| part.over.is_none()) {
            return Err(
                "ratioMetric.counter is false: its queries are no counters, which only go up; write the counters \
                 that they are made of"
                    .to_owned(),
            );
        }
        let ranges: Vec<_> = [&good, &bad, &total].into_iter().flatten().map(|part| &part.over).collect();
        if ranges.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(
                "its queries are not over the same time, so that they are no ratio of the counters in them; write the \
                 counters, or the same range in each"
                    .to_owned(),
            );
        }
        match (good, bad, total) {
            (_, Some(bad), Some(total)) => Ok((bad, total)),
            (Some(good), None, Some(total)) => {
                let bad = total.without(&good).ok_or_else(|| {
                    let (good, total) = (good.selector(), total.selector());
                    format!(
                        "no selector matches what {total} has and {good} has not; write ratioMetric.bad, for example \
                         {total} with one more matcher"
                    )
                })?;
                Ok((bad, total))
            }
            (Some(good), Some(bad), None) => {
                let total = bad.together(&good).ok_or_else(|| {
                    format!(
                        "no selector matches just {} and {}; write ratioMetric.total",
                        good.selector(),
                        bad.selector()
                    )
                })?;
                Ok((bad, total))
            }
            _ => Err("ratioMetric needs two of good, bad and total; write bad and total".to_owned()),
        }
    }

    fn indicator_spec(&self, objective: &'a Value) -> Result<&'a Value, String> {
        // Where it is nearest first.
        for place in [objective, self.spec] {
            if let Some(inline) = place.get("indicator").filter(|inline| !inline.is_null()) {
                return inline.get("spec").ok_or_else(|| "its indicator has no spec".to_owned());
            }
            if let Some(name) = place["indicatorRef"].as_str() {
                let found = self.indicators.get(name).map(|object| &object["spec"]);
                let known: Vec<&str> = self.indicators.keys().copied().collect();
                let known = if known.is_empty() { "has none".to_owned() } else { format!("has {}", known.join(", ")) };
                return found.ok_or_else(|| format!("indicatorRef: the file has no SLI {name}; it {known}"));
            }
        }
        Err("it has neither indicator nor indicatorRef".to_owned())
    }

    fn counter(&self, metric: &Value) -> Result<Counter, String> {
        Counter::parse(self.query(metric)?)
    }

    fn query<'v>(&self, metric: &'v Value) -> Result<&'v str, String> {
        let source = &metric["metricSource"];
        let by_reference = source["metricSourceRef"].as_str();
        let kind = source["type"].as_str().or_else(|| self.sources.get(by_reference?)?["spec"]["type"].as_str());
        if let Some(kind) = kind.filter(|kind| !PROMETHEUS.contains(&kind.to_lowercase().as_str())) {
            return Err(format!("metricSource is {kind}, and only Prometheus is asked; write a query of Prometheus"));
        }
        let query = ["query", "promql", "promQL"].iter().find_map(|field| source["spec"][field].as_str());
        query.ok_or_else(|| "metricSource.spec has no query of Prometheus; write query: with a counter".to_owned())
    }
}

/// Percent as a policy writes it.
fn target(objective: &Value) -> Result<String, String> {
    let percent = match (objective["targetPercent"].as_f64(), objective["target"].as_f64()) {
        (Some(percent), _) => percent,
        (None, Some(ratio)) => ratio * 100.0,
        (None, None) => {
            return Err("it has neither target nor targetPercent; write for example target: 0.999".to_owned());
        }
    };
    if !(percent > 0.0 && percent < 100.0) {
        return Err(format!("its target is {percent} %; write one above 0 and below 100 %"));
    }
    Ok(self::percent(percent))
}

/// As a policy writes it.
fn percent(percent: f64) -> String {
    format!("{percent:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lower-case letters, digits and dashes.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
#[path = "openslo_tests.rs"]
mod tests;
