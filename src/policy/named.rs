//! Objectives that another tool keeps: the policy says which, and what they are is read from that tool's rules.

use std::fmt;
use std::time::Duration;

use super::parse::{self, PolicyError};
use super::{BudgetSource, ErrorBudget, EvidenceFrom, HistogramType, Indicator, Objective, Policy};

/// Which SLO, in the words of the tool that keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SloName {
    /// One of Sloth's.
    Sloth {
        /// Its service.
        service: String,
        /// Its name.
        slo: String,
    },
    /// One of Pyrra's.
    Pyrra {
        /// Its name.
        name: String,
    },
}

impl SloName {
    /// Who keeps it.
    #[must_use]
    pub const fn tool(&self) -> &'static str {
        match self {
            Self::Sloth { .. } => "Sloth",
            Self::Pyrra { .. } => "Pyrra",
        }
    }

    /// The field of the indicator that names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Sloth { .. } => "indicator.sloth",
            Self::Pyrra { .. } => "indicator.pyrra",
        }
    }

    /// The fields that name it, below the indicator, and what they say.
    pub(super) fn parts(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Sloth { service, slo } => vec![("sloth.service", service), ("sloth.slo", slo)],
            Self::Pyrra { name } => vec![("pyrra.name", name)],
        }
    }
}

impl fmt::Display for SloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sloth { service, slo } => write!(f, "Sloth's SLO {slo:?} of {service:?}"),
            Self::Pyrra { name } => write!(f, "Pyrra's SLO {name:?}"),
        }
    }
}

/// An objective that another tool keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its place among all objectives, from 0.
    pub place: usize,
    /// Its name in the policy.
    pub name: String,
    /// Which SLO it is.
    pub slo: SloName,
    /// What each pod serves so long after its first request is left out, where the policy says it.
    pub warmup: Option<Duration>,
}

/// What a tool says of an SLO: nothing that could not have been written in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slo {
    /// The target in percent: "99.9".
    pub target: String,
    /// The time over which the budget is granted.
    pub window: Duration,
    /// How good and bad requests are told apart.
    pub indicator: Indicator,
    /// Where what is left of the budget is recorded; `None` when it is to be computed from the indicator.
    pub budget_from: Option<BudgetSource>,
}

impl Policy {
    /// The policy with what was found of the objectives that it names, which `found` has in their order.
    ///
    /// # Errors
    /// What the objectives do not go with in this policy, or have that no policy may; never empty.
    pub fn with_slos(&self, found: &[Slo]) -> Result<Self, Vec<PolicyError>> {
        let mut errors = parse::Errors::default();
        let mut policy = Self { named: Vec::new(), ..self.clone() };
        for (named, slo) in self.named.iter().zip(found) {
            let (field, of) = (format!("spec.objectives[{}].{}", named.place, named.slo.field()), &named.slo);
            let budget = errors.keep(field.as_str(), ErrorBudget::of_target(&slo.target));
            let bounds = Duration::from_secs(3600)..=Duration::from_secs(90 * parse::DAY);
            if !bounds.contains(&slo.window) {
                errors.add(
                    field.as_str(),
                    format!("the window of {of} is not within 1h and 90d; write another indicator"),
                );
            }
            if let (Indicator::Latency(latency), EvidenceFrom::Pods(_)) = (&slo.indicator, &self.evidence)
                && latency.kind == HistogramType::Native
            {
                let words =
                    "is of a native histogram, which is not in the text that pods expose; write evidence: Prometheus";
                errors.add(field.as_str(), format!("{of} {words}"));
            }
            let Some(budget) = budget else { continue };
            errors.0.extend(parse::unreachable(&named.name, budget, &self.detection));
            let objective = Objective {
                name: named.name.clone(),
                target: slo.target.clone(),
                budget,
                window: slo.window,
                warmup: named.warmup.unwrap_or_else(|| slo.indicator.usual_warmup()),
                indicator: slo.indicator.clone(),
                budget_from: slo.budget_from.clone(),
            };
            policy.objectives.insert(named.place.min(policy.objectives.len()), objective);
        }
        let (monitor, canary, detection) = (Some(&self.monitor), self.canary.as_ref(), Some(&self.detection));
        parse::latency::warmup_fits(&policy.objectives, monitor, canary, detection, &mut errors);
        if errors.0.is_empty() { Ok(policy) } else { Err(errors.0) }
    }
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
