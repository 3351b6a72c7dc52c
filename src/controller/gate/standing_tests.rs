use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};

use super::*;
use crate::config::PodLabels;
use crate::measure::look::Missing;
use crate::measure::promql::Recorded;
use crate::policy::Policy;

/// A policy with one objective whose budget is recorded under this name.
pub(in crate::controller::gate) fn policy(recorded: &str, change: impl FnOnce(&mut Value)) -> InForce {
    let mut object = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {
            "name": "kasse", "namespace": "laden", "uid": "uid-3", "generation": 2,
            "creationTimestamp": "2031-05-04T10:00:00Z",
        },
        "spec": {
            "selector": {"matchLabels": {"app": "kasse"}},
            "objectives": [{"name": "quick", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
        },
    });
    change(&mut object["spec"]);
    let policy = Policy::parse(&serde_json::from_value(object).expect("its shape")).expect("it is sound");
    let recorded = Recorded::parse(recorded, "laden", &PodLabels::default()).expect("a selector");
    let budgets = policy.objectives.iter().map(|_| Source::Remaining(recorded.clone())).collect();
    InForce {
        budgets,
        indicators: Vec::new(),
        objectives: policy.objectives.iter().map(|objective| objective.name.clone()).collect(),
        policy: Arc::new(policy),
        reference: ObjectReference::default(),
        is_ours: true,
        lacking: None,
        slos: Arc::default(),
        read: String::new(),
    }
}

pub(in crate::controller::gate) fn names(deployments: &[&str]) -> BTreeSet<String> {
    deployments.iter().map(|name| (*name).to_owned()).collect()
}

/// Something of its own for each of these.
pub(in crate::controller::gate) fn each(left: &[(&str, f64)]) -> Result<Found, Failure> {
    Ok(Found::Each(left.iter().map(|(name, left)| ((*name).to_owned(), Spent::Left(*left))).collect()))
}

fn failed() -> Result<Found, Failure> {
    Err(Failure::new(Missing::TimedOut, "too slow"))
}

pub(in crate::controller::gate) fn asked(found: Vec<Result<Found, Failure>>, at: Instant) -> Asked {
    Asked { found, began: at, answered: at }
}

fn kinds(gates: &[(String, Gate)]) -> Vec<(&str, &str)> {
    gates.iter().map(|(name, gate)| (name.as_str(), gate.as_str())).collect()
}

#[test]
fn each_deployment_has_the_gate_of_its_own_budget() {
    let mut standing = Standing::default();
    let found = each(&[("a", 0.5), ("b", 0.1)]);
    let changes = standing.take_in(&policy("left", |_| {}), names(&["a", "b"]), &asked(vec![found], Instant::now()));
    assert_eq!(standing.gate("a").map(Gate::as_str), Some("Open"));
    assert_eq!(standing.gate("b").map(Gate::sentence), Some("quick budget 10.0 % left, 20.0 % needed"));
    assert_eq!(standing.gate("c"), None);
    assert_eq!((kinds(&changes.closed), kinds(&changes.opened)), (vec![("b", "Closed")], vec![]));
    assert_eq!(changes.other, ["a", "b"]);
}

#[test]
fn that_a_gate_closed_and_opened_is_told_once_each() {
    let (mut standing, policy, now) = (Standing::default(), policy("left", |_| {}), Instant::now());
    let mut see = |found| standing.take_in(&policy, names(&["a"]), &asked(vec![found], now));
    assert_eq!(see(each(&[("a", 0.5)])).closed, []);
    assert_eq!(kinds(&see(each(&[("a", 0.1)])).closed), [("a", "Closed")]);
    assert_eq!(see(each(&[("a", 0.05)])).closed, []);
    let unknown = Ok(Found::All(Spent::Nothing("gone".to_owned())));
    assert_eq!(see(unknown).opened, [], "nobody knows that it is open");
    assert_eq!(see(each(&[("a", 0.1)])).closed, []);
    assert_eq!(kinds(&see(each(&[("a", 0.3)])).opened), [("a", "Open")]);
    assert_eq!(see(each(&[("a", 0.4)])).opened, []);
}

#[test]
fn what_another_process_told_is_not_told_again() {
    let (policy, now) = (policy("left", |_| {}), Instant::now());
    let told = || Standing::told_closed(["a".to_owned()]);
    let closed = told().take_in(&policy, names(&["a"]), &asked(vec![each(&[("a", 0.1)])], now));
    assert_eq!(closed.closed, []);
    let opened = told().take_in(&policy, names(&["a"]), &asked(vec![each(&[("a", 0.9)])], now));
    assert_eq!(kinds(&opened.opened), [("a", "Open")]);
}

#[test]
fn what_was_decided_by_a_gate_is_decided_again_when_it_says_something_else() {
    let (mut standing, policy, now) = (Standing::default(), policy("left", |_| {}), Instant::now());
    let mut see = |left| standing.take_in(&policy, names(&["a"]), &asked(vec![each(&[("a", left)])], now)).other.len();
    assert_eq!(see(0.5), 1);
    assert_eq!(see(0.4), 0, "open is open");
    assert_eq!(see(0.1), 1);
    assert_eq!(see(0.1), 0);
    assert_eq!(see(0.05), 1, "what is held says how much is left");
    assert_eq!(see(0.4), 1);
}

#[test]
fn after_a_failure_the_last_answer_counts_for_five_minutes() {
    let (mut standing, policy, begin) = (Standing::default(), policy("left", |_| {}), Instant::now());
    let mut see = |found, seconds| {
        let now = begin + Duration::from_secs(seconds);
        standing.take_in(&policy, names(&["a"]), &asked(vec![found], now));
        let gate = standing.gate("a").expect("it was asked for");
        (gate.as_str(), gate.sentence().to_owned())
    };
    assert_eq!(see(failed(), 0), ("Unknown", "quick budget unknown: TimedOut: too slow".to_owned()));
    assert_eq!(see(each(&[("a", 0.1)]), 60).0, "Closed");
    assert_eq!(see(failed(), 120).0, "Closed");
    assert_eq!(see(failed(), 360).0, "Closed");
    assert_eq!(see(failed(), 361).0, "Unknown");
    assert_eq!(see(each(&[("a", 0.9)]), 420).0, "Open");
}

#[test]
fn an_answer_of_another_source_counts_for_nothing() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    standing.take_in(&policy("left", |_| {}), names(&["a"]), &asked(vec![each(&[("a", 0.9)])], now));
    let other_threshold = policy("left", |spec| spec["validate"] = json!({"threshold": "0.05"}));
    standing.take_in(&other_threshold, names(&["a"]), &asked(vec![failed()], now));
    assert_eq!(
        standing.gate("a").map(Gate::as_str),
        Some("Closed"),
        "of the same source it counts, by the new threshold"
    );
    standing.take_in(&policy("other", |_| {}), names(&["a"]), &asked(vec![failed()], now));
    assert_eq!(standing.gate("a").map(Gate::as_str), Some("Unknown"));
}

#[test]
fn a_deployment_that_is_governed_no_more_is_forgotten() {
    let (mut standing, policy, now) = (Standing::default(), policy("left", |_| {}), Instant::now());
    standing.take_in(&policy, names(&["a"]), &asked(vec![each(&[("a", 0.1)])], now));
    let changes = standing.take_in(&policy, names(&[]), &asked(vec![], now));
    assert_eq!((standing.gate("a"), changes), (None, Changes::default()));
    let again = standing.take_in(&policy, names(&["a"]), &asked(vec![each(&[("a", 0.1)])], now));
    assert_eq!(kinds(&again.closed), [("a", "Closed")]);
}
