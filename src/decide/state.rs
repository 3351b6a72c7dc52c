//! What is remembered of a rollout between two decisions.
//!
//! The operator keeps no state of its own: [`State`] is what the policy's status holds, and everything else is derived
//! from the facts and the counters.

use jiff::Timestamp;

use crate::watch::rollout::TemplateId;

/// Where a rollout is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A new template is there and is held without pods until the gate lets it pass.
    Validating,
    /// The new revision has its share of the pods and no more; looks go on.
    Canary,
    /// Kubernetes rolls on with the user's own strategy; looks go on.
    Promoting,
    /// Complete; looks go on for `monitor.timeout`.
    Monitoring,
    /// The revision is the new stable one.
    Succeeded,
    /// Paused by us; looks go on.
    Halted,
    /// Decided; the patch is on its way.
    RollingBack,
    /// The stable ReplicaSet is being restored, then Ready; looks on the restored pods.
    Recovering,
    /// The stable ReplicaSet is back; [`Incident::outcome`] says how well.
    RolledBack,
    /// A template that was rolled back came again: held by pause.
    Rejected,
}

impl Phase {
    /// All phases, in the order of a rollout's life.
    pub const ALL: [Self; 10] = [
        Self::Validating,
        Self::Canary,
        Self::Promoting,
        Self::Monitoring,
        Self::Succeeded,
        Self::Halted,
        Self::RollingBack,
        Self::Recovering,
        Self::RolledBack,
        Self::Rejected,
    ];

    /// As people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "Validating",
            Self::Canary => "Canary",
            Self::Promoting => "Promoting",
            Self::Monitoring => "Monitoring",
            Self::Succeeded => "Succeeded",
            Self::Halted => "Halted",
            Self::RollingBack => "RollingBack",
            Self::Recovering => "Recovering",
            Self::RolledBack => "RolledBack",
            Self::Rejected => "Rejected",
        }
    }
}

/// Why a rollout is where it is: one word, for status, Events and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was complete when the operator first saw it.
    Adopted,
    /// Nothing speaks against it in what was seen.
    NotConvicted,
    /// It violates the budget, and it is to blame.
    Violation,
    /// The new pods did not become Ready within the Deployment's progress deadline.
    ProgressDeadlineExceeded,
    /// The stable pods violate the budget too.
    SharedCause,
    /// It violates the budget; whether the release is to blame is not known yet.
    CauseUnclear,
    /// Worse than the stable pods, within the budget.
    WorseThanStable,
    /// `rule: Threshold`: the window's burn rate is above `warning`.
    AboveWarning,
    /// Looks bring no evidence.
    EvidenceMissing,
    /// Kubernetes cannot create, schedule or start its pods.
    CannotRun,
    /// Its pods were Ready and fell back.
    CanaryUnstable,
    /// The stable pods that the canary is to be compared with were brought back, and are not Ready.
    StableNotReady,
    /// It is to be rolled back, and there is nothing to go back to.
    NoRollbackTarget,
    /// It is to be rolled back, and `monitor.autoRollback` is off.
    AutoRollbackOff,
    /// It is to be rolled back, and its owner has paused it.
    PausedByOwner,
    /// It is to be rolled back, and the policy only observes.
    ObserveOnly,
    /// Monitored to the end without evidence.
    MonitoredBlind,
    /// A template that was rolled back came again.
    RevisionRejected,
    /// Less of the error budget is left than a rollout needs.
    BudgetSpent,
    /// Nobody can tell what is left of the error budget, and the policy holds then.
    BudgetUnknown,
    /// The canary is done, and the policy wants a person's approval.
    ApprovalRequired,
    /// A person asked for the rollback.
    RollbackAsked,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 22] = [
        Self::BudgetSpent,
        Self::BudgetUnknown,
        Self::ApprovalRequired,
        Self::RollbackAsked,
        Self::Adopted,
        Self::NotConvicted,
        Self::Violation,
        Self::ProgressDeadlineExceeded,
        Self::SharedCause,
        Self::CauseUnclear,
        Self::WorseThanStable,
        Self::AboveWarning,
        Self::EvidenceMissing,
        Self::CannotRun,
        Self::CanaryUnstable,
        Self::StableNotReady,
        Self::NoRollbackTarget,
        Self::AutoRollbackOff,
        Self::PausedByOwner,
        Self::ObserveOnly,
        Self::MonitoredBlind,
        Self::RevisionRejected,
    ];

    /// As people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "Adopted",
            Self::NotConvicted => "NotConvicted",
            Self::Violation => "Violation",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::SharedCause => "SharedCause",
            Self::CauseUnclear => "CauseUnclear",
            Self::WorseThanStable => "WorseThanStable",
            Self::AboveWarning => "AboveWarning",
            Self::EvidenceMissing => "EvidenceMissing",
            Self::CannotRun => "CannotRun",
            Self::CanaryUnstable => "CanaryUnstable",
            Self::StableNotReady => "StableNotReady",
            Self::NoRollbackTarget => "NoRollbackTarget",
            Self::AutoRollbackOff => "AutoRollbackOff",
            Self::PausedByOwner => "PausedByOwner",
            Self::ObserveOnly => "ObserveOnly",
            Self::MonitoredBlind => "MonitoredBlind",
            Self::RevisionRejected => "RevisionRejected",
            Self::BudgetSpent => "BudgetSpent",
            Self::BudgetUnknown => "BudgetUnknown",
            Self::ApprovalRequired => "ApprovalRequired",
            Self::RollbackAsked => "RollbackAsked",
        }
    }

    /// The cause of that name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

/// A revision as it is remembered: by its template, with the number it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its template.
    pub template: TemplateId,
    /// `deployment.kubernetes.io/revision` when it was noted.
    pub revision: u64,
}

/// How the service was after a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The restored pods serve within the budget, and enough requests were seen to say so.
    Recovered,
    /// Nothing speaks against the restored pods, but too few requests were seen to prove it.
    RecoveredUnproven,
    /// Not recovered within ten minutes of the decision; looks go on.
    NotRecovered,
}

impl Outcome {
    /// As people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "Recovered",
            Self::RecoveredUnproven => "RecoveredUnproven",
            Self::NotRecovered => "NotRecovered",
        }
    }
}

/// The record of one rollback.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// The revision that was rolled back.
    pub condemned: Remembered,
    /// When it was decided.
    pub decided: Timestamp,
    /// Why, with the numbers.
    pub reason: String,
    /// How the service was afterwards, once that is known.
    pub outcome: Option<Outcome>,
    /// When the outcome was known.
    pub ended: Option<Timestamp>,
}

/// How far a canary has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryProgress {
    /// Index of its step in the policy; beyond the last one when the policy has fewer now.
    pub step: usize,
    /// When the step began: the owner's progress deadline counts from here.
    pub began: Timestamp,
    /// Since when all of the step's pods have been Ready and held; `None` before.
    pub held_since: Option<Timestamp>,
}

/// The stable pods that the new ones are compared with while they are monitored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// They stay, or are about to be all that is left of the stable ones.
    Kept {
        /// How many.
        pods: u32,
        /// Since when the rollout is held for them.
        since: Timestamp,
        /// Since when so many new pods have been Ready that no other stable ones are needed; `None` before.
        ready_since: Option<Timestamp>,
    },
    /// None is left: Kubernetes was faster, or somebody took them away.
    Gone,
}

/// A person's word that a template may pass a closed gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Why.
    pub reason: String,
    /// Who said so, if that is known.
    pub by: Option<String>,
    /// Until when it counts; `None` for as long as this template is rolled out.
    pub until: Option<Timestamp>,
}

/// What is remembered of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The Deployment's uid when it was noted: another uid means that the record is of a deleted one.
    pub uid: String,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// The newest template, being rolled out or succeeded.
    pub newest: Remembered,
    /// The last revision that reached `Succeeded`; what a rollback goes back to.
    pub stable: Option<Remembered>,
    /// When this rollout began.
    pub started: Timestamp,
    /// Evidence counts from here: the start, or the last resume.
    pub evidence_since: Timestamp,
    /// Why it is where it is.
    pub cause: Cause,
    /// The last verdict and its numbers, in a sentence.
    pub message: String,
    /// `Monitoring`: when it ends, if the clock is not stopped.
    pub monitor_until: Option<Timestamp>,
    /// `Monitoring`: since when the clock is stopped by a Halt or by missing evidence.
    pub clock_stopped: Option<Timestamp>,
    /// The last rollback.
    pub incident: Option<Incident>,
    /// The canary, from when the gate let it pass until it is promoted. A halted rollout that has one goes back to it.
    pub canary: Option<CanaryProgress>,
    /// The control group of a policy that wants one, from when the rollout is held for it until the revision is stable.
    pub control: Option<Control>,
    /// What lets this template pass a closed gate.
    pub overridden: Option<Override>,
    /// Causes to halt that a person has approved for this template: they do not hold it again.
    pub approved: Vec<Cause>,
    /// What people asked for and was answered, until they take it back or it is taken away.
    pub heard: Option<String>,
    /// Templates that succeeded, newest last, at most [`State::SUCCEEDED_KEPT`]: going back to one is never held.
    pub succeeded: Vec<TemplateId>,
    /// Templates that were rolled back, newest last, at most [`State::CONDEMNED_KEPT`], restarts disregarded.
    pub condemned: Vec<TemplateId>,
}

impl State {
    /// How many condemned templates are remembered beyond the life of their ReplicaSets.
    pub const CONDEMNED_KEPT: usize = 4;
    /// How many succeeded templates are remembered.
    pub const SUCCEEDED_KEPT: usize = 4;
}
