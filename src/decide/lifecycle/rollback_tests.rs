//! Rollbacks that were interrupted, or that cannot be made any more.

use super::tests::{at, facts, healthy, input, reasons, revision, violating};
use super::*;

/// v2 is to be rolled back to v1.
fn rolling_back() -> State {
    let v1 = decide(None, &input(&facts("v1", 1, true, vec![]), &healthy(), -60)).state;
    let bad = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let begun = decide(Some(&v1), &input(&bad, &healthy(), 0)).state;
    decide(Some(&begun), &input(&bad, &violating(), 30)).state
}

#[test]
fn what_was_rolled_back_before_it_was_noted_with_a_number_is_told_with_its_number() {
    let mut noted = rolling_back();
    noted.phase = Phase::Promoting;
    noted.incident = None;
    noted.newest.revision = 0;
    let mark = Condemned { reason: "burn rate 14.2x".into(), at: at(30) };
    let bad = crate::watch::rollout::Revision { condemned: Some(mark), ..revision("v2", 2, 3) };
    let back = facts("v1", 3, false, vec![bad]);
    let found = decide(Some(&noted), &input(&back, &healthy(), 40));
    assert_eq!(found.state.phase, Phase::Recovering);
    let incident = found.state.incident.expect("a record");
    assert_eq!((incident.condemned.revision, incident.decided), (2, at(30)));
    assert_eq!(found.announcements[0].note, "burn rate 14.2x; rolled back revision 2 to 1");
}

#[test]
fn a_template_whose_rollback_was_not_noted_is_known_when_it_comes_again_after_its_replica_set_is_gone() {
    let begun = State { incident: None, condemned: vec![], phase: Phase::Promoting, ..rolling_back() };
    let mark = Condemned { reason: "burn rate 14.2x".into(), at: at(30) };
    let bad = crate::watch::rollout::Revision { condemned: Some(mark), ..revision("v2", 2, 3) };
    let found = decide(Some(&begun), &input(&facts("v1", 3, false, vec![bad]), &healthy(), 40)).state;
    assert_eq!(found.condemned, [TemplateId("v2".into())]);
    let again = Rollout { canary: None, ..facts("v2", 4, false, vec![revision("v1", 3, 10)]) };
    assert_eq!(decide(Some(&found), &input(&again, &healthy(), 900)).state.phase, Phase::Rejected);
}

#[test]
fn what_cannot_be_rolled_back_any_more_leaves_no_record_of_a_rollback() {
    let state = rolling_back();
    assert_eq!(state.phase, Phase::RollingBack);
    let alone = facts("v2", 2, true, vec![]);
    let left = decide(Some(&state), &input(&alone, &violating(), 40));
    assert_eq!((left.state.phase, left.state.cause), (Phase::Monitoring, Cause::NoRollbackTarget));
    assert_eq!((left.state.incident, left.state.condemned), (None, vec![]));
    assert_eq!(left.action, Action::None);
}

#[test]
fn what_only_observes_in_the_middle_of_a_rollback_makes_none() {
    let bad = facts("v2", 2, false, vec![revision("v1", 1, 8)]);
    let judgement = violating();
    let observed = Input { mode: Mode::Observe, ..input(&bad, &judgement, 40) };
    let left = decide(Some(&rolling_back()), &observed);
    assert_eq!((left.state.phase, left.state.cause), (Phase::Promoting, Cause::ObserveOnly));
    assert_eq!((&left.action, reasons(&left)), (&Action::None, vec![EventReason::BudgetViolation]));
    assert_eq!(left.state.incident, None);
}
