//! The operator's own metrics.
//!
//! Labels are bounded: every value is a `&'static str` of an enum, or the name of an endpoint from the operator's own
//! configuration. No name of a Deployment or pod is ever a label; those are in Events, status and logs. One gauge has the
//! names of policies and of their at most eight objectives, and loses them with the policy.

mod labels;
mod process;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::act::WriteOutcome;
use crate::decide::analysis::Verdict;
use crate::decide::state::{Cause, Outcome, Phase};
use crate::measure::client::QueryKind;
use crate::measure::look::Missing;
use crate::policy::PolicyKey;
use crate::watch::rollout::DeploymentKey;
use labels::{
    ActionLabels, BudgetLabels, BuildLabels, EvidenceLabel, FailureLabels, MISSING, OutcomeLabel, PhaseLabel,
    QueryLabels, StageLabel, VerdictLabels,
};
pub use labels::{Change, EventFate, StatusWrite};

const PREFIX: &str = "errorbudget_gatekeeper";

/// Requests to Kubernetes and Prometheus, from a local answer to a timeout.
const REQUEST_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From an answer that came at once to a look that was answered late, fine where operators begin to be too slow.
const LAG_SECONDS: [f64; 13] = [0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 30.0];
/// Between a few looks and a few windows.
const DETECTION_SECONDS: [f64; 10] = [5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
/// A roll back of a few pods up to the ten minutes after which it counts as not recovered, and beyond.
const RECOVERY_SECONDS: [f64; 9] = [10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0];
/// From the shortest scrape interval to the longest window.
const AGE_SECONDS: [f64; 9] = [1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics, and the registry that prints them. One for the life of the process, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    verdicts: Family<VerdictLabels, Counter>,
    rollouts: Family<PhaseLabel, Gauge>,
    /// Which phase each rollout is counted in, so that saying the same twice cannot make the gauge drift.
    phases: Mutex<HashMap<DeploymentKey, Phase>>,
    rollbacks: Family<OutcomeLabel, Counter>,
    actions: Family<ActionLabels, Counter>,
    rollback_latency: Histogram,
    detection_latency: Histogram,
    recovery: Histograms<OutcomeLabel>,
    looks: Family<EvidenceLabel, Counter>,
    evidence_age: Histogram,
    decision_lag: Histogram,
    query_duration: Histograms<QueryLabels>,
    query_failures: Family<FailureLabels, Counter>,
    pod_reads: Family<EvidenceLabel, Counter>,
    reconcile_duration: Histogram,
    reconcile_errors: Family<StageLabel, Counter>,
    events: Family<OutcomeLabel, Counter>,
    status_writes: Family<OutcomeLabel, Counter>,
    budgets: Family<BudgetLabels, Gauge<f64, AtomicU64>>,
    /// Which objectives of each policy have a gauge, to take it away.
    budgets_told: Mutex<HashMap<PolicyKey, Vec<String>>>,
}

impl Metrics {
    /// `leads` is asked at each scrape whether this replica leads.
    pub fn new(leads: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            verdicts: Family::default(),
            rollouts: Family::default(),
            phases: Mutex::default(),
            rollbacks: Family::default(),
            actions: Family::default(),
            rollback_latency: Histogram::new(REQUEST_SECONDS),
            detection_latency: Histogram::new(DETECTION_SECONDS),
            recovery: Family::new_with_constructor(|| Histogram::new(RECOVERY_SECONDS)),
            looks: Family::default(),
            evidence_age: Histogram::new(AGE_SECONDS),
            decision_lag: Histogram::new(LAG_SECONDS),
            query_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            query_failures: Family::default(),
            pod_reads: Family::default(),
            reconcile_duration: Histogram::new(REQUEST_SECONDS),
            reconcile_errors: Family::default(),
            events: Family::default(),
            status_writes: Family::default(),
            budgets: Family::default(),
            budgets_told: Mutex::default(),
        };
        metrics.start_at_zero();
        metrics.registry = metrics.registered(leads);
        metrics
    }

    /// What may never happen still has a series, so that an alert on it can tell zero from absent.
    fn start_at_zero(&self) {
        for phase in Phase::ALL {
            drop(self.rollouts.get_or_create(&PhaseLabel { phase: phase.as_str() }));
        }
        for outcome in [Outcome::Recovered, Outcome::RecoveredUnproven, Outcome::NotRecovered] {
            drop(self.rollbacks.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }));
        }
        for (change, outcome) in Change::ALL.into_iter().flat_map(|change| WriteOutcome::ALL.map(|end| (change, end))) {
            drop(self.actions.get_or_create(&ActionLabels { action: change.as_str(), outcome: outcome.as_str() }));
        }
        for fate in EventFate::ALL {
            drop(self.events.get_or_create(&OutcomeLabel { outcome: fate.as_str() }));
        }
        for outcome in StatusWrite::ALL {
            drop(self.status_writes.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }));
        }
        for evidence in MISSING.map(Missing::as_str).into_iter().chain(["Seen"]) {
            drop(self.looks.get_or_create(&EvidenceLabel { evidence }));
            drop(self.pod_reads.get_or_create(&EvidenceLabel { evidence }));
        }
    }

    fn registered(&self, leads: impl Fn() -> bool + Send + Sync + 'static) -> Registry {
        let mut root = Registry::default();
        root.register_collector(Box::new(process::Process::started_now()));
        let ours = root.sub_registry_with_prefix(PREFIX);
        ours.register("build", "The version that runs", Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }));
        ours.register_collector(Box::new(Leader(Box::new(leads))));
        ours.register("verdicts", "Verdicts reached, one a decision", self.verdicts.clone());
        ours.register("rollouts", "Rollouts known, by phase", self.rollouts.clone());
        ours.register(
            "rollbacks",
            "Rollbacks by how the service was afterwards; one NotRecovered may still be followed by a Recovered",
            self.rollbacks.clone(),
        );
        ours.register("actions", "Changes of Deployments and ReplicaSets that were tried", self.actions.clone());
        ours.register(
            "rollback_latency_seconds",
            "From the decision to roll back to the accepted patch",
            self.rollback_latency.clone(),
        );
        ours.register(
            "detection_latency_seconds",
            "From the first look whose window burnt above the violation, without a look below since, to the decision to \
             roll back",
            self.detection_latency.clone(),
        );
        ours.register(
            "recovery_seconds",
            "From the decision to roll back to the service being within its budget again",
            self.recovery.clone(),
        );
        ours.register("looks", "Looks by what they brought: Seen, or why nothing", self.looks.clone());
        ours.register(
            "evidence_age_seconds",
            "Age of the newest sample of the canary at a look",
            self.evidence_age.clone(),
        );
        ours.register(
            "decision_lag_seconds",
            "From the time of a look to the decision made with it: Prometheus' share of it and the operator's",
            self.decision_lag.clone(),
        );
        ours.register(
            "prometheus_query_duration_seconds",
            "Queries to Prometheus, failed ones included",
            self.query_duration.clone(),
        );
        ours.register("prometheus_query_failures", "Failed queries to Prometheus", self.query_failures.clone());
        ours.register("pod_reads", "Pods read themselves: Seen, or why they could not be", self.pod_reads.clone());
        ours.register("reconcile_duration_seconds", "One pass over one Deployment", self.reconcile_duration.clone());
        ours.register("reconcile_errors", "Failed passes, by the stage that failed", self.reconcile_errors.clone());
        ours.register("events", "Events by what became of them", self.events.clone());
        ours.register("status_writes", "Writes of policy status by what became of them", self.status_writes.clone());
        ours.register(
            "budget_remaining_ratio",
            "What is left of the error budget, of the Deployment that has the least: 1 is all of it, below 0 is overspent",
            self.budgets.clone(),
        );
        root
    }

    /// All of it, as OpenMetrics text.
    ///
    /// # Errors
    /// None that is known; the encoder's signature has one.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// What the looks at a rollout came to, once a decision.
    pub fn verdict(&self, verdict: Verdict, cause: Cause) {
        let labels = VerdictLabels { verdict: verdict.as_str(), reason: cause.as_str() };
        self.verdicts.get_or_create(&labels).inc();
    }

    /// The rollout is in this phase now; `None` when it is no longer known. Saying the same twice changes nothing.
    pub fn phase(&self, key: &DeploymentKey, phase: Option<Phase>) {
        let gauge = |phase: Phase| self.rollouts.get_or_create(&PhaseLabel { phase: phase.as_str() });
        // A map of counted phases is whole between any two statements: a panic elsewhere cannot have broken it.
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match (phases.entry(key.clone()), phase) {
            (Entry::Occupied(mut known), Some(phase)) => Some(known.insert(phase)),
            (Entry::Occupied(known), None) => Some(known.remove()),
            (Entry::Vacant(unknown), Some(phase)) => {
                unknown.insert(phase);
                None
            }
            (Entry::Vacant(_), None) => None,
        };
        if before == phase {
            return;
        }
        if let Some(before) = before {
            gauge(before).dec();
        }
        if let Some(phase) = phase {
            gauge(phase).inc();
        }
    }

    /// One attempt to change something, and how it ended.
    pub fn action(&self, change: Change, outcome: WriteOutcome) {
        self.actions.get_or_create(&ActionLabels { action: change.as_str(), outcome: outcome.as_str() }).inc();
    }

    /// A rollback was accepted, `latency` after it was decided.
    pub fn rollback_accepted(&self, latency: Duration) {
        self.rollback_latency.observe(latency.as_secs_f64());
    }

    /// A rollback was decided, `latency` after the violation showed: after the first look whose window burnt above the
    /// violation, with none below since. What lies before that look (up to a scrape and a look interval) no counter shows.
    pub fn rollback_decided(&self, latency: Duration) {
        self.detection_latency.observe(latency.as_secs_f64());
    }

    /// It is known how the service is after a rollback, `took` after it was decided.
    pub fn recovery(&self, outcome: Outcome, took: Duration) {
        let label = OutcomeLabel { outcome: outcome.as_str() };
        self.rollbacks.get_or_create(&label).inc();
        // Ten minutes without a recovery is a limit, not a measurement.
        if outcome != Outcome::NotRecovered {
            self.recovery.get_or_create(&label).observe(took.as_secs_f64());
        }
    }

    /// One look at one objective: the age of its newest sample, or why it brought nothing.
    pub fn look(&self, evidence: Result<Duration, Missing>) {
        let label = match evidence {
            Ok(age) => {
                self.evidence_age.observe(age.as_secs_f64());
                "Seen"
            }
            Err(missing) => missing.as_str(),
        };
        self.looks.get_or_create(&EvidenceLabel { evidence: label }).inc();
    }

    /// A decision was made with a look, so long after its time.
    pub fn decided(&self, lag: Duration) {
        self.decision_lag.observe(lag.as_secs_f64());
    }

    /// One query to the endpoint of that name, how long it took, and why it failed, if it did.
    pub fn query(&self, endpoint: &str, kind: QueryKind, took: Duration, failure: Option<Missing>) {
        let (endpoint, kind) = (endpoint.to_owned(), kind.as_str());
        if let Some(missing) = failure {
            let labels = FailureLabels { endpoint: endpoint.clone(), kind, reason: missing.as_str() };
            self.query_failures.get_or_create(&labels).inc();
        }
        self.query_duration.get_or_create(&QueryLabels { endpoint, kind }).observe(took.as_secs_f64());
    }

    /// One pod that was read itself, or why it could not be.
    pub fn pod_read(&self, outcome: Result<(), Missing>) {
        let evidence = outcome.err().map_or("Seen", Missing::as_str);
        self.pod_reads.get_or_create(&EvidenceLabel { evidence }).inc();
    }

    /// One pass over one Deployment, and the stage it failed in, if it did.
    pub fn reconciled(&self, took: Duration, failed_stage: Option<&'static str>) {
        self.reconcile_duration.observe(took.as_secs_f64());
        if let Some(stage) = failed_stage {
            self.reconcile_errors.get_or_create(&StageLabel { stage }).inc();
        }
    }

    /// What became of one Event.
    pub fn event(&self, fate: EventFate) {
        self.events.get_or_create(&OutcomeLabel { outcome: fate.as_str() }).inc();
    }

    /// What became of one write of a policy's status.
    pub fn status_write(&self, outcome: StatusWrite) {
        self.status_writes.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }
}

impl Metrics {
    /// What is left of the policy's budgets, by objective. What it said before and does not say now is gone; with
    /// nothing, so is the policy.
    pub fn budgets(&self, policy: &PolicyKey, remaining: &[(String, f64)]) {
        let labels = |objective: &String| BudgetLabels {
            namespace: policy.namespace.clone(),
            policy: policy.name.clone(),
            objective: objective.clone(),
        };
        let mut told = self.budgets_told.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in told.remove(policy).into_iter().flatten() {
            if !remaining.iter().any(|(objective, _)| *objective == gone) {
                self.budgets.remove(&labels(&gone));
            }
        }
        for (objective, ratio) in remaining {
            self.budgets.get_or_create(&labels(objective)).set(*ratio);
        }
        if !remaining.is_empty() {
            told.insert(policy.clone(), remaining.iter().map(|(objective, _)| objective.clone()).collect());
        }
    }
}

/// Whether this replica leads, found out at the scrape: leadership ends by expiry, when nobody is there to set a gauge.
struct Leader(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leader")
    }
}

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::from((self.0)()));
        let help = "1 while this replica leads and may write, else 0";
        gauge.encode(encoder.encode_descriptor("leader", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
