//! What people ask for with annotations: override, approve, roll back.
//!
//! What is asked is noted and told once; the annotation is taken away by a later pass, when what it did is remembered.
//! So an operator that dies in between hears the same again, and nothing is done twice.

use jiff::Timestamp;

use super::super::action::Action;
use super::super::announcement::{Announcement, EventReason};
use super::super::state::{Cause, Override, Phase};
use super::step::Step;
use crate::watch::rollout::{Ask, Asks, MeantFor};

impl Step<'_> {
    /// Takes in what people ask for.
    pub(super) fn heard(mut self) -> Self {
        let asks = &self.input.facts.asks;
        if asks.is_empty() {
            self.decision.state.heard = None;
            return self;
        }
        let asked = in_words(asks);
        if self.decision.state.heard.as_ref() == Some(&asked) {
            self.is_answered = true;
            return self;
        }
        self.decision.state.heard = Some(asked);
        let template = self.decision.state.newest.template.0.clone();
        if let Some(ask) = &asks.overriding {
            match &asks.override_template {
                Some(MeantFor::Template(named)) if *named != template => {
                    self.refuse("override", &of_another(named, &template));
                }
                Some(MeantFor::Earlier) => {
                    let why =
                        format!("it was set before template {template} came; override this one, too, if it is to pass");
                    self.refuse("override", &why);
                }
                _ => self.overriding(ask, asks.override_until.as_deref()),
            }
        }
        if let Some(ask) = &asks.approve {
            match ask.value == template {
                true => self.approve(ask),
                false => self.refuse("approve", &of_another(&ask.value, &template)),
            }
        }
        if let Some(ask) = &asks.rollback {
            let done = self.decision.state.incident.as_ref().map(|incident| incident.condemned.template.0.as_str());
            match ask.value == template {
                true => self.roll_back_asked(),
                // Asking twice for the same does it once.
                false if done == Some(ask.value.as_str()) => {}
                false => self.refuse("rollback", &of_another(&ask.value, &template)),
            }
        }
        self
    }

    fn overriding(&mut self, ask: &Ask, until: Option<&str>) {
        let until = match until.map(str::parse::<Timestamp>) {
            None => None,
            Some(Ok(until)) => Some(until),
            Some(Err(_)) => {
                return self.refuse("override-until", "it is no point in time; write for example 2030-01-31T12:00:00Z");
            }
        };
        if ask.value.trim().is_empty() {
            return self.refuse("override", "it gives no reason; write one");
        }
        match self.decision.state.phase {
            Phase::Validating | Phase::Canary | Phase::Promoting | Phase::Halted => {
                let template = &self.decision.state.newest.template;
                let note = format!("{} lets template {template} pass a closed gate: {}", who(ask), ask.value);
                self.announce(EventReason::Overridden, note);
                self.decision.state.overridden =
                    Some(Override { reason: ask.value.clone(), by: ask.by.clone(), until });
            }
            phase => {
                let why = format!("nothing waits for the gate, the rollout is {}", phase.as_str());
                self.refuse("override", &why);
            }
        }
    }

    fn approve(&mut self, ask: &Ask) {
        let state = &mut self.decision.state;
        let cause = match state.phase {
            Phase::Canary => Cause::ApprovalRequired,
            Phase::Halted | Phase::Monitoring if state.cause != Cause::NotConvicted => state.cause,
            Phase::Rejected => Cause::RevisionRejected,
            Phase::Validating => {
                return self
                    .refuse("approve", "a closed gate takes an override: set errorbudget.dev/override to the reason");
            }
            phase => {
                let why = format!("nothing waits for an approval, the rollout is {}", phase.as_str());
                return self.refuse("approve", &why);
            }
        };
        if !state.approved.contains(&cause) {
            state.approved.push(cause);
        }
        let note = format!("{} approves template {} in spite of {}", who(ask), ask.value, cause.as_str());
        self.announce(EventReason::Approved, note);
    }

    fn roll_back_asked(&mut self) {
        let state = &mut self.decision.state;
        match state.phase {
            Phase::RollingBack => {}
            Phase::Recovering | Phase::RolledBack => {
                self.refuse("rollback", "a rollback has just put this template back; push another one");
            }
            Phase::Rejected => self.refuse("rollback", "the template is held without pods already"),
            _ if self.input.facts.canary.is_none() => {
                self.refuse("rollback", "the template has no pods yet; push the one that you want in its place");
            }
            _ => {
                if !state.approved.contains(&Cause::RollbackAsked) {
                    state.approved.push(Cause::RollbackAsked);
                }
            }
        }
    }

    /// A person wants the newest template rolled back.
    pub(super) fn is_asked_to_roll_back(&self) -> bool {
        self.decision.state.approved.contains(&Cause::RollbackAsked)
    }

    /// What a person asks for is done without evidence; only what cannot be done is refused.
    pub(super) fn convict_by_request(&mut self) {
        let asks = &self.input.facts.asks;
        let by = asks.rollback.as_ref().map_or_else(|| "a person".to_owned(), who);
        let why = asks.rollback_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        if self.decision.state.phase == Phase::Succeeded {
            // It is the stable revision itself: back to the one that succeeded before it.
            let state = &self.decision.state;
            let earlier = state.succeeded.iter().rev().find(|known| **known != state.newest.template);
            let earlier = earlier.and_then(|known| self.input.facts.stable(Some(known)));
            self.decision.state.stable = earlier
                .map(|revision| super::Remembered { template: revision.template.clone(), revision: revision.number });
        }
        let was = self.decision.state.clone();
        self.convict(Cause::RollbackAsked, &format!("{by} asked for the rollback{why}"));
        if self.decision.state.phase != Phase::RollingBack {
            let why = self.decision.state.message.clone();
            self.decision.announcements.clear();
            self.decision.state = was;
            if self.decision.state.phase == Phase::Succeeded {
                self.decision.state.stable = Some(self.decision.state.newest.clone());
            }
            self.decision.state.approved.retain(|cause| *cause != Cause::RollbackAsked);
            self.decision.action = Action::None;
            self.refuse("rollback", &why);
        }
    }

    fn refuse(&mut self, annotation: &str, why: &str) {
        let note = format!("errorbudget.dev/{annotation} is not followed: {why}");
        self.decision.announcements.push(Announcement::new(EventReason::AskRefused, note));
    }
}

fn who(ask: &Ask) -> String {
    ask.by.clone().unwrap_or_else(|| "somebody".to_owned())
}

fn of_another(named: &str, template: &str) -> String {
    format!("it names template {named:?}, and {template} is the one that is rolled out")
}

/// What tells one wish from another.
fn in_words(asks: &Asks) -> String {
    let value = |ask: &Option<Ask>| ask.as_ref().map_or(String::new(), |ask| ask.value.clone());
    let until = asks.override_until.clone().unwrap_or_default();
    let meant_for = match &asks.override_template {
        None => String::new(),
        Some(MeantFor::Template(template)) => template.clone(),
        Some(MeantFor::Earlier) => "-".to_owned(),
    };
    // Each is cut by itself, so that a long reason does not hide what is asked beside it.
    [value(&asks.overriding), until, meant_for, value(&asks.approve), value(&asks.rollback)]
        .map(|part| part[..part.floor_char_boundary(48)].to_owned())
        .join("|")
}
