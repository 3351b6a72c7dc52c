//! The admission policies match labels as the operator does.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use gatekeeper::policy::Policy;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::ground::{NAME, POLICY, Shop, deployment, is_held, template};

const POLICIES: usize = 50;
const LABELS_OF_EACH: usize = 10;
const AT_ONCE: usize = 8;

type Labels = BTreeMap<String, String>;

/// Few keys and values, so that they meet: with a prefix, with dots and dashes, and empty.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["app", "tier", "example.com/track", "a.b-c_d"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "web", "batch", "v1.2-x"]).prop_map(str::to_owned)
}

fn labels(size: std::ops::Range<usize>) -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(key(), value(), size)
}

fn requirement() -> impl Strategy<Value = Value> {
    let with_values = (prop::sample::select(vec!["In", "NotIn"]), key(), prop::collection::vec(value(), 1..3))
        .prop_map(|(operator, key, values)| json!({"key": key, "operator": operator, "values": values}));
    let without = (prop::sample::select(vec!["Exists", "DoesNotExist"]), key())
        .prop_map(|(operator, key)| json!({"key": key, "operator": operator}));
    prop_oneof![with_values, without]
}

/// With each part there, empty or absent; not both without anything.
fn selector() -> impl Strategy<Value = Value> {
    let parts = (prop::option::of(labels(0..3)), prop::option::of(prop::collection::vec(requirement(), 0..4)));
    parts
        .prop_filter("it selects everything", |(labels, requirements)| {
            labels.as_ref().is_some_and(|labels| !labels.is_empty())
                || requirements.as_ref().is_some_and(|requirements| !requirements.is_empty())
        })
        .prop_map(|(labels, requirements)| {
            let mut selector = json!({});
            labels.into_iter().for_each(|labels| selector["matchLabels"] = json!(labels));
            requirements.into_iter().for_each(|requirements| selector["matchExpressions"] = json!(requirements));
            selector
        })
}

/// Whether the operator takes a Deployment with these labels for one of the policy's.
fn selects(selector: &Value, labels: &Labels) -> bool {
    let policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1", "kind": "ErrorBudgetPolicy",
        "metadata": {"name": POLICY, "namespace": "any"},
        "spec": {
            "selector": selector,
            "objectives": [{"name": "o", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
        },
    });
    let policy = serde_json::from_value(policy).expect("the shape of a policy");
    Policy::parse(&policy).expect("a sound policy").selector.matches(labels)
}

/// The same cases every time.
fn cases() -> Vec<(Value, Vec<Labels>)> {
    let mut runner = TestRunner::deterministic();
    let case = (selector(), prop::collection::vec(labels(0..5), LABELS_OF_EACH));
    (0..POLICIES).map(|_| case.new_tree(&mut runner).expect("a case").current()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_held_exactly_when_the_operator_takes_it_for_one_of_the_policys() {
    let cases = cases();
    let found: Vec<_> = stream::iter(cases.into_iter().enumerate())
        .map(|(number, (selector, labels))| async move {
            let namespace: &'static str = Box::leak(format!("selector-{number}").into_boxed_str());
            let shop = Shop::without_policy(namespace).await;
            shop.create_policy(POLICY, json!({"selector": selector})).await;
            let mut bare = deployment(NAME, "tea:1");
            bare["metadata"]["labels"] = Value::Null;
            bare["spec"]["replicas"] = json!(0);
            shop.admin.create(bare).await;
            shop.settle().await;
            let mut matched = 0;
            for labels in &labels {
                let mut change = template("tea:2");
                change["metadata"] = json!({"labels": labels});
                let written = shop.admin.dry_run(NAME, change).await.expect("it is accepted");
                let is_selected = selects(&selector, labels);
                assert_eq!(is_held(&written), is_selected, "{selector} of {labels:?}");
                matched += usize::from(is_selected);
            }
            matched
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let matched: usize = found.iter().sum();
    let all = POLICIES * LABELS_OF_EACH;
    assert!((all / 10..all * 9 / 10).contains(&matched), "the cases are one-sided: {matched} of {all} match");
}
