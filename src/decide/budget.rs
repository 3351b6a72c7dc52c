//! What is left of an error budget, and whether that is enough for a rollout to start: the gate.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use crate::policy::{ErrorBudget, Objective, SpentShare, humane};

/// What is left of an error budget, as a ratio: 1 is all of it, 0 nothing, below 0 it is overspent. Finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Remaining(f64);

impl Remaining {
    /// What so many bad requests of so many leave: `1 - errors / (budget * total)`. More errors than requests, which
    /// extrapolated counters can show, count as all of them. `None` where that cannot be said: of counts that are not
    /// finite or below 0, and when nothing was served.
    #[must_use]
    pub fn of_counts(errors: f64, total: f64, budget: ErrorBudget) -> Option<Self> {
        let countable = errors.is_finite() && total.is_finite() && errors >= 0.0 && total > 0.0;
        countable.then(|| Self(1.0 - (errors / total).min(1.0) / budget.ratio()))
    }

    /// A ratio that somebody else computed; `None` when it is not finite.
    #[must_use]
    pub fn of_ratio(ratio: f64) -> Option<Self> {
        ratio.is_finite().then_some(Self(ratio))
    }

    /// As a ratio: 0.632 when 63.2 % are left.
    #[must_use]
    pub const fn ratio(self) -> f64 {
        self.0
    }

    /// In tenths of a percent, rounded down: it never shows more than there is.
    fn permille(self) -> f64 {
        // What a decimal fraction lacks in binary must not cost a tenth of a percent.
        (self.0 * 1000.0 + 1e-6).floor()
    }
}

/// As status prints it: "63.2%".
impl Display for Remaining {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}%", self.permille() / 10.0)
    }
}

/// What is known of one objective's budget.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// It was computed or read.
    Known {
        /// What is left.
        remaining: Remaining,
        /// What it was computed over, where that is less than the objective's window.
        span: Option<Duration>,
    },
    /// It cannot be told, and why.
    Unknown(String),
}

/// Whether rollouts of a Deployment may start, each with the numbers in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Enough of every objective's budget is left.
    Open(String),
    /// Too little of one is left, whatever is known of the others.
    Closed(String),
    /// What is left of one cannot be told, and none that can be told closes the gate.
    Unknown(String),
    /// Nobody has asked since the operator began to lead.
    NotAsked,
}

impl Gate {
    /// As status prints it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open(_) => "Open",
            Self::Closed(_) => "Closed",
            Self::Unknown(_) | Self::NotAsked => "Unknown",
        }
    }

    /// The sentence.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            Self::Open(sentence) | Self::Closed(sentence) | Self::Unknown(sentence) => sentence,
            Self::NotAsked => "the error budget has not been asked for yet",
        }
    }
}

/// The gate of a Deployment, from what is known of each objective's budget. The objective with the least left counts.
#[must_use]
pub fn gate<'a>(threshold: SpentShare, readings: impl IntoIterator<Item = (&'a Objective, &'a Reading)>) -> Gate {
    let mut least: Option<(&Objective, Remaining, Option<Duration>)> = None;
    let mut unknown = None;
    for (objective, reading) in readings {
        match reading {
            Reading::Known { remaining, span } => {
                if least.is_none_or(|(_, known, _)| *remaining < known) {
                    least = Some((objective, *remaining, *span));
                }
            }
            Reading::Unknown(why) => _ = unknown.get_or_insert((objective, why)),
        }
    }
    let needed = threshold.remaining();
    match (least, unknown) {
        (Some((objective, remaining, span)), _) if remaining.ratio() < needed => {
            Gate::Closed(sentence(objective, remaining, span, needed))
        }
        (_, Some((objective, why))) => Gate::Unknown(format!("{} budget unknown: {why}", objective.name)),
        (Some((objective, remaining, span)), None) => Gate::Open(sentence(objective, remaining, span, needed)),
        (None, None) => Gate::NotAsked,
    }
}

/// "availability budget 63.2 % left, 20.0 % needed".
fn sentence(objective: &Objective, remaining: Remaining, span: Option<Duration>, needed: f64) -> String {
    let (left, name) = (remaining.permille() / 10.0, &objective.name);
    // Rounded up, so that it never reads as enough when it is not.
    let needed = (needed * 1000.0 - 1e-6).ceil() / 10.0;
    let left = if left < 0.0 { format!("overspent by {:.1} %", -left) } else { format!("{left:.1} % left") };
    let needed = if needed < 0.0 {
        format!("may be overspent by {:.1} %", -needed)
    } else {
        // A plus turns the zero that rounding up made negative.
        format!("{:.1} % needed", needed + 0.0)
    };
    let over = span.map_or_else(String::new, |span| format!(", {}", span_of(span, objective)));
    format!("{name} budget {left}, {needed}{over}")
}

/// "computed over at most 3d4h of 28d".
#[must_use]
pub fn span_of(span: Duration, objective: &Objective) -> String {
    format!("computed over at most {} of {}", humane(span), humane(objective.window))
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
