//! A Deployment with the policy that governs it and what the operator says of it.

use std::sync::Arc;

use kube::Api;
use kube::api::ListParams;

use super::access::{Cluster, call};
use super::{Problem, Target};
use crate::api::status::{ErrorBudgetPolicyStatus, RolloutStatus};
use crate::policy::{Policy, govern};
use crate::watch::rollout::{DeploymentKey, TemplateId};
use crate::watch::{DeploymentView, PolicyView};

/// A governed Deployment.
#[derive(Debug, Clone)]
pub(super) struct Governed {
    pub(super) deployment: DeploymentView,
    pub(super) policy: Arc<Policy>,
    pub(super) status: ErrorBudgetPolicyStatus,
}

impl Governed {
    /// Reads the Deployment, and finds the policy that governs it as the operator does.
    pub(super) async fn find(cluster: &Cluster, target: &Target) -> Result<Self, Problem> {
        let deployment = read(cluster, target).await?;
        let policies: Api<PolicyView> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let doing = format!("reading the policies of namespace {}", cluster.namespace);
        let policies = call(&doing, policies.list(&ListParams::default())).await?.items;
        Self::by(deployment, policies)
    }

    /// The same, read anew. The policy is searched again only if it governs no longer.
    pub(super) async fn again(&self, cluster: &Cluster, target: &Target) -> Result<Self, Problem> {
        let policies: Api<PolicyView> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let name = &self.policy.key.name;
        let known = call(&format!("reading policy {name}"), policies.get_opt(name)).await?;
        let deployment = read(cluster, target).await?;
        let Some(PolicyView { policy: Ok(policy), status, .. }) = known else {
            return Self::find(cluster, target).await;
        };
        if policy.uid == self.policy.uid && policy.selector.matches(deployment.labels()) {
            return Ok(Self { deployment, policy, status });
        }
        Self::find(cluster, target).await
    }

    /// Chooses the one of these policies that governs it.
    fn by(deployment: DeploymentView, policies: Vec<PolicyView>) -> Result<Self, Problem> {
        let key = deployment.key();
        let valid: Vec<&Arc<Policy>> = policies.iter().filter_map(|view| view.policy.as_ref().ok()).collect();
        let governance = govern(valid.iter().map(|policy| policy.as_ref()), &key, deployment.labels());
        let governing = governance.by.map(|policy| policy.key.clone());
        let Some(view) = policies.iter().find(|view| Some(view.key()) == governing) else {
            return Err(not_governed(&key, &policies));
        };
        let policy = view.policy.clone().map_err(|unusable| Problem::Impossible(unusable.to_string()))?;
        Ok(Self { policy, status: view.status.clone(), deployment })
    }

    pub(super) fn key(&self) -> DeploymentKey {
        self.deployment.key()
    }

    /// The template that the Deployment has now.
    pub(super) fn template(&self) -> &TemplateId {
        &self.deployment.spec.template.id
    }

    /// What the operator says of its rollout. What it said of an earlier Deployment of that name does not count.
    pub(super) fn entry(&self) -> Option<&RolloutStatus> {
        let entry = self.status.rollouts.get(&self.key().name)?;
        entry.uid.as_deref().is_none_or(|uid| uid == self.deployment.uid()).then_some(entry)
    }

    /// What it says of the template that the Deployment has now.
    pub(super) fn current(&self) -> Option<&RolloutStatus> {
        self.entry().filter(|entry| is_of(entry, self.template()))
    }
}

/// Whether this was said with that template as the newest.
pub(super) fn is_of(entry: &RolloutStatus, template: &TemplateId) -> bool {
    entry.newest.as_ref().is_some_and(|newest| newest.template == template.0)
}

/// The gate as it is for one Deployment: Open, Closed or Unknown; `None` before the operator has said anything of it.
pub(super) fn gate<'a>(status: &'a ErrorBudgetPolicyStatus, deployment: &str) -> Option<&'a str> {
    let gate = status.gate.as_deref()?;
    match gate {
        _ if status.closed.contains_key(deployment) => Some("Closed"),
        // Of the policy as a whole: another Deployment's is closed.
        "Closed" if !status.closed.is_empty() => Some("Open"),
        gate => Some(gate),
    }
}

async fn read(cluster: &Cluster, target: &Target) -> Result<DeploymentView, Problem> {
    let deployments: Api<DeploymentView> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = format!("{}/{}", cluster.namespace, target.name());
    let found = call(&format!("reading Deployment {name}"), deployments.get_opt(target.name())).await?;
    found.ok_or_else(|| Problem::Impossible(format!("there is no Deployment {name}")))
}

fn not_governed(key: &DeploymentKey, policies: &[PolicyView]) -> Problem {
    let mut text = format!("no policy governs Deployment {key}: no ErrorBudgetPolicy of its namespace selects it");
    for view in policies {
        if let Err(unusable) = &view.policy {
            text.push_str(&format!("; policy {} cannot be used: {unusable}", view.key().name));
        }
    }
    Problem::Impossible(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples;
    use super::*;

    fn chosen(policies: Vec<serde_json::Value>) -> Result<String, String> {
        let views = policies.into_iter().map(|policy| serde_json::from_value(policy).expect("a view")).collect();
        let governed = Governed::by(samples::deployment(), views);
        governed.map(|governed| governed.policy.key.name.clone()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_policy_that_selects_it_governs_it() {
        assert_eq!(
            chosen(vec![samples::policy("fremd", "other"), samples::policy("kasse", "kasse")]),
            Ok("kasse".into())
        );
    }

    #[test]
    fn without_one_the_error_names_what_cannot_be_used() {
        let error = chosen(vec![]).expect_err("there is none");
        let words = "no policy governs Deployment laden/kasse-web: no ErrorBudgetPolicy of its namespace selects it";
        assert_eq!(error, words);
        let mut broken = samples::policy("kasse", "kasse");
        broken["spec"]["objectives"] = json!("none");
        let error = chosen(vec![broken]).expect_err("it is broken");
        assert!(error.starts_with(words) && error.contains("policy kasse cannot be used"), "{error}");
    }

    #[test]
    fn what_was_said_of_a_deleted_namesake_does_not_count() {
        let mut governed = samples::governed(json!({"phase": "Halted", "uid": "uid-1"}));
        assert!(governed.entry().is_some());
        governed.deployment.metadata.uid = Some("uid-2".to_owned());
        assert!(governed.entry().is_none());
    }

    #[test]
    fn what_was_said_of_the_template_before_is_not_current() {
        let mut governed = samples::governed(json!({"phase": "Succeeded", "newest": {"template": "vorher"}}));
        assert!(governed.entry().is_some() && governed.current().is_none());
        governed.deployment.spec.template.id = TemplateId("vorher".to_owned());
        assert!(governed.current().is_some());
    }

    #[test]
    fn the_gate_is_closed_for_those_it_is_closed_for() {
        let status = |gate: &str, closed: serde_json::Value| -> ErrorBudgetPolicyStatus {
            serde_json::from_value(json!({"gate": gate, "closed": closed})).expect("a status")
        };
        let closed = json!({"kasse-web": "3.2% left, 20% needed"});
        assert_eq!(gate(&status("Closed", closed.clone()), "kasse-web"), Some("Closed"));
        assert_eq!(gate(&status("Closed", closed), "kasse-api"), Some("Open"));
        assert_eq!(gate(&status("Unknown", json!({})), "kasse-web"), Some("Unknown"));
        assert_eq!(gate(&ErrorBudgetPolicyStatus::default(), "kasse-web"), None);
    }
}
