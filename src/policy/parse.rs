//! From the wire to the validated policy.
//!
//! The API server has checked all of this already, by the rules of the schema. It is checked again because an older
//! definition may be installed, and because everything behind this point trusts it.

pub(super) mod latency;
mod tool;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::duration::{days_or_hours, hours_minutes_seconds};
use super::{
    Approval, BudgetScope, BudgetSource, BurnRate, Canary, CanaryStep, Confidence, Counts, Detection, ErrorBudget,
    EvidenceFrom, Gate, Indicator, Mode, Monitor, Named, Objective, OnMissingEvidence, OnUnknownBudget, PodPages,
    Policy, PolicyKey, Port, Requirement, Rule, Selector, SloName, SpentShare, UnitError,
};
use crate::api::policy as wire;

/// Why a policy cannot be enforced, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PolicyError {
    /// The field's path, as `kubectl explain` takes it, with the index or name of a list's entry.
    pub field: String,
    /// What is wrong with it and what to write instead.
    pub problem: String,
}

/// Gathers what is wrong while the rest is read on, so that all of it can be said at once.
#[derive(Default)]
pub(super) struct Errors(pub(super) Vec<PolicyError>);

impl Errors {
    pub(super) fn add(&mut self, field: impl Into<String>, problem: impl ToString) {
        self.0.push(PolicyError { field: field.into(), problem: problem.to_string() });
    }

    /// The value, or `None` with the error noted.
    pub(super) fn keep<T>(&mut self, field: impl Into<String>, value: Result<T, UnitError>) -> Option<T> {
        value.map_err(|error| self.add(field, error)).ok()
    }

    /// The duration within these bounds, both included, or `None` with the error noted.
    fn keep_within(
        &mut self,
        field: &str,
        value: Option<Duration>,
        from: u64,
        to: u64,
        words: &str,
    ) -> Option<Duration> {
        let within = value.filter(|value| (Duration::from_secs(from)..=Duration::from_secs(to)).contains(value));
        if within.is_none() {
            self.add(field, words);
        }
        within
    }
}

pub(super) const DAY: u64 = 86_400;

/// The window of an objective that says none.
const DEFAULT_WINDOW: &str = "28d";

impl Policy {
    /// Checks everything that can be checked without a PromQL parser and the operator's configuration.
    ///
    /// # Errors
    /// All that is wrong, each with the field and what to write instead; never empty.
    pub fn parse(policy: &wire::ErrorBudgetPolicy) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Errors::default();
        let spec = &policy.spec;
        let selector = selector(&spec.selector, &mut errors);
        let detection = detection(&spec.detection, &mut errors);
        let monitor = monitor(&spec.monitor, detection.as_ref(), &mut errors);
        let gate = gate(spec, &mut errors);
        let canary = canary(&spec.canary, &mut errors);
        let (objectives, named) = objectives(spec, detection.as_ref(), &mut errors);
        latency::warmup_fits(&objectives, monitor.as_ref(), canary.as_ref(), detection.as_ref(), &mut errors);
        let evidence = evidence(spec, &mut errors);
        if spec.prometheus.is_empty() {
            errors.add("spec.prometheus", "write the name of an endpoint of the operator's configuration");
        }
        let (Some(selector), Some(detection), Some(monitor), Some(gate), true) =
            (selector, detection, monitor, gate, errors.0.is_empty())
        else {
            return Err(errors.0);
        };
        let metadata = policy.metadata.clone();
        Ok(Self {
            key: PolicyKey {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
            },
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            selector,
            objectives,
            named,
            gate,
            canary,
            approval: match spec.approval {
                wire::Approval::Automatic => Approval::Automatic,
                wire::Approval::Manual => Approval::Manual,
            },
            monitor,
            detection,
            mode: match spec.mode {
                wire::Mode::Enforce => Mode::Enforce,
                wire::Mode::Observe => Mode::Observe,
            },
            evidence,
            prometheus: spec.prometheus.clone(),
        })
    }
}

fn evidence(spec: &wire::ErrorBudgetPolicySpec, errors: &mut Errors) -> EvidenceFrom {
    let pods = match (spec.evidence, &spec.pods) {
        (wire::EvidenceFrom::Prometheus, None) => return EvidenceFrom::Prometheus,
        (wire::EvidenceFrom::Prometheus, Some(_)) => {
            errors
                .add("spec.pods", "with evidence: Prometheus no pod is read; write evidence: Pods, or leave pods out");
            return EvidenceFrom::Prometheus;
        }
        (wire::EvidenceFrom::Pods, pods) => pods.clone().unwrap_or_default(),
    };
    if spec.objectives.iter().any(|objective| objective.indicator.query.is_some()) {
        errors.add(
            "spec.evidence",
            "a query is asked of Prometheus, and with evidence: Pods that is not; write another indicator, or evidence: \
             Prometheus",
        );
    }
    let is_native = |latency: &wire::Latency| latency.kind == wire::HistogramType::Native;
    if spec.objectives.iter().any(|objective| objective.indicator.latency.as_ref().is_some_and(is_native)) {
        errors.add(
            "spec.evidence",
            "native histograms are not in the text that pods expose; write type: Classic, or evidence: Prometheus",
        );
    }
    let port = pods.port.and_then(|port| {
        let port = match port {
            IntOrString::Int(number) => u16::try_from(number).ok().filter(|port| *port > 0).map(Port::Number),
            IntOrString::String(name) => Some(name).filter(|name| !name.is_empty()).map(Port::Name),
        };
        if port.is_none() {
            errors.add("spec.pods.port", "write a number from 1 to 65535, or the name of a container's port");
        }
        port
    });
    if pods.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        errors.add("spec.pods.path", "write a path that begins with a slash, for example /metrics");
    }
    EvidenceFrom::Pods(PodPages { port, path: pods.path })
}

fn selector(selector: &wire::PolicySelector, errors: &mut Errors) -> Option<Selector> {
    let equal = |(key, value): (&String, &String)| Requirement::In(key.clone(), BTreeSet::from([value.clone()]));
    let mut requirements: Vec<_> = selector.match_labels.iter().map(equal).collect();
    for (index, expression) in selector.match_expressions.iter().enumerate() {
        let field = format!("spec.selector.matchExpressions[{index}].values");
        let key = expression.key.clone();
        let values: BTreeSet<_> = expression.values.iter().cloned().collect();
        let takes_values = matches!(expression.operator, wire::Operator::In | wire::Operator::NotIn);
        match (takes_values, values.is_empty()) {
            (true, true) => errors.add(field, "operators In and NotIn need values"),
            (false, false) => errors.add(field, "operators Exists and DoesNotExist take no values; leave values out"),
            _ => {}
        }
        requirements.push(match expression.operator {
            wire::Operator::In => Requirement::In(key, values),
            wire::Operator::NotIn => Requirement::NotIn(key, values),
            wire::Operator::Exists => Requirement::Exists(key),
            wire::Operator::DoesNotExist => Requirement::DoesNotExist(key),
        });
    }
    let selector = Selector::new(requirements);
    if selector.is_none() {
        errors.add(
            "spec.selector",
            "it is empty and would govern every Deployment; write matchLabels or matchExpressions",
        );
    }
    selector
}

fn detection(detection: &wire::Detection, errors: &mut Errors) -> Option<Detection> {
    let window = errors.keep_within(
        "spec.detection.window",
        hours_minutes_seconds(&detection.window),
        5,
        600,
        "write a duration from 5s to 10m, for example \"30s\"",
    );
    let looks = u32::try_from(detection.looks).ok().filter(|looks| (1..=10).contains(looks));
    if looks.is_none() {
        errors.add("spec.detection.looks", "write a number from 1 to 10");
    }
    if let (Some(window), Some(looks)) = (window, looks)
        && !window.as_secs().is_multiple_of(u64::from(looks))
    {
        errors.add(
            "spec.detection.looks",
            "window must be a whole number of seconds for each look; write looks that divide it, for example 3, 5 or 6 with \
             a window of 30s",
        );
    }
    let violation = errors.keep("spec.detection.violation", BurnRate::parse(&detection.violation));
    let warning = errors.keep("spec.detection.warning", BurnRate::parse(&detection.warning));
    if let (Some(violation), Some(warning)) = (violation, warning)
        && warning > violation
    {
        errors.add("spec.detection.warning", "it is above violation; write a warning of at most violation");
    }
    let confidence = errors.keep("spec.detection.confidence", Confidence::parse_percent(&detection.confidence));
    let confidence = confidence.filter(|confidence| {
        let usable = confidence.alpha() <= 0.5;
        if !usable {
            errors.add("spec.detection.confidence", "write a percentage from 50 to below 100");
        }
        usable
    });
    Some(Detection {
        window: window?,
        looks: looks?,
        violation: violation?,
        warning: warning?,
        confidence: confidence?,
        rule: match detection.rule {
            wire::Rule::Sequential => Rule::Sequential,
            wire::Rule::Threshold => Rule::Threshold,
        },
        on_missing_evidence: match detection.on_missing_evidence {
            wire::OnMissingEvidence::Hold => OnMissingEvidence::Hold,
            wire::OnMissingEvidence::Proceed => OnMissingEvidence::Proceed,
        },
    })
}

fn gate(spec: &wire::ErrorBudgetPolicySpec, errors: &mut Errors) -> Option<Gate> {
    let threshold = errors.keep("spec.validate.threshold", SpentShare::parse(&spec.validate.threshold))?;
    Some(Gate {
        threshold,
        on_unknown: match spec.validate.on_unknown_budget {
            wire::OnUnknownBudget::Allow => OnUnknownBudget::Allow,
            wire::OnUnknownBudget::Hold => OnUnknownBudget::Hold,
        },
        scope: match spec.budget.scope {
            wire::BudgetScope::PerDeployment => BudgetScope::PerDeployment,
            wire::BudgetScope::Shared => BudgetScope::Shared,
        },
        denies: spec.validate.admission == wire::Admission::Deny,
    })
}

/// `None` when nothing is held, and when something is wrong, which `errors` then says.
fn canary(canary: &wire::Canary, errors: &mut Errors) -> Option<Canary> {
    let first = step("spec.canary", &canary.traffic, &canary.hold, errors);
    let mut steps: Vec<CanaryStep> = first.into_iter().collect();
    for (index, further) in canary.steps.iter().enumerate() {
        let field = format!("spec.canary.steps[{index}]");
        let Some(step) = step(&field, &further.traffic, &further.hold, errors) else { continue };
        if steps.last().is_some_and(|before| before.traffic == 0 || before.traffic >= step.traffic) {
            errors
                .add(format!("{field}.traffic"), "write more traffic than that of the step before, which is above 0%");
        }
        steps.push(step);
    }
    let minimum_requests = u64::try_from(canary.minimum_requests).ok();
    if minimum_requests.is_none() {
        errors.add("spec.canary.minimumRequests", "write a number of requests from 0 on");
    }
    let maximum_hold = errors.keep_within(
        "spec.canary.maximumHold",
        hours_minutes_seconds(&canary.maximum_hold),
        10,
        7 * DAY,
        "write a duration from 10s to 168h, for example \"1h\"",
    );
    if let (Some(first), Some(longest)) = (first, maximum_hold)
        && longest < first.hold
    {
        errors.add("spec.canary.maximumHold", "it is shorter than hold; write at least the hold");
    }
    if first.is_none_or(|first| first.traffic == 0) {
        return None;
    }
    Some(Canary { steps, minimum_requests: minimum_requests?, maximum_hold: maximum_hold? })
}

fn step(field: &str, traffic: &str, hold: &str, errors: &mut Errors) -> Option<CanaryStep> {
    let percent = traffic.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|percent| *percent <= 100);
    if percent.is_none() {
        errors.add(format!("{field}.traffic"), "write a whole percentage from 0% to 100%, for example \"10%\"");
    }
    let words = "write a duration from 10s to 24h, for example \"2m\"";
    let hold = errors.keep_within(&format!("{field}.hold"), hours_minutes_seconds(hold), 10, DAY, words);
    Some(CanaryStep { traffic: percent?, hold: hold? })
}

fn budget_from(from: &wire::BudgetFrom, field: &str, errors: &mut Errors) -> Option<BudgetSource> {
    match (&from.remaining, &from.increase) {
        (Some(remaining), None) => Some(BudgetSource::Remaining(remaining.clone())),
        (None, Some(increase)) => {
            Some(BudgetSource::Increase { errors: increase.errors.clone(), total: increase.total.clone() })
        }
        _ => {
            errors.add(field, "write exactly one of remaining and increase");
            None
        }
    }
}

fn monitor(monitor: &wire::Monitor, detection: Option<&Detection>, errors: &mut Errors) -> Option<Monitor> {
    const FIELD: &str = "spec.monitor.timeout";
    let timeout = hours_minutes_seconds(&monitor.timeout);
    let words = "write a duration from 5s to 24h, for example \"5m\"";
    let timeout = errors.keep_within(FIELD, timeout, 5, DAY, words)?;
    if detection.is_some_and(|detection| timeout < detection.window) {
        errors.add(FIELD, "it is shorter than detection.window; write at least one detection window");
    }
    const CONTROL: &str = "spec.monitor.controlPods";
    let control_pods = u32::try_from(monitor.control_pods).ok().filter(|pods| *pods <= 100);
    if control_pods.is_none() {
        errors.add(CONTROL, "write a number of pods from 0 to 100");
    }
    if monitor.control_pods > 0 && detection.is_some_and(|detection| detection.rule == Rule::Threshold) {
        errors.add(CONTROL, "rule Threshold compares with no other pods; write 0, or rule: Sequential");
    }
    Some(Monitor { timeout, auto_rollback: monitor.auto_rollback, control_pods: control_pods? })
}

fn objectives(
    spec: &wire::ErrorBudgetPolicySpec,
    detection: Option<&Detection>,
    errors: &mut Errors,
) -> (Vec<Objective>, Vec<Named>) {
    let objectives = &spec.objectives;
    let words = "write a duration from 0s to 10m, for example \"30s\"";
    let warmup = spec.detection.warmup.as_ref();
    let warmup = warmup
        .and_then(|warmup| errors.keep_within("spec.detection.warmup", hours_minutes_seconds(warmup), 0, 600, words));
    if objectives.is_empty() || objectives.len() > 8 {
        errors.add("spec.objectives", "write 1 to 8 objectives");
    }
    let mut names = BTreeSet::new();
    let (mut parsed, mut named) = (Vec::with_capacity(objectives.len()), Vec::new());
    for (index, objective) in objectives.iter().enumerate() {
        let field = format!("spec.objectives[{index}]");
        if !names.insert(&objective.name) {
            errors.add(format!("{field}.name"), "another objective has this name; write a different one");
        }
        match tool::slo_name(&objective.indicator) {
            Some(slo) => {
                tool::says_it_all(objective, &slo, &field, errors);
                named.push(Named { place: index, name: objective.name.clone(), slo, warmup });
            }
            None => parsed.extend(one_objective(objective, &field, detection, warmup, errors)),
        }
    }
    (parsed, named)
}

fn one_objective(
    objective: &wire::Objective,
    field: &str,
    detection: Option<&Detection>,
    warmup: Option<Duration>,
    errors: &mut Errors,
) -> Option<Objective> {
    let target = objective.target.clone().unwrap_or_default();
    let budget = errors.keep(format!("{field}.target"), ErrorBudget::of_target(&target));
    if let (Some(budget), Some(detection)) = (budget, detection)
        && let Some(problem) = unreachable(&objective.name, budget, detection)
    {
        errors.0.push(problem);
    }
    let words = "write whole days or hours from 1h to 90d, for example \"28d\"";
    let window = days_or_hours(objective.window.as_deref().unwrap_or(DEFAULT_WINDOW));
    let window = errors.keep_within(&format!("{field}.window"), window, 3600, 90 * DAY, words);
    let indicator = indicator(&objective.indicator, &format!("{field}.indicator"), errors);
    let budget_from =
        objective.budget_from.as_ref().and_then(|from| budget_from(from, &format!("{field}.budgetFrom"), errors));
    let indicator = indicator?;
    Some(Objective {
        name: objective.name.clone(),
        target,
        budget: budget?,
        window: window?,
        warmup: warmup.unwrap_or_else(|| indicator.usual_warmup()),
        indicator,
        budget_from,
    })
}

/// No objective can burn as fast as the violation says, if it cannot.
pub(super) fn unreachable(objective: &str, budget: ErrorBudget, detection: &Detection) -> Option<PolicyError> {
    let limit = 1.0 / budget.ratio();
    (detection.violation.factor() * budget.ratio() >= 1.0).then(|| PolicyError {
        field: "spec.detection.violation".to_owned(),
        problem: format!("objective {objective} cannot burn faster than {limit:.0}x; write less"),
    })
}

fn indicator(indicator: &wire::Indicator, field: &str, errors: &mut Errors) -> Option<Indicator> {
    let names_another = indicator.sloth.is_some() || indicator.pyrra.is_some();
    match (&indicator.ratio, &indicator.latency, &indicator.query, names_another) {
        (Some(ratio), None, None, false) => {
            two_of(&ratio.errors, &ratio.total, &format!("{field}.ratio"), errors);
            Some(Indicator::Ratio { errors: ratio.errors.clone(), total: ratio.total.clone() })
        }
        (None, Some(latency), None, false) => latency::latency(latency, field, errors).map(Indicator::Latency),
        (None, None, Some(query), false) => {
            two_of(&query.errors, &query.total, &format!("{field}.query"), errors);
            let counts = match query.counts {
                wire::QueryCounts::Cumulative => Counts::Cumulative,
                wire::QueryCounts::PerWindow => Counts::PerWindow,
            };
            Some(Indicator::Query { errors: query.errors.clone(), total: query.total.clone(), counts })
        }
        _ => {
            errors.add(field, "write exactly one indicator: ratio, latency, query, sloth or pyrra");
            None
        }
    }
}

/// What counts errors and what counts all is there and differs.
fn two_of(bad: &str, total: &str, field: &str, errors: &mut Errors) {
    for (name, text) in [("errors", bad), ("total", total)] {
        if text.trim().is_empty() {
            errors.add(format!("{field}.{name}"), "it is empty; write what counts them, in PromQL");
        }
    }
    if bad == total {
        errors
            .add(field, "errors and total are the same: every request would count as an error; write narrower errors");
    }
}

#[cfg(test)]
mod tests;
