//! Why a reconcile ended early.

use crate::act::ActError;
use crate::watch::ListError;

/// By stage.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The facts could not be read.
    #[error(transparent)]
    Watch(#[from] ListError),
    /// The change could not be made.
    #[error(transparent)]
    Act(#[from] ActError),
}

impl ReconcileError {
    /// Somebody else wrote first.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        match self {
            Self::Act(error) => error.is_conflict(),
            Self::Watch(_) => false,
        }
    }

    /// The stage, for metrics.
    #[must_use]
    pub const fn stage(&self) -> &'static str {
        match self {
            Self::Watch(_) => "watch",
            Self::Act(_) => "act",
        }
    }
}
