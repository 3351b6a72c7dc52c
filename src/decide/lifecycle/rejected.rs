//! A template that was rolled back came again.

use super::super::action::Action;
use super::super::state::{Cause, Phase};
use super::release_if_held;
use super::step::Step;
use crate::policy::Mode;
use crate::watch::rollout::Pause;

impl Step<'_> {
    pub(super) fn rejected(&mut self) {
        let facts = self.input.facts;
        if self.decision.state.approved.contains(&Cause::RevisionRejected) {
            return self.pardon();
        }
        // With any strategy: the stable pods come back while it is paused, and no others.
        if self.input.mode == Mode::Observe || facts.pause == Pause::User {
            self.decision.action = release_if_held(facts);
            return;
        }
        self.hold_without_pods();
    }

    /// A person wants the template that was rolled back after all: its rollout begins like any other's.
    fn pardon(&mut self) {
        let facts = self.input.facts;
        self.decision.state.condemned.retain(|template| *template != facts.template_without_restart);
        match facts.canary.as_ref().filter(|canary| canary.condemned.is_some()) {
            Some(canary) => self.decision.action = Action::Pardon { replica_set: canary.replica_set.clone() },
            None => {
                self.decision.state.approved.clear();
                self.enter(Phase::Validating);
                self.validating();
            }
        }
    }
}
