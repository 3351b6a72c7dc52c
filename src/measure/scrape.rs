//! What was read of one rollout at one look: raw counters, pod by pod. The sampler brings it, the ledger takes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::look::Missing;
use crate::policy::Counts;

/// The pods of a rollout stand on two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Pods of the new ReplicaSet.
    Canary,
    /// Pods of the ReplicaSet to go back to.
    Stable,
}

/// The counters of one pod for one objective, as they were at the time of the look; of a query, those of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSample {
    /// The pod's name.
    pub pod: Arc<str>,
    /// The counter of bad requests. `None` when the pod has no such series: nothing went wrong yet, as far as one can tell.
    pub errors: Option<f64>,
    /// The counter of all requests.
    pub total: f64,
    /// When Prometheus took the sample of the total: not the time of the look, but at or before it. Of a pod that is read
    /// directly, when that was.
    pub taken: Timestamp,
    /// What a canary pod counted before its first sample, it counted in this rollout. False for a pod that is read directly
    /// and served before: how much of its counters is from this rollout is not known.
    pub from_zero: bool,
}

/// A pod that is Ready, and that could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Silent {
    /// The pod's name.
    pub pod: Arc<str>,
    /// Where it stands.
    pub side: Side,
    /// Why.
    pub failure: Failure,
}

/// The counters of all pods of one objective that have a series of the total.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Pods of the new ReplicaSet.
    pub canary: Vec<PodSample>,
    /// Pods of the ReplicaSet to go back to.
    pub stable: Vec<PodSample>,
    /// Where they come from.
    pub source: Source,
}

/// Where samples come from, and so what is to be made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Counters that pods export: each sample is of the pod it names.
    #[default]
    Pods,
    /// A query of the policy: what stands for the pod's name are the labels of a series.
    Query {
        /// What the values are.
        counts: Counts,
        /// Whether canary and stable pods are told apart. If not, all samples are the canary's, and count for both.
        is_apart: bool,
    },
}

impl Samples {
    /// Those of one side.
    #[must_use]
    pub fn of(&self, side: Side) -> &[PodSample] {
        match side {
            Side::Canary => &self.canary,
            Side::Stable => &self.stable,
        }
    }
}

/// Why the counters could not be read, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}: {message}")]
pub struct Failure {
    /// The kind of failure.
    pub why: Missing,
    /// What exactly happened, where, and, if known, what to do.
    pub message: Arc<str>,
}

impl Failure {
    /// A failure of this kind, in these words.
    pub fn new(why: Missing, message: impl Into<Arc<str>>) -> Self {
        Self { why, message: message.into() }
    }
}

/// How a scrape came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Asked at its time.
    Live,
    /// Read back later from a range query: the time before the rollout, or before a restart of the operator.
    BackFill,
}

/// One look at all objectives of one rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// The time the queries were evaluated at: a whole multiple of the look interval since the epoch.
    pub at: Timestamp,
    /// Asked at its time, or read back.
    pub origin: Origin,
    /// One for each objective, in the policy's order.
    pub objectives: Vec<Result<Samples, Failure>>,
    /// Pods that are read directly, and could not be. Prometheus does not say such things.
    pub silent: Vec<Silent>,
    /// The canary pods that Prometheus says it scrapes. `None` where it was not asked, did not answer, or says nothing of any
    /// pod of the rollout.
    pub scraped: Option<BTreeSet<Arc<str>>>,
}
