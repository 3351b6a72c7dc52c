//! Many Deployments in one namespace, each with a policy of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::api::status::RolloutStatus;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use testbed::traffic::TrafficSimulator;

use crate::ground::Ground;

/// The budget of the only objective: 99.9 %.
pub(crate) const BUDGET: f64 = 0.001;
const PODS: u32 = 4;
const POLL: Duration = Duration::from_secs(1);

/// Deployments `app-0`, `app-1` and so on, of four pods each.
pub(crate) struct Fleet {
    client: Client,
    /// Their namespace.
    pub(crate) namespace: String,
    /// Their names.
    pub(crate) names: Vec<String>,
}

impl Fleet {
    /// Creates them with version v1, which burns half the budget, and their policies, and waits until the operator has
    /// taken v1 as stable everywhere. `rate` gives each its requests per second, `detection` is that of the policies;
    /// a complete rollout is monitored for so long that none ends while it is measured.
    pub(crate) async fn create(
        ground: &Ground,
        traffic: &TrafficSimulator,
        namespace: &str,
        count: usize,
        rate: impl Fn(usize) -> f64,
        detection: &Value,
    ) -> Result<Self> {
        let client = ground.cluster.client();
        let fleet = Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            names: (0..count).map(|number| format!("app-{number}")).collect(),
        };
        let created = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client).create(&PostParams::default(), &created).await?;
        for (number, name) in fleet.names.iter().enumerate() {
            traffic.handle().set_rate(namespace, name, rate(number));
            fleet.deployments().create(&PostParams::default(), &deployment(name)?).await?;
        }
        let complete = async || {
            let listed = fleet.deployments().list(&ListParams::default()).await?.items;
            let available = |deployment: &Deployment| deployment.status.as_ref()?.available_replicas;
            Ok(listed.iter().filter(|deployment| available(deployment) == Some(PODS.cast_signed())).count())
        };
        fleet.wait("are complete", Duration::from_secs(600), complete).await?;
        for name in &fleet.names {
            fleet.policies().create(&PostParams::default(), &policy(name, detection)?).await?;
        }
        fleet.wait_for("are taken as stable", Duration::from_secs(120), |rollout| rollout.phase == "Succeeded").await?;
        Ok(fleet)
    }

    /// Releases a version with this burn rate.
    pub(crate) async fn release(&self, name: &str, version: &str, burn_rate: f64) -> Result<()> {
        let patch = json!({"spec": {"template": template(name, version, burn_rate)}});
        self.deployments().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Changes how all policies detect.
    pub(crate) async fn detect(&self, detection: &Value) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"detection": detection}}));
        for name in &self.names {
            self.policies().patch(name, &PatchParams::default(), &patch).await?;
        }
        Ok(())
    }

    /// The ReplicaSets of this version, with the name of the Deployment of each.
    pub(crate) async fn replica_sets(&self, version: &str) -> Result<Vec<(String, String)>> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut listed = api.list(&ListParams::default()).await?.items;
        listed.retain(|set| {
            let pod = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
            let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
            image == Some(&format!("app:{version}"))
        });
        let owner = |set: &ReplicaSet| set.owner_references().first().map(|owner| owner.name.clone());
        Ok(listed.iter().filter_map(|set| Some((owner(set)?, set.name_any()))).collect())
    }

    /// Waits until what the policies say of all rollouts holds, and says how many it holds for meanwhile. Returns for how
    /// many it did in time.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<usize> {
        let look = async || {
            let policies = self.policies().list(&ListParams::default()).await?.items;
            let rollouts =
                policies.iter().filter_map(|policy| policy.status.as_ref()?.rollouts.get(&policy.name_any()));
            Ok(rollouts.filter(|rollout| holds(rollout)).count())
        };
        self.wait(what, patience, look).await
    }

    /// Deletes everything, so that what is measured next has the machine for itself.
    pub(crate) async fn delete(self, ground: &Ground, traffic: &TrafficSimulator) -> Result<()> {
        let namespace = format!("--namespace={}", self.namespace);
        ground.cluster.kubectl(&["delete", "deployments,ebp", "--all", "--wait=false", &namespace]).await?;
        for name in &self.names {
            traffic.handle().remove(&self.namespace, name);
        }
        let timeout = Duration::from_secs(300);
        let gone = async || {
            let left = self.deployments().list_metadata(&ListParams::default()).await?.items.len();
            Ok(self.names.len() - left)
        };
        self.wait("are deleted", timeout, gone).await?;
        Ok(())
    }

    async fn wait(&self, what: &str, patience: Duration, look: impl AsyncFn() -> Result<usize>) -> Result<usize> {
        let began = Instant::now();
        let mut told = None;
        loop {
            let count = look().await.with_context(|| format!("looking whether the rollouts {what}"))?;
            let waited = began.elapsed();
            if count >= self.names.len() || waited > patience {
                eprintln!("  {count} of {} {what} after {} s", self.names.len(), waited.as_secs());
                return Ok(count);
            }
            if told.is_none_or(|told: Instant| told.elapsed() > Duration::from_secs(15)) {
                eprintln!("  {count} of {} {what}", self.names.len());
                told = Some(Instant::now());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn policies(&self) -> Api<ErrorBudgetPolicy> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn deployment(name: &str) -> Result<Deployment> {
    let rolling = json!({"maxSurge": 1, "maxUnavailable": 0});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": PODS,
            "minReadySeconds": 5,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": rolling},
            "template": template(name, "v1", 0.5),
        },
    }))?)
}

fn template(name: &str, version: &str, burn_rate: f64) -> Value {
    let annotations = json!({testbed::traffic::ERROR_RATIO: (burn_rate * BUDGET).to_string()});
    json!({
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": format!("app:{version}")}]},
    })
}

fn policy(name: &str, detection: &Value) -> Result<ErrorBudgetPolicy> {
    let ratio = json!({"errors": r#"http_requests_total{code=~"5.."}"#, "total": "http_requests_total"});
    Ok(serde_json::from_value(json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "objectives": [{"name": "availability", "target": "99.9", "indicator": {"ratio": ratio}}],
            // What is measured is detection: nothing is held before it.
            "validate": {"threshold": "1000"},
            "canary": {"traffic": "0%"},
            "detection": detection,
            "monitor": {"timeout": "2h"},
        },
    }))?)
}
