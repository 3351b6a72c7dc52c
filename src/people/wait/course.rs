//! When a rollout has ended. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::super::governed::Governed;
use super::super::words::{cause, phase, since};
use crate::decide::state::{Cause, Phase};
use crate::watch::rollout::TemplateId;

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The Deployment's newest template is the stable one.
    Promoted,
    /// The canary did well, and Kubernetes rolls on: as far as was to be waited for.
    CanaryPassed,
    /// The stable template is back.
    RolledBack,
    /// It stands still, and does not go on by itself or has not for long.
    Halted,
    /// Its template was rolled back before.
    Rejected,
    /// It is not known yet.
    TimedOut,
}

/// What is remembered of a rollout while it is followed.
#[derive(Debug)]
pub(super) struct Course {
    /// The end of the canary is end enough.
    canary_only: bool,
    /// A halt that may pass has not passed after this long.
    halted_for: Duration,
    /// The template that the Deployment had when it was first seen, and the one that was stable then.
    wanted: Option<TemplateId>,
    stable: Option<TemplateId>,
    /// The stable template is back, or on its way.
    is_rolled_back: bool,
}

impl Course {
    pub(super) const fn new(canary_only: bool, halted_for: Duration) -> Self {
        Self { canary_only, halted_for, wanted: None, stable: None, is_rolled_back: false }
    }

    /// The template that was asked for when the following began.
    pub(super) const fn wanted(&self) -> Option<&TemplateId> {
        self.wanted.as_ref()
    }

    /// Takes in what is so now; says if the rollout has ended.
    pub(super) fn advance(&mut self, governed: &Governed, now: Timestamp) -> Option<End> {
        let template = governed.template();
        let wanted = self.wanted.get_or_insert_with(|| template.clone()).clone();
        if *template == wanted {
            let stable = governed.entry().and_then(|entry| entry.stable.as_ref());
            self.stable = stable.map(|stable| TemplateId(stable.template.clone()));
        }
        // What was said of the template before is no answer: the operator has not noticed this one yet.
        let entry = governed.current()?;
        let phase = phase(entry);
        self.is_rolled_back = matches!(phase, Some(Phase::RollingBack | Phase::Recovering | Phase::RolledBack));
        match phase? {
            // Somebody went back to it by hand: the template that was asked for is not promoted.
            Phase::Succeeded if *template != wanted && self.stable.as_ref() == Some(template) => Some(End::RolledBack),
            Phase::Succeeded => Some(End::Promoted),
            Phase::RolledBack => Some(End::RolledBack),
            Phase::Rejected => Some(End::Rejected),
            Phase::Halted => {
                let halted = entry.since.as_ref().map(|time| since(time, now));
                let for_long = halted.is_some_and(|halted| halted >= self.halted_for);
                (for_long || !cause(entry).is_none_or(passes)).then_some(End::Halted)
            }
            Phase::Promoting | Phase::Monitoring => self.canary_only.then_some(End::CanaryPassed),
            Phase::Validating | Phase::Canary | Phase::RollingBack | Phase::Recovering => None,
        }
    }

    /// What it comes to when the time is over.
    pub(super) const fn end_in_time(&self) -> End {
        if self.is_rolled_back { End::RolledBack } else { End::TimedOut }
    }
}

/// Whether a halt of this cause may end without anybody doing anything.
const fn passes(cause: Cause) -> bool {
    !matches!(
        cause,
        Cause::WorseThanStable
            | Cause::AutoRollbackOff
            | Cause::NoRollbackTarget
            | Cause::ObserveOnly
            | Cause::PausedByOwner
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::samples;
    use super::*;

    fn course() -> Course {
        Course::new(false, Duration::from_secs(300))
    }

    fn first_sight(entry: Value) -> Option<End> {
        course().advance(&samples::governed(entry), samples::now())
    }

    #[test]
    fn a_rollout_ends_where_its_phase_is_an_end() {
        assert_eq!(first_sight(json!({"phase": "Succeeded"})), Some(End::Promoted));
        assert_eq!(first_sight(json!({"phase": "RolledBack"})), Some(End::RolledBack));
        assert_eq!(first_sight(json!({"phase": "Rejected"})), Some(End::Rejected));
        for phase in ["Validating", "Canary", "Promoting", "Monitoring", "RollingBack", "Recovering", "Tanzt"] {
            assert_eq!(first_sight(json!({"phase": phase})), None, "{phase}");
        }
    }

    #[test]
    fn the_end_of_the_canary_is_enough_for_whoever_waits_for_no_more() {
        let until_then = |phase: &str| {
            let governed = samples::governed(json!({"phase": phase}));
            Course::new(true, Duration::from_secs(300)).advance(&governed, samples::now())
        };
        assert_eq!((until_then("Validating"), until_then("Canary")), (None, None));
        assert_eq!(until_then("Promoting"), Some(End::CanaryPassed));
        assert_eq!(until_then("Monitoring"), Some(End::CanaryPassed));
        assert_eq!(until_then("Succeeded"), Some(End::Promoted));
        assert_eq!(until_then("RolledBack"), Some(End::RolledBack));
    }

    #[test]
    fn an_end_of_the_template_before_is_none() {
        for phase in ["Succeeded", "RolledBack", "Rejected", "Halted"] {
            let stale = json!({"phase": phase, "reason": "ObserveOnly", "newest": {"template": "vorher"}});
            assert_eq!(first_sight(stale), None, "{phase}");
        }
    }

    #[test]
    fn a_halt_ends_it_when_nothing_but_a_person_lets_it_go_on() {
        let halted = |reason: &str, since: &str| json!({"phase": "Halted", "reason": reason, "since": since});
        let just_now = "2026-03-04T05:16:30Z";
        for reason in ["WorseThanStable", "AutoRollbackOff", "NoRollbackTarget", "ObserveOnly", "PausedByOwner"] {
            assert_eq!(first_sight(halted(reason, just_now)), Some(End::Halted), "{reason}");
        }
        for reason in ["SharedCause", "CauseUnclear", "EvidenceMissing", "AboveWarning", "CannotRun", "BudgetSpent"] {
            assert_eq!(first_sight(halted(reason, just_now)), None, "{reason}");
        }
        assert_eq!(first_sight(halted("SharedCause", "2026-03-04T05:11:38Z")), None);
        assert_eq!(first_sight(halted("SharedCause", "2026-03-04T05:11:37Z")), Some(End::Halted));
    }

    #[test]
    fn going_back_by_hand_is_no_promotion() {
        let mut course = course();
        let rolling = json!({"phase": "Promoting", "stable": {"template": "gut"}});
        assert_eq!(course.advance(&samples::governed(rolling), samples::now()), None);
        let mut undone = samples::governed(json!({"phase": "Succeeded", "newest": {"template": "gut"}}));
        undone.deployment.spec.template.id = TemplateId("gut".to_owned());
        assert_eq!(course.advance(&undone, samples::now()), Some(End::RolledBack));
    }

    #[test]
    fn a_newer_template_is_followed_on() {
        let mut course = course();
        let rolling = json!({"phase": "Promoting", "stable": {"template": "gut"}});
        assert_eq!(course.advance(&samples::governed(rolling), samples::now()), None);
        let mut newer = samples::governed(json!({"phase": "Succeeded", "newest": {"template": "neu"}}));
        newer.deployment.spec.template.id = TemplateId("neu".to_owned());
        assert_eq!(course.advance(&newer, samples::now()), Some(End::Promoted));
    }

    #[test]
    fn when_time_is_over_in_a_recovery_the_rollback_is_known() {
        let mut course = course();
        assert_eq!(course.end_in_time(), End::TimedOut);
        course.advance(&samples::governed(json!({"phase": "Recovering"})), samples::now());
        assert_eq!(course.end_in_time(), End::RolledBack);
    }
}
