#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::PodLabels;
use crate::policy::{HistogramType, Latency};

fn indicator() -> Indicator {
    let parse = |text| Selector::parse(text, "shop", &PodLabels::default()).unwrap();
    Indicator::Ratio { errors: parse(r#"http_requests_total{code=~"5.."}"#), total: parse("http_requests_total") }
}

fn ask(source: Source, deployments: &[&str]) -> Ask {
    Ask {
        endpoint: "default".to_owned(),
        namespace: "shop".to_owned(),
        window: Duration::from_secs(28 * 86_400),
        source,
        deployments: deployments.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// All queries of these asks.
fn queries(asks: &[Ask]) -> Vec<String> {
    Plan::of(asks).0.iter().flat_map(|(question, deployments)| question.queries(deployments)).collect()
}

const PODS: &str = "-[456789bcdf]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}";

#[test]
fn all_deployments_of_a_namespace_are_three_queries_however_many_policies_ask() {
    let asks = [ask(Source::Each(indicator()), &["cart", "checkout"]), ask(Source::Each(indicator()), &["search"])];
    let by_deployment = |aggregation: &str, over: &str| {
        format!(
            "{aggregation} by (deployment) (label_replace({aggregation} by (pod) ({over}), \"deployment\", \"$1\", \
             \"pod\", \"(.+){PODS}\"))"
        )
    };
    let pods = format!("namespace=\"shop\",pod=~\"(cart|checkout|search){PODS}\"");
    assert_eq!(
        queries(&asks),
        [
            by_deployment("sum", &format!("increase(http_requests_total{{{pods}}}[2419200s])")),
            by_deployment("sum", &format!("increase(http_requests_total{{code=~\"5..\",{pods}}}[2419200s])")),
            by_deployment("min", &format!("min_over_time(timestamp(http_requests_total{{{pods}}})[2419200s:4032s])")),
        ]
    );
}

#[test]
fn deployments_that_share_a_budget_are_one_number() {
    let asks = [ask(Source::Together(indicator()), &["cart", "checkout"])];
    let pods = format!("namespace=\"shop\",pod=~\"(cart|checkout){PODS}\"");
    assert_eq!(queries(&asks)[0], format!("sum(increase(http_requests_total{{{pods}}}[2419200s]))"));
    // Another policy's share is another one's.
    let both = [asks[0].clone(), ask(Source::Together(indicator()), &["search"])];
    assert_eq!(queries(&both).len(), 6);
}

#[test]
fn what_is_recorded_is_asked_for_as_it_is_and_once() {
    let recorded = |text| Recorded::parse(text, "shop", &PodLabels::default()).unwrap();
    let remaining = ask(Source::Remaining(recorded("left{slo='a'}")), &["cart"]);
    let increase = Source::Increase { errors: recorded("bad:increase4w"), total: recorded("all:increase4w") };
    let asks = [remaining.clone(), ask(increase, &["cart"]), remaining];
    assert_eq!(queries(&asks), ["left{slo=\"a\"}", "sum(all:increase4w)", "sum(bad:increase4w)"]);
}

#[test]
fn many_deployments_are_asked_for_in_several_queries() {
    let names: Vec<String> = (0..250).map(|i| format!("d-{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(queries(&[ask(Source::Each(indicator()), &names)]).len(), 9);
    assert_eq!(queries(&[ask(Source::Together(indicator()), &names)]).len(), 9);
}

#[test]
fn names_that_pods_do_not_tell_are_asked_for_only_together() {
    let long = "a".repeat(47);
    assert!(queries(&[ask(Source::Each(indicator()), &[&long])]).is_empty());
    assert_eq!(queries(&[ask(Source::Together(indicator()), &[&long])]).len(), 3);
}

#[test]
fn every_query_is_promql() {
    let long = "a".repeat(50);
    let each = ask(Source::Each(indicator()), &["cart", "checkout-api"]);
    for query in queries(&[each, ask(Source::Together(indicator()), &["cart", &long])]) {
        promql_parser::parser::parse(&query).unwrap();
    }
}

#[test]
fn a_window_has_six_hundred_steps_and_none_is_shorter_than_half_a_minute() {
    assert_eq!(step_of(Duration::from_secs(3600)), Duration::from_secs(30));
    assert_eq!(step_of(Duration::from_secs(28 * 86_400)), Duration::from_secs(4032));
}

fn histogram() -> Histogram {
    let latency = Latency {
        histogram: "latency_seconds".to_owned(),
        threshold: Duration::from_secs(1),
        kind: HistogramType::Classic,
        unit: None,
    };
    Histogram::parse(&latency, "shop", &PodLabels::default()).unwrap()
}

#[test]
fn a_histograms_budget_is_of_the_series_that_have_the_bound() {
    let pods = format!("namespace=\"shop\",pod=~\"(cart){PODS}\"");
    let increase = |selector: &str| format!("increase({selector}[2419200s])");
    let bucket = format!(r#"latency_seconds_bucket{{le=~"\\+?0*1(\\.0*)?|\\+?1(\\.0*)?[eE][+-]?0*0",{pods}}}"#);
    let classic = queries(&[ask(Source::Together(Indicator::Classic(histogram())), &["cart"])]);
    assert!(classic.contains(&format!("sum({})", increase(&bucket))), "{classic:#?}");
    let slow = format!(
        "sum({} - sum without (le) ({}))",
        increase(&format!("latency_seconds_count{{{pods}}}")),
        increase(&bucket)
    );
    assert!(classic.contains(&slow), "{classic:#?}");
    let native = queries(&[ask(Source::Together(Indicator::Native(histogram())), &["cart"])]);
    let all = format!("sum({})", increase(&format!("latency_seconds{{{pods}}}")));
    assert!(native.contains(&format!("histogram_count({all})")), "{native:#?}");
    assert!(native.contains(&format!("histogram_fraction(-Inf, 1, {all})")), "{native:#?}");
}

#[test]
fn what_was_slow_is_errors_of_all_whose_speed_is_known() {
    let classic = Indicator::Classic(histogram());
    assert_eq!(counted(&classic, Some(5.0), Some(95.0)), (Some(5.0), Some(100.0)));
    assert_eq!(counted(&classic, Some(-0.5), Some(95.0)), (Some(0.0), Some(95.0)), "extrapolation may go below 0");
    assert_eq!(counted(&classic, None, None), (None, None), "without such a bound nothing is known");
    let native = Indicator::Native(histogram());
    assert_eq!(counted(&native, Some(0.75), Some(200.0)), (Some(50.0), Some(200.0)));
    assert_eq!(counted(&native, Some(f64::NAN), Some(0.0)), (Some(0.0), Some(0.0)));
    assert_eq!(counted(&native, None, None), (None, None));
}
