//! Objectives that other tools keep.

use super::{Errors, SloName, wire};

/// Which SLO an indicator names; `None` when it names none, or says more.
pub(super) fn slo_name(indicator: &wire::Indicator) -> Option<SloName> {
    match (&indicator.sloth, &indicator.pyrra, (&indicator.ratio, &indicator.latency, &indicator.query)) {
        (Some(sloth), None, (None, None, None)) => {
            Some(SloName::Sloth { service: sloth.service.clone(), slo: sloth.slo.clone() })
        }
        (None, Some(pyrra), (None, None, None)) => Some(SloName::Pyrra { name: pyrra.name.clone() }),
        _ => None,
    }
}

/// What the tool says is not said twice.
pub(super) fn says_it_all(objective: &wire::Objective, slo: &SloName, field: &str, errors: &mut Errors) {
    let said = [
        ("target", objective.target.is_some()),
        ("window", objective.window.is_some()),
        ("budgetFrom", objective.budget_from.is_some()),
    ];
    for (name, _) in said.into_iter().filter(|(_, is_said)| *is_said) {
        errors.add(
            format!("{field}.{name}"),
            format!("{} says it; leave it out, or write another indicator", slo.tool()),
        );
    }
    for (name, value) in slo.parts() {
        // It becomes a part of the address that is asked.
        if value.is_empty() || value.len() > 253 || value.chars().any(char::is_control) {
            errors.add(format!("{field}.indicator.{name}"), "write 1 to 253 characters, as the tool's rules have it");
        }
    }
}
