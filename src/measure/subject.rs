//! A rollout as the sampler sees it: whose counters to read, where, and how often.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::direct::target::Target;
use super::histogram::Histogram;
use super::pods::PodGroup;
use super::promql::Selector;
use super::query::{Query, Revisions};
use super::scrape::Side;
use crate::watch::rollout::DeploymentKey;

/// What an objective reads, with its selectors parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Indicator {
    /// Two counters that each pod exports.
    Ratio {
        /// Counts bad requests.
        errors: Selector,
        /// Counts all requests.
        total: Selector,
    },
    /// A classic histogram that each pod exports: requests above its threshold are bad.
    Classic(Histogram),
    /// A native histogram that each pod exports.
    Native(Histogram),
    /// Two expressions, asked of each revision.
    Query(Arc<Query>),
}

impl Indicator {
    /// Whether it tells the new pods from the old ones. If not, both sides are the service as a whole.
    #[must_use]
    pub fn tells_revisions_apart(&self) -> bool {
        match self {
            Self::Ratio { .. } | Self::Classic(_) | Self::Native(_) => true,
            Self::Query(query) => query.tells_revisions_apart(),
        }
    }

    /// What all requests are counted by, as messages name it.
    #[must_use]
    pub fn total(&self) -> String {
        match self {
            Self::Ratio { total, .. } => total.to_string(),
            Self::Classic(histogram) => {
                format!("the bucket of {} with the bound {}", histogram.selector(), histogram.threshold())
            }
            Self::Native(histogram) => format!("the native histogram {}", histogram.selector()),
            Self::Query(query) => query.total().as_str().to_owned(),
        }
    }
}

/// Where the counters are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the Prometheus endpoint of this name.
    Prometheus(String),
    /// From the pods themselves.
    Pods(PodsToRead),
}

/// The pods of a rollout that are read directly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodsToRead {
    /// Of the new ReplicaSet.
    pub canary: Vec<Target>,
    /// Of the one to go back to.
    pub stable: Vec<Target>,
    /// Why it is not known which pods there are, when it is not.
    pub unlisted: Option<Arc<str>>,
}

/// What to read of one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The Deployment that is rolled out.
    pub key: DeploymentKey,
    /// Where its counters are.
    pub from: ReadFrom,
    /// Time between two looks, in whole seconds, at least 1 s. A fraction is cut off, and less is taken for 1 s.
    pub look_interval: Duration,
    /// In the policy's order.
    pub objectives: Vec<Indicator>,
    /// Pods of the new ReplicaSet.
    pub canary: PodGroup,
    /// Pods of the ReplicaSet to go back to; `None` when there is none.
    pub stable: Option<PodGroup>,
    /// How many pods both have, as far as is known: so many series an answer about them has.
    pub pods: u32,
    /// Whether to ask which of the pods are scraped: canary pods are Ready of which nothing was seen.
    pub asks_scraped: bool,
    /// What the placeholders of queries stand for; `None` without a query.
    pub revisions: Option<Arc<Revisions>>,
    /// When the rollout began.
    pub since: Timestamp,
}

impl Subject {
    /// True when what was read for `earlier` is a part of what is to be read for this one: all is equal but for lists and numbers
    /// of pods, which change while pods come and go, and what follows from them.
    #[must_use]
    pub fn continues(&self, earlier: &Self) -> bool {
        let same = |one: &PodGroup, other: &PodGroup| {
            one == other || matches!((one, other), (PodGroup::Names(_), PodGroup::Names(_)))
        };
        let same_stable = match (&self.stable, &earlier.stable) {
            (Some(one), Some(other)) => same(one, other),
            (one, other) => one == other,
        };
        let from = match (&self.from, &earlier.from) {
            (ReadFrom::Pods(_), ReadFrom::Pods(_)) => &self.from,
            (_, from) => from,
        };
        let (canary, stable, from) = (self.canary.clone(), self.stable.clone(), from.clone());
        let Self { pods, asks_scraped, .. } = *self;
        let renamed = Self { canary, stable, from, pods, asks_scraped, ..earlier.clone() };
        *self == renamed && same(&self.canary, &earlier.canary) && same_stable
    }

    /// The side that a pod of this name is on.
    pub(super) fn side(&self, pod: &str) -> Option<Side> {
        if self.canary.contains(pod) {
            Some(Side::Canary)
        } else if self.stable.as_ref().is_some_and(|group| group.contains(pod)) {
            Some(Side::Stable)
        } else {
            None
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &PodGroup> {
        std::iter::once(&self.canary).chain(&self.stable)
    }
}
