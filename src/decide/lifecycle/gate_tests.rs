//! The gate, the canary and what people ask for.

use std::time::Duration;

use super::super::action::{CanaryHold, Room};
use super::tests::{at, facts, halting, healthy, input, reasons, revision, violating};
use super::*;
use crate::policy::CanaryStep;
use crate::watch::rollout::{Amount, Ask, Asks, Held, MeantFor};

const SECOND: Duration = Duration::from_secs(1);

fn two_steps() -> Canary {
    let step = |traffic, seconds| CanaryStep { traffic, hold: SECOND * seconds };
    Canary { steps: vec![step(10, 120), step(40, 60)], minimum_requests: 0, maximum_hold: SECOND * 3600 }
}

pub(super) fn one_step() -> Canary {
    Canary { steps: two_steps().steps[..1].to_vec(), ..two_steps() }
}

pub(super) fn closed() -> Gate {
    Gate::Closed("availability budget 3.2 % left, 20.0 % needed".into())
}

/// v1 is stable and complete.
pub(super) fn v1() -> State {
    decide(None, &input(&facts("v1", 1, true, vec![]), &healthy(), -60)).state
}

/// v2 has just been pushed, and no pod of it exists.
pub(super) fn pushed() -> Rollout {
    Rollout { canary: None, ..facts("v2", 2, false, vec![revision("v1", 1, 10)]) }
}

pub(super) fn ours(reason: &str) -> Option<Held> {
    Some(Held { policy: "afternoon".into(), reason: reason.into(), own: None })
}

/// v2's canary has so many pods beside ten stable ones; armed when not paused.
pub(super) fn held(pods: u32, paused: bool) -> Rollout {
    let own = Some(Held { own: Some(Settings::DEFAULT), ..ours("NotConvicted").expect("given") });
    Rollout {
        pause: if paused { Pause::Ours } else { Pause::None },
        hold: own,
        settings: Settings {
            max_surge: Amount::Pods(pods),
            max_unavailable: Amount::Pods(0),
            min_ready_seconds: Settings::HELD_MIN_READY_SECONDS,
            progress_deadline_seconds: Settings::NO_PROGRESS_DEADLINE,
        },
        canary: Some(revision("v2", 2, pods)),
        ..pushed()
    }
}

fn seen(requests: f64, looks: u32) -> Judgement {
    let seen = Seen { requests, canary_looks: looks, paired_looks: looks, looks, stable_requests: requests };
    Judgement { seen, ..healthy() }
}

/// v2 is held at step 1 since second 10.
pub(super) fn in_canary(canary: &Canary) -> State {
    let begun = decide(Some(&v1()), &Input { canary: Some(canary), ..input(&pushed(), &healthy(), 0) });
    decide(Some(&begun.state), &Input { canary: Some(canary), ..input(&held(2, true), &healthy(), 10) }).state
}

pub(super) fn with<'a>(canary: &'a Canary, facts: &'a Rollout, judgement: &'a Judgement, second: i64) -> Input<'a> {
    Input { canary: Some(canary), ..input(facts, judgement, second) }
}

fn hold_canary(decision: &Decision) -> &CanaryHold {
    match &decision.action {
        Action::HoldCanary(hold) => hold,
        other => panic!("it asks for {other:?}"),
    }
}

#[test]
fn a_new_template_is_armed_latched_held_and_promoted() {
    let canary = one_step();
    let begun = decide(Some(&v1()), &with(&canary, &pushed(), &healthy(), 0));
    assert_eq!(begun.state.phase, Phase::Canary);
    assert_eq!((hold_canary(&begun).paused, hold_canary(&begun).room), (false, Room::Beside(2)));

    let coming = decide(Some(&begun.state), &with(&canary, &Rollout { canary: None, ..held(2, false) }, &healthy(), 1));
    assert_eq!(coming.action, Action::None, "Kubernetes is at it");
    let there = decide(Some(&coming.state), &with(&canary, &held(2, false), &healthy(), 2));
    assert_eq!((hold_canary(&there).paused, hold_canary(&there).room), (true, Room::Beside(2)));

    let latched = decide(Some(&there.state), &with(&canary, &held(2, true), &healthy(), 10));
    assert_eq!(latched.action, Action::None);
    assert_eq!(reasons(&latched), [EventReason::CanaryStarted]);
    assert!(latched.announcements[0].note.contains("2 of 12 pods, 16.7 % of them"), "{:?}", latched.announcements);

    let early = decide(Some(&latched.state), &with(&canary, &held(2, true), &seen(800.0, 9), 129));
    assert_eq!((early.state.phase, &early.action), (Phase::Canary, &Action::None));
    let done = decide(Some(&early.state), &with(&canary, &held(2, true), &seen(812.0, 9), 130));
    assert_eq!((done.state.phase, &done.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&done), [EventReason::CanaryPassed]);
}

#[test]
fn each_step_is_armed_and_held_like_the_first() {
    let canary = two_steps();
    let second = decide(Some(&in_canary(&canary)), &with(&canary, &held(2, true), &seen(812.0, 9), 130));
    assert_eq!(second.state.phase, Phase::Canary);
    assert_eq!((hold_canary(&second).paused, hold_canary(&second).room), (false, Room::Beside(7)));
    let latched = decide(Some(&second.state), &with(&canary, &held(7, true), &seen(900.0, 10), 140));
    assert_eq!(reasons(&latched), [EventReason::CanaryStarted]);
    let done = decide(Some(&latched.state), &with(&canary, &held(7, true), &seen(900.0, 10), 200));
    assert_eq!((done.state.phase, &done.action), (Phase::Promoting, &Action::Release));
}

#[test]
fn the_hold_alone_is_not_enough_seen() {
    let canary = one_step();
    let state = in_canary(&canary);
    let facts = held(2, true);
    let few = decide(Some(&state), &with(&canary, &facts, &seen(5.0, 3), 200));
    assert_eq!(few.state.phase, Phase::Canary);
    assert!(few.state.message.ends_with("waiting for sample 4 of 4"), "{}", few.state.message);
    assert_eq!(decide(Some(&state), &with(&canary, &facts, &seen(5.0, 4), 200)).state.phase, Phase::Promoting);
    let nobody_asks = Judgement { seen: Seen { looks: 8, ..Seen::default() }, ..healthy() };
    assert_eq!(decide(Some(&state), &with(&canary, &facts, &nobody_asks, 200)).state.phase, Phase::Promoting);
    assert_eq!(
        decide(Some(&state), &with(&canary, &facts, &seen(5.0, 3), 3610)).state.phase,
        Phase::Promoting,
        "the longest hold"
    );
}

#[test]
fn requests_are_waited_for_as_long_as_the_policy_says() {
    let canary = Canary { minimum_requests: 1000, ..one_step() };
    let state = in_canary(&canary);
    let facts = held(2, true);
    let few = decide(Some(&state), &with(&canary, &facts, &seen(999.0, 9), 200));
    assert!(few.state.message.ends_with("waiting for request 999 of 1000"), "{}", few.state.message);
    assert_eq!(decide(Some(&state), &with(&canary, &facts, &seen(1000.0, 9), 200)).state.phase, Phase::Promoting);
    assert_eq!(decide(Some(&state), &with(&canary, &facts, &seen(999.0, 9), 3610)).state.phase, Phase::Promoting);
}

#[test]
fn a_bad_canary_is_rolled_back_and_a_halted_one_goes_back_to_its_step() {
    let canary = one_step();
    let state = in_canary(&canary);
    let facts = held(2, true);
    let bad = decide(Some(&state), &with(&canary, &facts, &violating(), 30));
    assert!(matches!(&bad.action, Action::RollBack { to_replica_set, .. } if to_replica_set == "teapot-v1"));
    let halted = decide(Some(&state), &with(&canary, &facts, &halting(Cause::SharedCause), 30));
    assert_eq!((halted.state.phase, &halted.action), (Phase::Halted, &Action::None), "it is held already");
    let resumed = decide(Some(&halted.state), &with(&canary, &facts, &healthy(), 90));
    assert_eq!(resumed.state.phase, Phase::Canary);
    assert_eq!(resumed.state.canary.and_then(|canary| canary.held_since), Some(at(90)), "it is held anew");
}

#[test]
fn a_halted_canary_gets_no_pod_more() {
    let canary = one_step();
    let begun = decide(Some(&v1()), &Input { canary: Some(&canary), ..input(&pushed(), &healthy(), 0) }).state;
    let one = Rollout { canary: Some(revision("v2", 2, 1)), ..held(2, false) };
    let missing = halting(Cause::EvidenceMissing);
    let halted = decide(Some(&begun), &Input { canary: Some(&canary), ..input(&one, &missing, 5) });
    assert!(matches!(halted.action, Action::Pause(_)), "{:?}", halted.action);
}

#[test]
fn a_closed_gate_holds_a_new_template_without_pods_until_it_opens() {
    let gate = closed();
    let held_by_gate = decide(Some(&v1()), &Input { gate: &gate, ..input(&pushed(), &healthy(), 0) });
    assert_eq!((held_by_gate.state.phase, held_by_gate.state.cause), (Phase::Validating, Cause::BudgetSpent));
    assert!(matches!(held_by_gate.action, Action::Pause(_)));
    assert_eq!(reasons(&held_by_gate), [EventReason::RolloutStarted, EventReason::RolloutHeld]);
    let facts = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..pushed() };
    let still = decide(Some(&held_by_gate.state), &Input { gate: &gate, ..input(&facts, &healthy(), 60) });
    assert_eq!((&still.action, reasons(&still)), (&Action::None, vec![]));
    let open = decide(Some(&still.state), &input(&facts, &healthy(), 120));
    assert_eq!((open.state.phase, &open.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&open), [EventReason::Resumed]);
    assert_eq!(open.state.started, at(120), "nothing of it has served before");
}

#[test]
fn pods_that_came_before_the_hold_are_taken_away() {
    let gate = closed();
    let quick = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let begun = decide(Some(&v1()), &Input { gate: &gate, ..input(&quick, &healthy(), 0) }).state;
    let paused = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..quick };
    let emptied = decide(Some(&begun), &Input { gate: &gate, ..input(&paused, &healthy(), 1) });
    let Action::Resize(sizes) = &emptied.action else { panic!("{:?}", emptied.action) };
    let sizes: Vec<_> = sizes.iter().map(|size| (size.replica_set.as_str(), size.pods)).collect();
    assert_eq!(sizes, [("teapot-v2", 0), ("teapot-v1", 10)]);
}

#[test]
fn an_unknown_budget_is_what_the_policy_says() {
    let gate = Gate::Unknown("no request in 28d".into());
    let begin = |on_unknown_budget| {
        decide(Some(&v1()), &Input { gate: &gate, on_unknown_budget, ..input(&pushed(), &healthy(), 0) }).state
    };
    assert_eq!(begin(OnUnknownBudget::Allow).phase, Phase::Promoting);
    let held = begin(OnUnknownBudget::Hold);
    assert_eq!((held.phase, held.cause), (Phase::Validating, Cause::BudgetUnknown));
}

#[test]
fn before_the_budget_was_asked_for_nothing_is_let_in() {
    let begun = decide(Some(&v1()), &Input { gate: &Gate::NotAsked, ..input(&pushed(), &healthy(), 0) });
    assert_eq!(begun.state.phase, Phase::Validating);
}

#[test]
fn a_gate_that_closes_halts_a_running_rollout_and_resumes_it() {
    let gate = closed();
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    assert_eq!(running.phase, Phase::Promoting);
    let halted = decide(Some(&running), &Input { gate: &gate, ..input(&v2, &healthy(), 30) });
    assert_eq!((halted.state.phase, halted.state.cause), (Phase::Halted, Cause::BudgetSpent));
    let facts = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..v2.clone() };
    let still = decide(Some(&halted.state), &Input { gate: &gate, ..input(&facts, &healthy(), 60) }).state;
    assert_eq!(still.phase, Phase::Halted);
    let resumed = decide(Some(&still), &input(&facts, &healthy(), 90));
    assert_eq!((resumed.state.phase, &resumed.action), (Phase::Promoting, &Action::Release));
    let bad = decide(Some(&halted.state), &Input { gate: &gate, ..input(&facts, &violating(), 60) });
    assert!(matches!(bad.action, Action::RollBack { .. }), "a spent budget never keeps a bad release in place");
}

#[test]
fn going_back_to_what_succeeded_passes_a_closed_gate() {
    let gate = closed();
    let canary = one_step();
    let state = in_canary(&canary);
    let back = facts("v1", 3, false, vec![revision("v2", 2, 2)]);
    let gone_back = decide(Some(&state), &Input { gate: &gate, canary: Some(&canary), ..input(&back, &healthy(), 60) });
    assert_eq!(gone_back.state.phase, Phase::Promoting);
}

fn asking(ask: fn(&mut Asks, Ask), value: &str, facts: Rollout) -> Rollout {
    let mut asks = Asks::default();
    ask(&mut asks, Ask { value: value.into(), by: Some("ada".into()) });
    Rollout { asks, ..facts }
}

#[test]
fn an_override_passes_a_closed_gate_and_is_answered() {
    let gate = closed();
    let held = decide(Some(&v1()), &Input { gate: &gate, ..input(&pushed(), &healthy(), 0) }).state;
    let paused = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..pushed() };
    let asked = asking(|asks, ask| asks.overriding = Some(ask), "P0", paused);
    let passed = decide(Some(&held), &Input { gate: &gate, ..input(&asked, &healthy(), 60) });
    assert_eq!((passed.state.phase, &passed.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&passed), [EventReason::Overridden, EventReason::Resumed]);
    assert!(passed.announcements[0].note.starts_with("ada lets template v2 pass a closed gate: P0"));
    let asked = Rollout { asks: asked.asks, ..facts("v2", 2, false, vec![revision("v1", 1, 8)]) };
    let answered = decide(Some(&passed.state), &Input { gate: &gate, ..input(&asked, &healthy(), 61) });
    assert_eq!((&answered.action, reasons(&answered)), (&Action::Answer, vec![]));
    let gone = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let after = decide(Some(&answered.state), &Input { gate: &gate, ..input(&gone, &healthy(), 70) });
    assert_eq!((after.state.phase, &after.state.heard), (Phase::Promoting, &None), "the closed gate does not halt it");
}

#[test]
fn an_override_that_another_push_overtook_does_not_let_that_one_pass() {
    let gate = closed();
    let v2 = decide(Some(&v1()), &Input { gate: &gate, ..input(&pushed(), &healthy(), 0) }).state;
    let v3 = Rollout { pause: Pause::Ours, hold: ours("Validating"), template: TemplateId("v3".into()), ..pushed() };
    let mut asked = asking(|asks, ask| asks.overriding = Some(ask), "P0", v3);
    for (meant_for, why) in [
        (MeantFor::Template("v2".into()), "it names template \"v2\", and v3 is the one that is rolled out"),
        (MeantFor::Earlier, "it was set before template v3 came; override this one, too, if it is to pass"),
    ] {
        asked.asks.override_template = Some(meant_for);
        let refused = decide(Some(&v2), &Input { gate: &gate, ..input(&asked, &healthy(), 60) });
        assert_eq!((refused.state.phase, &refused.state.overridden), (Phase::Validating, &None));
        let said = refused.announcements.iter().find(|said| said.reason == EventReason::AskRefused);
        let note = format!("errorbudget.dev/override is not followed: {why}");
        assert_eq!(said.map(|said| said.note.as_str()), Some(note.as_str()));
    }
    asked.asks.override_template = Some(MeantFor::Template("v3".into()));
    let passed = decide(Some(&v2), &Input { gate: &gate, ..input(&asked, &healthy(), 60) });
    assert_eq!(passed.state.phase, Phase::Promoting);
}

#[test]
fn an_override_ends_when_it_says_so() {
    let gate = closed();
    let held = decide(Some(&v1()), &Input { gate: &gate, ..input(&pushed(), &healthy(), 0) }).state;
    let paused = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..pushed() };
    let mut asked = asking(|asks, ask| asks.overriding = Some(ask), "P0", paused);
    asked.asks.override_until = Some(at(59).to_string());
    let late = decide(Some(&held), &Input { gate: &gate, ..input(&asked, &healthy(), 60) });
    assert_eq!(late.state.phase, Phase::Validating);
    asked.asks.override_until = Some("tomorrow".into());
    let refused = decide(Some(&held), &Input { gate: &gate, ..input(&asked, &healthy(), 60) });
    assert_eq!((refused.state.phase, reasons(&refused)), (Phase::Validating, vec![EventReason::AskRefused]));
}

#[test]
fn a_manual_canary_waits_for_an_approval_of_this_template() {
    let canary = one_step();
    fn manual<'a>(canary: &'a Canary, facts: &'a Rollout, enough: &'a Judgement, second: i64) -> Input<'a> {
        Input { approval: Approval::Manual, ..with(canary, facts, enough, second) }
    }
    let (facts, enough) = (held(2, true), seen(812.0, 9));
    let waiting = decide(Some(&in_canary(&canary)), &manual(&canary, &facts, &enough, 130));
    assert_eq!((waiting.state.phase, waiting.state.cause), (Phase::Canary, Cause::ApprovalRequired));
    assert_eq!(reasons(&waiting), [EventReason::ApprovalRequired]);
    let still = decide(Some(&waiting.state), &manual(&canary, &facts, &enough, 140));
    assert_eq!(reasons(&still), []);
    let wrong = asking(|asks, ask| asks.approve = Some(ask), "v1", facts.clone());
    let refused = decide(Some(&still.state), &manual(&canary, &wrong, &enough, 150));
    assert_eq!((refused.state.phase, reasons(&refused)), (Phase::Canary, vec![EventReason::AskRefused]));
    let right = asking(|asks, ask| asks.approve = Some(ask), "v2", facts.clone());
    let passed = decide(Some(&still.state), &manual(&canary, &right, &enough, 150));
    assert_eq!((passed.state.phase, &passed.action), (Phase::Promoting, &Action::Release));
    assert_eq!(reasons(&passed), [EventReason::Approved, EventReason::CanaryPassed]);
}

#[test]
fn an_approved_halt_goes_on_and_does_not_halt_again() {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let worse = halting(Cause::WorseThanStable);
    let halted = decide(Some(&running), &input(&v2, &worse, 30)).state;
    assert_eq!(halted.phase, Phase::Halted);
    let paused = Rollout { pause: Pause::Ours, hold: ours("WorseThanStable"), ..v2.clone() };
    let asked = asking(|asks, ask| asks.approve = Some(ask), "v2", paused);
    let resumed = decide(Some(&halted), &input(&asked, &worse, 60));
    assert_eq!((resumed.state.phase, &resumed.action), (Phase::Promoting, &Action::Release));
    let on = decide(Some(&resumed.state), &input(&v2, &worse, 90));
    assert_eq!(on.state.phase, Phase::Promoting);
    assert_eq!(decide(Some(&on.state), &input(&v2, &violating(), 100)).state.phase, Phase::RollingBack);
}

#[test]
fn a_rejected_template_that_is_approved_begins_anew() {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let bad = decide(Some(&running), &input(&v2, &violating(), 30)).state;
    let back = rolled_back(&bad, &input(&v2, &violating(), 31), SignedDuration::ZERO).state;
    let rejected = decide(Some(&back), &input(&v2, &healthy(), 60)).state;
    assert_eq!(rejected.phase, Phase::Rejected);
    let mut marked = Rollout { pause: Pause::Ours, hold: ours("RevisionRejected"), ..v2 };
    if let Some(canary) = &mut marked.canary {
        canary.condemned = Some(Condemned { reason: "burn rate 14.2x".into(), at: at(30) });
    }
    let asked = asking(|asks, ask| asks.approve = Some(ask), "v2", marked.clone());
    let pardoned = decide(Some(&rejected), &input(&asked, &healthy(), 90));
    assert!(matches!(pardoned.action, Action::Pardon { .. }), "{:?}", pardoned.action);
    if let Some(canary) = &mut marked.canary {
        canary.condemned = None;
    }
    let begun = decide(Some(&pardoned.state), &input(&marked, &healthy(), 91));
    assert_eq!((begun.state.phase, &begun.action), (Phase::Promoting, &Action::Release));
    assert_eq!(begun.state.condemned, []);
}

#[test]
fn a_rollback_that_is_asked_for_is_made_once_and_needs_no_evidence() {
    let v2 = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let running = decide(Some(&v1()), &input(&v2, &healthy(), 0)).state;
    let asked = asking(|asks, ask| asks.rollback = Some(ask), "v2", v2.clone());
    let asked_for = decide(Some(&running), &input(&asked, &healthy(), 30));
    assert!(matches!(&asked_for.action, Action::RollBack { why, .. } if why == "ada asked for the rollback"));
    let mut says_why = asked.clone();
    says_why.asks.rollback_reason = Some("customers call".to_owned());
    let with_reason = decide(Some(&running), &input(&says_why, &healthy(), 30));
    let words = "ada asked for the rollback: customers call";
    assert!(matches!(&with_reason.action, Action::RollBack { why, .. } if why == words), "{:?}", with_reason.action);
    let back = rolled_back(&asked_for.state, &input(&asked, &healthy(), 31), SignedDuration::ZERO).state;
    let v1 = asking(|asks, ask| asks.rollback = Some(ask), "v2", facts("v1", 3, true, vec![revision("v2", 2, 0)]));
    let again = decide(Some(&back), &input(&v1, &healthy(), 40));
    assert_eq!((reasons(&again), &again.action), (vec![], &Action::Answer));
}

#[test]
fn a_revision_that_succeeded_can_be_asked_back_to_the_one_before() {
    let v2 = facts("v2", 2, true, vec![revision("v1", 1, 0)]);
    let running = decide(Some(&v1()), &input(&facts("v2", 2, false, vec![revision("v1", 1, 8)]), &healthy(), 0)).state;
    let baked = decide(Some(&running), &input(&v2, &healthy(), 60)).state;
    let done = decide(Some(&baked), &input(&v2, &healthy(), 360)).state;
    assert_eq!(done.phase, Phase::Succeeded);
    let asked = asking(|asks, ask| asks.rollback = Some(ask), "v2", v2.clone());
    let asked_for = decide(Some(&done), &input(&asked, &healthy(), 400));
    assert!(matches!(&asked_for.action, Action::RollBack { to_replica_set, .. } if to_replica_set == "teapot-v1"));
    let nothing = asking(|asks, ask| asks.rollback = Some(ask), "v1", facts("v1", 1, true, vec![]));
    let refused = decide(Some(&v1()), &input(&nothing, &healthy(), 400));
    assert_eq!((refused.state.phase, reasons(&refused)), (Phase::Succeeded, vec![EventReason::AskRefused]));
    assert_eq!(refused.state.stable, v1().stable);
}

#[test]
fn what_has_no_pods_cannot_be_rolled_back_and_that_is_said() {
    let gate = closed();
    let held = decide(Some(&v1()), &Input { gate: &gate, ..input(&pushed(), &healthy(), 0) }).state;
    let paused = Rollout { pause: Pause::Ours, hold: ours("BudgetSpent"), ..pushed() };
    let asked = asking(|asks, ask| asks.rollback = Some(ask), "v2", paused);
    let refused = decide(Some(&held), &Input { gate: &gate, ..input(&asked, &healthy(), 60) });
    assert_eq!((refused.state.phase, reasons(&refused)), (Phase::Validating, vec![EventReason::AskRefused]));
}
