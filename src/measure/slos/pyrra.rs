//! SLOs of Pyrra: rules with the label `slo`, as Pyrra generates them, its generic rules among them.

use std::time::Duration;

use super::sloth::not_understood;
use super::{Rule, Unread, number, only, percent, promise};
use crate::policy::{BudgetSource, Indicator, Slo, SloName};

const OBJECTIVE: &str = "pyrra_objective";
const WINDOW: &str = "pyrra_window";
const AVAILABILITY: &str = "pyrra_availability";
/// What the names of rules have that record the share of bad requests over some time.
const BURN_RATE: &str = ":burnrate";

pub(super) fn slo(rules: &[Rule], name: &SloName, pyrra: &str) -> Result<Slo, Unread> {
    let own = || rules.iter().filter(|rule| rule.label("slo") == pyrra);
    let mut indicators: Vec<Indicator> = Vec::new();
    for rule in own().filter(|rule| rule.record.contains(BURN_RATE)) {
        let found = promise::indicator(&rule.expression).map_err(|why| not_understood(name, &rule.record, &why))?;
        if !indicators.contains(&found) {
            indicators.push(found);
        }
    }
    let indicator = match indicators.pop() {
        Some(indicator) if indicators.is_empty() => indicator,
        None => {
            return Err(Unread::NotFound(format!(
                "Prometheus has no rules of {name}; load what Pyrra generates, or write name as their label slo is"
            )));
        }
        Some(_) => {
            return Err(Unread::Ambiguous(format!(
                "there are rules for {name} that are of different counters, as of several SLOs of one name in several \
                 namespaces; give them names of their own"
            )));
        }
    };
    let expression = |record: &str| {
        only(own().filter(|rule| rule.record == record).map(|rule| rule.expression.as_str()), name, record)
    };
    let value = |record: &str| {
        let expression = expression(record)?.ok_or_else(|| {
            Unread::NotFound(format!(
                "{name} has no rule {record}; start Pyrra with --generic-rules, so that it records it"
            ))
        })?;
        number(expression).ok_or_else(|| {
            Unread::NotUnderstood(format!("{record} of {name} is {expression:?}, and a number was expected"))
        })
    };
    let (target, seconds) = (value(OBJECTIVE)?, value(WINDOW)?);
    // What Pyrra records of a histogram is what was fast, and no budget is written in terms of that: it is computed instead.
    let recorded = match indicator {
        Indicator::Ratio { .. } => expression(AVAILABILITY)?.and_then(promise::recorded),
        _ => None,
    };
    let budget_from =
        recorded.map(|(errors, total)| BudgetSource::Increase { errors: errors.selector(), total: total.selector() });
    let window = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(Slo { target: percent(target), window, indicator, budget_from })
}
