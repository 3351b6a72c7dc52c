//! Policies as they are watched: parsed once, while they are read.

use std::sync::Arc;

use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use serde::{Deserialize, Deserializer};

use crate::api::{ErrorBudgetPolicy, ErrorBudgetPolicyStatus};
use crate::policy::{Policy, PolicyError, PolicyKey};

/// A policy as it is watched. One that cannot be enforced is still known to exist: what it holds is not released.
#[derive(kube::Resource, Debug, Clone, PartialEq)]
#[resource(inherit = "ErrorBudgetPolicy")]
pub struct PolicyView {
    /// Without managed fields and annotations.
    pub metadata: ObjectMeta,
    /// The validated policy, or why there is none.
    pub policy: Result<Arc<Policy>, Unusable>,
    /// What was last written to its status; empty when the object is malformed.
    pub status: ErrorBudgetPolicyStatus,
}

/// Why a policy cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The object does not have the shape of a policy: another version of the definition is installed.
    #[error("the object is malformed: {0}; apply the operator's current CustomResourceDefinition and the policy again")]
    Malformed(String),
    /// Fields have values that cannot be enforced. Never empty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<PolicyError>),
}

impl PolicyView {
    /// Which policy it is.
    #[must_use]
    pub fn key(&self) -> PolicyKey {
        PolicyKey {
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// It is another object, or its spec or labels changed, so that Deployments of its namespace need a look. Its status is
    /// written by ourselves and needs none.
    pub(super) fn spec_differs(&self, other: &Self) -> bool {
        let identity = |view: &Self| (view.metadata.uid.clone(), view.metadata.generation);
        // By its labels it is known which operator enforces it.
        identity(self) != identity(other) || self.metadata.labels != other.metadata.labels
    }
}

impl From<DeserializeGuard<ErrorBudgetPolicy>> for PolicyView {
    fn from(DeserializeGuard(object): DeserializeGuard<ErrorBudgetPolicy>) -> Self {
        let (mut metadata, policy, status) = match object {
            Ok(object) => {
                let policy = Policy::parse(&object).map(Arc::new).map_err(Unusable::Invalid);
                (object.metadata, policy, object.status.unwrap_or_default())
            }
            Err(malformed) => (malformed.metadata, Err(Unusable::Malformed(malformed.error)), Default::default()),
        };
        metadata.managed_fields = None;
        metadata.annotations = None;
        Self { metadata, policy, status }
    }
}

impl<'de> Deserialize<'de> for PolicyView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DeserializeGuard::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(change: impl FnOnce(&mut Value)) -> PolicyView {
        let mut object = json!({
            "apiVersion": "errorbudget.dev/v1alpha1",
            "kind": "ErrorBudgetPolicy",
            "metadata": {"name": "kasse", "namespace": "laden-2", "uid": "ebp-uid-7", "generation": 3},
            "spec": {
                "selector": {"matchLabels": {"app": "kasse"}},
                "objectives": [{
                    "name": "verfuegbar",
                    "target": "99.9",
                    "indicator": {"ratio": {"errors": "http_requests_total{code=\"500\"}", "total": "http_requests_total"}},
                }],
            },
            "status": {"targets": 2},
        });
        change(&mut object);
        serde_json::from_value(object).expect("a view can always be read")
    }

    #[test]
    fn a_sound_policy_is_parsed_with_its_status() {
        let view = view(|_| {});
        let policy = view.policy.expect("it is sound");
        assert_eq!((policy.key.to_string(), policy.generation), ("laden-2/kasse".to_owned(), 3));
        assert_eq!(view.status.targets, Some(2));
    }

    #[test]
    fn a_malformed_policy_is_known_by_name_and_says_why() {
        let view = view(|object| object["spec"]["objectives"] = json!("none"));
        assert_eq!(view.key().to_string(), "laden-2/kasse");
        let why = view.policy.expect_err("it is malformed").to_string();
        assert!(why.starts_with("the object is malformed: ") && why.contains("none"), "{why}");
    }

    #[test]
    fn an_invalid_policy_names_every_field_that_is_wrong() {
        let view = view(|object| {
            object["spec"]["objectives"][0]["target"] = json!("100");
            object["spec"]["detection"] = json!({"window": "1w"});
        });
        let why = view.policy.expect_err("it is invalid").to_string();
        assert!(why.contains("spec.objectives[0].target: ") && why.contains("spec.detection.window: "), "{why}");
    }

    #[test]
    fn a_status_that_somebody_else_wrote_does_not_make_it_malformed() {
        let view = view(|object| {
            object["status"] = json!({"rollouts": {"kasse-web": {"phase": "Tanzt", "neues": true}}, "later": 1});
        });
        assert!(view.policy.is_ok());
        assert_eq!(view.status.rollouts["kasse-web"].phase, "Tanzt");
    }

    #[test]
    fn only_a_change_of_the_spec_or_of_the_labels_is_news() {
        let change = |what: fn(&mut Value)| view(|_| {}).spec_differs(&view(what));
        assert!(!change(|object| object["status"]["targets"] = json!(3)));
        assert!(change(|object| object["metadata"]["generation"] = json!(4)));
        assert!(change(|object| object["metadata"]["uid"] = json!("ebp-uid-8")));
        assert!(change(|object| object["metadata"]["labels"] = json!({"shard": "nord"})));
    }
}
