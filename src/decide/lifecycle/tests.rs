use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::decide::action::Resize;
use crate::policy::Monitor;
use crate::watch::rollout::{
    Asks, Condemned, DeploymentKey, Held, Pause, Progress, Revision, Settings, Strategy as UpdateStrategy, TemplateId,
};

static OPEN: Gate = Gate::Open(String::new());

const MONITOR: Monitor = Monitor { timeout: Duration::from_secs(300), auto_rollback: true, control_pods: 0 };

pub(in crate::decide) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

pub(in crate::decide) fn revision(template: &str, number: u64, ready: u32) -> Revision {
    Revision {
        replica_set: format!("teapot-{template}"),
        uid: format!("uid-{template}"),
        number,
        template: TemplateId(template.into()),
        template_without_restart: TemplateId(template.into()),
        images: format!("teapot:{template}"),
        labels: std::collections::BTreeMap::new(),
        desired: ready,
        existing: ready,
        ready,
        available: ready,
        created: at(-86_400),
        condemned: None,
    }
}

/// The Deployment `teapot` at `template`, with the other revisions behind it.
pub(in crate::decide) fn facts(template: &str, number: u64, complete: bool, others: Vec<Revision>) -> Rollout {
    Rollout {
        key: DeploymentKey { namespace: "kitchen".into(), name: "teapot".into() },
        uid: "uid-teapot".into(),
        generation: 7,
        replicas: 10,
        template: TemplateId(template.into()),
        template_without_restart: TemplateId(template.into()),
        observed: true,
        complete,
        completed_at: complete.then(|| at(-86_000)),
        pause: Pause::None,
        hold: None,
        requested_by: None,
        asks: Asks::default(),
        strategy: UpdateStrategy::RollingUpdate,
        settings: Settings::DEFAULT,
        progress: Progress::Going,
        history_limit: 10,
        canary: Some(revision(template, number, if complete { 10 } else { 3 })),
        others,
    }
}

fn judgement(verdict: Verdict, cause: Cause) -> Judgement {
    Judgement {
        verdict,
        cause,
        text: "38 errors in 2,671 requests".into(),
        calm: false,
        calm_is_proven: false,
        blind: false,
        unread: false,
        looked_at: None,
        seen: Seen::default(),
    }
}

pub(super) fn healthy() -> Judgement {
    Judgement { calm: true, calm_is_proven: true, ..judgement(Verdict::Proceed, Cause::NotConvicted) }
}

pub(super) fn violating() -> Judgement {
    judgement(Verdict::Rollback, Cause::Violation)
}

pub(super) fn halting(cause: Cause) -> Judgement {
    judgement(Verdict::Halt, cause)
}

pub(super) fn input<'a>(facts: &'a Rollout, judgement: &'a Judgement, second: i64) -> Input<'a> {
    Input {
        policy: "afternoon",
        mode: Mode::Enforce,
        monitor: &MONITOR,
        canary: None,
        approval: Approval::Automatic,
        gate: &OPEN,
        on_unknown_budget: OnUnknownBudget::Allow,
        facts,
        judgement,
        trouble: None,
        recovered: None,
        now: at(second),
    }
}

pub(super) fn reasons(decision: &Decision) -> Vec<EventReason> {
    decision.announcements.iter().map(|announcement| announcement.reason).collect()
}

/// v1 is stable, v2 has just begun at second 0.
fn v2_promoting() -> State {
    let adopted = decide(None, &input(&facts("v1", 1, true, vec![]), &healthy(), -60)).state;
    let facts = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    decide(Some(&adopted), &input(&facts, &healthy(), 0)).state
}

fn v2(complete: bool) -> Rollout {
    facts("v2", 2, complete, vec![revision("v1", 1, 8)])
}

fn held() -> Held {
    Held { policy: "afternoon".into(), reason: "SharedCause".into(), own: None }
}

fn v2_held() -> Rollout {
    Rollout { pause: Pause::Ours, hold: Some(held()), ..v2(false) }
}

#[test]
fn a_complete_deployment_is_stable_when_first_seen() {
    let facts = facts("v1", 1, true, vec![]);
    let decision = decide(None, &input(&facts, &healthy(), 0));
    assert_eq!(decision.state.phase, Phase::Succeeded);
    assert_eq!(decision.state.stable, Some(Remembered { template: TemplateId("v1".into()), revision: 1 }));
    assert_eq!(decision.announcements, []);
}

#[test]
fn a_rollout_found_in_mid_way_is_taken_up_with_the_newest_other_ready_revision_as_stable() {
    let facts = facts("v3", 3, false, vec![revision("v2", 2, 0), revision("v1", 1, 8)]);
    let decision = decide(None, &input(&facts, &healthy(), 0));
    assert_eq!(decision.state.phase, Phase::Promoting);
    assert_eq!(decision.state.stable, Some(Remembered { template: TemplateId("v1".into()), revision: 1 }));
}

#[test]
fn a_healthy_rollout_is_promoted_monitored_and_succeeds_without_any_action() {
    let state = v2_promoting();
    let monitored = decide(Some(&state), &input(&v2(true), &healthy(), 60));
    assert_eq!((monitored.state.phase, &monitored.action), (Phase::Monitoring, &Action::None));
    let early = decide(Some(&monitored.state), &input(&v2(true), &healthy(), 359));
    assert_eq!(early.state.phase, Phase::Monitoring);
    let done = decide(Some(&early.state), &input(&v2(true), &healthy(), 360));
    assert_eq!((done.state.phase, &done.action), (Phase::Succeeded, &Action::None));
    assert_eq!(done.state.stable.as_ref().map(|stable| stable.revision), Some(2));
    assert_eq!(reasons(&done), [EventReason::Promoted]);
}

#[test]
fn a_bake_whose_time_was_up_while_no_operator_ran_ends_with_the_first_look_and_not_before() {
    let state = decide(Some(&v2_promoting()), &input(&v2(true), &healthy(), 60)).state;
    let unread = Judgement { unread: true, blind: true, ..healthy() };
    let started = decide(Some(&state), &input(&v2(true), &unread, 400));
    assert_eq!((started.state.phase, started.announcements), (Phase::Monitoring, vec![]));
    let bad = decide(Some(&started.state), &input(&v2(true), &violating(), 410));
    assert!(matches!(bad.action, Action::RollBack { .. }), "{:?}", bad.action);
    let good = decide(Some(&started.state), &input(&v2(true), &healthy(), 410));
    assert_eq!((good.state.phase, reasons(&good)), (Phase::Succeeded, vec![EventReason::Promoted]));
    let late = decide(Some(&started.state), &input(&v2(true), &unread, 360 + 6000));
    assert_eq!((late.state.phase, late.announcements), (Phase::Monitoring, vec![]));
}

#[test]
fn a_bake_ends_with_a_look_at_the_whole_of_it_also_when_the_clock_jumps() {
    let baking = decide(Some(&v2_promoting()), &input(&v2(true), &healthy(), 60)).state;
    let looked_at = |second| Judgement { looked_at: Some(at(second)), ..healthy() };
    for now in [360, 367, 90_000] {
        let waiting = decide(Some(&baking), &input(&v2(true), &looked_at(359), now));
        assert_eq!((waiting.state.phase, waiting.announcements), (Phase::Monitoring, vec![]), "{now}");
        let done = decide(Some(&waiting.state), &input(&v2(true), &looked_at(360), now));
        assert_eq!((done.state.phase, reasons(&done)), (Phase::Succeeded, vec![EventReason::Promoted]), "{now}");
    }
    // A policy that goes on without evidence goes on.
    let missing = Judgement { cause: Cause::EvidenceMissing, ..looked_at(300) };
    assert_eq!(decide(Some(&baking), &input(&v2(true), &missing, 360)).state.phase, Phase::Succeeded);
}

#[test]
fn what_was_blind_before_a_restart_is_taken_as_stable_after_a_look_alone() {
    let promoting = decide(Some(&v2_promoting()), &input(&v2(true), &healthy(), 60)).state;
    let blind = Judgement { blind: true, ..judgement(Verdict::Halt, Cause::EvidenceMissing) };
    let stopped = decide(Some(&promoting), &input(&v2(true), &blind, 100)).state;
    let unread = Judgement { unread: true, blind: true, ..healthy() };
    let started = decide(Some(&stopped), &input(&v2(true), &unread, 10_000));
    assert_eq!((started.state.phase, started.announcements), (Phase::Monitoring, vec![]));
    let still = decide(Some(&started.state), &input(&v2(true), &blind, 10_010));
    assert_eq!((still.state.phase, still.state.cause), (Phase::Succeeded, Cause::MonitoredBlind));
}

#[test]
fn a_violation_is_rolled_back_to_the_stable_replica_set() {
    let decision = decide(Some(&v2_promoting()), &input(&v2(false), &violating(), 30));
    assert_eq!(decision.state.phase, Phase::RollingBack);
    let Action::RollBack { to_replica_set, .. } = &decision.action else { panic!("{:?}", decision.action) };
    assert_eq!(to_replica_set, "teapot-v1");
    assert_eq!(reasons(&decision), [EventReason::BudgetViolation]);
    assert_eq!(decision.state.condemned, [TemplateId("v2".into())]);
}

#[test]
fn a_rollback_is_asked_for_until_it_is_there() {
    let decided = decide(Some(&v2_promoting()), &input(&v2(false), &violating(), 30));
    let again = decide(Some(&decided.state), &input(&v2(false), &healthy(), 31));
    assert!(matches!(again.action, Action::RollBack { .. }));
    assert_eq!(again.announcements, []);
}

#[test]
fn after_the_patch_the_restored_revision_recovers() {
    let decided = decide(Some(&v2_promoting()), &input(&v2(false), &violating(), 30));
    let facts = v2(false);
    let done = rolled_back(&decided.state, &input(&facts, &violating(), 31), SignedDuration::from_millis(180));
    assert_eq!(done.state.phase, Phase::Recovering);
    assert_eq!(reasons(&done), [EventReason::RolledBack]);
    assert!(
        done.announcements[0].note.ends_with("rolled back revision 2 to 1 in 0.18 s"),
        "{}",
        done.announcements[0].note
    );

    let restored = self::facts("v1", 3, true, vec![revision("v2", 2, 0)]);
    let judgement = healthy();
    let green = Input { recovered: Some(Outcome::Recovered), ..input(&restored, &judgement, 90) };
    let green = decide(Some(&done.state), &green);
    assert_eq!(green.state.phase, Phase::RolledBack);
    assert_eq!(reasons(&green), [EventReason::Recovered]);
    assert_eq!(green.state.incident.and_then(|incident| incident.outcome), Some(Outcome::Recovered));
}

fn mark() -> Condemned {
    Condemned { reason: "burn rate 14x".into(), at: at(20) }
}

#[test]
fn a_process_killed_after_the_patch_finds_its_rollback_and_does_not_repeat_it() {
    let mut abandoned = revision("v2", 2, 3);
    abandoned.condemned = Some(mark());
    let facts = facts("v1", 3, false, vec![abandoned]);
    let decision = decide(Some(&v2_promoting()), &input(&facts, &healthy(), 40));
    assert_eq!((decision.state.phase, decision.action), (Phase::Recovering, Action::None));
    let incident = decision.state.incident.expect("a rollback has a record");
    assert_eq!((incident.reason.as_str(), incident.decided), ("burn rate 14x", at(20)));
    assert_eq!(decision.announcements[0].decided, Some(at(20)), "so that it is told once");
}

#[test]
fn a_process_killed_between_mark_and_patch_goes_on_with_the_patch() {
    let mut facts = v2(false);
    facts.canary.as_mut().expect("v2 is there").condemned = Some(mark());
    let decision = decide(Some(&v2_promoting()), &input(&facts, &healthy(), 40));
    assert_eq!(decision.announcements[0].decided, Some(at(20)), "it is the same rollback");
    assert!(
        matches!(&decision.action, Action::RollBack { why, .. } if why == "burn rate 14x"),
        "{:?}",
        decision.action
    );
}

#[test]
fn a_rollback_by_hand_is_a_rollout_like_any_other() {
    let facts = facts("v1", 3, false, vec![revision("v2", 2, 3)]);
    let decision = decide(Some(&v2_promoting()), &input(&facts, &healthy(), 40));
    assert_eq!((decision.state.phase, &decision.action), (Phase::Promoting, &Action::None));
    assert_eq!(reasons(&decision), [EventReason::RolloutStarted]);
}

#[test]
fn not_green_in_ten_minutes_is_said_and_looks_go_on_until_it_is() {
    let decided = decide(Some(&v2_promoting()), &input(&v2(false), &violating(), 30));
    let facts = v2(false);
    let mut state = rolled_back(&decided.state, &input(&facts, &violating(), 31), SignedDuration::ZERO).state;
    let restored = self::facts("v1", 3, false, vec![revision("v2", 2, 0)]);
    state = decide(Some(&state), &input(&restored, &healthy(), 629)).state;
    assert_eq!(state.phase, Phase::Recovering);
    let late = decide(Some(&state), &input(&restored, &healthy(), 630));
    assert_eq!(reasons(&late), [EventReason::NotRecovered]);
    let judgement = healthy();
    let green = Input { recovered: Some(Outcome::RecoveredUnproven), ..input(&restored, &judgement, 700) };
    assert_eq!(reasons(&decide(Some(&late.state), &green)), [EventReason::Recovered]);
}

#[test]
fn a_newer_template_goes_back_to_the_last_good_revision_and_not_to_the_bad_one_before_it() {
    let facts = facts("v3", 3, false, vec![revision("v2", 2, 3), revision("v1", 1, 8)]);
    let v3 = decide(Some(&v2_promoting()), &input(&facts, &healthy(), 20)).state;
    let decision = decide(Some(&v3), &input(&facts, &violating(), 60));
    let Action::RollBack { to_replica_set, .. } = &decision.action else { panic!("{:?}", decision.action) };
    assert_eq!(to_replica_set, "teapot-v1");
}

#[test]
fn a_rollback_that_a_newer_template_overtook_is_not_recorded_as_one() {
    let state = decide(Some(&v2_promoting()), &input(&v2(false), &violating(), 20)).state;
    assert_eq!(state.phase, Phase::RollingBack);
    let facts = facts("v3", 3, false, vec![revision("v2", 2, 4), revision("v1", 1, 8)]);
    let decision = decide(Some(&state), &input(&facts, &healthy(), 30));
    assert_eq!((decision.state.phase, decision.state.incident), (Phase::Promoting, None));
    assert_eq!(decision.state.condemned, state.condemned, "v2 is no better for it");
}

#[test]
fn a_newer_template_ends_the_hold_of_the_one_before_it() {
    let halted = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::CauseUnclear), 20)).state;
    let mut facts = facts("v3", 3, false, vec![revision("v2", 2, 3), revision("v1", 1, 8)]);
    (facts.pause, facts.hold) = (Pause::Ours, Some(held()));
    let decision = decide(Some(&halted), &input(&facts, &healthy(), 30));
    assert_eq!((decision.state.phase, decision.action), (Phase::Promoting, Action::Release));
}

#[test]
fn a_halt_pauses_and_a_proven_calm_resumes_with_fresh_evidence() {
    let halted = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::SharedCause), 20));
    assert!(matches!(&halted.action, Action::Pause(hold) if hold.cause == Cause::SharedCause));
    assert_eq!(reasons(&halted), [EventReason::Halted]);
    let burning = decide(Some(&halted.state), &input(&v2_held(), &halting(Cause::SharedCause), 30));
    assert_eq!((burning.state.phase, burning.action), (Phase::Halted, Action::None));
    let calm = Judgement { calm: true, calm_is_proven: true, ..halting(Cause::SharedCause) };
    let resumed = decide(Some(&burning.state), &input(&v2_held(), &calm, 90));
    assert_eq!((resumed.state.phase, resumed.action), (Phase::Promoting, Action::Release));
    assert!(resumed.restart_evidence);
    assert_eq!(resumed.state.evidence_since, at(90));
}

#[test]
fn an_unproven_calm_resumes_after_ten_minutes() {
    let state = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::CauseUnclear), 0)).state;
    let calm = Judgement { calm: true, ..halting(Cause::CauseUnclear) };
    let early = decide(Some(&state), &input(&v2_held(), &calm, 599)).state;
    assert_eq!(early.phase, Phase::Halted);
    assert_eq!(decide(Some(&early), &input(&v2_held(), &calm, 600)).state.phase, Phase::Promoting);
}

#[test]
fn a_halt_turns_into_a_rollback_as_soon_as_the_release_is_to_blame() {
    let state = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::CauseUnclear), 20)).state;
    let decision = decide(Some(&state), &input(&v2_held(), &violating(), 30));
    assert!(matches!(decision.action, Action::RollBack { .. }));
}

#[test]
fn worse_than_stable_does_not_end_by_itself() {
    let state = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::WorseThanStable), 20)).state;
    let decision = decide(Some(&state), &input(&v2_held(), &healthy(), 10_000));
    assert_eq!(decision.state.phase, Phase::Halted);
}

#[test]
fn the_first_fresh_look_ends_a_halt_for_missing_evidence_and_forgets_nothing() {
    let halted = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::EvidenceMissing), 20));
    assert_eq!(reasons(&halted), [EventReason::EvidenceMissing]);
    let resumed = decide(Some(&halted.state), &input(&v2_held(), &healthy(), 30));
    assert_eq!((resumed.state.phase, resumed.action), (Phase::Promoting, Action::Release));
    assert!(!resumed.restart_evidence);
}

#[test]
fn an_operator_that_was_started_again_and_has_not_looked_yet_ends_no_halt_for_missing_evidence() {
    let halted = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::EvidenceMissing), 20)).state;
    let unread = Judgement { unread: true, ..judgement(Verdict::Proceed, Cause::NotConvicted) };
    let started = decide(Some(&halted), &input(&v2_held(), &unread, 30));
    assert_eq!((started.state.phase, &started.action), (Phase::Halted, &Action::None));
    assert_eq!(decide(Some(&started.state), &input(&v2_held(), &healthy(), 40)).state.phase, Phase::Promoting);
}

#[test]
fn missing_evidence_does_not_end_a_halt_that_has_another_cause() {
    let state = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::SharedCause), 20)).state;
    let blind = decide(Some(&state), &input(&v2_held(), &halting(Cause::EvidenceMissing), 30)).state;
    let back = decide(Some(&blind), &input(&v2_held(), &judgement(Verdict::Proceed, Cause::NotConvicted), 40));
    assert_eq!((back.state.phase, back.state.cause), (Phase::Halted, Cause::SharedCause));
}

#[test]
fn a_hold_that_somebody_took_away_is_put_back() {
    let state = decide(Some(&v2_promoting()), &input(&v2(false), &halting(Cause::SharedCause), 20)).state;
    let decision = decide(Some(&state), &input(&v2(false), &halting(Cause::SharedCause), 30));
    assert!(matches!(decision.action, Action::Pause(_)));
    assert_eq!(decision.announcements, []);
}

#[test]
fn a_halt_stops_the_clock_of_the_bake() {
    let state = decide(Some(&v2_promoting()), &input(&v2(true), &healthy(), 0)).state;
    let stopped = decide(Some(&state), &input(&v2(true), &halting(Cause::SharedCause), 100));
    assert_eq!((stopped.state.phase, &stopped.action), (Phase::Monitoring, &Action::None));
    let late = decide(Some(&stopped.state), &input(&v2(true), &halting(Cause::SharedCause), 500));
    assert_eq!(late.state.phase, Phase::Monitoring);
    let over = decide(Some(&late.state), &input(&v2(true), &healthy(), 600));
    assert_eq!((over.state.clock_stopped, over.state.monitor_until), (None, Some(at(800))));
    assert!(over.restart_evidence);
    assert_eq!(decide(Some(&over.state), &input(&v2(true), &healthy(), 800)).state.phase, Phase::Succeeded);
}

#[test]
fn a_bake_twice_its_time_without_evidence_ends_and_says_that_it_was_blind() {
    let state = decide(Some(&v2_promoting()), &input(&v2(true), &healthy(), 0)).state;
    let missing = halting(Cause::EvidenceMissing);
    let stopped = decide(Some(&state), &input(&v2(true), &missing, 100)).state;
    let waiting = decide(Some(&stopped), &input(&v2(true), &missing, 699)).state;
    assert_eq!(waiting.phase, Phase::Monitoring);
    let done = decide(Some(&waiting), &input(&v2(true), &missing, 700));
    assert_eq!((done.state.phase, done.state.cause), (Phase::Succeeded, Cause::MonitoredBlind));
    assert_eq!(reasons(&done), [EventReason::EvidenceMissing]);
}

#[test]
fn a_condemned_template_that_comes_back_is_held_without_pods_and_said_once() {
    let decided = decide(Some(&v2_promoting()), &input(&v2(false), &violating(), 30));
    let facts = v2(false);
    let restored = rolled_back(&decided.state, &input(&facts, &violating(), 31), SignedDuration::ZERO).state;
    let rejected = decide(Some(&restored), &input(&facts, &healthy(), 60));
    assert_eq!(rejected.state.phase, Phase::Rejected);
    assert!(matches!(rejected.action, Action::Pause(_)));
    assert_eq!(reasons(&rejected), [EventReason::RevisionRejected]);
    let again = decide(Some(&rejected.state), &input(&v2_held(), &healthy(), 61));
    let size = |template: &str, pods| Resize {
        replica_set: format!("teapot-{template}"),
        uid: format!("uid-{template}"),
        pods,
    };
    assert_eq!(again.action, Action::Resize(vec![size("v2", 0), size("v1", 10)]));
    assert_eq!(again.announcements, []);
    let fix = self::facts("v3", 4, false, vec![revision("v2", 2, 0), revision("v1", 3, 10)]);
    let fix = Rollout { pause: Pause::Ours, hold: Some(held()), ..fix };
    let fixed = decide(Some(&again.state), &input(&fix, &healthy(), 90));
    assert_eq!((fixed.state.phase, fixed.action), (Phase::Promoting, Action::Release));
}

#[test]
fn without_anything_to_go_back_to_it_is_said_at_the_start_and_halted_on_a_violation() {
    let facts = facts("v1", 1, false, vec![]);
    let begun = decide(None, &input(&facts, &healthy(), 0));
    assert_eq!(reasons(&begun), [EventReason::NoRollbackTarget]);
    let halted = decide(Some(&begun.state), &input(&facts, &violating(), 30));
    assert_eq!((halted.state.phase, halted.state.cause), (Phase::Halted, Cause::NoRollbackTarget));
    assert!(matches!(halted.action, Action::Pause(_)));
}

#[test]
fn a_first_revision_that_never_succeeded_is_nothing_to_go_back_to() {
    let begun = decide(None, &input(&facts("v1", 1, false, vec![]), &healthy(), 0)).state;
    let halted = decide(Some(&begun), &input(&facts("v1", 1, false, vec![]), &violating(), 30)).state;
    let v2 = decide(Some(&halted), &input(&v2(false), &healthy(), 60));
    assert_eq!(reasons(&v2), [EventReason::NoRollbackTarget]);
    assert_eq!((v2.state.stable, v2.state.phase), (None, Phase::Promoting));
}

#[test]
fn a_history_that_keeps_nothing_is_said_at_the_start() {
    let adopted = adopted("uid-teapot", TemplateId("v1".into()), 1, at(-60));
    let facts = Rollout { history_limit: 0, ..v2(false) };
    let begun = decide(Some(&adopted), &input(&facts, &healthy(), 0));
    assert_eq!(reasons(&begun), [EventReason::NoRollbackTarget]);
    assert_eq!(begun.state.phase, Phase::Promoting);
}

#[test]
fn auto_rollback_off_halts_and_says_what_a_rollback_would_have_done() {
    let facts = v2(false);
    let judgement = violating();
    let monitor = Monitor { auto_rollback: false, ..MONITOR };
    let decision = decide(Some(&v2_promoting()), &Input { monitor: &monitor, ..input(&facts, &judgement, 30) });
    assert_eq!((decision.state.phase, decision.state.cause), (Phase::Halted, Cause::AutoRollbackOff));
    assert!(decision.state.message.ends_with("would roll back revision 2 to 1"), "{}", decision.state.message);
}

#[test]
fn an_observed_violation_neither_holds_the_rollout_nor_lets_its_bake_end() {
    let judgement = violating();
    let observed = |facts, second| Input { mode: Mode::Observe, ..input(facts, &judgement, second) };
    let (rolling, complete) = (v2(false), v2(true));
    let violation = decide(Some(&v2_promoting()), &observed(&rolling, 30));
    assert_eq!((violation.state.phase, &violation.action), (Phase::Promoting, &Action::None));
    assert_eq!(reasons(&violation), [EventReason::BudgetViolation]);
    let baked = decide(Some(&violation.state), &observed(&complete, 60));
    assert_eq!((baked.state.phase, baked.state.clock_stopped), (Phase::Monitoring, Some(at(60))));
    let late = decide(Some(&baked.state), &observed(&complete, 10_000));
    assert_eq!((late.state.phase, late.announcements), (Phase::Monitoring, vec![]));
}

#[test]
fn recreate_is_never_paused_for_its_old_pods_are_gone_already() {
    let facts = Rollout { strategy: UpdateStrategy::Recreate, ..v2(false) };
    let decision = decide(Some(&v2_promoting()), &input(&facts, &halting(Cause::CauseUnclear), 30));
    assert_eq!(decision.action, Action::None);
    let decision = decide(Some(&decision.state), &input(&facts, &violating(), 40));
    assert!(matches!(decision.action, Action::RollBack { .. }));
}

#[test]
fn the_progress_deadline_is_a_rollback_and_what_cannot_run_is_a_halt() {
    let facts = v2(false);
    let judgement = healthy();
    let late = Trouble::NotReadyInTime("progress deadline".into());
    let decision = decide(Some(&v2_promoting()), &Input { trouble: Some(&late), ..input(&facts, &judgement, 30) });
    assert!(matches!(decision.action, Action::RollBack { .. }));
    assert_eq!(decision.state.cause, Cause::ProgressDeadlineExceeded);
    let quota = Trouble::CannotRun("exceeded quota".into());
    let halted = decide(Some(&v2_promoting()), &Input { trouble: Some(&quota), ..input(&facts, &judgement, 30) });
    assert_eq!((halted.state.phase, halted.state.cause), (Phase::Halted, Cause::CannotRun));
    let resumed = decide(Some(&halted.state), &input(&v2_held(), &judgement, 60));
    assert_eq!((resumed.state.phase, resumed.action), (Phase::Promoting, Action::Release));
}

#[test]
fn a_release_completed_long_before_the_operator_came_back_is_stable() {
    let adopted = decide(None, &input(&facts("v1", 1, true, vec![]), &healthy(), -90_000)).state;
    let decision = decide(Some(&adopted), &input(&facts("v2", 2, true, vec![revision("v1", 1, 0)]), &healthy(), 0));
    assert_eq!((decision.state.phase, decision.state.cause), (Phase::Succeeded, Cause::Adopted));
    assert_eq!(decision.state.stable.map(|stable| stable.revision), Some(2));
}

/// One thing that happens between two decisions.
#[derive(Debug, Clone)]
struct Moment {
    template: u8,
    complete: bool,
    pause: Pause,
    verdict: Verdict,
    cause: Cause,
    calm: bool,
    trouble: Option<bool>,
    mode: Mode,
    auto_rollback: bool,
    control_pods: u32,
    seconds: i64,
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let pause = prop_oneof![4 => Just(Pause::None), 1 => Just(Pause::User), 2 => Just(Pause::Ours)];
    let verdict = prop_oneof![
        4 => Just((Verdict::Proceed, Cause::NotConvicted)),
        1 => Just((Verdict::Halt, Cause::SharedCause)),
        1 => Just((Verdict::Halt, Cause::CauseUnclear)),
        1 => Just((Verdict::Halt, Cause::WorseThanStable)),
        1 => Just((Verdict::Halt, Cause::EvidenceMissing)),
        2 => Just((Verdict::Rollback, Cause::Violation)),
    ];
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Observe)];
    let trouble = prop_oneof![6 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    let monitor = (any::<bool>(), 0..3_u32);
    let moment = (1..4_u8, any::<bool>(), pause, verdict, any::<bool>(), trouble, mode, monitor, 1..400_i64).prop_map(
        |(template, complete, pause, (verdict, cause), calm, trouble, mode, (auto_rollback, control_pods), seconds)| {
            Moment {
                template,
                complete,
                pause,
                verdict,
                cause,
                calm,
                trouble,
                mode,
                auto_rollback,
                control_pods,
                seconds,
            }
        },
    );
    prop::collection::vec(moment, 1..40)
}

proptest! {
    #[test]
    fn whatever_happens_the_promises_hold(moments in moments()) {
        let mut state: Option<State> = None;
        let mut now = 0;
        for moment in moments {
            now += moment.seconds;
            let template = format!("v{}", moment.template);
            let others = (1..4).rev().filter(|n| *n != moment.template).map(|n| revision(&format!("v{n}"), n.into(), 3)).collect();
            let mut facts = facts(&template, moment.template.into(), moment.complete, others);
            facts.hold = (moment.pause == Pause::Ours).then(held);
            facts.pause = moment.pause.clone();
            let judgement = Judgement { calm: moment.calm, calm_is_proven: moment.calm, ..judgement(moment.verdict, moment.cause) };
            let trouble = moment.trouble.map(|late| if late { Trouble::NotReadyInTime("late".into()) } else { Trouble::CannotRun("quota".into()) });
            let monitor = Monitor { auto_rollback: moment.auto_rollback, control_pods: moment.control_pods, ..MONITOR };
            let input = Input { mode: moment.mode, monitor: &monitor, trouble: trouble.as_ref(), ..input(&facts, &judgement, now) };
            let decision = decide(state.as_ref(), &input);
            prop_assert_eq!(&decision, &decide(state.as_ref(), &input), "deterministic");

            let before = state.as_ref();
            match &decision.action {
                Action::RollBack { to_replica_set, .. } => {
                    let decided = before.is_some_and(|state| state.phase == Phase::RollingBack);
                    let late = matches!(trouble, Some(Trouble::NotReadyInTime(_)));
                    prop_assert!(decided || late || moment.verdict == Verdict::Rollback, "a rollback needs a conviction");
                    prop_assert_ne!(to_replica_set, &format!("teapot-{template}"));
                    prop_assert_eq!(moment.mode, Mode::Enforce);
                    prop_assert!(moment.auto_rollback);
                    prop_assert_ne!(&moment.pause, &Pause::User);
                }
                Action::Pause(_) => prop_assert!(moment.pause == Pause::None && moment.mode == Mode::Enforce),
                Action::Release | Action::Resize(_) => prop_assert_eq!(&moment.pause, &Pause::Ours),
                Action::None => {}
                Action::HoldCanary(hold) => {
                    prop_assert!(hold.paused && moment.mode == Mode::Enforce && moment.pause != Pause::User);
                }
                other => prop_assert!(false, "nobody asked for {other:?}"),
            }
            let succeeded = decision.state.phase == Phase::Succeeded;
            if succeeded && before.is_some_and(|before| before.phase == Phase::Monitoring && before.newest == decision.state.newest) {
                prop_assert!(
                    moment.verdict == Verdict::Proceed || decision.state.cause == Cause::MonitoredBlind,
                    "no Halt ends as Succeeded"
                );
            }
            prop_assert!(decision.state.condemned.len() <= State::CONDEMNED_KEPT);
            state = Some(match decision.action {
                // The patch is accepted.
                Action::RollBack { .. } => rolled_back(&decision.state, &input, SignedDuration::ZERO).state,
                _ => decision.state,
            });
        }
    }
}
