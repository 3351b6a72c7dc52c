//! Deployments and ReplicaSets as far as we look at them.
//!
//! A cluster has many, and one in full is tens of kilobytes. Templates are reduced to their ids and metadata to what is
//! used while an object is read, so that the rest is gone before the next one arrives.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Selector;
use serde::{Deserialize, Deserializer};

use super::annotations::{ASKS, HOLD, HoldMark, PREFIX, REQUESTED_BY, REVISION};
use super::rollout::{Amount, DeploymentKey, Settings, Strategy};
use super::template::TemplateIds;

/// A Deployment as far as we look at it: about two kilobytes.
#[derive(kube::Resource, Deserialize, Debug, Clone, PartialEq)]
#[resource(inherit = "Deployment")]
#[serde(from = "WholeDeployment")]
pub struct DeploymentView {
    /// Without annotations, managed fields and finalizers.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: DeploymentSpecView,
    /// What is.
    pub status: DeploymentStatusView,
    hold: Option<HoldMark>,
    /// What people ask for, and who brought the template: few Deployments have any of it.
    asked: Vec<(&'static str, String)>,
    revision: u64,
}

/// What is read of a Deployment, before the rest of it is dropped.
#[derive(Deserialize)]
struct WholeDeployment {
    metadata: ObjectMeta,
    spec: DeploymentSpecView,
    #[serde(default)]
    status: DeploymentStatusView,
}

impl From<WholeDeployment> for DeploymentView {
    fn from(mut whole: WholeDeployment) -> Self {
        let hold = annotation(&whole.metadata, HOLD).map(HoldMark::read);
        let asked = |key| Some((key, annotation(&whole.metadata, key)?.to_owned()));
        let asked = ASKS.into_iter().chain([REQUESTED_BY]).filter_map(asked).collect();
        let revision = revision(&whole.metadata);
        prune(&mut whole.metadata);
        whole.metadata.annotations = None;
        Self { metadata: whole.metadata, spec: whole.spec, status: whole.status, hold, asked, revision }
    }
}

/// `spec` of a Deployment.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpecView {
    /// Pods wanted. The API server always fills it in.
    #[serde(default = "one")]
    pub replicas: i32,
    /// The controller leaves the pods alone.
    #[serde(default)]
    pub paused: bool,
    /// How pods are replaced.
    #[serde(default)]
    pub strategy: StrategyView,
    /// How long a pod must be Ready before it counts as available.
    #[serde(default)]
    pub min_ready_seconds: i32,
    /// How long the newest pods may take to become available.
    pub progress_deadline_seconds: Option<i32>,
    /// How many old ReplicaSets Kubernetes keeps.
    pub revision_history_limit: Option<i32>,
    /// Which pods and ReplicaSets are its own, as a request for a list says it. `None` when Kubernetes could not read
    /// it either.
    #[serde(deserialize_with = "selector")]
    pub selector: Option<String>,
    /// What its pods are made from.
    pub template: TemplateIds,
}

/// `status` of a Deployment.
#[derive(Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatusView {
    /// The generation the rest is said of.
    pub observed_generation: i64,
    /// Pods that exist, of every template.
    pub replicas: i32,
    /// Pods of the newest template that exist.
    pub updated_replicas: i32,
    /// Pods that have been Ready for long enough.
    pub available_replicas: i32,
    /// The condition `Progressing`: what Kubernetes says of the newest rollout, or still of the one before.
    #[serde(rename = "conditions", deserialize_with = "progressing")]
    pub progressing: Option<ConditionView>,
}

/// `spec.strategy` of a Deployment.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(from = "WholeStrategy")]
pub struct StrategyView {
    /// Which.
    pub kind: Strategy,
    /// `rollingUpdate.maxSurge`.
    pub max_surge: Amount,
    /// `rollingUpdate.maxUnavailable`.
    pub max_unavailable: Amount,
}

impl Default for StrategyView {
    fn default() -> Self {
        WholeStrategy::default().into()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WholeStrategy {
    #[serde(rename = "type")]
    type_: Option<String>,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_surge: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
}

impl From<WholeStrategy> for StrategyView {
    fn from(whole: WholeStrategy) -> Self {
        let rolling = whole.rolling_update.unwrap_or_default();
        Self {
            kind: match whole.type_.as_deref() {
                Some("Recreate") => Strategy::Recreate,
                _ => Strategy::RollingUpdate,
            },
            max_surge: rolling.max_surge.as_ref().map_or(Settings::DEFAULT.max_surge, amount),
            max_unavailable: rolling.max_unavailable.as_ref().map_or(Settings::DEFAULT.max_unavailable, amount),
        }
    }
}

/// The API server has seen to it that it is a number of pods or a percentage.
fn amount(value: &IntOrString) -> Amount {
    match value {
        IntOrString::Int(pods) => Amount::Pods(u32::try_from(*pods).unwrap_or_default()),
        IntOrString::String(text) => {
            Amount::Percent(text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or_default())
        }
    }
}

/// The settings that a held canary needs to be otherwise.
pub(super) fn settings(strategy: &StrategyView, min_ready_seconds: i32, progress_deadline: Option<i32>) -> Settings {
    Settings {
        max_surge: strategy.max_surge,
        max_unavailable: strategy.max_unavailable,
        min_ready_seconds: u32::try_from(min_ready_seconds).unwrap_or_default(),
        progress_deadline_seconds: progress_deadline
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(Settings::DEFAULT.progress_deadline_seconds),
    }
}

impl DeploymentSpecView {
    /// The settings that a held canary needs to be otherwise, as they are now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        settings(&self.strategy, self.min_ready_seconds, self.progress_deadline_seconds)
    }
}

fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let selector = LabelSelector::deserialize(deserializer)?;
    Ok(Selector::try_from(selector).ok().map(|selector| selector.to_string()))
}

fn progressing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ConditionView>, D::Error> {
    let conditions = Vec::<ConditionView>::deserialize(deserializer)?;
    Ok(conditions.into_iter().find(|condition| condition.type_ == "Progressing"))
}

/// A condition of a Deployment or ReplicaSet.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ConditionView {
    /// Which.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// When it was last said (Deployments only).
    pub last_update_time: Option<Timestamp>,
}

/// A ReplicaSet as far as we look at it. Listed when needed, never watched.
#[derive(kube::Resource, Deserialize, Debug, Clone, PartialEq)]
#[resource(inherit = "ReplicaSet")]
pub struct ReplicaSetView {
    /// Pruned: of the annotations only ours and the revision, nothing of managed fields.
    #[serde(deserialize_with = "pruned")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ReplicaSetSpecView,
    /// What is.
    #[serde(default)]
    pub status: ReplicaSetStatusView,
}

/// `spec` of a ReplicaSet.
#[derive(Deserialize, Debug, Clone, PartialEq)]
pub struct ReplicaSetSpecView {
    /// Pods wanted.
    #[serde(default = "one")]
    pub replicas: i32,
    /// What its pods are made from.
    pub template: TemplateIds,
}

/// `status` of a ReplicaSet.
#[derive(Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatusView {
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are Ready.
    pub ready_replicas: i32,
    /// Pods that have been Ready for long enough.
    pub available_replicas: i32,
    /// What Kubernetes says of it.
    pub conditions: Vec<ConditionView>,
}

const fn one() -> i32 {
    1
}

/// Reads metadata and keeps what is used.
fn pruned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    prune(&mut metadata);
    Ok(metadata)
}

fn prune(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.finalizers = None;
    metadata.self_link = None;
    metadata.generate_name = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|key, _| key.starts_with(PREFIX) || key == REVISION);
    }
}

/// An annotation's value.
fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

impl DeploymentView {
    /// Which Deployment it is.
    #[must_use]
    pub fn key(&self) -> DeploymentKey {
        DeploymentKey {
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Its uid; empty only in a view that did not come from an API server.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its labels: what policies select it by.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    /// What our hold annotation says.
    #[must_use]
    pub const fn hold(&self) -> Option<&HoldMark> {
        self.hold.as_ref()
    }

    /// Something of a hold of ours is on it: the annotation, or our settings without it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.is_some() || self.spec.settings().min_ready_seconds == Settings::HELD_MIN_READY_SECONDS
    }

    /// One of the annotations by which people ask for something, or the one that says who brought the template.
    #[must_use]
    pub fn asked(&self, key: &str) -> Option<&str> {
        self.asked.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// People ask for something.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.iter().any(|(key, _)| *key != REQUESTED_BY)
    }

    /// The number of its newest revision, as Kubernetes noted it on the Deployment; 0 before it has.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// It is being deleted.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// The controller has seen the newest generation.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.status.observed_generation >= self.metadata.generation.unwrap_or_default()
    }

    /// Every wanted pod is of the newest template and available, and no other exists: what `kubectl rollout status`
    /// waits for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_observed()
            && self.status.updated_replicas >= self.spec.replicas
            && self.status.replicas <= self.status.updated_replicas
            && self.status.available_replicas >= self.status.updated_replicas
    }
}

impl ReplicaSetView {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its revision's number; 0 when it has none yet.
    #[must_use]
    pub fn revision(&self) -> u64 {
        revision(&self.metadata)
    }

    /// One of its annotations: ours and the revision only, all others are gone.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        annotation(&self.metadata, key)
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }

    /// The Deployment with this uid controls it.
    #[must_use]
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        let mut owners = self.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
    }
}

fn revision(metadata: &ObjectMeta) -> u64 {
    annotation(metadata, REVISION).and_then(|number| number.parse().ok()).unwrap_or_default()
}
