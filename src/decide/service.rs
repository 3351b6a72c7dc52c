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
    /// Not Ready within the Deployment's own progress deadline: rolled back like a violation.
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

/// How long the canary's pods have been awaited since its step began.
#[must_use]
pub fn awaited(facts: &Rollout, began: Timestamp, now: Timestamp) -> Awaited {
    let Some(canary) = facts.canary.as_ref().filter(|canary| canary.ready < canary.desired) else {
        return Awaited::No;
    };
    let waited = now.duration_since(began.max(canary.created));
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
    desired: u32,
    ready: u32,
    falls: u32,
    fallen_since: Option<Timestamp>,
}

impl Stability {
    /// Takes the facts in.
    pub fn observe(&mut self, facts: &Rollout, now: Timestamp) {
        let Some(canary) = &facts.canary else {
            *self = Self::default();
            return;
        };
        // Fewer Ready pods because fewer are wanted is scaling, not falling.
        if canary.desired >= self.desired && canary.ready < self.ready {
            self.falls += 1;
            self.fallen_since.get_or_insert(now);
        } else if canary.ready >= canary.desired {
            self.fallen_since = None;
        }
        self.desired = canary.desired;
        self.ready = canary.ready;
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
            Progress::Crashing(why) => {
                return Some(Trouble::Unstable(format!("new pods crash: {why}; {ready}")));
            }
            Progress::Going => {}
        }
        let fallen = self.fallen_since.is_some_and(|since| now.duration_since(since) >= FALLEN_FOR);
        (fallen || (self.falls >= FALLEN_TIMES && self.fallen_since.is_some()))
            .then(|| Trouble::Unstable(format!("new pods were Ready and fell back ({} times); {ready}", self.falls)))
    }
}
