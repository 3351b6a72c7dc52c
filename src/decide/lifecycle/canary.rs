//! The canary: held at its share of the pods until enough was seen of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::action::{Action, Room};
use super::super::analysis::Verdict;
use super::super::announcement::EventReason;
use super::super::holding::{self, Next};
use super::super::state::{CanaryProgress, Cause, Phase};
use super::step::Step;
use crate::policy::{Approval, Canary, CanaryStep, Mode};
use crate::watch::rollout::{Pause, Revision};

/// Looks that must have counted before a canary goes on: with a long scrape interval the hold alone may hold one sample
/// or two, and a canary that fails every request would pass.
pub(crate) const LOOKS_TO_PASS: u32 = 4;

impl<'a> Step<'a> {
    pub(super) fn canary(&mut self) {
        if self.is_complete() {
            // Somebody let it go on by hand.
            self.decision.state.canary = None;
            return self.monitor();
        }
        match self.verdict() {
            (Verdict::Rollback, cause, text) => self.convict(cause, &text),
            (Verdict::Halt, cause, text) => self.halt(cause, text),
            (Verdict::Proceed, cause, text) => {
                self.say(cause, text);
                self.step_canary();
            }
        }
    }

    /// The step that the canary is at, the revision to keep beside it, and the room it has. `None` when the policy wants no
    /// such step any more, or nothing is left to keep.
    pub(super) fn place(&self) -> Option<(&'a Canary, CanaryStep, &'a Revision, Room)> {
        let progress = self.decision.state.canary?;
        let canary = self.input.canary.filter(|_| self.input.mode == Mode::Enforce)?;
        let step = *canary.steps.get(progress.step)?;
        Some((canary, step, self.stable()?, holding::room(step.traffic, self.input.facts)))
    }

    /// Leads to the step's pods, and on to the next step when enough was seen of them.
    pub(super) fn step_canary(&mut self) {
        let facts = self.input.facts;
        let Some((canary, step, stable, room)) = self.place() else { return self.give_up() };
        if facts.replicas == 0 {
            return self.decision.state.message = "there are no pods to hold back: it has no replicas".to_owned();
        }
        if facts.pause == Pause::User {
            let text = format!("paused by its owner; {}", self.decision.state.message);
            return self.say(Cause::PausedByOwner, text);
        }
        let waits = self.waits_for_stable();
        if waits.is_some() && self.decision.state.approved.contains(&Cause::StableNotReady) {
            let text = "a person approved it without the stable pods that a canary is compared with".to_owned();
            self.say(Cause::NotConvicted, text);
            return self.promote();
        }
        match holding::with_canary(facts, stable, room, self.mark()) {
            Next::Do(action) => self.decision.action = action,
            Next::Wait => {
                self.decision.state.message = waits.unwrap_or_else(|| "its pods are being created".to_owned());
            }
            Next::Reached => self.hold_canary(canary, step, room),
        }
    }

    /// The pods are there, and no other can come.
    fn hold_canary(&mut self, canary: &Canary, step: CanaryStep, room: Room) {
        let facts = self.input.facts;
        let ready = facts.canary.as_ref().map_or(0, |newest| newest.ready);
        let Some(progress) = &mut self.decision.state.canary else { return };
        if ready < room.pods() && progress.held_since.is_none() {
            self.decision.state.message = format!("{ready} of {} canary pods are Ready", room.pods());
            return;
        }
        let began = progress.held_since.is_none();
        let since = *progress.held_since.get_or_insert(self.input.now);
        let number = progress.step + 1;
        if began {
            let note = format!(
                "step {number} of {}: {} of {} pods, {:.1} % of them, are template {}; held for {} s at least",
                canary.steps.len(),
                room.pods(),
                room.pods() + room.stable_pods(facts.replicas),
                room.share(facts.replicas),
                self.decision.state.newest.template,
                step.hold.as_secs(),
            );
            self.announce(EventReason::CanaryStarted, note);
        }
        match self.what_is_missing(canary, step, since) {
            Some(what) => self.decision.state.message = format!("{}; {what}", self.input.judgement.text),
            None if self.is_to_be_approved() => {}
            None => self.pass(number, canary),
        }
    }

    /// Why it may not go on yet, if so.
    fn what_is_missing(&self, canary: &Canary, step: CanaryStep, since: Timestamp) -> Option<String> {
        let seen = self.input.judgement.seen;
        let after = |hold: Duration| since.saturating_add(signed(hold)).unwrap_or(Timestamp::MAX);
        if self.input.now < after(step.hold) {
            return Some(format!("held until {:.0}", after(step.hold)));
        }
        if self.input.judgement.unread {
            // What was served while no operator ran is looked at first, however long ago the hold was over.
            return Some("waiting for the first look".to_owned());
        }
        if self.input.now >= after(canary.maximum_hold.max(step.hold)) {
            return None;
        }
        if seen.requests < canary.minimum_requests as f64 {
            return Some(format!("waiting for request {} of {}", seen.requests.round(), canary.minimum_requests));
        }
        // Where nobody asks for anything, nothing can be waited for.
        let idle = seen.requests + seen.stable_requests <= 0.0 && seen.looks >= 2 * LOOKS_TO_PASS;
        let looks = seen.canary_looks.min(seen.paired_looks);
        (looks < LOOKS_TO_PASS && !idle).then(|| format!("waiting for sample {} of {LOOKS_TO_PASS}", looks + 1))
    }

    /// The policy wants a person's word, and nobody has given it.
    fn is_to_be_approved(&mut self) -> bool {
        let approved = self.decision.state.approved.contains(&Cause::ApprovalRequired);
        if self.input.approval == Approval::Automatic || approved {
            return false;
        }
        let template = &self.decision.state.newest.template;
        let text = format!(
            "{}; waits for an approval: set the annotation errorbudget.dev/approve to {template}",
            self.input.judgement.text
        );
        if self.before != Cause::ApprovalRequired {
            self.announce(EventReason::ApprovalRequired, text.clone());
        }
        self.say(Cause::ApprovalRequired, text);
        true
    }

    /// On to the next step, or to all pods.
    fn pass(&mut self, number: usize, canary: &Canary) {
        let text = &self.input.judgement.text;
        let note = format!("step {number} of {} passed: {text}", canary.steps.len());
        self.announce(EventReason::CanaryPassed, note);
        self.decision.state.approved.retain(|cause| *cause != Cause::ApprovalRequired);
        if number < canary.steps.len() {
            let next = CanaryProgress { step: number, began: self.input.now, held_since: None };
            self.decision.state.canary = Some(next);
            self.step_canary();
        } else {
            self.promote();
        }
    }

    /// Nothing is held any more: the policy wants no such canary, or what it would be compared with is gone, and only the
    /// new pods are left to serve.
    fn give_up(&mut self) {
        let (reason, note) = match self.stable() {
            Some(_) => (EventReason::Resumed, "the canary goes on: the policy has no such step any more"),
            None => (
                EventReason::NoRollbackTarget,
                "the ReplicaSet to go back to is gone, so the canary is not held any longer",
            ),
        };
        self.announce(reason, note.to_owned());
        self.say(Cause::NotConvicted, note.to_owned());
        self.promote();
    }

    /// Kubernetes rolls on with the owner's own strategy.
    fn promote(&mut self) {
        self.decision.state.canary = None;
        self.enter(Phase::Promoting);
        self.roll_on();
    }

    /// The halted canary goes on; what it was held for counts from now.
    pub(super) fn resume_canary(&mut self) {
        if let Some(progress) = &mut self.decision.state.canary {
            progress.began = self.input.now;
            progress.held_since = None;
        }
        self.enter(Phase::Canary);
        self.step_canary();
    }

    /// No pod more while it is halted.
    pub(super) fn keep_canary(&mut self) {
        let Some((_, _, stable, room)) = self.place() else {
            if self.input.facts.pause == Pause::None {
                self.decision.action = Action::Pause(self.mark());
            }
            return;
        };
        if let Next::Do(action) = holding::as_it_is(self.input.facts, stable, room, self.mark()) {
            self.decision.action = action;
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
