//! `ErrorBudgetPolicy`, as it is written. Defaults and rules stand in the schema, so that the API server applies them
//! and `kubectl get -o yaml` shows them; the doc comments are what `kubectl explain` prints.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel;
use super::status::ErrorBudgetPolicyStatus;

/// What a rollout of the selected Deployments may cost of their error budget, and what happens when it costs more.
#[allow(clippy::duplicated_attributes)] // two columns may have one type
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "errorbudget.dev",
    version = "v1alpha1",
    kind = "ErrorBudgetPolicy",
    plural = "errorbudgetpolicies",
    shortname = "ebp",
    namespaced,
    status = "ErrorBudgetPolicyStatus",
    derive = "PartialEq",
    doc = "Puts error budgets in charge of the rollouts of plain Deployments: a release that burns more of the budget than allowed is halted or rolled back.",
    printcolumn(
        name = "Targets",
        type_ = "integer",
        json_path = ".status.targets",
        description = "Deployments this policy governs"
    ),
    printcolumn(
        name = "Budget",
        type_ = "string",
        json_path = ".status.budgetRemaining",
        description = "What is left of the error budget, of the objective and Deployment that have the least"
    ),
    printcolumn(
        name = "Gate",
        type_ = "string",
        json_path = ".status.gate",
        description = "Whether new rollouts may start: Open, Closed or Unknown"
    ),
    printcolumn(
        name = "Rollouts",
        type_ = "integer",
        json_path = ".status.runningRollouts",
        description = "Rollouts being watched now"
    ),
    printcolumn(
        name = "Verdict",
        type_ = "string",
        json_path = ".status.verdict",
        description = "The worst current verdict: Proceed, Halt or Rollback"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the policy is in force"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is in force or not",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::spec()))]
pub struct ErrorBudgetPolicySpec {
    /// Which Deployments of this namespace the policy governs, by their labels. Where two policies select one
    /// Deployment, the older policy governs it and the newer says so in its Ready condition.
    pub selector: PolicySelector,

    /// What the service promises: 1 to 8 objectives. Each is measured, and the worst verdict counts.
    #[schemars(length(min = 1, max = 8), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub objectives: Vec<Objective>,

    /// Whose error budget decides whether rollouts may go on.
    #[serde(default)]
    pub budget: Budget,

    /// What must be true before any pod of a new revision takes traffic.
    #[serde(default)]
    pub validate: Validate,

    /// How much of the traffic a new revision gets first, and for how long.
    #[serde(default)]
    pub canary: Canary,

    /// What happens after the rollout completed.
    #[serde(default)]
    pub monitor: Monitor,

    /// How a burn rate becomes a verdict.
    #[serde(default)]
    pub detection: Detection,

    /// Automatic goes on by evidence. Manual waits for an approval after each canary step: the annotation
    /// errorbudget.dev/approve on the Deployment, which `kubectl errorbudget approve` sets.
    #[serde(default)]
    pub approval: Approval,

    /// Enforce halts and rolls back. Observe says everything and touches nothing: for the first days with a policy.
    #[serde(default)]
    pub mode: Mode,

    /// Where the counters of a rollout are read. Prometheus asks the Prometheus below. Pods reads the metrics of the pods
    /// themselves, at most 10 of the new and 10 of the stable ones, in every look: for a Prometheus that scrapes every 30
    /// seconds or more seldom, is overloaded, or is not there. What is left of the error budget comes from Prometheus in
    /// both. The operator's installation must allow Pods.
    #[serde(default)]
    pub evidence: EvidenceFrom,

    /// Where pods expose their metrics, with evidence Pods. What is left out is taken from the annotations
    /// prometheus.io/port and prometheus.io/path of the pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,

    /// Name of the Prometheus to ask, as the operator's own configuration file names it. A policy never carries an
    /// address.
    #[serde(default = "default_prometheus")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = cel::endpoint_name()))]
    pub prometheus: String,
}

fn default_prometheus() -> String {
    "default".to_owned()
}

/// Which Deployments, by label. All of it must match.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::selector()))]
pub struct PolicySelector {
    /// Labels that the Deployment must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        schema_with = "super::schema::labels",
        description = "Labels that the Deployment must have, with these values."
    )]
    pub match_labels: BTreeMap<String, String>,

    /// Requirements on labels that are more than equality.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::requirement()))]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,

    /// In: the label is there with one of the values. NotIn: it is not there, or with another value. Exists: it is
    /// there. DoesNotExist: it is not.
    pub operator: Operator,

    /// The values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is not there, or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// One promise about the service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// Its name, as status, Events and metrics print it: lower-case letters, digits and dashes.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = cel::objective_name()))]
    pub name: String,

    /// Percent of the requests that must be good, as a string above 0 and below 100 with at most 6 decimals: "99.9".
    /// The error budget is what is left to 100.
    #[schemars(length(max = 9), extend("x-kubernetes-validations" = cel::target()))]
    pub target: String,

    /// The time over which the budget is granted, in whole days or hours from 1h to 90d.
    #[serde(default = "default_budget_window")]
    #[schemars(length(max = 5), extend("x-kubernetes-validations" = cel::budget_window()))]
    pub window: String,

    /// How good and bad requests are told apart. Exactly one kind.
    pub indicator: Indicator,

    /// Where to read what is left of the budget, if Prometheus records it. Without it the operator computes it from the
    /// indicator's counters over the window, which costs Prometheus more the longer the window is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_from: Option<BudgetFrom>,
}

/// Series that Prometheus records about the budget. Exactly one kind. They need not carry a namespace label, so none is
/// asked for; where a selector has a matcher for it, it must be the policy's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::budget_from()))]
pub struct BudgetFrom {
    /// One number, what is left of the budget as a ratio (1 is all of it, below 0 is overspent), as a bare PromQL vector
    /// selector. For Sloth: slo:period_error_budget_remaining:ratio{sloth_service="shop",sloth_slo="availability"}. A
    /// selector that gives no number, or several, leaves the budget unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub remaining: Option<String>,

    /// Recorded increases over the window, as Pyrra records them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increase: Option<RecordedIncrease>,
}

/// Recorded increases over the objective's window.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RecordedIncrease {
    /// Bad requests, as a bare PromQL vector selector: http_requests:increase4w{slo="checkout",code=~"5.."}. Its series
    /// are summed.
    #[schemars(length(min = 1, max = 1024))]
    pub errors: String,

    /// All requests: http_requests:increase4w{slo="checkout"}. Its series are summed.
    #[schemars(length(min = 1, max = 1024))]
    pub total: String,
}

fn default_budget_window() -> String {
    "28d".to_owned()
}

/// How good and bad requests are told apart.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::indicator()))]
pub struct Indicator {
    /// Errors over total, from two counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,

    /// Requests that take longer than a threshold are bad, by a histogram that each pod exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,

    /// Errors over total, from two PromQL expressions, for series that have no label with the pod's name: those of meshes,
    /// gateways and ingress controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
}

/// Errors over total, from two PromQL expressions that are asked for the new ReplicaSet and for the one to go back to.
///
/// In the values of labels these stand for what they are called: {{namespace}}, {{deployment}}, {{replicaSet}},
/// {{podTemplateHash}}, {{revision}} (its number) and {{podLabel.KEY}} (a label of its pods). Every selector needs the
/// namespace in one of the usual labels, such as namespace="{{namespace}}" or
/// destination_workload_namespace="{{namespace}}". One of {{replicaSet}}, {{podTemplateHash}}, {{revision}} and {{podLabel.KEY}}
/// tells the new pods from the old ones. Without any of them the service is measured as a whole, and then a rollout is
/// halted for it and never rolled back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::query()))]
pub struct Query {
    /// Bad requests: sum by (pod) (istio_requests_total{destination_workload_namespace="{{namespace}}",
    /// destination_workload="{{deployment}}",destination_version="{{podLabel.version}}",response_code=~"5.."}). Each series of
    /// the answer is a counter of its own. Each must have one with the same labels in total.
    #[schemars(length(min = 1, max = 4096))]
    pub errors: String,

    /// All requests, bad ones included.
    #[schemars(length(min = 1, max = 4096))]
    pub total: String,

    /// What the expressions count. Cumulative: counters as they are, without rate() or any range. PerWindow: what was counted
    /// during one look, with [{{look}}] as the range of every selector: sum(increase(hits[{{look}}])).
    pub counts: QueryCounts,
}

/// What an expression counts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryCounts {
    /// Counters as they are.
    Cumulative,
    /// What was counted during one look.
    PerWindow,
}

/// Errors over total, from two counters that each pod exports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::ratio()))]
pub struct Ratio {
    /// The counters of bad requests, as a bare PromQL vector selector: http_requests_total{code=~"5.."}. No function and
    /// no range; the operator adds the namespace and the pods itself.
    #[schemars(length(min = 1, max = 1024))]
    pub errors: String,

    /// The counters of all requests, bad ones included, as a bare PromQL vector selector: http_requests_total.
    #[schemars(length(min = 1, max = 1024))]
    pub total: String,
}

/// Requests that take longer than a threshold are bad, by a histogram of durations that each pod exports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The histogram, as a bare PromQL vector selector by its own name, without _bucket or _count:
    /// http_request_duration_seconds{path!="/health"}. No function and no range; the operator adds the namespace and the
    /// pods itself.
    #[schemars(length(min = 1, max = 1024))]
    pub histogram: String,

    /// A request that took longer is bad: a duration from 1us to 1h such as 250ms, 1s or 1m30s. A classic histogram must
    /// have a bucket with just this bound; where it has not, the condition IndicatorVerified lists the bounds that exist.
    /// A native one is estimated within the bucket that the threshold falls into; at a power of two of its unit (250ms,
    /// 500ms, 1s, 2s) it is exact.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::latency_threshold()))]
    pub threshold: String,

    /// Classic: counters named _bucket and _count, of which the bucket's label le is the bound. Native: one series that is
    /// a native histogram, for which Prometheus 3 or newer is needed.
    #[serde(default, rename = "type")]
    pub kind: HistogramType,

    /// What the histogram counts in. Without it, milliseconds where its name says so (_milliseconds, _ms), and seconds
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
}

/// How a histogram is exported.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistogramType {
    /// A counter for each bound.
    #[default]
    Classic,
    /// One series with buckets of its own making.
    Native,
}

/// What a histogram counts in.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Whose error budget decides.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    /// PerDeployment: each selected Deployment has a budget of its own. Shared: all of them together have one, for
    /// services that promise something together. Detection and rollback are per Deployment in both.
    pub scope: BudgetScope,
}

/// Whose budget it is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetScope {
    /// Each Deployment has its own.
    #[default]
    PerDeployment,
    /// All selected Deployments have one together.
    Shared,
}

/// What must be true before any pod of a new revision takes traffic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Validate {
    /// Share of the error budget that may be spent before new rollouts are held, as a string above 0: at "0.8" they are
    /// held when less than 20 % is left. Above "1" rollouts go on with an overspent budget; "1000" switches the gate off.
    #[schemars(length(max = 13), extend("x-kubernetes-validations" = cel::spent_share()))]
    pub threshold: String,

    /// What happens while Prometheus cannot tell what is left of the budget. Allow lets rollouts go on, and says so. Hold
    /// holds new ones until it can.
    pub on_unknown_budget: OnUnknownBudget,

    /// How a rollout is stopped while the gate is closed. Hold takes the new template and holds it without pods. Deny
    /// refuses the write that brings it, where the chart's admission policies are installed; elsewhere it holds.
    pub admission: Admission,
}

impl Default for Validate {
    fn default() -> Self {
        Self { threshold: "0.8".to_owned(), on_unknown_budget: OnUnknownBudget::Allow, admission: Admission::Hold }
    }
}

/// What an unknown budget leads to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnknownBudget {
    /// Go on, and say so.
    Allow,
    /// Hold new rollouts until it is known.
    Hold,
}

/// How a closed gate stops a rollout.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The new template is taken and held without pods.
    Hold,
    /// The write that brings it is refused.
    Deny,
}

/// How much of the traffic a new revision gets first.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = cel::canary()))]
pub struct Canary {
    /// Share of the pods that are the canary's while it is held, in whole percent. It is rounded up to whole pods, beside
    /// all of the stable ones: 10% at 10 replicas is 2 pods of 12. There are never more canary pods than replicas, which is
    /// half of all; status says which share it really is. At 0% nothing is held.
    #[schemars(length(max = 4), extend("x-kubernetes-validations" = cel::traffic()))]
    pub traffic: String,

    /// How long it is held there at least, from the moment its pods are Ready: 10s to 24h.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("10s", "24h", "2m or 1h30m")))]
    pub hold: String,

    /// Further steps after the first, each with more traffic than the one before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<CanaryStep>,

    /// Requests that the canary must have served before it goes on, 0 to 1000000000.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub minimum_requests: i64,

    /// How long a step waits for minimumRequests at most, from one hold to 7 days in hours: 1h.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("10s", "168h", "1h or 30m")))]
    pub maximum_hold: String,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            traffic: "10%".to_owned(),
            hold: "2m".to_owned(),
            steps: Vec::new(),
            minimum_requests: 0,
            maximum_hold: "1h".to_owned(),
        }
    }
}

/// One further step of the canary.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStep {
    /// Share of the pods, in whole percent.
    #[schemars(length(max = 4), extend("x-kubernetes-validations" = cel::traffic()))]
    pub traffic: String,

    /// How long it is held there at least, from the moment its pods are Ready: 10s to 24h.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("10s", "24h", "2m or 1h30m")))]
    pub hold: String,
}

/// Who lets a canary go on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approval {
    /// Evidence does.
    #[default]
    Automatic,
    /// A person does, after each step.
    Manual,
}

/// What happens after the rollout completed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Monitor {
    /// How long measuring goes on after the rollout completed, until the revision counts as good: from one
    /// detection.window to 24h. A Halt or missing evidence stops the clock.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("5s", "24h", "5m or 1h30m")))]
    pub timeout: String,

    /// True: a Rollback verdict puts the last good revision back. False: it halts the rollout and says what a rollback
    /// would have done.
    pub auto_rollback: bool,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { timeout: "5m".to_owned(), auto_rollback: true }
    }
}

/// How a burn rate becomes a verdict. A burn rate is the error ratio over the error budget: at 1 the budget lasts for
/// just its window.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = cel::detection()))]
pub struct Detection {
    /// What the burn rate is reported over, from 5s to 10m. Choose at least two scrape intervals of Prometheus.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("5s", "10m", "30s or 1m30s")))]
    pub window: String,

    /// How often to look in one window, 1 to 10: 3 looks in 30s are one every 10 s. Looks are whole seconds apart, so the
    /// window must be divisible by them.
    #[schemars(range(min = 1, max = 10))]
    pub looks: i32,

    /// What a pod serves in its first time is left out, canary and stable alike, since caches and compilers make many pods
    /// slow at first: from 0s to 10m after the first sample that shows a request to it. Without it, 30s for latency
    /// objectives and 0s for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("0s", "10m", "30s or 2m")))]
    pub warmup: Option<String>,

    /// Burn rate above which a release is rolled back, as a string: "1.0".
    #[schemars(length(max = 13), extend("x-kubernetes-validations" = cel::burn_rate("1.0")))]
    pub violation: String,

    /// Burn rate above which a release that is worse than the stable pods is halted, as a string: "0.5". At most
    /// violation.
    #[schemars(length(max = 13), extend("x-kubernetes-validations" = cel::burn_rate("0.5")))]
    pub warning: String,

    /// How sure a rollback must be, in percent, from 50 to below 100: at "99" at most 1 % of the releases that stay
    /// within the budget may be rolled back by chance.
    #[schemars(length(max = 9), extend("x-kubernetes-validations" = cel::confidence()))]
    pub confidence: String,

    /// Sequential weighs evidence that stays valid however often one looks. Threshold compares the window's burn rate
    /// directly, without statistics: simple, and wrong by chance far more often.
    pub rule: Rule,

    /// What happens when Prometheus brings no evidence in two looks in a row. Hold halts the rollout until it does.
    /// Proceed goes on and says so. It never rolls back.
    pub on_missing_evidence: OnMissingEvidence,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            window: "30s".to_owned(),
            looks: 3,
            warmup: None,
            violation: "1.0".to_owned(),
            warning: "0.5".to_owned(),
            confidence: "99".to_owned(),
            rule: Rule::Sequential,
            on_missing_evidence: OnMissingEvidence::Hold,
        }
    }
}

/// How the verdict is reached.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Evidence that stays valid however often one looks.
    Sequential,
    /// The window's burn rate compared directly.
    Threshold,
}

/// What two looks in a row without evidence lead to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissingEvidence {
    /// Halt until evidence is back.
    Hold,
    /// Go on, and say so.
    Proceed,
}

/// Where the counters of a rollout are read.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvidenceFrom {
    /// From Prometheus.
    #[default]
    Prometheus,
    /// From the pods themselves.
    Pods,
}

/// Where pods expose their metrics.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// The port, as a number or as the name that a container gives it: 8080, or metrics. Left out: the number in the
    /// annotation prometheus.io/port, else a container's port named metrics or http-metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::port")]
    pub port: Option<IntOrString>,

    /// The path: /actuator/prometheus. Left out: the annotation prometheus.io/path, else /metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = cel::pods_path()))]
    pub path: Option<String>,
}

/// Whether the policy acts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Halt and roll back.
    #[default]
    Enforce,
    /// Say everything, touch nothing.
    Observe,
}
