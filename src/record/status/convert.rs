//! What is remembered of a rollout, to and from its entry in the policy's status.
//!
//! The operator keeps no state of its own, so what a restarted one reads must be what the one before it knew. Times are
//! whole seconds on the wire: [`to_the_second`] is to be applied where a time enters a [`State`], so that none is lost.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::status::{CanaryStatus, ControlStatus, IncidentStatus, OverrideStatus, RevisionStatus, RolloutStatus};
use crate::decide::state::{CanaryProgress, Cause, Control, Incident, Outcome, Override, Phase, Remembered, State};
use crate::watch::rollout::TemplateId;

/// The longest sentence that an entry keeps, in bytes: 200 entries stay far below what fits in one object.
pub const SENTENCE_BYTES: usize = 512;

/// Why an entry cannot be taken up again. The rollout is then looked at as if it were new.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// A field without which nothing can be taken up is absent.
    #[error("it has no {0}")]
    Absent(&'static str),
    /// The phase is a word of another version, or a person's.
    #[error("its phase is {0:?}, which this version does not know")]
    UnknownPhase(String),
    /// So is the reason.
    #[error("its reason is {0:?}, which this version does not know")]
    UnknownReason(String),
}

/// The whole second that `time` lies in.
#[must_use]
pub fn to_the_second(time: Timestamp) -> Timestamp {
    // Floor, also before 1970; within the range of a timestamp there is a second below every moment but the first.
    let seconds = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN)
}

/// The entry that holds this state. Verdict, numbers and what is needed next are the caller's to add.
#[must_use]
pub fn entry_of(state: &State) -> RolloutStatus {
    RolloutStatus {
        phase: state.phase.as_str().to_owned(),
        since: Some(time(state.since)),
        reason: Some(state.cause.as_str().to_owned()),
        message: sentence(&state.message),
        newest: Some(revision_of(&state.newest)),
        stable: state.stable.as_ref().map(revision_of),
        started: Some(time(state.started)),
        evidence_since: Some(time(state.evidence_since)),
        monitor_until: state.monitor_until.map(time),
        clock_stopped: state.clock_stopped.map(time),
        incident: state.incident.as_ref().map(incident_of),
        canary: state.canary.map(canary_of),
        control: state.control.map(control_of),
        overridden: state.overridden.as_ref().map(override_of),
        approved: state.approved.iter().map(|cause| cause.as_str().to_owned()).collect(),
        heard: state.heard.clone(),
        succeeded: state.succeeded.iter().rev().take(State::SUCCEEDED_KEPT).rev().map(ToString::to_string).collect(),
        condemned: state.condemned.iter().rev().take(State::CONDEMNED_KEPT).rev().map(ToString::to_string).collect(),
        uid: Some(state.uid.clone()),
        ..RolloutStatus::default()
    }
}

/// The state that an entry holds.
///
/// # Errors
/// When it does not hold one: it was written by a person or by another version.
pub fn state_of(entry: &RolloutStatus) -> Result<State, EntryError> {
    let phase = Phase::ALL
        .into_iter()
        .find(|phase| phase.as_str() == entry.phase)
        .ok_or_else(|| EntryError::UnknownPhase(entry.phase.clone()))?;
    let word = entry.reason.as_deref().ok_or(EntryError::Absent("reason"))?;
    let cause = Cause::parse(word).ok_or_else(|| EntryError::UnknownReason(word.to_owned()))?;
    let since = moment(entry.since.as_ref()).ok_or(EntryError::Absent("since"))?;
    let started = moment(entry.started.as_ref()).ok_or(EntryError::Absent("started"))?;
    Ok(State {
        uid: entry.uid.clone().ok_or(EntryError::Absent("uid"))?,
        phase,
        since,
        newest: entry.newest.as_ref().map(remembered).ok_or(EntryError::Absent("newest"))?,
        stable: entry.stable.as_ref().map(remembered),
        started,
        evidence_since: moment(entry.evidence_since.as_ref()).unwrap_or(started),
        cause,
        message: entry.message.clone().unwrap_or_default(),
        monitor_until: moment(entry.monitor_until.as_ref()),
        clock_stopped: moment(entry.clock_stopped.as_ref()),
        incident: entry.incident.as_ref().and_then(incident),
        canary: entry.canary.as_ref().and_then(canary),
        control: entry.control.as_ref().and_then(control),
        overridden: entry.overridden.as_ref().map(overridden),
        approved: entry.approved.iter().filter_map(|word| Cause::parse(word)).collect(),
        heard: entry.heard.clone(),
        succeeded: entry.succeeded.iter().cloned().map(TemplateId).collect(),
        condemned: entry.condemned.iter().cloned().map(TemplateId).collect(),
    })
}

fn time(moment: Timestamp) -> Time {
    Time(to_the_second(moment))
}

fn moment(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| to_the_second(time.0))
}

fn sentence(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text[..text.floor_char_boundary(SENTENCE_BYTES)].to_owned())
}

fn revision_of(revision: &Remembered) -> RevisionStatus {
    RevisionStatus {
        // 0 is "none yet".
        revision: i64::try_from(revision.revision).ok().filter(|number| *number > 0),
        template: revision.template.0.clone(),
    }
}

fn remembered(status: &RevisionStatus) -> Remembered {
    Remembered {
        template: TemplateId(status.template.clone()),
        revision: status.revision.and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
    }
}

/// Its pods, its share and the number of steps are the caller's to add.
fn canary_of(canary: CanaryProgress) -> CanaryStatus {
    CanaryStatus {
        step: i32::try_from(canary.step + 1).unwrap_or(i32::MAX),
        began: Some(time(canary.began)),
        held_since: canary.held_since.map(time),
        ..CanaryStatus::default()
    }
}

fn canary(status: &CanaryStatus) -> Option<CanaryProgress> {
    Some(CanaryProgress {
        step: usize::try_from(status.step).ok()?.checked_sub(1)?,
        began: moment(status.began.as_ref())?,
        held_since: moment(status.held_since.as_ref()),
    })
}

/// None is left where there are 0.
fn control_of(control: Control) -> ControlStatus {
    match control {
        Control::Kept { pods, since, ready_since } => ControlStatus {
            pods: i32::try_from(pods).unwrap_or(i32::MAX),
            since: Some(time(since)),
            ready_since: ready_since.map(time),
        },
        Control::Gone => ControlStatus::default(),
    }
}

fn control(status: &ControlStatus) -> Option<Control> {
    Some(match u32::try_from(status.pods).ok()? {
        0 => Control::Gone,
        pods => Control::Kept {
            pods,
            since: moment(status.since.as_ref())?,
            ready_since: moment(status.ready_since.as_ref()),
        },
    })
}

fn override_of(overridden: &Override) -> OverrideStatus {
    OverrideStatus {
        reason: sentence(&overridden.reason).unwrap_or_default(),
        by: overridden.by.clone(),
        until: overridden.until.map(time),
    }
}

fn overridden(status: &OverrideStatus) -> Override {
    Override { reason: status.reason.clone(), by: status.by.clone(), until: moment(status.until.as_ref()) }
}

fn incident_of(incident: &Incident) -> IncidentStatus {
    IncidentStatus {
        condemned: Some(revision_of(&incident.condemned)),
        decided: Some(time(incident.decided)),
        reason: sentence(&incident.reason),
        outcome: incident.outcome.map(|outcome| outcome.as_str().to_owned()),
        ended: incident.ended.map(time),
    }
}

fn incident(status: &IncidentStatus) -> Option<Incident> {
    let outcomes = [Outcome::Recovered, Outcome::RecoveredUnproven, Outcome::NotRecovered];
    Some(Incident {
        condemned: remembered(status.condemned.as_ref()?),
        decided: moment(status.decided.as_ref())?,
        reason: status.reason.clone().unwrap_or_default(),
        outcome: outcomes.into_iter().find(|outcome| status.outcome.as_deref() == Some(outcome.as_str())),
        ended: moment(status.ended.as_ref()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_time() -> impl Strategy<Value = Timestamp> {
        (0_i64..4_000_000_000).prop_map(|seconds| Timestamp::from_second(seconds).unwrap())
    }

    fn some_revision() -> impl Strategy<Value = Remembered> {
        ("[0-9a-f]{10}", 0_u64..1000)
            .prop_map(|(template, revision)| Remembered { template: TemplateId(template), revision })
    }

    prop_compose! {
        fn some_incident()(
            condemned in some_revision(),
            decided in some_time(),
            reason in "[a-z0-9 .é]{0,80}",
            outcome in prop::option::of(prop::sample::select(
                vec![Outcome::Recovered, Outcome::RecoveredUnproven, Outcome::NotRecovered],
            )),
            ended in prop::option::of(some_time()),
        ) -> Incident {
            Incident { condemned, decided, reason, outcome, ended }
        }
    }

    prop_compose! {
        fn some_override()(
            reason in "[a-z0-9 .é]{0,80}",
            by in prop::option::of("[a-z:]{1,20}"),
            until in prop::option::of(some_time()),
        ) -> Override {
            Override { reason, by, until }
        }
    }

    fn some_control() -> impl Strategy<Value = Control> {
        let kept = (1_u32..200, some_time(), prop::option::of(some_time()));
        prop_oneof![
            Just(Control::Gone),
            kept.prop_map(|(pods, since, ready_since)| Control::Kept { pods, since, ready_since }),
        ]
    }

    prop_compose! {
        fn some_state()(
            (uid, message) in ("[0-9a-f-]{36}", "[a-z0-9 .é]{0,200}"),
            cause in prop::sample::select(Cause::ALL.to_vec()),
            phase in prop::sample::select(Phase::ALL.to_vec()),
            (since, started, evidence_since) in (some_time(), some_time(), some_time()),
            newest in some_revision(),
            stable in prop::option::of(some_revision()),
            (monitor_until, clock_stopped) in (prop::option::of(some_time()), prop::option::of(some_time())),
            incident in prop::option::of(some_incident()),
            (canary, control, overridden, heard) in (
                prop::option::of((0_usize..9, some_time(), prop::option::of(some_time()))),
                prop::option::of(some_control()),
                prop::option::of(some_override()),
                prop::option::of("[a-z ]{1,20}"),
            ),
            approved in prop::collection::vec(prop::sample::select(Cause::ALL.to_vec()), 0..4),
            succeeded in prop::collection::vec("[0-9a-f]{10}".prop_map(TemplateId), 0..=State::SUCCEEDED_KEPT),
            condemned in prop::collection::vec("[0-9a-f]{10}".prop_map(TemplateId), 0..=State::CONDEMNED_KEPT),
        ) -> State {
            let canary = canary.map(|(step, began, held_since)| CanaryProgress { step, began, held_since });
            State {
                uid, phase, since, newest, stable, started, evidence_since, cause, message, monitor_until,
                clock_stopped, incident, canary, control, overridden, approved, heard, succeeded, condemned,
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_restarted_operator_reads_is_what_was_known(state in some_state()) {
            let wire = serde_json::to_string(&entry_of(&state)).unwrap();
            let read: RolloutStatus = serde_json::from_str(&wire).unwrap();
            prop_assert_eq!(state_of(&read), Ok(state));
        }

        #[test]
        fn the_whole_second_is_at_most_a_second_before(nanoseconds in -10_i128.pow(18)..10_i128.pow(18)) {
            let time = Timestamp::from_nanosecond(nanoseconds).unwrap();
            let second = to_the_second(time);
            prop_assert_eq!(second.subsec_nanosecond(), 0);
            prop_assert!((0..1_000_000_000).contains(&(time.as_nanosecond() - second.as_nanosecond())));
        }
    }

    fn entry() -> RolloutStatus {
        RolloutStatus {
            phase: "Halted".to_owned(),
            reason: Some("SharedCause".to_owned()),
            since: Some(Time(Timestamp::UNIX_EPOCH)),
            started: Some(Time(Timestamp::UNIX_EPOCH)),
            newest: Some(RevisionStatus { revision: Some(3), template: "t".to_owned() }),
            uid: Some("u".to_owned()),
            ..RolloutStatus::default()
        }
    }

    #[test]
    fn an_entry_that_lacks_what_is_needed_says_what() {
        assert!(state_of(&entry()).is_ok());
        let absent = |change: fn(&mut RolloutStatus)| {
            let mut entry = entry();
            change(&mut entry);
            state_of(&entry).unwrap_err().to_string()
        };
        assert_eq!(absent(|entry| entry.uid = None), "it has no uid");
        assert_eq!(absent(|entry| entry.since = None), "it has no since");
        assert_eq!(absent(|entry| entry.started = None), "it has no started");
        assert_eq!(absent(|entry| entry.newest = None), "it has no newest");
        let error = absent(|entry| entry.reason = Some("Whim".to_owned()));
        assert_eq!(error, "its reason is \"Whim\", which this version does not know");
        let error = absent(|entry| entry.phase = "Dancing".to_owned());
        assert_eq!(error, "its phase is \"Dancing\", which this version does not know");
    }

    #[test]
    fn of_too_many_condemned_templates_the_newest_are_kept() {
        let mut state = state_of(&entry()).unwrap();
        state.condemned = (0..9).map(|i| TemplateId(i.to_string())).collect();
        assert_eq!(entry_of(&state).condemned, ["5", "6", "7", "8"]);
    }

    #[test]
    fn a_sentence_that_is_too_long_is_cut_between_two_characters() {
        let mut state = state_of(&entry()).unwrap();
        state.message = "é".repeat(600);
        assert_eq!(entry_of(&state).message.unwrap(), "é".repeat(256));
    }
}
