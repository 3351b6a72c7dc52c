//! The policies as the controller needs them: parsed, with their selectors read and their endpoint found.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

use crate::config::{Endpoint, NotServed, OperatorConfig};
use crate::measure::budget::Source;
use crate::measure::reads::Reads;
use crate::measure::subject::Indicator;
use crate::policy::{Policy, PolicyKey, Selector as LabelSelector, govern};
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

type ByNamespace = HashMap<String, BTreeMap<String, Known>>;

/// All policies, by namespace and name: also those that other operators enforce, since the oldest of all that select a
/// Deployment governs it, whoever enforces it.
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: RwLock<ByNamespace>,
    ours: Option<LabelSelector>,
}

impl Policies {
    /// Enforces the policies that the selector selects by their labels; all without one.
    pub(super) fn new(ours: Option<LabelSelector>) -> Self {
        Self { known: RwLock::default(), ours }
    }

    /// Other operators enforce policies, too.
    pub(super) const fn are_shared(&self) -> bool {
        self.ours.is_some()
    }

    /// Takes in a policy as it is now.
    pub(super) fn apply(&self, view: &PolicyView, config: &OperatorConfig) {
        let key = view.key();
        let labels = view.metadata.labels.as_ref();
        let is_ours = self.ours.as_ref().is_none_or(|ours| ours.matches(labels.unwrap_or(&BTreeMap::new())));
        let known = Known {
            uid: view.metadata.uid.clone().unwrap_or_default(),
            generation: view.metadata.generation.unwrap_or_default(),
            is_ours,
            outcome: in_force(view, config, is_ours).map(Arc::new),
        };
        self.write().entry(key.namespace).or_default().insert(key.name, known);
    }

    /// Takes in that a policy is gone.
    pub(super) fn delete(&self, key: &PolicyKey) {
        if let Some(here) = self.write().get_mut(&key.namespace) {
            here.remove(&key.name);
        }
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
fn in_force(view: &PolicyView, config: &OperatorConfig, is_ours: bool) -> Result<InForce, NotInForce> {
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
    let objectives = policy.objectives.iter().map(|objective| objective.name.clone()).collect();
    Ok(InForce {
        policy: Arc::clone(policy),
        indicators,
        budgets,
        objectives,
        reference: view.object_ref(&()),
        is_ours,
    })
}
