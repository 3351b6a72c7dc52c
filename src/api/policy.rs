//! `ErrorBudgetPolicy`, as it is written. Defaults and rules stand in the schema, so that the API server applies them
//! and `kubectl get -o yaml` shows them; the doc comments are what `kubectl explain` prints.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel;
use super::status::ErrorBudgetPolicyStatus;

mod detection;
mod indicator;
mod objective;
mod steps;

pub use detection::{Detection, OnMissingEvidence, Rule};
pub use indicator::{HistogramType, Indicator, Latency, Query, QueryCounts, Ratio, TimeUnit};
pub use objective::{BudgetFrom, Objective, RecordedIncrease};
pub use steps::{Admission, Approval, Canary, CanaryStep, Monitor, OnUnknownBudget, Validate};

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
