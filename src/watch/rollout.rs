//! The facts of one Deployment at one moment. Pure values, handed from watching to the later stages.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// Which Deployment. The key of everything that is kept per rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for DeploymentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Names a pod template by its content, the same for a Deployment and the ReplicaSet made from it.
///
/// Two templates that differ in nothing but `pod-template-hash`, nulls and the order of keys have the same id. It is
/// what status and messages print, and what people's annotations are bound to: revision numbers move when a ReplicaSet
/// is reused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TemplateId(pub String);

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One ReplicaSet of the Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// The ReplicaSet's name.
    pub replica_set: String,
    /// Its uid.
    pub uid: String,
    /// `deployment.kubernetes.io/revision`; 0 when it has none yet.
    pub number: u64,
    /// Its template.
    pub template: TemplateId,
    /// The same without `kubectl.kubernetes.io/restartedAt`: a restart of a condemned template is still condemned.
    pub template_without_restart: TemplateId,
    /// The images of its containers, with spaces between them.
    pub images: String,
    /// The labels that its pods get: Kubernetes gives the ReplicaSet the same.
    pub labels: BTreeMap<String, String>,
    /// Pods asked for (`spec.replicas`).
    pub desired: u32,
    /// Pods that exist.
    pub existing: u32,
    /// Pods that are Ready.
    pub ready: u32,
    /// Pods that are available.
    pub available: u32,
    /// When it was created.
    pub created: Timestamp,
    /// Set when it carries a condemned mark that names its own uid.
    pub condemned: Option<Condemned>,
}

impl Revision {
    /// How many pods it has or soon will have, while Kubernetes creates some or takes some away.
    #[must_use]
    pub fn most_pods(&self) -> u32 {
        self.existing.max(self.desired)
    }
}

/// What the condemned mark of a ReplicaSet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// Why, with the numbers.
    pub reason: String,
    /// When it was decided. It tells one rollback from another, whichever process carries it out.
    pub at: Timestamp,
}

/// Who pauses the Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pause {
    /// Nobody.
    None,
    /// `spec.paused` without our annotation: a person's or a tool's own, never touched.
    User,
    /// `spec.paused` with our annotation.
    Ours,
}

/// What Kubernetes says of its progress, where it concerns the newest ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to report.
    Going,
    /// The user's own progress deadline passed and the new pods are not Ready. Kubernetes' message.
    DeadlineExceeded(String),
    /// Pods cannot be created (quota, admission), scheduled or started (image). Kubernetes' reason and message.
    CannotRun(String),
    /// Pods are started and end again and again. Kubernetes' reason and message.
    Crashing(String),
}

/// How the Deployment replaces pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Step by step.
    RollingUpdate,
    /// All old pods go first.
    Recreate,
}

/// A number of pods, or a share of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Pods(u32),
    /// So many percent of the replicas.
    Percent(u32),
}

impl Amount {
    /// How many pods that is, rounded up, as Kubernetes does with `maxSurge`.
    #[must_use]
    pub fn rounded_up(self, replicas: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => {
                u32::try_from((u64::from(percent) * u64::from(replicas)).div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }

    /// How many pods that is, rounded down, as Kubernetes does with `maxUnavailable`.
    #[must_use]
    pub fn rounded_down(self, replicas: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => u32::try_from(u64::from(percent) * u64::from(replicas) / 100).unwrap_or(u32::MAX),
        }
    }
}

/// The settings of a Deployment that a held canary needs to be otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `strategy.rollingUpdate.maxSurge`; Kubernetes fills in 25 %.
    pub max_surge: Amount,
    /// `strategy.rollingUpdate.maxUnavailable`; Kubernetes fills in 25 %.
    pub max_unavailable: Amount,
    /// `minReadySeconds`.
    pub min_ready_seconds: u32,
    /// `progressDeadlineSeconds`; Kubernetes fills in 600.
    pub progress_deadline_seconds: u32,
}

impl Settings {
    /// `minReadySeconds` of a held canary: its pods never count as available, so no stable pod may leave for them.
    pub const HELD_MIN_READY_SECONDS: u32 = 2_147_483_646;
    /// `progressDeadlineSeconds` of a held canary, which must be larger: none.
    pub const NO_PROGRESS_DEADLINE: u32 = 2_147_483_647;

    /// What Kubernetes fills in.
    pub const DEFAULT: Self = Self {
        max_surge: Amount::Percent(25),
        max_unavailable: Amount::Percent(25),
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
    };
}

/// Our hold on the Deployment, as its annotation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The policy that holds; empty when the annotation is not of our making.
    pub policy: String,
    /// Why.
    pub reason: String,
    /// What its owner had set, while ours stands in its place.
    pub own: Option<Settings>,
}

/// Something that a person asked for with an annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What the annotation says.
    pub value: String,
    /// Who set it, where the admission policies are installed.
    pub by: Option<String>,
}

/// Which template an override is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeantFor {
    /// The one of this id.
    Template(String),
    /// One that another has followed since.
    Earlier,
}

/// What people ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    /// Let the template pass a closed gate; the value is the reason.
    pub overriding: Option<Ask>,
    /// Until when that counts.
    pub override_until: Option<String>,
    /// Which template it is meant for, if that was said.
    pub override_template: Option<MeantFor>,
    /// Let the template of this id take its next step.
    pub approve: Option<Ask>,
    /// Roll the template of this id back.
    pub rollback: Option<Ask>,
    /// Why.
    pub rollback_reason: Option<String>,
}

impl Asks {
    /// Nobody asks for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything later stages know of the Deployment and its ReplicaSets.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Which Deployment.
    pub key: DeploymentKey,
    /// Its uid: a Deployment deleted and created anew is another one.
    pub uid: String,
    /// `metadata.generation`: every patch tests it.
    pub generation: i64,
    /// Pods wanted (`spec.replicas`).
    pub replicas: u32,
    /// The template it should run.
    pub template: TemplateId,
    /// The same without `kubectl.kubernetes.io/restartedAt`.
    pub template_without_restart: TemplateId,
    /// The controller has seen this generation; when false, numbers of pods are of an older one.
    pub observed: bool,
    /// Every wanted pod is of the newest template and available, and no other exists (`kubectl rollout status`).
    pub complete: bool,
    /// When Kubernetes last said that the newest ReplicaSet is available, if it says so now.
    pub completed_at: Option<Timestamp>,
    /// Who pauses it.
    pub pause: Pause,
    /// Our own hold annotation is on it, also when someone un-paused it meanwhile.
    pub hold: Option<Held>,
    /// Who brought the newest template, where the admission policies are installed.
    pub requested_by: Option<String>,
    /// What people ask for.
    pub asks: Asks,
    /// How pods are replaced.
    pub strategy: Strategy,
    /// The settings that are in force now: the owner's, or those of a held canary.
    pub settings: Settings,
    /// What Kubernetes says of its progress.
    pub progress: Progress,
    /// `spec.revisionHistoryLimit`.
    pub history_limit: u32,
    /// The ReplicaSet of the newest template: the canary. `None` until Kubernetes made it.
    pub canary: Option<Revision>,
    /// All other ReplicaSets, newest revision first.
    pub others: Vec<Revision>,
}

impl Rollout {
    /// The settings as the owner has them, also while ours stand in their place.
    #[must_use]
    pub fn own_settings(&self) -> Settings {
        let own = self.hold.as_ref().and_then(|hold| hold.own);
        own.unwrap_or(match self.settings.min_ready_seconds {
            // Somebody took our annotation away, and what it remembered with it.
            Settings::HELD_MIN_READY_SECONDS => Settings::DEFAULT,
            _ => self.settings,
        })
    }

    /// The ReplicaSet to go back to: the recorded one if it still exists and is not the newest, else, without any
    /// record, the newest other one with ready pods. Never a condemned one.
    #[must_use]
    pub fn stable(&self, recorded: Option<&TemplateId>) -> Option<&Revision> {
        let mut candidates = self.others.iter().filter(|revision| revision.condemned.is_none());
        match recorded {
            Some(template) => candidates.find(|revision| revision.template == *template),
            None => candidates.find(|revision| revision.ready > 0),
        }
    }
}
