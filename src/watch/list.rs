//! What is listed when it is needed and never watched: ReplicaSets and, rarely, pods.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client};

use super::pod::ServingPod;
use super::rollout::Revision;
use super::view::{DeploymentView, ReplicaSetView};
use crate::api::ErrorBudgetPolicy;
use crate::policy::PolicyKey;

/// How long one request may take. The API server answers in milliseconds; a reconcile must not hang on one that does
/// not.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pods asked for at once.
const PAGE: u32 = 500;

/// Of so many pods those are chosen that are read: whole pods are some kilobytes each.
const SERVING_PODS: u32 = 100;

/// Why something could not be listed. All of it may pass: try again.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The API server refused or could not be reached.
    #[error("the API server did not list the {what} of Deployment {deployment}")]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// Whose.
        deployment: String,
        /// Why.
        source: kube::Error,
    },
    /// No answer came in time.
    #[error("the API server took more than {} s to list the {what} of Deployment {deployment}", TIMEOUT.as_secs())]
    TimedOut {
        /// What was asked for.
        what: &'static str,
        /// Whose.
        deployment: String,
    },
    /// The Deployment's selector is not one that Kubernetes accepts.
    #[error("the selector of Deployment {deployment} is not one of labels; write spec.selector anew")]
    Selector {
        /// Whose.
        deployment: String,
    },
}

/// The ReplicaSets that the Deployment controls.
///
/// # Errors
/// When the API server does not answer, refuses, or takes more than 5 s.
pub async fn list_replica_sets(client: &Client, deployment: &DeploymentView) -> Result<Vec<ReplicaSetView>, ListError> {
    let api: Api<ReplicaSetView> = Api::namespaced(client.clone(), &deployment.key().namespace);
    let listed = within_time("ReplicaSets", deployment, api.list(&of(deployment)?)).await?;
    Ok(listed.items.into_iter().filter(|set| set.is_controlled_by(deployment.uid())).collect())
}

/// Whether a policy of this name is there now: the one that the Deployment's hold names.
///
/// # Errors
/// When the API server does not answer, refuses, or takes more than 5 s.
pub async fn policy_exists(
    client: &Client,
    deployment: &DeploymentView,
    policy: &PolicyKey,
) -> Result<bool, ListError> {
    let api: Api<ErrorBudgetPolicy> = Api::namespaced(client.clone(), &policy.namespace);
    Ok(within_time("policy", deployment, api.get_metadata_opt(&policy.name)).await?.is_some())
}

/// The names of the Deployment's pods, by the uid of the ReplicaSet that controls them. Only needed where two
/// ReplicaSets' names begin with the same 58 characters, so that a pod's name does not tell whose it is.
///
/// # Errors
/// When the API server does not answer, refuses, or takes more than 5 s for a page.
pub async fn list_pods(
    client: &Client,
    deployment: &DeploymentView,
) -> Result<BTreeMap<String, Vec<String>>, ListError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &deployment.key().namespace);
    let mut names = BTreeMap::<String, Vec<String>>::new();
    let mut request = of(deployment)?.limit(PAGE);
    loop {
        let page = within_time("pods", deployment, api.list_metadata(&request)).await?;
        for pod in page.items {
            if let Some((owner, name)) = controller_and_name(pod) {
                names.entry(owner).or_default().push(name);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => request = request.continue_token(&token),
            None => return Ok(names),
        }
    }
}

/// The pods of one of the Deployment's ReplicaSets that serve; of more than a hundred that run, those of the first hundred
/// by name.
///
/// # Errors
/// When the API server does not answer, refuses, or takes more than 5 s.
pub async fn list_serving_pods(
    client: &Client,
    deployment: &DeploymentView,
    revision: &Revision,
) -> Result<Vec<ServingPod>, ListError> {
    let key = deployment.key();
    let api: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
    let mut request = of(deployment)?.fields("status.phase=Running").limit(SERVING_PODS);
    // A ReplicaSet is named after its Deployment and the hash that its pods are labelled with.
    let hash = revision.replica_set.strip_prefix(key.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
    if let (Some(labels), Some(hash)) = (&mut request.label_selector, hash) {
        labels.push_str(",pod-template-hash=");
        labels.push_str(hash);
    }
    let page = within_time("pods", deployment, api.list(&request)).await?;
    Ok(page.items.into_iter().filter(|pod| is_owned(pod, &revision.uid)).filter_map(ServingPod::of).collect())
}

fn is_owned(pod: &Pod, replica_set_uid: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == replica_set_uid)
}

/// What keeps a pod from running, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// It cannot be scheduled or started, which the code in it could not be blamed for.
    Environment(String),
    /// It was started and ended, again and again.
    Crash(String),
}

/// How the pods of a ReplicaSet are at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodsNow {
    /// How many are Ready, of the first page.
    pub ready: u32,
    /// What keeps one of them from running; `None` when nothing is said of that kind.
    pub hindrance: Option<Hindrance>,
}

/// How the pods of the ReplicaSet with this uid are: nearer to them than what is counted in the ReplicaSet's status.
///
/// # Errors
/// When the API server does not answer, refuses, or takes more than 5 s.
pub async fn pods_now(
    client: &Client,
    deployment: &DeploymentView,
    replica_set_uid: &str,
) -> Result<PodsNow, ListError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &deployment.key().namespace);
    // One page is enough for an example.
    let page = within_time("pods", deployment, api.list(&of(deployment)?.limit(PAGE))).await?;
    let owned = page.items.iter().filter(|pod| is_owned(pod, replica_set_uid));
    let (ready, others): (Vec<_>, Vec<_>) = owned.partition(|pod| is_ready(pod));
    let hindrance = others.into_iter().filter_map(hindrance_of).next();
    Ok(PodsNow { ready: u32::try_from(ready.len()).unwrap_or(u32::MAX), hindrance })
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

fn hindrance_of(pod: &Pod) -> Option<Hindrance> {
    const NO_IMAGE: [&str; 5] =
        ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"];
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let unscheduled = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        let (reason, message) = (condition.reason.as_deref()?, condition.message.as_deref().unwrap_or_default());
        return Some(Hindrance::Environment(format!("{reason}: {message}")));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    waiting
        .filter_map(|waiting| {
            let reason = waiting.reason.as_deref()?;
            let why = format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default());
            match reason {
                "CrashLoopBackOff" => Some(Hindrance::Crash(why)),
                reason if NO_IMAGE.contains(&reason) => Some(Hindrance::Environment(why)),
                _ => None,
            }
        })
        .next()
}

/// The uid of what controls the pod, and the pod's name.
fn controller_and_name(pod: PartialObjectMeta<Pod>) -> Option<(String, String)> {
    let owner = pod.metadata.owner_references?.into_iter().find(|owner| owner.controller == Some(true))?;
    Some((owner.uid, pod.metadata.name?))
}

/// Asks for what the Deployment's selector selects.
fn of(deployment: &DeploymentView) -> Result<ListParams, ListError> {
    let selector = deployment.spec.selector.as_deref();
    let selector = selector.ok_or_else(|| ListError::Selector { deployment: deployment.key().to_string() })?;
    Ok(ListParams::default().labels(selector))
}

async fn within_time<T>(
    what: &'static str,
    deployment: &DeploymentView,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ListError> {
    let deployment = deployment.key().to_string();
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(listed)) => Ok(listed),
        Ok(Err(source)) => Err(ListError::Failed { what, deployment, source }),
        Err(_) => Err(ListError::TimedOut { what, deployment }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn why(status: Value) -> Option<Hindrance> {
        let pod = serde_json::from_value(json!({"metadata": {"name": "rübe-x7"}, "status": status}));
        hindrance_of(&pod.expect("a pod"))
    }

    /// The status of a pod whose one container waits for this reason.
    fn waiting(reason: &str) -> Value {
        let state = json!({"waiting": {"reason": reason, "message": "no such thing"}});
        let container = json!({"name": "kern", "image": "rübe:9", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        json!({"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [container]})
    }

    #[test]
    fn a_pod_that_fits_on_no_node_cannot_run() {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"});
        let why = why(json!({"conditions": [condition]}));
        assert_eq!(why, Some(Hindrance::Environment("Unschedulable: 0/2 nodes".to_owned())));
    }

    #[test]
    fn a_pod_whose_image_is_missing_cannot_run() {
        let why = why(waiting("ImagePullBackOff"));
        assert_eq!(why, Some(Hindrance::Environment("ImagePullBackOff: no such thing".to_owned())));
    }

    #[test]
    fn a_crash_is_the_fault_of_the_code_in_the_pod() {
        let why = why(waiting("CrashLoopBackOff"));
        assert_eq!(why, Some(Hindrance::Crash("CrashLoopBackOff: no such thing".to_owned())));
    }

    #[test]
    fn a_pod_of_which_nothing_is_said_yet_is_no_reason() {
        assert_eq!(why(json!({})), None);
    }
}
