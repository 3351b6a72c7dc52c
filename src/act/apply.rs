//! Sends the patches: only while this replica leads, under a timeout, and onto what was decided on.

mod hold;
mod request;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use json_patch::Patch;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Client;

use super::annotations::{RevisionName, RollbackRecord};
use super::error::ActError;
use super::object::Object;
use super::ownership::{self, Owners};
use super::patch;
use crate::watch::annotations::Condemned;
use crate::watch::rollout::{DeploymentKey, Revision, Rollout};

/// How long one request may take. kube's own client sends a PATCH again and again while the server says "later", and
/// waits for an answer for ever; leadership is judged by this length of time too, so that no write outlives it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often ownership is handed back before it is left to a later pass. Two suffice unless somebody writes all the time.
const HAND_BACK_ATTEMPTS: u32 = 5;

/// A change was made, or nothing had to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The API server accepted it; the object's generation since then.
    Written {
        /// `metadata.generation`.
        generation: i64,
    },
    /// It was so already.
    Unchanged,
}

/// Writes Deployments and ReplicaSets. Cheap to clone.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Applier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applier").finish_non_exhaustive()
    }
}

/// The bad ReplicaSet bears the condemned mark: what is meant is written down, and the rollback may be made.
#[derive(Debug)]
pub struct Intended {
    deployment: Object,
    stable: Object,
    key: DeploymentKey,
    record: RollbackRecord,
}

/// The stable template is back.
#[derive(Debug)]
pub struct RolledBack {
    /// The Deployment's generation since then.
    pub generation: i64,
    /// What was recorded on the Deployment.
    pub record: RollbackRecord,
    key: DeploymentKey,
    deployment: Object,
    before: Owners,
}

/// What is to be rolled back, and to what.
#[derive(Debug, Clone, Copy)]
pub struct Condemnation<'a> {
    /// The ReplicaSet of the bad template: the newest one.
    pub bad: &'a Revision,
    /// The ReplicaSet to go back to.
    pub stable: &'a Revision,
    /// The policy that decides it.
    pub policy: &'a str,
    /// Why, with the numbers.
    pub reason: &'a str,
    /// When it was decided.
    pub at: Timestamp,
}

impl Applier {
    /// Writes through `client` while `may_write` is true: while this replica leads for longer than [`WRITE_TIMEOUT`].
    #[must_use]
    pub fn new(client: Client, may_write: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { client, may_write: Arc::new(may_write) }
    }

    /// First step of a rollback: reads afresh what it is about, and writes the condemned mark onto the bad ReplicaSet.
    /// A mark that is there already keeps its time and reason.
    ///
    /// # Errors
    /// [`ActError::Conflict`] when the Deployment has moved on, or one of the ReplicaSets is gone, is another one or is
    /// not the Deployment's; else as [`ActError`] says.
    pub async fn condemn(&self, facts: &Rollout, what: &Condemnation<'_>) -> Result<Intended, ActError> {
        let (deployment, stable, bad) = tokio::try_join!(
            self.deployment_of(facts),
            self.replica_set_of(facts, what.stable),
            self.replica_set_of(facts, what.bad),
        )?;
        let mut mark = Condemned {
            uid: what.bad.uid.clone(),
            reason: what.reason.to_owned(),
            at: what.at,
            policy: what.policy.to_owned(),
        };
        match patch::condemn(&bad, &mark) {
            Some(patch) => {
                self.write::<ReplicaSet>(&facts.key.namespace, &what.bad.replica_set, patch).await?;
            }
            None => mark = patch::existing_mark(&bad).unwrap_or(mark),
        }
        let name =
            |revision: &Revision| RevisionName { replica_set: revision.replica_set.clone(), revision: revision.number };
        let record = RollbackRecord {
            from: name(what.bad),
            to: name(what.stable),
            at: mark.at,
            reason: mark.reason,
            policy: mark.policy,
        };
        Ok(Intended { deployment, stable, key: facts.key.clone(), record })
    }

    /// Second step: puts the stable template back, in one patch.
    ///
    /// # Errors
    /// [`ActError::Conflict`] when somebody wrote since the decision; else as [`ActError`] says.
    pub async fn roll_back(&self, intended: Intended) -> Result<RolledBack, ActError> {
        let Intended { deployment, stable, key, record } = intended;
        let patch = patch::roll_back(&deployment, &stable, &record);
        let after = self.write::<Deployment>(&key.namespace, &key.name, patch).await?;
        let before = Owners::of(&deployment);
        Ok(RolledBack { generation: after.generation(), record, key, deployment: after, before })
    }

    /// Third step: hands the ownership of the template's fields, and of what was held, back to those who applied them, so that their next
    /// manifest is taken as it is written. Nothing waits for it, and a failure is made good by
    /// [`Applier::hand_back_again`].
    ///
    /// # Errors
    /// As [`ActError`] says.
    pub async fn hand_back(&self, rolled_back: &RolledBack) -> Result<Applied, ActError> {
        let RolledBack { key, deployment, before, .. } = rolled_back;
        self.hand_back_from(key, deployment.clone(), |now| ownership::hand_back(now, Some(before))).await
    }

    /// The third step for a successor, which has only the facts: hands back whatever of the template and the settings we still own.
    ///
    /// # Errors
    /// As [`ActError`] says.
    pub async fn hand_back_again(&self, facts: &Rollout) -> Result<Applied, ActError> {
        let deployment = self.deployment_of(facts).await?;
        self.hand_back_from(&facts.key, deployment, |now| ownership::hand_back(now, None)).await
    }

    /// Tries again on what is there now when an entry was moved: the list is sorted by time, and right after our change
    /// Kubernetes updates the status, and with it its own entry, many times. This is no decision that could be outdated:
    /// what is handed back is what we own at that moment.
    async fn hand_back_from(
        &self,
        key: &DeploymentKey,
        mut deployment: Object,
        hand_back: impl Fn(&Object) -> Option<Patch>,
    ) -> Result<Applied, ActError> {
        let mut attempts = 1;
        loop {
            match self.change(key, hand_back(&deployment)).await {
                Err(ActError::Conflict { .. }) if attempts < HAND_BACK_ATTEMPTS => attempts += 1,
                done => return done,
            }
            let now = self.read::<Deployment>(&key.namespace, &key.name).await?;
            if now.uid() != deployment.uid() {
                return Ok(Applied::Unchanged);
            }
            deployment = now;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    fn key() -> DeploymentKey {
        DeploymentKey { namespace: "shop".to_owned(), name: "kettle".to_owned() }
    }

    /// A client of an API server that takes connections and never answers.
    async fn mute() -> (Client, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap(), listener)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_given_up_in_time() {
        let (client, _listener) = mute().await;
        let began = tokio::time::Instant::now();
        let written = Applier::new(client, || true).change(&key(), Some(Patch(Vec::new()))).await;
        assert!(matches!(written, Err(ActError::TimedOut { .. })), "{written:?}");
        assert!(began.elapsed() < WRITE_TIMEOUT + Duration::from_millis(100), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn leadership_is_asked_for_at_each_write_and_nothing_is_sent_without_it() {
        let (client, listener) = mute().await;
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let applier = Applier::new(client, move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        });
        for _ in 0..2 {
            let written = applier.change(&key(), Some(Patch(Vec::new()))).await;
            assert!(matches!(written, Err(ActError::NotLeading)), "{written:?}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let connected = timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(connected.is_err(), "somebody connected");
    }
}
