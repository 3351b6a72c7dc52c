//! A `thresholdMetric`, where it is one of requests: a histogram of durations and what its value may be.

use std::time::Duration;

use promql_parser::parser::{self, Expr};
use serde_json::{Value, json};

use crate::measure::counter::Counter;
use crate::measure::histogram::{BOUND, duration, unit_of};

/// What a policy says in place of a threshold of a histogram.
#[derive(Debug)]
pub(super) struct Threshold {
    /// The histogram, without what its buckets are called.
    pub(super) histogram: Counter,
    /// The indicator.
    pub(super) indicator: Value,
    /// The share of the requests within it, as a ratio, where the query names a quantile.
    pub(super) quantile: Option<f64>,
}

/// Reads the query of a `thresholdMetric`, and the objective's `op` and `value`.
///
/// # Errors
/// Why it says nothing of requests, and what to write instead.
pub(super) fn read(query: &str, objective: &Value) -> Result<Threshold, String> {
    const INSTEAD: &str = "write a histogram of durations, such as histogram_quantile(0.99, sum by (le) \
                           (rate(http_request_duration_seconds_bucket[5m]))), or a ratioMetric: good and total, or bad and total";
    let tree = parser::parse(query).map_err(|error| format!("{query:?} is no PromQL: {error}"))?;
    let (quantile, inner) = quantile(tree);
    let mut histogram = Counter::of_buckets(query, inner).map_err(|why| {
        format!("it says of moments and not of requests whether they are good, and {why}; or {INSTEAD}")
    })?;
    let is_classic = histogram.strip_suffix("_bucket");
    if !is_classic && quantile.is_none() {
        return Err(format!(
            "{} says of moments and not of requests whether they are good; {INSTEAD}",
            histogram.selector()
        ));
    }
    if histogram.has(BOUND) {
        return Err(format!("{query:?} has a matcher for le, which value stands for; leave it out"));
    }
    match objective["op"].as_str() {
        Some("lte" | "lt") | None => {}
        Some(other) => {
            return Err(format!("op is {other}, and a request is good when it takes no longer; write op: lte"));
        }
    }
    if let Some(quantile) = quantile.filter(|quantile| !(*quantile > 0.0 && *quantile < 1.0)) {
        return Err(format!("its quantile is {quantile}; write one above 0 and below 1"));
    }
    let value =
        objective["value"].as_f64().ok_or("it has no value; write the longest good duration, such as value: 0.25")?;
    let threshold = duration(value, unit_of(histogram.metric())).ok_or_else(|| {
        format!("its value is {value}; write one that is a duration of 1us to 1h in whole microseconds")
    })?;
    let mut latency = json!({"histogram": histogram.selector(), "threshold": written(threshold)});
    if !is_classic {
        latency["type"] = json!("Native");
    }
    Ok(Threshold { histogram, indicator: json!({"latency": latency}), quantile })
}

/// What `histogram_quantile` is asked of, and for which quantile; any other tree as it is.
fn quantile(tree: Expr) -> (Option<f64>, Expr) {
    match tree {
        Expr::Paren(inner) => quantile(*inner.expr),
        Expr::Call(call) if call.func.name == "histogram_quantile" => match call.args.args.as_slice() {
            [quantile, of] => match quantile.as_ref() {
                Expr::NumberLiteral(number) => (Some(number.val), of.as_ref().clone()),
                _ => (None, Expr::Call(call)),
            },
            _ => (None, Expr::Call(call)),
        },
        other => (None, other),
    }
}

/// As a policy writes it: `250ms`, `1s500ms`.
fn written(threshold: Duration) -> String {
    let mut text = String::new();
    let mut rest = threshold.as_micros();
    for (unit, long) in [("s", 1_000_000), ("ms", 1_000), ("us", 1)] {
        if rest >= long {
            text += &format!("{}{unit}", rest / long);
        }
        rest %= long;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(query: &str, objective: Value) -> Result<(Value, Option<f64>), String> {
        read(query, &objective).map(|read| (read.indicator["latency"].clone(), read.quantile))
    }

    #[test]
    fn a_quantile_of_a_histogram_is_a_share_of_the_requests_within_a_threshold() {
        let objective = json!({"op": "lte", "value": 0.25, "target": 0.99});
        for query in [
            r#"histogram_quantile(0.95, sum by (le) (rate(dauer_seconds_bucket{job="kasse"}[5m])))"#,
            r#"(histogram_quantile(0.95, sum(rate(dauer_seconds_bucket{job="kasse"}[5m])) by (le)))"#,
            r#"histogram_quantile(0.95, rate(dauer_seconds_bucket{job="kasse"}[5m]))"#,
        ] {
            let expected = json!({"histogram": r#"dauer_seconds{job="kasse"}"#, "threshold": "250ms"});
            assert_eq!(latency(query, objective.clone()), Ok((expected, Some(0.95))), "{query}");
        }
        let native = latency("histogram_quantile(0.5, sum(rate(dauer_seconds[5m])))", objective);
        let expected = json!({"histogram": "dauer_seconds", "threshold": "250ms", "type": "Native"});
        assert_eq!(native, Ok((expected, Some(0.5))));
    }

    #[test]
    fn the_buckets_themselves_are_the_requests() {
        let read = latency("sum by (le) (rate(dauer_ms_bucket[5m]))", json!({"op": "lt", "value": 1500.5}));
        assert_eq!(read, Ok((json!({"histogram": "dauer_ms", "threshold": "1s500ms500us"}), None)));
    }

    #[test]
    fn what_is_of_moments_says_why_and_what_to_write() {
        let good = json!({"op": "lte", "value": 0.25});
        for (query, objective, says) in [
            ("avg(node_load1)", good.clone(), "says of moments and not of requests"),
            ("queue_length", good.clone(), "write a histogram of durations"),
            ("histogram_quantile(0.9, sum by (le, path) (rate(d_seconds_bucket[5m])))", good.clone(), "a grouping"),
            (
                "histogram_quantile(scalar(q), rate(d_seconds_bucket[5m]))",
                good.clone(),
                "the function histogram_quantile",
            ),
            ("rate(d_seconds_bucket{le=\"1\"}[5m])", good.clone(), "has a matcher for le"),
            ("rate(d_seconds_bucket[5m])", json!({"op": "gte", "value": 1}), "write op: lte"),
            ("rate(d_seconds_bucket[5m])", json!({"op": "lte"}), "it has no value"),
            ("rate(d_seconds_bucket[5m])", json!({"op": "lte", "value": 1e-9}), "in whole microseconds"),
            ("histogram_quantile(1, rate(d_seconds_bucket[5m]))", good, "its quantile is 1"),
        ] {
            let said = read(query, &objective).expect_err(query);
            assert!(said.contains(says), "{query}: {said}");
        }
    }
}
