//! What could be held, condemned, forgotten or let through by mistake.

use super::gate_tests::{closed, held, in_canary, one_step, ours, pushed, v1, with};
use super::tests::{at, facts, halting, healthy, input, revision, violating};
use super::*;
use crate::watch::rollout::{Ask, Strategy as UpdateStrategy};

/// v2 was rolled back, and v1 serves again.
fn rolled_back_from_v2() -> State {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let bad = decide(Some(&running), &input(&v2, &violating(), 30)).state;
    rolled_back(&bad, &input(&v2, &violating(), 31), SignedDuration::ZERO).state
}

#[test]
fn going_back_by_hand_is_not_held_half_way_whatever_the_looks_say() {
    let v2 = decide(Some(&v1()), &input(&pushed(), &healthy(), 0)).state;
    let back = facts("v1", 3, false, vec![revision("v2", 2, 5)]);
    let going = decide(Some(&v2), &input(&back, &healthy(), 30)).state;
    for judgement in [halting(Cause::EvidenceMissing), halting(Cause::SharedCause), violating()] {
        let decision = decide(Some(&going), &input(&back, &judgement, 60));
        assert_eq!((decision.state.phase, &decision.action), (Phase::Promoting, &Action::None), "{judgement:?}");
    }
}

#[test]
fn a_restart_that_failed_does_not_condemn_the_template_that_was_restarted() {
    let restarted = Rollout {
        template_without_restart: TemplateId("v1".into()),
        ..facts("v1-restarted", 2, false, vec![revision("v1", 1, 8)])
    };
    let running = decide(Some(&v1()), &input(&restarted, &healthy(), 0)).state;
    let bad = decide(Some(&running), &input(&restarted, &violating(), 30)).state;
    let back = rolled_back(&bad, &input(&restarted, &violating(), 31), SignedDuration::ZERO).state;
    let v2 = facts("v2", 4, false, vec![revision("v1", 3, 8)]);
    let v2 = decide(Some(&back), &input(&v2, &healthy(), 600)).state;
    let undone = decide(Some(&v2), &input(&facts("v1", 5, false, vec![revision("v2", 4, 2)]), &healthy(), 660));
    assert_eq!(undone.state.phase, Phase::Promoting);
    let again = Rollout { canary: None, ..restarted };
    assert_eq!(decide(Some(&back), &input(&again, &healthy(), 600)).state.phase, Phase::Rejected);
}

#[test]
fn a_condemned_template_of_a_deployment_that_recreates_its_pods_gets_none_either() {
    let again = |pause| {
        let hold = (pause == Pause::Ours).then(|| ours("RevisionRejected")).flatten();
        Rollout { strategy: UpdateStrategy::Recreate, pause, hold, ..pushed() }
    };
    let paused = decide(Some(&rolled_back_from_v2()), &input(&again(Pause::Ours), &healthy(), 100));
    assert_eq!((paused.state.phase, &paused.action), (Phase::Rejected, &Action::None));
    let unpaused = decide(Some(&rolled_back_from_v2()), &input(&again(Pause::None), &healthy(), 100));
    assert!(matches!(unpaused.action, Action::Pause(_)), "{:?}", unpaused.action);
}

#[test]
fn pods_that_fall_back_again_and_again_do_not_have_what_they_served_forgotten() {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let judgement = healthy();
    for trouble in [Trouble::Unstable("fell back".into()), Trouble::CannotRun("quota".into())] {
        let halted = decide(Some(&running), &Input { trouble: Some(&trouble), ..input(&v2, &judgement, 30) }).state;
        let resumed = decide(Some(&halted), &input(&v2, &judgement, 60));
        assert_eq!((resumed.state.phase, resumed.restart_evidence), (Phase::Promoting, false), "{trouble:?}");
    }
}

#[test]
fn what_a_spent_budget_halted_does_not_go_on_while_the_budget_is_being_asked_for() {
    let (shut, judgement, v2) = (closed(), healthy(), facts("v2", 2, false, vec![revision("v1", 1, 8)]));
    let running = decide(Some(&v1()), &input(&v2, &judgement, 0)).state;
    let halted = decide(Some(&running), &Input { gate: &shut, ..input(&v2, &judgement, 30) }).state;
    assert_eq!(halted.cause, Cause::BudgetSpent);
    let paused = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..v2 };
    let asked = decide(Some(&halted), &Input { gate: &Gate::NotAsked, ..input(&paused, &judgement, 60) });
    assert_eq!(
        (asked.state.phase, asked.state.cause, &asked.action),
        (Phase::Halted, Cause::BudgetSpent, &Action::None)
    );
}

#[test]
fn a_canary_whose_longest_hold_ended_while_no_operator_ran_is_looked_at_first() {
    let canary = one_step();
    let (latched, unread) = (held(2, true), Judgement { unread: true, ..healthy() });
    let waiting = decide(Some(&in_canary(&canary)), &with(&canary, &latched, &unread, 90_000));
    assert_eq!((waiting.state.phase, &waiting.action), (Phase::Canary, &Action::None));
    assert!(waiting.state.message.ends_with("waiting for the first look"), "{}", waiting.state.message);
    let read = decide(Some(&waiting.state), &with(&canary, &latched, &healthy(), 90_010));
    assert_eq!(read.state.phase, Phase::Promoting);
}

#[test]
fn what_is_asked_beside_a_long_reason_is_heard() {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let ask = |value: &str| Some(Ask { value: value.to_owned(), by: None });
    let mut asking = v2.clone();
    asking.asks.overriding = ask(&"because of the carts ".repeat(20));
    let overridden = decide(Some(&running), &input(&asking, &healthy(), 30)).state;
    asking.asks.rollback = ask("v2");
    let convicted = decide(Some(&overridden), &input(&asking, &healthy(), 60));
    assert!(matches!(convicted.action, Action::RollBack { .. }), "{:?}", convicted.action);
    assert!(convicted.state.since >= at(60));
}

#[test]
fn who_reads_the_events_of_a_rollout_that_is_merely_paused_is_told_how_it_goes_on() {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let halted = decide(Some(&running), &input(&v2, &halting(Cause::WorseThanStable), 30));
    assert!(matches!(halted.action, Action::Pause(_)), "{:?}", halted.action);
    let note = "38 errors in 2,671 requests; paused with 3 new pods: approve it, or push another template; is rolled back \
                if it comes to violate the budget";
    assert_eq!(halted.announcements[0].note, note);
    assert_eq!(halted.state.message, "38 errors in 2,671 requests", "what comes next stands beside it");
    let judgement = halting(Cause::WorseThanStable);
    let observed = Input { mode: Mode::Observe, ..input(&v2, &judgement, 30) };
    let told = decide(Some(&running), &observed).announcements;
    assert!(told.iter().all(|told| !told.note.contains("paused with")), "{told:?}");
}
