//! What is needed next, as a person would be told.

use super::state::{Cause, Control, Outcome, Phase, State};

/// What has to happen for the rollout to leave where it is; empty when nothing has to.
///
/// It names points in time and not time left, so that it changes, and is written, only when there is something new.
#[must_use]
pub fn outlook(state: &State) -> String {
    match state.phase {
        Phase::Validating => ends_with(state.cause).into(),
        Phase::Canary => match (state.cause, state.canary.and_then(|canary| canary.held_since)) {
            (Cause::ApprovalRequired | Cause::PausedByOwner, _) => ends_with(state.cause).into(),
            (_, Some(_)) => "goes on when it was held long enough and enough was seen of it".into(),
            (_, None) => "its pods must become Ready; then it is held and measured".into(),
        },
        Phase::Promoting if state.cause == Cause::NotConvicted => match state.control {
            Some(Control::Kept { pods, .. }) => {
                format!("its pods must become Ready; then it is monitored beside {pods} stable ones")
            }
            _ => "its pods replace the stable ones; then it is monitored".into(),
        },
        Phase::Promoting | Phase::Halted => ends_with(state.cause).into(),
        Phase::Monitoring => match (state.clock_stopped, state.monitor_until) {
            (Some(since), _) => format!("its clock stands still since {since:.0}: {}", ends_with(state.cause)),
            (None, Some(until)) => {
                let control = match state.control {
                    Some(Control::Kept { pods, .. }) => format!("; {pods} stable pods stay until then"),
                    Some(Control::Gone) => "; no stable pod is left to compare with".to_owned(),
                    None => String::new(),
                };
                format!("it is the new stable revision if nothing speaks against it until {until:.0}{control}")
            }
            (None, None) => String::new(),
        },
        Phase::RollingBack => "the stable template is being put back".into(),
        Phase::Recovering => "the restored pods must be Ready and serve a window within the budget".into(),
        Phase::RolledBack => match state.incident.as_ref().and_then(|incident| incident.outcome) {
            Some(Outcome::NotRecovered) => {
                "looks go on until the restored pods serve a window within the budget".into()
            }
            _ => String::new(),
        },
        Phase::Rejected => "push another template, or approve this one".into(),
        Phase::Succeeded => String::new(),
    }
}

/// How a standstill of this cause ends.
pub(super) const fn ends_with(cause: Cause) -> &'static str {
    match cause {
        Cause::SharedCause | Cause::CauseUnclear => {
            "goes on after two windows without a violation; is rolled back once the release is to blame"
        }
        Cause::NoRollbackTarget => "goes on after two windows without a violation; or push another template",
        Cause::WorseThanStable => {
            "approve it, or push another template; is rolled back if it comes to violate the budget"
        }
        Cause::AutoRollbackOff => "push another template, or switch monitor.autoRollback on",
        Cause::ObserveOnly => "nothing is done in mode Observe; push another template, or roll back yourself",
        Cause::PausedByOwner => "resume it to have it rolled back, or push another template",
        Cause::EvidenceMissing => "goes on at the first look with evidence",
        Cause::AboveWarning => "goes on when the window's burn rate is no longer above the warning",
        Cause::CannotRun => "goes on when its pods can run",
        Cause::CanaryUnstable => "goes on when its pods stay Ready",
        Cause::StableNotReady => {
            "goes on when the stable pods are Ready; or approve it without a canary, or push another template"
        }
        Cause::RevisionRejected => "push another template, or approve this one",
        Cause::BudgetSpent => {
            "goes on when enough of the budget is left; or override it, or go back to a revision that succeeded"
        }
        Cause::BudgetUnknown => "goes on when Prometheus can tell what is left of the budget; or override it",
        Cause::ApprovalRequired => "goes on when a person approves it",
        Cause::Violation | Cause::ProgressDeadlineExceeded | Cause::RollbackAsked => {
            "the stable template is being put back"
        }
        Cause::Adopted | Cause::NotConvicted | Cause::MonitoredBlind => "",
    }
}
