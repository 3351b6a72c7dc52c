//! What the chart installs, and where.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::ground::{HOME, cluster};

const KINDS: [&str; 4] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// The admission policies and bindings of a release in the cluster or, without `served`, of one that is not served them.
async fn admission(served: &[&str], settings: &[&str]) -> Vec<Value> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");
    let mut arguments = vec!["template", "gk", chart, "--namespace", HOME];
    let apis: Vec<_> = served.iter().map(|kind| format!("admissionregistration.k8s.io/v1/{kind}")).collect();
    apis.iter().for_each(|api| arguments.extend(["--api-versions", api]));
    for setting in [&["prometheus.default.url=http://prometheus.invalid"], settings].concat() {
        arguments.extend(["--set", setting]);
    }
    let rendered = cluster().await.helm(&arguments).await.expect("the chart renders");
    let objects = rendered.split("\n---\n").map(|text| serde_norway::from_str::<Value>(text).expect("YAML"));
    objects.filter(|object| KINDS.iter().any(|kind| object["kind"] == *kind)).collect()
}

fn names(objects: &[Value]) -> BTreeSet<(&str, &str)> {
    objects
        .iter()
        .map(|object| {
            let name = object["metadata"]["name"].as_str().expect("a name");
            (object["kind"].as_str().expect("a kind"), name.split('.').next().expect("a part"))
        })
        .collect()
}

const BOTH: &[&str] = &["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"];

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_comes_where_its_kind_is_served_and_can_be_switched_off() {
    let [mutating, mutating_binding, validating, validating_binding] = KINDS;
    let of = |parts: &[(&'static str, &'static str)]| parts.iter().copied().collect::<BTreeSet<_>>();
    let hold = [(mutating, "hold"), (mutating_binding, "hold")];
    let wishes = [(mutating, "wishes"), (mutating_binding, "wishes")];
    let deny = [(validating, "deny"), (validating_binding, "deny")];
    let rights = [(validating, "rights"), (validating_binding, "rights")];

    assert_eq!(names(&admission(&[], &[]).await), of(&[]));
    assert_eq!(names(&admission(&[validating], &[]).await), of(&[deny, rights].concat()));
    assert_eq!(names(&admission(BOTH, &[]).await), of(&[hold, wishes, deny, rights].concat()));
    assert_eq!(names(&admission(BOTH, &["admission.hold=false"]).await), of(&[wishes, deny, rights].concat()));
    assert_eq!(names(&admission(BOTH, &["admission.deny=false"]).await), of(&[hold, wishes, rights].concat()));
    assert_eq!(names(&admission(BOTH, &["admission.rights=false"]).await), of(&[hold, deny].concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_them_fail_open_and_let_the_operator_pass() {
    let objects = admission(BOTH, &["serviceAccount.name=mole"]).await;
    let policies = objects.iter().filter(|object| !object["kind"].as_str().expect("a kind").ends_with("Binding"));
    for policy in policies {
        assert_eq!(policy["spec"]["failurePolicy"], "Ignore");
        // One condition, since all of several are evaluated even when the first is not met.
        let conditions = policy["spec"]["matchConditions"].as_array().expect("conditions");
        let first = conditions[0]["expression"].as_str().expect("text");
        let passes = "request.userInfo.username != 'system:serviceaccount:gk:mole' &&";
        assert!(conditions.len() == 1 && first.starts_with(passes), "{conditions:?}");
    }
    for binding in objects.iter().filter(|object| object["spec"].get("paramRef").is_some()) {
        assert_eq!(binding["spec"]["paramRef"]["parameterNotFoundAction"], "Allow");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_to_namespaces_they_look_at_no_other() {
    for (settings, scope) in [
        (&[][..], Value::Null),
        (
            &["watch.namespaces={shop,search,shop}"],
            json!({"namespaceSelector": {"matchExpressions": [{
                "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "search"],
            }]}}),
        ),
    ] {
        let objects = admission(BOTH, settings).await;
        let bindings = objects.iter().filter(|object| object["kind"].as_str().expect("a kind").ends_with("Binding"));
        let scopes: Vec<_> = bindings.map(|binding| binding["spec"]["matchResources"].clone()).collect();
        assert_eq!(scopes, vec![scope; 4], "{settings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_expression_without_a_warning() {
    let cluster = cluster().await;
    let policies =
        cluster.kubectl(&["get", "validatingadmissionpolicies", "-o", "json"]).await.expect("they are there");
    let policies: Value = serde_json::from_str(&policies).expect("JSON");
    let policies = policies["items"].as_array().expect("a list").clone();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        assert_eq!(policy["status"]["typeChecking"].get("expressionWarnings"), None, "{:#}", policy["status"]);
    }
}
