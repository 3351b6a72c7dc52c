//! How a burn rate becomes a verdict.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::cel;

/// How a burn rate becomes a verdict. A burn rate is the error ratio over the error budget: at 1 the budget lasts for
/// just its window.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = cel::detection()))]
pub struct Detection {
    /// What the burn rate is reported over, from 5s to 10m. Choose at least two scrape intervals of Prometheus.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("5s", "10m", "30s or 1m30s")))]
    pub window: String,

    /// How often to look in one window, 1 to 10: 3 looks in 30s are one every 10 s. Looks are whole seconds apart, so the
    /// window must be divisible by them.
    #[schemars(range(min = 1, max = 10))]
    pub looks: i32,

    /// What a pod serves in its first time is left out, canary and stable alike, since caches and compilers make many pods
    /// slow at first: from 0s to 10m after the first sample that shows a request to it. Without it, 30s for latency
    /// objectives and 0s for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("0s", "10m", "30s or 2m")))]
    pub warmup: Option<String>,

    /// Burn rate above which a release is rolled back, as a string: "1.0".
    #[schemars(length(max = 13), extend("x-kubernetes-validations" = cel::burn_rate("1.0")))]
    pub violation: String,

    /// Burn rate above which a release that is worse than the stable pods is halted, as a string: "0.5". At most
    /// violation.
    #[schemars(length(max = 13), extend("x-kubernetes-validations" = cel::burn_rate("0.5")))]
    pub warning: String,

    /// How sure a rollback must be, in percent, from 50 to below 100: at "99" at most 1 % of the releases that stay
    /// within the budget may be rolled back by chance.
    #[schemars(length(max = 9), extend("x-kubernetes-validations" = cel::confidence()))]
    pub confidence: String,

    /// Sequential weighs evidence that stays valid however often one looks. Threshold compares the window's burn rate
    /// directly, without statistics: simple, and wrong by chance far more often.
    pub rule: Rule,

    /// What happens when Prometheus brings no evidence in two looks in a row. Hold halts the rollout until it does.
    /// Proceed goes on and says so. It never rolls back.
    pub on_missing_evidence: OnMissingEvidence,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            window: "30s".to_owned(),
            looks: 3,
            warmup: None,
            violation: "1.0".to_owned(),
            warning: "0.5".to_owned(),
            confidence: "99".to_owned(),
            rule: Rule::Sequential,
            on_missing_evidence: OnMissingEvidence::Hold,
        }
    }
}

/// How the verdict is reached.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Evidence that stays valid however often one looks.
    Sequential,
    /// The window's burn rate compared directly.
    Threshold,
}

/// What two looks in a row without evidence lead to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissingEvidence {
    /// Halt until evidence is back.
    Hold,
    /// Go on, and say so.
    Proceed,
}
