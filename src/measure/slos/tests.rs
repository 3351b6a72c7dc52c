use std::time::Duration;

use super::*;
use crate::policy::{BudgetSource, HistogramType, Indicator, Latency, TimeUnit};

/// The rules of a file as Prometheus lists them.
fn rules(file: &str) -> Vec<Rule> {
    let path = format!("{}/tests/fixtures/slos/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let file: serde_json::Value =
        serde_norway::from_str(&std::fs::read_to_string(path).expect("a file")).expect("YAML");
    let groups = file["groups"].as_array().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let rule = |rule: &serde_json::Value| Rule {
        record: text(&rule["record"]),
        expression: text(&rule["expr"]),
        labels: serde_json::from_value(rule["labels"].clone()).expect("labels"),
    };
    rules.map(rule).collect()
}

fn sloth(slo: &str) -> SloName {
    SloName::Sloth { service: "checkout".to_owned(), slo: slo.to_owned() }
}

fn pyrra(name: &str) -> SloName {
    SloName::Pyrra { name: name.to_owned() }
}

const DAY: Duration = Duration::from_secs(86_400);

fn ratio() -> Indicator {
    Indicator::Ratio {
        errors: r#"http_requests_total{code=~"5.."}"#.to_owned(),
        total: "http_requests_total".to_owned(),
    }
}

fn latency(histogram: &str, milliseconds: u64, kind: HistogramType) -> Indicator {
    let threshold = Duration::from_millis(milliseconds);
    Indicator::Latency(Latency { histogram: histogram.to_owned(), threshold, kind, unit: Some(TimeUnit::Seconds) })
}

#[test]
fn an_slo_of_sloth_says_target_window_counters_and_budget() {
    let rules = rules("sloth");
    let remaining = |slo: &str| {
        let selector = "slo:period_error_budget_remaining:ratio{sloth_service=\"checkout\",sloth_slo=\"";
        Some(BudgetSource::Remaining(format!("{selector}{slo}\"}}")))
    };
    let expected = |target: &str, days: u32, indicator, name: &str| Slo {
        target: target.to_owned(),
        window: DAY * days,
        indicator,
        budget_from: remaining(name),
    };
    let fast = latency("http_request_duration_seconds", 250, HistogramType::Classic);
    assert_eq!(slo(&rules, &sloth("availability")), Ok(expected("99.9", 30, ratio(), "availability")));
    assert_eq!(slo(&rules, &sloth("latency")), Ok(expected("99", 30, fast, "latency")));
    assert_eq!(slo(&rules, &sloth("good-answers")), Ok(expected("99.5", 28, ratio(), "good-answers")));
}

#[test]
fn an_slo_of_pyrra_says_target_window_counters_and_of_a_ratio_the_budget() {
    let rules = rules("pyrra");
    let increase = BudgetSource::Increase {
        errors: r#"http_requests:increase4w{code=~"5..",slo="checkout-errors"}"#.to_owned(),
        total: r#"http_requests:increase4w{slo="checkout-errors"}"#.to_owned(),
    };
    let expected = |target: &str, days: u32, indicator, budget_from| {
        Ok(Slo { target: target.to_owned(), window: DAY * days, indicator, budget_from })
    };
    assert_eq!(slo(&rules, &pyrra("checkout-errors")), expected("99.9", 28, ratio(), Some(increase)));
    let classic = latency("http_request_duration_seconds", 1000, HistogramType::Classic);
    assert_eq!(slo(&rules, &pyrra("checkout-latency")), expected("95", 14, classic, None));
    let native = latency("request_duration_seconds", 500, HistogramType::Native);
    assert_eq!(slo(&rules, &pyrra("checkout-native")), expected("99", 28, native, None));
}

#[test]
fn what_cannot_be_taken_over_says_what_and_what_to_write_instead() {
    let of_sloth = rules("sloth");
    let said = |rules: &[Rule], name: SloName| {
        let unread = slo(rules, &name).expect_err("it cannot be taken over");
        (unread.reason(), unread.to_string())
    };
    let (reason, message) = said(&of_sloth, sloth("availabilty"));
    assert_eq!(reason, "SloNotFound");
    assert!(
        message.starts_with("Prometheus has no rules of Sloth's SLO \"availabilty\" of \"checkout\"; load what"),
        "{message}"
    );
    let (reason, message) = said(&of_sloth, sloth("recorded"));
    assert_eq!(reason, "SloNotUnderstood");
    assert!(message.contains("(slo:sli_error:ratio_rate5m) cannot be asked pod by pod: "), "{message}");
    assert!(message.contains("write the objective with ratio, latency or query, and budgetFrom"), "{message}");

    let of_pyrra = rules("pyrra");
    assert_eq!(said(&of_pyrra, pyrra("cart")).0, "SloNotFound");
    let (reason, message) = said(&of_pyrra, pyrra("checkout-by-path"));
    assert!(reason == "SloNotUnderstood" && message.contains("a grouping"), "{message}");
    let not_generic: Vec<Rule> = of_pyrra.into_iter().filter(|rule| !rule.record.starts_with("pyrra_")).collect();
    let (reason, message) = said(&not_generic, pyrra("checkout-errors"));
    assert!(reason == "SloNotFound" && message.contains("start Pyrra with --generic-rules"), "{message}");
}

#[test]
fn several_of_one_name_are_not_chosen_from() {
    let mut rules = rules("sloth");
    let same: Vec<Rule> = rules.clone();
    rules.extend(same);
    assert!(slo(&rules, &sloth("availability")).is_ok(), "two replicas of a ruler list the same");
    for rule in rules.iter_mut().filter(|rule| rule.record == "slo:objective:ratio").take(1) {
        rule.expression = "vector(0.5)".to_owned();
    }
    let unread = slo(&rules, &sloth("availability")).expect_err("which of them?");
    assert!(unread.reason() == "SloAmbiguous" && unread.to_string().contains("slo:objective:ratio"), "{unread}");

    let mut rules = self::rules("pyrra");
    let other = rules.iter().find(|rule| rule.label("slo") == "checkout-latency" && rule.record.contains(":burnrate"));
    let mut other = other.expect("there is one").clone();
    other.labels.insert("slo".to_owned(), "checkout-errors".to_owned());
    rules.push(other);
    assert_eq!(slo(&rules, &pyrra("checkout-errors")).expect_err("of which counters?").reason(), "SloAmbiguous");
}

#[test]
fn a_number_is_one_however_a_tool_writes_it() {
    assert_eq!(number("0.99"), Some(0.99));
    assert_eq!(number("vector(0.9990000000000001)"), Some(0.999_000_000_000_000_1));
    assert_eq!((number("vector(1-0.9)"), number("up"), number("NaN"), number("")), (None, None, None, None));
    assert_eq!(percent(0.999_000_000_000_000_1), "99.9");
    assert_eq!(percent(0.5), "50");
}
