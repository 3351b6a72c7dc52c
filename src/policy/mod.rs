//! The validated policy: parsed once, then trusted by all later stages.

mod duration;
mod govern;
mod named;
mod parse;
mod selector;
mod selector_text;
mod units;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

pub use duration::humane;
pub use govern::{Governance, govern};
pub use named::{Named, Slo, SloName};
pub use parse::PolicyError;
pub use selector::{Requirement, Selector};
pub use units::{BurnRate, Confidence, ErrorBudget, SpentShare, UnitError};

/// Which policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Its namespace: the one whose Deployments it governs.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A policy that can be enforced as it stands. Made by [`Policy::parse`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Which one.
    pub key: PolicyKey,
    /// Its uid: Events refer to it.
    pub uid: String,
    /// `metadata.generation`: what its status is said of.
    pub generation: i64,
    /// When it was created: of two policies on one Deployment the older one governs.
    pub created: Timestamp,
    /// Which Deployments of its namespace.
    pub selector: Selector,
    /// What the service promises; 1 to 8, with unique names, those that are named among them.
    pub objectives: Vec<Objective>,
    /// Objectives that other tools keep, in their order. Empty once they are read: see [`Policy::with_slos`].
    pub named: Vec<Named>,
    /// What must be true before a rollout starts.
    pub gate: Gate,
    /// How a new revision is held back; `None` when it is not (`canary.traffic: 0%`).
    pub canary: Option<Canary>,
    /// Who lets a canary go on.
    pub approval: Approval,
    /// What happens after the rollout completed.
    pub monitor: Monitor,
    /// How the verdict is reached.
    pub detection: Detection,
    /// Whether it acts.
    pub mode: Mode,
    /// Where the counters of a rollout are read.
    pub evidence: EvidenceFrom,
    /// Name of an endpoint of the operator's configuration. Whether there is one of that name is not known here.
    pub prometheus: String,
}

/// `evidence`, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidenceFrom {
    /// From Prometheus.
    Prometheus,
    /// From the pods themselves.
    Pods(PodPages),
}

/// `pods`: where pods expose their metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodPages {
    /// `None`: as the pod says.
    pub port: Option<Port>,
    /// Begins with a slash. `None`: as the pod says.
    pub path: Option<String>,
}

/// A port of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// Above 0.
    Number(u16),
    /// A container's port of this name.
    Name(String),
}

/// One promise about the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Its name, unique in the policy.
    pub name: String,
    /// The target in percent, as it was written or read.
    pub target: String,
    /// What the target leaves.
    pub budget: ErrorBudget,
    /// The time over which the budget is granted, 1 hour to 90 days.
    pub window: Duration,
    /// How good and bad requests are told apart.
    pub indicator: Indicator,
    /// What each pod serves so long after its first request is left out.
    pub warmup: Duration,
    /// Where what is left of the budget is recorded; `None` when it is computed from the indicator.
    pub budget_from: Option<BudgetSource>,
}

impl Objective {
    /// How long a whole budget lasts at this burn rate; `None` when nothing burns.
    #[must_use]
    pub fn exhausted_in(&self, burn: BurnRate) -> Option<Duration> {
        Duration::try_from_secs_f64(self.window.as_secs_f64() / burn.factor()).ok()
    }
}

/// How good and bad requests are told apart. The selectors are PromQL text that nobody has parsed yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Indicator {
    /// Errors over total, from two counters that each pod exports.
    Ratio {
        /// A vector selector for the counters of bad requests.
        errors: String,
        /// A vector selector for the counters of all requests.
        total: String,
    },
    /// Requests that take longer than a threshold are bad.
    Latency(Latency),
    /// Errors over total, from two expressions with placeholders.
    Query {
        /// An expression for bad requests.
        errors: String,
        /// An expression for all requests.
        total: String,
        /// What its value is.
        counts: Counts,
    },
}

impl Indicator {
    /// How long a pod's first time is that is left out, where the policy does not say it: caches and compilers make a pod
    /// slow at first, but seldom make it fail.
    #[must_use]
    pub const fn usual_warmup(&self) -> Duration {
        match self {
            Self::Ratio { .. } | Self::Query { .. } => Duration::ZERO,
            Self::Latency(_) => Duration::from_secs(30),
        }
    }
}

/// A histogram of durations that each pod exports, and the threshold in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Latency {
    /// A vector selector for it, by its own name.
    pub histogram: String,
    /// Above it a request is bad: 1 us to 1 h.
    pub threshold: Duration,
    /// How it is exported.
    pub kind: HistogramType,
    /// What it counts in; `None`: what its name says.
    pub unit: Option<TimeUnit>,
}

/// `latency.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistogramType {
    /// A counter for each bound.
    Classic,
    /// One series with buckets of its own making.
    Native,
}

/// `latency.unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// What the value of an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counts {
    /// A counter that only grows while its process lives.
    Cumulative,
    /// What was counted during one look.
    PerWindow,
}

/// Series in which Prometheus records the budget. The selectors are PromQL text that nobody has parsed yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BudgetSource {
    /// One number: what is left, as a ratio.
    Remaining(String),
    /// Increases over the objective's window.
    Increase {
        /// Of bad requests.
        errors: String,
        /// Of all requests.
        total: String,
    },
}

/// `validate` and `budget`: whether rollouts may start and go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// Share of the budget that may be spent.
    pub threshold: SpentShare,
    /// What an unknown budget leads to.
    pub on_unknown: OnUnknownBudget,
    /// Whose budget it is.
    pub scope: BudgetScope,
    /// The admission policies refuse new templates while it is closed, and need to know what may pass.
    pub denies: bool,
}

/// `validate.onUnknownBudget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknownBudget {
    /// Go on, and say so.
    Allow,
    /// Hold new rollouts.
    Hold,
}

/// `budget.scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetScope {
    /// Each Deployment has its own.
    PerDeployment,
    /// All selected Deployments have one together.
    Shared,
}

/// `canary`: how a new revision is held back.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Its steps, each with more traffic than the one before. Never empty.
    pub steps: Vec<CanaryStep>,
    /// Requests that it must have served before it goes on.
    pub minimum_requests: u64,
    /// How long a step waits for them at most.
    pub maximum_hold: Duration,
}

/// One step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryStep {
    /// Share of the pods in percent, 1..=100.
    pub traffic: u32,
    /// How long it is held there at least.
    pub hold: Duration,
}

/// `approval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Evidence lets a canary go on.
    Automatic,
    /// A person does, after each step.
    Manual,
}

/// How the verdict is reached. All of it is within the bounds the CRD states.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What the burn rate is reported over.
    pub window: Duration,
    /// Looks a window, 1..=10; they divide it into whole seconds.
    pub looks: u32,
    /// Burn rate above which it is a Rollback.
    pub violation: BurnRate,
    /// Burn rate above which it is a Halt; at most `violation`.
    pub warning: BurnRate,
    /// How sure a conviction must be.
    pub confidence: Confidence,
    /// Statistics, or the plain comparison.
    pub rule: Rule,
    /// What two looks in a row without evidence lead to.
    pub on_missing_evidence: OnMissingEvidence,
}

impl Detection {
    /// Time between two looks: whole seconds, at least 1 s.
    #[must_use]
    pub fn look_interval(&self) -> Duration {
        self.window / self.looks
    }
}

/// `detection.rule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Evidence processes: valid however often one looks.
    Sequential,
    /// The window's burn rate compared directly, no statistics.
    Threshold,
}

/// `detection.onMissingEvidence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissingEvidence {
    /// Halt until evidence is back.
    Hold,
    /// Go on, and say so.
    Proceed,
}

/// `monitor`.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// How long looks go on after the rollout completed.
    pub timeout: Duration,
    /// False: Halt, and say what a rollback would have done.
    pub auto_rollback: bool,
    /// So many stable pods are kept beside the new ones meanwhile; 0 keeps none, and completes the rollout first.
    pub control_pods: u32,
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Halt and roll back.
    Enforce,
    /// Say everything, touch nothing.
    Observe,
}
