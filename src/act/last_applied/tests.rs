#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

/// The template's record after a rollback, given the one the bad manifest left.
fn record(manifest: &Value, bad: &Value, stable: &Value) -> Value {
    let text = json!({"spec": {"template": manifest}}).to_string();
    let text = restored(&text, bad, stable).unwrap();
    assert!(text.ends_with('\n'));
    serde_json::from_str::<Value>(&text).unwrap()["spec"]["template"].take()
}

#[test]
fn what_the_bad_manifest_dropped_is_in_the_record_again() {
    let stable = json!({"spec": {"containers": [
        {"name": "web", "image": "a", "env": [{"name": "KETTLE", "value": "on"}]}, {"name": "side", "image": "s"}]}});
    let bad = json!({"spec": {"containers": [{"name": "web", "image": "b"}]}});
    assert_eq!(record(&bad, &bad, &stable), stable);
}

#[test]
fn what_it_added_is_not() {
    let stable = json!({"spec": {"containers": [{"name": "web", "image": "a"}]}});
    let bad = json!({"spec": {"containers": [
        {"name": "web", "image": "a", "env": [{"name": "KETTLE"}]}, {"name": "side", "image": "s"}]}});
    assert_eq!(record(&bad, &bad, &stable), stable);
}

#[test]
fn defaults_and_other_peoples_edits_that_both_templates_have_stay_out_of_it() {
    let common = |image: &str| {
        json!({"metadata": {"annotations": {"restartedAt": "noon"}},
            "spec": {"restartPolicy": "Always", "containers": [{"name": "web", "image": image, "resources": {}}]}})
    };
    let manifest = |image: &str| json!({"spec": {"containers": [{"name": "web", "image": image}]}});
    assert_eq!(record(&manifest("b"), &common("b"), &common("a")), manifest("a"));
}

#[test]
fn a_value_that_the_bad_manifest_left_to_its_default_is_in_the_record_again() {
    let stable = json!({"spec": {"terminationGracePeriodSeconds": 60, "containers": []}});
    let bad = json!({"spec": {"terminationGracePeriodSeconds": 30, "containers": []}});
    assert_eq!(record(&json!({"spec": {"containers": []}}), &bad, &stable), stable);
}

#[test]
fn ports_are_told_apart_by_number_and_protocol() {
    let web = |ports: Value| json!({"spec": {"containers": [{"name": "dns", "ports": ports}]}});
    let stable = web(json!([{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]));
    let bad = web(json!([{"containerPort": 53, "protocol": "TCP"}]));
    let manifest = web(json!([{"containerPort": 53}]));
    let expected = web(json!([{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]));
    let found = record(&manifest, &bad, &stable);
    assert_eq!(found, expected);
}

#[test]
fn a_list_without_names_counts_as_a_whole() {
    let web = |args: Value| json!({"spec": {"containers": [{"name": "web", "args": args}]}});
    let stable = web(json!(["--kettle", "on"]));
    assert_eq!(record(&web(json!(["--kettle"])), &web(json!(["--kettle"])), &stable), stable);
}

#[test]
fn what_is_no_manifest_of_a_template_is_left_alone() {
    for text in ["", "[]", "{}", r#"{"spec":{"template":3}}"#] {
        assert_eq!(restored(text, &json!({}), &json!({})), None, "{text}");
    }
}
