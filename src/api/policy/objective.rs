//! What a service promises, and where its budget is read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::indicator::Indicator;
use crate::api::cel;

/// One promise about the service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::objective()))]
pub struct Objective {
    /// Its name, as status, Events and metrics print it: lower-case letters, digits and dashes.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = cel::objective_name()))]
    pub name: String,

    /// Percent of the requests that must be good, as a string above 0 and below 100 with at most 6 decimals: "99.9".
    /// The error budget is what is left to 100. Left out with sloth and pyrra, which say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 9), extend("x-kubernetes-validations" = cel::target()))]
    pub target: Option<String>,

    /// The time over which the budget is granted, in whole days or hours from 1h to 90d; 28d where it is left out. Left out with
    /// sloth and pyrra, which say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), extend("x-kubernetes-validations" = cel::budget_window()))]
    pub window: Option<String>,

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
