//! What a policy's status says of its gate. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::standing::{Deployment, Standing};
use crate::api::status::ObjectiveStatus;
use crate::decide::budget::{Gate, Reading, Remaining};
use crate::policy::{BudgetScope, Policy, humane};
use crate::record::status::{Change, SENTENCE_BYTES};

/// The condition that enough of the budget is left.
const GATE_OPEN: &str = "GateOpen";

/// How many Deployments are named with their reason, as the schema has it.
const NAMED: usize = 200;

/// How many Deployments an Event names.
const TOLD: usize = 3;

/// What is said of one policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    /// The policy's generation.
    pub(super) generation: i64,
    /// `Open`, `Closed` or `Unknown`.
    pub(super) gate: &'static str,
    reason: &'static str,
    /// A sentence with the numbers.
    pub(super) message: String,
    /// The least of all objectives and Deployments, as it is printed.
    pub(super) remaining: Option<String>,
    closed: BTreeMap<String, String>,
    unknown: BTreeMap<String, String>,
    objectives: Vec<ObjectiveStatus>,
    /// The same as numbers, of the objectives of which it is known.
    pub(super) ratios: Vec<(String, f64)>,
}

/// The least that is left, and what it was computed over.
type Least = Option<(Remaining, Option<Duration>)>;

impl Report {
    /// Of a policy in force.
    pub(super) fn of(policy: &Policy, standing: &Standing) -> Self {
        let deployments = standing.deployments();
        let named = |is: fn(&Gate) -> bool| -> BTreeMap<String, String> {
            let those = deployments.iter().filter(|(_, known)| is(&known.gate));
            those.map(|(name, known)| (name.clone(), short(known.gate.sentence()))).collect()
        };
        let closed = named(|gate| matches!(gate, Gate::Closed(_)));
        let unknown = named(|gate| matches!(gate, Gate::Unknown(_) | Gate::NotAsked));
        let (gate, reason, message) = if deployments.is_empty() {
            ("Unknown", "NoDeployment", "no Deployment is governed".to_owned())
        } else if !closed.is_empty() {
            let worst = worst(deployments, |gate| matches!(gate, Gate::Closed(_)));
            ("Closed", "BudgetSpent", in_words(policy, deployments.len(), worst, closed.len() - 1))
        } else if let Some(first) = unknown.first_key_value() {
            ("Unknown", "BudgetUnknown", say(policy, deployments.len(), first, unknown.len() - 1))
        } else {
            let worst = worst(deployments, |_| true);
            let truncated = worst.is_some_and(|(_, known)| matches!(least(&known.readings), Some((_, Some(_)))));
            let reason = if truncated { "BudgetWindowTruncated" } else { "BudgetLeft" };
            ("Open", reason, in_words(policy, deployments.len(), worst, 0))
        };
        let leasts: Vec<Least> = (0..policy.objectives.len())
            .map(|index| least(deployments.values().filter_map(|known| known.readings.get(index))))
            .collect();
        let of_objective = |(objective, least): (&crate::policy::Objective, &Least)| ObjectiveStatus {
            name: objective.name.clone(),
            window: Some(humane(objective.window)),
            budget_remaining: least.map(|(remaining, _)| remaining.to_string()),
            budget_span: least.and_then(|(_, span)| span).map(humane),
            ..ObjectiveStatus::default()
        };
        let remaining = leasts.iter().flatten().map(|(remaining, _)| *remaining).reduce(smaller);
        let ratios = policy.objectives.iter().zip(&leasts);
        Self {
            generation: policy.generation,
            gate,
            reason,
            message,
            remaining: remaining.map(|remaining| remaining.to_string()),
            objectives: policy.objectives.iter().zip(&leasts).map(of_objective).collect(),
            ratios: ratios
                .filter_map(|(objective, least)| Some((objective.name.clone(), (*least)?.0.ratio())))
                .collect(),
            closed: closed.into_iter().take(NAMED).collect(),
            unknown: unknown.into_iter().take(NAMED).collect(),
        }
    }

    /// Of a policy for which nothing can be asked: why, where its condition Ready does not say it.
    pub(super) fn not_asked(generation: i64, why: Option<&str>) -> Self {
        Self {
            generation,
            gate: "Unknown",
            reason: "BudgetUnknown",
            message: short(why.unwrap_or("the policy is not in force: see the condition Ready")),
            remaining: None,
            closed: BTreeMap::new(),
            unknown: BTreeMap::new(),
            objectives: Vec::new(),
            ratios: Vec::new(),
        }
    }

    /// Whether both print the same; the ratios behind may differ.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let words = |report: &Self| Self { ratios: Vec::new(), ..report.clone() };
        words(self) == words(other)
    }

    /// As a change of the status.
    pub(super) fn change(&self) -> Change {
        let status = match self.gate {
            "Open" => "True",
            "Closed" => "False",
            _ => "Unknown",
        };
        Change::new()
            .field("gate", &self.gate)
            .field("budgetRemaining", &self.remaining)
            .field("closed", &self.closed)
            .field("unknown", &self.unknown)
            .budgets(self.objectives.clone())
            .condition(Condition {
                type_: GATE_OPEN.to_owned(),
                status: status.to_owned(),
                reason: self.reason.to_owned(),
                message: self.message.clone(),
                last_transition_time: Time(Timestamp::now()),
                observed_generation: Some(self.generation),
            })
    }
}

fn smaller(one: Remaining, other: Remaining) -> Remaining {
    if other < one { other } else { one }
}

fn least<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> Least {
    let known = readings.into_iter().filter_map(|reading| match reading {
        Reading::Known { remaining, span } => Some((*remaining, *span)),
        Reading::Unknown(_) => None,
    });
    known.reduce(|one, other| if other.0 < one.0 { other } else { one })
}

/// Of the Deployments with such a gate the one with the least left.
fn worst(deployments: &BTreeMap<String, Deployment>, is: fn(&Gate) -> bool) -> Option<(&String, &Deployment)> {
    let ratio = |known: &Deployment| least(&known.readings).map_or(f64::INFINITY, |(remaining, _)| remaining.ratio());
    let such = deployments.iter().filter(|(_, known)| is(&known.gate));
    such.min_by(|(_, one), (_, other)| ratio(one).total_cmp(&ratio(other)))
}

fn in_words(policy: &Policy, governed: usize, worst: Option<(&String, &Deployment)>, others: usize) -> String {
    worst.map_or_else(String::new, |(name, known)| {
        say(policy, governed, (name, &known.gate.sentence().to_owned()), others)
    })
}

/// A sentence about one of so many Deployments, named where another could be meant, and of how many others the same could
/// be said.
fn say(policy: &Policy, governed: usize, (name, sentence): (&String, &String), others: usize) -> String {
    let sentence = short(sentence);
    match (policy.gate.scope, governed, others) {
        (BudgetScope::Shared, ..) | (_, 1, _) => sentence,
        (_, _, 0) => format!("{name}: {sentence}"),
        (_, _, 1) => format!("{name}: {sentence}; and 1 Deployment more"),
        (_, _, others) => format!("{name}: {sentence}; and {others} Deployments more"),
    }
}

/// Gates that changed, for an Event; `None` without any.
pub(super) fn gates_in_words(policy: &Policy, gates: &[(String, Gate)]) -> Option<String> {
    let (_, first) = gates.first()?;
    if policy.gate.scope == BudgetScope::Shared {
        return Some(first.sentence().to_owned());
    }
    let told = gates.iter().take(TOLD).map(|(name, gate)| format!("{name}: {}", gate.sentence()));
    let mut told = told.collect::<Vec<_>>().join("; ");
    if let Some(more) = gates.len().checked_sub(TOLD).filter(|more| *more > 0) {
        told = format!("{told}; and {more} more");
    }
    Some(told)
}

/// No longer than what status keeps of a sentence.
fn short(sentence: &str) -> String {
    sentence[..sentence.floor_char_boundary(SENTENCE_BYTES)].to_owned()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
