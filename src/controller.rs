//! Runs the five stages, in order, for one Deployment at a time.
//!
//! A pass over a Deployment is asked for when it changed, when one of its namespace's policies did, when a look at it was
//! read, when its gate opens or closes, or when its last pass wants to be followed by another. Kubernetes' own queue semantics (`kube`'s applier) see to
//! it that there is one pass of a Deployment at a time and that requests for the same one are folded.

mod error;
mod gate;
mod judgement;
mod keeper;
mod measured;
mod policies;
mod reading;
mod slos;
mod stages;
mod taking;
mod telling;
mod tracked;
mod watching;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::Client;
use kube::runtime::controller::{self, Action, Config, ReconcileRequest};
use kube::runtime::reflector::{ObjectRef, Store};
use tracing::{debug, info, warn};

pub use error::ReconcileError;
use gate::Gates;
pub(crate) use gate::reading;
use keeper::Keeper;
use policies::Policies;
use tracked::Memory;

use crate::act::Applier;
use crate::config::OperatorConfig;
use crate::measure::budget::Budgets;
use crate::measure::sampler::Sampler;
use crate::measure::slos::Slos;
use crate::policy::{PolicyKey, Selector};
use crate::record::events::Events;
use crate::record::metrics::Metrics;
use crate::record::status::StatusWriter;
use crate::server::Heartbeat;
use crate::watch::rollout::DeploymentKey;
use crate::watch::{DeploymentView, PolicyView, Touched, deployments_of};

/// The first pause after a failed pass; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest one: a rollback must not wait for longer once the API server is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What the stages work with.
pub struct Context {
    client: Client,
    config: Arc<OperatorConfig>,
    deployment_store: Store<DeploymentView>,
    policy_store: Store<PolicyView>,
    policies: Policies,
    memory: Memory,
    keeper: Keeper,
    gates: Gates,
    budgets: Budgets,
    slos: Slos,
    sampler: Arc<Sampler>,
    applier: Applier,
    events: Events,
    status: StatusWriter,
    metrics: Arc<Metrics>,
}

/// Everything the controller is given.
pub struct Parts {
    /// To list ReplicaSets and pods with.
    pub client: Client,
    /// The endpoints that policies may name.
    pub config: Arc<OperatorConfig>,
    /// All Deployments, and which of them changed.
    pub deployments: (Store<DeploymentView>, Touched<DeploymentView>),
    /// All policies, and which of them changed.
    pub policies: (Store<PolicyView>, Touched<PolicyView>),
    /// Reads counters, and tells for which rollouts it did.
    pub sampler: (Arc<Sampler>, UnboundedReceiver<DeploymentKey>),
    /// Asks what is left of error budgets.
    pub budgets: Budgets,
    /// Asks what other tools keep of objectives, as often as for budgets.
    pub slos: Slos,
    /// The policies that are enforced, by their labels; all without it.
    pub policy_selector: Option<Selector>,
    /// How often, for each policy.
    pub budget_interval: Duration,
    /// Writes Deployments and ReplicaSets.
    pub applier: Applier,
    /// Takes announcements.
    pub events: Events,
    /// Takes status changes.
    pub status: StatusWriter,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Beaten with each pass.
    pub heartbeat: Heartbeat,
    /// How many Deployments are worked on at a time.
    pub concurrency: u16,
}

/// Runs until `shutdown`, and then until the passes under way have ended.
pub async fn run(parts: Parts, shutdown: impl Future<Output = ()> + Send + 'static) {
    let Parts {
        client,
        config,
        deployments,
        policies,
        sampler,
        budgets,
        slos,
        policy_selector,
        budget_interval,
        applier,
        events,
        status,
        metrics,
        heartbeat,
        concurrency,
    } = parts;
    let (deployment_store, touched_deployments) = deployments;
    let (policy_store, touched_policies) = policies;
    let (sampler, looks) = sampler;
    let (passes, gates) = unbounded();
    let context = Arc::new(Context {
        client,
        config,
        deployment_store: deployment_store.clone(),
        policy_store,
        policies: Policies::new(policy_selector),
        memory: Memory::default(),
        keeper: Keeper::default(),
        gates: Gates::new(budget_interval, passes),
        budgets,
        slos,
        sampler,
        applier,
        events,
        status,
        metrics,
    });
    let keeper = tokio::spawn(keeper::keep(Arc::clone(&context)));
    let gate_keeper = tokio::spawn(gate::keep(Arc::clone(&context)));
    let slo_reader = tokio::spawn(slos::keep(Arc::clone(&context), budget_interval));
    let wakes = stream::select(looks, gates);
    let queue = queue(&context, touched_deployments, touched_policies, wakes).take_until(Box::pin(shutdown));
    let reconcile =
        |view: Arc<DeploymentView>, context: Arc<Context>| Box::pin(async move { context.pass(&view).await });
    let config = Config::default().concurrency(concurrency);
    let store = deployment_store;
    controller::applier(reconcile, after_error, Arc::clone(&context), store, queue.map(Ok::<_, Infallible>), config)
        .for_each(|pass| {
            heartbeat.beat();
            if let Err(error) = pass {
                // A Deployment that is gone needs no pass, and other errors are logged where they happen.
                debug!(%error, "a pass came to nothing");
            }
            std::future::ready(())
        })
        .await;
    keeper.abort();
    gate_keeper.abort();
    slo_reader.abort();
}

type Request = ReconcileRequest<DeploymentView>;

/// Whatever asks for a pass.
fn queue(
    context: &Arc<Context>,
    deployments: Touched<DeploymentView>,
    policies: Touched<PolicyView>,
    wakes: impl Stream<Item = DeploymentKey> + Send + 'static,
) -> BoxStream<'static, Request> {
    let of_deployments = {
        let context = Arc::clone(context);
        deployments.flat_map(move |touched| stream::iter(context.deployment_touched(touched)))
    };
    let of_policies = {
        let context = Arc::clone(context);
        policies.flat_map(move |touched| stream::iter(context.policy_touched(touched)))
    };
    // What was touched before leadership was gained, nobody acted on.
    for view in context.policy_store.state() {
        context.take_in(&view.key());
        context.keeper.look_at(&view.key());
    }
    context.forget_gone();
    let known = context.deployment_store.state();
    let known = stream::iter(known.into_iter().map(|view| Request::from(ObjectRef::from_obj(view.as_ref()))));
    // A look at it was read, or its gate is another.
    let of_wakes = wakes.map(|key| Request::from(ObjectRef::from(&key)));
    stream::select_all([known.boxed(), of_deployments.boxed(), of_policies.boxed(), of_wakes.boxed()]).boxed()
}

fn after_error(view: Arc<DeploymentView>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let key = view.key();
    let failures = context.memory.look(&key, |tracked| tracked.failures).unwrap_or_default();
    // A conflict means that somebody wrote: what they wrote is on its way to us.
    let pause = if error.is_conflict() { FIRST_PAUSE } else { pause_after(failures) };
    warn!(deployment = %key, stage = error.stage(), failures, ?pause, error = %chain(error), "the pass failed and is repeated");
    Action::requeue(jittered(pause, &key))
}

fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_PAUSE)
}

/// Up to a quarter longer, by the Deployment's name, so that many that failed at once do not come back at once.
fn jittered(pause: Duration, key: &DeploymentKey) -> Duration {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    pause + pause.mul_f64((hasher.finish() % 1000) as f64 / 4000.0)
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Context {
    fn deployment_touched(
        &self,
        touched: kube::runtime::watcher::Result<ObjectRef<DeploymentView>>,
    ) -> Option<Request> {
        let name = match touched {
            Ok(name) => name,
            Err(error) => {
                warn!(error = %chain(&error), "the watch of Deployments is interrupted and goes on by itself");
                return None;
            }
        };
        let key = DeploymentKey { namespace: name.namespace.clone().unwrap_or_default(), name: name.name.clone() };
        // Also those that it had a conflict with before, and has none any more.
        self.look_at_policies_of(&key.namespace);
        if self.deployment_store.get(&name).is_none() {
            self.deployment_gone(&key);
            return None;
        }
        Some(Request::from(name))
    }

    fn deployment_gone(&self, key: &DeploymentKey) {
        self.sampler.remove(key);
        self.metrics.phase(key, None);
        self.keeper.saw(key, None);
        if let Some(policy) = self.memory.forget(key).and_then(|tracked| tracked.policy) {
            self.forget_in_status(&policy.key, &key.name);
        }
    }

    fn policy_touched(&self, touched: kube::runtime::watcher::Result<ObjectRef<PolicyView>>) -> Vec<Request> {
        let name = match touched {
            Ok(name) => name,
            Err(error) => {
                warn!(error = %chain(&error), "the watch of policies is interrupted and goes on by itself");
                return Vec::new();
            }
        };
        let namespace = name.namespace.clone().unwrap_or_default();
        let key = PolicyKey { namespace: namespace.clone(), name: name.name };
        let is_there = self.take_in(&key);
        if is_there && self.policies.get(&key).is_some_and(|known| known.is_ours) {
            info!(policy = %key, "policy taken in");
        } else {
            self.keeper.forget(&key);
            self.forget_gate(&key);
            if !is_there {
                info!(policy = %key, "policy gone");
            }
        }
        // Another policy may govern now, or none: whoever is concerned finds out by itself.
        self.look_at_policies_of(&namespace);
        deployments_of(&self.deployment_store, &namespace).into_iter().map(Request::from).collect()
    }

    /// Takes in a policy as it is now; whether it is still there.
    fn take_in(&self, key: &PolicyKey) -> bool {
        self.policies.take_in(key, &self.policy_store, &self.config, |endpoint, slo| self.slos.of(endpoint, slo))
    }

    fn look_at_policies_of(&self, namespace: &str) {
        for key in self.policies.within(namespace) {
            self.keeper.look_at(&key);
        }
    }
}
