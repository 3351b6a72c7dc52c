//! How good and bad requests are told apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::cel;

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

    /// What Sloth keeps: target, window, counters and budget are read from the rules that it generated, so that they are
    /// written in one place. Leave out target, window and budgetFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sloth: Option<Sloth>,

    /// What Pyrra keeps: target, window, counters and budget are read from the rules that it generated, with its generic rules
    /// switched on. Leave out target, window and budgetFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pyrra: Option<Pyrra>,
}

/// An SLO of Sloth. Prometheus is asked once a minute what its rules say; a change of the SLO takes effect by itself. Its queries
/// must come down to counters or a classic histogram of the policy's own namespace, one series set per pod.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Sloth {
    /// The service, as the label sloth_service has it.
    #[schemars(length(min = 1, max = 253))]
    pub service: String,

    /// The SLO's name, as the label sloth_slo has it.
    #[schemars(length(min = 1, max = 253))]
    pub slo: String,
}

/// An SLO of Pyrra. Prometheus is asked once a minute what its rules say; a change of the SLO takes effect by itself. It must be
/// of counters or a histogram of the policy's own namespace, one series set per pod, and without grouping.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pyrra {
    /// The ServiceLevelObjective's name, as the label slo has it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
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
