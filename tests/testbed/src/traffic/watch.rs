//! Pods in from the API server.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tracing::{debug, warn};

use super::behaviour::PodBehaviour;
use super::fleet::{DeploymentKey, Fleet, PodView};
use super::locked;
use super::pages::Pages;

/// Keeps the fleet, and the pods' own pages, in step with the pods of one namespace, or of all; ends only when it is dropped.
pub(super) async fn follow(client: Client, namespace: Option<String>, fleet: Arc<Mutex<Fleet>>, mut pages: Pages) {
    let pods: Api<Pod> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    // Every pod of a Deployment carries the label.
    let config = Config::default().labels(POD_TEMPLATE_HASH);
    let mut events = pin!(watcher(pods, config).default_backoff());
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                observe(&fleet, &pod);
                pages.observe(&pod);
            }
            Ok(Event::InitDone) => {
                locked(&fleet).retain(namespace.as_deref(), &listed);
                pages.retain(&listed);
            }
            Ok(Event::Apply(pod)) => {
                observe(&fleet, &pod);
                pages.observe(&pod);
            }
            Ok(Event::Delete(pod)) => {
                pages.forget(&pod);
                if let Some(deployment) = deployment_of(&pod) {
                    locked(&fleet).forget(&deployment, &pod.name_any());
                }
            }
            // Expected while the API server restarts; the stream comes back by itself.
            Err(error) => debug!(%error, "the watch of the pods was interrupted"),
        }
    }
}

const POD_TEMPLATE_HASH: &str = "pod-template-hash";

fn observe(fleet: &Mutex<Fleet>, pod: &Pod) {
    if let Some(view) = view(pod) {
        locked(fleet).observe(view);
    }
}

/// What the simulator needs of a pod; none for pods that belong to no Deployment or whose annotations are wrong.
fn view(pod: &Pod) -> Option<PodView> {
    let deployment = deployment_of(pod)?;
    let behaviour = PodBehaviour::from_annotations(pod.annotations())
        .inspect_err(|error| {
            let pod = pod.name_any();
            warn!(pod, "the pod gets no traffic: {error:#}");
        })
        .ok()?;
    Some(PodView { deployment, name: pod.name_any(), uid: pod.uid()?, ready: is_ready(pod), behaviour })
}

/// The owning ReplicaSet is named after the Deployment and the hash of the template, which is a label of the pod.
fn deployment_of(pod: &Pod) -> Option<DeploymentKey> {
    let hash = pod.labels().get(POD_TEMPLATE_HASH)?;
    let replica_set = pod.owner_references().iter().find(|owner| owner.kind == "ReplicaSet")?;
    let name = replica_set.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    Some(DeploymentKey::new(pod.namespace()?, name))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(owner_kind: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "cart-api-6d5f8c7b9-x2x4q", "namespace": "shop", "uid": "u1",
                "labels": {"pod-template-hash": "6d5f8c7b9"},
                "annotations": {"traffic.testbed/error-ratio": "0.25"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner_kind, "name": "cart-api-6d5f8c7b9", "uid": "r1"}],
            },
            "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn a_pod_belongs_to_the_deployment_of_its_replica_set() {
        let view = view(&pod("ReplicaSet", "True")).expect("a pod of a Deployment");
        assert_eq!(view.deployment, DeploymentKey::new("shop", "cart-api"));
        assert_eq!(view.behaviour.error_ratio, 0.25);
        assert!(view.ready);
    }

    #[test]
    fn a_pod_of_anything_else_is_left_alone() {
        assert_eq!(view(&pod("DaemonSet", "True")), None);
    }

    #[test]
    fn a_pod_that_is_not_ready_or_is_being_deleted_gets_no_traffic() {
        assert!(!is_ready(&pod("ReplicaSet", "False")));
        let mut deleted = serde_json::to_value(pod("ReplicaSet", "True")).expect("json");
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!is_ready(&serde_json::from_value(deleted).expect("a pod")));
    }

    #[test]
    fn a_pod_with_wrong_annotations_gets_no_traffic() {
        let mut pod = pod("ReplicaSet", "True");
        pod.annotations_mut().insert("traffic.testbed/error-ratio".to_owned(), "often".to_owned());
        assert_eq!(view(&pod), None);
    }
}
