//! What is kept of each Deployment between two reconciles. All of it can be rebuilt from the API server and Prometheus.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::measured::Measured;
use super::reading::Reading;
use crate::api::status::RolloutStatus;
use crate::decide::service::Stability;
use crate::decide::state::State;
use crate::policy::{PolicyKey, Slo};
use crate::watch::TemplateIds;
use crate::watch::rollout::{DeploymentKey, Rollout};

/// A policy at one of its generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Governed {
    pub(super) key: PolicyKey,
    pub(super) uid: String,
    pub(super) generation: i64,
    /// What the objectives that it names were.
    pub(super) slos: Arc<[Slo]>,
}

/// One Deployment.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// The Deployment's uid: one that was deleted and created anew is another one.
    pub(super) uid: String,
    /// The policy that governed it last.
    pub(super) policy: Option<Governed>,
    /// What is remembered; `None` until it was seen.
    pub(super) state: Option<State>,
    /// What the looks have shown, while there are looks.
    pub(super) measured: Option<Measured>,
    /// Which pods are read, where it is pods that are.
    pub(super) reading: Option<Reading>,
    /// Whether the new pods stay Ready.
    pub(super) stability: Stability,
    /// The facts, with the `resourceVersion` of the Deployment they were made from; empty when they are to be made anew.
    pub(super) facts: Option<(String, Rollout)>,
    /// The template that the Deployment has.
    pub(super) newest: Option<TemplateIds>,
    /// The generation that our last write made: older views are not worth deciding on.
    pub(super) written: i64,
    /// After a rollback, the ownership of the template's fields may still have to be handed back to their appliers.
    pub(super) hand_back_due: bool,
    /// The status entry as it was last handed on.
    pub(super) told: Option<RolloutStatus>,
    /// The images that were handed on with it.
    pub(super) told_images: Vec<String>,
    /// Times in a row that the change of it failed.
    pub(super) failures: u32,
}

impl Tracked {
    /// Whether there is something to keep: of what no policy selects, and that is most of a large cluster, there is not.
    fn is_worth_keeping(&self) -> bool {
        self.policy.is_some() || self.written > 0 || self.failures > 0
    }
}

/// The Deployments that policies govern. An entry is taken out while it is worked on: there is one reconcile of a Deployment at a time.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<DeploymentKey, Box<Tracked>>>);

impl Memory {
    /// What is kept of the Deployment, or nothing yet.
    pub(super) fn take(&self, key: &DeploymentKey) -> Tracked {
        self.forget(key).unwrap_or_default()
    }

    /// Reads something of it, if it is not being worked on.
    pub(super) fn look<T>(&self, key: &DeploymentKey, read: impl FnOnce(&Tracked) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(|tracked| read(tracked))
    }

    /// Keeps nothing of it any more.
    pub(super) fn forget(&self, key: &DeploymentKey) -> Option<Tracked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).map(|tracked| *tracked)
    }

    /// Keeps it, if there is something to keep.
    pub(super) fn put(&self, key: DeploymentKey, tracked: Tracked) {
        if tracked.is_worth_keeping() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Box::new(tracked));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> DeploymentKey {
        DeploymentKey { namespace: "rübe".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn nothing_is_kept_of_a_deployment_that_no_policy_governs() {
        let memory = Memory::default();
        let of = |uid: &str| Tracked { uid: uid.to_owned(), ..Tracked::default() };
        let slos = Arc::new([]);
        let governed = Governed {
            key: PolicyKey { namespace: "rübe".to_owned(), name: "q".to_owned() },
            uid: "p-7".to_owned(),
            generation: 2,
            slos,
        };
        memory.put(key("kale"), of("k-1"));
        memory.put(key("leek"), Tracked { policy: Some(governed), ..of("l-1") });
        // A view that is older than our own last write must not be decided on, whoever governs it now.
        memory.put(key("chard"), Tracked { written: 4, ..of("c-1") });
        memory.put(key("swede"), Tracked { failures: 1, ..of("s-1") });
        let kept =
            ["kale", "leek", "chard", "swede"].map(|name| memory.look(&key(name), |tracked| tracked.uid.clone()));
        assert_eq!(kept, [None, Some("l-1".to_owned()), Some("c-1".to_owned()), Some("s-1".to_owned())]);
    }
}
