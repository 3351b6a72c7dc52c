//! What is known of one policy's budget, and the gates that follow from it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::policies::InForce;
use crate::decide::budget::{Gate, Reading, Remaining, gate};
use crate::measure::budget::{Found, Source, Spent};
use crate::measure::scrape::Failure;
use crate::policy::Objective;

/// How long what was found last counts when nothing newer can be had.
const KEPT: Duration = Duration::from_secs(300);

/// What one round of questions brought.
#[derive(Debug)]
pub(super) struct Asked {
    /// For each objective; empty when the policy governs nothing.
    pub(super) found: Vec<Result<Found, Failure>>,
    /// When it was begun.
    pub(super) began: Instant,
    /// When the answers were there.
    pub(super) answered: Instant,
}

/// What is known of a policy's budget.
#[derive(Debug, Default)]
pub(super) struct Standing {
    objectives: Vec<Memory>,
    deployments: BTreeMap<String, Deployment>,
    /// The Deployments of which it was told that their gate is closed, and not yet that it is open again.
    told_closed: BTreeSet<String>,
}

/// What was found last for one objective.
#[derive(Debug)]
struct Memory {
    of: Of,
    found: Found,
    at: Instant,
}

/// What an objective's budget depends on: with another of these, what was found before says nothing.
#[derive(Debug, Clone, PartialEq)]
struct Of {
    name: String,
    endpoint: String,
    window: Duration,
    source: Source,
}

/// One Deployment.
#[derive(Debug)]
pub(super) struct Deployment {
    /// Its gate.
    pub(super) gate: Gate,
    /// For each objective what is known.
    pub(super) readings: Vec<Reading>,
}

/// How gates changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// They closed, and that was not told yet.
    pub(super) closed: Vec<(String, Gate)>,
    /// They are open again.
    pub(super) opened: Vec<(String, Gate)>,
    /// Whatever decided by the earlier gate has to decide again.
    pub(super) other: Vec<String>,
}

impl Standing {
    /// Nothing is known but that these were told to be closed.
    pub(super) fn told_closed(deployments: impl IntoIterator<Item = String>) -> Self {
        Self { told_closed: deployments.into_iter().collect(), ..Self::default() }
    }

    /// The gate of a Deployment; `None` when it was not asked for.
    pub(super) fn gate(&self, deployment: &str) -> Option<&Gate> {
        self.deployments.get(deployment).map(|known| &known.gate)
    }

    /// All Deployments that were asked for.
    pub(super) const fn deployments(&self) -> &BTreeMap<String, Deployment> {
        &self.deployments
    }

    /// Takes in what was found for the Deployments that the policy governs.
    pub(super) fn take_in(&mut self, policy: &InForce, governed: BTreeSet<String>, asked: &Asked) -> Changes {
        let of = |(objective, source): (&Objective, &Source)| Of {
            name: objective.name.clone(),
            endpoint: policy.policy.prometheus.clone(),
            window: objective.window,
            source: source.clone(),
        };
        let wanted: Vec<Of> = policy.policy.objectives.iter().zip(&policy.budgets).map(of).collect();
        self.objectives.retain(|memory| wanted.contains(&memory.of));
        for (of, found) in wanted.iter().zip(&asked.found) {
            if let Ok(found) = found {
                self.objectives.retain(|memory| memory.of != *of);
                self.objectives.push(Memory { of: of.clone(), found: found.clone(), at: asked.answered });
            }
        }
        let readings = |deployment: &str| -> Vec<Reading> {
            let each = policy.policy.objectives.iter().zip(wanted.iter().zip(&asked.found));
            each.map(|(objective, (of, found))| {
                let memory = self.objectives.iter().find(|memory| memory.of == *of);
                let memory = memory.filter(|memory| asked.answered.duration_since(memory.at) <= KEPT);
                match (memory.and_then(|memory| memory.found.of(deployment)), found) {
                    (Some(spent), _) => reading(spent, objective),
                    (None, Err(failure)) => Reading::Unknown(failure.to_string()),
                    (None, Ok(_)) => Reading::Unknown("Prometheus was not asked for it".to_owned()),
                }
            })
            .collect()
        };
        let now: BTreeMap<String, Deployment> = governed
            .into_iter()
            .map(|name| {
                let readings = readings(&name);
                let gate = gate(policy.policy.gate.threshold, policy.policy.objectives.iter().zip(&readings));
                (name, Deployment { gate, readings })
            })
            .collect();
        let changes = self.changes(&now);
        self.deployments = now;
        changes
    }

    fn changes(&mut self, now: &BTreeMap<String, Deployment>) -> Changes {
        let mut changes = Changes::default();
        self.told_closed.retain(|name| now.contains_key(name));
        for (name, Deployment { gate, .. }) in now {
            let before = self.gate(name);
            // What a held rollout says of itself has the numbers.
            let is_other = before.is_none_or(|before| match (before, gate) {
                (Gate::Open(_), Gate::Open(_)) => false,
                (before, gate) => before != gate,
            });
            if is_other {
                changes.other.push(name.clone());
            }
            match gate {
                Gate::Closed(_) if self.told_closed.insert(name.clone()) => {
                    changes.closed.push((name.clone(), gate.clone()));
                }
                Gate::Open(_) if self.told_closed.remove(name) => changes.opened.push((name.clone(), gate.clone())),
                _ => {}
            }
        }
        changes
    }
}

/// What was found, as a share of the objective's budget.
pub(crate) fn reading(spent: &Spent, objective: &Objective) -> Reading {
    let (remaining, span) = match spent {
        Spent::Counts { errors, total, span } => (Remaining::of_counts(*errors, *total, objective.budget), *span),
        Spent::Left(ratio) => (Remaining::of_ratio(*ratio), None),
        Spent::Nothing(why) => return Reading::Unknown(why.clone()),
    };
    match remaining {
        Some(remaining) => Reading::Known { remaining, span },
        None => Reading::Unknown("what Prometheus counted is no number of requests".to_owned()),
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
pub(super) mod tests;
