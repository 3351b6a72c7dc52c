use super::*;

/// What an SLO with this spec comes to, beside these other objects.
fn of(spec: Value, others: Vec<Value>) -> Imported {
    let slo = json!({"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "ofen"}, "spec": spec});
    let objects: Vec<Value> = others.into_iter().chain([slo]).collect();
    import(&objects, None)
}

fn metric(query: &str) -> Value {
    json!({"metricSource": {"type": "Prometheus", "spec": {"query": query}}})
}

fn spec(ratio: Value) -> Value {
    json!({
        "service": "ofen",
        "indicator": {"metadata": {"name": "i"}, "spec": {"ratioMetric": ratio}},
        "timeWindow": [{"duration": "30d", "isRolling": true}],
        "objectives": [{"target": 0.99}],
    })
}

fn sound() -> Value {
    spec(json!({"counter": true, "bad": metric("e"), "total": metric("t")}))
}

#[test]
fn targets_are_exact() {
    for (objective, percent) in [
        (json!({"target": 0.999}), "99.9"),
        (json!({"target": 0.9995}), "99.95"),
        (json!({"targetPercent": 99.99}), "99.99"),
        (json!({"target": 0.5}), "50"),
    ] {
        assert_eq!(target(&objective).as_deref(), Ok(percent));
    }
    for objective in [json!({"target": 1.0}), json!({"target": 0}), json!({"targetPercent": 100}), json!({})] {
        assert!(target(&objective).is_err(), "{objective}");
    }
}

#[test]
fn windows_are_days_or_hours_and_what_changes_is_noted() {
    let window = |window: Value| {
        let mut spec = sound();
        spec["timeWindow"] = json!([window]);
        let imported = of(spec, Vec::new());
        (imported.objectives[0]["window"].as_str().map(ToOwned::to_owned), imported.notes.len())
    };
    assert_eq!(window(json!({"duration": "4w", "isRolling": true})), (Some("28d".to_owned()), 0));
    assert_eq!(window(json!({"duration": "36h", "isRolling": true})), (Some("36h".to_owned()), 0));
    assert_eq!(window(json!({"duration": "1M", "isRolling": true})), (Some("30d".to_owned()), 1));
    assert_eq!(window(json!({"duration": "1Y", "isRolling": true})), (Some("90d".to_owned()), 1));
    let calendar = json!({"duration": "1M", "isRolling": false, "calendar": {"startTime": "2030-01-01"}});
    assert_eq!(window(calendar), (Some("30d".to_owned()), 1));
    assert_eq!(window(json!({"duration": "soon"})), (None, 1));
    let mut without = sound();
    without["timeWindow"] = Value::Null;
    assert_eq!(of(without, Vec::new()).notes, ["SLO ofen: spec.timeWindow is not there: the window is 28d"]);
}

#[test]
fn an_indicator_may_be_of_its_own_and_is_found_by_name() {
    let sli = json!({
        "apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "errors"},
        "spec": {"ratioMetric": {"counter": true, "bad": metric("e"), "total": metric("t")}},
    });
    let mut spec = sound();
    spec["indicator"] = Value::Null;
    spec["indicatorRef"] = json!("errors");
    assert_eq!(of(spec.clone(), vec![sli.clone()]).objectives[0]["indicator"]["ratio"]["errors"], json!("e"));
    spec["indicatorRef"] = json!("latency");
    assert_eq!(
        of(spec, vec![sli]).refused,
        ["SLO ofen: spec.objectives[0]: indicatorRef: the file has no SLI latency; it has errors"]
    );
}

#[test]
fn several_objectives_have_names_of_their_own() {
    let mut spec = sound();
    spec["objectives"] = json!([{"target": 0.99, "displayName": "Most of it"}, {"target": 0.9}]);
    let imported = of(spec, Vec::new());
    let names: Vec<_> = imported.objectives.iter().map(|objective| objective["name"].clone()).collect();
    assert_eq!(names, [json!("ofen-most-of-it"), json!("ofen-2")]);
}

#[test]
fn good_and_bad_of_one_label_are_a_total() {
    let ratio = json!({"counter": true, "good": metric(r#"t{ok="yes"}"#), "bad": metric(r#"t{ok!="yes"}"#)});
    let imported = of(spec(ratio), Vec::new());
    assert_eq!(imported.objectives[0]["indicator"]["ratio"], json!({"errors": r#"t{ok!="yes"}"#, "total": "t"}));
}

#[test]
fn what_is_no_ratio_of_counters_is_refused_with_what_to_write() {
    for (ratio, says) in [
        (json!({"counter": true, "good": metric("g"), "total": metric("t")}), "write ratioMetric.bad"),
        (json!({"counter": true, "good": metric("g"), "bad": metric("b")}), "write ratioMetric.total"),
        (json!({"counter": true, "total": metric("t")}), "write bad and total"),
        (json!({"counter": false, "bad": metric("b"), "total": metric("t")}), "ratioMetric.counter is false"),
        (json!({"counter": true, "rawType": "success", "raw": metric("r")}), "ratioMetric.raw is a ratio already"),
        (
            json!({"counter": true, "bad": metric("rate(b[5m])"), "total": metric("rate(t[1h])")}),
            "not over the same time",
        ),
        (
            json!({"counter": true, "bad": {"metricSource": {"type": "Datadog", "spec": {"query": "b"}}}, "total": metric("t")}),
            "metricSource is Datadog",
        ),
    ] {
        let refused = of(spec(ratio), Vec::new()).refused;
        assert!(refused.len() == 1 && refused[0].contains(says), "{says}: {refused:?}");
    }
    let mut threshold = sound();
    threshold["indicator"] = json!({"spec": {"thresholdMetric": metric("latency")}});
    let refused = &of(threshold, Vec::new()).refused[0];
    assert!(refused.contains("thresholdMetric: latency says of moments and not of requests"), "{refused}");
}

#[test]
fn what_says_more_than_a_policy_can_is_noted() {
    let mut spec = sound();
    spec["alertPolicies"] = json!(["page"]);
    spec["budgetingMethod"] = json!("Timeslices");
    let notes = of(spec, Vec::new()).notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("spec.alertPolicies is not carried over"));
    assert!(notes[1].contains("spec.budgetingMethod: Timeslices is not carried over"));
}

#[test]
fn another_version_is_refused_and_other_kinds_are_passed_over() {
    let objects = [
        json!({"apiVersion": "openslo/v1alpha", "kind": "SLO", "metadata": {"name": "old"}}),
        json!({"apiVersion": "v1", "kind": "Service"}),
        json!({"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "ofen"}}),
    ];
    let imported = import(&objects, None);
    assert_eq!((imported.refused.len(), imported.skipped), (1, 1));
    assert!(imported.refused[0].contains("write openslo/v1"));
}

#[test]
fn a_quantile_of_a_histogram_becomes_a_latency_and_its_target() {
    let mut spec = sound();
    let query = r#"histogram_quantile(0.99, sum by (le) (rate(dauer_seconds_bucket{namespace="laden"}[5m])))"#;
    spec["indicator"] = json!({"spec": {"thresholdMetric": metric(query)}});
    spec["objectives"] = json!([{"op": "lte", "value": 0.5, "target": 0.95}]);
    let imported = of(spec, Vec::new());
    let latency = json!({"histogram": r#"dauer_seconds{namespace="laden"}"#, "threshold": "500ms"});
    assert_eq!(
        imported.objectives,
        [json!({"name": "ofen", "target": "99", "window": "30d", "indicator": {"latency": latency}})]
    );
    assert_eq!(imported.namespaces, ["laden"]);
    assert!(
        imported.notes.len() == 1 && imported.notes[0].contains("its target is of moments"),
        "{:?}",
        imported.notes
    );
}
