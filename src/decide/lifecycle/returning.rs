//! Stable pods come back in place of those of a revision that had not succeeded when a newer template overtook it.
//!
//! Such a revision may have all pods, in the bake. From the push on nobody looks at it, so it does not stay: a template that
//! is held, and a canary, have the stable revision's pods beside them. Until these are Ready the others serve, and that is
//! waited for as long as the owner lets new pods take.

use jiff::{SignedDuration, Timestamp};

use super::super::action::Action;
use super::super::announcement::EventReason;
use super::super::holding::{self, Next, Patience, Return};
use super::super::state::Cause;
use super::step::Step;
use crate::watch::rollout::{Pause, Revision, Settings};

impl Step<'_> {
    /// Asks for what is missing to hold the template without pods. A stable revision that has no Ready pod after its time is
    /// given up where others serve: it would be tried for as long as the template is held.
    pub(super) fn hold_without_pods(&mut self) {
        let patience = if self.is_overdue(self.decision.state.since) { Patience::IsOver } else { Patience::Lasts };
        if let Next::Do(action) = holding::without_pods(self.input.facts, self.stable(), patience, self.mark()) {
            self.decision.action = action;
        }
    }

    /// Who serves while the template is held, where that is not the stable revision alone; as the end of a sentence.
    pub(super) fn in_place_of_stable(&self) -> String {
        let facts = self.input.facts;
        let returning = self.stable().and_then(|stable| holding::returning(facts, stable, facts.replicas));
        let Some(returning) = returning.filter(|_| facts.pause != Pause::User) else { return String::new() };
        match self.is_overdue(self.decision.state.since) && returning.is_hopeless(facts.replicas) {
            true => format!("; {}", self.given_up(&returning)),
            false => format!("; {}", awaited(&returning)),
        }
    }

    /// Why the canary still waits for the pods that it is to be compared with, if that is what it waits for.
    pub(super) fn waits_for_stable(&self) -> Option<String> {
        self.returning_for_canary().as_ref().map(awaited)
    }

    /// The canary is to be compared with pods that are not Ready in their time.
    pub(super) fn stable_is_missing(&self) -> Option<(Cause, String)> {
        let began = self.decision.state.canary?.began;
        let returning = self.returning_for_canary().filter(|_| self.is_overdue(began))?;
        let text = format!(
            "the canary has no stable pods to be compared with: {} of {} pods of revision {} are Ready after {} s; {} \
             meanwhile",
            returning.stable.ready,
            returning.pods,
            returning.stable.number,
            self.deadline(),
            serve(&returning, ""),
        );
        Some((Cause::StableNotReady, text))
    }

    fn returning_for_canary(&self) -> Option<Return<'_>> {
        let (.., stable, room) = self.place().filter(|_| self.input.facts.pause != Pause::User)?;
        holding::returning(self.input.facts, stable, room.stable_pods(self.input.facts.replicas))
    }

    /// Says that stable pods are brought back, or given up, where that is what is asked for.
    pub(super) fn tell_of_return(&mut self) {
        let Action::Resize(sizes) = &self.decision.action else { return };
        let Some(stable) = self.stable() else { return };
        let Some(size) = sizes.iter().find(|size| size.uid == stable.uid) else { return };
        let Some(returning) = holding::returning(self.input.facts, stable, size.pods.max(stable.desired)) else {
            return;
        };
        if size.pods > stable.desired {
            let note = format!(
                "{} comes back in place of {}: {} pods of it are brought up; {} until they are Ready",
                last_good(stable),
                names(&returning.others),
                size.pods,
                serve(&returning, "")
            );
            self.announce(EventReason::StableReturns, note);
        } else if size.pods == 0 && stable.desired > 0 && self.input.facts.replicas > 0 {
            let note = self.given_up(&returning);
            self.announce(EventReason::StableNotReady, note);
        }
    }

    fn given_up(&self, returning: &Return<'_>) -> String {
        let stable = last_good(returning.stable);
        let others = serve(returning, " on, not measured any more,");
        format!(
            "{stable} has no Ready pod after {} s and is given up; {others} until another template is let in",
            self.deadline()
        )
    }

    fn is_overdue(&self, since: Timestamp) -> bool {
        self.input.now.duration_since(since) > SignedDuration::from_secs(self.deadline().into())
    }

    /// How many seconds the stable pods may take: as long as the owner gives new ones, and not for ever where that is for
    /// ever.
    fn deadline(&self) -> u32 {
        match self.input.facts.own_settings().progress_deadline_seconds {
            Settings::NO_PROGRESS_DEADLINE => Settings::DEFAULT.progress_deadline_seconds,
            seconds => seconds,
        }
    }
}

fn awaited(returning: &Return<'_>) -> String {
    format!(
        "{} until {} is back, of which {} of {} pods are Ready",
        serve(returning, ""),
        last_good(returning.stable),
        returning.stable.ready,
        returning.pods
    )
}

/// "the 10 pods of revision 2 serve", and how.
fn serve(returning: &Return<'_>, how: &str) -> String {
    let (pods, names) = (returning.serving(), names(&returning.others));
    match pods {
        1 => format!("the pod of {names} serves{how}"),
        pods => format!("the {pods} pods of {names} serve{how}"),
    }
}

fn last_good(stable: &Revision) -> String {
    format!("revision {}, the last one that succeeded,", stable.number)
}

/// Revisions by their numbers.
fn names(revisions: &[&Revision]) -> String {
    let numbers: Vec<_> = revisions.iter().map(|revision| revision.number.to_string()).collect();
    format!("revision{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "))
}
