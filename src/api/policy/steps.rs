//! What a rollout goes through: validation, canary, approval, monitoring.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::cel;

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
    /// How long measuring goes on after the rollout completed (or has come to its controlPods), until the revision counts as
    /// good: from one detection.window to 24h. A Halt or missing evidence stops the clock.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = cel::duration_within("5s", "24h", "5m or 1h30m")))]
    pub timeout: String,

    /// True: a Rollback verdict puts the last good revision back. False: it halts the rollout and says what a rollback
    /// would have done.
    pub auto_rollback: bool,

    /// So many pods of the stable revision stay beside the new ones until timeout is over: 0 to 100, and never more than
    /// replicas. The new pods are compared with them, so that an outage which both share is not blamed on the release. They
    /// are pods more than replicas as far as the Deployment's maxSurge has room for them, and in place of new ones beyond that.
    /// At 0 the rollout is completed first, and nothing is left to compare with.
    #[schemars(range(min = 0, max = 100))]
    pub control_pods: i32,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { timeout: "5m".to_owned(), auto_rollback: true, control_pods: 0 }
    }
}
