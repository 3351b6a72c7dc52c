use serde_json::{Value, json};

use super::*;

/// A policy at generation 4 whose status says this.
fn policy(change: impl FnOnce(&mut Value)) -> ErrorBudgetPolicy {
    let condition = |of: &str, status: &str, message: &str| {
        json!({
            "type": of, "status": status, "reason": "Because", "message": message, "observedGeneration": 4,
            "lastTransitionTime": "2031-05-04T10:00:00Z",
        })
    };
    let mut object = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "kasse", "namespace": "laden", "generation": 4},
        "spec": {
            "selector": {"matchLabels": {"app": "kasse"}},
            "objectives": [{"name": "o", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
        },
        "status": {
            "budgetRemaining": "63.2%",
            "conditions": [
                condition("Ready", "True", "in force"),
                condition("GateOpen", "True", "o budget 63.2 % left, 20.0 % needed"),
            ],
        },
    });
    change(&mut object);
    serde_json::from_value(object).expect("the shape of a policy")
}

fn of(change: impl FnOnce(&mut Value)) -> (Gate, String) {
    let answer = answer(&policy(change), None);
    (answer.gate, answer.message)
}

#[test]
fn open_and_closed_are_what_the_condition_says() {
    assert_eq!(of(|_| {}), (Gate::Open, "o budget 63.2 % left, 20.0 % needed".to_owned()));
    let closed = of(|policy| {
        policy["status"]["conditions"][1]["status"] = json!("False");
        policy["status"]["conditions"][1]["message"] = json!("o budget 3.2 % left, 20.0 % needed");
    });
    assert_eq!(closed, (Gate::Closed, "o budget 3.2 % left, 20.0 % needed".to_owned()));
}

#[test]
fn an_older_version_of_the_policy_says_nothing_of_this_one() {
    for condition in [0, 1] {
        let (gate, message) = of(|policy| policy["status"]["conditions"][condition]["observedGeneration"] = json!(3));
        assert_eq!(gate, Gate::Unknown);
        assert!(message.contains("has not looked at this version"), "{message}");
    }
    assert_eq!(of(|policy| policy["status"] = json!({})).0, Gate::Unknown);
}

#[test]
fn a_policy_that_is_not_in_force_lets_nobody_tell() {
    let (gate, message) = of(|policy| {
        policy["status"]["conditions"][0]["status"] = json!("False");
        policy["status"]["conditions"][0]["message"] = json!("spec.objectives[0].target: write less");
    });
    assert_eq!(
        (gate, message.as_str()),
        (Gate::Unknown, "the policy is not in force: spec.objectives[0].target: write less")
    );
}

#[test]
fn an_unknown_budget_stays_unknown_also_where_it_lets_releases_pass() {
    let unknown = |on_unknown: &'static str| {
        of(|policy| {
            policy["spec"]["validate"] = json!({"onUnknownBudget": on_unknown});
            policy["status"]["conditions"][1]["status"] = json!("Unknown");
            policy["status"]["conditions"][1]["message"] = json!("o budget unknown: no answer");
        })
    };
    assert_eq!(unknown("Hold"), (Gate::Unknown, "o budget unknown: no answer".to_owned()));
    let (gate, message) = unknown("Allow");
    assert_eq!(gate, Gate::Unknown);
    assert!(
        message.ends_with("(the operator lets releases start meanwhile: validate.onUnknownBudget is Allow)"),
        "{message}"
    );
}

#[test]
fn of_one_deployment_only_its_own_gate_counts() {
    let policy = policy(|policy| {
        policy["status"]["conditions"][1]["status"] = json!("False");
        policy["status"]["closed"] = json!({"kasse-a": "o budget 3.2 % left, 20.0 % needed"});
        policy["status"]["unknown"] = json!({"kasse-b": "o budget unknown: no answer"});
    });
    let gate = |name| answer(&policy, Some(name)).gate;
    assert_eq!([gate("kasse-a"), gate("kasse-b"), gate("kasse-c")], [Gate::Closed, Gate::Unknown, Gate::Open]);
}

#[test]
fn of_a_deployment_that_status_has_no_room_for_nothing_is_said() {
    let policy = policy(|policy| {
        policy["status"]["conditions"][1]["status"] = json!("False");
        let many: BTreeMap<String, &str> = (0..200).map(|i| (format!("kasse-{i:03}"), "spent")).collect();
        policy["status"]["closed"] = json!(many);
    });
    assert_eq!(answer(&policy, Some("kasse-999")).gate, Gate::Unknown);
}

#[test]
fn the_line_names_policy_gate_and_numbers() {
    let args = |output| CheckArgs {
        policy: policy_key("laden/kasse").expect("a key"),
        deployment: None,
        output,
        kubeconfig: None,
    };
    let answer = answer(&policy(|_| {}), None);
    assert_eq!(print(&args(Output::Text), &answer), "laden/kasse: Open: o budget 63.2 % left, 20.0 % needed");
    let object: Value = serde_json::from_str(&print(&args(Output::Json), &answer)).expect("JSON");
    assert_eq!(
        object,
        json!({
            "policy": "laden/kasse", "deployment": null, "gate": "Open", "budgetRemaining": "63.2%",
            "message": "o budget 63.2 % left, 20.0 % needed",
        })
    );
}

#[test]
fn a_policy_is_named_with_its_namespace() {
    for bad in ["checkout", "/checkout", "shop/", "a/b/c", ""] {
        assert!(policy_key(bad).is_err(), "{bad}");
    }
}
