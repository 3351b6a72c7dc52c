//! The policies as the controller needs them: parsed, with their selectors read and their endpoint found.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::config::{Endpoint, NotServed, OperatorConfig};
use crate::measure::budget::Source;
use crate::measure::reads::Reads;
use crate::measure::slos::{Answer, Unread};
use crate::measure::subject::Indicator;
use crate::policy::{Named, Policy, PolicyError, PolicyKey, Selector as LabelSelector, Slo, SloName, govern, humane};
use crate::watch::rollout::DeploymentKey;
use crate::watch::{PolicyView, Unusable};

/// A policy that is in force, with everything the stages need.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) policy: Arc<Policy>,
    /// What its objectives read, in their order.
    pub(super) indicators: Vec<Indicator>,
    /// Where their budgets are found, in their order.
    pub(super) budgets: Vec<Source>,
    /// Their names.
    pub(super) objectives: Vec<String>,
    /// What Events refer to.
    pub(super) reference: ObjectReference,
    /// This operator enforces it; another one does otherwise.
    pub(super) is_ours: bool,
    /// What it names and is not known: nothing can be measured and no budget asked for. What is there of the policy says all the
    /// same which Deployments it governs and what is done without evidence.
    pub(super) lacking: Option<Lacking>,
    /// What was read of the objectives that it names, in their order. Of two that differ in this alone, what the one measured
    /// says nothing in the other's terms.
    pub(super) slos: Arc<[Slo]>,
    /// The same for people: "availability: 99.9 % over 30d, of Sloth's SLO ..."; empty where nothing is named.
    pub(super) read: String,
}

/// What of a policy's objectives is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lacking {
    /// It is going to be asked in a moment.
    NotAsked,
    /// It was asked for, and Prometheus did not tell.
    Unanswered(NotInForce),
    /// It cannot be had, or cannot be used.
    Why(NotInForce),
}

impl InForce {
    /// Why nothing can be measured, once that is known.
    pub(super) fn why_lacking(&self) -> Option<&NotInForce> {
        match &self.lacking {
            Some(Lacking::Why(why) | Lacking::Unanswered(why)) => Some(why),
            Some(Lacking::NotAsked) | None => None,
        }
    }
}

/// Why a policy is not in force, as its `Ready` condition says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotInForce {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A policy as it was last seen.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// This operator enforces it and writes its status; another one does otherwise.
    pub(super) is_ours: bool,
    pub(super) outcome: Result<Arc<InForce>, NotInForce>,
}

impl Known {
    /// Why nothing is known of the SLOs that it names, where that is Prometheus' silence: it may be in force all the same.
    pub(super) fn unanswered(&self) -> Option<&str> {
        match self.outcome.as_ref().ok()?.lacking.as_ref()? {
            Lacking::Unanswered(why) => Some(&why.message),
            Lacking::NotAsked | Lacking::Why(_) => None,
        }
    }
}

type ByNamespace = HashMap<String, BTreeMap<String, Known>>;

/// All policies, by namespace and name: also those that other operators enforce, since the oldest of all that select a
/// Deployment governs it, whoever enforces it.
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: RwLock<ByNamespace>,
    /// Held by whoever takes one in, from reading it on: of two that do, the later one has read what is newer.
    taking_in: Mutex<()>,
    ours: Option<LabelSelector>,
}

impl Policies {
    /// Enforces the policies that the selector selects by their labels; all without one.
    pub(super) fn new(ours: Option<LabelSelector>) -> Self {
        Self { ours, ..Self::default() }
    }

    /// Other operators enforce policies, too.
    pub(super) const fn are_shared(&self) -> bool {
        self.ours.is_some()
    }

    /// Takes in a policy as the store has it now, with what is known of the SLOs that it names now; whether it is still there.
    pub(super) fn take_in(
        &self,
        key: &PolicyKey,
        store: &Store<PolicyView>,
        config: &OperatorConfig,
        slos: impl Fn(&str, &SloName) -> Answer,
    ) -> bool {
        let _turn = self.taking_in.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(view) = store.get(&ObjectRef::from(key)) else {
            if let Some(here) = self.write().get_mut(&key.namespace) {
                here.remove(&key.name);
            }
            return false;
        };
        let labels = view.metadata.labels.as_ref();
        let is_ours = self.ours.as_ref().is_none_or(|ours| ours.matches(labels.unwrap_or(&BTreeMap::new())));
        let known = Known {
            uid: view.metadata.uid.clone().unwrap_or_default(),
            generation: view.metadata.generation.unwrap_or_default(),
            is_ours,
            outcome: in_force(&view, config, slos, is_ours).map(Arc::new),
        };
        self.write().entry(key.namespace.clone()).or_default().insert(key.name.clone(), known);
        true
    }

    /// Whether what was asked in the name of this policy is still what it says: it may have gone meanwhile, be another one by
    /// now, or name SLOs that say something else.
    pub(super) fn still_says(&self, asked: &InForce) -> bool {
        self.get(&asked.policy.key).is_some_and(|now| {
            let says_another = now.outcome.is_ok_and(|now| now.slos != asked.slos);
            now.uid == asked.policy.uid && now.is_ours && !says_another
        })
    }

    /// The policy that governs the Deployment, and those that select it too and must not.
    pub(super) fn governing(
        &self,
        deployment: &DeploymentKey,
        labels: &BTreeMap<String, String>,
    ) -> (Option<Arc<InForce>>, Vec<PolicyKey>) {
        let policies = self.read();
        let Some(here) = policies.get(&deployment.namespace) else { return (None, Vec::new()) };
        let valid: Vec<&Arc<InForce>> = here.values().filter_map(|known| known.outcome.as_ref().ok()).collect();
        let governance = govern(valid.iter().map(|in_force| in_force.policy.as_ref()), deployment, labels);
        let by = governance.by.and_then(|by| valid.iter().find(|in_force| in_force.policy.key == by.key));
        (
            by.map(|in_force| Arc::clone(in_force)),
            governance.conflicting.iter().map(|other| other.key.clone()).collect(),
        )
    }

    /// Whether a policy of this name exists and cannot be enforced: what it holds stays held until it can, or is gone.
    pub(super) fn is_broken(&self, policy: &PolicyKey) -> bool {
        self.get(policy).is_some_and(|known| known.outcome.is_err())
    }

    /// The policy as it was last seen.
    pub(super) fn get(&self, key: &PolicyKey) -> Option<Known> {
        self.read().get(&key.namespace)?.get(&key.name).cloned()
    }

    /// All policies.
    pub(super) fn all(&self) -> Vec<(PolicyKey, Known)> {
        let policies = self.read();
        let key = |namespace: &String, name: &String| PolicyKey { namespace: namespace.clone(), name: name.clone() };
        let all = policies.iter().flat_map(|(namespace, here)| here.iter().map(move |known| (namespace, known)));
        all.map(|(namespace, (name, known))| (key(namespace, name), known.clone())).collect()
    }

    /// The policies of a namespace that this operator enforces.
    pub(super) fn within(&self, namespace: &str) -> Vec<PolicyKey> {
        let key = |name: &String| PolicyKey { namespace: namespace.to_owned(), name: name.clone() };
        self.read().get(namespace).map_or_else(Vec::new, |here| {
            here.iter().filter(|(_, known)| known.is_ours).map(|(name, _)| key(name)).collect()
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, ByNamespace> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ByNamespace> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that can be wrong with a policy is found here.
fn in_force(
    view: &PolicyView,
    config: &OperatorConfig,
    slos: impl Fn(&str, &SloName) -> Answer,
    is_ours: bool,
) -> Result<InForce, NotInForce> {
    let refuse = |reason, message: String| NotInForce { reason, message };
    let policy = view.policy.as_ref().map_err(|unusable| match unusable {
        Unusable::Malformed(_) => refuse("Malformed", unusable.to_string()),
        Unusable::Invalid(_) => refuse("Invalid", unusable.to_string()),
    })?;
    match config.serves(policy) {
        // What another operator's configuration has is not known here.
        Err(_) if !is_ours => {}
        served => served.map_err(|error| {
            let reason = match error {
                NotServed::Endpoint(_) => "UnknownPrometheus",
                NotServed::PodEvidence => "PodEvidenceOff",
            };
            refuse(reason, error.to_string())
        })?,
    }
    let labels = config.endpoint(&policy.prometheus).map(Endpoint::labels).unwrap_or_default();
    let of_policy = |policy: &Arc<Policy>, slos: Arc<[Slo]>| {
        let (mut indicators, mut budgets) = (Vec::new(), Vec::new());
        for objective in &policy.objectives {
            let reads = Reads::of(objective, policy, &labels).map_err(|invalid| {
                // One is told at a time; whoever wants all of them asks `lint`.
                let first = invalid.first().map_or_else(String::new, ToString::to_string);
                refuse("InvalidIndicator", format!("objective {}: {first}", objective.name))
            })?;
            indicators.push(reads.indicator);
            budgets.push(reads.budget);
        }
        Ok(InForce {
            policy: Arc::clone(policy),
            indicators,
            budgets,
            objectives: policy.objectives.iter().map(|objective| objective.name.clone()).collect(),
            reference: view.object_ref(&()),
            is_ours,
            lacking: None,
            slos,
            read: String::new(),
        })
    };
    let own = of_policy(policy, Arc::default())?;
    if policy.named.is_empty() {
        return Ok(own);
    }
    let slos: Arc<[Slo]> = match named(policy, slos) {
        Ok(slos) => slos.into(),
        Err(lacking) => return Ok(InForce { lacking: Some(lacking), ..own }),
    };
    let whole = policy.with_slos(&slos).map_err(|errors| told(&errors));
    let read = read_in_words(policy, &slos);
    match whole.and_then(|whole| of_policy(&Arc::new(whole), slos).map_err(|why| why.message)) {
        Ok(in_force) => Ok(InForce { read, ..in_force }),
        // Its own words are sound, so that the Deployments stay governed; what cannot be used is the other tool's.
        Err(problem) => {
            let message = format!("{problem}; this was read ({read}): change it there, or write another indicator");
            Ok(InForce { lacking: Some(Lacking::Why(refuse("SloNotUsable", message))), ..own })
        }
    }
}

/// What is known of the objectives that a policy names, in their order.
fn named(policy: &Policy, slos: impl Fn(&str, &SloName) -> Answer) -> Result<Vec<Slo>, Lacking> {
    let read = |named: &Named| match slos(&policy.prometheus, &named.slo) {
        Answer::NotAsked => Err(Lacking::NotAsked),
        Answer::Known(Ok(slo)) => Ok(slo),
        Answer::Known(Err(unread)) => {
            let message = format!("objective {}: {unread}", named.name);
            let why = NotInForce { reason: unread.reason(), message };
            Err(if matches!(unread, Unread::Unanswered(_)) { Lacking::Unanswered(why) } else { Lacking::Why(why) })
        }
    };
    policy.named.iter().map(read).collect()
}

fn read_in_words(policy: &Policy, slos: &[Slo]) -> String {
    let one = |(named, slo): (&Named, &Slo)| {
        format!("{}: {} % over {}, of {}", named.name, slo.target, humane(slo.window), named.slo)
    };
    policy.named.iter().zip(slos).map(one).collect::<Vec<_>>().join("; ")
}

fn told(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
#[path = "policies_tests.rs"]
pub(super) mod tests;
