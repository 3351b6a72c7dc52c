//! What a decision tells people.

use jiff::Timestamp;

/// The typed reasons of Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A new template is held without pods.
    RolloutHeld,
    /// The canary's pods are there and held.
    CanaryStarted,
    /// The canary goes on, with what was seen.
    CanaryPassed,
    /// Stable pods stay to compare the new ones with while these are monitored.
    ControlPodsKept,
    /// The policy wants that, and no stable pod is left.
    ControlPodsGone,
    /// The canary waits for a person's approval.
    ApprovalRequired,
    /// A person approved.
    Approved,
    /// A person let it pass a closed gate.
    Overridden,
    /// What a person asked for cannot be done.
    AskRefused,
    /// Less of the budget is left than a rollout needs.
    GateClosed,
    /// Enough is left again.
    GateOpened,
    /// A new template is being rolled out and watched.
    RolloutStarted,
    /// The new revision is stable.
    Promoted,
    /// Paused.
    Halted,
    /// Goes on.
    Resumed,
    /// The burn rate violates the budget.
    BudgetViolation,
    /// The stable template is back.
    RolledBack,
    /// The service is green again.
    Recovered,
    /// It is not, ten minutes after the decision.
    NotRecovered,
    /// Looks bring no evidence.
    EvidenceMissing,
    /// A template that was rolled back came again.
    RevisionRejected,
    /// There is nothing to go back to.
    NoRollbackTarget,
    /// Pods of the stable revision are brought back in place of those of one that has not succeeded.
    StableReturns,
    /// They did not become Ready, and are not waited for any more.
    StableNotReady,
    /// The change could not be made.
    ActionFailed,
}

impl EventReason {
    /// As it stands in the Event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RolloutHeld => "RolloutHeld",
            Self::CanaryStarted => "CanaryStarted",
            Self::CanaryPassed => "CanaryPassed",
            Self::ControlPodsKept => "ControlPodsKept",
            Self::ControlPodsGone => "ControlPodsGone",
            Self::ApprovalRequired => "ApprovalRequired",
            Self::Approved => "Approved",
            Self::Overridden => "Overridden",
            Self::AskRefused => "AskRefused",
            Self::GateClosed => "GateClosed",
            Self::GateOpened => "GateOpened",
            Self::RolloutStarted => "RolloutStarted",
            Self::Promoted => "Promoted",
            Self::Halted => "Halted",
            Self::Resumed => "Resumed",
            Self::BudgetViolation => "BudgetViolation",
            Self::RolledBack => "RolledBack",
            Self::Recovered => "Recovered",
            Self::NotRecovered => "NotRecovered",
            Self::EvidenceMissing => "EvidenceMissing",
            Self::RevisionRejected => "RevisionRejected",
            Self::NoRollbackTarget => "NoRollbackTarget",
            Self::StableReturns => "StableReturns",
            Self::StableNotReady => "StableNotReady",
            Self::ActionFailed => "ActionFailed",
        }
    }

    /// Something a person should look at.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::CanaryStarted
                | Self::CanaryPassed
                | Self::ControlPodsKept
                | Self::Approved
                | Self::Overridden
                | Self::GateOpened
                | Self::RolloutStarted
                | Self::Promoted
                | Self::Resumed
                | Self::Recovered
        )
    }
}

/// Something to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// What kind.
    pub reason: EventReason,
    /// The sentence, with the numbers.
    pub note: String,
    /// Of a rollback: when it was decided. Such a thing is told once, also when the process that tells it dies before it
    /// has noted that it did, and its successor tells it again.
    pub decided: Option<Timestamp>,
}

impl Announcement {
    /// Something that is told as often as it happens.
    #[must_use]
    pub const fn new(reason: EventReason, note: String) -> Self {
        Self { reason, note, decided: None }
    }

    /// Something about the rollback that was decided then.
    #[must_use]
    pub const fn of_rollback(reason: EventReason, note: String, decided: Timestamp) -> Self {
        Self { reason, note, decided: Some(decided) }
    }
}
