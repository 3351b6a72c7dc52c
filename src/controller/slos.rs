//! Keeps what other tools say of the objectives that policies name, and takes a policy in anew when that is something else.
//!
//! Tasks of their own ask, once an interval for each endpoint and all policies together, so that no decision waits for it, and no
//! endpoint for another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use super::Context;
use crate::policy::{PolicyKey, SloName};
use crate::watch::deployments_of;
use crate::watch::rollout::DeploymentKey;

/// How often it is looked whether an endpoint has to be asked.
const TICK: Duration = Duration::from_secs(1);

/// Runs for the life of the process.
pub(super) async fn keep(context: Arc<Context>, every: Duration) {
    let mut ticks = interval(TICK.min(every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = Asking::default();
    loop {
        ticks.tick().await;
        asking.forget_ended();
        for (endpoint, names) in context.named() {
            if context.slos.is_due(&endpoint, &names, every) {
                let (context, of) = (Arc::clone(&context), endpoint.clone());
                asking.begin(endpoint, async move {
                    let changed = context.slos.ask(&of, &names).await;
                    if !changed.is_empty() {
                        context.take_in_slos(&of, &changed);
                    }
                });
            }
        }
    }
}

/// Endpoints that are being asked, each once at a time.
#[derive(Debug, Default)]
struct Asking {
    questions: JoinSet<()>,
    endpoints: HashMap<Id, String>,
}

impl Asking {
    /// Asks an endpoint, unless it is being asked.
    fn begin(&mut self, endpoint: String, question: impl Future<Output = ()> + Send + 'static) {
        if self.endpoints.values().all(|asked| *asked != endpoint) {
            let id = self.questions.spawn(question).id();
            self.endpoints.insert(id, endpoint);
        }
    }

    /// Those that have answered, or whose question broke off, can be asked again.
    fn forget_ended(&mut self) {
        while let Some(ended) = self.questions.try_join_next_with_id() {
            let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
            let endpoint = self.endpoints.remove(&id);
            if let Err(error) = ended {
                error!(%error, endpoint, "asking for SLOs broke off; it is tried again");
            }
        }
    }
}

impl Context {
    /// The SLOs that our policies name, by endpoint.
    fn named(&self) -> BTreeMap<String, BTreeSet<SloName>> {
        let mut named: BTreeMap<String, BTreeSet<SloName>> = BTreeMap::new();
        for view in self.policy_store.state() {
            let Ok(policy) = &view.policy else { continue };
            if policy.named.is_empty() || self.policies.get(&policy.key).is_none_or(|known| !known.is_ours) {
                continue;
            }
            let names = policy.named.iter().map(|named| named.slo.clone());
            named.entry(policy.prometheus.clone()).or_default().extend(names);
        }
        named
    }

    /// Takes in again every policy that names one of these, since something else is known of it now.
    fn take_in_slos(&self, endpoint: &str, changed: &BTreeSet<SloName>) {
        let mut namespaces = BTreeSet::new();
        for view in self.policy_store.state() {
            let Ok(policy) = &view.policy else { continue };
            if policy.prometheus != endpoint || !policy.named.iter().any(|named| changed.contains(&named.slo)) {
                continue;
            }
            if self.take_in(&policy.key) {
                self.read_anew(&policy.key);
                namespaces.insert(policy.key.namespace.clone());
            }
        }
        for namespace in namespaces {
            for deployment in deployments_of(&self.deployment_store, &namespace) {
                self.pass_over(DeploymentKey { namespace: namespace.clone(), name: deployment.name });
            }
        }
    }

    /// What was known of the policy's budget and histograms was said of other counters.
    fn read_anew(&self, policy: &PolicyKey) {
        let lacking = self.policies.get(policy).and_then(|known| known.outcome.ok()?.why_lacking().cloned());
        info!(%policy, lacking = lacking.map(|why| why.message), "what the SLOs that it names say was read");
        self.keeper.forget_bounds(policy);
        self.keeper.look_at(policy);
        self.read_gate_anew(policy);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_does_not_answer_keeps_no_other_waiting_and_is_asked_once() {
        let (mut asking, asked) = (Asking::default(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            asking.forget_ended();
            for endpoint in ["slow", "quick"] {
                let asked = Arc::clone(&asked);
                asking.begin(endpoint.to_owned(), async move {
                    asked.fetch_add(if endpoint == "slow" { 10 } else { 1 }, Ordering::Relaxed);
                    if endpoint == "slow" {
                        std::future::pending().await
                    }
                });
            }
            yield_now().await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 12, "the slow one once, the quick one twice");
    }

    #[tokio::test]
    async fn an_endpoint_is_asked_again_after_its_question_broke_off() {
        let (mut asking, asked) = (Asking::default(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            asking.forget_ended();
            let asked = Arc::clone(&asked);
            asking.begin("odd".to_owned(), async move {
                asked.fetch_add(1, Ordering::Relaxed);
                panic!("on purpose");
            });
            yield_now().await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
