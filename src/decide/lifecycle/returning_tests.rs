//! A newer template overtakes one that is in its bake: who serves, how long that is waited for, and what is said.

use super::gate_tests::{closed, one_step, ours, v1, with};
use super::tests::{at, facts, healthy, input, reasons, revision};
use super::*;
use crate::watch::rollout::{Amount, Ask, Held, Revision};

/// v2 has all pods and is monitored since second 0; v1 is stable.
fn v2_in_bake() -> State {
    let going = decide(Some(&v1()), &input(&facts("v2", 2, false, vec![revision("v1", 1, 8)]), &healthy(), -30)).state;
    let state = decide(Some(&going), &input(&facts("v2", 2, true, vec![revision("v1", 1, 0)]), &healthy(), 0)).state;
    assert_eq!(state.phase, Phase::Monitoring);
    state
}

/// v3 was pushed and is paused by us, latched for `surge` pods more than replicas. v1 has `desired` pods, of which `ready`
/// are Ready, and v2 has `rest`.
fn v3(surge: u32, desired: u32, ready: u32, rest: u32) -> Rollout {
    let v1 = Revision { desired, existing: desired, ..revision("v1", 1, ready) };
    let latched = Held { own: Some(Settings::DEFAULT), ..ours("BudgetSpent").expect("given") };
    Rollout {
        canary: None,
        pause: Pause::Ours,
        hold: Some(latched),
        settings: Settings {
            max_surge: Amount::Pods(surge),
            max_unavailable: Amount::Pods(0),
            min_ready_seconds: Settings::HELD_MIN_READY_SECONDS,
            progress_deadline_seconds: Settings::NO_PROGRESS_DEADLINE,
        },
        ..facts("v3", 3, false, vec![revision("v2", 2, rest), v1])
    }
}

fn sizes(decision: &Decision) -> Vec<(&str, u32)> {
    let Action::Resize(sizes) = &decision.action else { panic!("{:?}", decision.action) };
    sizes.iter().map(|size| (size.replica_set.as_str(), size.pods)).collect()
}

/// v3 came at second 100 and is held by the gate, and v1's pods were asked for.
fn held_by_gate() -> State {
    let gate = closed();
    decide(Some(&v2_in_bake()), &Input { gate: &gate, ..input(&v3(10, 0, 0, 10), &healthy(), 100) }).state
}

#[test]
fn a_template_that_is_held_in_anothers_bake_says_who_serves_and_what_comes_back() {
    let gate = closed();
    let begun = decide(Some(&v2_in_bake()), &Input { gate: &gate, ..input(&v3(10, 0, 0, 10), &healthy(), 100) });
    assert_eq!(sizes(&begun), [("teapot-v1", 10), ("teapot-v2", 10)]);
    assert_eq!(reasons(&begun), [EventReason::RolloutStarted, EventReason::RolloutHeld, EventReason::StableReturns]);
    let note = "revision 1, the last one that succeeded, comes back in place of revision 2: 10 pods of it are brought up; \
                the 10 pods of revision 2 serve until they are Ready";
    assert_eq!(begun.announcements[2].note, note);
    let coming = decide(Some(&begun.state), &Input { gate: &gate, ..input(&v3(10, 10, 4, 10), &healthy(), 110) });
    assert_eq!((&coming.action, reasons(&coming)), (&Action::None, vec![]));
    let said = "template v3 is held: availability budget 3.2 % left, 20.0 % needed; the 10 pods of revision 2 serve until \
                revision 1, the last one that succeeded, is back, of which 4 of 10 pods are Ready";
    assert_eq!(coming.state.message, said);
    let back = decide(Some(&coming.state), &Input { gate: &gate, ..input(&v3(10, 10, 10, 10), &healthy(), 120) });
    assert_eq!(sizes(&back), [("teapot-v1", 10), ("teapot-v2", 0)]);
    assert_eq!(reasons(&back), []);
    assert_eq!(back.state.message, "template v3 is held: availability budget 3.2 % left, 20.0 % needed");
}

#[test]
fn a_stable_revision_without_a_ready_pod_in_its_time_is_given_up_and_said_once() {
    let gate = closed();
    let decide = |state: &State, facts: &Rollout, second| {
        decide(Some(state), &Input { gate: &gate, ..input(facts, &healthy(), second) })
    };
    let waiting = decide(&held_by_gate(), &v3(10, 10, 0, 10), 700);
    assert_eq!(waiting.action, Action::None, "it has 600 s");
    let over = decide(&waiting.state, &v3(10, 10, 0, 10), 701);
    assert_eq!(sizes(&over), [("teapot-v1", 0), ("teapot-v2", 10)]);
    assert_eq!(reasons(&over), [EventReason::StableNotReady]);
    let note = "revision 1, the last one that succeeded, has no Ready pod after 600 s and is given up; the 10 pods of revision \
                2 serve on, not measured any more, until another template is let in";
    assert_eq!(over.announcements[0].note, note);
    for (ready, second) in [(10, 702), (9, 9000)] {
        let given_up = decide(&over.state, &v3(10, 0, 0, ready), second);
        assert_eq!((&given_up.action, reasons(&given_up)), (&Action::None, vec![]), "it is not tried again");
        assert!(given_up.state.message.contains("is given up; the "), "{}", given_up.state.message);
    }
}

#[test]
fn stable_pods_of_which_some_are_ready_are_not_given_up_nor_are_any_that_are_needed() {
    let gate = closed();
    for facts in [v3(10, 10, 1, 10), v3(10, 10, 0, 9)] {
        let decision = decide(Some(&held_by_gate()), &Input { gate: &gate, ..input(&facts, &healthy(), 9000) });
        assert!(!decision.state.message.contains("given up"), "{}", decision.state.message);
        assert!(!matches!(&decision.action, Action::Resize(sizes) if sizes.iter().any(|size| size.pods == 0)));
    }
}

#[test]
fn fewer_stable_pods_because_fewer_are_wanted_are_not_given_up() {
    let gate = closed();
    let fewer = Rollout { replicas: 8, ..v3(10, 10, 4, 8) };
    let scaled = decide(Some(&held_by_gate()), &Input { gate: &gate, ..input(&fewer, &healthy(), 110) });
    let latched = Rollout { replicas: 8, ..v3(8, 10, 4, 8) };
    let resized = decide(Some(&scaled.state), &Input { gate: &gate, ..input(&latched, &healthy(), 111) });
    assert_eq!((sizes(&resized), reasons(&resized)), (vec![("teapot-v1", 8), ("teapot-v2", 8)], vec![]));
}

#[test]
fn of_a_rejected_template_it_is_said_too() {
    let condemned = State { condemned: vec![TemplateId("v3".into())], ..v2_in_bake() };
    let rejected = decide(Some(&condemned), &input(&v3(10, 0, 0, 10), &healthy(), 100));
    assert_eq!(rejected.state.phase, Phase::Rejected);
    assert_eq!(reasons(&rejected), [EventReason::RevisionRejected, EventReason::StableReturns]);
    let over = decide(Some(&rejected.state), &input(&v3(10, 10, 0, 10), &healthy(), 701));
    assert_eq!(sizes(&over), [("teapot-v1", 0), ("teapot-v2", 10)]);
}

/// v3 is let in, and its pods come when v1's are back.
fn v3_in_canary(ready: u32) -> Rollout {
    v3(10, 10, ready, 10)
}

fn waiting_canary() -> State {
    let canary = one_step();
    let begun = decide(Some(&v2_in_bake()), &with(&canary, &v3(10, 0, 0, 10), &healthy(), 100));
    assert_eq!(reasons(&begun), [EventReason::RolloutStarted, EventReason::StableReturns]);
    decide(Some(&begun.state), &with(&canary, &v3_in_canary(0), &healthy(), 110)).state
}

#[test]
fn a_canary_whose_stable_pods_are_not_back_in_their_time_is_halted_and_goes_on_when_they_are() {
    let canary = one_step();
    let waiting = waiting_canary();
    assert_eq!(waiting.phase, Phase::Canary);
    assert!(waiting.message.contains("of which 0 of 10 pods are Ready"), "{}", waiting.message);
    let halted = decide(Some(&waiting), &with(&canary, &v3_in_canary(0), &healthy(), 701));
    assert_eq!((halted.state.phase, halted.state.cause), (Phase::Halted, Cause::StableNotReady));
    assert_eq!((&halted.action, reasons(&halted)), (&Action::None, vec![EventReason::Halted]));
    let said = "the canary has no stable pods to be compared with: 0 of 10 pods of revision 1 are Ready after 600 s; the 10 \
                pods of revision 2 serve meanwhile";
    assert_eq!(halted.state.message, said);
    assert!(halted.announcements[0].note.starts_with(said), "{:?}", halted.announcements);
    let still = decide(Some(&halted.state), &with(&canary, &v3_in_canary(3), &healthy(), 800));
    assert_eq!((still.state.phase, reasons(&still)), (Phase::Halted, vec![]));
    assert!(still.state.message.contains("3 of 10 pods of revision 1"), "{}", still.state.message);
    let back = decide(Some(&still.state), &with(&canary, &v3_in_canary(10), &healthy(), 900));
    assert_eq!((back.state.phase, reasons(&back)), (Phase::Canary, vec![EventReason::Resumed]));
    assert_eq!(back.state.canary.map(|canary| canary.began), Some(at(900)));
    assert_eq!(sizes(&back), [("teapot-v1", 10), ("teapot-v2", 0)]);
}

#[test]
fn a_person_can_let_a_canary_go_on_without_stable_pods() {
    let canary = one_step();
    let halted = decide(Some(&waiting_canary()), &with(&canary, &v3_in_canary(0), &healthy(), 701)).state;
    let mut asking = v3_in_canary(0);
    asking.asks.approve = Some(Ask { value: "v3".into(), by: Some("mallory".into()) });
    let approved = decide(Some(&halted), &with(&canary, &asking, &healthy(), 710));
    assert_eq!((approved.state.phase, &approved.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&approved), [EventReason::Approved, EventReason::Resumed]);
}

#[test]
fn where_the_owner_waits_for_ever_stable_pods_are_waited_for_as_long_as_kubernetes_does() {
    let mut facts = v3(10, 10, 0, 10);
    let endless = Settings { progress_deadline_seconds: Settings::NO_PROGRESS_DEADLINE, ..Settings::DEFAULT };
    facts.hold = Some(Held { own: Some(endless), ..ours("BudgetSpent").expect("given") });
    let gate = closed();
    let over = decide(Some(&held_by_gate()), &Input { gate: &gate, ..input(&facts, &healthy(), 701) });
    assert_eq!(reasons(&over), [EventReason::StableNotReady]);
}
