//! What the objectives of a policy read: their selectors, parsed for the namespace of the policy.

use std::fmt::Display;
use std::sync::Arc;

use super::budget::Source;
use super::histogram::Histogram;
use super::promql::{Recorded, Selector};
use super::query::{InvalidQuery, Query};
use super::subject::Indicator;
use crate::config::PodLabels;
use crate::policy::{self, BudgetScope, BudgetSource, EvidenceFrom, HistogramType, Objective, Policy};

/// What one objective reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// The counters that looks are made of.
    pub indicator: Indicator,
    /// Where its budget is found.
    pub budget: Source,
}

/// A field of an objective that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// The field's path below the objective.
    pub field: &'static str,
    /// What is wrong with it and what to write instead.
    pub problem: String,
}

impl Reads {
    /// What this objective of this policy reads, from an endpoint with these labels.
    ///
    /// # Errors
    /// All of its fields that cannot be read; never empty.
    pub fn of(objective: &Objective, policy: &Policy, labels: &PodLabels) -> Result<Self, Vec<InvalidField>> {
        let namespace = &policy.key.namespace;
        let mut invalid = Vec::new();
        let mut note =
            |field, problem: &dyn Display| invalid.push(InvalidField { field, problem: problem.to_string() });
        let parse = |text: &str| match policy.evidence {
            EvidenceFrom::Prometheus => Selector::parse(text, namespace, labels),
            EvidenceFrom::Pods(_) => Selector::parse(text, namespace, labels)?.exposed(),
        };
        let indicator = match &objective.indicator {
            policy::Indicator::Ratio { errors, total } => {
                let mut counter = |field, text: &str| parse(text).map_err(|error| note(field, &error)).ok();
                let both = (counter("indicator.ratio.errors", errors), counter("indicator.ratio.total", total));
                both.0.zip(both.1).map(|(errors, total)| Indicator::Ratio { errors, total })
            }
            policy::Indicator::Latency(latency) => Histogram::parse(latency, namespace, labels)
                .and_then(|histogram| match policy.evidence {
                    EvidenceFrom::Prometheus => Ok(histogram),
                    EvidenceFrom::Pods(_) => histogram.exposed(),
                })
                .map_err(|error| note("indicator.latency.histogram", &error))
                .ok()
                .map(match latency.kind {
                    HistogramType::Classic => Indicator::Classic,
                    HistogramType::Native => Indicator::Native,
                }),
            policy::Indicator::Query { errors, total, counts } => {
                let query = Query::parse([errors, total], *counts, namespace, &labels.namespace, &policy.detection);
                let wrong = |errors: Vec<InvalidQuery>| errors.iter().for_each(|error| note(error.field(), error));
                query.map_err(wrong).ok().map(|query| Indicator::Query(Arc::new(query)))
            }
        };
        let mut recorded =
            |field, text: &str| Recorded::parse(text, namespace, labels).map_err(|error| note(field, &error)).ok();
        let from = objective.budget_from.as_ref().map(|from| match from {
            BudgetSource::Remaining(selector) => recorded("budgetFrom.remaining", selector).map(Source::Remaining),
            BudgetSource::Increase { errors, total } => {
                let (errors, total) =
                    (recorded("budgetFrom.increase.errors", errors), recorded("budgetFrom.increase.total", total));
                errors.zip(total).map(|(errors, total)| Source::Increase { errors, total })
            }
        });
        let Some(indicator) = indicator else { return Err(invalid) };
        let budget = match (from, policy.gate.scope) {
            (Some(from), _) => from,
            (None, BudgetScope::PerDeployment) => Some(Source::Each(indicator.clone())),
            (None, BudgetScope::Shared) => Some(Source::Together(indicator.clone())),
        };
        budget.map(|budget| Self { indicator, budget }).ok_or(invalid)
    }
}
