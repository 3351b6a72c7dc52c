//! Record: what people read of a Deployment's rollout.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::reflector::ObjectRef;

use super::Context;
use super::judgement::{burns, objectives, rate, whole, window};
use super::measured::Measured;
use super::policies::InForce;
use super::tracked::Tracked;
use crate::api::status::RolloutStatus;
use crate::decide::announcement::{Announcement, EventReason};
use crate::decide::lifecycle::Judgement;
use crate::decide::outlook::outlook;
use crate::decide::state::State;
use crate::policy::PolicyKey;
use crate::record::events::Subject;
use crate::record::status::{Change, PolicyRef, Urgency, entry_of};
use crate::watch::rollout::{DeploymentKey, Rollout, TemplateId};

impl Context {
    /// Events on the Deployment and its policy.
    pub(super) fn announce(&self, facts: &Rollout, policy: &InForce, announcements: &[Announcement]) {
        let subject = Subject { deployment: deployment(facts), policy: policy.reference.clone() };
        for announcement in announcements {
            self.events.announce(&subject, announcement);
        }
    }

    /// An Event on a Deployment that was held when the last policy let go of it.
    pub(super) fn announce_release(&self, facts: &Rollout) {
        let note = "goes on: no policy governs it any more".to_owned();
        self.events.announce_on(&deployment(facts), &Announcement::new(EventReason::Resumed, note));
    }

    /// The status entry and the metrics of the rollout, if they are new.
    pub(super) fn tell(
        &self,
        key: &DeploymentKey,
        tracked: &mut Tracked,
        policy: &InForce,
        judgement: Option<&Judgement>,
    ) {
        let Some(state) = &tracked.state else { return };
        self.metrics.phase(key, Some(state.phase));
        let mut change = Change::new();
        let mut entry = entry_of(state);
        entry.next = Some(outlook(state)).filter(|next| !next.is_empty());
        if let (Some(canary), Some(policy)) = (&mut entry.canary, &policy.policy.canary) {
            canary.steps = i32::try_from(policy.steps.len()).ok();
            let facts = tracked.facts.as_ref().map(|(_, facts)| facts);
            if let Some((pods, share)) = facts.and_then(share) {
                canary.pods = i32::try_from(pods).ok();
                canary.share = Some(format!("{share:.1}%"));
            }
        }
        if let Some(judgement) = judgement {
            self.metrics.verdict(judgement.verdict, state.cause);
            entry.verdict = Some(judgement.verdict.as_str().to_owned());
        }
        if let Some((assessment, ..)) = tracked.measured.as_ref().and_then(Measured::assess) {
            let (canary, stable) = burns(assessment.deciding());
            entry.burn_rate = canary.map(rate);
            entry.stable_burn_rate = stable.map(rate);
            entry.errors = Some(whole(window(&assessment).errors()));
            entry.requests = Some(whole(window(&assessment).requests()));
            change = change.numbers(&key.name, objectives(&assessment, &policy.policy));
        }
        let images = match policy.policy.gate.denies {
            true => succeeded_images(state, tracked),
            false => Vec::new(),
        };
        if tracked.told.as_ref() == Some(&entry) && tracked.told_images == images {
            return;
        }
        let turned = tracked.told.as_ref().is_none_or(|told| is_transition(told, &entry));
        let urgency = if turned { Urgency::Transition } else { Urgency::Refresh(policy.policy.detection.window) };
        self.status.submit(
            &reference(&policy.policy.key, &policy.policy.uid),
            change.rollout(&key.name, Some(&entry)).images(&key.name, images.clone()),
            urgency,
        );
        tracked.told = Some(entry);
        tracked.told_images = images;
    }

    /// The Deployment is none of the policy's any more.
    pub(super) fn forget_in_status(&self, policy: &PolicyKey, deployment: &str) {
        self.keeper.look_at(policy);
        if let Some(known) = self.policies.get(policy).filter(|known| known.is_ours) {
            let change = Change::new().rollout(deployment, None);
            self.status.submit(&reference(policy, &known.uid), change, Urgency::Transition);
        }
    }

    /// What the policy's status says of the Deployment.
    pub(super) fn remembered_entry(&self, policy: &PolicyKey, deployment: &str) -> Option<RolloutStatus> {
        let policy = self.policy_store.get(&ObjectRef::from(policy))?;
        policy.status.rollouts.get(deployment).cloned()
    }
}

/// The images of the revisions that succeeded and are still there: of the template that the Deployment has, and of those
/// of its other ReplicaSets.
fn succeeded_images(state: &State, tracked: &Tracked) -> Vec<String> {
    let others = tracked.facts.as_ref().map(|(_, facts)| facts.others.as_slice()).unwrap_or_default();
    let newest = |template: &TemplateId| tracked.newest.as_ref().filter(|newest| newest.id == *template);
    let images_of = |template: &TemplateId| match newest(template) {
        Some(newest) => Some(newest.images.clone()),
        None => others.iter().find(|other| other.template == *template).map(|other| other.images.clone()),
    };
    let mut images: Vec<String> = state.succeeded.iter().filter_map(images_of).collect();
    images.dedup();
    images
}

/// The pods of the newest revision, and which share of all pods they are, in percent.
fn share(facts: &Rollout) -> Option<(u32, f64)> {
    let pods = facts.canary.as_ref()?.desired;
    let all = pods + facts.others.iter().map(|other| other.desired).sum::<u32>();
    (all > 0).then(|| (pods, 100.0 * f64::from(pods) / f64::from(all)))
}

fn deployment(facts: &Rollout) -> ObjectReference {
    ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some("Deployment".to_owned()),
        namespace: Some(facts.key.namespace.clone()),
        name: Some(facts.key.name.clone()),
        uid: Some(facts.uid.clone()),
        ..ObjectReference::default()
    }
}

pub(super) fn reference(key: &PolicyKey, uid: &str) -> PolicyRef {
    PolicyRef { namespace: key.namespace.clone(), name: key.name.clone(), uid: uid.to_owned() }
}

/// Something happened, and not just that numbers moved.
fn is_transition(told: &RolloutStatus, entry: &RolloutStatus) -> bool {
    let place = |entry: &RolloutStatus| {
        (entry.phase.clone(), entry.reason.clone(), entry.newest.clone(), entry.incident.clone())
    };
    place(told) != place(entry)
}

/// What a policy's conditions need to know of one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// Why the last look brought no evidence, if it did not.
    pub(super) missing: Option<String>,
    /// Of how many canary pods something is known, where that is not all of them.
    pub(super) part: Option<String>,
    /// For each objective, whether its error selector matched anything.
    pub(super) errors_seen: Vec<bool>,
    /// Kubernetes keeps so few old ReplicaSets that the stable one may be gone when it is needed.
    pub(super) short_history: bool,
}

impl Sight {
    /// Of a rollout that is looked at now.
    pub(super) fn of(tracked: &Tracked) -> Option<Self> {
        let measured = tracked.measured.as_ref()?;
        Some(Self {
            missing: measured.failure(),
            part: measured.part(),
            errors_seen: measured.errors_seen(),
            short_history: tracked.facts.as_ref().is_some_and(|(_, facts)| facts.history_limit < 3),
        })
    }
}
