//! A Deployment comes under a policy, or under none any more.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action as Requeue;
use kube::runtime::reflector::ObjectRef;
use tracing::{info, warn};

use super::Context;
use super::error::ReconcileError;
use super::policies::InForce;
use super::tracked::{Governed, Tracked};
use crate::act::Applied;
use crate::policy::PolicyKey;
use crate::record::metrics::Change;
use crate::record::status::state_of;
use crate::watch::rollout::DeploymentKey;
use crate::watch::view::DeploymentView;
use crate::watch::{PolicyView, facts, policy_exists};

/// How often a hold that is another operator's is looked at again, when no policy selects what it holds.
const OTHERS: Duration = Duration::from_secs(30);

impl Context {
    /// What is remembered, when the Deployment was not seen by this process, or under this policy as it is now.
    pub(super) fn take_over(
        &self,
        key: &DeploymentKey,
        view: &DeploymentView,
        tracked: &mut Tracked,
        policy: &InForce,
    ) {
        let now = Governed {
            key: policy.policy.key.clone(),
            uid: policy.policy.uid.clone(),
            generation: policy.policy.generation,
            slos: Arc::clone(&policy.slos),
        };
        if tracked.policy.as_ref() == Some(&now) {
            return;
        }
        // Whatever was measured was measured by other rules; counters are read back and judged by these.
        self.stop_measuring(key, tracked);
        tracked.told = None;
        if let Some(previous) = tracked.policy.replace(now).filter(|previous| previous.key != policy.policy.key) {
            self.forget_in_status(&previous.key, &key.name);
        }
        if tracked.state.is_none() {
            let entry = self.remembered_entry(&policy.policy.key, &key.name);
            tracked.state = entry.and_then(|entry| {
                let known = state_of(&entry);
                known
                    .inspect_err(
                        |error| warn!(deployment = %key, %error, "the status entry cannot be read; starting anew"),
                    )
                    .ok()
            });
        }
        tracked.state = tracked.state.take().filter(|state| state.uid == view.uid());
        // Whoever rolled it back may have died before the last step.
        tracked.hand_back_due = tracked.state.is_some();
    }

    /// No policy governs it (any more): whatever we hold is released, and nothing of it is kept. But a policy that is there
    /// and broken still means what it holds and remembers: only its owner can say otherwise.
    pub(super) async fn let_go(
        &self,
        key: &DeploymentKey,
        view: &DeploymentView,
        tracked: &mut Tracked,
    ) -> Result<Requeue, ReconcileError> {
        self.stop_measuring(key, tracked);
        if !view.is_going() && tracked.policy.as_ref().is_some_and(|governed| self.policies.is_broken(&governed.key)) {
            return Ok(Requeue::await_change());
        }
        self.metrics.phase(key, None);
        if let Some(previous) = tracked.policy.take() {
            self.forget_in_status(&previous.key, &key.name);
        }
        if view.is_held() && !view.is_going() {
            let name = view.hold().map(|hold| hold.policy.clone()).unwrap_or_default();
            let holder = PolicyKey { namespace: key.namespace.clone(), name };
            if self.policies.are_shared() && self.is_held_by_other(view, &holder).await? {
                return Ok(Requeue::requeue(OTHERS));
            }
            if !self.policies.is_broken(&holder) {
                let facts = facts::rollout(view, &[]);
                let released = self.counted(Change::Release, self.applier.release(&facts)).await?;
                if matches!(released, Applied::Written { .. }) {
                    info!(deployment = %key, policy = holder.name, "released: no policy governs it");
                    self.announce_release(&facts);
                }
            }
        }
        *tracked = Tracked { uid: tracked.uid.clone(), written: tracked.written, ..Tracked::default() };
        Ok(Requeue::await_change())
    }

    /// Deployments that went while nobody acted on it are forgotten, as they would have been then.
    pub(super) fn forget_gone(&self) {
        for policy in self.policy_store.state() {
            for deployment in gone(&policy, |key| self.deployment_store.get(&ObjectRef::from(key)).is_some()) {
                info!(policy = %policy.key(), deployment, "forgotten: it went while no operator led");
                self.forget_in_status(&policy.key(), deployment);
            }
        }
    }

    /// Another operator's policy governs it: nothing of it is touched, and nothing kept.
    pub(super) fn leave_to(&self, governing: &PolicyKey, key: &DeploymentKey, tracked: &mut Tracked) {
        self.stop_measuring(key, tracked);
        self.metrics.phase(key, None);
        if let Some(previous) = tracked.policy.take().filter(|previous| previous.key != *governing) {
            self.forget_in_status(&previous.key, &key.name);
        }
        *tracked = Tracked { uid: tracked.uid.clone(), ..Tracked::default() };
    }

    /// Whether a policy that another operator enforces holds it. One that this operator has not seen may be new, so that it
    /// is read: what is gone holds nothing for anybody.
    async fn is_held_by_other(&self, view: &DeploymentView, holder: &PolicyKey) -> Result<bool, ReconcileError> {
        match self.policies.get(holder) {
            Some(known) => Ok(!known.is_ours),
            None if holder.name.is_empty() => Ok(false),
            None => Ok(policy_exists(&self.client, view, holder).await?),
        }
    }
}

/// The Deployments of which the policy's status tells and that are not there.
fn gone(policy: &PolicyView, is_there: impl Fn(&DeploymentKey) -> bool) -> Vec<&str> {
    let namespace = policy.key().namespace;
    let is_gone = |name: &&String| !is_there(&DeploymentKey { namespace: namespace.clone(), name: (*name).clone() });
    policy.status.rollouts.keys().filter(is_gone).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::policies::tests::view;

    #[test]
    fn of_what_a_status_tells_only_that_is_gone_which_is_not_in_the_policys_own_namespace() {
        let mut policy = view(serde_json::json!([]));
        for name in ["ofen", "herd", "topf"] {
            policy.status.rollouts.insert(name.to_owned(), crate::api::status::RolloutStatus::default());
        }
        let there = [("laden", "ofen"), ("lager", "herd"), ("laden", "pfanne")];
        let is_there = |key: &DeploymentKey| there.contains(&(key.namespace.as_str(), key.name.as_str()));
        assert_eq!(gone(&policy, is_there), ["herd", "topf"]);
    }
}
