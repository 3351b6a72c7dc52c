//! Values for tests.
use std::time::Duration;

use crate::measure::look::{Look, Tally};
use crate::policy::{BurnRate, Confidence, Detection, ErrorBudget, OnMissingEvidence, Rule};

/// The defaults of a policy.
pub(crate) fn detection() -> Detection {
    Detection {
        window: Duration::from_secs(30),
        looks: 3,
        violation: burn_rate("1.0"),
        warning: burn_rate("0.5"),
        confidence: Confidence::parse_percent("99").expect("a percentage"),
        rule: Rule::Sequential,
        on_missing_evidence: OnMissingEvidence::Hold,
    }
}

pub(crate) fn burn_rate(text: &str) -> BurnRate {
    BurnRate::parse(text).expect("a burn rate")
}

pub(crate) fn budget(target: &str) -> ErrorBudget {
    ErrorBudget::of_target(target).expect("a target")
}

/// A look: canary errors and requests, stable errors and requests.
pub(crate) fn look(canary: (f64, f64), stable: (f64, f64)) -> Look {
    Look { canary: Tally::new(canary.0, canary.1), stable: Tally::new(stable.0, stable.1) }
}
