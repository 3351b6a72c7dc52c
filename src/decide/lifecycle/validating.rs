//! A new template waits to be let in: the gate, and who may pass it.

use super::super::announcement::EventReason;
use super::super::budget::Gate;
use super::super::state::{CanaryProgress, Cause, Phase};
use super::release_if_held;
use super::step::{NOTHING_IS_HELD, Step};
use crate::policy::{Mode, OnUnknownBudget};
use crate::watch::rollout::{Pause, Strategy};

impl Step<'_> {
    pub(super) fn validating(&mut self) {
        let facts = self.input.facts;
        if facts.pause == Pause::None && (facts.complete || self.is_too_late_to_hold()) {
            return self.let_in();
        }
        match self.gate_stops().or_else(|| self.gate_is_not_asked()) {
            None => self.let_in(),
            Some((cause, text)) => {
                let template = &self.decision.state.newest.template;
                let text = format!("template {template} is held: {text}{}", self.in_place_of_stable());
                self.announce_once(EventReason::RolloutHeld, cause, &text);
                self.say(cause, text);
                if facts.pause != Pause::User {
                    self.hold_without_pods();
                }
            }
        }
    }

    /// `Recreate` has taken the old pods away before the first new one is there: only what was held before that can be.
    fn is_too_late_to_hold(&self) -> bool {
        self.input.facts.strategy == Strategy::Recreate
    }

    /// Nobody has asked yet what is left of the budget: that takes seconds, once, after the operator's start.
    pub(super) fn gate_is_not_asked(&self) -> Option<(Cause, String)> {
        (*self.input.gate == Gate::NotAsked && !self.may_pass_a_closed_gate())
            .then(|| (Cause::BudgetUnknown, "Prometheus is being asked what is left of the budget".to_owned()))
    }

    /// Why the gate stops this template, if it does.
    pub(super) fn gate_stops(&self) -> Option<(Cause, String)> {
        if self.may_pass_a_closed_gate() {
            return None;
        }
        match self.input.gate {
            Gate::Closed(text) => Some((Cause::BudgetSpent, text.clone())),
            Gate::Unknown(why) if self.input.on_unknown_budget == OnUnknownBudget::Hold => {
                Some((Cause::BudgetUnknown, why.clone()))
            }
            Gate::Open(_) | Gate::Unknown(_) | Gate::NotAsked => None,
        }
    }

    /// It goes back to what succeeded before, a person overrides the gate, or the policy only observes.
    fn may_pass_a_closed_gate(&self) -> bool {
        let state = &self.decision.state;
        let overridden = state.overridden.as_ref();
        self.input.mode == Mode::Observe
            || state.succeeded.contains(&state.newest.template)
            || overridden.is_some_and(|by| by.until.is_none_or(|until| self.input.now < until))
    }

    /// The gate holds what has not been rolled out to the end yet, and only when it is known to be closed.
    pub(super) fn may_be_stopped_by_gate(&self) -> bool {
        matches!(self.input.gate, Gate::Closed(_))
            && match self.decision.state.phase {
                Phase::Canary | Phase::Promoting => true,
                Phase::Halted => !self.input.facts.complete,
                _ => false,
            }
    }

    /// The rollout begins: as a canary if the policy wants one and there is something to keep beside it.
    fn let_in(&mut self) {
        let now = self.input.now;
        if matches!(self.decision.state.cause, Cause::BudgetSpent | Cause::BudgetUnknown) {
            let gate = match self.input.gate {
                _ if self.input.mode == Mode::Observe => NOTHING_IS_HELD,
                Gate::Open(text) | Gate::Closed(text) | Gate::Unknown(text) => text.as_str(),
                Gate::NotAsked => "",
            };
            let note = format!("goes on after {}: {gate}", self.decision.state.cause.as_str());
            self.announce(EventReason::Resumed, note.clone());
            self.say(Cause::NotConvicted, note);
        }
        if self.wants_canary() {
            if self.input.facts.pause == Pause::User {
                return self.say(Cause::PausedByOwner, "paused by its owner before the canary".to_owned());
            }
            let state = &mut self.decision.state;
            state.canary = Some(CanaryProgress { step: 0, began: now, held_since: None });
            self.count_anew();
            self.enter(Phase::Canary);
            self.step_canary();
        } else {
            if self.decision.state.phase == Phase::Validating && self.input.facts.pause == Pause::Ours {
                self.count_anew();
            }
            self.enter(Phase::Promoting);
            self.decision.action = release_if_held(self.input.facts);
        }
    }

    /// Nothing of it has served before this moment.
    pub(super) fn count_anew(&mut self) {
        self.decision.restart_evidence = true;
        self.decision.state.started = self.input.now;
        self.decision.state.evidence_since = self.input.now;
    }

    fn wants_canary(&self) -> bool {
        let facts = self.input.facts;
        let goes_back = self.decision.state.succeeded.contains(&self.decision.state.newest.template);
        self.input.canary.is_some()
            && self.input.mode == Mode::Enforce
            && facts.strategy == Strategy::RollingUpdate
            && facts.replicas > 0
            && !facts.complete
            && !goes_back
            && self.stable().is_some()
    }
}
