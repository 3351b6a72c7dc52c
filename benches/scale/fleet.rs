//! Many Deployments in twenty namespaces, some of which are released to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::api::status::RolloutStatus;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::Size;
use crate::controller::{GUARDED, STABLE, status_of};

/// Pods of each Deployment.
pub(crate) const PODS: u32 = 20;
/// What one policy selects.
pub(crate) const DEPLOYMENTS_A_POLICY: usize = 5;
const NAMESPACES: usize = 20;
/// Requests to the API server at a time.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(600);

/// Deployments by number; the first are those that are released to.
pub(crate) struct Fleet {
    client: Client,
    size: Size,
}

/// The namespace of the Deployment of this number.
pub(crate) fn namespace(number: usize) -> String {
    format!("team-{}", number / DEPLOYMENTS_A_POLICY % NAMESPACES)
}

/// Its name.
pub(crate) fn name(number: usize) -> String {
    format!("service-{number}")
}

impl Fleet {
    /// Creates all of them, complete with version v1.
    pub(crate) async fn create(client: &Client, size: Size) -> Result<Self> {
        let fleet = Self { client: client.clone(), size };
        for team in 0..NAMESPACES {
            let created = serde_json::from_value(json!({"metadata": {"name": format!("team-{team}")}}))?;
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &created).await?;
        }
        let began = Instant::now();
        fleet.each(0..size.deployments, async |number| fleet.create_one(number).await).await?;
        eprintln!("  {} Deployments are there after {} s", size.deployments, began.elapsed().as_secs());
        Ok(fleet)
    }

    /// A policy for every five, and waits until the operator has taken v1 as stable everywhere.
    pub(crate) async fn create_policies(&self) -> Result<()> {
        let create = async |number| {
            let api: Api<ErrorBudgetPolicy> = Api::namespaced(self.client.clone(), &policy_namespace(number));
            api.create(&PostParams::default(), &policy(number)?).await?;
            Ok(())
        };
        self.each(0..self.size.policies(), create).await?;
        let stable = async || self.count(|rollout| rollout.phase == "Succeeded").await;
        self.wait("are taken as stable", self.size.rollouts, stable).await
    }

    /// Releases v2, which is healthy, to the first so many, and waits until all of those are held as canaries.
    pub(crate) async fn release(&self, rollouts: usize) -> Result<()> {
        let release = async |number| {
            let patch = json!({"spec": {"template": template(number, "v2")}});
            self.deployments(number).patch(&name(number), &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(())
        };
        let began = Instant::now();
        self.each(self.canaries().await?..rollouts, release).await?;
        eprintln!("  released after {} s", began.elapsed().as_secs());
        self.wait("are canaries", rollouts, async || self.canaries().await).await?;
        self.wait("are held at their pods", rollouts, async || self.paused().await).await
    }

    /// How many are held as canaries now.
    pub(crate) async fn canaries(&self) -> Result<usize> {
        self.count(|rollout| rollout.phase == "Canary").await
    }

    /// How many have all their canary pods: then their Deployments are paused, and nothing is left to write.
    async fn paused(&self) -> Result<usize> {
        let guarded = ListParams::default().labels(&format!("{GUARDED}=true"));
        let deployments = Api::<Deployment>::all(self.client.clone()).list(&guarded).await?.items;
        let is_paused =
            |deployment: &&Deployment| deployment.spec.as_ref().is_some_and(|spec| spec.paused == Some(true));
        Ok(deployments.iter().filter(is_paused).count())
    }

    async fn create_one(&self, number: usize) -> Result<()> {
        let (deployments, name) = (self.deployments(number), name(number));
        let is_guarded = number < self.size.rollouts;
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                "app": name, "policy": (number / DEPLOYMENTS_A_POLICY).to_string(), GUARDED: is_guarded.to_string(),
            }},
            "spec": {
                "replicas": PODS,
                "selector": {"matchLabels": {"app": name}},
                "template": template(number, "v1"),
            },
        }))?;
        let created = deployments.create(&PostParams::default(), &deployment).await?;
        if is_guarded {
            let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &namespace(number));
            STABLE.create(&sets, &created, PODS).await?;
            let status = Patch::Merge(status_of(&created, 0));
            deployments.patch_status(&name, &PatchParams::default(), &status).await?;
        }
        Ok(())
    }

    async fn each(&self, numbers: std::ops::Range<usize>, what: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
        stream::iter(numbers).map(|number| what(number)).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn wait(&self, what: &str, wanted: usize, count: impl AsyncFn() -> Result<usize>) -> Result<()> {
        let began = Instant::now();
        loop {
            let count = count().await.with_context(|| format!("looking whether the rollouts {what}"))?;
            if count >= wanted {
                eprintln!("  {count} {what} after {} s", began.elapsed().as_secs());
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "only {count} of {wanted} {what} in time");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// For how many rollouts this holds by what their policies say.
    async fn count(&self, holds: impl Fn(&RolloutStatus) -> bool) -> Result<usize> {
        let policies: Api<ErrorBudgetPolicy> = Api::all(self.client.clone());
        let policies = policies.list(&ListParams::default()).await?.items;
        let rollouts = policies.iter().flat_map(|policy| policy.status.iter().flat_map(|said| said.rollouts.values()));
        Ok(rollouts.filter(|rollout| holds(rollout)).count())
    }

    fn deployments(&self, number: usize) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &namespace(number))
    }
}

/// As large as they are in real clusters: some three kilobytes.
fn template(number: usize, version: &str) -> Value {
    let variable =
        |index: usize| json!({"name": format!("SETTING_{index}"), "value": format!("value {index} of {number}")});
    let environment: Vec<_> = (0..30).map(variable).collect();
    json!({
        "metadata": {"labels": {"app": name(number)}},
        "spec": {"containers": [{
            "name": "app",
            "image": format!("registry.example.com/platform/service:{version}"),
            "env": environment,
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        }]},
    })
}

fn policy_namespace(number: usize) -> String {
    namespace(number * DEPLOYMENTS_A_POLICY)
}

/// It holds a canary for so long that none goes on while it is measured.
fn policy(number: usize) -> Result<ErrorBudgetPolicy> {
    let ratio = json!({"errors": r#"http_requests_total{code=~"5.."}"#, "total": "http_requests_total"});
    Ok(serde_json::from_value(json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": format!("policy-{number}")},
        "spec": {
            "selector": {"matchLabels": {"policy": number.to_string()}},
            "objectives": [{"name": "availability", "target": "99.9", "indicator": {"ratio": ratio}}],
            "canary": {"traffic": "10%", "hold": "24h", "maximumHold": "24h"},
        },
    }))?)
}

/// The uid that a controller puts into what it makes.
pub(crate) fn owner(deployment: &Deployment) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "controller": true, "blockOwnerDeletion": true,
        "name": deployment.name_any(), "uid": deployment.uid(),
    })
}
