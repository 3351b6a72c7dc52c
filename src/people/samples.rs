//! What the tests of this room read, in place of a cluster.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::governed::Governed;
use crate::api::status::RolloutStatus;
use crate::policy::Policy;
use crate::watch::DeploymentView;

/// Ten minutes and a bit after everything in the samples began.
pub(super) fn now() -> Timestamp {
    "2026-03-04T05:16:37Z".parse().expect("a time")
}

/// Deployment laden/kasse-web.
pub(super) fn deployment() -> DeploymentView {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "kasse-web", "namespace": "laden", "uid": "uid-1", "generation": 7, "labels": {"app": "kasse"},
        },
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "kasse"}},
            "template": {"metadata": {"labels": {"app": "kasse"}}, "spec": {"containers": [{"name": "c", "image": "k:2"}]}},
        },
    }))
    .expect("a Deployment")
}

/// A policy of the namespace laden that selects this app.
pub(super) fn policy(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {
            "name": name, "namespace": "laden", "uid": format!("uid-of-{name}"), "generation": 1,
            "creationTimestamp": "2026-03-01T00:00:00Z",
        },
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "objectives": [{
                "name": "verfuegbar", "target": "99.9", "indicator": {"ratio": {"errors": "bad_total", "total": "all_total"}},
            }],
            "canary": {"traffic": "10%", "hold": "2m", "steps": [{"traffic": "50%", "hold": "5m"}]},
        },
    })
}

/// An entry of the policy's status.
pub(super) fn entry(entry: Value) -> RolloutStatus {
    let mut whole = json!({"phase": "Succeeded"});
    for (key, value) in entry.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).expect("an entry")
}

/// That Deployment, governed by policy kasse, with this entry; its template is the entry's newest one unless that names
/// another.
pub(super) fn governed(fields: Value) -> Governed {
    let deployment = deployment();
    let mut entry = entry(fields);
    entry.newest.get_or_insert_default();
    if let Some(newest) = entry.newest.as_mut().filter(|newest| newest.template.is_empty()) {
        newest.template = deployment.spec.template.id.0.clone();
    }
    let policy =
        Policy::parse(&serde_json::from_value(policy("kasse", "kasse")).expect("a policy")).expect("a sound one");
    let mut status = crate::api::status::ErrorBudgetPolicyStatus {
        gate: Some("Open".to_owned()),
        budget_remaining: Some("63.2%".to_owned()),
        ..Default::default()
    };
    status.rollouts.insert("kasse-web".to_owned(), entry);
    Governed { deployment, policy: policy.into(), status }
}
