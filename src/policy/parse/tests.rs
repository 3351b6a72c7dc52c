use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{HistogramType, Latency};
use super::*;

/// A policy with only what is required, changed like this.
fn parsed(change: impl FnOnce(&mut Value)) -> Result<Policy, Vec<PolicyError>> {
    let mut policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {
            "name": "ziegel", "namespace": "ofen-4", "uid": "policy-uid-6", "generation": 2,
            "creationTimestamp": "2026-02-03T04:05:06Z",
        },
        "spec": {
            "selector": {"matchLabels": {"app": "ofen"}},
            "objectives": [{
                "name": "verfuegbar",
                "target": "99.95",
                "indicator": {"ratio": {"errors": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total"}},
            }],
        },
    });
    change(&mut policy["spec"]);
    Policy::parse(&serde_json::from_value(policy).expect("it has the shape of a policy"))
}

/// The fields that are wrong.
fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
    parsed(change).expect_err("it cannot be enforced").into_iter().map(|error| error.field).collect()
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let policy = parsed(|_| {}).expect("it is sound");
    assert_eq!(policy.key.to_string(), "ofen-4/ziegel");
    assert_eq!(policy.created.to_string(), "2026-02-03T04:05:06Z");
    assert_eq!(policy.detection.window, Duration::from_secs(30));
    assert_eq!(policy.detection.looks, 3);
    assert_eq!((policy.detection.violation.factor(), policy.detection.warning.factor()), (1.0, 0.5));
    assert_eq!(policy.detection.confidence.alpha(), 0.01);
    assert_eq!(policy.detection.rule, Rule::Sequential);
    assert_eq!(policy.detection.on_missing_evidence, OnMissingEvidence::Hold);
    assert_eq!(policy.monitor, Monitor { timeout: Duration::from_secs(300), auto_rollback: true, control_pods: 0 });
    assert_eq!((policy.mode, policy.prometheus.as_str()), (Mode::Enforce, "default"));
    assert_eq!(policy.objectives[0].window, Duration::from_secs(28 * 86_400));
    assert_eq!(policy.objectives[0].budget.ratio(), 0.0005);
}

#[test]
fn what_is_written_is_taken() {
    let policy = parsed(|spec| {
        spec["detection"] = json!({
            "window": "1m30s", "looks": 9, "violation": "14.4", "warning": "2", "confidence": "99.9",
            "rule": "Threshold", "onMissingEvidence": "Proceed",
        });
        spec["monitor"] = json!({"timeout": "1h", "autoRollback": false});
        spec["mode"] = json!("Observe");
        spec["prometheus"] = json!("team-ofen");
        spec["objectives"][0]["window"] = json!("36h");
    });
    let policy = policy.expect("it is sound");
    assert_eq!(policy.detection.look_interval(), Duration::from_secs(10));
    assert_eq!((policy.detection.violation.factor(), policy.detection.warning.factor()), (14.4, 2.0));
    assert_eq!(policy.detection.rule, Rule::Threshold);
    assert_eq!(policy.detection.on_missing_evidence, OnMissingEvidence::Proceed);
    assert_eq!(policy.monitor, Monitor { timeout: Duration::from_secs(3600), auto_rollback: false, control_pods: 0 });
    assert_eq!((policy.mode, policy.prometheus.as_str()), (Mode::Observe, "team-ofen"));
    assert_eq!(policy.objectives[0].window, Duration::from_secs(36 * 3600));
}

#[test]
fn a_query_says_what_it_counts() {
    let query = |counts: &str| json!({"query": {"errors": "fehler", "total": "alle", "counts": counts}});
    let indicator = |counts: &str| {
        parsed(|spec| spec["objectives"][0]["indicator"] = query(counts)).expect("it is sound").objectives[0]
            .indicator
            .clone()
    };
    let read = |counts| Indicator::Query { errors: "fehler".to_owned(), total: "alle".to_owned(), counts };
    assert_eq!(indicator("Cumulative"), read(Counts::Cumulative));
    assert_eq!(indicator("PerWindow"), read(Counts::PerWindow));
    let both = wrong(|spec| spec["objectives"][0]["indicator"]["query"] = query("PerWindow")["query"].clone());
    assert_eq!(both, ["spec.objectives[0].indicator"]);
    let same = json!({"query": {"errors": "alle", "total": "alle", "counts": "Cumulative"}});
    assert_eq!(wrong(|spec| spec["objectives"][0]["indicator"] = same), ["spec.objectives[0].indicator.query"]);
}

#[test]
fn where_pods_expose_their_metrics_is_taken_with_evidence_of_pods_only() {
    let evidence =
        |pods: Value| parsed(|spec| (spec["evidence"], spec["pods"]) = (json!("Pods"), pods)).expect("sound").evidence;
    let pages = |port, path: Option<&str>| EvidenceFrom::Pods(PodPages { port, path: path.map(ToOwned::to_owned) });
    assert_eq!(parsed(|_| {}).expect("sound").evidence, EvidenceFrom::Prometheus);
    assert_eq!(evidence(Value::Null), pages(None, None));
    assert_eq!(evidence(json!({"port": 9102, "path": "/m"})), pages(Some(Port::Number(9102)), Some("/m")));
    assert_eq!(evidence(json!({"port": "metrics"})), pages(Some(Port::Name("metrics".to_owned())), None));

    assert_eq!(wrong(|spec| spec["pods"] = json!({})), ["spec.pods"]);
    let fields = wrong(|spec| (spec["evidence"], spec["pods"]) = (json!("Pods"), json!({"port": 65536, "path": "m"})));
    assert_eq!(fields, ["spec.pods.port", "spec.pods.path"]);
    let query = json!({"query": {"errors": "fehler", "total": "alle", "counts": "Cumulative"}});
    let latency = |kind: &str| json!({"latency": {"histogram": "dauer_seconds", "threshold": "1s", "type": kind}});
    for indicator in [query, latency("Native")] {
        let fields = wrong(|spec| (spec["evidence"], spec["objectives"][0]["indicator"]) = (json!("Pods"), indicator));
        assert_eq!(fields, ["spec.evidence"]);
    }
    let classic = parsed(|spec| {
        (spec["evidence"], spec["objectives"][0]["indicator"]) = (json!("Pods"), latency("Classic"));
    });
    assert!(matches!(classic.expect("it is sound").objectives[0].indicator, Indicator::Latency(_)));
}

#[test]
fn control_pods_are_a_number_and_need_a_rule_that_compares() {
    assert_eq!(parsed(|spec| spec["monitor"]["controlPods"] = json!(7)).expect("sound").monitor.control_pods, 7);
    for pods in [-1, 101] {
        assert_eq!(wrong(|spec| spec["monitor"]["controlPods"] = json!(pods)), ["spec.monitor.controlPods"]);
    }
    let threshold = |spec: &mut Value, pods: u32| {
        (spec["detection"]["rule"], spec["monitor"]["controlPods"]) = (json!("Threshold"), json!(pods));
    };
    assert_eq!(wrong(|spec| threshold(spec, 2)), ["spec.monitor.controlPods"]);
    assert_eq!(parsed(|spec| threshold(spec, 0)).expect("sound").monitor.control_pods, 0);
}

#[test]
fn labels_and_expressions_must_all_match() {
    let policy = parsed(|spec| {
        spec["selector"]["matchExpressions"] = json!([{"key": "tier", "operator": "NotIn", "values": ["batch"]}]);
    });
    let selector = policy.expect("it is sound").selector;
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert!(selector.matches(&labels(&[("app", "ofen")])));
    assert!(!selector.matches(&labels(&[("app", "ofen"), ("tier", "batch")])));
    assert!(!selector.matches(&labels(&[("tier", "web")])));
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let fields = wrong(|spec| {
        spec["selector"] = json!({});
        spec["detection"] = json!({"looks": 0, "confidence": "49"});
        spec["objectives"][0]["window"] = json!("4w");
        spec["objectives"][0]["indicator"] = json!({});
    });
    assert_eq!(
        fields,
        [
            "spec.selector",
            "spec.detection.looks",
            "spec.detection.confidence",
            "spec.objectives[0].window",
            "spec.objectives[0].indicator",
        ]
    );
}

#[test]
fn a_violation_that_total_failure_does_not_exceed_is_refused() {
    let violation = |text: &'static str| parsed(|spec| spec["detection"] = json!({"violation": text}));
    assert!(violation("1999.9").is_ok());
    let [error] = violation("2000").expect_err("it can never be exceeded").try_into().expect("one error");
    assert_eq!(
        error.to_string(),
        "spec.detection.violation: objective verfuegbar cannot burn faster than 2000x; write less"
    );
}

#[test]
fn the_objectives_names_are_unique() {
    let fields = wrong(|spec| {
        let twin = spec["objectives"][0].clone();
        spec["objectives"].as_array_mut().expect("a list").push(twin);
    });
    assert_eq!(fields, ["spec.objectives[1].name"]);
}

#[test]
fn monitoring_lasts_for_one_window_at_least() {
    let timeout = |text: &'static str| parsed(|spec| spec["monitor"] = json!({"timeout": text}));
    assert!(timeout("30s").is_ok());
    assert!(timeout("29s").is_err());
    assert!(timeout("24h1s").is_err());
}

#[test]
fn looks_are_whole_seconds_apart() {
    let detection =
        |window: &'static str, looks: i32| parsed(|spec| spec["detection"] = json!({"window": window, "looks": looks}));
    for (window, looks) in [("30s", 6), ("5s", 5), ("1m40s", 10)] {
        assert!(detection(window, looks).is_ok(), "{looks} looks in {window}");
    }
    for (window, looks) in [("30s", 4), ("5s", 6), ("1m40s", 8)] {
        let [error] = detection(window, looks).expect_err("a fraction").try_into().expect("one error");
        assert!(
            error.to_string().starts_with("spec.detection.looks: window must be a whole number of seconds"),
            "{error}"
        );
    }
}

#[test]
fn a_burn_rate_says_how_soon_it_spends_the_budget() {
    let policy = parsed(|_| {}).expect("it is sound");
    let burn = BurnRate::parse("14").expect("a burn rate");
    assert_eq!(policy.objectives[0].exhausted_in(burn), Some(Duration::from_secs(2 * 86_400)));
    let nothing = BurnRate::of_ratio(0.0, policy.objectives[0].budget);
    assert_eq!(policy.objectives[0].exhausted_in(nothing), None);
}

proptest! {
    /// What every later stage relies on, whatever was written.
    #[test]
    fn whatever_is_accepted_can_be_enforced(
        window in "[0-9]{1,3}(s|m|h)", looks in -1..12_i32, violation in "[0-9]{1,4}(\\.[0-9]{1,3})?",
        warning in "[0-9]{1,2}(\\.[0-9]{1,3})?", target in "[0-9]{1,3}(\\.[0-9]{1,6})?", confidence in "[0-9]{1,3}",
    ) {
        let policy = parsed(|spec| {
            spec["detection"] = json!({
                "window": window, "looks": looks, "violation": violation, "warning": warning, "confidence": confidence,
            });
            spec["objectives"][0]["target"] = json!(target);
            spec["monitor"] = json!({"timeout": "24h"});
        });
        match policy {
            Ok(policy) => {
                let detection = &policy.detection;
                prop_assert!(detection.look_interval() >= Duration::from_secs(1));
                prop_assert_eq!(detection.look_interval().subsec_nanos(), 0);
                prop_assert!(detection.warning <= detection.violation);
                prop_assert!(detection.confidence.alpha() > 0.0 && detection.confidence.alpha() <= 0.5);
                for objective in &policy.objectives {
                    let highest = detection.violation.factor() * objective.budget.ratio();
                    prop_assert!(highest > 0.0 && highest < 1.0, "{highest}");
                }
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }
}

fn with_latency(latency: Value, change: impl FnOnce(&mut Value)) -> Result<Policy, Vec<PolicyError>> {
    parsed(|spec| {
        spec["objectives"][0]["indicator"] = json!({"latency": latency});
        change(spec);
    })
}

#[test]
fn a_latency_has_a_threshold_and_a_warmup_of_its_own() {
    let latency = json!({"histogram": "latency_seconds", "threshold": "1s500ms"});
    let policy = with_latency(latency.clone(), |_| {}).expect("it is sound");
    let read = Latency {
        histogram: "latency_seconds".to_owned(),
        threshold: Duration::from_millis(1500),
        kind: HistogramType::Classic,
        unit: None,
    };
    assert_eq!(policy.objectives[0].indicator, Indicator::Latency(read));
    assert_eq!(policy.objectives[0].warmup, Duration::from_secs(30));
    let ratio = parsed(|_| {}).expect("it is sound");
    assert_eq!(ratio.objectives[0].warmup, Duration::ZERO);
    let same = with_latency(latency, |spec| spec["detection"] = json!({"warmup": "10s"})).expect("it is sound");
    assert_eq!(same.objectives[0].warmup, Duration::from_secs(10));
    for threshold in ["0s", "2h", "1.5s", "fast"] {
        let errors = with_latency(json!({"histogram": "x", "threshold": threshold}), |_| {}).expect_err(threshold);
        assert_eq!(errors[0].field, "spec.objectives[0].indicator.latency.threshold");
    }
}

#[test]
fn a_warmup_leaves_time_to_look() {
    let latency = || json!({"histogram": "latency_seconds", "threshold": "250ms"});
    let errors = with_latency(latency(), |spec| spec["monitor"] = json!({"timeout": "59s"})).expect_err("too short");
    assert_eq!(errors[0].field, "spec.monitor.timeout");
    assert!(with_latency(latency(), |spec| spec["monitor"] = json!({"timeout": "60s"})).is_ok());
    let canary = json!({"hold": "20s", "maximumHold": "30s"});
    let errors = with_latency(latency(), |spec| spec["canary"] = canary).expect_err("too short");
    assert_eq!(errors[0].field, "spec.canary.maximumHold");
}
