//! What a policy's status says of all its rollouts together. Pure; made anew at each write, so that it cannot drift.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::status::ObjectiveStatus;
use crate::decide::state::Phase;

/// Verdicts, mildest first.
const VERDICTS: [&str; 3] = ["Proceed", "Halt", "Rollback"];

/// Each objective's numbers, by Deployment. They live in memory only and come anew with each look.
pub(super) type Numbers = BTreeMap<String, Vec<ObjectiveStatus>>;

/// Whether a rollout's entry is of one that is not over: rolled out, monitored, held or rolled back now.
pub(super) fn runs(entry: &Value) -> bool {
    let ended = [Phase::Succeeded, Phase::RolledBack].map(Phase::as_str);
    entry.get("phase").and_then(Value::as_str).is_some_and(|phase| !ended.contains(&phase))
}

/// Sets the number of running rollouts and their worst verdict.
pub(super) fn count(status: &mut Map<String, Value>, entries: &Map<String, Value>) {
    let running: Vec<&Value> = entries.values().filter(|entry| runs(entry)).collect();
    status.insert("runningRollouts".to_owned(), running.len().into());
    let rank = |entry: &&Value| {
        let verdict = entry.get("verdict").and_then(Value::as_str);
        VERDICTS.iter().position(|known| verdict == Some(*known))
    };
    match running.iter().filter_map(rank).max() {
        Some(worst) => status.insert("verdict".to_owned(), VERDICTS[worst].into()),
        None => status.remove("verdict"),
    };
}

/// For each objective the numbers of the rollout that burns most; without any, `known` with its numbers taken away. What
/// is known of budgets stays.
pub(super) fn worst(numbers: &Numbers, known: &[ObjectiveStatus]) -> Vec<ObjectiveStatus> {
    let lasting = |known: &ObjectiveStatus| ObjectiveStatus {
        name: known.name.clone(),
        window: known.window.clone(),
        budget_remaining: known.budget_remaining.clone(),
        budget_span: known.budget_span.clone(),
        ..ObjectiveStatus::default()
    };
    let mut worst: Vec<ObjectiveStatus> = known.iter().map(lasting).collect();
    for (deployment, objectives) in numbers {
        for objective in objectives {
            let candidate = ObjectiveStatus { deployment: Some(deployment.clone()), ..objective.clone() };
            match worst.iter_mut().find(|known| known.name == candidate.name) {
                Some(known) if known.deployment.is_none() || burn(&candidate) > burn(known) => {
                    *known = ObjectiveStatus {
                        window: candidate.window.clone().or(known.window.take()),
                        budget_remaining: known.budget_remaining.take(),
                        budget_span: known.budget_span.take(),
                        ..candidate
                    };
                }
                Some(_) => {}
                None => worst.push(candidate),
            }
        }
    }
    worst
}

/// These objectives, with what is known of what they burn.
pub(super) fn with_budgets(mut known: Vec<ObjectiveStatus>, budgets: &[ObjectiveStatus]) -> Vec<ObjectiveStatus> {
    let one = |budget: &ObjectiveStatus| {
        let burnt = known.iter_mut().find(|known| known.name == budget.name).map(std::mem::take);
        ObjectiveStatus {
            name: budget.name.clone(),
            window: budget.window.clone(),
            budget_remaining: budget.budget_remaining.clone(),
            budget_span: budget.budget_span.clone(),
            ..burnt.unwrap_or_default()
        }
    };
    budgets.iter().map(one).collect()
}

/// A burn rate that is not known is below all others.
fn burn(objective: &ObjectiveStatus) -> f64 {
    objective.burn_rate.as_ref().and_then(|burn| burn.parse().ok()).unwrap_or(-1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counted(entries: &Value) -> Value {
        let mut status = Map::new();
        status.insert("verdict".to_owned(), "Rollback".into());
        count(&mut status, entries.as_object().unwrap());
        Value::Object(status)
    }

    #[test]
    fn the_worst_verdict_is_that_of_a_running_rollout() {
        let entries = json!({
            "tin": {"phase": "Promoting", "verdict": "Proceed"},
            "straw": {"phase": "Halted", "verdict": "Halt"},
            "lion": {"phase": "RolledBack", "verdict": "Rollback"},
        });
        assert_eq!(counted(&entries), json!({"runningRollouts": 2, "verdict": "Halt"}));
    }

    #[test]
    fn without_a_running_rollout_there_is_no_verdict() {
        assert_eq!(
            counted(&json!({"lion": {"phase": "Succeeded", "verdict": "Proceed"}})),
            json!({"runningRollouts": 0})
        );
    }

    fn objective(name: &str, burn_rate: Option<&str>) -> ObjectiveStatus {
        ObjectiveStatus {
            name: name.to_owned(),
            burn_rate: burn_rate.map(str::to_owned),
            window: Some("28d".to_owned()),
            ..ObjectiveStatus::default()
        }
    }

    #[test]
    fn each_objective_shows_the_deployment_that_burns_most_of_it_by_number_and_not_by_letter() {
        let numbers = Numbers::from([
            ("lion".to_owned(), vec![objective("availability", Some("9.5")), objective("latency", Some("0.1"))]),
            ("straw".to_owned(), vec![objective("availability", Some("14.2")), objective("latency", None)]),
        ]);
        let worst = worst(&numbers, &[]);
        let shown: Vec<_> = worst.iter().map(|o| (o.name.as_str(), o.deployment.as_deref().unwrap())).collect();
        assert_eq!(shown, [("availability", "straw"), ("latency", "lion")]);
    }

    #[test]
    fn numbers_of_a_rollout_that_is_over_do_not_stay() {
        let before = ObjectiveStatus { deployment: Some("lion".to_owned()), ..objective("latency", Some("2.0")) };
        assert_eq!(worst(&Numbers::new(), &[before]), [objective("latency", None)]);
    }
}
