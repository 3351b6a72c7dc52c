#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::act::annotations::RevisionName;
use crate::decide::action::Room;
use crate::decide::state::Cause;
use crate::watch::annotations::{APPROVE, RELEASE};

fn object(value: Value) -> Object {
    Object::new(value).unwrap()
}

/// What the API server makes of the patch.
fn patched(object: &Object, patch: &Patch) -> Value {
    let mut value = object.value().clone();
    json_patch::patch(&mut value, patch).unwrap();
    value
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "kettle"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn deployment(annotations: Value, paused: bool) -> Object {
    let mut value = json!({
        "metadata": {"uid": "uid-of-kettle", "generation": 41, "annotations": annotations},
        "spec": {"replicas": 3, "template": template("web:teal")},
    });
    if paused {
        value["spec"]["paused"] = json!(true);
    }
    object(value)
}

fn stable(annotations: Value) -> Object {
    let mut template = template("web:umber");
    template["metadata"]["labels"]["pod-template-hash"] = json!("6d4f");
    template["spec"]["fieldOfALaterKubernetes"] = json!({"kept": [1]});
    object(json!({
        "metadata": {"uid": "uid-of-umber", "generation": 5, "annotations": annotations},
        "spec": {"replicas": 1, "template": template},
    }))
}

fn hold() -> Hold {
    Hold { policy: "checkout".to_owned(), cause: Cause::SharedCause }
}

fn done() -> RollbackRecord {
    let name = |colour: &str, revision| RevisionName { replica_set: format!("kettle-{colour}"), revision };
    RollbackRecord {
        from: name("teal", 7),
        to: name("umber", 6),
        at: "2026-03-04T05:06:07Z".parse().unwrap(),
        reason: "burn rate 14.2x".to_owned(),
        policy: "checkout".to_owned(),
    }
}

const HELD: &str = r#"{"policy":"checkout","reason":"SharedCause"}"#;
const MARK: &str = r#"{"uid":"uid-of-umber","reason":"burn","at":"2026-03-04T05:06:07Z","policy":"checkout"}"#;

/// What is left of these annotations.
fn left(annotations: Value, change: impl Fn(&Object) -> Option<Patch>) -> Value {
    let found = deployment(annotations, false);
    let after = change(&found).map_or_else(|| found.value().clone(), |patch| patched(&found, &patch));
    after["metadata"]["annotations"].clone()
}

#[test]
fn every_patch_of_a_deployment_tests_its_uid_and_generation_first() {
    let held = deployment(json!({HOLD: HELD, APPROVE: "tea", CONDEMNED: MARK}), true);
    let canary = CanaryHold { hold: hold(), paused: false, room: Room::Beside(1) };
    let patches = [
        pause(&deployment(json!({}), false), &hold()).unwrap(),
        hold_canary(&held, &canary).unwrap(),
        release(&held).unwrap(),
        answer(&held).unwrap(),
        pardon_copy(&held, "uid-of-umber").unwrap(),
        roll_back(&held, &stable(json!({})), &done()),
    ];
    for patch in patches {
        assert_eq!(patch.0[0], test(&["metadata", "uid"], json!("uid-of-kettle")));
        assert_eq!(patch.0[1], test(&["metadata", "generation"], json!(41)));
    }
}

#[test]
fn a_pause_says_who_holds_and_why_also_where_there_are_no_annotations_yet() {
    let bare = object(json!({"metadata": {"uid": "u", "generation": 1}, "spec": {"template": {}}}));
    for found in [bare, deployment(json!({"keep": "me"}), false)] {
        let after = patched(&found, &pause(&found, &hold()).unwrap());
        assert_eq!(after["spec"]["paused"], true);
        assert_eq!(after["metadata"]["annotations"][HOLD], HELD);
        assert_eq!(after["metadata"]["annotations"].get("keep"), found.value()["metadata"]["annotations"].get("keep"));
    }
}

#[test]
fn a_pause_of_the_owners_own_is_neither_taken_over_nor_lifted() {
    let theirs = deployment(json!({}), true);
    assert_eq!(pause(&theirs, &hold()), None);
    assert_eq!(release(&theirs), None);
    let after = patched(&theirs, &roll_back(&theirs, &stable(json!({})), &done()));
    assert_eq!(after["spec"]["paused"], true);
}

#[test]
fn the_same_hold_is_not_written_twice_and_another_reason_is() {
    let held = deployment(json!({HOLD: HELD}), true);
    assert_eq!(pause(&held, &hold()), None);
    let otherwise = deployment(json!({HOLD: r#"{"policy":"checkout","reason":"Rejected"}"#}), true);
    assert_eq!(patched(&otherwise, &pause(&otherwise, &hold()).unwrap())["metadata"]["annotations"][HOLD], HELD);
}

#[test]
fn a_release_leaves_nothing_of_ours_and_is_not_made_twice() {
    let held = deployment(json!({HOLD: HELD, "keep": "me"}), true);
    let after = patched(&held, &release(&held).unwrap());
    assert_eq!(after["spec"].get("paused"), None);
    assert_eq!(after["metadata"]["annotations"], json!({"keep": "me"}));
    assert_eq!(release(&object(after)), None);
}

#[test]
fn where_someone_has_resumed_it_already_only_our_annotation_goes() {
    let resumed = deployment(json!({HOLD: HELD}), false);
    let after = patched(&resumed, &release(&resumed).unwrap());
    assert_eq!(after["metadata"]["annotations"], json!({}));
    assert_eq!(after["spec"], resumed.value()["spec"]);
}

#[test]
fn a_rollback_restores_the_whole_template_and_lifts_our_pause() {
    let held = deployment(json!({HOLD: HELD}), true);
    let after = patched(&held, &roll_back(&held, &stable(json!({})), &done()));
    let mut expected = template("web:umber");
    expected["spec"]["fieldOfALaterKubernetes"] = json!({"kept": [1]});
    assert_eq!(after["spec"]["template"], expected, "all of it, and without pod-template-hash");
    assert_eq!(after["spec"].get("paused"), None);
    let annotations = after["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), [ROLLED_BACK]);
    assert_eq!(
        annotations[ROLLED_BACK],
        concat!(
            r#"{"from":{"replicaSet":"kettle-teal","revision":7},"to":{"replicaSet":"kettle-umber","revision":6},"#,
            r#""at":"2026-03-04T05:06:07Z","reason":"burn rate 14.2x","policy":"checkout"}"#
        )
    );
}

#[test]
fn the_change_cause_becomes_the_stable_revisions_own() {
    let bad = deployment(json!({CHANGE_CAUSE: "teal at last"}), false);
    let cause = |annotations| {
        let after = patched(&bad, &roll_back(&bad, &stable(annotations), &done()));
        after["metadata"]["annotations"].get(CHANGE_CAUSE).cloned()
    };
    assert_eq!(cause(json!({CHANGE_CAUSE: "umber it is"})), Some(json!("umber it is")));
    assert_eq!(cause(json!({})), None);
}

#[test]
fn kubectls_record_gets_the_stable_template_and_keeps_the_rest() {
    let manifest = json!({"kind": "Deployment", "spec": {"replicas": 3, "template": template("web:teal")}});
    let bad = deployment(json!({LAST_APPLIED: manifest.to_string()}), false);
    let after = patched(&bad, &roll_back(&bad, &stable(json!({})), &done()));
    let record = after["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    assert_eq!(record["spec"]["template"]["spec"]["containers"], json!([{"name": "web", "image": "web:umber"}]));
    assert_eq!(record["spec"]["replicas"], 3);
    assert_eq!(record["kind"], "Deployment");
}

#[test]
fn a_condemned_mark_is_written_once_and_a_copied_one_is_replaced() {
    let mark = Condemned {
        uid: "uid-of-umber".to_owned(),
        reason: "burn rate 14.2x".to_owned(),
        at: "2026-03-04T05:06:07Z".parse().unwrap(),
        policy: "checkout".to_owned(),
    };
    let copied = Condemned { uid: "uid-of-teal".to_owned(), ..mark.clone() };
    let found = stable(json!({CONDEMNED: json(&copied)}));
    assert_eq!(existing_mark(&found), None);
    let after = object(patched(&found, &condemn(&found, &mark).unwrap()));
    assert_eq!(existing_mark(&after), Some(mark.clone()));
    let later = Condemned { at: "2026-03-04T06:00:00Z".parse().unwrap(), ..mark };
    assert_eq!(condemn(&after, &later), None);
}

#[test]
fn a_rollback_takes_away_what_people_asked_for_who_brought_the_template_and_what_was_noted_in_its_hold() {
    let asked =
        ASKS.into_iter().chain(NOTES).chain([REQUESTED_BY, RELEASE, "keep"]).map(|key| (key.to_owned(), json!("tea")));
    let found = deployment(Value::Object(asked.collect()), false);
    let after = patched(&found, &roll_back(&found, &stable(json!({})), &done()));
    let left: Vec<_> = after["metadata"]["annotations"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(left, [RELEASE, ROLLED_BACK, "keep"]);
}

#[test]
fn an_answer_takes_away_what_was_asked_and_nothing_else() {
    let asked = ASKS.into_iter().chain([HOLD, REQUESTED_BY, "keep"]).map(|key| (key.to_owned(), json!("tea")));
    let expected = json!({HOLD: "tea", REQUESTED_BY: "tea", "keep": "tea"});
    assert_eq!(left(Value::Object(asked.collect()), answer), expected);
    assert_eq!(answer(&deployment(expected, false)), None);
}

#[test]
fn a_pardon_takes_the_mark_and_its_copy_away() {
    let condemned = stable(json!({CONDEMNED: MARK, "keep": "me"}));
    let patch = pardon(&condemned).unwrap();
    assert_eq!(patch.0[0], test(&["metadata", "uid"], json!("uid-of-umber")));
    assert_eq!(patched(&condemned, &patch)["metadata"]["annotations"], json!({"keep": "me"}));
    assert_eq!(pardon(&stable(json!({"keep": "me"}))), None);

    let copied = json!({CONDEMNED: MARK});
    assert_eq!(left(copied.clone(), |found| pardon_copy(found, "uid-of-umber")), json!({}));
    assert_eq!(left(copied.clone(), |found| pardon_copy(found, "uid-of-teal")), copied, "it is of another ReplicaSet");
}
