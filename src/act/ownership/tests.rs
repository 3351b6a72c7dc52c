#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn entry(manager: &str, operation: &str, time: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": time,
        "fieldsType": "FieldsV1", "fieldsV1": fields})
}

fn template(fields: Value) -> Value {
    json!({"f:spec": {"f:template": {"f:spec": fields}}})
}

fn deployment(managed_fields: Value) -> Object {
    Object::new(json!({
        "metadata": {"uid": "uid-of-kettle", "generation": 41, "managedFields": managed_fields},
        "spec": {"template": {}},
    }))
    .unwrap()
}

/// The entries after the patch, by manager.
fn handed_back(now: &Object, before: Option<&Object>) -> BTreeMap<String, Value> {
    let before = before.map(Owners::of);
    let mut value = now.value().clone();
    json_patch::patch(&mut value, &hand_back(now, before.as_ref()).unwrap()).unwrap();
    let entries = value["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().map(|entry| (entry["manager"].as_str().unwrap().to_owned(), entry["fieldsV1"].clone())).collect()
}

#[test]
fn a_field_set_is_written_as_it_was_read() {
    let tree =
        json!({"f:a": {".": {}, "f:b": {}, "k:{\"name\":\"web\"}": {".": {}, "f:name": {}}}, "f:c": {"v:\"x\"": {}}});
    assert_eq!(FieldSet::parse(&tree).to_value(), tree);
}

#[test]
fn what_we_took_goes_back_and_our_own_annotation_stays_ours() {
    let mine = json!({"f:metadata": {"f:annotations": {"f:errorbudget.dev/rolled-back": {}}},
        "f:spec": {"f:template": {"f:spec": {"f:a": {}, "f:dropped": {}}}}});
    let before = deployment(json!([entry("gitops", "Apply", "1", template(json!({"f:a": {}, "f:b": {}})))]));
    let now = deployment(json!([
        entry("gitops", "Apply", "1", template(json!({"f:b": {}}))),
        entry(FIELD_MANAGER, "Update", "2", mine),
    ]));
    let expected = BTreeMap::from([
        ("gitops".to_owned(), template(json!({"f:a": {}, "f:b": {}, "f:dropped": {}}))),
        (FIELD_MANAGER.to_owned(), json!({"f:metadata": {"f:annotations": {"f:errorbudget.dev/rolled-back": {}}}})),
    ]);
    assert_eq!(handed_back(&now, Some(&before)), expected);
    assert_eq!(handed_back(&now, None), expected, "a successor comes to the same");
}

#[test]
fn each_of_two_appliers_gets_back_what_was_its_own_and_the_last_writer_what_it_dropped() {
    let early = entry("early", "Apply", "2026-01-01T00:00:00Z", template(json!({"f:a": {}, "f:keep": {}})));
    let late = entry("late", "Apply", "2026-01-02T00:00:00Z", template(json!({"f:b": {}})));
    let before = deployment(json!([early, late]));
    let now = deployment(json!([
        entry("early", "Apply", "2026-01-01T00:00:00Z", template(json!({"f:keep": {}}))),
        entry(FIELD_MANAGER, "Update", "3", template(json!({"f:a": {}, "f:b": {}, "f:dropped": {}}))),
    ]));
    let expected = BTreeMap::from([
        ("early".to_owned(), template(json!({"f:a": {}, "f:keep": {}}))),
        ("late".to_owned(), template(json!({"f:b": {}, "f:dropped": {}}))),
    ]);
    assert_eq!(handed_back(&now, Some(&before)), expected, "also an entry that was emptied is there again");
}

#[test]
fn an_applier_is_preferred_to_someone_who_edited_later() {
    let before = deployment(json!([
        entry("gitops", "Apply", "1", template(json!({"f:a": {}}))),
        entry("kubectl-edit", "Update", "2", template(json!({"f:b": {}}))),
    ]));
    let now = deployment(json!([
        entry("gitops", "Apply", "1", template(json!({"f:a": {}}))),
        entry(FIELD_MANAGER, "Update", "3", template(json!({"f:b": {}, "f:dropped": {}}))),
    ]));
    let found = handed_back(&now, Some(&before));
    assert_eq!(found["gitops"], template(json!({"f:a": {}, "f:dropped": {}})));
    assert_eq!(found["kubectl-edit"], template(json!({"f:b": {}})), "and the edit stays whose it was");
}

#[test]
fn a_status_update_in_between_does_not_matter_and_another_apply_does() {
    let gitops = |fields| entry("gitops", "Apply", "1", template(fields));
    let status = |time| {
        let mut entry = entry("kube-controller-manager", "Update", time, json!({"f:status": {"f:replicas": {}}}));
        entry["subresource"] = json!("status");
        entry
    };
    let mine = entry(FIELD_MANAGER, "Update", "2", template(json!({"f:a": {}})));
    let read = deployment(json!([gitops(json!({"f:b": {}})), mine, status("3")]));
    let patch = hand_back(&read, None).unwrap();
    let accepted = |object: Object| json_patch::patch(&mut object.value().clone(), &patch).is_ok();
    assert!(accepted(deployment(json!([gitops(json!({"f:b": {}})), mine, status("4")]))));
    assert!(!accepted(deployment(json!([gitops(json!({"f:b": {}, "f:c": {}})), mine, status("3")]))));
}

#[test]
fn where_nothing_of_the_template_is_ours_there_is_nothing_to_do() {
    let gitops = entry("gitops", "Apply", "1", template(json!({"f:a": {}})));
    let mine = json!({"f:metadata": {"f:annotations": {".": {}, "f:errorbudget.dev/rolled-back": {}}}});
    assert_eq!(hand_back(&deployment(json!([])), None), None);
    assert_eq!(hand_back(&deployment(json!([gitops, entry(FIELD_MANAGER, "Update", "2", mine)])), None), None);
}

fn settings(fields: Value) -> Value {
    json!({"f:spec": fields})
}

#[test]
fn in_the_hold_an_appliers_settings_go_back_to_it_and_no_other_is_ours() {
    let rolling = |fields: Value| json!({"f:rollingUpdate": fields});
    let applied = settings(json!({"f:paused": {}, "f:strategy": rolling(json!({"f:maxSurge": {}}))}));
    let before = deployment(json!([entry("gitops", "Apply", "1", applied.clone())]));
    let both = rolling(json!({"f:maxSurge": {}, "f:maxUnavailable": {}}));
    let mut mine = settings(json!({"f:paused": {}, "f:minReadySeconds": {}, "f:strategy": both}));
    mine["f:metadata"] = json!({"f:annotations": {"f:errorbudget.dev/hold": {}}});
    let now = deployment(json!([entry(FIELD_MANAGER, "Update", "2", mine.clone())]));
    let mut value = now.value().clone();
    json_patch::patch(&mut value, &hand_back_in_hold(&now, &Owners::of(&before)).unwrap()).unwrap();
    let entries = value["metadata"]["managedFields"].as_array().unwrap();
    let owned: Vec<_> = entries.iter().map(|entry| (&entry["manager"], &entry["fieldsV1"])).collect();
    mine.as_object_mut().unwrap().remove("f:spec");
    assert_eq!(owned, [(&json!(FIELD_MANAGER), &mine), (&json!("gitops"), &applied)]);
}

#[test]
fn in_the_hold_nothing_is_handed_back_where_nobody_applies() {
    let before =
        deployment(json!([entry("kubectl-client-side-apply", "Update", "1", settings(json!({"f:paused": {}})))]));
    let now = deployment(json!([entry(FIELD_MANAGER, "Update", "2", settings(json!({"f:paused": {}})))]));
    assert_eq!(hand_back_in_hold(&now, &Owners::of(&before)), None);
}

#[test]
fn after_the_release_no_setting_is_ours_also_where_nobody_else_owned_it() {
    let gitops = entry("gitops", "Apply", "1", settings(json!({"f:minReadySeconds": {}, "f:replicas": {}})));
    let left = entry("gitops", "Apply", "1", settings(json!({"f:replicas": {}})));
    let restored = settings(json!({"f:minReadySeconds": {}, "f:progressDeadlineSeconds": {}}));
    let now = deployment(json!([left, entry(FIELD_MANAGER, "Update", "2", restored)]));
    let found = handed_back(&now, Some(&deployment(json!([gitops.clone()]))));
    assert_eq!(found, BTreeMap::from([("gitops".to_owned(), gitops["fieldsV1"].clone())]));
    let found = handed_back(&now, None);
    assert_eq!(
        found,
        BTreeMap::from([("gitops".to_owned(), settings(json!({"f:replicas": {}})))]),
        "a successor's way"
    );
}
