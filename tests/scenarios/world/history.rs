//! Everything that happened to the Deployments and ReplicaSets of a namespace, so that "never" and "exactly once" can be
//! asserted over a whole scenario.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinSet;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HOLD: &str = "errorbudget.dev/hold";
const ROLLED_BACK: &str = "errorbudget.dev/rolled-back";
const CONDEMNED: &str = "errorbudget.dev/condemned";

/// A Deployment at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentView {
    /// Name.
    pub(crate) name: String,
    /// Changes with each write of the spec.
    pub(crate) generation: i64,
    /// The image's tag in the template.
    pub(crate) version: String,
    /// `spec.replicas`.
    pub(crate) replicas: i32,
    /// `spec.paused`.
    pub(crate) paused: bool,
    /// Our annotation that says the pause is ours.
    pub(crate) hold: Option<String>,
    /// Our annotation about the last rollback.
    pub(crate) rolled_back: Option<String>,
    /// In which order the API server made it.
    resource_version: u64,
}

/// A ReplicaSet at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaSetView {
    /// Name.
    pub(crate) name: String,
    /// The Deployment it belongs to.
    pub(crate) deployment: String,
    /// The image's tag in its template.
    pub(crate) version: String,
    /// `deployment.kubernetes.io/revision`.
    pub(crate) revision: u64,
    /// `spec.replicas`.
    pub(crate) desired: i32,
    /// Ready pods.
    pub(crate) ready: i32,
    /// Our annotation that says it was rolled back.
    pub(crate) condemned: Option<String>,
    /// In which order the API server made it.
    resource_version: u64,
}

impl DeploymentView {
    fn is_like(&self, other: &Self) -> bool {
        *self == Self { resource_version: self.resource_version, ..other.clone() }
    }
}

impl ReplicaSetView {
    fn is_like(&self, other: &Self) -> bool {
        *self == Self { resource_version: self.resource_version, ..other.clone() }
    }
}

impl From<&Deployment> for DeploymentView {
    fn from(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        Self {
            name: deployment.name_any(),
            generation: deployment.metadata.generation.unwrap_or_default(),
            version: version(&spec.template),
            replicas: spec.replicas.unwrap_or_default(),
            paused: spec.paused.unwrap_or_default(),
            hold: deployment.annotations().get(HOLD).cloned(),
            rolled_back: deployment.annotations().get(ROLLED_BACK).cloned(),
            resource_version: order(&deployment.metadata),
        }
    }
}

impl From<&ReplicaSet> for ReplicaSetView {
    fn from(replica_set: &ReplicaSet) -> Self {
        let spec = replica_set.spec.clone().unwrap_or_default();
        let owner = replica_set.owner_references().first().map(|owner| owner.name.clone());
        let revision = replica_set.annotations().get(REVISION).and_then(|number| number.parse().ok());
        Self {
            name: replica_set.name_any(),
            deployment: owner.unwrap_or_default(),
            version: spec.template.as_ref().map(version).unwrap_or_default(),
            revision: revision.unwrap_or_default(),
            desired: spec.replicas.unwrap_or_default(),
            ready: replica_set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default(),
            condemned: replica_set.annotations().get(CONDEMNED).cloned(),
            resource_version: order(&replica_set.metadata),
        }
    }
}

/// How many pods each version is told to have, and how many are Ready, by name of version.
pub(super) fn pods(sets: &mut [&ReplicaSetView]) -> String {
    sets.sort_by(|a, b| a.version.cmp(&b.version));
    let each: Vec<_> = sets.iter().map(|set| format!("{}: {}/{}", set.version, set.ready, set.desired)).collect();
    each.join(", ")
}

/// All objects of one server are in one order.
pub(super) fn order(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn version(template: &PodTemplateSpec) -> String {
    let image = template.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default();
    image.rsplit_once(':').map_or(image.clone(), |(_, tag)| tag.to_owned())
}

/// What was seen, oldest first.
#[derive(Debug, Default)]
struct Record {
    deployments: Vec<(Duration, DeploymentView)>,
    replica_sets: Vec<(Duration, ReplicaSetView)>,
}

/// Watches a namespace. Dropping it ends the watch.
pub(crate) struct History {
    record: Arc<Mutex<Record>>,
    _watches: JoinSet<()>,
}

impl History {
    pub(crate) fn watch(client: &Client, namespace: &str) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let began = Instant::now();
        let mut watches = JoinSet::new();
        let kept = Arc::clone(&record);
        watches.spawn(follow(Api::namespaced(client.clone(), namespace), move |deployment: Deployment| {
            let view = DeploymentView::from(&deployment);
            let mut record = locked(&kept);
            let same = |(_, seen): &&(Duration, DeploymentView)| seen.name == view.name;
            if record.deployments.iter().rev().find(same).is_none_or(|(_, seen)| !seen.is_like(&view)) {
                record.deployments.push((began.elapsed(), view));
            }
        }));
        let kept = Arc::clone(&record);
        watches.spawn(follow(Api::namespaced(client.clone(), namespace), move |replica_set: ReplicaSet| {
            let view = ReplicaSetView::from(&replica_set);
            let mut record = locked(&kept);
            let same = |(_, seen): &&(Duration, ReplicaSetView)| seen.name == view.name;
            if record.replica_sets.iter().rev().find(same).is_none_or(|(_, seen)| !seen.is_like(&view)) {
                record.replica_sets.push((began.elapsed(), view));
            }
        }));
        Self { record, _watches: watches }
    }

    /// Every state of the Deployment, oldest first.
    pub(crate) fn of(&self, deployment: &str) -> Vec<DeploymentView> {
        let record = locked(&self.record);
        let views = record.deployments.iter().map(|(_, view)| view);
        views.filter(|view| view.name == deployment).cloned().collect()
    }

    /// Every state of the Deployment's ReplicaSets, oldest first.
    pub(crate) fn replica_sets_of(&self, deployment: &str) -> Vec<ReplicaSetView> {
        let record = locked(&self.record);
        let views = record.replica_sets.iter().map(|(_, view)| view);
        views.filter(|view| view.deployment == deployment).cloned().collect()
    }

    /// How the pods of the Deployment were spread, oldest first, each in the form of [`World::pods`](super::World::pods).
    pub(crate) fn pods(&self, deployment: &str) -> Vec<String> {
        let mut sets = BTreeMap::new();
        let spread = |set: ReplicaSetView| {
            sets.insert(set.name.clone(), set);
            pods(&mut sets.values().collect::<Vec<_>>())
        };
        self.replica_sets_of(deployment).into_iter().map(spread).collect()
    }

    /// The versions that the Deployment's template had, in order: `["v1", "v2", "v1"]` is exactly one rollback.
    pub(crate) fn versions(&self, deployment: &str) -> Vec<String> {
        let mut versions: Vec<String> = self.of(deployment).into_iter().map(|view| view.version).collect();
        versions.dedup();
        versions
    }

    /// How often the Deployment was paused, by anyone, but for the pause in which each new template waits to be let in.
    pub(crate) fn pauses(&self, deployment: &str) -> usize {
        let waits = |view: &DeploymentView| view.hold.as_deref().is_some_and(|hold| hold.contains(r#""Validating""#));
        let mut paused: Vec<bool> = self.of(deployment).iter().map(|view| view.paused && !waits(view)).collect();
        paused.dedup();
        paused.into_iter().filter(|paused| *paused).count()
    }

    /// How often the operator recorded a rollback on the Deployment.
    pub(crate) fn rollbacks(&self, deployment: &str) -> usize {
        let mut marks: Vec<Option<String>> = self.of(deployment).into_iter().map(|view| view.rolled_back).collect();
        marks.dedup();
        marks.into_iter().flatten().count()
    }

    /// Whether a ReplicaSet of this version bears the condemned mark.
    pub(crate) fn condemned(&self, deployment: &str, version: &str) -> bool {
        self.replica_sets_of(deployment).iter().any(|view| view.version == version && view.condemned.is_some())
    }

    /// The most pods that any ReplicaSet of this version was ever told to have.
    pub(crate) fn most_pods_of(&self, deployment: &str, version: &str) -> i32 {
        let views = self.replica_sets_of(deployment).into_iter();
        views.filter(|view| view.version == version).map(|view| view.desired).max().unwrap_or_default()
    }

    /// The fewest pods that the ReplicaSet of this version was ever told to have before the Deployment was last released.
    pub(crate) fn fewest_until_released(&self, deployment: &str, version: &str) -> i32 {
        let record = locked(&self.record);
        let views: Vec<_> =
            record.deployments.iter().map(|(_, view)| view).filter(|view| view.name == deployment).collect();
        let last_held = views.iter().rposition(|view| view.hold.is_some());
        let released = last_held.and_then(|last| views.get(last + 1)).map_or(u64::MAX, |view| view.resource_version);
        let sets = record.replica_sets.iter().map(|(_, view)| view);
        let sets = sets.filter(|view| view.deployment == deployment && view.version == version);
        let before = sets.filter(|view| view.resource_version < released);
        before.map(|view| view.desired).min().unwrap_or_default()
    }

    /// The most pods that any ReplicaSet of this version was told to have before the Deployment was held no more, and
    /// the fewest that those of the other were.
    pub(crate) fn pods_while_held(&self, deployment: &str, canary: &str, stable: &str) -> (i32, i32) {
        let record = locked(&self.record);
        let begun = record.deployments.iter().skip_while(|(_, seen)| seen.name != deployment || seen.version != canary);
        let mut held = begun.skip_while(|(_, seen)| seen.hold.is_none());
        let from = held.clone().next().map_or(0, |(_, seen)| seen.resource_version);
        let to = held.find(|(_, seen)| seen.hold.is_none()).map_or(u64::MAX, |(_, seen)| seen.resource_version);
        let sets = || record.replica_sets.iter().map(|(_, seen)| seen).filter(|seen| seen.deployment == deployment);
        let before = sets().rfind(|seen| seen.version == stable && seen.resource_version < from);
        let within = || sets().filter(|seen| (from..to).contains(&seen.resource_version));
        let most = within().filter(|seen| seen.version == canary).map(|seen| seen.desired).max().unwrap_or_default();
        let stable = within().filter(|seen| seen.version == stable).chain(before).map(|seen| seen.desired);
        (most, stable.min().unwrap_or_default())
    }
}

/// One line a change, with the seconds since the beginning.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = locked(&self.record);
        let mut lines: BTreeMap<(Duration, usize), String> = BTreeMap::new();
        for (at, view) in &record.deployments {
            let DeploymentView { name, generation, version, replicas, paused, hold, rolled_back, .. } = view;
            let line = format!(
                "deployment {name}: {version}, generation {generation}, {replicas} replicas{}{}{}",
                if *paused { ", paused" } else { "" },
                if hold.is_some() { ", held" } else { "" },
                if rolled_back.is_some() { ", rolled back" } else { "" },
            );
            lines.insert((*at, lines.len()), line);
        }
        for (at, view) in &record.replica_sets {
            let ReplicaSetView { name, version, revision, desired, ready, condemned, .. } = view;
            let condemned = if condemned.is_some() { ", condemned" } else { "" };
            let line = format!("  {name} ({version}, revision {revision}): {ready} of {desired} ready{condemned}");
            lines.insert((*at, lines.len()), line);
        }
        lines.iter().try_for_each(|((at, _), line)| writeln!(f, "{:7.2} s  {line}", at.as_secs_f64()))
    }
}

/// Shows each state of each object, as far as the watch is given them.
pub(super) async fn follow<K>(api: Api<K>, mut see: impl FnMut(K))
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes.into_stream());
    while let Some(change) = changes.next().await {
        if let Ok(object) = change {
            see(object);
        }
    }
}

/// A test that panicked with the lock held must not hide its message behind a second panic.
fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
