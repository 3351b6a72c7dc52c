//! What one look, or one change of the facts, does to a rollout whose template stays the same.

use jiff::{SignedDuration, Timestamp};

use super::super::action::{Action, Hold};
use super::super::analysis::Verdict;
use super::super::announcement::{Announcement, EventReason};
use super::super::outlook::ends_with;
use super::super::service::Trouble;
use super::super::state::{Cause, Phase, State};
use super::{CALM_TIMEOUT, Decision, Input, newest, quiet, release_if_held, with_newest};
use crate::policy::Mode;
use crate::watch::rollout::{Pause, Revision, Strategy};

/// Why what was held goes on under a policy that only observes now.
pub(super) const NOTHING_IS_HELD: &str = "mode is Observe, so nothing is held";

/// One decision within the life of one template.
pub(super) struct Step<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) decision: Decision,
    /// Why it was where it was before this step.
    pub(super) before: Cause,
    /// What people asked for is done or refused, and remembered: their annotations can go.
    pub(super) is_answered: bool,
}

impl<'a> Step<'a> {
    pub(super) fn new(mut state: State, input: &'a Input<'a>) -> Self {
        let is_rolled_out = !matches!(state.phase, Phase::RollingBack | Phase::Recovering | Phase::RolledBack);
        let now = newest(input.facts);
        // Kubernetes gives an earlier ReplicaSet that it uses again another number.
        if state.newest.revision == 0 || (is_rolled_out && now.revision > 0) {
            state.newest = now;
        }
        let before = state.cause;
        Self { input, decision: quiet(state, Action::None), before, is_answered: false }
    }

    pub(super) fn in_phase(mut self) -> Decision {
        if self.input.mode == Mode::Observe {
            self.hold_nothing();
        }
        self.drop_unwanted_control();
        let mark = self.input.facts.canary.as_ref().and_then(|canary| canary.condemned.as_ref());
        match self.decision.state.phase {
            // It was decided, and the process that did so died before the patch.
            Phase::Canary | Phase::Promoting | Phase::Monitoring | Phase::Halted
                if let Some(mark) = mark
                    && self.input.mode == Mode::Enforce =>
            {
                self.convict(Cause::Violation, &mark.reason);
            }
            Phase::Validating
            | Phase::Canary
            | Phase::Promoting
            | Phase::Monitoring
            | Phase::Halted
            | Phase::Succeeded
                if self.is_asked_to_roll_back() =>
            {
                self.convict_by_request();
            }
            Phase::Validating => self.validating(),
            Phase::Canary => self.canary(),
            Phase::Promoting => self.promoting(),
            Phase::Monitoring => self.monitoring(),
            Phase::Halted => self.halted(),
            Phase::RollingBack => self.roll_back(),
            Phase::Recovering | Phase::RolledBack => self.after_rollback(),
            Phase::Succeeded => self.decision.action = release_if_held(self.input.facts),
            Phase::Rejected => self.rejected(),
        }
        self.tell_of_return();
        if self.is_answered && self.decision.action == Action::None {
            self.decision.action = Action::Answer;
        }
        self.decision
    }

    /// The policy held it and only observes now: Kubernetes rolls on, and looks go on.
    fn hold_nothing(&mut self) {
        let phase = self.decision.state.phase;
        if !matches!(phase, Phase::Canary | Phase::Halted | Phase::Rejected) {
            return;
        }
        let goes_on = match self.decision.state.cause {
            Cause::NotConvicted => "the canary goes on".to_owned(),
            cause => format!("goes on after {}", cause.as_str()),
        };
        let note = format!("{goes_on}: {NOTHING_IS_HELD}");
        if release_if_held(self.input.facts) != Action::None {
            self.announce(EventReason::Resumed, note.clone());
        }
        if phase == Phase::Rejected {
            self.count_anew();
        }
        self.say(Cause::NotConvicted, note);
        self.decision.state.canary = None;
        self.decision.state.control = None;
        self.enter(Phase::Promoting);
    }

    fn promoting(&mut self) {
        match self.verdict() {
            (Verdict::Rollback, cause, text) => self.convict(cause, &text),
            (Verdict::Halt, cause, text) => self.halt(cause, text),
            (Verdict::Proceed, cause, text) => {
                let paused = if self.input.facts.pause == Pause::User { "paused by its owner; " } else { "" };
                self.say(cause, format!("{paused}{text}"));
                self.roll_on();
                if self.input.facts.complete {
                    self.monitor();
                }
            }
        }
    }

    /// The verdict of looks, of Kubernetes and of the gate together: the worst one counts. What a person has approved
    /// stops it no more.
    pub(super) fn verdict(&self) -> (Verdict, Cause, String) {
        let (verdict, cause, text) = match (self.verdict_of_service(), self.gate_stops()) {
            ((Verdict::Proceed, ..), Some((cause, text))) if self.may_be_stopped_by_gate() => {
                (Verdict::Halt, cause, text)
            }
            (of_service @ (Verdict::Proceed, ..), _) => {
                self.stable_is_missing().map_or(of_service, |(cause, text)| (Verdict::Halt, cause, text))
            }
            (of_service, _) => of_service,
        };
        match verdict == Verdict::Halt && self.decision.state.approved.contains(&cause) {
            true => (Verdict::Proceed, cause, format!("{text}; a person approved it")),
            false => (verdict, cause, text),
        }
    }

    fn verdict_of_service(&self) -> (Verdict, Cause, String) {
        let judgement = self.input.judgement;
        let of_looks = (judgement.verdict, judgement.cause, judgement.text.clone());
        match self.input.trouble {
            Some(trouble) if judgement.verdict != Verdict::Rollback => match trouble {
                Trouble::NotReadyInTime(why) => (Verdict::Rollback, Cause::ProgressDeadlineExceeded, why.clone()),
                Trouble::CannotRun(why) => (Verdict::Halt, Cause::CannotRun, why.clone()),
                Trouble::Unstable(why) => (Verdict::Halt, Cause::CanaryUnstable, why.clone()),
            },
            _ => of_looks,
        }
    }

    pub(super) fn monitor(&mut self) {
        let until = self.input.now.saturating_add(self.timeout()).unwrap_or(Timestamp::MAX);
        let state = &mut self.decision.state;
        state.monitor_until = Some(until);
        state.clock_stopped = None;
        self.enter(Phase::Monitoring);
        self.miss_control();
    }

    fn timeout(&self) -> SignedDuration {
        SignedDuration::try_from(self.input.monitor.timeout).unwrap_or(SignedDuration::MAX)
    }

    fn monitoring(&mut self) {
        match self.verdict() {
            (Verdict::Rollback, cause, text) => self.convict(cause, &text),
            (Verdict::Halt, cause, text) => self.stop_clock(cause, text),
            (Verdict::Proceed, cause, text) if self.may_resume() => {
                self.start_clock();
                self.say(cause, text);
                if self.is_over() && !self.waits_for_look() {
                    self.succeed(self.input.judgement.blind);
                }
            }
            (Verdict::Proceed, ..) => {}
        }
        let blind = self.decision.state.phase == Phase::Monitoring
            && !self.input.judgement.unread
            && self.decision.state.cause == Cause::EvidenceMissing
            && self
                .decision
                .state
                .clock_stopped
                .is_some_and(|at| self.input.now.duration_since(at) >= self.timeout() * 2);
        if blind {
            self.succeed(true);
        }
        if self.decision.state.phase == Phase::Monitoring {
            self.keep_control();
        }
    }

    /// The time of the bake is up.
    pub(super) fn is_over(&self) -> bool {
        let state = &self.decision.state;
        state.clock_stopped.is_none() && state.monitor_until.is_none_or(|until| self.input.now >= until)
    }

    /// A bake ends with a look at the whole of it: what was served while no operator ran, or in a time that the clock jumped
    /// over, is judged first. Looks come, and what stops the clock is that they bring nothing.
    fn waits_for_look(&self) -> bool {
        let until = self.decision.state.monitor_until.unwrap_or(self.input.now);
        let judgement = self.input.judgement;
        let is_seen = judgement.cause == Cause::EvidenceMissing || judgement.looked_at.is_none_or(|at| at >= until);
        judgement.unread || !is_seen
    }

    fn stop_clock(&mut self, cause: Cause, text: String) {
        let standing = self.decision.state.clock_stopped.is_some();
        if !(standing && keeps(self.decision.state.cause, cause)) {
            self.announce_once(reason_to_stop(cause), cause, &text);
            self.say(cause, text);
        }
        self.decision.state.clock_stopped.get_or_insert(self.input.now);
        if self.may_resume() {
            self.start_clock();
        }
    }

    /// The bake goes on from where its clock was stopped.
    pub(super) fn start_clock(&mut self) {
        let now = self.input.now;
        let state = &mut self.decision.state;
        let Some(stopped) = state.clock_stopped.take() else { return };
        let pause = now.duration_since(stopped);
        state.monitor_until = state.monitor_until.map(|until| until.saturating_add(pause).unwrap_or(Timestamp::MAX));
        self.resume();
    }

    fn succeed(&mut self, blind: bool) {
        let revision = self.decision.state.newest.revision;
        let text = &self.input.judgement.text;
        let message = if blind {
            self.decision.state.cause = Cause::MonitoredBlind;
            format!("revision {revision} is taken as stable without evidence: {text}")
        } else {
            format!("revision {revision} is stable: {text}")
        };
        let message = format!("{message}{}", self.end_control());
        let reason = if blind { EventReason::EvidenceMissing } else { EventReason::Promoted };
        self.announce(reason, message.clone());
        self.decision.action = release_if_held(self.input.facts);
        let state = &mut self.decision.state;
        state.message = message;
        state.stable = Some(state.newest.clone());
        state.succeeded = with_newest(std::mem::take(&mut state.succeeded), state.newest.template.clone());
        state.approved.clear();
        state.overridden = None;
        state.monitor_until = None;
        state.clock_stopped = None;
        self.enter(Phase::Succeeded);
    }

    fn halted(&mut self) {
        match self.verdict() {
            (Verdict::Rollback, cause, text) => return self.convict(cause, &text),
            (Verdict::Halt, cause, text) if !keeps(self.decision.state.cause, cause) => self.say(cause, text),
            (_, _, text) => self.decision.state.message = text,
        }
        if self.is_complete() {
            self.monitor_with_stopped_clock();
        } else if self.may_resume() {
            self.resume();
            self.go_on();
        } else {
            self.hold();
        }
    }

    /// Back to where it came from.
    pub(super) fn go_on(&mut self) {
        if self.decision.state.canary.is_some() {
            self.resume_canary();
        } else {
            self.enter(Phase::Promoting);
            self.roll_on();
        }
    }

    /// What stopped the rollout, or its clock, is over.
    pub(super) fn may_resume(&self) -> bool {
        let judgement = self.input.judgement;
        let state = &self.decision.state;
        let since = state.clock_stopped.unwrap_or(state.since);
        if state.approved.contains(&state.cause) {
            return true;
        }
        match state.cause {
            Cause::SharedCause | Cause::CauseUnclear | Cause::NoRollbackTarget => {
                judgement.calm && (judgement.calm_is_proven || self.input.now.duration_since(since) >= CALM_TIMEOUT)
            }
            Cause::WorseThanStable | Cause::AutoRollbackOff => false,
            Cause::CannotRun | Cause::CanaryUnstable => self.input.trouble.is_none(),
            Cause::StableNotReady => self.stable_is_missing().is_none(),
            Cause::BudgetSpent => self.gate_stops().or_else(|| self.gate_is_not_asked()).is_none(),
            Cause::EvidenceMissing | Cause::AboveWarning => judgement.verdict == Verdict::Proceed && !judgement.unread,
            _ => judgement.verdict == Verdict::Proceed,
        }
    }

    pub(super) fn resume(&mut self) {
        // Pods that fall back again and again would have what they served in between forgotten each time.
        let forget =
            matches!(self.decision.state.cause, Cause::SharedCause | Cause::CauseUnclear | Cause::NoRollbackTarget);
        let note = format!("goes on after {}: {}", self.decision.state.cause.as_str(), self.input.judgement.text);
        self.announce(EventReason::Resumed, note.clone());
        if forget {
            // Else old evidence would keep it halted for minutes to hours.
            self.decision.restart_evidence = true;
            self.decision.state.evidence_since = self.input.now;
        }
        self.say(Cause::NotConvicted, note);
    }

    pub(super) fn halt(&mut self, cause: Cause, text: String) {
        let text = match self.input.mode {
            Mode::Enforce => text,
            Mode::Observe => format!("{text}; mode is Observe: would halt"),
        };
        self.announce_halt(cause, &text);
        self.stand_still(cause, text);
    }

    /// Who reads the Events of the Deployment alone sees that it is paused, and is told by whom and how it goes on.
    pub(super) fn announce_halt(&mut self, cause: Cause, text: &str) {
        let note = match self.may_hold() && !self.is_complete() {
            true => {
                let pods = self.input.facts.canary.as_ref().map_or(0, |canary| canary.desired);
                let pods = if pods == 1 { "1 new pod".to_owned() } else { format!("{pods} new pods") };
                format!("{text}; paused with {pods}: {}", ends_with(cause))
            }
            false => text.to_owned(),
        };
        self.announce_once(reason_to_stop(cause), cause, &note);
    }

    pub(super) fn stand_still(&mut self, cause: Cause, text: String) {
        self.say(cause, text);
        if self.is_complete() {
            self.monitor_with_stopped_clock();
        } else if self.may_hold() {
            self.enter(Phase::Halted);
            self.hold();
        } else {
            self.decision.action = release_if_held(self.input.facts);
        }
    }

    /// All pods are of the newest template. A canary that was scaled to nothing is none the further for it.
    pub(super) fn is_complete(&self) -> bool {
        let facts = self.input.facts;
        facts.complete && (facts.replicas > 0 || self.decision.state.canary.is_none())
    }

    /// Too late to hold anything: the bake's clock stands still instead.
    pub(super) fn monitor_with_stopped_clock(&mut self) {
        self.monitor();
        self.decision.state.clock_stopped = Some(self.input.now);
        self.decision.action = release_if_held(self.input.facts);
    }

    /// Whether a pause is ours to make, and would keep anything from happening: `Recreate` has taken the old pods away
    /// before the first new one is there, so that a pause could only prolong the outage. What goes back to a revision that
    /// succeeded is never held: the pods that it goes away from would serve on.
    pub(super) fn may_hold(&self) -> bool {
        let state = &self.decision.state;
        self.input.mode == Mode::Enforce
            && !state.succeeded.contains(&state.newest.template)
            && self.input.facts.pause != Pause::User
            && self.input.facts.strategy == Strategy::RollingUpdate
    }

    /// Keeps it as it is, unless it is paused already or not ours to pause.
    pub(super) fn hold(&mut self) {
        if !self.may_hold() {
            self.decision.action = release_if_held(self.input.facts);
        } else if self.decision.state.canary.is_some() {
            self.keep_canary();
        } else if self.input.facts.pause == Pause::None {
            self.decision.action = Action::Pause(self.mark());
        }
    }

    /// What our hold annotation says.
    pub(super) fn mark(&self) -> Hold {
        Hold { policy: self.input.policy.to_owned(), cause: self.decision.state.cause }
    }

    /// The ReplicaSet of the recorded stable revision, if it is there and another one than the newest.
    pub(super) fn stable(&self) -> Option<&'a Revision> {
        let stable = self.decision.state.stable.as_ref()?;
        self.input.facts.stable(Some(&stable.template))
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        if self.decision.state.phase != phase {
            self.decision.state.phase = phase;
            self.decision.state.since = self.input.now;
        }
    }

    pub(super) fn say(&mut self, cause: Cause, text: String) {
        self.decision.state.cause = cause;
        self.decision.state.message = text;
    }

    pub(super) fn announce(&mut self, reason: EventReason, note: String) {
        self.decision.announcements.push(Announcement::new(reason, note));
    }

    /// Announces when the cause is a new one.
    pub(super) fn announce_once(&mut self, reason: EventReason, cause: Cause, note: &str) {
        if self.decision.state.cause != cause {
            self.announce(reason, note.to_owned());
        }
    }
}

fn reason_to_stop(cause: Cause) -> EventReason {
    if cause == Cause::EvidenceMissing { EventReason::EvidenceMissing } else { EventReason::Halted }
}

/// Whether a rollout that stands still for one cause goes on standing still for it when there is another: what only a
/// person or another template can end is not forgotten for something that passes, and missing evidence hides nothing.
fn keeps(standing: Cause, new: Cause) -> bool {
    new == Cause::EvidenceMissing || matches!(standing, Cause::WorseThanStable | Cause::AutoRollbackOff)
}
