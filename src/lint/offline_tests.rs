use serde_json::json;

use super::*;

fn checked(change: impl FnOnce(&mut Value)) -> Checked {
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "ziegel"},
        "spec": {
            "selector": {"matchLabels": {"app": "ofen"}},
            "objectives": [{"name": "o", "target": "99.9", "indicator": {"ratio": {"errors": "e{a=\"b\"}", "total": "t"}}}],
        },
    });
    change(&mut object);
    check(&Definition::built_in(), &object, "ofen-4", None)
}

fn said(change: impl FnOnce(&mut Value)) -> Vec<String> {
    checked(change).problems.into_iter().map(|problem| format!("{}: {}", problem.field, problem.problem)).collect()
}

#[test]
fn a_sound_policy_is_read_with_the_namespace_it_goes_to() {
    let checked = checked(|_| {});
    assert_eq!(checked.problems, []);
    let (policy, reads) = checked.policy.expect("it is sound");
    assert_eq!((policy.key.to_string().as_str(), reads.len()), ("ofen-4/ziegel", 1));
}

#[test]
fn a_selector_that_cannot_be_read_is_told_with_its_column() {
    let said = said(|object| {
        object["spec"]["objectives"][0]["indicator"]["ratio"] = json!({"errors": "e{code=5}", "total": "rate(t[5m])"});
    });
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("spec.objectives[0].indicator.ratio.errors: ") && said[0].contains("at column 8 of"));
    assert!(said[1].starts_with("spec.objectives[0].indicator.ratio.total: \"rate(t[5m])\" has a function"));
}

#[test]
fn everything_is_said_at_once() {
    let said = said(|object| {
        object["metadata"]["nmae"] = json!("x");
        object["spec"]["mode"] = json!("Off");
        object["spec"]["detection"] = json!({"looks": 0});
        object["spec"]["objectives"][0]["indicator"]["ratio"]["total"] = json!("t{");
    });
    let fields: Vec<&str> = said.iter().filter_map(|said| said.split(": ").next()).collect();
    assert!(fields.contains(&"metadata.nmae") && fields.contains(&"spec.mode"), "{said:?}");
    assert!(fields.contains(&"spec.detection.looks"), "{said:?}");
}

#[test]
fn selectors_are_read_also_where_something_else_is_wrong() {
    let said = said(|object| {
        object["spec"]["detection"] = json!({"looks": 4});
        object["spec"]["objectives"][0]["indicator"]["ratio"]["total"] = json!("t{");
    });
    let fields: Vec<&str> = said.iter().filter_map(|said| said.split(": ").next()).collect();
    assert_eq!(fields, ["spec.detection.looks", "spec.objectives[0].indicator.ratio.total"]);
}

#[test]
fn another_kind_is_not_ours_and_a_slip_in_the_kind_is() {
    assert_eq!(kind(&json!({"apiVersion": "apps/v1", "kind": "Deployment"})), Object::Other);
    assert_eq!(kind(&json!({"apiVersion": "errorbudget.dev/v1", "kind": "ErrorBudgetPolicy"})), Object::Policy);
    assert_eq!(kind(&json!({"apiVersion": "errorbudget.dev/v1alpha1", "kind": "ErrorBudgetPolcy"})), Object::Policy);
    let said = said(|object| object["kind"] = json!("ErrorBudgetPolcy"));
    assert_eq!(said, ["kind: it is \"ErrorBudgetPolcy\"; write ErrorBudgetPolicy"]);
}

#[test]
fn names_and_labels_are_those_that_kubernetes_takes() {
    for (field, value, good) in [
        ("name", json!("checkout-2.eu"), true),
        ("name", json!("Checkout"), false),
        ("name", json!("-a"), false),
        ("namespace", json!("shop"), true),
        ("namespace", json!("shop.eu"), false),
        ("labels", json!({"example.com/team": "shop_1", "empty": ""}), true),
        ("labels", json!({"team": "two words"}), false),
        ("labels", json!({"team": 7}), false),
        ("labels", json!({"a/b/c": "x"}), false),
        ("annotations", json!({"note": "any text, of any length"}), true),
        ("annotations", json!({"note": true}), false),
    ] {
        let said = said(|object| object["metadata"][field] = value.clone());
        assert_eq!(said.is_empty(), good, "{field}: {value}: {said:?}");
    }
}

#[test]
fn a_selector_is_read_with_the_labels_of_the_endpoint_that_the_policy_names() {
    let config = "prometheus: {default: {url: 'http://p:9090', namespaceLabel: ns}}";
    let config = OperatorConfig::parse(std::path::Path::new("operator.yaml"), config).expect("it is sound");
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "ziegel"},
        "spec": {
            "selector": {"matchLabels": {"app": "ofen"}},
            "objectives": [
                {"name": "o", "target": "99.9", "indicator": {"ratio": {"errors": "e", "total": "t{ns=\"lager\"}"}}},
            ],
        },
    });
    let mut said = |config| {
        let said = check(&Definition::built_in(), &object, "ofen-4", config).problems;
        object["spec"]["detection"] = json!({"window": "0s"});
        said.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    assert_eq!(said(None), Vec::<String>::new());
    // Also of a policy that is wrong elsewhere.
    assert_eq!(said(Some(&config)), ["spec.detection.window", "spec.objectives[0].indicator.ratio.total"]);
}
