//! The rules of the schema, in CEL, as the API server runs them, each with what to write instead.
//!
//! A format is checked by a rule and not by `pattern`, because only a rule can say what to write. A rule over several
//! fields first asks whether each has its format: where one has not, the rule about the format has already said so.

use serde_json::{Value, json};

/// One rule and the message for when it is broken. `field` is the path of the field to blame, below the one that has
/// the rule; empty for that one itself.
fn rule(field: &str, rule: impl Into<String>, message: &str) -> Value {
    let mut entry = json!({"rule": rule.into(), "message": message});
    if !field.is_empty() {
        entry["fieldPath"] = field.into();
    }
    entry
}

/// `of` is a plain decimal below a million with at most 6 decimals.
fn is_decimal(of: &str) -> String {
    format!("{of}.matches('^[0-9]{{1,6}}([.][0-9]{{1,6}})?$')")
}

/// `of` is a plain decimal below 100 with at most 6 decimals.
fn is_percent(of: &str) -> String {
    format!("{of}.matches('^[0-9]{{1,2}}([.][0-9]{{1,6}})?$')")
}

/// `of` is hours, minutes and seconds, in this order: `1h30m`, `90s`.
fn is_duration(of: &str) -> String {
    format!("({of} != '' && {of}.matches('^([0-9]{{1,4}}h)?([0-9]{{1,4}}m)?([0-9]{{1,5}}s)?$'))")
}

const IS_NAME: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')";

/// Of `spec`: what monitor, detection and objectives must be for each other.
pub(super) fn spec() -> Value {
    let (target, violation) = (is_percent("o.target"), is_decimal("self.detection.violation"));
    let (timeout, window) = (is_duration("self.monitor.timeout"), is_duration("self.detection.window"));
    // Six digits below 100 keep the rounding of doubles on the safe side: what passes is truly below the limit.
    let reachable = format!(
        "self.objectives.all(o, !has(o.target) || !{target} || !{violation} || \
         double(self.detection.violation) * (100.0 - double(o.target)) < 99.9999)"
    );
    let one_window =
        format!("!{timeout} || !{window} || duration(self.monitor.timeout) >= duration(self.detection.window)");
    let has_warmup = "has(self.detection.warmup)";
    let warmup = "(has(self.detection.warmup) ? self.detection.warmup : \
                  self.objectives.exists(o, has(o.indicator.latency)) ? '30s' : '0s')";
    let is_warmup = format!("(!{has_warmup} || {})", is_duration("self.detection.warmup"));
    let bake = format!(
        "!{timeout} || !{window} || !{is_warmup} || \
         duration(self.monitor.timeout) - duration(self.detection.window) >= duration({warmup}) || \
         duration({warmup}) == duration('0s')"
    );
    let hold = format!(
        "!{} || !{is_warmup} || duration(self.canary.maximumHold) > duration({warmup})",
        is_duration("self.canary.maximumHold")
    );
    json!([
        rule(
            ".detection.violation",
            reachable,
            "an objective cannot burn that fast even when every request fails; write less than 100 / (100 - target), \
             for example less than \"1000\" for a target of \"99.9\"",
        ),
        rule(
            ".monitor.timeout",
            one_window,
            "it is shorter than detection.window; write at least one detection window, for example \"5m\"",
        ),
        rule(
            ".monitor.timeout",
            bake,
            "the pods that came last would not be looked at for one detection.window after detection.warmup (30s for latency \
             objectives where it is left out); write a longer timeout, for example \"5m\", or a shorter warmup",
        ),
        rule(
            ".monitor.controlPods",
            "self.monitor.controlPods == 0 || self.detection.rule == 'Sequential'",
            "rule Threshold compares the new pods with no others, so none are kept for it; write controlPods: 0, or rule: \
             Sequential",
        ),
        rule(
            ".canary.maximumHold",
            hold,
            "it is not longer than detection.warmup (30s for latency objectives where it is left out), so the canary could \
             pass unseen; write a longer one, for example 1h, or a shorter warmup",
        ),
        rule(
            ".pods",
            "!has(self.pods) || self.evidence == 'Pods'",
            "it says how pods are read, and with evidence: Prometheus none is; write evidence: Pods, or leave pods out",
        ),
        rule(
            ".evidence",
            "self.evidence != 'Pods' || self.objectives.all(o, !has(o.indicator.query))",
            "a query is asked of Prometheus, and with evidence: Pods that is not; write another indicator, or evidence: Prometheus",
        ),
        rule(
            ".evidence",
            "self.evidence != 'Pods' || \
             self.objectives.all(o, !has(o.indicator.latency) || o.indicator.latency.type != 'Native')",
            "native histograms are not in the text that pods expose; write type: Classic, or evidence: Prometheus",
        ),
    ])
}

/// Of the port at which pods expose their metrics.
pub(super) fn pods_port() -> Value {
    json!([rule(
        "",
        "string(self) == self \
         ? self.size() <= 15 && self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && !self.matches('^[0-9]+$') \
         : self >= 1 && self <= 65535",
        "write a number from 1 to 65535 without quotes, or the name of a container's port, for example metrics",
    )])
}

/// Of the path at which they do.
pub(super) fn pods_path() -> Value {
    json!([rule("", "self.startsWith('/')", "write a path that begins with a slash, for example /metrics")])
}

/// Of a selector: it is not empty.
pub(super) fn selector() -> Value {
    let not_empty = |list: &str| format!("(has(self.{list}) && size(self.{list}) > 0)");
    json!([rule(
        "",
        format!("{} || {}", not_empty("matchLabels"), not_empty("matchExpressions")),
        "an empty selector would govern every Deployment of the namespace; write for example matchLabels: {app: \
         checkout}, or, if every one is meant, matchExpressions: [{key: errorbudget.dev/exempt, operator: DoesNotExist}]",
    )])
}

/// Of a requirement on a label: values where they belong.
pub(super) fn requirement() -> Value {
    json!([
        rule(
            "",
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn need values; write for example values: [checkout, cart]",
        ),
        rule(
            "",
            "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
            "operators Exists and DoesNotExist take no values; leave values out, or write In or NotIn",
        ),
    ])
}

/// Of an objective: what another tool says of it is not said twice.
pub(super) fn objective() -> Value {
    const IS_KEPT: &str = "(has(self.indicator.sloth) || has(self.indicator.pyrra))";
    let only_there = |field: &str| format!("!{IS_KEPT} || !has(self.{field})");
    json!([
        rule(
            ".target",
            format!("{IS_KEPT} || has(self.target)"),
            "it is required with ratio, latency and query; write a percentage above 0 and below 100, for example \"99.9\"",
        ),
        rule(
            ".target",
            only_there("target"),
            "Sloth and Pyrra say the target; leave it out, or write another indicator"
        ),
        rule(
            ".window",
            only_there("window"),
            "Sloth and Pyrra say the window; leave it out, or write another indicator"
        ),
        rule(
            ".budgetFrom",
            only_there("budgetFrom"),
            "what Sloth and Pyrra record of the budget is read; leave it out, or write another indicator",
        ),
    ])
}

/// Of an objective's name.
pub(super) fn objective_name() -> Value {
    json!([rule("", IS_NAME, "write lower-case letters, digits and dashes, for example \"availability\"")])
}

/// Of an objective's target.
pub(super) fn target() -> Value {
    json!([rule(
        "",
        format!("{} && double(self) > 0.0", is_percent("self")),
        "write a percentage above 0 and below 100 with at most 6 decimals, for example \"99.9\"",
    )])
}

/// Of an objective's window: whole days or hours, from one hour to 90 days.
pub(super) fn budget_window() -> Value {
    json!([rule(
        "",
        "self.matches('^([1-9]|[1-8][0-9]|90)d$') || \
         (self.matches('^[1-9][0-9]{0,3}h$') && duration(self) <= duration('2160h'))",
        "write whole days or hours from 1h to 90d, for example \"28d\"",
    )])
}

/// Of an indicator: exactly one kind.
pub(super) fn indicator() -> Value {
    json!([rule(
        "",
        "[has(self.ratio), has(self.latency), has(self.query), has(self.sloth), has(self.pyrra)].filter(kind, kind).size() == 1",
        "write exactly one indicator, for example ratio: {errors: 'http_requests_total{code=~\"5..\"}', total: \
         http_requests_total}, or latency: {histogram: http_request_duration_seconds, threshold: 250ms}, or sloth: {service: \
         checkout, slo: availability}",
    )])
}

/// Of the threshold of a latency.
pub(super) fn latency_threshold() -> Value {
    json!([rule(
        "",
        "self != '' && self.matches('^([0-9]{1,2}m)?([0-9]{1,4}s)?([0-9]{1,6}ms)?([0-9]{1,6}us)?$') && \
         duration(self) >= duration('1us') && duration(self) <= duration('1h')",
        "write a duration from 1us to 1h, for example 250ms or 1s",
    )])
}

/// Of a ratio: its two selectors differ.
pub(super) fn ratio() -> Value {
    json!([rule(
        "",
        "self.errors != self.total",
        "errors and total are the same, so every request would count as an error; write narrower errors, for example \
         http_requests_total{code=~\"5..\"}",
    )])
}

/// Of a query: its two expressions differ.
pub(super) fn query() -> Value {
    json!([rule(
        "",
        "self.errors != self.total",
        "errors and total are the same, so every request would count as an error; write narrower errors, for example \
         with response_code=~\"5..\"",
    )])
}

/// Of a duration: within these bounds, both included.
pub(super) fn duration_within(from: &str, to: &str, example: &str) -> Value {
    json!([rule(
        "",
        format!(
            "{} && duration(self) >= duration('{from}') && duration(self) <= duration('{to}')",
            is_duration("self")
        ),
        &format!("write a duration from {from} to {to} in hours, minutes and seconds, for example {example}"),
    )])
}

/// Of detection: what its fields must be for each other.
pub(super) fn detection() -> Value {
    let (warning, violation) = (is_decimal("self.warning"), is_decimal("self.violation"));
    json!([
        rule(
            ".warning",
            format!("!{warning} || !{violation} || double(self.warning) <= double(self.violation)"),
            "it is above violation, so it could never halt before a rollback; write at most violation, for example \
             half of it",
        ),
        rule(
            ".looks",
            format!(
                "!{} || self.looks < 1 || duration(self.window).getSeconds() % self.looks == 0",
                is_duration("self.window")
            ),
            "window must be a whole number of seconds for each look; write looks that divide it, for example 3, 5 or 6 \
             with a window of 30s",
        ),
    ])
}

/// Of a burn rate.
pub(super) fn burn_rate(example: &str) -> Value {
    json!([rule(
        "",
        format!("{} && double(self) > 0.0", is_decimal("self")),
        &format!("write a burn rate above 0 with at most 6 decimals, for example \"{example}\""),
    )])
}

/// Of a confidence.
pub(super) fn confidence() -> Value {
    json!([rule(
        "",
        format!("{} && double(self) >= 50.0", is_percent("self")),
        "write a percentage from 50 to below 100 with at most 6 decimals, for example \"99\"",
    )])
}

/// Of where a budget is read: exactly one kind.
pub(super) fn budget_from() -> Value {
    json!([rule(
        "",
        "has(self.remaining) != has(self.increase)",
        "write exactly one of remaining and increase, for example remaining: \
         'slo:period_error_budget_remaining:ratio{sloth_service=\"shop\",sloth_slo=\"availability\"}'",
    )])
}

/// Of a share of the budget.
pub(super) fn spent_share() -> Value {
    json!([rule(
        "",
        format!("{} && double(self) > 0.0", is_decimal("self")),
        "write the share of the budget that may be spent, above 0 and with at most 6 decimals, for example \"0.8\"",
    )])
}

/// `of` is a whole percentage.
fn is_traffic(of: &str) -> String {
    format!("{of}.matches('^([0-9]|[1-9][0-9]|100)%$')")
}

/// Of a share of the traffic.
pub(super) fn traffic() -> Value {
    json!([rule("", is_traffic("self"), "write a whole percentage from 0% to 100%, for example 10%")])
}

/// Of a canary: its steps go up, and the longest hold is no shorter than a hold.
pub(super) fn canary() -> Value {
    let percent = |of: &str| format!("int({of}.split('%')[0])");
    let formed = format!(
        "({} && (!has(self.steps) || self.steps.all(s, {})))",
        is_traffic("self.traffic"),
        is_traffic("s.traffic")
    );
    let (hold, longest) = (is_duration("self.hold"), is_duration("self.maximumHold"));
    json!([
        rule(
            ".steps",
            format!(
                "!has(self.steps) || size(self.steps) == 0 || !{formed} || ({} > 0 && {} > {} && \
                 self.steps.all(s, self.steps.filter(t, {} == {}).size() == 1) && \
                 self.steps.map(s, {}).isSorted())",
                percent("self.traffic"),
                percent("self.steps[0].traffic"),
                percent("self.traffic"),
                percent("t.traffic"),
                percent("s.traffic"),
                percent("s.traffic"),
            ),
            "each step needs more traffic than the one before, and the first more than canary.traffic, which must be above \
             0%; write for example traffic: 10% and steps: [{traffic: 25%, hold: 5m}, {traffic: 50%, hold: 5m}]",
        ),
        rule(
            ".maximumHold",
            format!("!{hold} || !{longest} || duration(self.maximumHold) >= duration(self.hold)"),
            "it is shorter than hold; write at least the hold, for example 1h",
        ),
    ])
}

/// Of the name of an endpoint.
pub(super) fn endpoint_name() -> Value {
    json!([rule(
        "",
        IS_NAME,
        "write the name of an endpoint of the operator's configuration, for example \"default\"; an address does not \
         belong here",
    )])
}
