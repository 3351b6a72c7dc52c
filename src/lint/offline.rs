//! What can be said of a policy without asking anybody: all that the API server and the operator would refuse.

use serde_json::{Map, Value, json};

use super::definition::{Definition, Problem, join};
use super::suggest;
use crate::api::ErrorBudgetPolicy;
use crate::config::{Endpoint, OperatorConfig, PodLabels};
use crate::measure::reads::Reads;
use crate::policy::Policy;

const API_VERSION: &str = "errorbudget.dev/v1alpha1";
const KIND: &str = "ErrorBudgetPolicy";

/// What an object is to us.
#[derive(Debug, PartialEq)]
pub(super) enum Object {
    /// Another kind, which is not ours to judge.
    Other,
    /// A policy, or what is meant to be one.
    Policy,
}

/// What this object is. What has no kind at all cannot be applied, and is told so as if it were a policy.
pub(super) fn kind(object: &Value) -> Object {
    let text = |name| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_ours = text("apiVersion").split('/').next() == Some("errorbudget.dev");
    if is_ours || text("kind") == KIND || text("kind").is_empty() { Object::Policy } else { Object::Other }
}

/// What was found of a policy.
pub(super) struct Checked {
    pub(super) problems: Vec<Problem>,
    /// The policy and what its objectives read, in their order, but for those that it names; `None` when the operator would
    /// not enforce it.
    pub(super) policy: Option<(Policy, Vec<Reads>)>,
}

/// The labels of the endpoint of this name; the usual ones where it is not known.
pub(super) fn labels(config: Option<&OperatorConfig>, endpoint: &str) -> PodLabels {
    config.and_then(|config| config.endpoint(endpoint).ok()).map(Endpoint::labels).unwrap_or_default()
}

/// Checks a policy. `namespace` is where it would be applied if it names none; `config` is the operator's, where it is known.
pub(super) fn check(
    definition: &Definition,
    object: &Value,
    namespace: &str,
    config: Option<&OperatorConfig>,
) -> Checked {
    let mut problems = head(object);
    if problems.iter().any(|problem| ["apiVersion", "kind", ""].contains(&problem.field.as_str())) {
        // What it is meant to be is not known, so that nothing can be said of its fields.
        return Checked { problems, policy: None };
    }
    let (refused, stored) = definition.check(object);
    problems.extend(refused);
    let Some(wire) = wire(object, &stored, namespace) else { return Checked { problems, policy: None } };
    match Policy::parse(&wire) {
        Ok(policy) => {
            let labels = labels(config, &policy.prometheus);
            let reads = policy.objectives.iter().map(|objective| Reads::of(objective, &policy, &labels));
            let reads: Vec<_> = reads.collect();
            let place = |name: &String| wire.spec.objectives.iter().position(|of| of.name == *name).unwrap_or_default();
            let places = policy.objectives.iter().map(|objective| place(&objective.name));
            problems.extend(unreadable(places.zip(&reads)));
            let reads = reads.into_iter().collect::<Result<Vec<_>, _>>().ok();
            Checked { policy: reads.filter(|_| problems.is_empty()).map(|reads| (policy, reads)), problems }
        }
        Err(errors) => {
            // The schema says it first, in words of its own; what is left is what it does not know.
            let is_new = |field: &str| !problems.iter().any(|known| touches(&known.field, field));
            let unknown: Vec<_> = errors.into_iter().filter(|error| is_new(&error.field)).collect();
            problems.extend(unknown.into_iter().map(|error| Problem::new(error.field, error.problem)));
            problems.extend(selectors_alone(&wire, config));
            Checked { problems, policy: None }
        }
    }
}

/// One of these fields is the other, or within it.
fn touches(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(one, other) || within(other, one)
}

/// The policy as the operator would get it; `None` when it has not the shape of one, which the schema has said.
fn wire(object: &Value, stored: &Value, namespace: &str) -> Option<ErrorBudgetPolicy> {
    let named = |name| object["metadata"].get(name).and_then(Value::as_str);
    let metadata = json!({"name": named("name"), "namespace": named("namespace").unwrap_or(namespace)});
    let policy = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": stored["spec"]});
    serde_json::from_value(policy).ok()
}

fn unreadable<'a>(
    reads: impl Iterator<Item = (usize, &'a Result<Reads, Vec<crate::measure::reads::InvalidField>>)>,
) -> Vec<Problem> {
    let problems = reads.filter_map(|(i, reads)| Some((i, reads.as_ref().err()?))).flat_map(|(i, invalid)| {
        invalid
            .iter()
            .map(move |invalid| Problem::new(format!("spec.objectives[{i}].{}", invalid.field), &invalid.problem))
    });
    problems.collect()
}

/// What is wrong with the selectors of a policy that cannot be enforced for other reasons: all is to be said at once. Each
/// indicator is looked at in a policy that has nothing else of its own.
fn selectors_alone(wire: &ErrorBudgetPolicy, config: Option<&OperatorConfig>) -> Vec<Problem> {
    let labels = labels(config, &wire.spec.prometheus);
    let read = |objective: &crate::api::policy::Objective| {
        let namespace = wire.metadata.namespace.as_deref().unwrap_or_default();
        let objective = json!({
            "name": "alone", "target": "99", "indicator": objective.indicator, "budgetFrom": objective.budget_from,
        });
        // What another tool keeps has no selector to look at, and is refused here for its target.
        let alone = |detection: Value| {
            let policy = json!({
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": "alone", "namespace": namespace},
                "spec": {
                    "selector": {"matchLabels": {"alone": "true"}}, "objectives": [objective], "detection": detection,
                },
            });
            Policy::parse(&serde_json::from_value(policy).ok()?).ok()
        };
        // Of a query it matters how long a look is, if that much is sound.
        let policy = alone(json!(wire.spec.detection)).or_else(|| alone(json!({})))?;
        policy.objectives.first().map(|objective| Reads::of(objective, &policy, &labels))
    };
    let reads: Vec<_> = wire.spec.objectives.iter().map(read).collect();
    unreadable(reads.iter().enumerate().filter_map(|(i, reads)| Some((i, reads.as_ref()?))))
}

/// What is wrong above the spec.
fn head(object: &Value) -> Vec<Problem> {
    let Some(fields) = object.as_object() else {
        return vec![Problem::new("", "it is no object of Kubernetes; write apiVersion, kind, metadata and spec")];
    };
    let mut problems = Vec::new();
    for (name, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match fields.get(name) {
            Some(Value::String(given)) if given == expected => {}
            Some(given) => problems.push(Problem::new(name, format!("it is {given}; write {expected}"))),
            None => problems.push(Problem::new(name, format!("it is required and not there; write {expected}"))),
        }
    }
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
        let meant = match suggest::nearest(name, known.into_iter()) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("write one of {}", known.join(", ")),
        };
        problems.push(Problem::new(name, format!("there is no such field; {meant}")));
    }
    match fields.get("metadata") {
        Some(Value::Object(metadata)) => problems.extend(self::metadata(metadata)),
        _ => {
            problems.push(Problem::new("metadata", "it is required and not there; write for example {name: checkout}"))
        }
    }
    problems
}

/// Fields that Kubernetes knows in any object's metadata.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

fn metadata(metadata: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |field: &str, problem: String| problems.push(Problem::new(format!("metadata.{field}"), problem));
    for name in metadata.keys().filter(|name| !METADATA.contains(&name.as_str())) {
        let meant = suggest::nearest(name, METADATA.into_iter());
        let meant = meant.map_or_else(|| "leave it out".to_owned(), |nearest| format!("did you mean {nearest}?"));
        say(name, format!("there is no such field; {meant}"));
    }
    match metadata.get("name") {
        Some(Value::String(name)) if is_name(name, 253, true) => {}
        None if metadata.get("generateName").is_some_and(Value::is_string) => {}
        Some(name) => {
            say(
                "name",
                format!("it is {name}; write lower-case letters, digits, dashes and dots, for example checkout"),
            );
        }
        None => say("name", "it is required and not there; write for example checkout".to_owned()),
    }
    if let Some(namespace) = metadata.get("namespace").filter(|namespace| !namespace.is_null())
        && !namespace.as_str().is_some_and(|namespace| is_name(namespace, 63, false))
    {
        say("namespace", format!("it is {namespace}; write lower-case letters, digits and dashes, for example shop"));
    }
    for map in ["labels", "annotations"] {
        let Some(entries) = metadata.get(map).filter(|entries| !entries.is_null()) else { continue };
        let Some(entries) = entries.as_object() else {
            say(map, "write keys with values, for example {team: shop}".to_owned());
            continue;
        };
        for (key, value) in entries {
            let field = join(map, key);
            match value {
                Value::String(text) if map == "labels" && !is_label_value(text) => {
                    let words = "write at most 63 letters, digits, dashes, underscores and dots, the first and the last a letter or a digit";
                    say(&field, format!("it is {text:?}; {words}"));
                }
                Value::String(_) => {}
                other => say(&field, format!("it is {other}; write a text in quotes")),
            }
            if !is_key(key) {
                let words = "write a name, or a domain, a slash and a name, for example example.com/team";
                say(&field, format!("the key cannot be used; {words}"));
            }
        }
    }
    problems
}

/// A name in lower case, of one part or, where `dots` may be, of several.
fn is_name(text: &str, longest: usize, dots: bool) -> bool {
    let is_part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= longest && if dots { text.split('.').all(is_part) } else { is_part(text) }
}

fn is_label_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_name(domain, 253, true) && !name.is_empty() && is_label_value(name),
        None => !key.is_empty() && is_label_value(key),
    }
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
