//! SLOs of Sloth: rules with the labels `sloth_service` and `sloth_slo`, as Sloth generates them.

use std::time::Duration;

use promql_parser::util::escape_string;

use super::{Rule, Unread, number, only, percent, promise};
use crate::policy::{BudgetSource, Slo, SloName};

const OBJECTIVE: &str = "slo:objective:ratio";
const PERIOD: &str = "slo:time_period:days";
/// The share of bad requests, over the shortest time that Sloth looks at.
const ERRORS: &str = "slo:sli_error:ratio_rate5m";
const REMAINING: &str = "slo:period_error_budget_remaining:ratio";

pub(super) fn slo(rules: &[Rule], name: &SloName, service: &str, slo: &str) -> Result<Slo, Unread> {
    let own = |rule: &&Rule| rule.label("sloth_service") == service && rule.label("sloth_slo") == slo;
    if !rules.iter().any(|rule| own(&rule)) {
        return Err(Unread::NotFound(format!(
            "Prometheus has no rules of {name}; load what Sloth generates, or write service and slo as their labels \
             sloth_service and sloth_slo are"
        )));
    }
    let expression = |record: &str| {
        let expressions = rules.iter().filter(own).filter(|rule| rule.record == record);
        only(expressions.map(|rule| rule.expression.as_str()), name, record)?.ok_or_else(|| {
            Unread::NotFound(format!(
                "{name} has no rule {record}; have Sloth generate it, or write the objective with another indicator"
            ))
        })
    };
    let value = |record: &str| {
        let expression = expression(record)?;
        number(expression).ok_or_else(|| {
            Unread::NotUnderstood(format!(
                "{record} of {name} is {expression:?}, and vector() of a number was expected"
            ))
        })
    };
    let days = value(PERIOD)?;
    let indicator = promise::indicator(expression(ERRORS)?).map_err(|why| not_understood(name, ERRORS, &why))?;
    let (service, slo) = (escape_string(service), escape_string(slo));
    Ok(Slo {
        target: percent(value(OBJECTIVE)?),
        window: Duration::try_from_secs_f64(days * 86_400.0).unwrap_or_default(),
        indicator,
        budget_from: Some(BudgetSource::Remaining(format!(
            "{REMAINING}{{sloth_service=\"{service}\",sloth_slo=\"{slo}\"}}"
        ))),
    })
}

pub(super) fn not_understood(name: &SloName, record: &str, why: &str) -> Unread {
    Unread::NotUnderstood(format!(
        "the query of {name} ({record}) cannot be asked pod by pod: {why}; write the objective with ratio, latency or query, \
         and budgetFrom"
    ))
}
