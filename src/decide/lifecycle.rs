//! From phase to phase: given what is remembered, the facts and the verdict, what is true next and what to do about it.
//!
//! ```text
//! (new template) -> Validating -> Canary -> Promoting -> Monitoring -> Succeeded
//!                                  |  ^      |   ^  \        |
//!                                  v  |      v   |   v       v
//!                                  Halted ---------> RollingBack -> Recovering -> RolledBack
//! (a condemned template again) -> Rejected
//! ```
//!
//! Everything is level-triggered: an action is asked for again for as long as the facts lack its effect, so that a
//! process killed at any line, or a change undone by somebody, leads to the same end.

mod asks;
mod canary;
mod control;
mod rejected;
mod returning;
mod rollback;
mod step;
mod validating;

use jiff::{SignedDuration, Timestamp};

pub(crate) use self::canary::LOOKS_TO_PASS;
use self::step::Step;
use super::action::Action;
use super::analysis::{Seen, Verdict};
use super::announcement::{Announcement, EventReason};
use super::budget::Gate;
use super::service::Trouble;
use super::state::{Cause, Incident, Outcome, Phase, Remembered, State};
use crate::policy::{Approval, Canary, Mode, Monitor, OnUnknownBudget};
use crate::watch::rollout::{Condemned, Pause, Revision, Rollout, Settings, TemplateId};

/// A service that is not green this long after the decision is reported as not recovered; looks go on.
pub const RECOVERY_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// `SharedCause` and `CauseUnclear` end after this long without a violation, however few requests there were.
pub const CALM_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// A rollout found in mid-way is measured from its ReplicaSet's creation, if that is not longer ago than this.
const ADOPTION_LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// What the looks say, all objectives together.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The worst verdict.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// The same as a sentence with the numbers.
    pub text: String,
    /// Canary and stable pods have burnt at most `violation` over each of the last two windows.
    pub calm: bool,
    /// These windows hold enough requests to say so.
    pub calm_is_proven: bool,
    /// No look since the evidence began brought any evidence.
    pub blind: bool,
    /// No look was read yet, so that nothing is known of what was served before: after a start of the operator.
    pub unread: bool,
    /// The time of the newest look that brought evidence.
    pub looked_at: Option<Timestamp>,
    /// How much the looks since then have seen.
    pub seen: Seen,
}

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The policy's name.
    pub policy: &'a str,
    /// Its `mode`.
    pub mode: Mode,
    /// Its `monitor`.
    pub monitor: &'a Monitor,
    /// Its `canary`; `None` when nothing is held.
    pub canary: Option<&'a Canary>,
    /// Its `approval`.
    pub approval: Approval,
    /// What is left of the error budget, and whether that is enough.
    pub gate: &'a Gate,
    /// What it means when nobody can tell.
    pub on_unknown_budget: OnUnknownBudget,
    /// The Deployment now.
    pub facts: &'a Rollout,
    /// What the looks say.
    pub judgement: &'a Judgement,
    /// What Kubernetes says against the new pods.
    pub trouble: Option<&'a Trouble>,
    /// How the restored pods do, once that is known.
    pub recovered: Option<Outcome>,
    /// The clock.
    pub now: Timestamp,
}

/// What is true next, and what to do and say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What to remember.
    pub state: State,
    /// The one change to make.
    pub action: Action,
    /// What to tell people, once the change is made.
    pub announcements: Vec<Announcement>,
    /// The evidence processes start anew.
    pub restart_evidence: bool,
}

/// Decides.
///
/// `None` as state, or one of another uid, means that the Deployment was never seen.
#[must_use]
pub fn decide(state: Option<&State>, input: &Input<'_>) -> Decision {
    let known = state.filter(|state| state.uid == input.facts.uid);
    let Some(state) = known else {
        return if input.facts.complete { adopt(None, input) } else { begin(None, input) };
    };
    if state.newest.template == input.facts.template {
        Step::new(state.clone(), input).heard().in_phase()
    } else if let Some((condemned, incident)) = landed_rollback(state, input) {
        let mut noted = state.clone();
        condemn(&mut noted, &condemned.template, &condemned.template_without_restart);
        recovering(&noted, incident, input)
    } else if input.mode == Mode::Enforce && is_condemned(state, input.facts) {
        reject(state, input)
    } else if completed_unseen(input) {
        adopt(Some(state), input)
    } else {
        begin(Some(state), input)
    }
}

/// What to remember once the rollback patch was accepted.
#[must_use]
pub fn rolled_back(state: &State, input: &Input<'_>, took: SignedDuration) -> Decision {
    let incident = state.incident.clone().unwrap_or_else(|| Incident {
        condemned: state.newest.clone(),
        decided: input.now,
        reason: state.message.clone(),
        outcome: None,
        ended: None,
    });
    let mut decision = recovering(state, incident, input);
    for announcement in &mut decision.announcements {
        announcement.note = format!("{} in {:.2} s", announcement.note, took.as_secs_f64());
    }
    decision
}

/// What is remembered of a Deployment that was complete when it was first seen: its revision is stable.
#[must_use]
pub fn adopted(uid: &str, template: TemplateId, revision: u64, now: Timestamp) -> State {
    let newest = Remembered { template, revision };
    State {
        succeeded: vec![newest.template.clone()],
        canary: None,
        control: None,
        overridden: None,
        approved: Vec::new(),
        heard: None,
        uid: uid.to_owned(),
        phase: Phase::Succeeded,
        since: now,
        stable: Some(newest.clone()),
        message: format!("revision {revision} was complete when it was first seen; taken as stable"),
        newest,
        started: now,
        evidence_since: now,
        cause: Cause::Adopted,
        monitor_until: None,
        clock_stopped: None,
        incident: None,
        condemned: Vec::new(),
    }
}

/// A Deployment that was rolled out to the end while nobody watched.
fn adopt(previous: Option<&State>, input: &Input<'_>) -> Decision {
    let Remembered { template, revision } = newest(input.facts);
    let state = State {
        incident: previous.and_then(incident_of),
        condemned: previous.map(|state| state.condemned.clone()).unwrap_or_default(),
        ..adopted(&input.facts.uid, template.clone(), revision, input.now)
    };
    let succeeded = previous.map(|state| state.succeeded.clone()).unwrap_or_default();
    quiet(State { succeeded: with_newest(succeeded, template), ..state }, release_if_held(input.facts))
}

/// The templates that succeeded, with this one as the newest.
fn with_newest(mut succeeded: Vec<TemplateId>, template: TemplateId) -> Vec<TemplateId> {
    succeeded.retain(|known| *known != template);
    succeeded.push(template);
    let surplus = succeeded.len().saturating_sub(State::SUCCEEDED_KEPT);
    succeeded.drain(..surplus);
    succeeded
}

/// A new template: its rollout begins, and a hold that was on the one before it ends.
fn begin(previous: Option<&State>, input: &Input<'_>) -> Decision {
    let facts = input.facts;
    let newest = newest(facts);
    let stable = match previous {
        Some(state) => state.stable.clone(),
        // Without any record the newest other one that serves is the best guess there is.
        None => facts
            .stable(None)
            .map(|revision| Remembered { template: revision.template.clone(), revision: revision.number }),
    };
    let started = facts
        .canary
        .as_ref()
        .map(|canary| canary.created)
        .filter(|created| (SignedDuration::ZERO..=ADOPTION_LIMIT).contains(&input.now.duration_since(*created)))
        .map_or(input.now, |created| previous.map_or(created, |state| created.max(state.since)));
    let returns = stable.as_ref().is_some_and(|stable| stable.template == newest.template);
    let target = stable.as_ref().filter(|_| !returns).and_then(|stable| facts.stable(Some(&stable.template)));

    let let_in = let_in(input);
    let mut announcements = Vec::new();
    let message = match (&target, returns) {
        (Some(target), _) if facts.history_limit == 0 => {
            let note = format!(
                "template {} is rolled out{let_in}; revisionHistoryLimit is 0, so Kubernetes removes revision {} once its pods \
                 are gone: from then on a violation of the budget cannot roll it back",
                newest.template, target.number
            );
            announcements.push(Announcement::new(EventReason::NoRollbackTarget, note.clone()));
            note
        }
        (Some(target), _) => {
            let (template, number) = (&newest.template, target.number);
            format!("template {template} is rolled out{let_in}; revision {number} is the one to go back to")
        }
        (None, true) => format!("template {} is rolled out; it succeeded before", newest.template),
        (None, false) => {
            let note = format!(
                "template {} is rolled out{let_in} and there is no earlier revision to go back to: \
                 a violation of the budget will halt it and cannot roll it back",
                newest.template
            );
            announcements.push(Announcement::new(EventReason::NoRollbackTarget, note.clone()));
            note
        }
    };
    if announcements.is_empty() {
        announcements.push(Announcement::new(EventReason::RolloutStarted, message.clone()));
    }
    // What was not seen before and is under way is taken up where it stands.
    let is_validated = input.mode == Mode::Enforce && (previous.is_some() || facts.pause == Pause::Ours);
    let succeeded = previous.map(|state| state.succeeded.clone()).unwrap_or_default();
    let state = State {
        canary: None,
        control: None,
        overridden: None,
        approved: Vec::new(),
        heard: None,
        succeeded: stable.iter().fold(succeeded, |known, stable| match known.contains(&stable.template) {
            true => known,
            false => with_newest(known, stable.template.clone()),
        }),
        uid: facts.uid.clone(),
        phase: if is_validated { Phase::Validating } else { Phase::Promoting },
        since: input.now,
        newest,
        stable,
        started,
        evidence_since: started,
        cause: Cause::NotConvicted,
        message,
        monitor_until: None,
        clock_stopped: None,
        incident: previous.and_then(incident_of),
        condemned: previous.map(|state| state.condemned.clone()).unwrap_or_default(),
    };
    let mut decision = match state.phase {
        Phase::Validating => Step::new(state, input).heard().in_phase(),
        _ => quiet(state, release_if_held(facts)),
    };
    announcements.append(&mut decision.announcements);
    Decision { announcements, restart_evidence: true, ..decision }
}

/// What the gate says of a rollout that it lets in, as a part of a sentence.
fn let_in(input: &Input<'_>) -> String {
    match input.gate {
        Gate::Open(text) if !text.is_empty() => format!(", {text}"),
        Gate::Unknown(why) if input.on_unknown_budget == OnUnknownBudget::Allow => {
            format!(", though it is not known what is left of the budget ({why})")
        }
        _ => String::new(),
    }
}

/// A condemned template came again: Git's spec stands, its pods do not run, nobody fights.
fn reject(previous: &State, input: &Input<'_>) -> Decision {
    let newest = newest(input.facts);
    let why = previous.incident.as_ref().filter(|incident| incident.condemned.template == newest.template).map_or_else(
        || "it was rolled back before".to_owned(),
        |incident| format!("it was rolled back: {}", incident.reason),
    );
    let message = format!("template {} came again and is held: {why}; push another template", newest.template);
    let mut announcements = vec![Announcement::new(EventReason::RevisionRejected, message.clone())];
    let state = State {
        phase: Phase::Rejected,
        since: input.now,
        newest,
        started: input.now,
        evidence_since: input.now,
        cause: Cause::RevisionRejected,
        message,
        monitor_until: None,
        clock_stopped: None,
        canary: None,
        control: None,
        overridden: None,
        approved: Vec::new(),
        heard: None,
        ..previous.clone()
    };
    let mut decision = Step::new(state, input).in_phase();
    announcements.append(&mut decision.announcements);
    Decision { announcements, restart_evidence: true, ..decision }
}

/// The stable template is in place again: it is the newest one now, and its pods are looked at.
fn recovering(previous: &State, incident: Incident, input: &Input<'_>) -> Decision {
    let stable = previous.stable.clone().unwrap_or_else(|| newest(input.facts));
    let decided = incident.decided;
    let note =
        format!("{}; rolled back revision {} to {}", incident.reason, incident.condemned.revision, stable.revision);
    let state = State {
        phase: Phase::Recovering,
        since: input.now,
        newest: stable.clone(),
        stable: Some(stable),
        started: input.now,
        evidence_since: input.now,
        message: note.clone(),
        monitor_until: None,
        clock_stopped: None,
        incident: Some(incident),
        canary: None,
        control: None,
        overridden: None,
        approved: Vec::new(),
        ..previous.clone()
    };
    Decision {
        state,
        action: Action::None,
        announcements: vec![Announcement::of_rollback(EventReason::RolledBack, note, decided)],
        restart_evidence: true,
    }
}

/// Our rollback was accepted, and the process that asked for it did not live to note it.
fn landed_rollback<'a>(state: &State, input: &Input<'a>) -> Option<(&'a Revision, Incident)> {
    if state.phase == Phase::Rejected {
        // Its owner has put the stable template back, not we.
        return None;
    }
    let stable = state.stable.as_ref().filter(|stable| stable.template == input.facts.template)?;
    let condemned = input
        .facts
        .others
        .iter()
        .find(|revision| revision.template == state.newest.template && stable.template != revision.template)?;
    let Condemned { reason, at: decided } = condemned.condemned.clone()?;
    let noted = state.incident.clone().filter(|incident| incident.condemned.template == condemned.template);
    let incident = noted.unwrap_or_else(|| {
        // It may have been noted last before Kubernetes gave it a number.
        let condemned = Remembered { template: condemned.template.clone(), revision: condemned.number };
        Incident { condemned, decided, reason, outcome: None, ended: None }
    });
    Some((condemned, incident))
}

/// Remembers that the template was rolled back, beyond the life of its ReplicaSet and of this process.
fn condemn(state: &mut State, template: &TemplateId, without_restart: &TemplateId) {
    state.succeeded.retain(|succeeded| succeeded != template);
    state.condemned.retain(|condemned| condemned != without_restart);
    state.condemned.push(without_restart.clone());
    let surplus = state.condemned.len().saturating_sub(State::CONDEMNED_KEPT);
    state.condemned.drain(..surplus);
}

/// A restart that failed is no word against the template that was restarted: that one has succeeded.
fn is_condemned(state: &State, facts: &Rollout) -> bool {
    facts.canary.as_ref().is_some_and(|canary| canary.condemned.is_some())
        || (state.condemned.contains(&facts.template_without_restart) && !state.succeeded.contains(&facts.template))
}

/// It was rolled out while no operator looked, and longer ago than it would have been monitored.
fn completed_unseen(input: &Input<'_>) -> bool {
    let timeout = SignedDuration::try_from(input.monitor.timeout).unwrap_or(SignedDuration::MAX);
    input.facts.complete && input.facts.completed_at.is_some_and(|at| input.now.duration_since(at) > timeout)
}

/// The last rollback. One that was decided and then overtaken by another template was none.
fn incident_of(state: &State) -> Option<Incident> {
    state.incident.clone().filter(|_| state.phase != Phase::RollingBack)
}

fn newest(facts: &Rollout) -> Remembered {
    Remembered { template: facts.template.clone(), revision: facts.canary.as_ref().map_or(0, |canary| canary.number) }
}

/// Also when somebody took the annotation away and left our settings.
fn release_if_held(facts: &Rollout) -> Action {
    let settings_are_ours = facts.settings.min_ready_seconds == Settings::HELD_MIN_READY_SECONDS;
    if facts.hold.is_some() || settings_are_ours { Action::Release } else { Action::None }
}

fn quiet(state: State, action: Action) -> Decision {
    Decision { state, action, announcements: Vec::new(), restart_evidence: false }
}

#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod let_go_tests;
#[cfg(test)]
mod returning_tests;
#[cfg(test)]
mod rollback_tests;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod traps_tests;
