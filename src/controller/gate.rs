//! Keeps the gate of each governed Deployment: whether enough of the error budget is left for a rollout.
//!
//! Prometheus is asked by a task of its own, once an interval for each policy, so that a decision never waits for it: what
//! was found is read from memory. The policies of a namespace are asked for at the same moment, since what they share is
//! asked once; namespaces are spread over the interval.

mod report;
mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use super::Context;
use super::policies::{InForce, Known};
use super::telling::reference;
use crate::api::ErrorBudgetPolicyStatus;
use crate::decide::announcement::{Announcement, EventReason};
use crate::decide::budget::Gate;
use crate::decide::state::Phase;
use crate::measure::budget::{Ask, Bounds};
use crate::policy::PolicyKey;
use crate::record::status::Urgency;
use crate::watch::rollout::DeploymentKey;
use report::Report;
pub(crate) use standing::reading;
use standing::{Asked, Standing};

/// How often it is looked whether a policy has to be asked for.
const TICK: Duration = Duration::from_secs(1);

/// A policy that changed, or that governs a Deployment it was not asked for, is not asked for again sooner than this.
const SOONEST: Duration = Duration::from_secs(2);

/// The gates of all policies.
pub(super) struct Gates {
    policies: Mutex<HashMap<PolicyKey, Entry>>,
    /// Namespaces that are being asked for.
    busy: Mutex<HashSet<String>>,
    /// Deployments that need a pass, because their gate is another.
    passes: UnboundedSender<DeploymentKey>,
    every: Duration,
    began: Instant,
}

/// One policy.
#[derive(Debug)]
struct Entry {
    uid: String,
    generation: i64,
    /// When it is to be asked for next.
    next: Instant,
    /// When it was asked for last.
    last: Instant,
    standing: Standing,
    /// What status says.
    told: Option<Report>,
}

impl Entry {
    /// Nothing is known yet but what status says.
    fn new(uid: &str, status: &ErrorBudgetPolicyStatus, now: Instant) -> Self {
        // What was closed when another process last told so is no news.
        let standing = Standing::told_closed(status.closed.keys().cloned());
        Self { uid: uid.to_owned(), generation: 0, next: now, last: now, standing, told: None }
    }
}

impl Gates {
    /// Nothing is known yet. Each policy is asked for once in `every`; Deployments whose gate changes go to `passes`.
    pub(super) fn new(every: Duration, passes: UnboundedSender<DeploymentKey>) -> Self {
        Self { policies: Mutex::default(), busy: Mutex::default(), passes, every, began: Instant::now() }
    }

    /// The policy is gone.
    pub(super) fn forget(&self, policy: &PolicyKey) {
        self.policies().remove(policy);
    }

    fn policies(&self) -> MutexGuard<'_, HashMap<PolicyKey, Entry>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the policy, as it is now, is to be asked for.
    fn is_due(&self, known: &Known, key: &PolicyKey, now: Instant) -> bool {
        match self.policies().get(key).filter(|entry| entry.uid == known.uid) {
            None => true,
            Some(entry) if entry.generation != known.generation => entry.last + SOONEST <= now,
            Some(entry) => entry.next <= now,
        }
    }

    /// The turn of the namespace that comes first when an interval has gone by.
    fn next_turn(&self, namespace: &str, now: Instant) -> Instant {
        turn(self.began, self.every, namespace, now)
    }
}

/// Turns of a namespace are an interval apart, each at a moment of its own. The first one that comes no sooner than an
/// interval after `now`, but for the seconds that an answer and a tick may have taken.
fn turn(began: Instant, every: Duration, namespace: &str, now: Instant) -> Instant {
    let mut hasher = DefaultHasher::new();
    namespace.hash(&mut hasher);
    let first = began + every.mul_f64((hasher.finish() % 1000) as f64 / 1000.0);
    let earliest = now + every.saturating_sub((TICK * 2).min(every / 2));
    let since = earliest.saturating_duration_since(first).as_nanos();
    let turns = since.div_ceil(every.as_nanos().max(1));
    first + every.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX))
}

/// Runs for the life of the process.
pub(super) async fn keep(context: Arc<Context>) {
    let mut ticks = interval(TICK.min(context.gates.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = JoinSet::new();
    loop {
        ticks.tick().await;
        while let Some(ended) = asking.try_join_next() {
            if let Err(error) = ended {
                error!(%error, "asking for the budgets of a namespace broke off; it is tried again at its next turn");
            }
        }
        for (namespace, due) in context.due_for_asking() {
            let busy = Busy { context: Arc::clone(&context), namespace };
            asking.spawn(async move { busy.context.ask_for_budgets(due).await });
        }
    }
}

/// A namespace that is being asked for, until this is dropped.
struct Busy {
    context: Arc<Context>,
    namespace: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.context.gates.busy().remove(&self.namespace);
    }
}

/// A policy to ask for, and the Deployments that it governs.
type Due = (Arc<InForce>, Vec<DeploymentKey>);

impl Context {
    /// The gate of a Deployment that this policy governs. One that was not asked for yet soon is, and so is every one of a
    /// policy that has changed since: what its former words said of the budget may be wrong by now.
    pub(super) fn gate_of(&self, in_force: &InForce, deployment: &DeploymentKey) -> Gate {
        if let Some(why) = in_force.why_lacking() {
            return Gate::Unknown(why.message.clone());
        }
        let policy = &in_force.policy;
        let mut policies = self.gates.policies();
        let Some(entry) = policies.get_mut(&policy.key) else { return Gate::NotAsked };
        let is_current = entry.generation == policy.generation;
        match entry.standing.gate(&deployment.name).filter(|_| is_current) {
            Some(gate) => gate.clone(),
            None => {
                entry.next = entry.next.min(entry.last + SOONEST);
                Gate::NotAsked
            }
        }
    }

    /// Nothing is known of the policy's budget any more.
    pub(super) fn forget_gate(&self, policy: &PolicyKey) {
        self.gates.forget(policy);
        self.metrics.budgets(policy, &[]);
    }

    /// What is known of the policy's budget was said of something else: it is asked for again at once, and so is decided.
    pub(super) fn read_gate_anew(&self, policy: &PolicyKey) {
        if let Some(entry) = self.gates.policies().get_mut(policy) {
            entry.generation = 0;
        }
    }

    /// A pass over a Deployment, for what is not written to it.
    pub(super) fn pass_over(&self, deployment: DeploymentKey) {
        // Fails only when the controller is gone, and with it whoever would care.
        let _ = self.gates.passes.unbounded_send(deployment);
    }

    /// What has to be asked now, by namespace; those namespaces are busy from now on.
    fn due_for_asking(&self) -> BTreeMap<String, Vec<Due>> {
        let now = Instant::now();
        let mut due: BTreeMap<PolicyKey, Due> = BTreeMap::new();
        let all = self.policies.all().into_iter().filter(|(_, known)| known.is_ours);
        {
            let mut busy = self.gates.busy();
            for (key, known) in all {
                match &known.outcome {
                    Err(_) => self.tell_that_not_asked(&key, &known),
                    Ok(in_force) if in_force.why_lacking().is_some() => self.tell_that_not_asked(&key, &known),
                    // It soon is known what to ask for.
                    Ok(in_force) if in_force.lacking.is_some() => {}
                    Ok(in_force) if !busy.contains(&key.namespace) && self.gates.is_due(&known, &key, now) => {
                        due.insert(key, (Arc::clone(in_force), Vec::new()));
                    }
                    Ok(_) => {}
                }
            }
            busy.extend(due.keys().map(|key| key.namespace.clone()));
        }
        if !due.is_empty() {
            let namespaces: BTreeSet<String> = due.keys().map(|key| key.namespace.clone()).collect();
            for view in self.deployment_store.state() {
                let key = view.key();
                if namespaces.contains(&key.namespace)
                    && let (Some(by), _) = self.policies.governing(&key, view.labels())
                    && let Some((_, governed)) = due.get_mut(&by.policy.key)
                {
                    governed.push(key);
                }
            }
        }
        let mut by_namespace: BTreeMap<String, Vec<Due>> = BTreeMap::new();
        for (key, due) in due {
            by_namespace.entry(key.namespace).or_default().push(due);
        }
        by_namespace
    }

    /// Asks for these policies of one namespace, and takes in what is found.
    async fn ask_for_budgets(&self, due: Vec<Due>) {
        let began = Instant::now();
        let asks: Vec<Ask> = due.iter().flat_map(|(policy, governed)| asks(policy, governed)).collect();
        let mut found = self.budgets.ask(&asks).await.into_iter();
        for (policy, governed) in &due {
            let objectives = if governed.is_empty() { 0 } else { policy.budgets.len() };
            let found: Vec<_> = found.by_ref().take(objectives).collect();
            if let Some(failure) = found.iter().find_map(|found| found.as_ref().err()) {
                warn!(policy = %policy.policy.key, %failure, "what is left of the error budget could not be asked");
            }
            self.settle(policy, governed, &Asked { found, began, answered: Instant::now() });
            self.verify_bounds(policy, governed).await;
        }
    }

    /// Asks whether thresholds are bounds of their histograms, until they are known to be.
    async fn verify_bounds(&self, policy: &InForce, governed: &[DeploymentKey]) {
        let (key, generation) = (&policy.policy.key, policy.policy.generation);
        if governed.is_empty() || self.config.prometheus.is_empty() || self.keeper.bounds_fit(key, generation) {
            return;
        }
        let (mut all_fit, mut problem) = (true, None);
        for ((ask, indicator), objective) in
            asks(policy, governed).iter().zip(&policy.indicators).zip(&policy.objectives)
        {
            match self.budgets.bounds(ask, indicator).await {
                Ok(Bounds::Fit) => {}
                Ok(Bounds::Unknown) => all_fit = false,
                Ok(Bounds::Missing(why)) => problem = problem.or(Some(format!("objective {objective}: {why}"))),
                Err(failure) => {
                    warn!(policy = %key, %failure, "the bounds of a histogram could not be asked");
                    return;
                }
            }
        }
        if all_fit || problem.is_some() {
            self.keeper.found_bounds(policy, &self.policies, problem);
            self.keeper.look_at(key);
        }
    }

    fn settle(&self, policy: &InForce, governed: &[DeploymentKey], asked: &Asked) {
        let key = &policy.policy.key;
        let next = self.gates.next_turn(&key.namespace, asked.began);
        let names = governed.iter().map(|deployment| deployment.name.clone()).collect();
        let status = self.policy_store.get(&ObjectRef::from(key)).map(|view| view.status.clone()).unwrap_or_default();
        let (changes, report, told) = {
            let mut policies = self.gates.policies();
            if !self.policies.still_says(policy) {
                return;
            }
            if policies.get(key).is_some_and(|entry| entry.uid != policy.policy.uid) {
                policies.remove(key);
            }
            let entry =
                policies.entry(key.clone()).or_insert_with(|| Entry::new(&policy.policy.uid, &status, asked.began));
            let was_changed = std::mem::replace(&mut entry.generation, policy.policy.generation) != entry.generation;
            (entry.next, entry.last) = (next, asked.began);
            let mut changes = entry.standing.take_in(policy, names, asked);
            if was_changed {
                // Until now none of them had a gate, see `gate_of`.
                changes.other = entry.standing.deployments().keys().cloned().collect();
            }
            let report = Report::of(&policy.policy, &entry.standing);
            (changes, report.clone(), entry.told.replace(report))
        };
        debug!(policy = %key, gate = report.gate, budget = ?report.remaining, message = report.message, "budget asked");
        self.metrics.budgets(key, &report.ratios);
        self.wake(key, &changes.other);
        self.announce_gates(policy, EventReason::GateClosed, &changes.closed);
        self.announce_gates(policy, EventReason::GateOpened, &changes.opened);
        if told.as_ref().is_none_or(|told| !told.says_the_same(&report)) {
            let urgent = told.is_none_or(|told| told.gate != report.gate || told.generation != report.generation);
            let urgency = if urgent { Urgency::Transition } else { Urgency::Refresh(self.gates.every) };
            self.status.submit(&reference(key, &policy.policy.uid), report.change(), urgency);
        }
    }

    /// Passes over rollouts under way, since what they were decided by is another.
    fn wake(&self, policy: &PolicyKey, deployments: &[String]) {
        for name in deployments {
            let key = DeploymentKey { namespace: policy.namespace.clone(), name: name.clone() };
            let over = |phase| matches!(phase, Phase::Succeeded | Phase::RolledBack);
            let is_over = self
                .memory
                .look(&key, |tracked| tracked.state.as_ref().is_some_and(|state| over(state.phase)))
                .unwrap_or_default();
            if !is_over {
                // Fails only when the controller is gone, and with it whoever would care.
                let _ = self.gates.passes.unbounded_send(key);
            }
        }
    }

    fn announce_gates(&self, policy: &InForce, reason: EventReason, gates: &[(String, Gate)]) {
        let Some(note) = report::gates_in_words(&policy.policy, gates) else { return };
        info!(policy = %policy.policy.key, reason = reason.as_str(), note, "gate");
        self.events.announce_on(&policy.reference, &Announcement::new(reason, note));
    }

    /// A policy that cannot be enforced, or of which SLOs are not known, is not asked for, and must not go on saying that its
    /// gate is open.
    fn tell_that_not_asked(&self, key: &PolicyKey, known: &Known) {
        let report = Report::not_asked(known.generation, known.unanswered());
        let now = Instant::now();
        {
            let mut policies = self.gates.policies();
            if policies.get(key).is_none_or(|entry| entry.uid != known.uid) {
                let view = self.policy_store.get(&ObjectRef::from(key));
                let Some(status) = view.map(|view| view.status.clone()).filter(|status| status.gate.is_some()) else {
                    return;
                };
                policies.insert(key.clone(), Entry::new(&known.uid, &status, now));
            }
            let Some(entry) = policies.get_mut(key).filter(|entry| entry.told.as_ref() != Some(&report)) else {
                return;
            };
            entry.told = Some(report.clone());
            // When it can be enforced again, it is asked for at once.
            entry.generation = 0;
        }
        self.metrics.budgets(key, &[]);
        self.status.submit(&reference(key, &known.uid), report.change(), Urgency::Transition);
    }
}

/// What is to be asked for a policy: one for each objective; nothing when it governs no Deployment.
fn asks(policy: &InForce, governed: &[DeploymentKey]) -> Vec<Ask> {
    if governed.is_empty() {
        return Vec::new();
    }
    let deployments: BTreeSet<String> = governed.iter().map(|deployment| deployment.name.clone()).collect();
    let ask = |(objective, source): (&crate::policy::Objective, &crate::measure::budget::Source)| Ask {
        endpoint: policy.policy.prometheus.clone(),
        namespace: policy.policy.key.namespace.clone(),
        window: objective.window,
        source: source.clone(),
        deployments: deployments.clone(),
    };
    policy.policy.objectives.iter().zip(&policy.budgets).map(ask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_its_turn_once_an_interval() {
        let began = Instant::now();
        let every = Duration::from_secs(60);
        let mut offsets = BTreeSet::new();
        for namespace in ["oz", "emerald-city", "kansas"] {
            let mut at = turn(began, every, namespace, began);
            assert!(at >= began + every - TICK * 2 && at < began + every * 2, "{namespace}");
            for _ in 0..5 {
                // A tick and an answer take their time.
                let next = turn(began, every, namespace, at + Duration::from_millis(900));
                assert_eq!(next - at, every, "{namespace}");
                at = next;
            }
            offsets.insert((at - began).as_millis() % every.as_millis());
        }
        assert_eq!(offsets.len(), 3, "each at a moment of its own");
    }
}
