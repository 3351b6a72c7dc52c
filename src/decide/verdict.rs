//! What is to be done about a rollout, and why.

use crate::measure::look::Missing;

/// What is to be done, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Stop where it is.
    Halt,
    /// Go back to the stable revision.
    Rollback,
}

impl Verdict {
    /// As people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proceed => "Proceed",
            Self::Halt => "Halt",
            Self::Rollback => "Rollback",
        }
    }
}

/// Why, in the order in which one explains the verdict of a rollout when several objectives come to the same verdict:
/// what concerns the release most is last. So a violation is said before what is merely worse than the stable pods, and
/// anything seen before anything missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Proceed: nothing speaks against it in what was seen, which may be little.
    NotConvicted,
    /// Proceed or Halt, as the policy says: two looks in a row or more brought no evidence. The last one's reason.
    EvidenceMissing(Missing),
    /// Halt, rule `Threshold` only: the window's burn rate is above `warning`.
    AboveWarning,
    /// Halt: worse than the stable pods and above `warning`, but within the budget.
    WorseThanStable,
    /// Halt: it violates the budget, but the stable pods do as well, and it is not clearly worse than they are.
    SharedCause,
    /// Halt: it violates the budget, and whether the release is to blame is not known yet.
    CauseUnclear,
    /// Rollback: it violates the budget and is to blame.
    Violation,
}

impl Reason {
    /// As people and programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConvicted => "NotConvicted",
            Self::EvidenceMissing(_) => "EvidenceMissing",
            Self::AboveWarning => "AboveWarning",
            Self::WorseThanStable => "WorseThanStable",
            Self::SharedCause => "SharedCause",
            Self::CauseUnclear => "CauseUnclear",
            Self::Violation => "Violation",
        }
    }
}
