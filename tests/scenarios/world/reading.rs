//! What is so at the moment.

use anyhow::Result;
use gatekeeper::api::status::RolloutStatus;
use gatekeeper::api::{ErrorBudgetPolicy, ErrorBudgetPolicyStatus};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::history::pods;
use super::{DeploymentView, ReplicaSetView, World};

impl World {
    /// The policies of the namespace.
    pub(crate) fn policies(&self) -> Api<ErrorBudgetPolicy> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// What status says of the policy.
    pub(crate) async fn status(&self, policy: &str) -> Result<ErrorBudgetPolicyStatus> {
        Ok(self.policies().get(policy).await?.status.unwrap_or_default())
    }

    /// What the policy of the same name as the service says of its rollout; the default when it says nothing yet.
    pub(crate) async fn rollout(&self, service: &str) -> Result<RolloutStatus> {
        let policy = self.policies().get(service).await?;
        self.course.note(&policy);
        Ok(policy.status.unwrap_or_default().rollouts.get(service).cloned().unwrap_or_default())
    }

    /// The Deployment as it is.
    pub(crate) async fn deployment(&self, service: &str) -> Result<DeploymentView> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), &self.namespace);
        Ok(DeploymentView::from(&deployments.get(service).await?))
    }

    /// What a hold changes of the Deployment, and a release must put back to the byte.
    pub(crate) async fn settings(&self, service: &str) -> Result<Value> {
        let spec = self.object("deployment", service).await?["spec"].take();
        let fields = ["strategy", "minReadySeconds", "progressDeadlineSeconds", "paused"];
        Ok(fields.into_iter().map(|field| spec.get(field).cloned().unwrap_or(Value::Null)).collect())
    }

    /// The Deployment's ReplicaSets, oldest revision first.
    pub(crate) async fn replica_sets(&self, service: &str) -> Result<Vec<ReplicaSetView>> {
        let replica_sets: Api<ReplicaSet> = Api::namespaced(self.client(), &self.namespace);
        let listed = replica_sets.list(&ListParams::default()).await?;
        let mut views: Vec<_> = listed.items.iter().map(ReplicaSetView::from).collect();
        views.retain(|view| view.deployment == service);
        views.sort_by_key(|view| view.revision);
        Ok(views)
    }

    /// How many pods each version is told to have, and how many are Ready: `v1: 10/10, v2: 0/0`, by name of version.
    pub(crate) async fn pods(&self, service: &str) -> Result<String> {
        Ok(pods(&mut self.replica_sets(service).await?.iter().collect::<Vec<_>>()))
    }

    /// How many pods each version is told to have: `v1: 7, v2: 4`, by name of version.
    pub(crate) async fn shares(&self, service: &str) -> Result<String> {
        let mut sets = self.replica_sets(service).await?;
        sets.sort_by(|a, b| a.version.cmp(&b.version));
        let lines: Vec<_> = sets.iter().map(|set| format!("{}: {}", set.version, set.desired)).collect();
        Ok(lines.join(", "))
    }

    /// The notes of the Events with this reason on the Deployment, oldest first.
    pub(crate) async fn events(&self, service: &str, reason: &str) -> Result<Vec<String>> {
        self.notes("Deployment", service, reason).await
    }

    /// The notes of the Events with this reason on the policy, oldest first.
    pub(crate) async fn policy_events(&self, policy: &str, reason: &str) -> Result<Vec<String>> {
        self.notes("ErrorBudgetPolicy", policy, reason).await
    }

    async fn notes(&self, kind: &str, name: &str, reason: &str) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client(), &self.namespace);
        let mut listed = events.list(&ListParams::default()).await?.items;
        listed.retain(|event| {
            let about = event.regarding.clone().unwrap_or_default();
            about.kind.as_deref() == Some(kind)
                && about.name.as_deref() == Some(name)
                && event.reason.as_deref() == Some(reason)
        });
        listed.sort_by_key(|event| (event.event_time.clone().map(|time| time.0), event.name_any()));
        Ok(listed.into_iter().filter_map(|event| event.note).collect())
    }

    /// Looks that the operator has taken so far, with and without evidence.
    pub(crate) async fn looks(&self) -> Result<f64> {
        let mut looks = 0.0;
        for operator in self.operators.iter().filter(|operator| operator.process.is_running()) {
            looks += operator.metric("looks_total", &[]).await?;
        }
        Ok(looks)
    }
}
