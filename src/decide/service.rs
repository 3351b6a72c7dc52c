//! What speaks against a new revision without any counter: pods that cannot run, do not become Ready, or fall back.

use jiff::{SignedDuration, Timestamp};

use crate::watch::rollout::{Progress, Rollout, Settings};

/// Pods that were Ready and are not again this long are a reason to halt.
const FALLEN_FOR: SignedDuration = SignedDuration::from_secs(30);

/// So are pods that fell back this often.
const FALLEN_TIMES: u32 = 2;

/// What Kubernetes says against the new pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Not Ready within the Deployment's own progress deadline, or not again for as long: rolled back like a violation.
    NotReadyInTime(String),
    /// They cannot be created, scheduled or started, which need not be the release's fault: halted.
    CannotRun(String),
    /// They were Ready and fell back twice or for 30 s; a crash that exports nothing shows in no counter: halted.
    Unstable(String),
}

/// How long the pods of a held canary have been awaited, and whether that is longer than the owner allows new pods to
/// take: while our settings are in force Kubernetes does not time them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// They are Ready, or none are held.
    No,
    /// So long.
    For(SignedDuration),
    /// Longer than the owner's progress deadline of so many seconds.
    Overdue(u32),
}

/// How long the canary's pods have been awaited since its step began at `began`, or since their number changed last:
/// like Kubernetes, every pod that becomes Ready is given the whole deadline anew, and so is one that is wanted later.
#[must_use]
pub fn awaited(facts: &Rollout, began: Timestamp, stability: &Stability, now: Timestamp) -> Awaited {
    let Some(canary) = facts.canary.as_ref().filter(|canary| canary.ready < canary.desired) else {
        return Awaited::No;
    };
    let changed = stability.changed.unwrap_or(now);
    let waited = now.duration_since(began.max(canary.created).max(changed));
    let deadline = facts.own_settings().progress_deadline_seconds;
    let limited = deadline != Settings::NO_PROGRESS_DEADLINE;
    match limited && waited > SignedDuration::from_secs(deadline.into()) {
        true => Awaited::Overdue(deadline),
        false => Awaited::For(waited),
    }
}

/// Watches the Ready pods of the canary for falling back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stability {
    /// Whose pods they are, by uid: another ReplicaSet's have not fallen back because this one's are not Ready yet.
    replica_set: String,
    desired: u32,
    ready: u32,
    falls: u32,
    fallen_since: Option<Timestamp>,
    /// How long some were not Ready again, all told, since all were Ready for as long as the progress deadline: a pod that
    /// crashes once a minute is Ready in between, and one that was moved to another node twice a day is well.
    fallen_for: SignedDuration,
    /// Since when all have been Ready.
    ready_since: Option<Timestamp>,
    /// When the facts were taken in last.
    seen: Option<Timestamp>,
    /// When the number of pods that are wanted or Ready was last seen to change.
    changed: Option<Timestamp>,
}

impl Stability {
    /// Takes the facts in.
    pub fn observe(&mut self, facts: &Rollout, now: Timestamp) {
        let Some(canary) = &facts.canary else {
            *self = Self::default();
            return;
        };
        if self.replica_set != canary.uid {
            *self = Self { replica_set: canary.uid.clone(), changed: Some(now), ..Self::default() };
        }
        let deadline = SignedDuration::from_secs(facts.own_settings().progress_deadline_seconds.into());
        if self.ready_since.is_some_and(|since| now.duration_since(since) >= deadline) {
            self.fallen_for = SignedDuration::ZERO;
        }
        // What cannot run for want of a node or an image is not the release's fault, nor what befalls stable pods as well.
        let is_shared = facts.others.iter().any(|other| other.ready < other.desired);
        if self.fallen_since.is_some() && !is_shared && !matches!(facts.progress, Progress::CannotRun(_)) {
            self.fallen_for += now.duration_since(self.seen.unwrap_or(now));
        }
        if self.seen.is_some() && (canary.desired, canary.ready) != (self.desired, self.ready) {
            self.changed = Some(now);
        }
        // Fewer Ready pods because fewer are wanted is scaling, not falling, and they may go some time after they are not
        // wanted any more.
        if canary.ready < self.ready.min(canary.desired) {
            self.falls += 1;
            self.fallen_since.get_or_insert(now);
        } else if canary.ready >= canary.desired {
            self.fallen_since = None;
        }
        self.ready_since = (canary.ready >= canary.desired).then(|| self.ready_since.unwrap_or(now));
        self.desired = canary.desired;
        self.ready = canary.ready;
        self.seen = Some(now);
    }

    /// What is wrong with the new pods, if anything is.
    #[must_use]
    pub fn trouble(&self, facts: &Rollout, now: Timestamp) -> Option<Trouble> {
        let canary = facts.canary.as_ref()?;
        let ready = format!("{} of {} new pods are Ready", canary.ready, canary.desired);
        match &facts.progress {
            Progress::CannotRun(why) => {
                return Some(Trouble::CannotRun(format!("new pods cannot run: {why}; {ready}")));
            }
            Progress::DeadlineExceeded(why) => {
                return Some(Trouble::NotReadyInTime(format!("the progress deadline passed: {why}; {ready}")));
            }
            Progress::Crashing(_) | Progress::Going => {}
        }
        let times = if self.falls == 1 { "once".to_owned() } else { format!("{} times", self.falls) };
        let fell = format!("new pods were Ready and fell back {times}");
        let deadline = facts.own_settings().progress_deadline_seconds;
        if deadline != Settings::NO_PROGRESS_DEADLINE && self.fallen_for > SignedDuration::from_secs(deadline.into()) {
            let seconds = self.fallen_for.as_secs();
            return Some(Trouble::NotReadyInTime(format!(
                "{fell}, for {seconds} s all told, which is more than the progress deadline of {deadline} s; {ready}"
            )));
        }
        if let Progress::Crashing(why) = &facts.progress {
            return Some(Trouble::Unstable(format!("new pods crash: {why}; {ready}")));
        }
        let fallen = self.fallen_since.is_some_and(|since| now.duration_since(since) >= FALLEN_FOR);
        (fallen || (self.falls >= FALLEN_TIMES && self.fallen_since.is_some()))
            .then(|| Trouble::Unstable(format!("{fell}; {ready}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lifecycle::tests::{at, facts, revision};
    use super::*;
    use crate::watch::rollout::Revision;

    /// v2 is to have so many pods, of which so many are Ready.
    fn pods(desired: u32, ready: u32) -> Rollout {
        let canary = Revision { desired, ..revision("v2", 2, ready) };
        Rollout { canary: Some(canary), ..facts("v2", 2, false, vec![revision("v1", 1, 10)]) }
    }

    /// What was seen, and when.
    fn seen(history: &[(i64, Rollout)]) -> Stability {
        let mut stability = Stability::default();
        history.iter().for_each(|(second, facts)| stability.observe(facts, at(*second)));
        stability
    }

    #[test]
    fn pods_that_are_not_ready_within_their_owners_deadline_are_overdue() {
        let stability = seen(&[(0, pods(2, 0))]);
        assert_eq!(awaited(&pods(2, 0), at(0), &stability, at(600)), Awaited::For(SignedDuration::from_secs(600)));
        assert_eq!(awaited(&pods(2, 0), at(0), &stability, at(601)), Awaited::Overdue(600));
        assert_eq!(awaited(&pods(2, 2), at(0), &stability, at(601)), Awaited::No);
    }

    #[test]
    fn a_pod_that_is_wanted_or_lost_late_in_the_hold_has_the_whole_deadline_too() {
        for late in [pods(3, 2), pods(2, 1)] {
            let stability = seen(&[(0, pods(2, 0)), (5, pods(2, 2)), (3000, late.clone())]);
            assert_eq!(awaited(&late, at(0), &stability, at(3010)), Awaited::For(SignedDuration::from_secs(10)));
            assert_eq!(awaited(&late, at(0), &stability, at(3601)), Awaited::Overdue(600));
        }
    }

    #[test]
    fn pods_that_come_up_one_by_one_are_overdue_when_the_next_is_not_there_in_time() {
        let stability = seen(&[(0, pods(2, 0)), (500, pods(2, 1))]);
        assert_eq!(awaited(&pods(2, 1), at(0), &stability, at(700)), Awaited::For(SignedDuration::from_secs(200)));
        assert_eq!(awaited(&pods(2, 1), at(0), &stability, at(1101)), Awaited::Overdue(600));
    }

    #[test]
    fn of_a_successor_that_knows_nothing_pods_are_awaited_anew() {
        assert_eq!(awaited(&pods(3, 2), at(0), &Stability::default(), at(9000)), Awaited::For(SignedDuration::ZERO));
    }

    #[test]
    fn pods_of_another_revision_have_not_fallen_back() {
        let v1 = facts("v1", 1, true, vec![]);
        let stability = seen(&[(0, v1), (10, pods(10, 0))]);
        assert_eq!(stability.trouble(&pods(10, 0), at(60)), None);
    }

    #[test]
    fn pods_that_go_some_time_after_they_are_not_wanted_any_more_have_not_fallen_back() {
        let scaled =
            [pods(10, 10), pods(7, 10), pods(7, 7), pods(9, 7), pods(9, 9), pods(5, 9), pods(5, 6), pods(5, 5)];
        let seen = seen(&(0..).zip(scaled).collect::<Vec<_>>());
        assert_eq!((seen.falls, seen.fallen_since), (0, None));
    }

    #[test]
    fn pods_that_were_ready_and_are_not_again_for_half_a_minute_are_unstable() {
        let stability = seen(&[(0, pods(2, 2)), (10, pods(2, 1))]);
        assert_eq!(stability.trouble(&pods(2, 1), at(39)), None);
        let said = "new pods were Ready and fell back once; 1 of 2 new pods are Ready".to_owned();
        assert_eq!(stability.trouble(&pods(2, 1), at(40)), Some(Trouble::Unstable(said)));
    }

    /// Ready for a minute, then not for 100 s, so many times, from the first second on.
    fn crashes(times: i64) -> Vec<(i64, Rollout)> {
        (0..times).flat_map(|nth| [(nth * 160, pods(2, 2)), (nth * 160 + 60, pods(2, 1))]).collect()
    }

    #[test]
    fn pods_that_fall_back_again_and_again_are_rolled_back_after_the_deadline_all_told() {
        let [often, too_often] = [crashes(6), crashes(7)].map(|mut history| {
            history.push((history.len() as i64 / 2 * 160, pods(2, 1)));
            seen(&history)
        });
        assert!(matches!(often.trouble(&pods(2, 1), at(961)), Some(Trouble::Unstable(_))));
        let said = "new pods were Ready and fell back 7 times, for 700 s all told, which is more than the progress deadline of \
                    600 s; 1 of 2 new pods are Ready";
        assert_eq!(too_often.trouble(&pods(2, 1), at(1121)), Some(Trouble::NotReadyInTime(said.to_owned())));
    }

    #[test]
    fn falls_of_long_ago_do_not_add_up() {
        let moved_at = |second| [(second, pods(2, 1)), (second + 400, pods(2, 2))];
        let history: Vec<_> =
            [(0, pods(2, 2))].into_iter().chain([1000, 3000, 5000].into_iter().flat_map(moved_at)).collect();
        assert_eq!(seen(&history).fallen_for, SignedDuration::from_secs(400));
    }

    #[test]
    fn time_in_which_stable_pods_are_not_ready_either_is_not_held_against_the_new_ones() {
        let unready = Revision { desired: 10, ..revision("v1", 1, 4) };
        let shared = Rollout { others: vec![unready], ..pods(2, 1) };
        let stability = seen(&[(0, pods(2, 2)), (10, shared.clone()), (9000, shared), (9010, pods(2, 2))]);
        assert_eq!(stability.fallen_for, SignedDuration::from_secs(10));
    }

    #[test]
    fn time_in_which_kubernetes_cannot_run_them_is_not_held_against_pods_that_fell_back() {
        let lost = Rollout { progress: Progress::CannotRun("no node".to_owned()), ..pods(2, 1) };
        let stability =
            seen(&[(0, pods(2, 2)), (10, pods(2, 1)), (20, lost.clone()), (9000, lost), (9010, pods(2, 1))]);
        assert_eq!(stability.fallen_for, SignedDuration::from_secs(10));
    }
}
