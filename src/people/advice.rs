//! What one can do now, as exact commands.

use super::Program;
use super::governed::{Governed, gate};
use super::words::{cause, phase};
use crate::api::status::RolloutStatus;
use crate::decide::state::{Cause, Phase};
use crate::policy::Mode;
use crate::watch::annotations::OVERRIDE;

/// A way on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    /// What to type; or, where no command does it, what to do.
    pub(super) what: String,
    /// What it leads to.
    pub(super) leads_to: &'static str,
}

/// Whether the rollout takes its next step by an approval.
pub(super) fn wants_approval(entry: &RolloutStatus) -> bool {
    match phase(entry) {
        Some(Phase::Halted | Phase::Rejected) => true,
        // Complete, and its clock is stopped by what would have halted it before.
        Some(Phase::Monitoring) => entry.clock_stopped.is_some(),
        _ => cause(entry) == Some(Cause::ApprovalRequired),
    }
}

/// Whether an override has something to let pass, now or when the gate closes under it.
pub(super) const fn can_be_overridden(phase: Option<Phase>) -> bool {
    matches!(phase, Some(Phase::Validating | Phase::Canary | Phase::Promoting | Phase::Halted))
}

/// What one can do about this rollout now, the likeliest first. Empty when all is well.
pub(super) fn advice(program: Program, governed: &Governed) -> Vec<Advice> {
    let key = governed.key();
    let command = |verb: &str, more: &str| {
        let name = program.as_str();
        format!("{name} {verb} deployment/{} --namespace {}{more}", key.name, key.namespace)
    };
    let entry = governed.entry();
    let (phase, cause) = (entry.and_then(phase), entry.and_then(cause));
    let is_closed = gate(&governed.status, &key.name) == Some("Closed");
    let mut advice = Vec::new();
    let mut add = |what: String, leads_to| advice.push(Advice { what, leads_to });

    if cause == Some(Cause::PausedByOwner) {
        let resume = format!("kubectl rollout resume deployment/{} --namespace {}", key.name, key.namespace);
        add(resume, "its owner paused it; once it is resumed it is rolled back");
    }
    let held_by_gate = matches!(cause, Some(Cause::BudgetSpent | Cause::BudgetUnknown));
    if held_by_gate && can_be_overridden(phase) {
        add(command("override", " --reason TEXT"), "it passes the gate, on your word");
    }
    if entry.is_some_and(wants_approval) && !held_by_gate {
        add(
            command("approve", ""),
            match phase {
                Some(Phase::Rejected) => "it is rolled out in spite of having been rolled back before",
                Some(Phase::Halted) => "it goes on in spite of the reason above",
                _ => "it takes its next step",
            },
        );
    }
    if matches!(phase, Some(Phase::Validating | Phase::Canary | Phase::Promoting | Phase::Monitoring | Phase::Halted))
        && governed.policy.mode == Mode::Enforce
    {
        add(command("rollback", ""), "the last good revision comes back now");
    }
    if matches!(phase, Some(Phase::Halted | Phase::Rejected | Phase::RolledBack)) {
        add("push another template".to_owned(), "it starts over with that one");
    }
    if matches!(
        phase,
        Some(Phase::Canary | Phase::Promoting | Phase::Monitoring | Phase::RollingBack | Phase::Recovering)
    ) {
        add(command("wait", ""), "follows it to its end");
    }
    if is_closed && !can_be_overridden(phase) {
        let annotate = format!("set the annotation {OVERRIDE}: REASON in the write that brings the next template");
        add(annotate, "the gate is closed; that template passes it");
    }
    advice
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::samples;
    use super::*;

    fn commands(entry: Value) -> Vec<String> {
        let governed = samples::governed(entry);
        advice(Program::Plugin, &governed).into_iter().map(|advice| advice.what).collect()
    }

    fn verbs(entry: Value) -> Vec<String> {
        let verb = |command: &String| {
            let rest = command.strip_prefix("kubectl ").map(|rest| rest.strip_prefix("errorbudget ").unwrap_or(rest));
            rest.unwrap_or(command).split(' ').next().unwrap_or_default().to_owned()
        };
        commands(entry).iter().map(verb).collect()
    }

    #[test]
    fn commands_are_complete_and_begin_as_the_program_was_called() {
        let halted = json!({"phase": "Halted", "reason": "SharedCause"});
        assert_eq!(commands(halted.clone())[0], "kubectl errorbudget approve deployment/kasse-web --namespace laden");
        let own = advice(Program::Gatekeeper, &samples::governed(halted));
        assert!(own[0].what.starts_with("error-budget-gatekeeper approve "), "{own:?}");
    }

    #[test]
    fn each_standstill_has_its_way_out() {
        let of = |phase: &str, reason: &str| verbs(json!({"phase": phase, "reason": reason}));
        assert_eq!(of("Validating", "BudgetSpent"), ["override", "rollback"]);
        assert_eq!(of("Halted", "BudgetSpent"), ["override", "rollback", "push"]);
        assert_eq!(of("Canary", "ApprovalRequired"), ["approve", "rollback", "wait"]);
        assert_eq!(of("Halted", "WorseThanStable"), ["approve", "rollback", "push"]);
        assert_eq!(of("Halted", "PausedByOwner"), ["rollout", "approve", "rollback", "push"]);
        assert_eq!(of("Rejected", "RevisionRejected"), ["approve", "push"]);
        assert_eq!(of("Recovering", "Violation"), ["wait"]);
        assert_eq!(of("RolledBack", "Violation"), ["push"]);
        assert_eq!(of("Succeeded", "NotConvicted"), Vec::<String>::new());
    }

    #[test]
    fn a_closed_gate_is_told_to_whoever_would_release_next() {
        let mut governed = samples::governed(json!({"phase": "Succeeded", "reason": "NotConvicted"}));
        governed.status.gate = Some("Closed".to_owned());
        let told = advice(Program::Plugin, &governed);
        assert!(told.len() == 1 && told[0].what.contains("errorbudget.dev/override: REASON"), "{told:?}");
    }

    #[test]
    fn a_policy_that_only_observes_rolls_nothing_back() {
        let mut governed = samples::governed(json!({"phase": "Promoting", "reason": "NotConvicted"}));
        let has_rollback = |governed: &Governed| {
            advice(Program::Plugin, governed).iter().any(|advice| advice.what.contains(" rollback "))
        };
        assert!(has_rollback(&governed));
        let mut policy = governed.policy.as_ref().clone();
        policy.mode = Mode::Observe;
        governed.policy = policy.into();
        assert!(!has_rollback(&governed));
    }
}
