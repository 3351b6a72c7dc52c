use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::TimeUnit;

fn ratio_of(errors: &str, total: &str) -> Result<Indicator, String> {
    Ok(Indicator::Ratio { errors: errors.to_owned(), total: total.to_owned() })
}

fn latency_of(histogram: &str, milliseconds: u64, kind: HistogramType) -> Result<Indicator, String> {
    let threshold = Duration::from_millis(milliseconds);
    let latency = Latency { histogram: histogram.to_owned(), threshold, kind, unit: Some(TimeUnit::Seconds) };
    Ok(Indicator::Latency(latency))
}

#[test]
fn errors_over_total_are_a_ratio() {
    for expression in [
        r#"(sum(rate(hits_total{job="a",code=~"5.."}[5m]))) / (sum(rate(hits_total{job="a"}[5m])))"#,
        r#"sum(rate(hits_total{code=~"5..",job="a"}[5m])) / sum(rate(hits_total{job="a"}[5m]))"#,
        r#"((sum(increase(hits_total{code=~"5..",job="a"}[5m])) or vector(0))) / sum(increase(hits_total{job="a"}[5m]))"#,
        r#"(1 - (sum(rate(hits_total{job="a",code!~"5.."}[5m])) / sum(rate(hits_total{job="a"}[5m]))))"#,
        r#"(sum(rate(hits_total{job="a"}[5m])) - sum(rate(hits_total{job="a",code!~"5.."}[5m]))) / sum(rate(hits_total{job="a"}[5m]))"#,
    ] {
        assert_eq!(
            indicator(expression),
            ratio_of(r#"hits_total{code=~"5..",job="a"}"#, r#"hits_total{job="a"}"#),
            "{expression}"
        );
    }
}

#[test]
fn a_bucket_and_the_count_of_its_histogram_are_a_latency() {
    let classic = |milliseconds| latency_of(r#"took_seconds{job="a"}"#, milliseconds, HistogramType::Classic);
    for (expression, milliseconds) in [
        (
            r#"((sum(rate(took_seconds_count{job="a"}[5m])) - sum(rate(took_seconds_bucket{job="a",le="0.4"}[5m])))) /
               (sum(rate(took_seconds_count{job="a"}[5m])))"#,
            400,
        ),
        (
            r#"1 - (sum(rate(took_seconds_bucket{job="a",le=~"1(\\.0)?"}[5m])) / sum(rate(took_seconds_count{job="a"}[5m])))"#,
            1000,
        ),
        (
            r#"1 - sum(rate(took_seconds_bucket{job="a",le="2.5"}[5m])) / sum(rate(took_seconds_bucket{job="a",le="+Inf"}[5m]))"#,
            2500,
        ),
    ] {
        assert_eq!(indicator(expression), classic(milliseconds), "{expression}");
    }
    let native = "1 - histogram_fraction(0, 0.1, sum(rate(took_seconds[5m])))";
    assert_eq!(indicator(native), latency_of("took_seconds", 100, HistogramType::Native));
}

#[test]
fn what_does_not_come_down_to_counters_of_pods_says_why() {
    for (expression, says) in [
        ("job:slo_errors_per_request:ratio_rate5m", "is no quotient"),
        ("sum by (handler) (rate(e[5m])) / sum by (handler) (rate(t[5m]))", "a grouping"),
        ("sum(rate(e[5m])) / sum(rate(t[10m]))", "not over the same time"),
        ("sum(e) / sum(t)", "no rate() or increase()"),
        ("sum(rate(t[5m])) / sum(rate(t[5m]))", "is divided by itself"),
        ("(sum(rate(e[5m])) + sum(rate(f[5m]))) / sum(rate(t[5m]))", "an operator between two expressions"),
        ("1 - avg_over_time(up[5m])", "is no quotient"),
        ("(sum(count_over_time(up[5m])) - sum(sum_over_time(up[5m]))) / sum(count_over_time(up[5m]))", "the function"),
        ("1 - sum(rate(good[5m])) / sum(rate(t[5m]))", "no single selector matches"),
        ("(sum(rate(a[5m])) - sum(rate(b[5m]))) / sum(rate(c[5m]))", "is subtracted from"),
        (r#"1 - sum(rate(h_bucket{le="1"}[5m])) / sum(rate(other_count[5m]))"#, "is not the count of the histogram"),
        (r#"1 - sum(rate(h_bucket{le=~"1|2"}[5m])) / sum(rate(h_count[5m]))"#, "is not that of one bound"),
        (r#"1 - sum(rate(h_bucket{le="1",a="b"}[5m])) / sum(rate(h_count[5m]))"#, "is not the count of the histogram"),
        ("1 - histogram_fraction(0.1, 0.2, sum(rate(h_seconds[5m])))", "is not from 0 to a number"),
        ("sum(", "no PromQL"),
    ] {
        let said = indicator(expression).expect_err(expression);
        assert!(said.contains(says), "{expression}: {said}");
    }
}

#[test]
fn recorded_increases_are_found_in_the_availability() {
    let expression = r#"1 - sum(hits:increase4w{code=~"5..",slo="s"} or vector(0)) / sum(hits:increase4w{slo="s"})"#;
    let (errors, total) = recorded(expression).expect("it is one");
    assert_eq!(errors.selector(), r#"hits:increase4w{code=~"5..",slo="s"}"#);
    assert_eq!(total.selector(), r#"hits:increase4w{slo="s"}"#);
    for other in ["sum(a or vector(0)) / sum(b)", "1 - sum(rate(a[5m])) / sum(b)", "2 - a / b", "1 - a", "("] {
        assert!(recorded(other).is_none(), "{other}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_not_looked_into() {
    let deep = |depth: usize| format!("{}e{} / t", "(".repeat(depth), ")".repeat(depth));
    assert!(indicator(&deep(30)).expect_err("no rate").contains("no rate()"));
    assert!(indicator(&deep(3000)).expect_err("too deep").contains("nested"));
    assert!(indicator(&"x".repeat(100_000)).expect_err("too long").contains("8192"));
}

#[test]
fn what_has_too_many_operators_is_not_looked_into() {
    for (one, number) in [
        ("-", 8000),
        ("- ", 4000),
        ("t-", 4000),
        ("t^", 4000),
        ("t==", 2500),
        ("t != ", 1500),
        ("t or ", 1600),
        ("t And\n", 1300),
    ] {
        let signs = one.repeat(number);
        for expression in [
            format!("sum(rate(({signs}e)[5m:1m])) / t"),
            format!("1 - {signs}t"),
            format!("\"a\\\"b\" + '`' + `\\` # \"\r{signs}t"),
        ] {
            assert!(indicator(&expression).expect_err(one).contains("operators"), "{one}");
            assert!(recorded(&expression).is_none(), "{one}");
        }
    }
    assert!(indicator(&format!("vector(0){}", "[5m:1m]".repeat(1000))).expect_err("nested").contains("operators"));
}

#[test]
fn what_is_within_quotes_is_no_operator() {
    let paths = "/api/v1/-+(".repeat(40);
    let of = |quote: char| format!("hits_total{{path={quote}{paths}{quote}}}");
    for quote in ['"', '\'', '`'] {
        let expression = format!("sum(rate({}[5m])) / sum(rate(hits_total[5m]))", of(quote));
        assert_eq!(indicator(&expression), ratio_of(&of('"'), "hits_total"), "{quote}");
    }
}

proptest! {
    #[test]
    fn no_expression_panics(expression in "[a-z0-9(){}\\[\\]=~\",/+*. -]{0,60}|\\PC{0,40}") {
        let _ = (indicator(&expression), recorded(&expression), super::super::number(&expression));
    }
}
