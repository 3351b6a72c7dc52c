//! Whether the service is well again after a rollback: looks on the restored pods.

use super::baseline::Baseline;
use super::objective::{exceeds, requests_for_proof};
use super::process::{Allowed, Process};
use super::state::Outcome;
use crate::measure::look::{Missing, Tally};
use crate::policy::{BurnRate, Detection, ErrorBudget};

/// What the restored pods served, objective by objective, since the last outcome that was not good.
///
/// It is fed once every restored pod is Ready and has a fresh sample, and judged after at least one window. If the pods
/// violate the budget then, it starts anew with the next window: what they did while the trouble lasted must not keep
/// them from being well again.
#[derive(Debug, Clone)]
pub struct Recovery {
    objectives: Vec<Restored>,
    violation: BurnRate,
    /// Looks with evidence that make a window.
    looks: u64,
    /// From here on a process says that the pods violate the budget: `ln(1 / alpha)`.
    conviction: f64,
    /// Looks after which a process says so if every request fails.
    enough_looks: u64,
}

/// One objective of the restored pods.
#[derive(Debug, Clone)]
struct Restored {
    budget: ErrorBudget,
    baseline: Baseline,
    allowed: Allowed,
    process: Process,
    total: Tally,
    /// Looks with evidence.
    looks: u64,
}

/// What one objective says of the restored pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Violating,
    /// No window yet, or too few looks to tell a violation that they do show from chance.
    Open,
    Unproven,
    Proven,
}

impl Recovery {
    /// Nothing seen yet. `baselines` are those of the rollout that was rolled back; an objective without one has none
    /// that is known.
    #[must_use]
    pub fn new(detection: &Detection, budgets: &[ErrorBudget], baselines: &[Baseline]) -> Self {
        let restored = |(i, &budget): (usize, &ErrorBudget)| Restored {
            budget,
            baseline: baselines.get(i).cloned().unwrap_or_else(Baseline::unknown),
            allowed: Allowed::new(detection.violation.factor() * budget.ratio()),
            process: Process::new(),
            total: Tally::ZERO,
            looks: 0,
        };
        let conviction = -detection.confidence.alpha().ln();
        Self {
            objectives: budgets.iter().enumerate().map(restored).collect(),
            violation: detection.violation,
            looks: u64::from(detection.looks.max(1)),
            conviction,
            // Half of the stake is on the first look, and a look multiplies it by 20 at most; one more for the
            // alternatives that gain less.
            enough_looks: ((conviction + std::f64::consts::LN_2) / 20_f64.ln()).ceil() as u64 + 1,
        }
    }

    /// The next look on the restored pods: what they served, or why that is not known, objective by objective in the
    /// order of the policy. Looks without evidence do not count.
    ///
    /// `Recovered` when the evidence that they violate an objective stayed below `1 / alpha` for a window;
    /// `RecoveredUnproven` when there were too few requests (below 3 / budget) to make much of that. `None`: look on.
    pub fn observe(&mut self, evidence: &[Result<Tally, Missing>]) -> Option<Outcome> {
        debug_assert_eq!(evidence.len(), self.objectives.len(), "one piece of evidence an objective");
        for (objective, evidence) in self.objectives.iter_mut().zip(evidence) {
            if let Ok(seen) = evidence {
                objective.see(*seen);
            }
        }
        match self.objectives.iter().map(|objective| self.state(objective)).min()? {
            State::Open => None,
            State::Unproven => Some(Outcome::RecoveredUnproven),
            State::Proven => Some(Outcome::Recovered),
            State::Violating => {
                self.objectives.iter_mut().for_each(Restored::restart);
                None
            }
        }
    }

    fn state(&self, objective: &Restored) -> State {
        if objective.looks < self.looks {
            State::Open
        } else if objective.process.log_e() >= self.conviction {
            State::Violating
        } else if objective.process.looks() < self.enough_looks
            && exceeds(objective.total, self.violation, objective.budget)
        {
            State::Open
        } else if objective.total.requests() < requests_for_proof(objective.budget) {
            State::Unproven
        } else {
            State::Proven
        }
    }
}

impl Restored {
    fn see(&mut self, seen: Tally) {
        self.looks += 1;
        self.total += seen;
        self.process.one_sample(seen, &self.allowed, self.baseline.dispersion());
    }

    fn restart(&mut self) {
        self.process = Process::new();
        self.total = Tally::ZERO;
        self.looks = 0;
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
