//! Keeps what other tools say of the objectives that policies name, and takes a policy in anew when that is something else.
//!
//! A task of its own asks, once an interval for each endpoint and all policies together, so that no decision waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

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
    loop {
        ticks.tick().await;
        for (endpoint, names) in context.named() {
            if context.slos.is_due(&endpoint, &names, every) {
                let changed = context.slos.ask(&endpoint, &names).await;
                if !changed.is_empty() {
                    context.take_in_slos(&endpoint, &changed);
                }
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
