//! The way back: from a conviction to the patch, and on to the recovery.

use super::super::action::Action;
use super::super::announcement::{Announcement, EventReason};
use super::super::state::{Cause, Incident, Outcome, Phase};
use super::step::Step;
use super::{RECOVERY_TIMEOUT, condemn, release_if_held};
use crate::policy::Mode;
use crate::watch::rollout::{Pause, Revision};

impl<'a> Step<'a> {
    /// The release is to be rolled back: does it, or says why it cannot be and halts.
    pub(super) fn convict(&mut self, cause: Cause, text: &str) {
        if let Err((hindrance, why)) = self.target() {
            return self.cannot_roll_back(hindrance, format!("{text}; {why}"));
        }
        // A mark that is there already is of a process that died on its way to the patch: it is the same rollback.
        let mark = self.input.facts.canary.as_ref().and_then(|canary| canary.condemned.as_ref());
        let decided = mark.map_or(self.input.now, |mark| mark.at);
        if cause == Cause::Violation {
            let told = Announcement::of_rollback(EventReason::BudgetViolation, text.to_owned(), decided);
            self.decision.announcements.push(told);
        }
        self.say(cause, text.to_owned());
        let state = &mut self.decision.state;
        state.incident = Some(Incident {
            condemned: state.newest.clone(),
            decided,
            reason: text.to_owned(),
            outcome: None,
            ended: None,
        });
        let template = state.newest.template.clone();
        condemn(state, &template, &self.input.facts.template_without_restart);
        state.monitor_until = None;
        state.clock_stopped = None;
        state.approved.retain(|cause| *cause == Cause::RollbackAsked);
        self.enter(Phase::RollingBack);
        self.roll_back();
    }

    /// The ReplicaSet to go back to, or why the release cannot be rolled back.
    fn target(&self) -> Result<&'a Revision, (Cause, String)> {
        let facts = self.input.facts;
        let stable = self.decision.state.stable.as_ref();
        let Some(target) = stable.and_then(|stable| facts.stable(Some(&stable.template))) else {
            return Err((Cause::NoRollbackTarget, "there is no earlier revision to go back to".to_owned()));
        };
        let would = format!("would roll back revision {} to {}", self.decision.state.newest.revision, target.number);
        if self.input.mode == Mode::Observe {
            Err((Cause::ObserveOnly, format!("mode is Observe: {would}")))
        } else if !self.input.monitor.auto_rollback && !self.is_asked_to_roll_back() {
            Err((Cause::AutoRollbackOff, format!("monitor.autoRollback is off: {would}")))
        } else if facts.pause == Pause::User {
            Err((Cause::PausedByOwner, format!("its owner has paused it, so it is not touched: {would}")))
        } else {
            Ok(target)
        }
    }

    fn cannot_roll_back(&mut self, cause: Cause, text: String) {
        self.announce_once(EventReason::BudgetViolation, cause, &text);
        match self.decision.state.phase {
            Phase::Monitoring => {
                self.say(cause, text);
                self.decision.state.clock_stopped.get_or_insert(self.input.now);
                if self.may_resume() {
                    self.start_clock();
                }
            }
            Phase::Halted if self.may_resume() => {
                self.resume();
                self.go_on();
            }
            Phase::Halted => {
                self.say(cause, text);
                self.hold();
            }
            _ => {
                if self.may_hold() {
                    self.announce_halt(cause, &text);
                }
                self.stand_still(cause, text);
            }
        }
    }

    /// Asks for the patch, for as long as the condemned template is in place.
    pub(super) fn roll_back(&mut self) {
        let state = &self.decision.state;
        let why = state.incident.as_ref().map_or_else(|| state.message.clone(), |incident| incident.reason.clone());
        match self.target() {
            Ok(target) => self.decision.action = Action::RollBack { to_replica_set: target.replica_set.clone(), why },
            Err((hindrance, what)) => {
                // It was not done, so there is nothing to tell of it later.
                let template = &self.input.facts.template_without_restart;
                self.decision.state.incident = None;
                self.decision.state.condemned.retain(|condemned| condemned != template);
                self.enter(if self.decision.state.canary.is_some() { Phase::Canary } else { Phase::Promoting });
                self.cannot_roll_back(hindrance, format!("{why}; {what}"));
            }
        }
    }

    pub(super) fn after_rollback(&mut self) {
        self.decision.action = release_if_held(self.input.facts);
        let Some(mut incident) = self.decision.state.incident.clone() else { return };
        if matches!(incident.outcome, Some(Outcome::Recovered | Outcome::RecoveredUnproven)) {
            return;
        }
        let took = self.input.now.duration_since(incident.decided);
        let outcome = match self.input.recovered {
            Some(outcome) => outcome,
            None if took >= RECOVERY_TIMEOUT && incident.outcome.is_none() => Outcome::NotRecovered,
            None => return,
        };
        let revision = self.decision.state.newest.revision;
        let text = &self.input.judgement.text;
        let seconds = took.as_secs();
        let (reason, note) = match outcome {
            Outcome::Recovered => (
                EventReason::Recovered,
                format!("green again on revision {revision}, {seconds} s after the decision: {text}"),
            ),
            Outcome::RecoveredUnproven => (
                EventReason::Recovered,
                format!(
                    "back on revision {revision}, {seconds} s after the decision, too few requests to prove it: {text}"
                ),
            ),
            Outcome::NotRecovered => (
                EventReason::NotRecovered,
                format!("not green {seconds} s after the decision, on revision {revision}: {text}; looks go on"),
            ),
        };
        incident.outcome = Some(outcome);
        incident.ended = Some(self.input.now);
        let told = Announcement::of_rollback(reason, note.clone(), incident.decided);
        self.decision.announcements.push(told);
        self.decision.state.incident = Some(incident);
        self.decision.state.message = note;
        self.enter(Phase::RolledBack);
    }
}
