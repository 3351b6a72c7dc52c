//! Keeps what a policy's status says of the policy itself: its conditions, and how many Deployments it governs.
//!
//! Both depend on all Deployments of a namespace, so they are made in one pass for all policies that may have changed, at
//! most once a second, and never in the path of a rollout.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::reflector::ObjectRef;
use tokio::time::{MissedTickBehavior, interval};

use super::Context;
use super::policies::{InForce, Known, Lacking, Policies};
use super::telling::{Sight, reference};
use crate::policy::PolicyKey;
use crate::record::status::{Change, Urgency};
use crate::watch::rollout::DeploymentKey;

/// The condition that the policy is in force. The admission policies go by it.
const READY: &str = "Ready";

/// The condition that every selector has matched something.
const VERIFIED: &str = "IndicatorVerified";

/// Pause between two passes.
const EVERY: Duration = Duration::from_secs(1);

/// Which policies may have something new to say of themselves.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    due: Mutex<BTreeSet<PolicyKey>>,
    /// What the last pass over each Deployment that is looked at saw.
    sights: Mutex<HashMap<DeploymentKey, Sight>>,
    /// For the generation of a policy, which objective's threshold is no bound of its histogram, and which bounds there are;
    /// `None`: all of them fit.
    bounds: Mutex<HashMap<PolicyKey, (i64, Option<String>)>>,
    /// What was told last, so that nothing is told twice.
    told: Mutex<HashMap<PolicyKey, Told>>,
}

/// The policy's uid and generation, how many Deployments it governs, and its conditions. A policy that was deleted and
/// created anew under its name has been told nothing.
type Told = (String, i64, usize, Vec<(&'static str, &'static str, &'static str, String)>);

impl Keeper {
    /// The next pass looks at this policy.
    pub(super) fn look_at(&self, policy: &PolicyKey) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(policy.clone());
    }

    /// What was found of the bounds of the policy's histograms; nothing, if its SLOs have named others since.
    pub(super) fn found_bounds(&self, asked: &InForce, policies: &Policies, problem: Option<String>) {
        let mut bounds = self.bounds();
        // Held meanwhile, so that what is forgotten when they change is forgotten after this.
        if policies.still_says(asked) {
            bounds.insert(asked.policy.key.clone(), (asked.policy.generation, problem));
        }
    }

    /// Whether all thresholds of the policy are known to be bounds of their histograms.
    pub(super) fn bounds_fit(&self, policy: &PolicyKey, generation: i64) -> bool {
        self.bounds().get(policy) == Some(&(generation, None))
    }

    /// Which threshold of the policy is no bound of its histogram, and which bounds there are.
    pub(super) fn bounds_problem(&self, policy: &PolicyKey, generation: i64) -> Option<String> {
        self.bounds().get(policy).filter(|(of, _)| *of == generation)?.1.clone()
    }

    fn bounds(&self) -> MutexGuard<'_, HashMap<PolicyKey, (i64, Option<String>)>> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the policy reads is something else now.
    pub(super) fn forget_bounds(&self, policy: &PolicyKey) {
        self.bounds().remove(policy);
    }

    /// The policy is gone.
    pub(super) fn forget(&self, policy: &PolicyKey) {
        self.bounds().remove(policy);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(policy);
    }

    /// What a pass over this Deployment saw, `None` when it is not looked at; whether the pass before saw something else.
    pub(super) fn saw(&self, deployment: &DeploymentKey, sight: Option<Sight>) -> bool {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        if sights.get(deployment) == sight.as_ref() {
            return false;
        }
        match sight {
            Some(sight) => sights.insert(deployment.clone(), sight),
            None => sights.remove(deployment),
        };
        true
    }

    fn sights_of(&self, deployments: &[DeploymentKey]) -> Vec<Sight> {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        deployments.iter().filter_map(|key| sights.get(key).cloned()).collect()
    }

    fn take(&self) -> BTreeSet<PolicyKey> {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_news(&self, policy: &PolicyKey, told: Told) -> bool {
        let mut known = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(policy) == Some(&told) {
            return false;
        }
        known.insert(policy.clone(), told);
        true
    }
}

/// What one pass over the Deployments finds for one policy.
#[derive(Default)]
struct Found {
    governed: Vec<DeploymentKey>,
    /// A Deployment that an older policy governs, and which.
    conflict: Option<(DeploymentKey, PolicyKey)>,
}

/// Runs for the life of the process.
pub(super) async fn keep(context: Arc<Context>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = context.keeper.take();
        if !due.is_empty() {
            context.keep_policies(&due);
        }
    }
}

impl Context {
    fn keep_policies(&self, due: &BTreeSet<PolicyKey>) {
        let mut found: BTreeMap<&PolicyKey, Found> = due.iter().map(|key| (key, Found::default())).collect();
        let namespaces: BTreeSet<&str> = due.iter().map(|key| key.namespace.as_str()).collect();
        for view in self.deployment_store.state() {
            if !view.metadata.namespace.as_deref().is_some_and(|namespace| namespaces.contains(namespace)) {
                continue;
            }
            let key = view.key();
            let (by, conflicting) = self.policies.governing(&key, view.labels());
            let Some(by) = by else { continue };
            for loser in conflicting {
                if let Some(found) = found.get_mut(&loser) {
                    found.conflict.get_or_insert_with(|| (key.clone(), by.policy.key.clone()));
                }
            }
            if let Some(found) = found.get_mut(&by.policy.key) {
                found.governed.push(key);
            }
        }
        for (key, found) in found {
            if let Some(known) = self.policies.get(key).filter(|known| known.is_ours) {
                self.keep_policy(key, &known, &found);
            }
        }
    }

    fn keep_policy(&self, key: &PolicyKey, known: &Known, found: &Found) {
        let mut conditions = self.conditions(known, found);
        let view =
            self.policy_store.get(&ObjectRef::from(key)).filter(|view| view.metadata.uid.as_ref() == Some(&known.uid));
        let standing = view.as_ref().map_or(&[][..], |view| &view.status.conditions);
        let lacking = known.outcome.as_ref().ok().and_then(|in_force| in_force.lacking.as_ref());
        conditions.retain(|said| !standing.iter().any(|standing| stays(standing, said, known.generation, lacking)));
        let told = conditions.iter().map(|said| (said.type_, said.status, said.reason, said.message.clone())).collect();
        if !self.keeper.is_news(key, (known.uid.clone(), known.generation, found.governed.len(), told)) {
            return;
        }
        let mut change = Change::new()
            .field("observedGeneration", &known.generation)
            .field("targets", &i32::try_from(found.governed.len()).unwrap_or(i32::MAX));
        for said in conditions {
            change = change.condition(Condition {
                type_: said.type_.to_owned(),
                status: said.status.to_owned(),
                reason: said.reason.to_owned(),
                message: said.message,
                last_transition_time: Time(Timestamp::now()),
                observed_generation: Some(known.generation),
            });
        }
        self.status.submit(&reference(key, &known.uid), change, Urgency::Transition);
    }

    fn conditions(&self, known: &Known, found: &Found) -> Vec<Said> {
        let in_force = match &known.outcome {
            Err(why) => return vec![Said::new(READY, "False", why.reason, why.message.clone())],
            Ok(in_force) => in_force,
        };
        match &in_force.lacking {
            Some(Lacking::Why(why) | Lacking::Unanswered(why)) => {
                let missing = Said::new("EvidenceAvailable", "False", "EvidenceMissing", why.message.clone());
                return vec![Said::new(READY, "False", why.reason, why.message.clone()), missing];
            }
            Some(Lacking::NotAsked) => {
                let words = "Prometheus is being asked for the SLOs that it names".to_owned();
                return vec![Said::new(READY, "Unknown", "SloNotAsked", words)];
            }
            None => {}
        }
        let objectives = &in_force.policy.objectives;
        let sights = self.keeper.sights_of(&found.governed);
        let governed = match found.governed.len() {
            1 => "1 Deployment".to_owned(),
            number => format!("{number} Deployments"),
        };
        let ready = match &found.conflict {
            Some((deployment, older)) => {
                let message = format!(
                    "policy {} is older and governs Deployment {}; change the selector of one of the two",
                    older.name, deployment.name
                );
                Said::new(READY, "False", "Conflict", message)
            }
            None if sights.iter().any(|sight| sight.short_history) => Said::new(
                READY,
                "True",
                "ShortHistory",
                format!(
                    "in force, {governed} governed; a revisionHistoryLimit below 3 may leave nothing to go back to"
                ),
            ),
            None if in_force.read.is_empty() => {
                Said::new(READY, "True", "InForce", format!("in force, {governed} governed"))
            }
            None => Said::new(READY, "True", "InForce", format!("in force, {governed} governed; {}", in_force.read)),
        };
        let missing = sights.iter().find_map(|sight| sight.missing.clone());
        let part = sights.iter().find_map(|sight| sight.part.clone());
        let evidence = match (missing, part) {
            (Some(why), _) => Said::new("EvidenceAvailable", "False", "EvidenceMissing", why),
            (None, Some(part)) => Said::new("EvidenceAvailable", "True", "PodsNotScraped", part),
            (None, None) if sights.is_empty() => {
                Said::new("EvidenceAvailable", "Unknown", "NoRollout", "no rollout is looked at now".to_owned())
            }
            (None, None) => {
                Said::new("EvidenceAvailable", "True", "LooksAnswered", "the last look was answered".to_owned())
            }
        };
        let seen = |index: usize| sights.iter().any(|sight| sight.errors_seen.get(index) == Some(&true));
        let unseen = (0..objectives.len()).find(|index| !seen(*index));
        let unbounded = self.keeper.bounds_problem(&in_force.policy.key, known.generation);
        let verified = match unseen {
            _ if unbounded.is_some() => Said::new(VERIFIED, "False", "InvalidIndicator", unbounded.unwrap_or_default()),
            None => Said::new(VERIFIED, "True", "Matched", "every selector has matched something".to_owned()),
            Some(index) => Said::new(
                VERIFIED,
                "Unknown",
                "NeverMatched",
                format!(
                    "the errors of objective {} matched nothing in the rollouts looked at now: perfection and a typo look alike",
                    objectives[index].name
                ),
            ),
        };
        vec![ready, evidence, verified]
    }
}

/// Whether a condition of this generation stays as it is, so that `said` is not: what was verified once, until it is known to be
/// wrong; and that the policy is in force, where what it names is not known just because nobody has told yet.
fn stays(standing: &Condition, said: &Said, generation: i64, lacking: Option<&Lacking>) -> bool {
    standing.type_ == said.type_
        && standing.observed_generation == Some(generation)
        && match (said.type_, lacking) {
            (VERIFIED, _) => standing.status == "True" && said.status == "Unknown",
            (READY, Some(Lacking::NotAsked)) => true,
            (READY, Some(Lacking::Unanswered(_))) => standing.status == "True",
            _ => false,
        }
}

/// A condition in words.
struct Said {
    type_: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Said {
    fn new(type_: &'static str, status: &'static str, reason: &'static str, message: String) -> Self {
        Self { type_, status, reason, message }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
