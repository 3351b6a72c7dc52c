//! The CustomResourceDefinition that is installed is the one that the types describe, and a real API server enforces it.

use std::path::{Path, PathBuf};

use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::lint;
use gatekeeper::policy::Policy;
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The example policies, one document each.
fn examples() -> Vec<(PathBuf, Value)> {
    let files = ["config/policies", "config/indicators"]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")));
    let paths =
        files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file that can be read");
        let policy = serde_norway::from_str(&text).expect("YAML");
        (path, policy)
    };
    paths.map(read).collect()
}

/// A policy with only what is required.
fn least() -> Value {
    json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "objectives": [{
                "name": "availability",
                "target": "99.9",
                "indicator": {"ratio": {"errors": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total"}},
            }],
        },
    })
}

/// A change of the least policy that makes it one to refuse: where, what is put there (null takes it away), the field
/// that is to be blamed, and what is to be said.
type Refused = (&'static str, Value, &'static str, &'static str);

fn refused() -> Vec<Refused> {
    let ratio = "/spec/objectives/0/indicator/ratio";
    let target = "write a percentage above 0 and below 100 with at most 6 decimals, for example \"99.9\"";
    let budget_window = "write whole days or hours from 1h to 90d, for example \"28d\"";
    let window = "write a duration from 5s to 10m in hours, minutes and seconds, for example 30s or 1m30s";
    let timeout = "write a duration from 5s to 24h in hours, minutes and seconds, for example 5m or 1h30m";
    let confidence = "write a percentage from 50 to below 100 with at most 6 decimals, for example \"99\"";
    let name = "write lower-case letters, digits and dashes, for example \"availability\"";
    let endpoint = "write the name of an endpoint of the operator's configuration, for example \"default\"";
    let traffic = "write a whole percentage from 0% to 100%, for example 10%";
    let threshold = "write a duration from 1us to 1h, for example 250ms or 1s";
    let slow = |threshold: &str| json!({"latency": {"histogram": "latency_seconds", "threshold": threshold}});
    let kept = |field: &str, value: Value| {
        let mut objective = json!({"name": "availability", "indicator": {"pyrra": {"name": "s"}}});
        objective[field] = value;
        json!([objective])
    };
    let one = least()["spec"]["objectives"][0].clone();
    vec![
        ("/spec/selector", Value::Null, "spec.selector", "Required value"),
        ("/spec/selector", json!({}), "spec.selector", "an empty selector would govern every Deployment"),
        ("/spec/selector/matchLabels", json!({}), "spec.selector", "an empty selector would govern every Deployment"),
        (
            "/spec/selector/matchExpressions",
            json!([{"key": "tier", "operator": "NotIn"}]),
            "spec.selector.matchExpressions[0]",
            "operators In and NotIn need values; write for example values: [checkout, cart]",
        ),
        (
            "/spec/selector/matchExpressions",
            json!([{"key": "tier", "operator": "Exists", "values": ["web"]}]),
            "spec.selector.matchExpressions[0]",
            "operators Exists and DoesNotExist take no values; leave values out, or write In or NotIn",
        ),
        ("/spec/objectives", json!([]), "spec.objectives", "should have at least 1 items"),
        ("/spec/objectives/1", one, "spec.objectives[1]", "Duplicate value: {\"name\":\"availability\"}"),
        ("/spec/objectives/0/name", json!("Availability!"), "spec.objectives[0].name", name),
        ("/spec/objectives/0/target", json!("100"), "spec.objectives[0].target", target),
        ("/spec/objectives/0/target", json!("0"), "spec.objectives[0].target", target),
        ("/spec/objectives/0/target", json!("99,9"), "spec.objectives[0].target", target),
        ("/spec/objectives/0/target", json!(99.9), "spec.objectives[0].target", "must be of type string"),
        ("/spec/objectives/0/window", json!("4w"), "spec.objectives[0].window", budget_window),
        ("/spec/objectives/0/window", json!("91d"), "spec.objectives[0].window", budget_window),
        ("/spec/objectives/0/window", json!("2161h"), "spec.objectives[0].window", budget_window),
        (
            "/spec/objectives/0/target",
            Value::Null,
            "spec.objectives[0].target",
            "it is required with ratio, latency and query",
        ),
        ("/spec/objectives", kept("target", json!("99")), "spec.objectives[0].target", "leave it out"),
        ("/spec/objectives", kept("window", json!("28d")), "spec.objectives[0].window", "leave it out"),
        (
            "/spec/objectives",
            kept("budgetFrom", json!({"remaining": "left"})),
            "spec.objectives[0].budgetFrom",
            "what Sloth and Pyrra record of the budget is read; leave it out",
        ),
        (
            "/spec/objectives",
            kept("indicator", json!({"sloth": {"service": "s", "slo": "s"}, "pyrra": {"name": "s"}})),
            "spec.objectives[0].indicator",
            "write exactly one indicator",
        ),
        (
            "/spec/objectives",
            kept("indicator", json!({"sloth": {"service": "s"}})),
            "spec.objectives[0].indicator.sloth.slo",
            "Required value",
        ),
        (
            "/spec/objectives/0/indicator",
            json!({}),
            "spec.objectives[0].indicator",
            "write exactly one indicator, for example ratio: {errors: ",
        ),
        (
            "/spec/objectives/0/indicator",
            json!({"ratio": {"errors": "e", "total": "t"}, "latency": {"histogram": "h", "threshold": "1s"}}),
            "spec.objectives[0].indicator",
            "write exactly one indicator, for example ratio: {errors: ",
        ),
        ("/spec/objectives/0/indicator", slow("1.5s"), "spec.objectives[0].indicator.latency.threshold", threshold),
        ("/spec/objectives/0/indicator", slow("0ms"), "spec.objectives[0].indicator.latency.threshold", threshold),
        ("/spec/objectives/0/indicator", slow("2h"), "spec.objectives[0].indicator.latency.threshold", threshold),
        ("/spec/detection", json!({"warmup": "11m"}), "spec.detection.warmup", "write a duration from 0s to 10m"),
        (
            "/spec/detection",
            json!({"warmup": "5m"}),
            "spec.monitor.timeout",
            "write a longer timeout, for example \"5m\"",
        ),
        (
            "/spec",
            json!({
                "selector": {"matchLabels": {"app": "checkout"}},
                "objectives": [{"name": "latency", "target": "99", "indicator": slow("1s")}],
                "monitor": {"timeout": "59s"},
            }),
            "spec.monitor.timeout",
            "after detection.warmup (30s for latency objectives where it is left out)",
        ),
        (
            "/spec",
            json!({
                "selector": {"matchLabels": {"app": "checkout"}},
                "objectives": [{"name": "latency", "target": "99", "indicator": slow("1s")}],
                "canary": {"hold": "20s", "maximumHold": "30s"},
            }),
            "spec.canary.maximumHold",
            "write a longer one, for example 1h, or a shorter warmup",
        ),
        (
            "/spec/monitor",
            json!({"controlPods": 101}),
            "spec.monitor.controlPods",
            "should be less than or equal to 100",
        ),
        (
            "/spec",
            json!({
                "selector": {"matchLabels": {"app": "checkout"}},
                "objectives": [{"name": "errors", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
                "monitor": {"controlPods": 2},
                "detection": {"rule": "Threshold"},
            }),
            "spec.monitor.controlPods",
            "write controlPods: 0, or rule: Sequential",
        ),
        (ratio, json!({"errors": "e", "total": "e"}), "spec.objectives[0].indicator.ratio", "write narrower errors"),
        (
            "/spec/objectives/0/indicator/query",
            json!({"errors": "e", "total": "t", "counts": "Cumulative"}),
            "spec.objectives[0].indicator",
            "write exactly one indicator",
        ),
        (
            "/spec/objectives/0/indicator",
            json!({"query": {"errors": "e", "total": "e", "counts": "Cumulative"}}),
            "spec.objectives[0].indicator.query",
            "write narrower errors",
        ),
        (
            "/spec/objectives/0/indicator",
            json!({"query": {"errors": "e", "total": "t"}}),
            "spec.objectives[0].indicator.query.counts",
            "Required value",
        ),
        ("/spec/detection", json!({"window": "4s"}), "spec.detection.window", window),
        ("/spec/detection", json!({"window": "10m1s"}), "spec.detection.window", window),
        ("/spec/detection", json!({"window": ""}), "spec.detection.window", window),
        ("/spec/detection", json!({"window": "half a minute"}), "spec.detection.window", window),
        ("/spec/detection", json!({"looks": 0}), "spec.detection.looks", "greater than or equal to 1"),
        ("/spec/detection", json!({"looks": 11}), "spec.detection.looks", "less than or equal to 10"),
        (
            "/spec/detection",
            json!({"window": "5s", "looks": 6}),
            "spec.detection.looks",
            "window must be a whole number of seconds for each look; write looks that divide it",
        ),
        (
            "/spec/detection",
            json!({"looks": 4}),
            "spec.detection.looks",
            "write looks that divide it, for example 3, 5 or 6 with a window of 30s",
        ),
        (
            "/spec/detection",
            json!({"violation": "1000"}),
            "spec.detection.violation",
            "an objective cannot burn that fast even when every request fails; write less than 100 / (100 - target)",
        ),
        (
            "/spec/detection",
            json!({"violation": "one"}),
            "spec.detection.violation",
            "write a burn rate above 0 with at most 6 decimals, for example \"1.0\"",
        ),
        (
            "/spec/detection",
            json!({"warning": "1.1"}),
            "spec.detection.warning",
            "it is above violation, so it could never halt before a rollback; write at most violation",
        ),
        ("/spec/detection", json!({"confidence": "100"}), "spec.detection.confidence", confidence),
        ("/spec/detection", json!({"confidence": "49.9"}), "spec.detection.confidence", confidence),
        ("/spec/detection", json!({"rule": "Guess"}), "spec.detection.rule", "\"Sequential\", \"Threshold\""),
        ("/spec/detection", json!({"onMissingEvidence": "Rollback"}), "spec.detection", "\"Hold\", \"Proceed\""),
        ("/spec/monitor", json!({"timeout": "24h1s"}), "spec.monitor.timeout", timeout),
        (
            "/spec/monitor",
            json!({"timeout": "20s"}),
            "spec.monitor.timeout",
            "it is shorter than detection.window; write at least one detection window, for example \"5m\"",
        ),
        (
            "/spec/validate",
            json!({"threshold": "0"}),
            "spec.validate.threshold",
            "write the share of the budget that may be spent, above 0 and with at most 6 decimals, for example \"0.8\"",
        ),
        ("/spec/validate", json!({"onUnknownBudget": "Deny"}), "spec.validate.onUnknownBudget", "\"Allow\", \"Hold\""),
        ("/spec/validate", json!({"admission": "Refuse"}), "spec.validate.admission", "\"Hold\", \"Deny\""),
        ("/spec/budget", json!({"scope": "Cluster"}), "spec.budget.scope", "\"PerDeployment\", \"Shared\""),
        (
            "/spec/objectives/0/budgetFrom",
            json!({"remaining": "a", "increase": {"errors": "e", "total": "t"}}),
            "spec.objectives[0].budgetFrom",
            "write exactly one of remaining and increase",
        ),
        ("/spec/canary", json!({"traffic": "10"}), "spec.canary.traffic", traffic),
        ("/spec/canary", json!({"traffic": "101%"}), "spec.canary.traffic", traffic),
        ("/spec/canary", json!({"traffic": "2.5%"}), "spec.canary.traffic", traffic),
        ("/spec/canary", json!({"hold": "5s"}), "spec.canary.hold", "write a duration from 10s to 24h"),
        ("/spec/canary", json!({"minimumRequests": -1}), "spec.canary.minimumRequests", "greater than or equal to 0"),
        ("/spec/canary", json!({"maximumHold": "30s"}), "spec.canary.maximumHold", "it is shorter than hold"),
        (
            "/spec/canary",
            json!({"steps": [{"traffic": "10%", "hold": "1m"}]}),
            "spec.canary.steps",
            "each step needs more traffic than the one before",
        ),
        (
            "/spec/canary",
            json!({"steps": [{"traffic": "50%", "hold": "1m"}, {"traffic": "25%", "hold": "1m"}]}),
            "spec.canary.steps",
            "each step needs more traffic than the one before",
        ),
        (
            "/spec/canary",
            json!({"traffic": "0%", "steps": [{"traffic": "25%", "hold": "1m"}]}),
            "spec.canary.steps",
            "the first more than canary.traffic, which must be above 0%",
        ),
        ("/spec/approval", json!("Never"), "spec.approval", "\"Automatic\", \"Manual\""),
        ("/spec/mode", json!("Off"), "spec.mode", "\"Enforce\", \"Observe\""),
        ("/spec/evidence", json!("Guess"), "spec.evidence", "\"Prometheus\", \"Pods\""),
        (
            "/spec",
            json!({
                "selector": {"matchLabels": {"app": "probe"}},
                "evidence": "Pods",
                "objectives": [{
                    "name": "availability",
                    "target": "99.9",
                    "indicator": {"query": {"errors": "e", "total": "t", "counts": "Cumulative"}},
                }],
            }),
            "spec.evidence",
            "write another indicator, or evidence: Prometheus",
        ),
        (
            "/spec",
            json!({
                "selector": {"matchLabels": {"app": "probe"}},
                "evidence": "Pods",
                "objectives": [{
                    "name": "latency",
                    "target": "99",
                    "indicator": {"latency": {"histogram": "h", "threshold": "1s", "type": "Native"}},
                }],
            }),
            "spec.evidence",
            "write type: Classic, or evidence: Prometheus",
        ),
        ("/spec/pods", json!({}), "spec.pods", "write evidence: Pods, or leave pods out"),
        ("/spec/pods", json!({"port": 0}), "spec.pods.port", "write a number from 1 to 65535 without quotes"),
        ("/spec/pods", json!({"port": "8080"}), "spec.pods.port", "or the name of a container's port"),
        ("/spec/pods", json!({"path": "metrics"}), "spec.pods.path", "write a path that begins with a slash"),
        ("/spec/prometheus", json!("http://prometheus:9090"), "spec.prometheus", endpoint),
        ("/spec/prometeus", json!("default"), "spec.prometeus", "unknown field"),
    ]
}

/// Puts a value at a JSON pointer, whose parents exist; null takes away what is there.
fn put(policy: &mut Value, pointer: &str, value: &Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer below the root");
    match policy.pointer_mut(parent).expect("the parent exists") {
        Value::Object(fields) if value.is_null() => drop(fields.remove(key)),
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value.clone())),
        Value::Array(items) => items.push(value.clone()),
        other => panic!("{parent} holds {other}"),
    }
}

#[test]
fn the_definition_in_crds_is_the_one_the_binary_prints() {
    let installed = std::fs::read_to_string(root().join("crds/errorbudgetpolicies.yaml")).expect("crds/ is there");
    assert!(installed == gatekeeper::api::crds(), "crds/errorbudgetpolicies.yaml is stale; run `make crds`");
}

#[test]
fn the_operator_enforces_every_example() {
    for (path, policy) in examples() {
        let policy: ErrorBudgetPolicy = serde_json::from_value(policy).expect("the shape of a policy");
        Policy::parse(&policy).unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
    }
}

/// The definition may be an older one, or its rules switched off.
#[test]
fn the_operator_refuses_what_the_definition_refuses() {
    for (pointer, value, _, _) in refused() {
        let mut policy = least();
        put(&mut policy, pointer, &value);
        let has_shape = serde_json::from_value::<ErrorBudgetPolicy>(policy).ok();
        let enforced = has_shape.and_then(|policy| Policy::parse(&policy).ok());
        // Fields that are not known, and names that are only odd, do no harm behind the definition.
        let harmless = ["/spec/prometeus", "/spec/prometheus", "/spec/objectives/0/name"].contains(&pointer);
        assert_eq!(enforced.is_some(), harmless, "{pointer}: {value}");
    }
}

/// What `lint` says is about the same field. Of a rule it says the same; what the API server says of types and bounds, it
/// says in words of its own.
#[test]
fn lint_refuses_what_the_definition_refuses() {
    for (pointer, value, field, message) in refused() {
        let mut policy = least();
        put(&mut policy, pointer, &value);
        let problems = lint::problems(&policy);
        let said = problems.iter().any(|problem| problem.starts_with(field));
        assert!(said, "{pointer}: {value}: {problems:?}");
        if message.contains("write ") {
            assert!(problems.iter().any(|problem| problem.contains(message)), "{pointer}: {value}: {problems:?}");
        }
        assert!(
            problems.iter().all(|problem| ["write", "leave", "did you mean"].iter().any(|word| problem.contains(word)))
        );
    }
    assert_eq!(lint::problems(&least()), Vec::<String>::new());
}

#[tokio::test]
async fn a_real_api_server_enforces_the_definition() {
    let cluster = Cluster::start(ClusterOptions::default()).await.expect("a control plane starts");
    let definition = root().join("crds/errorbudgetpolicies.yaml");
    let definition = definition.to_str().expect("a path in UTF-8");
    cluster.kubectl(&["apply", "--filename", definition]).await.expect("the definition is accepted");
    let established = ["wait", "--for=condition=Established", "crd/errorbudgetpolicies.errorbudget.dev"];
    cluster.kubectl(&established).await.expect("the definition is served");

    accepts_the_examples(&cluster).await;
    refuses_what_cannot_work(&cluster).await;
    refuses_what_lint_refuses(&cluster).await;
    shows_defaults(&cluster).await;
    explains_every_field(&cluster).await;
}

async fn accepts_the_examples(cluster: &Cluster) {
    for (path, policy) in examples() {
        let created = create(cluster, &policy).await;
        assert!(created.is_ok(), "{}: {created:?}", path.display());
    }
}

async fn refuses_what_cannot_work(cluster: &Cluster) {
    create(cluster, &least()).await.expect("the least policy is accepted");
    for (pointer, value, field, message) in refused() {
        let mut policy = least();
        put(&mut policy, pointer, &value);
        let Err(refusal) = create(cluster, &policy).await else { panic!("{pointer}: {value} was not refused") };
        let said = refusal.to_string();
        assert!(said.contains(field) && said.contains(message), "{pointer}: {value} was refused with {said}");
    }
}

/// Odd policies that `lint` and the API server must agree on, whatever they say of them.
fn odd() -> Vec<(&'static str, Value)> {
    let values = |pointer: &'static str, values: Vec<Value>| values.into_iter().map(move |value| (pointer, value));
    let nothing = json!({"null": null})["null"].clone();
    let long = "a".repeat(64);
    let spec = "/spec";
    let with = |field: &str, value: Value| {
        let mut spec = least()["spec"].clone();
        spec[field] = value;
        spec
    };
    let whole = [
        with("mode", nothing.clone()),
        with("detection", nothing.clone()),
        with("selector", nothing.clone()),
        with("detection", json!({"window": nothing, "looks": nothing})),
        with("detection", json!({"looks": 3.0})),
        with("detection", json!({"looks": 3.5})),
        with("detection", json!({"looks": "3"})),
        with("detection", json!([])),
        with("detection", json!({"window": "1h"})),
        with("detection", json!({"window": "60s", "looks": 7})),
        with("detection", json!({"window": "600s"})),
        with("detection", json!({"violation": "999.999999"})),
        with("detection", json!({"violation": "0"})),
        with("detection", json!({"violation": "1e3"})),
        with("detection", json!({"confidence": "99.9999999"})),
        with("monitor", json!({"autoRollback": "true"})),
        with("monitor", json!({"autoRollback": false, "timeout": "24h"})),
        with("selector", json!({"matchLabels": {"app": true}})),
        with("selector", json!({"matchLabels": {"app": nothing}})),
        with("selector", json!({"matchLabels": {"app": nothing, "tier": "web"}})),
        with("selector", json!({"matchLabels": {"app": long}})),
        with("selector", json!({"matchExpressions": [nothing]})),
        with("selector", json!({"matchExpressions": [{"key": "", "operator": "Exists"}]})),
        with("selector", json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": []}]})),
        with("selector", json!({"matchExpressions": [{"key": "a", "operator": "exists"}]})),
        with("canary", json!({"traffic": "100%", "hold": "24h", "maximumHold": "168h"})),
        with("canary", json!({"steps": [{"traffic": "20%"}]})),
        with("canary", json!({"minimumRequests": 1_000_000_001})),
        with("canary", json!({"steps": []})),
        with("objectives", json!({"name": "a"})),
        with("prometheus", json!("a-")),
        with("prometheus", json!("a".repeat(63))),
        with("prometheus", json!(long)),
    ];
    values(spec, whole.to_vec()).chain(values("/specc", vec![json!({})])).collect()
}

async fn refuses_what_lint_refuses(cluster: &Cluster) {
    for (pointer, value) in odd() {
        let mut policy = least();
        put(&mut policy, pointer, &value);
        let (refused, problems) = (create(cluster, &policy).await.err(), lint::problems(&policy));
        assert_eq!(refused.is_some(), !problems.is_empty(), "{value}: the API server: {refused:?}, lint: {problems:?}");
    }
}

/// Applies a policy without writing it, as a person does, and returns it as the API server would store it.
async fn create(cluster: &Cluster, policy: &Value) -> anyhow::Result<Value> {
    let arguments = ["create", "--dry-run=server", "--namespace=default", "--output=json", "--filename=-"];
    let mut policy = policy.clone();
    put(&mut policy, "/metadata/namespace", &Value::Null);
    let created = cluster.kubectl_with_input(&arguments, &policy.to_string()).await?;
    Ok(serde_json::from_str(&created)?)
}

async fn shows_defaults(cluster: &Cluster) {
    let shown = create(cluster, &least()).await.expect("the least policy is accepted");
    let spec = &shown["spec"];
    let detection = json!({
        "window": "30s", "looks": 3, "violation": "1.0", "warning": "0.5", "confidence": "99",
        "rule": "Sequential", "onMissingEvidence": "Hold",
    });
    assert_eq!(spec["detection"], detection);
    assert_eq!(spec["monitor"], json!({"timeout": "5m", "autoRollback": true, "controlPods": 0}));
    let validate = json!({"threshold": "0.8", "onUnknownBudget": "Allow", "admission": "Hold"});
    assert_eq!((&spec["validate"], &spec["budget"]), (&validate, &json!({"scope": "PerDeployment"})));
    let canary = json!({"traffic": "10%", "hold": "2m", "minimumRequests": 0, "maximumHold": "1h"});
    assert_eq!((&spec["canary"], &spec["approval"]), (&canary, &json!("Automatic")));
    assert_eq!((&spec["mode"], &spec["prometheus"]), (&json!("Enforce"), &json!("default")));

    let mut partial = least();
    put(&mut partial, "/spec/detection", &json!({"looks": 6}));
    let shown = create(cluster, &partial).await.expect("a policy with a part of detection is accepted");
    assert_eq!(
        (&shown["spec"]["detection"]["looks"], &shown["spec"]["detection"]["window"]),
        (&json!(6), &json!("30s"))
    );
}

/// As a person reads it, field by field.
async fn explains_every_field(cluster: &Cluster) {
    for field in
        ["spec.detection.warning", "spec.objectives.indicator.ratio.errors", "status.rollouts", "status.rollouts.next"]
    {
        let page = cluster.kubectl(&["explain", &format!("ebp.{field}")]).await.expect("kubectl explains it");
        let (_, description) = page.split_once("DESCRIPTION:").expect("a description");
        assert!(description.trim().len() > 20 && !description.contains("<empty>"), "{field}: {page}");
    }
    let tree = cluster.kubectl(&["explain", "ebp.spec", "--recursive"]).await.expect("kubectl explains all");
    for field in ["autoRollback", "evidence", "onMissingEvidence", "matchExpressions", "objectives", "prometheus"] {
        assert!(tree.contains(field), "{field} is not in {tree}");
    }
}
