//! All objectives of one rollout: the worst verdict counts.

use super::baseline::Baseline;
pub use super::objective::MISSING_LOOKS;
use super::objective::{Finding, Objective, Stretch, without_evidence};
pub use super::verdict::{Reason, Verdict};
use crate::measure::look::{Evidence, Missing};
use crate::policy::{Detection, ErrorBudget, OnMissingEvidence};

/// Whether canary and stable pods were calm lately: what a standstill by `SharedCause` or `CauseUnclear` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calm {
    /// Not known: since the start or the last resume there are no two windows of looks, or the last look of an objective
    /// brought no evidence and the policy holds then.
    Unknown,
    /// Canary or stable pods burnt more than `violation` in one of the last two windows.
    No,
    /// They did not, but the two windows of an objective hold too few requests (below 3 / budget) to make much of it.
    Unproven,
    /// They did not, and both windows hold enough requests to say so.
    Proven,
}

/// How much was seen since the start or the last resume, of the objective that saw least.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// Requests that the canary served.
    pub requests: f64,
    /// Looks in which the canary served requests.
    pub canary_looks: u32,
    /// Looks in which canary and stable pods did, so that they could be compared.
    pub paired_looks: u32,
    /// Looks that brought an answer, with requests or without.
    pub looks: u32,
    /// Requests that the stable pods served.
    pub stable_requests: f64,
}

impl Seen {
    /// Of two objectives, the less of each.
    fn least(self, other: Self) -> Self {
        Self {
            requests: self.requests.min(other.requests),
            canary_looks: self.canary_looks.min(other.canary_looks),
            paired_looks: self.paired_looks.min(other.paired_looks),
            looks: self.looks.min(other.looks),
            stable_requests: self.stable_requests.min(other.stable_requests),
        }
    }
}

/// What all objectives together come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The worst verdict.
    pub verdict: Verdict,
    /// Why. Of several reasons for the same verdict the one that stands last in [`Reason`].
    pub reason: Reason,
    /// Which objective decided: index into the policy's objectives and into `findings`. Of several with the same verdict
    /// and reason the one with the most evidence, then the first.
    pub objective: usize,
    /// What every objective comes to by itself.
    pub findings: Vec<Finding>,
}

impl Assessment {
    /// What the deciding objective came to.
    #[must_use]
    pub fn deciding(&self) -> &Finding {
        &self.findings[self.objective]
    }
}

/// The evidence on one rollout.
#[derive(Debug, Clone)]
pub struct Analysis {
    objectives: Vec<Objective>,
    on_missing_evidence: OnMissingEvidence,
    /// Some canary pods are Ready and have not been read lately, so nobody knows what they serve.
    silent: bool,
}

impl Analysis {
    /// Nothing seen yet. An objective without a baseline has none that is known.
    ///
    /// # Panics
    /// Without an objective: a validated policy has at least one.
    #[must_use]
    pub fn new(detection: &Detection, budgets: &[ErrorBudget], baselines: Vec<Baseline>) -> Self {
        assert!(!budgets.is_empty(), "a policy has at least one objective");
        let baselines = baselines.into_iter().chain(std::iter::repeat_with(Baseline::unknown));
        let objective = |(&budget, baseline)| Objective::new(detection, budget, baseline, budgets.len());
        let objectives = budgets.iter().zip(baselines).map(objective).collect();
        Self { objectives, on_missing_evidence: detection.on_missing_evidence, silent: false }
    }

    /// Whether some canary pods could not be read in [`MISSING_LOOKS`] looks in a row or more, while others could. What the
    /// others show counts as ever, but does not speak for all.
    pub fn note_silence(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// The next look: the evidence on every objective, in the order of the policy.
    pub fn observe(&mut self, evidence: &[Evidence]) {
        debug_assert_eq!(evidence.len(), self.objectives.len(), "one piece of evidence an objective");
        for (objective, evidence) in self.objectives.iter_mut().zip(evidence) {
            objective.observe(evidence);
        }
    }

    /// Forgets all looks, as if the rollout began now. What was seen before the rollout stays.
    pub fn restart(&mut self) {
        for objective in &mut self.objectives {
            objective.restart();
        }
    }

    /// What the looks so far come to.
    #[must_use]
    pub fn assess(&self) -> Assessment {
        let finding = |objective: &Objective| {
            let mut finding = objective.finding();
            if self.silent && finding.reason == Reason::NotConvicted {
                (finding.verdict, finding.reason) = without_evidence(Missing::Silent, self.on_missing_evidence);
            }
            finding
        };
        let findings: Vec<Finding> = self.objectives.iter().map(finding).collect();
        let weight = |finding: &Finding| finding.numbers.log_evidence.unwrap_or(f64::NEG_INFINITY);
        let mut worst = 0;
        for (i, finding) in findings.iter().enumerate().skip(1) {
            let known = &findings[worst];
            let order = (finding.verdict, finding.reason)
                .cmp(&(known.verdict, known.reason))
                .then(weight(finding).total_cmp(&weight(known)));
            if order.is_gt() {
                worst = i;
            }
        }
        let Finding { verdict, reason, .. } = findings[worst];
        Assessment { verdict, reason, objective: worst, findings }
    }

    /// Whether the rollout was calm lately, all objectives together.
    #[must_use]
    pub fn calm(&self) -> Calm {
        let is_waited_for = self.silent && self.on_missing_evidence == OnMissingEvidence::Hold;
        if is_waited_for || self.objectives.iter().any(Objective::waits_for_evidence) {
            return Calm::Unknown;
        }
        let of_one = |objective: &Objective| match objective.stretch() {
            Stretch::TooShort => Calm::Unknown,
            Stretch::Burning => Calm::No,
            Stretch::Calm { proven: false } => Calm::Unproven,
            Stretch::Calm { proven: true } => Calm::Proven,
        };
        let rank = |calm: &Calm| match calm {
            Calm::No => 0,
            Calm::Unknown => 1,
            Calm::Unproven => 2,
            Calm::Proven => 3,
        };
        self.objectives.iter().map(of_one).min_by_key(rank).unwrap_or(Calm::Unknown)
    }

    /// How much was seen since the start or the last resume.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.objectives.iter().map(Objective::seen).reduce(Seen::least).unwrap_or_default()
    }

    /// Whether an objective got no evidence at all since the start or the last resume.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        !self.objectives.iter().all(Objective::has_seen)
    }
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;
