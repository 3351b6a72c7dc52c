//! Measure, where pods are read themselves: which ones, asked of the API server when something says that they may be others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Context;
use super::chain;
use super::measured::Measured;
use super::tracked::Tracked;
use crate::measure::direct::choice::Choice;
use crate::measure::direct::target::Target;
use crate::measure::subject::PodsToRead;
use crate::policy::PodPages;
use crate::watch::rollout::Revision;
use crate::watch::view::DeploymentView;

/// Pods are listed again after this when nothing says that they are others: their addresses may be.
const RELIST: Duration = Duration::from_secs(30);

/// After a list that failed, and while pods cannot be read, no sooner than this.
const SOONEST: Duration = Duration::from_secs(2);

/// The pods of a rollout that are read.
#[derive(Debug)]
pub(super) struct Reading {
    canary: Group,
    stable: Option<Group>,
    pods: PodsToRead,
    /// How many pods exist and are Ready, on both sides, as it was when they were listed.
    counts: [u32; 4],
    listed: Instant,
}

/// The pods of one ReplicaSet.
#[derive(Debug)]
struct Group {
    uid: String,
    choice: Choice,
    targets: Vec<Target>,
}

impl Reading {
    fn new(canary: &Revision, stable: Option<&Revision>, now: Instant) -> Self {
        let group =
            |revision: &Revision| Group { uid: revision.uid.clone(), choice: Choice::default(), targets: Vec::new() };
        let (canary, stable) = (group(canary), stable.map(group));
        Self { canary, stable, pods: PodsToRead::default(), counts: [0; 4], listed: now }
    }

    fn is_of(&self, canary: &Revision, stable: Option<&Revision>) -> bool {
        self.canary.uid == canary.uid
            && self.stable.as_ref().map(|group| &group.uid) == stable.map(|revision| &revision.uid)
    }
}

impl Context {
    /// The pods to be read now. They are listed when the rollout is new or its numbers of pods are others, and while some cannot
    /// be read; otherwise rarely. When that fails, those of before are read on.
    pub(super) async fn pods_to_read(
        &self,
        view: &DeploymentView,
        tracked: &mut Tracked,
        canary: &Revision,
        stable: Option<&Revision>,
        pages: &PodPages,
    ) -> PodsToRead {
        let counts = [canary, stable.unwrap_or(canary)].map(|revision| [revision.existing, revision.ready]);
        let counts = [counts[0][0], counts[0][1], counts[1][0], counts[1][1]];
        let now = Instant::now();
        let known = tracked.reading.take().filter(|reading| reading.is_of(canary, stable));
        let is_troubled = tracked.measured.as_ref().is_some_and(Measured::is_troubled);
        let is_due = known.as_ref().is_none_or(|reading| {
            let age = now.duration_since(reading.listed);
            let troubled = is_troubled || reading.pods.unlisted.is_some();
            reading.counts != counts || age >= RELIST || (troubled && age >= SOONEST)
        });
        let mut reading = known.unwrap_or_else(|| Reading::new(canary, stable, now));
        if is_due {
            (reading.listed, reading.counts) = (now, counts);
            let groups = [(Some(&mut reading.canary), Some(canary)), (reading.stable.as_mut(), stable)];
            let mut unlisted = None;
            for (group, revision) in groups {
                let (Some(group), Some(revision)) = (group, revision) else { continue };
                let listed = match revision.existing {
                    0 => Ok(Vec::new()),
                    _ => crate::watch::list_serving_pods(&self.client, view, revision).await,
                };
                match listed {
                    Ok(serving) => group.targets = group.choice.among(&serving, pages),
                    Err(error) => {
                        let why = chain(&error);
                        warn!(deployment = %view.key(), error = why, "the pods to read are those of before");
                        unlisted = Some(Arc::from(why));
                    }
                }
            }
            let stable = reading.stable.as_ref().map(|group| group.targets.clone()).unwrap_or_default();
            reading.pods = PodsToRead { canary: reading.canary.targets.clone(), stable, unlisted };
        }
        let pods = reading.pods.clone();
        tracked.reading = Some(reading);
        pods
    }
}
