//! `approve`, `override`, `rollback`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::shop::{NAME, Shop};

const APPROVE: &str = "errorbudget.dev/approve";
const OVERRIDE: &str = "errorbudget.dev/override";
const UNTIL: &str = "errorbudget.dev/override-until";
const ROLLBACK: &str = "errorbudget.dev/rollback";

fn waiting_for_approval() -> Value {
    json!({"phase": "Canary", "reason": "ApprovalRequired"})
}

#[tokio::test]
async fn an_approval_names_the_template_touches_nothing_else_and_tells_the_answer() {
    let shop = Shop::open("asking-approve").await;
    shop.say(waiting_for_approval()).await;
    let before = shop.deployment().await;
    let approve = shop.start(&["approve", "deployment/kettle", "--timeout", "2m"]);
    assert_eq!(shop.until_asked(APPROVE).await, shop.template().await);
    let asked = shop.deployment().await;
    assert_eq!(asked["spec"], before["spec"]);
    shop.answer(APPROVE, "Approved", "eva approves template x").await;
    let ended = approve.end().await;
    assert_eq!((ended.code, ended.output.as_str()), (0, "Approved: eva approves template x\n"), "{ended:?}");
}

#[tokio::test]
async fn the_operators_no_is_told_and_is_an_exit_code_of_its_own() {
    let shop = Shop::open("asking-refused").await;
    shop.say(waiting_for_approval()).await;
    let approve = shop.start(&["approve", "deployment/kettle", "--timeout", "2m"]);
    shop.until_asked(APPROVE).await;
    shop.answer(APPROVE, "AskRefused", "errorbudget.dev/approve is not followed: it is over").await;
    let ended = approve.end().await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.output.contains("AskRefused: errorbudget.dev/approve is not followed: it is over"), "{ended:?}");
}

#[tokio::test]
async fn without_an_answer_the_ask_stands_and_it_says_so() {
    let shop = Shop::open("asking-silence").await;
    shop.say(waiting_for_approval()).await;
    let ended = shop.run(&["approve", "deployment/kettle"]).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.output.contains("the operator has not answered yet"), "{ended:?}");
    assert_eq!(shop.annotation(APPROVE).await, Some(shop.template().await));
}

#[tokio::test]
async fn what_makes_no_sense_is_not_asked() {
    let shop = Shop::open("asking-nothing").await;
    shop.say(json!({"phase": "Succeeded", "reason": "NotConvicted"})).await;
    for (arguments, words) in [
        (vec!["approve", "deployment/kettle"], "nothing to approve: asking-nothing/kettle is Succeeded (NotConvicted)"),
        (
            vec!["override", "deployment/kettle", "--reason", "fix"],
            "nothing to override: asking-nothing/kettle is Succeeded",
        ),
        (vec!["rollback", "deployment/kettle", "--template", "b0b0"], "template b0b0 is not the one that"),
    ] {
        let ended = shop.run(&arguments).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.errors.contains(words), "{words} in {ended:?}");
    }
    let annotations = shop.deployment().await["metadata"]["annotations"].to_string();
    assert!(!annotations.contains("errorbudget.dev/"), "{annotations}");
}

#[tokio::test]
async fn an_override_says_why_and_until_when() {
    let shop = Shop::open("asking-override").await;
    shop.say(json!({"phase": "Validating", "reason": "BudgetSpent"})).await;
    let earliest = jiff::Timestamp::now();
    let command = ["override", "deployment/kettle", "--reason", "it is the fix", "--for", "2h", "--timeout", "2m"];
    let overriding = shop.start(&command);
    assert_eq!(shop.until_asked(OVERRIDE).await, "it is the fix");
    let until: jiff::Timestamp = shop.annotation(UNTIL).await.expect("an end").parse().expect("RFC 3339");
    let lasting = until.duration_since(earliest).as_secs();
    assert!((7190..7290).contains(&lasting), "{until}");
    assert_eq!(shop.annotation("errorbudget.dev/override-template").await, Some(shop.template().await));
    shop.answer(OVERRIDE, "Overridden", "somebody lets template x pass").await;
    let ended = overriding.end().await;
    assert_eq!((ended.code, ended.output.as_str()), (0, "Overridden: somebody lets template x pass\n"), "{ended:?}");

    // The next one has no end: that of the last must not stay.
    let forever = shop.start(&["override", "deployment/kettle", "--reason", "again", "--timeout", "2m"]);
    shop.until_asked(OVERRIDE).await;
    assert_eq!(shop.annotation(UNTIL).await, None);
    shop.answer(OVERRIDE, "Overridden", "once more").await;
    assert_eq!(forever.end().await.code, 0);
}

#[tokio::test]
async fn a_rollback_is_asked_for_once_and_is_done_when_asked_for_again() {
    let shop = Shop::open("asking-rollback").await;
    shop.say(json!({"phase": "Monitoring", "reason": "NotConvicted"})).await;
    let bad = shop.template().await;
    let rollback = shop.start(&["rollback", "deployment/kettle", "--reason", "customers call", "--timeout", "2m"]);
    assert_eq!(shop.until_asked(ROLLBACK).await, bad);
    let reason = shop.annotation("errorbudget.dev/rollback-reason").await;
    assert_eq!(reason.as_deref(), Some("customers call"));
    shop.answer(ROLLBACK, "RolledBack", "rolled back revision 2 to 1 in 0.05 s").await;
    let ended = rollback.end().await;
    assert_eq!((ended.code, ended.output.as_str()), (0, "RolledBack: rolled back revision 2 to 1 in 0.05 s\n"));

    // The stable template is back.
    shop.patch(&json!({"spec": {"template": {"metadata": {"annotations": {"version": "good"}}}}})).await;
    let incident = json!({"condemned": {"revision": 2, "template": bad}, "outcome": "Recovered"});
    shop.say(json!({"phase": "RolledBack", "reason": "RollbackAsked", "incident": incident})).await;
    for again in [vec!["rollback", "deployment/kettle"], vec!["rollback", "deployment/kettle", "--template", &bad]] {
        let ended = shop.run(&again).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.output.starts_with("nothing to do: "), "{ended:?}");
        assert_eq!(shop.annotation(ROLLBACK).await, None, "the revision that came back is not asked away");
    }
}

#[tokio::test]
async fn a_template_that_was_just_pushed_is_asked_about_once_the_operator_has_noticed_it() {
    let shop = Shop::open("asking-race").await;
    shop.say(json!({"phase": "Succeeded", "newest": {"template": "the-one-before"}})).await;
    let approve = shop.start(&["approve", "deployment/kettle", "--timeout", "2m"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(shop.annotation(APPROVE).await, None);
    shop.say(waiting_for_approval()).await;
    shop.until_asked(APPROVE).await;
    shop.answer(APPROVE, "Approved", "goes on").await;
    assert_eq!(approve.end().await.code, 0);
}

#[tokio::test]
async fn a_status_that_stays_older_than_the_deployment_is_an_error() {
    let shop = Shop::open("asking-stale").await;
    shop.say(json!({"phase": "Halted", "newest": {"template": "the-one-before"}})).await;
    let ended = shop.run(&["rollback", "deployment/kettle"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    for words in
        ["the operator has not noticed template ", "its status is of template the-one-before", "Is it running?"]
    {
        assert!(ended.errors.contains(words), "{words} in {ended:?}");
    }
    assert_eq!(shop.annotation(ROLLBACK).await, None);
}

#[tokio::test]
async fn who_may_not_change_deployments_is_told_so() {
    let shop = Shop::open("asking-rights").await;
    shop.say(waiting_for_approval()).await;
    let reading = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
        {"apiGroups": ["errorbudget.dev"], "resources": ["errorbudgetpolicies"], "verbs": ["get", "list"]},
    ]);
    let kubeconfig = shop.kubeconfig_of_default_account().await;
    let ended = shop.run_with(&kubeconfig, &["approve", "deployment/kettle"]).await;
    let words = "error: reading Deployment asking-rights/kettle: refused: User \"system:serviceaccount:";
    assert!(ended.code == 2 && ended.errors.starts_with(words), "{ended:?}");
    shop.grant(reading).await;
    let ended = shop.run_with(&kubeconfig, &["approve", "deployment/kettle"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.errors.contains("refused: User ") && ended.errors.contains("cannot patch resource"), "{ended:?}");
}

#[tokio::test]
async fn the_no_of_an_admission_policy_is_told_in_its_own_words() {
    let shop = Shop::open("asking-admission").await;
    shop.say(waiting_for_approval()).await;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": shop.namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"],
            }]},
            "validations": [{
                "expression": format!("!('{APPROVE}' in object.metadata.?annotations.orValue({{}}))"),
                "message": "approving needs the verb approve on errorbudgetpolicies",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": shop.namespace},
        "spec": {
            "policyName": shop.namespace, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.namespace}}},
        },
    });
    shop.apply(&policy).await;
    shop.apply(&binding).await;
    // The API server takes notice of a policy a moment after it has taken it.
    let patch = json!({"metadata": {"annotations": {APPROVE: "probe"}}}).to_string();
    let mut probe = 0;
    while shop.try_kubectl(&["patch", "deployment", NAME, "--type=merge", "--dry-run=server", "-p", &patch]).await {
        probe += 1;
        assert!(probe < 100, "the admission policy is not in force");
        sleep(Duration::from_millis(100)).await;
    }
    let ended = shop.run(&["approve", "deployment/kettle"]).await;
    let words = "refused: approving needs the verb approve on errorbudgetpolicies\n";
    assert!(ended.code == 2 && ended.errors.ends_with(words), "{ended:?}");
    assert!(!ended.errors.contains("ValidatingAdmissionPolicy"), "{ended:?}");
}
