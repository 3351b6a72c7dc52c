use serde_json::json;
use tokio::time::Instant;

use super::super::standing::tests::{asked, each, names, policy};
use super::*;
use crate::measure::budget::{Found, Spent};

/// What is said when so much is left of each.
fn report(shared: bool, left: &[(&str, f64)]) -> Report {
    let policy = policy("left", |spec| {
        if shared {
            spec["budget"] = json!({"scope": "Shared"});
        }
    });
    let mut standing = Standing::default();
    let governed: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
    standing.take_in(&policy, names(&governed), &asked(vec![each(left)], Instant::now()));
    Report::of(&policy.policy, &standing)
}

fn said(report: &Report) -> (&str, &str, &str) {
    (report.gate, report.reason, &report.message)
}

#[test]
fn a_policy_is_as_open_as_its_worst_deployment() {
    let open = report(false, &[("a", 0.9), ("b", 0.632)]);
    assert_eq!(said(&open), ("Open", "BudgetLeft", "b: quick budget 63.2 % left, 20.0 % needed"));
    assert_eq!(open.remaining.as_deref(), Some("63.2%"));
    assert_eq!(open.ratios, [("quick".to_owned(), 0.632)]);
    let closed = report(false, &[("a", 0.9), ("b", 0.1), ("c", 0.05)]);
    let sentence = "c: quick budget 5.0 % left, 20.0 % needed; and 1 Deployment more";
    assert_eq!(said(&closed), ("Closed", "BudgetSpent", sentence));
    assert_eq!(closed.closed.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(closed.closed["b"], "quick budget 10.0 % left, 20.0 % needed");
}

#[test]
fn the_only_deployment_and_a_shared_budget_need_no_name() {
    assert_eq!(report(false, &[("a", 0.1)]).message, "quick budget 10.0 % left, 20.0 % needed");
    assert_eq!(report(true, &[("a", 0.1), ("b", 0.1)]).message, "quick budget 10.0 % left, 20.0 % needed");
}

#[test]
fn without_a_deployment_nothing_is_open() {
    assert_eq!(said(&report(false, &[])), ("Unknown", "NoDeployment", "no Deployment is governed"));
}

#[test]
fn what_is_unknown_says_why() {
    let policy = policy("left", |_| {});
    let mut standing = Standing::default();
    let found = BTreeMap::from([
        ("a".to_owned(), Spent::Left(0.9)),
        ("b".to_owned(), Spent::Nothing("no sample".to_owned())),
        ("c".to_owned(), Spent::Nothing("no sample".to_owned())),
    ]);
    let asked = asked(vec![Ok(Found::Each(found))], Instant::now());
    standing.take_in(&policy, names(&["a", "b", "c"]), &asked);
    let report = Report::of(&policy.policy, &standing);
    let sentence = "b: quick budget unknown: no sample; and 1 Deployment more";
    assert_eq!(said(&report), ("Unknown", "BudgetUnknown", sentence));
    assert_eq!(report.unknown.len(), 2);
    assert_eq!(report.remaining.as_deref(), Some("90.0%"), "what is known is said");
}

#[test]
fn a_shorter_span_is_a_reason_of_its_own() {
    let policy = policy("left", |_| {});
    let mut standing = Standing::default();
    let span = Some(Duration::from_secs(3 * 86_400 + 4 * 3600));
    let found = Found::All(Spent::Counts { errors: 0.0, total: 10.0, span });
    standing.take_in(&policy, names(&["a"]), &asked(vec![Ok(found)], Instant::now()));
    let report = Report::of(&policy.policy, &standing);
    let sentence = "quick budget 100.0 % left, 20.0 % needed, computed over at most 3d4h of 28d";
    assert_eq!(said(&report), ("Open", "BudgetWindowTruncated", sentence));
    assert_eq!(report.objectives[0].budget_span.as_deref(), Some("3d4h"));
}

#[test]
fn less_than_what_is_printed_is_no_news() {
    let one = report(false, &[("a", 0.632_01)]);
    assert!(one.says_the_same(&report(false, &[("a", 0.632_09)])));
    assert!(!one.says_the_same(&report(false, &[("a", 0.633)])));
}

#[test]
fn an_event_names_three_deployments_at_most() {
    let policy = policy("left", |_| {}).policy;
    let gates = |number: usize| -> Vec<(String, Gate)> {
        (0..number).map(|i| (format!("d{i}"), Gate::Closed("spent".to_owned()))).collect()
    };
    assert_eq!(gates_in_words(&policy, &gates(0)), None);
    assert_eq!(gates_in_words(&policy, &gates(1)).as_deref(), Some("d0: spent"));
    assert_eq!(gates_in_words(&policy, &gates(5)).as_deref(), Some("d0: spent; d1: spent; d2: spent; and 2 more"));
}

#[test]
fn a_policy_for_which_nothing_can_be_asked_says_why_or_where_that_is_said() {
    let (silent, broken) = (Report::not_asked(4, Some("objective a: nobody there")), Report::not_asked(4, None));
    assert_eq!(said(&silent), ("Unknown", "BudgetUnknown", "objective a: nobody there"));
    assert_eq!(said(&broken), ("Unknown", "BudgetUnknown", "the policy is not in force: see the condition Ready"));
}
