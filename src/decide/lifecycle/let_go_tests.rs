//! What a policy holds no more is let go, and that is said.

use super::gate_tests::{closed, held, in_canary, one_step, ours, pushed, v1, with};
use super::tests::{at, facts, halting, healthy, input, reasons, revision, violating};
use super::*;

fn observed<'a>(facts: &'a Rollout, judgement: &'a Judgement, second: i64) -> Input<'a> {
    Input { mode: Mode::Observe, ..input(facts, judgement, second) }
}

fn notes(decision: &Decision) -> Vec<&str> {
    decision.announcements.iter().map(|announcement| announcement.note.as_str()).collect()
}

#[test]
fn an_observing_policy_holds_nothing() {
    let (gate, canary) = (closed(), one_step());
    let (facts, healthy) = (pushed(), healthy());
    let observed = Input { gate: &gate, mode: Mode::Observe, ..with(&canary, &facts, &healthy, 0) };
    let begun = decide(Some(&v1()), &observed);
    assert_eq!((begun.state.phase, &begun.action), (Phase::Promoting, &Action::None));
}

#[test]
fn what_the_policy_wants_no_more_is_let_go() {
    let state = in_canary(&one_step());
    let facts = held(2, true);
    let released = decide(Some(&state), &input(&facts, &healthy(), 30));
    assert_eq!((released.state.phase, &released.action), (Phase::Promoting, &Action::Release));
    assert_eq!(notes(&released), ["the canary goes on: the policy has no such step any more"]);
}

#[test]
fn a_canary_with_nothing_left_to_go_back_to_is_let_go_and_that_is_said() {
    let canary = one_step();
    let state = in_canary(&canary);
    let facts = Rollout { others: vec![], ..held(2, true) };
    let judgement = healthy();
    let released = decide(Some(&state), &with(&canary, &facts, &judgement, 30));
    assert_eq!((released.state.phase, &released.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&released), [EventReason::NoRollbackTarget]);
}

#[test]
fn when_the_policy_only_observes_a_canary_is_let_go_whatever_is_said_of_it() {
    let state = in_canary(&one_step());
    let facts = held(2, true);
    for judgement in [healthy(), halting(Cause::EvidenceMissing), violating()] {
        let released = decide(Some(&state), &observed(&facts, &judgement, 30));
        assert_eq!((released.state.phase, &released.action), (Phase::Promoting, &Action::Release), "{judgement:?}");
        assert_eq!(notes(&released)[0], "the canary goes on: mode is Observe, so nothing is held");
    }
}

#[test]
fn when_the_policy_only_observes_what_is_halted_is_let_go_and_measured_on() {
    let state = in_canary(&one_step());
    let (canary, facts) = (one_step(), held(2, true));
    let halted = decide(Some(&state), &with(&canary, &facts, &halting(Cause::SharedCause), 30)).state;
    let released = decide(Some(&halted), &observed(&facts, &halting(Cause::SharedCause), 40));
    assert_eq!((released.state.phase, &released.action), (Phase::Promoting, &Action::Release));
    assert_eq!(notes(&released)[0], "goes on after SharedCause: mode is Observe, so nothing is held");
    assert_eq!(reasons(&released), [EventReason::Resumed, EventReason::Halted], "it is as bad as it was");
    let free = Rollout { pause: Pause::None, hold: None, settings: Settings::DEFAULT, ..facts };
    let rolling = decide(Some(&released.state), &observed(&free, &halting(Cause::SharedCause), 50));
    assert_eq!((&rolling.action, reasons(&rolling)), (&Action::None, vec![]), "said once");
}

#[test]
fn when_the_policy_only_observes_what_waits_for_the_gate_is_let_go() {
    let gate = closed();
    let waiting = decide(Some(&v1()), &Input { gate: &gate, ..input(&pushed(), &healthy(), 0) }).state;
    let paused = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..pushed() };
    let released = decide(Some(&waiting), &Input { gate: &gate, ..observed(&paused, &healthy(), 60) });
    assert_eq!((released.state.phase, &released.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&released), [EventReason::Resumed]);
}

/// v2 was rolled back, and came again at second 100.
fn rejected(facts: &Rollout, mode: Mode) -> Decision {
    let back = facts_of_v1();
    let bad = super::tests::facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let begun = decide(Some(&v1()), &input(&bad, &healthy(), 0)).state;
    let convicted = decide(Some(&begun), &input(&bad, &violating(), 30)).state;
    let recovering = rolled_back(&convicted, &input(&bad, &violating(), 30), SignedDuration::ZERO).state;
    let well = healthy();
    let recovered = Input { recovered: Some(Outcome::Recovered), ..input(&back, &well, 60) };
    let recovered = decide(Some(&recovering), &recovered).state;
    decide(Some(&recovered), &Input { mode, ..input(facts, &healthy(), 100) })
}

fn facts_of_v1() -> Rollout {
    facts("v1", 3, true, vec![revision("v2", 2, 0)])
}

#[test]
fn when_the_policy_only_observes_what_was_rejected_is_let_go_and_measured() {
    let paused = Rollout { pause: Pause::Ours, hold: ours("RevisionRejected"), ..pushed() };
    let waiting = rejected(&paused, Mode::Enforce).state;
    assert_eq!(waiting.phase, Phase::Rejected);
    let released = decide(Some(&waiting), &observed(&paused, &healthy(), 130));
    assert_eq!((released.state.phase, &released.action), (Phase::Promoting, &Action::Release));
    assert_eq!(notes(&released), ["goes on after RevisionRejected: mode is Observe, so nothing is held"]);
    assert_eq!(released.state.started, at(130), "nothing of it has served before");
}

#[test]
fn a_policy_that_only_observes_rejects_nothing() {
    let begun = rejected(&pushed(), Mode::Observe);
    assert_eq!((begun.state.phase, &begun.action), (Phase::Promoting, &Action::None));
    assert_eq!(reasons(&begun), [EventReason::RolloutStarted]);
}

#[test]
fn what_was_rolled_back_before_is_judged_by_its_looks_alone_when_the_policy_only_observes() {
    let begun = rejected(&pushed(), Mode::Observe).state;
    let mark = Condemned { reason: "burn rate 14.2x".into(), at: at(30) };
    let again = crate::watch::rollout::Revision { condemned: Some(mark), ..revision("v2", 4, 10) };
    let complete = Rollout { canary: Some(again), ..facts("v2", 4, true, vec![revision("v1", 3, 0)]) };
    let looked = decide(Some(&begun), &observed(&complete, &healthy(), 140));
    assert_eq!((looked.state.phase, reasons(&looked)), (Phase::Monitoring, vec![]));
    assert_eq!(looked.state.newest.revision, 4, "the number that it has now");
    let found = decide(Some(&looked.state), &observed(&complete, &violating(), 150));
    assert_eq!((found.state.cause, reasons(&found)), (Cause::ObserveOnly, vec![EventReason::BudgetViolation]));
    let enforced = decide(Some(&looked.state), &input(&complete, &healthy(), 150));
    assert!(matches!(enforced.action, Action::RollBack { .. }), "{:?}", enforced.action);
}
