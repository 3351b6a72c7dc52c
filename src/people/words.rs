//! How numbers, times and causes are worded.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::status::{RevisionStatus, RolloutStatus};
use crate::decide::state::{Cause, Phase};
use crate::policy::humane;

/// The phase that an entry is in; `None` when it is a word of another version.
pub(super) fn phase(entry: &RolloutStatus) -> Option<Phase> {
    Phase::ALL.into_iter().find(|phase| phase.as_str() == entry.phase)
}

/// Why it is there; `None` when it is a word of another version.
pub(super) fn cause(entry: &RolloutStatus) -> Option<Cause> {
    Cause::parse(entry.reason.as_deref()?)
}

/// `Halted (SharedCause)`.
pub(super) fn place(entry: &RolloutStatus) -> String {
    match &entry.reason {
        Some(reason) => format!("{} ({reason})", entry.phase),
        None => entry.phase.clone(),
    }
}

/// How long ago that was: `2m30s`. Nothing is in the future, whatever the clocks say.
pub(super) fn since(time: &Time, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time.0)).unwrap_or_default()
}

/// How long ago that was, in words.
pub(super) fn ago(time: &Time, now: Timestamp) -> String {
    humane(since(time, now))
}

/// `14.2x`, or what stands for nothing seen.
pub(super) fn burn(rate: Option<&String>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate}x"))
}

/// `revision 7 (template a94e2e9ba52888d9)`.
pub(super) fn revision(revision: &RevisionStatus) -> String {
    match revision.revision {
        Some(number) => format!("revision {number} (template {})", revision.template),
        None => format!("template {}", revision.template),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ahead_of_our_clock_is_now() {
        let now = Timestamp::from_second(1_000).expect("a time");
        let time = |second| Time(Timestamp::from_second(second).expect("a time"));
        assert_eq!(ago(&time(850), now), "2m30s");
        assert_eq!(ago(&time(1_007), now), "0s");
    }

    #[test]
    fn a_revision_without_a_number_is_named_by_its_template() {
        let template = "a94e".to_owned();
        assert_eq!(revision(&RevisionStatus { revision: None, template: template.clone() }), "template a94e");
        assert_eq!(revision(&RevisionStatus { revision: Some(7), template }), "revision 7 (template a94e)");
    }
}
