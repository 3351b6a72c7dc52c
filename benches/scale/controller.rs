//! Plays what Kubernetes' controllers do for a Deployment that is held as a canary, without making pods.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use gatekeeper::watch::rollout::Settings;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::fleet::{PODS, owner};
use crate::pages::CanaryPods;

/// The label of Deployments that are played for.
pub(crate) const GUARDED: &str = "guarded";
/// Deployments at a time.
const AT_ONCE: usize = 8;

/// The ReplicaSet of one version.
pub(crate) struct Version {
    /// What its name ends with.
    pub(crate) hash: &'static str,
    revision: &'static str,
}

/// That of v1.
pub(crate) const STABLE: Version = Version { hash: "5b8c6f9d7b", revision: "1" };
/// That of v2.
pub(crate) const CANARY: Version = Version { hash: "7d9fc8b6d4", revision: "2" };

impl Version {
    /// The name of the Deployment's ReplicaSet.
    pub(crate) fn replica_set(&self, deployment: &str) -> String {
        format!("{deployment}-{}", self.hash)
    }

    /// Makes it of the Deployment's newest template, with so many pods, all Ready.
    pub(crate) async fn create(&self, sets: &Api<ReplicaSet>, deployment: &Deployment, pods: u32) -> Result<()> {
        let mut template = serde_json::to_value(&deployment.spec.as_ref().context("no spec")?.template)?;
        template["metadata"]["labels"]["pod-template-hash"] = self.hash.into();
        let labels = template["metadata"]["labels"].clone();
        let name = self.replica_set(&deployment.name_any());
        let set = serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": labels, "ownerReferences": [owner(deployment)],
                "annotations": {"deployment.kubernetes.io/revision": self.revision},
            },
            "spec": {"replicas": pods, "selector": {"matchLabels": labels}, "template": template},
        }))?;
        sets.create(&PostParams::default(), &set).await?;
        let status = json!({"status": {
            "replicas": pods, "fullyLabeledReplicas": pods, "readyReplicas": pods, "availableReplicas": pods,
        }});
        sets.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }
}

/// The status of a Deployment whose stable pods are all there, beside so many canary pods; without any it is complete.
pub(crate) fn status_of(deployment: &Deployment, canary_pods: u32) -> Value {
    let set = STABLE.replica_set(&deployment.name_any());
    let available = json!({
        "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
        "message": format!("ReplicaSet \"{set}\" has successfully progressed."),
        "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({"status": {
        "observedGeneration": deployment.metadata.generation,
        "replicas": PODS + canary_pods,
        "readyReplicas": PODS + canary_pods,
        "updatedReplicas": if canary_pods == 0 { PODS } else { canary_pods },
        "availableReplicas": PODS,
        "conditions": [available],
    }})
}

/// Plays until it is dropped.
pub(crate) struct Controller(JoinHandle<()>);

impl Drop for Controller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Controller {
    /// Begins to play, and tells how many canary pods each Deployment has.
    pub(crate) fn start(client: Client, pods: Arc<CanaryPods>) -> Self {
        Self(tokio::spawn(async move {
            let all: Api<Deployment> = Api::all(client.clone());
            let guarded = watcher::Config::default().labels(&format!("{GUARDED}=true"));
            let touched = watcher(all, guarded).default_backoff().applied_objects();
            let played = touched.map_err(anyhow::Error::from).try_for_each_concurrent(AT_ONCE, |deployment| {
                let (client, pods) = (client.clone(), pods.clone());
                async move {
                    let name = deployment.name_any();
                    // Whoever waits for the Deployment says so when it does not get on.
                    if let Err(error) = play(client, &pods, deployment).await {
                        eprintln!("  {name}: {error:#}");
                    }
                    Ok(())
                }
            });
            if let Err(error) = played.await {
                eprintln!("  the watch of the Deployments ended: {error:#}");
            }
        }))
    }
}

async fn play(client: Client, pods: &CanaryPods, deployment: Deployment) -> Result<()> {
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    let spec = deployment.spec.as_ref().context("no spec")?;
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if observed == deployment.metadata.generation {
        return Ok(());
    }
    let is_held = spec.min_ready_seconds.map(i32::cast_unsigned) == Some(Settings::HELD_MIN_READY_SECONDS);
    let canary_pods = match (spec.paused, is_held) {
        (Some(true), _) => pods.of(&name),
        (_, true) => {
            let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
            match rolling.and_then(|rolling| rolling.max_surge.as_ref()) {
                Some(IntOrString::Int(surge)) => u32::try_from(*surge)?,
                other => anyhow::bail!("a canary with maxSurge {other:?}"),
            }
        }
        // A release that nobody holds yet: controllers may be late.
        _ => return Ok(()),
    };
    if canary_pods > 0 && pods.appear(&name, canary_pods) {
        let sets = Api::namespaced(client.clone(), &namespace);
        CANARY.create(&sets, &deployment, canary_pods).await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
    let status = Patch::Merge(status_of(&deployment, canary_pods));
    deployments.patch_status(&name, &PatchParams::default(), &status).await?;
    Ok(())
}
