//! A canary's hold and its release, as patches: what the owner has comes back, whatever happened meanwhile.
#![allow(clippy::unwrap_used)]

use json_patch::Patch;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::act::object::Object;
use crate::act::patch::{hold_canary, pause, release};
use crate::decide::action::{CanaryHold, Hold, Room};
use crate::decide::state::Cause;
use crate::watch::annotations::{
    HOLD, OWN_MIN_READY_SECONDS, OWN_PROGRESS_DEADLINE_SECONDS, OWN_STRATEGY, REQUESTED_BY,
};

fn deployment(spec: &Value) -> Object {
    let mut spec = spec.clone();
    spec["template"] = json!({"spec": {}});
    Object::new(json!({"metadata": {"uid": "u", "generation": 41, "annotations": {"keep": "me"}}, "spec": spec}))
        .unwrap()
}

/// What the API server makes of the patch.
fn after(object: &Object, patch: Option<Patch>) -> Object {
    let mut value = object.value().clone();
    if let Some(patch) = patch {
        json_patch::patch(&mut value, &patch).unwrap();
    }
    Object::new(value).unwrap()
}

/// What somebody else makes of it.
fn edited(object: &Object, edit: impl Fn(&mut Value)) -> Object {
    let mut value = object.value().clone();
    edit(&mut value);
    Object::new(value).unwrap()
}

fn canary(room: Room, paused: bool) -> CanaryHold {
    CanaryHold { hold: Hold { policy: "kasse".to_owned(), cause: Cause::NotConvicted }, paused, room }
}

fn held(object: &Object, room: Room, paused: bool) -> Object {
    after(object, hold_canary(object, &canary(room, paused)))
}

fn halted(object: &Object) -> Object {
    after(object, pause(object, &Hold { policy: "kasse".to_owned(), cause: Cause::SharedCause }))
}

fn released(object: &Object) -> Value {
    after(object, release(object)).value().clone()
}

fn mark(object: &Object) -> Value {
    serde_json::from_str(object.annotation(HOLD).unwrap()).unwrap()
}

const BLUE: (&str, i32) = ("25%", 7);

fn owners() -> Object {
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": BLUE.0, "maxUnavailable": 1}});
    deployment(&json!({"strategy": strategy, "minReadySeconds": BLUE.1, "progressDeadlineSeconds": 90}))
}

#[test]
fn an_armed_canary_has_room_for_its_pods_and_no_way_on() {
    for (room, max_surge, max_unavailable) in [(Room::Beside(3), 3, 0), (Room::InPlaceOf(2), 0, 2)] {
        let found = held(&owners(), room, false);
        let spec = &found.value()["spec"];
        let rolling = json!({"maxSurge": max_surge, "maxUnavailable": max_unavailable});
        assert_eq!(spec["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
        assert_eq!(
            (&spec["minReadySeconds"], &spec["progressDeadlineSeconds"]),
            (&json!(2147483646), &json!(2147483647))
        );
        assert_eq!(spec.get("paused"), None);
        let own = json!({"strategy": owners().value()["spec"]["strategy"], "minReadySeconds": 7, "progressDeadlineSeconds": 90});
        assert_eq!(mark(&found), json!({"policy": "kasse", "reason": "NotConvicted", "own": own, "room": rolling}));
    }
}

#[test]
fn a_latched_canary_differs_from_an_armed_one_in_the_pause_alone() {
    let armed = held(&owners(), Room::Beside(3), false);
    let latched = held(&armed, Room::Beside(3), true);
    assert_eq!(latched, edited(&armed, |value| value["spec"]["paused"] = json!(true)));
    assert_eq!(held(&latched, Room::Beside(3), false), armed, "and back");
}

#[test]
fn the_same_hold_is_not_written_twice() {
    for paused in [false, true] {
        let found = held(&owners(), Room::Beside(3), paused);
        assert_eq!(hold_canary(&found, &canary(Room::Beside(3), paused)), None);
        let reordered = edited(&found, |value| {
            let mark: Value = serde_json::from_str(value["metadata"]["annotations"][HOLD].as_str().unwrap()).unwrap();
            value["metadata"]["annotations"][HOLD] = json!(mark.to_string());
        });
        assert_eq!(
            hold_canary(&reordered, &canary(Room::Beside(3), paused)),
            None,
            "also when its JSON is written otherwise"
        );
    }
}

#[test]
fn a_pause_of_the_owners_own_is_not_held() {
    let theirs = edited(&owners(), |value| value["spec"]["paused"] = json!(true));
    assert_eq!(hold_canary(&theirs, &canary(Room::Beside(1), false)), None);
}

#[test]
fn a_pause_of_the_admission_policys_becomes_a_canarys_hold() {
    let marked = edited(&owners(), |value| {
        value["spec"]["paused"] = json!(true);
        value["metadata"]["annotations"][HOLD] = json!(r#"{"policy":"kasse","reason":"Validating"}"#);
        value["metadata"]["annotations"][REQUESTED_BY] = json!("ida");
    });
    let armed = held(&marked, Room::Beside(1), false);
    assert_eq!(armed.value()["spec"].get("paused"), None);
    assert_eq!(released(&armed), *owners().value(), "nothing of it is left");
}

#[test]
fn a_halted_canary_remembers_what_its_owner_has_and_a_plain_pause_has_nothing_to() {
    let found = halted(&held(&owners(), Room::Beside(3), false));
    assert_eq!(found.value()["spec"]["paused"], true);
    assert_eq!(mark(&found)["reason"], "SharedCause");
    assert_eq!(mark(&found)["own"], mark(&held(&owners(), Room::Beside(3), false))["own"]);
    assert_eq!(released(&found), *owners().value());
    assert_eq!(mark(&halted(&owners())), json!({"policy": "kasse", "reason": "SharedCause"}));
}

#[test]
fn what_the_owner_sets_in_the_hold_is_the_owners_own_from_then_on() {
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}});
    let latched = held(&owners(), Room::Beside(1), true);
    let applied = edited(&latched, |value| value["spec"]["strategy"] = strategy.clone());
    for found in [applied.clone(), halted(&applied), held(&applied, Room::Beside(3), true)] {
        let spec = released(&found)["spec"].clone();
        assert_eq!((&spec["strategy"], &spec["minReadySeconds"]), (&strategy, &json!(BLUE.1)));
    }
    assert_eq!(mark(&held(&applied, Room::Beside(3), true))["own"]["strategy"], strategy);
}

fn noted(object: &Object, notes: &Value) -> Object {
    edited(object, |value| {
        for (key, note) in notes.as_object().unwrap() {
            value["metadata"]["annotations"][key] = note.clone();
        }
    })
}

#[test]
fn what_the_admission_policy_notes_of_the_owners_word_counts_like_what_is_written() {
    let strategy = json!({"type": "Recreate"});
    let notes =
        json!({OWN_STRATEGY: strategy.to_string(), OWN_MIN_READY_SECONDS: "0", OWN_PROGRESS_DEADLINE_SECONDS: "60"});
    let found = noted(&held(&owners(), Room::Beside(1), true), &notes);
    let expected = edited(&owners(), |value| {
        value["spec"]["strategy"] = strategy.clone();
        value["spec"]["minReadySeconds"] = json!(0);
        value["spec"]["progressDeadlineSeconds"] = json!(60);
    });
    for later in [found.clone(), halted(&found), held(&found, Room::Beside(2), false)] {
        assert_eq!(released(&later), *expected.value(), "and no note is left");
    }
    let next = held(&found, Room::Beside(2), false);
    assert_eq!((mark(&next)["own"]["strategy"].clone(), next.annotation(OWN_STRATEGY)), (strategy, None));
}

#[test]
fn notes_without_a_hold_are_copies_and_go_with_the_annotation() {
    let notes = json!({HOLD: "{}", OWN_MIN_READY_SECONDS: "3", OWN_STRATEGY: r#"{"type":"Recreate"}"#});
    assert_eq!(released(&noted(&owners(), &notes)), *owners().value());
}

#[test]
fn a_note_that_is_no_setting_is_passed_over() {
    let notes = json!({OWN_STRATEGY: "Recreate", OWN_MIN_READY_SECONDS: "soon", OWN_PROGRESS_DEADLINE_SECONDS: ""});
    assert_eq!(released(&noted(&held(&owners(), Room::Beside(1), true), &notes)), *owners().value());
}

#[test]
fn a_noted_deadline_that_the_owners_other_settings_do_not_fit_is_not_kept() {
    let found = held(&owners(), Room::Beside(1), true);
    let too_short = noted(&found, &json!({OWN_PROGRESS_DEADLINE_SECONDS: "7"}));
    assert_eq!(released(&too_short), *owners().value(), "minReadySeconds is 7 too, and must be smaller");
}

#[test]
fn what_the_api_server_would_have_refused_without_the_hold_is_not_kept() {
    let latched = held(&owners(), Room::Beside(1), true);
    let applied = edited(&latched, |value| value["spec"]["minReadySeconds"] = json!(90));
    assert_eq!(released(&applied), *owners().value(), "the owner's deadline is 90 too, and must be larger");
    let lower = edited(&latched, |value| value["spec"]["minReadySeconds"] = json!(89));
    assert_eq!(released(&lower)["spec"]["minReadySeconds"], 89);
}

#[test]
fn the_room_of_a_step_before_is_not_taken_for_the_owners() {
    let first = held(&owners(), Room::Beside(1), true);
    let second = held(&first, Room::Beside(2), false);
    let third = held(&second, Room::InPlaceOf(2), true);
    assert_eq!(mark(&third)["own"], mark(&first)["own"]);
    assert_eq!(released(&third), *owners().value());
}

#[test]
fn without_the_annotation_a_release_gives_kubernetes_defaults_for_what_is_ours() {
    let annotations = |value: &mut Value| value["metadata"]["annotations"] = json!({"keep": "me"});
    let lost = edited(&held(&owners(), Room::Beside(1), true), annotations);
    let bare = json!({"template": {"spec": {}}});
    assert_eq!(released(&lost)["spec"], bare, "absent is what the API server fills in");

    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}});
    let written = edited(&lost, |value| value["spec"]["strategy"] = strategy.clone());
    assert_eq!(released(&written)["spec"]["strategy"], strategy, "what cannot be ours stays");
}

#[test]
fn an_annotation_that_an_undo_brought_back_does_not_move_what_the_owner_has_now() {
    let stale = held(&owners(), Room::Beside(1), false).annotation(HOLD).unwrap().to_owned();
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let now = deployment(&json!({"strategy": strategy, "minReadySeconds": 3, "progressDeadlineSeconds": 60}));
    let undone = edited(&now, |value| value["metadata"]["annotations"][HOLD] = json!(stale));
    assert_eq!(released(&undone), *now.value());
    assert_eq!(released(&held(&undone, Room::Beside(2), true)), *now.value());
}

#[test]
fn a_deployment_that_nobody_holds_is_not_released() {
    assert_eq!(release(&owners()), None);
    let none = deployment(&json!({"progressDeadlineSeconds": 2147483647, "paused": true}));
    assert_eq!(release(&none), None, "no deadline and a pause are the owner's right");
}

fn amount() -> impl Strategy<Value = Option<Value>> {
    option::of(prop_oneof![(0_u32..4).prop_map(Value::from), select(vec![json!("0%"), json!("25%"), json!("100%")]),])
}

fn strategy() -> impl Strategy<Value = Option<Value>> {
    let rolling = (amount(), amount()).prop_map(|(max_surge, max_unavailable)| {
        let fields = [("maxSurge", max_surge), ("maxUnavailable", max_unavailable)];
        let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        json!({"type": "RollingUpdate", "rollingUpdate": Value::Object(fields.collect())})
    });
    option::of(prop_oneof![
        4 => rolling,
        1 => Just(json!({"type": "Recreate"})),
        1 => Just(json!({"type": "OfALaterKubernetes", "ofALaterKubernetes": {"kept": [1]}})),
    ])
}

fn min_ready() -> impl Strategy<Value = Option<Value>> {
    option::of(select(vec![json!(0), json!(7), json!(2147483645)]))
}

fn deadline() -> impl Strategy<Value = Option<Value>> {
    option::of(select(vec![json!(1), json!(600), json!(2147483647)]))
}

/// Fields of `spec` with their values, where they are there.
fn spec() -> impl Strategy<Value = Value> {
    (strategy(), min_ready(), deadline()).prop_map(|(strategy, min_ready, deadline)| {
        let fields = [("strategy", strategy), ("minReadySeconds", min_ready), ("progressDeadlineSeconds", deadline)];
        Value::Object(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    })
}

fn room() -> impl Strategy<Value = Room> {
    prop_oneof![(1_u32..4).prop_map(Room::Beside), (1_u32..4).prop_map(Room::InPlaceOf)]
}

/// One of our changes in a hold; without a room, a pause.
fn change() -> impl Strategy<Value = (Option<Room>, bool)> {
    (option::weighted(0.8, room()), any::<bool>())
}

fn changed(object: &Object, (room, paused): (Option<Room>, bool)) -> Object {
    room.map_or_else(|| halted(object), |room| held(object, room, paused))
}

proptest! {
    #[test]
    fn a_release_gives_back_to_the_byte_what_was_held(spec in spec(), changes in prop::collection::vec(change(), 1..6)) {
        let found = deployment(&spec);
        let held = changes.into_iter().fold(found.clone(), |object, made| changed(&object, made));
        prop_assert_eq!(released(&held).to_string(), found.value().to_string());
    }

    #[test]
    fn what_the_owner_writes_in_a_latched_hold_wins_and_the_rest_comes_back(
        before in spec(),
        written in spec(),
        first in room(),
        then in prop::collection::vec(change(), 0..4),
    ) {
        let found = deployment(&before);
        let latched = held(&found, first, true);
        let ours = &latched.value()["spec"];
        prop_assume!(written.as_object().unwrap().iter().all(|(key, value)| ours[key] != *value));
        let write = |object: &Object| edited(object, |value| {
            for (key, wanted) in written.as_object().unwrap() {
                value["spec"][key] = wanted.clone();
            }
        });
        let deadline_after = write(&found).value()["spec"]["progressDeadlineSeconds"].as_i64().unwrap_or(600);
        let min_ready_after = write(&found).value()["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        prop_assume!(min_ready_after < deadline_after, "the API server refuses it, held or not");
        let held = then.into_iter().fold(write(&latched), |object, made| changed(&object, made));
        prop_assert_eq!(released(&held).to_string(), write(&found).value().to_string());
    }
}
