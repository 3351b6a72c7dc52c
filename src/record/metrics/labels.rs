//! What metrics are told apart by: enums and the structs that make labels of them.

use prometheus_client::encoding::EncodeLabelSet;

use crate::measure::look::Missing;

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventFate {
    /// The API server took it.
    Published,
    /// The queue was full.
    Dropped,
    /// The same reason came too often for the same object.
    Limited,
    /// The API server refused it, or did not answer any attempt.
    Failed,
}

impl EventFate {
    pub(super) const ALL: [Self; 4] = [Self::Published, Self::Dropped, Self::Limited, Self::Failed];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Dropped => "dropped",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// A change of a Deployment or of its ReplicaSets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The Deployment is paused in our name.
    Pause,
    /// What we hold is taken away.
    Release,
    /// The Deployment is held as a canary.
    HoldCanary,
    /// What people asked for by annotation is taken away.
    Answer,
    /// ReplicaSets get their pods.
    Resize,
    /// The condemned mark is taken off.
    Pardon,
    /// The condemned mark is put on.
    Condemn,
    /// The stable template is put back.
    RollBack,
    /// Fields get their appliers back.
    HandBack,
}

impl Change {
    pub(super) const ALL: [Self; 9] = [
        Self::Pause,
        Self::Release,
        Self::HoldCanary,
        Self::Answer,
        Self::Resize,
        Self::Pardon,
        Self::Condemn,
        Self::RollBack,
        Self::HandBack,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Release => "release",
            Self::HoldCanary => "hold_canary",
            Self::Answer => "answer",
            Self::Resize => "resize",
            Self::Pardon => "pardon",
            Self::Condemn => "condemn",
            Self::RollBack => "roll_back",
            Self::HandBack => "hand_back",
        }
    }
}

/// What became of one write of a policy's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusWrite {
    /// The API server took it.
    Written,
    /// Someone else had written; read again and rebuilt.
    Conflict,
    /// The API server refused it as invalid or forbidden.
    Refused,
    /// Any other error.
    Failed,
    /// No answer in time.
    TimedOut,
    /// The policy was deleted, or deleted and created anew.
    Gone,
}

impl StatusWrite {
    pub(super) const ALL: [Self; 6] =
        [Self::Written, Self::Conflict, Self::Refused, Self::Failed, Self::TimedOut, Self::Gone];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
        }
    }
}

/// Every reason why a look may bring nothing.
pub(super) const MISSING: [Missing; 8] = [
    Missing::Unreachable,
    Missing::TimedOut,
    Missing::QueryFailed,
    Missing::Partial,
    Missing::NotANumber,
    Missing::NoSeries,
    Missing::Stale,
    Missing::Silent,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VerdictLabels {
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PhaseLabel {
    pub(super) phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ActionLabels {
    pub(super) action: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EvidenceLabel {
    pub(super) evidence: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QueryLabels {
    pub(super) endpoint: String,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FailureLabels {
    pub(super) endpoint: String,
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabel {
    pub(super) stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BudgetLabels {
    pub(super) namespace: String,
    pub(super) policy: String,
    pub(super) objective: String,
}
