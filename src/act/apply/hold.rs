//! Holding, letting go, and what people asked for.

use futures::future::join_all;
use json_patch::Patch;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use tracing::warn;

use super::{Applied, Applier};
use crate::act::error::ActError;
use crate::act::object::Object;
use crate::act::ownership::{self, Owners};
use crate::act::patch;
use crate::decide::action::{CanaryHold, Hold, Resize};
use crate::watch::rollout::{Pause, Revision, Rollout};

impl Applier {
    /// Pauses the Deployment in our name. Its owner's own pause is left as it is.
    ///
    /// # Errors
    /// As [`ActError`] says.
    pub async fn pause(&self, facts: &Rollout, hold: &Hold) -> Result<Applied, ActError> {
        let deployment = self.deployment_of(facts).await?;
        let patch = patch::pause(&deployment, hold);
        self.settle(facts, deployment, patch, ownership::hand_back_in_hold).await
    }

    /// Holds the Deployment as a canary: our settings stand in place of the owner's, which the annotation remembers. Its
    /// owner's own pause is left as it is, and nothing is held then.
    ///
    /// # Errors
    /// As [`ActError`] says.
    pub async fn hold_canary(&self, facts: &Rollout, canary: &CanaryHold) -> Result<Applied, ActError> {
        let deployment = self.deployment_of(facts).await?;
        let patch = patch::hold_canary(&deployment, canary);
        self.settle(facts, deployment, patch, ownership::hand_back_in_hold).await
    }

    /// Takes our pause, settings and annotations away, and nothing that is the owner's own.
    ///
    /// # Errors
    /// As [`ActError`] says.
    pub async fn release(&self, facts: &Rollout) -> Result<Applied, ActError> {
        let deployment = self.deployment_of(facts).await?;
        let patch = patch::release(&deployment);
        self.settle(facts, deployment, patch, |now, before| ownership::hand_back(now, Some(before))).await
    }

    /// Makes the change, then hands fields back to their appliers. That nobody waits for: where it fails, an applier that
    /// wants one of these fields otherwise meets a conflict, until the next of our changes hands them back.
    async fn settle(
        &self,
        facts: &Rollout,
        deployment: Object,
        patch: Option<Patch>,
        hand_back: impl Fn(&Object, &Owners) -> Option<Patch>,
    ) -> Result<Applied, ActError> {
        let Some(patch) = patch else { return Ok(Applied::Unchanged) };
        let after = self.write::<Deployment>(&facts.key.namespace, &facts.key.name, patch).await?;
        let generation = after.generation();
        let before = Owners::of(&deployment);
        if let Err(error) = self.hand_back_from(&facts.key, after, |now| hand_back(now, &before)).await {
            warn!(deployment = %facts.key, %error, "fields are not handed back yet");
        }
        Ok(Applied::Written { generation })
    }

    /// Gives each of these ReplicaSets its pods, all at once: between one and the next Kubernetes would spread the
    /// difference over all of them. Those that have them are left alone.
    ///
    /// # Errors
    /// [`ActError::Conflict`] when the Deployment is not paused by us, whose controller would undo it; else as
    /// [`ActError`] says, of the first that failed.
    pub async fn resize(&self, facts: &Rollout, sizes: &[Resize]) -> Result<Applied, ActError> {
        if facts.pause != Pause::Ours {
            let detail = "it is not paused by the operator".to_owned();
            return Err(ActError::Conflict { object: format!("Deployment {}", facts.key), detail });
        }
        let has = |size: &Resize| {
            let mut all = facts.canary.iter().chain(&facts.others);
            all.any(|revision| revision.uid == size.uid && revision.desired == size.pods)
        };
        let scale = |size: &Resize| {
            let (name, patch) = (size.replica_set.clone(), patch::scale(&size.uid, size.pods));
            async move { self.write::<ReplicaSet>(&facts.key.namespace, &name, patch).await }
        };
        let scaled = join_all(sizes.iter().filter(|size| !has(size)).map(scale)).await;
        if scaled.is_empty() {
            return Ok(Applied::Unchanged);
        }
        scaled.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Applied::Written { generation: facts.generation })
    }

    /// Takes the annotations away by which people asked for what is answered now.
    ///
    /// # Errors
    /// [`ActError::Conflict`] when somebody has asked for something else since; else as [`ActError`] says.
    pub async fn answer(&self, facts: &Rollout) -> Result<Applied, ActError> {
        let deployment = self.deployment_of(facts).await?;
        self.change(&facts.key, patch::answer(&deployment)).await
    }

    /// Takes the condemned mark off a ReplicaSet, and a copy of it off the Deployment.
    ///
    /// # Errors
    /// [`ActError::Conflict`] when the ReplicaSet is gone, is another one or is not the Deployment's; else as
    /// [`ActError`] says.
    pub async fn pardon(&self, facts: &Rollout, revision: &Revision) -> Result<Applied, ActError> {
        let (deployment, set) = tokio::try_join!(self.deployment_of(facts), self.replica_set_of(facts, revision))?;
        // Kubernetes copies it from there onto the ReplicaSet.
        let copy = self.change(&facts.key, patch::pardon_copy(&deployment, &revision.uid)).await?;
        let Some(patch) = patch::pardon(&set) else { return Ok(copy) };
        self.write::<ReplicaSet>(&facts.key.namespace, &revision.replica_set, patch).await?;
        Ok(match copy {
            Applied::Written { .. } => copy,
            Applied::Unchanged => Applied::Written { generation: facts.generation },
        })
    }
}
