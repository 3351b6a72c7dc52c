//! The objects for the Prometheus Operator.

use gatekeeper::record::metrics::Metrics;
use promql_parser::parser::{self, Expr, VectorSelector};
use serde_json::Value;

use super::{container, of_kind, one, rendered};

#[test]
fn nothing_for_the_prometheus_operator_comes_unasked() {
    let objects = rendered(&[]);
    assert!(of_kind(&objects, "PodMonitor").is_empty() && of_kind(&objects, "PrometheusRule").is_empty());
}

#[test]
fn the_pod_monitor_finds_the_pods_and_their_metrics() {
    let objects = rendered(&[
        "monitoring.podMonitor.enabled=true",
        "monitoring.podMonitor.labels.release=tall",
        "monitoring.podMonitor.interval=17s",
    ]);
    let monitor = one(&objects, "PodMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "tall");
    let pods = &one(&objects, "Deployment")["spec"]["selector"]["matchLabels"];
    assert_eq!(&monitor["spec"]["selector"]["matchLabels"], pods);
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&endpoint["path"], &endpoint["interval"]), (&"/metrics".into(), &"17s".into()));
    assert!(
        container(&objects)["ports"].as_array().expect("ports").iter().any(|port| port["name"] == endpoint["port"])
    );
}

/// The vector selectors of an expression.
fn selectors(expression: &Expr) -> Vec<&VectorSelector> {
    match expression {
        Expr::Aggregate(aggregate) => selectors(&aggregate.expr),
        Expr::Binary(binary) => [selectors(&binary.lhs), selectors(&binary.rhs)].concat(),
        Expr::Paren(inner) => selectors(&inner.expr),
        Expr::Call(call) => call.args.args.iter().flat_map(|argument| selectors(argument)).collect(),
        Expr::VectorSelector(selector) => vec![selector],
        Expr::MatrixSelector(matrix) => vec![&matrix.vs],
        Expr::NumberLiteral(_) => Vec::new(),
        other => panic!("no alert needs {other:?}"),
    }
}

/// Whether the operator exports such a series.
fn is_exported(page: &str, selector: &VectorSelector) -> bool {
    let name = selector.name.as_deref().expect("an alert names its metric");
    let mut lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let own = |label: &str| !["namespace", "pod"].contains(&label);
    let matchers = || selector.matchers.matchers.iter().filter(|matcher| own(&matcher.name));
    lines.any(|line| {
        matchers().all(|matcher| line.contains(&format!("{}=\"", matcher.name))) && {
            let equal = matchers().filter(|matcher| matcher.op.to_string() == "=");
            equal.into_iter().all(|matcher| line.contains(&format!("{}=\"{}\"", matcher.name, matcher.value)))
        }
    })
}

#[test]
fn every_series_that_an_alert_asks_for_is_one_that_the_operator_exports() {
    let page = Metrics::new(|| true).encode().expect("the page");
    let objects = rendered(&["monitoring.alerts.enabled=true", "monitoring.alerts.labels.release=tall"]);
    let rule = one(&objects, "PrometheusRule");
    assert_eq!(rule["metadata"]["labels"]["release"], "tall");
    let alerts = rule["spec"]["groups"][0]["rules"].as_array().expect("rules");
    assert_eq!(alerts.len(), 5);
    for alert in alerts {
        let text = alert["expr"].as_str().expect("an expression");
        let expression = parser::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let asked = selectors(&expression);
        assert!(!asked.is_empty(), "{text}");
        for selector in asked {
            assert!(is_exported(&page, selector), "{text}: nobody exports {selector}");
            let is_ours = |label: &str, value: &str| {
                selector.matchers.matchers.iter().any(|matcher| matcher.name == label && matcher.value == value)
            };
            assert!(is_ours("namespace", "ochre") && is_ours("pod", "violet-error-budget-gatekeeper-.*"), "{text}");
        }
        for what in ["summary", "description"] {
            assert!(alert["annotations"][what].as_str().is_some_and(|text| !text.is_empty()), "{alert}");
        }
        assert!(matches!(alert["labels"]["severity"], Value::String(_)), "{alert}");
    }
}
