//! What the operator answers in a policy's status.
//!
//! Reading it never fails for what a person or a newer operator wrote there: all but names may be absent, and words such
//! as phases are strings whose meaning the reader checks. A policy must not stop being enforced for its status.
//! Times are whole seconds, as everywhere in Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator says of a policy and its rollouts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorBudgetPolicyStatus {
    /// The generation of the policy that all of this is said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How many Deployments the policy governs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<i32>,

    /// How many of them are being rolled out, monitored, halted or rolled back now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_rollouts: Option<i32>,

    /// Whether new rollouts may start: Open, Closed (of at least one governed Deployment) or Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,

    /// What is left of the error budget, of the objective and Deployment that have the least: "63.2%".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_remaining: Option<String>,

    /// The Deployments whose gate is closed, by name, and why: 200 at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub closed: BTreeMap<String, String>,

    /// The Deployments whose budget cannot be told, by name, and why: 200 at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub unknown: BTreeMap<String, String>,

    /// By name of the Deployment, the images of revisions that succeeded, the newest last: each entry is the images of one
    /// revision, with spaces between them. The admission policies let them pass a closed gate. 200 Deployments at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        schema_with = "super::schema::succeeded_images",
        description = "By name of the Deployment, the images of revisions that succeeded, the newest last: each entry is \
            the images of one revision, with spaces between them. The admission policies let them pass a closed gate. 200 \
            Deployments at most."
    )]
    pub succeeded_images: BTreeMap<String, Vec<String>>,

    /// The worst current verdict of all running rollouts: Proceed, Halt or Rollback. Absent when none is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,

    /// Ready: the policy is valid and in force. GateOpen: enough of the error budget is left for new rollouts.
    /// EvidenceAvailable: Prometheus answers with what verdicts need. IndicatorVerified: every selector has matched
    /// something at least once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        schema_with = "super::schema::conditions",
        description = "Ready: the policy is valid and in force. GateOpen: enough of the error budget is left for new \
            rollouts. EvidenceAvailable: Prometheus answers with what verdicts need. IndicatorVerified: every selector \
            has matched something at least once."
    )]
    pub conditions: Vec<Condition>,

    /// Each objective's numbers: what is left of its budget, and what the running rollout burns that is worst for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub objectives: Vec<ObjectiveStatus>,

    /// The rollouts by name of the Deployment: running ones first, then the latest, 200 at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub rollouts: BTreeMap<String, RolloutStatus>,
}

/// An objective's numbers: what is left of its budget, and what the running rollout burns that is worst for it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveStatus {
    /// The objective's name.
    pub name: String,

    /// The Deployment whose rollout is worst for it. Absent when none is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,

    /// Burn rate of the new revision's pods over the detection window: "14.2" is 14.2 times the rate that just spends
    /// the budget in its window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burn_rate: Option<String>,

    /// The same of the stable pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_burn_rate: Option<String>,

    /// Bad requests to the new revision's pods in the detection window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<i64>,

    /// Requests to the new revision's pods in the detection window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<i64>,

    /// The time over which the budget is granted, as the policy has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,

    /// What is left of its budget, of the Deployment that has the least: "63.2%". Below 0% it is overspent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_remaining: Option<String>,

    /// The most that the remaining budget was computed over, where Prometheus reaches back less than the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_span: Option<String>,

    /// How soon the burn rate would spend a whole budget: the window over the burn rate. Absent below a burn rate of 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhausted_in: Option<String>,
}

/// One Deployment's rollout: what is remembered of it between two decisions, and what people want to know.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Validating, Canary, Promoting, Monitoring, Succeeded, Halted, RollingBack, Recovering, RolledBack or Rejected.
    pub phase: String,

    /// Since when it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,

    /// The last verdict: Proceed, Halt or Rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,

    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,

    /// Why, in a sentence with the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// What is needed next, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,

    /// Burn rate of the new revision's pods over the detection window, of the objective that is worst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burn_rate: Option<String>,

    /// The same of the stable pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_burn_rate: Option<String>,

    /// Bad requests to the new revision's pods in the detection window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<i64>,

    /// Requests to the new revision's pods in the detection window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<i64>,

    /// The newest revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<RevisionStatus>,

    /// The last revision that succeeded: what a rollback goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,

    /// When this rollout began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,

    /// Evidence counts from here: the start, or the last resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_since: Option<Time>,

    /// Monitoring: when it ends unless the clock is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_until: Option<Time>,

    /// Monitoring: since when the clock is stopped by a Halt or by missing evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_stopped: Option<Time>,

    /// The last rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentStatus>,

    /// The canary, while it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,

    /// The stable pods that the new ones are compared with while they are monitored, where the policy wants some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlStatus>,

    /// The override that lets this template pass a closed gate.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<OverrideStatus>,

    /// Reasons to halt that a person has approved for this template: they do not hold it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub approved: Vec<String>,

    /// What people asked for by annotation and was answered, until the annotation is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard: Option<String>,

    /// Templates that succeeded, the newest last: going back to one of them is never held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub succeeded: Vec<String>,

    /// Templates that were rolled back, the newest last. They are rejected when they come again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub condemned: Vec<String>,

    /// The Deployment's uid: a Deployment deleted and created anew starts afresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A revision of a Deployment.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Its number when it was noted, as `kubectl rollout history` prints it. Numbers move when a revision comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// Names its pod template by content. It stays when the number moves.
    pub template: String,
}

/// How far a canary has come.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// Which step, from 1 on.
    pub step: i32,

    /// Of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<i32>,

    /// Pods of the new revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<i32>,

    /// Which share of all pods that really is: "16.7%".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,

    /// When the step began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,

    /// Since when all of its pods have been Ready and held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Time>,
}

/// The stable pods that stay beside the new ones while these are monitored.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ControlStatus {
    /// How many: 0 when none is left.
    pub pods: i32,

    /// Since when the rollout is held for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,

    /// Since when so many new pods have been Ready that no other stable ones are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Time>,
}

/// An override of the gate.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OverrideStatus {
    /// Why, in the words of the one who asked for it.
    pub reason: String,

    /// Who that was, where the admission policies are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,

    /// Until when it counts; absent: for as long as this template is rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The record of one rollback.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IncidentStatus {
    /// The revision that was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condemned: Option<RevisionStatus>,

    /// When that was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Time>,

    /// Why, with the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,

    /// How the service was afterwards: Recovered, RecoveredUnproven or NotRecovered. Absent until that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,

    /// When the outcome was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}
