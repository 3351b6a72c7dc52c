//! Kubernetes in: Deployments, policies and ReplicaSets become facts of a rollout.
//!
//! Deployments and policies are watched, each reduced to what is used while it is read. ReplicaSets are listed when a
//! rollout needs them. [`facts`] makes of both what the later stages know.

pub mod annotations;
pub mod facts;
mod list;
pub mod pod;
mod policy_view;
mod quantity;
mod reflect;
pub mod rollout;
mod scope;
mod template;
pub mod view;

use futures::StreamExt;
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};

pub use list::{
    Hindrance, ListError, PodsNow, list_pods, list_replica_sets, list_serving_pods, pods_now, policy_exists,
};
pub use policy_view::{PolicyView, Unusable};
pub use reflect::Touched;
pub use scope::Scope;
pub use template::TemplateIds;
pub use view::{DeploymentView, ReplicaSetView};

use crate::policy::PolicyKey;
use rollout::DeploymentKey;

/// Watches Deployments. Every change of one is told.
#[must_use]
pub fn deployments(client: &Client, scope: &Scope) -> (Store<DeploymentView>, Touched<DeploymentView>) {
    start(client, scope, |known, now| known.metadata.resource_version != now.metadata.resource_version)
}

/// Watches policies. A change of a spec is told, and that a policy is new or gone; what is written to a status is not.
#[must_use]
pub fn policies(client: &Client, scope: &Scope) -> (Store<PolicyView>, Touched<PolicyView>) {
    start(client, scope, PolicyView::spec_differs)
}

fn start<K>(client: &Client, scope: &Scope, differs: reflect::Differs<K>) -> (Store<K>, Touched<K>)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: serde::de::DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let watches = scope.apis::<K>(client).into_iter().map(|(namespace, api)| {
        let watch = watcher(api, watcher::Config::default()).default_backoff();
        (namespace, watch.boxed())
    });
    reflect::reflect(watches.collect(), differs)
}

/// All Deployments of a namespace: what a changed policy of it may concern.
#[must_use]
pub fn deployments_of(store: &Store<DeploymentView>, namespace: &str) -> Vec<ObjectRef<DeploymentView>> {
    let within = store.state_filter(|deployment| deployment.metadata.namespace.as_deref() == Some(namespace));
    within.iter().map(|deployment| ObjectRef::from_obj(deployment.as_ref())).collect()
}

/// All policies of a namespace, those that cannot be enforced too.
#[must_use]
pub fn policies_of(store: &Store<PolicyView>, namespace: &str) -> Vec<std::sync::Arc<PolicyView>> {
    store.state_filter(|policy| policy.metadata.namespace.as_deref() == Some(namespace))
}

impl From<&DeploymentKey> for ObjectRef<DeploymentView> {
    fn from(key: &DeploymentKey) -> Self {
        Self::new(&key.name).within(&key.namespace)
    }
}

impl From<&PolicyKey> for ObjectRef<PolicyView> {
    fn from(key: &PolicyKey) -> Self {
        Self::new(&key.name).within(&key.namespace)
    }
}
