//! A new template is held in the write that brings it.

use serde_json::{Value, json};

use crate::ground::{ADMIN, NAME, POLICY, Shop, annotation, condition, deployment, is_held, template, version};

/// Kubernetes has said all that it has to say of a paused Deployment.
fn is_seen_paused(deployment: &Value) -> bool {
    let conditions = deployment["status"]["conditions"].as_array();
    deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        && conditions.is_some_and(|all| all.iter().any(|condition| condition["reason"] == "DeploymentPaused"))
}

/// Nothing of ours is on it, and it rolls out.
fn is_untouched(deployment: &Value) -> bool {
    let annotations = deployment["metadata"]["annotations"].as_object();
    deployment["spec"].get("paused").is_none()
        && !annotations.is_some_and(|all| all.keys().any(|key| key.starts_with("errorbudget.dev/")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_template_is_held_with_who_brought_it_before_it_has_any_pod() {
    let shop = Shop::open("hold-new").await;
    shop.until_rolled_out().await;
    let written = shop.user("ida", &[]).await.release("tea:2").await.expect("it is accepted");
    assert!(is_held(&written), "{written:#}");
    assert_eq!(annotation(&written, "hold"), Some(r#"{"policy":"checkout","reason":"Validating"}"#));
    assert_eq!(annotation(&written, "requested-by"), Some("ida"));
    assert_eq!(written["spec"]["template"]["spec"]["containers"][0]["image"], "tea:2");

    shop.until("Kubernetes has seen it", is_seen_paused).await;
    let images = ["get", "replicasets", "-o", "jsonpath={..image}", "--selector", "app=kettle"];
    assert_eq!(shop.kubectl(&images).await, "tea:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_reads_the_mark_that_the_hold_leaves() {
    let shop = Shop::open("hold-mark").await;
    let written = shop.admin.release("tea:2").await.expect("it is accepted");
    let mark = gatekeeper::watch::annotations::HoldMark::read(annotation(&written, "hold").expect("a mark"));
    assert_eq!((mark.policy.as_str(), mark.reason.as_str(), mark.own), (POLICY, "Validating", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_held_also_without_annotations_and_by_every_way_of_writing() {
    let shop = Shop::open("hold-ways").await;
    shop.replace(&deployment(NAME, "tea:2")).await;
    let found = shop.deployment().await;
    assert!(is_held(&found) && annotation(&found, "requested-by") == Some(ADMIN), "{found:#}");

    for (image, how) in
        [("tea:3", &["apply", "--server-side", "--force-conflicts", "-f", "-"][..]), ("tea:4", &["apply", "-f", "-"])]
    {
        shop.operator()
            .await
            .write(json!({"metadata": {"annotations": null}, "spec": {"paused": null}}))
            .await
            .expect("it may");
        shop.kubectl_with(how, &deployment(NAME, image)).await;
        assert!(is_held(&shop.deployment().await), "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_a_rollout_and_scaling_and_labels_are_none() {
    let shop = Shop::open("hold-what").await;
    shop.kubectl(&["scale", "deployment", NAME, "--replicas=3"]).await;
    let labelled =
        shop.admin.write(json!({"metadata": {"labels": {"colour": "red"}, "annotations": {"a": "b"}}})).await;
    assert!(is_untouched(&labelled.expect("it is accepted")));
    let with_other_settings = shop.admin.write(json!({"spec": {"minReadySeconds": 3, "replicas": 1}})).await;
    assert!(is_untouched(&with_other_settings.expect("it is accepted")));

    shop.kubectl(&["rollout", "restart", "deployment", NAME]).await;
    assert!(is_held(&shop.deployment().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_creation_and_what_no_policy_selects_are_not_held() {
    let shop = Shop::open("hold-others").await;
    assert!(is_untouched(&shop.deployment().await), "it was created with the policy there");
    shop.admin.create(deployment("cups", "cups:1")).await;
    let released = shop.admin.dry_run("cups", template("cups:2")).await.expect("it is accepted");
    assert!(is_untouched(&released), "{released:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_without_replicas_is_held_too() {
    let shop = Shop::open("hold-empty").await;
    shop.admin.write(json!({"spec": {"replicas": 0}})).await.expect("it is accepted");
    assert!(is_held(&shop.admin.release("tea:2").await.expect("it is accepted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_observes_or_is_not_in_force_holds_nothing() {
    let shop = Shop::open("hold-observe").await;
    let release = || async { shop.admin.dry_run(NAME, template("tea:2")).await.expect("it is accepted") };
    shop.policy(json!({"mode": "Observe"})).await;
    assert!(is_untouched(&release().await), "Observe");
    shop.policy(json!({"mode": "Enforce"})).await;
    assert!(is_held(&release().await), "Enforce");
    for status in [json!({"conditions": [condition("Ready", "False", "no")]}), json!({"conditions": null})] {
        shop.status(status.clone()).await;
        assert!(is_untouched(&release().await), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_writes_pass() {
    let shop = Shop::open("hold-operator").await;
    let released = shop.operator().await.release("tea:2").await.expect("it is accepted");
    assert!(is_untouched(&released), "{released:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_owners_own_is_not_touched_whatever_is_written_in_it() {
    let shop = Shop::open("hold-paused").await;
    shop.until_rolled_out().await;
    shop.kubectl(&["rollout", "pause", "deployment", NAME]).await;
    let released = shop.admin.release("tea:2").await.expect("it is accepted");
    assert_eq!((annotation(&released, "hold"), &released["spec"]["paused"]), (None, &json!(true)));

    // Paused by the write that brings the template.
    let shop = Shop::open("hold-pausing").await;
    let mut change = template("tea:2");
    change["spec"]["paused"] = json!(true);
    let released = shop.admin.write(change).await.expect("it is accepted");
    assert_eq!((annotation(&released, "hold"), &released["spec"]["paused"]), (None, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_came_in_an_owners_own_pause_is_held_when_the_pause_ends() {
    let shop = Shop::open("hold-resumed").await;
    shop.until_rolled_out().await;
    shop.kubectl(&["rollout", "pause", "deployment", NAME]).await;
    shop.kubectl(&["rollout", "resume", "deployment", NAME]).await;
    assert!(is_untouched(&shop.deployment().await), "nothing new came in the pause");

    shop.kubectl(&["rollout", "pause", "deployment", NAME]).await;
    shop.admin.release("tea:2").await.expect("it is accepted");
    shop.until("no pod has the new template", |found| found["status"].get("updatedReplicas").is_none()).await;
    shop.kubectl(&["rollout", "resume", "deployment", NAME]).await;
    assert!(is_held(&shop.deployment().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_an_earlier_hold_does_not_come_back_with_the_next() {
    let shop = Shop::open("hold-again").await;
    let left = json!({"errorbudget.dev/release": "outage 7", "errorbudget.dev/own-strategy": "{}"});
    shop.operator().await.annotate(left).await.expect("it may");
    let held = shop.admin.release("tea:2").await.expect("it is accepted");
    assert!(is_held(&held));
    assert_eq!((annotation(&held, "release"), annotation(&held, "own-strategy")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_deployment_is_not_even_written_by_those_who_would_resume_it() {
    let shop = Shop::open("hold-war").await;
    shop.until_rolled_out().await;
    let held = shop.admin.release("tea:2").await.expect("it is accepted");
    shop.kubectl(&["rollout", "resume", "deployment", NAME]).await;
    let found = shop.until("Kubernetes has seen it", is_seen_paused).await;
    assert_eq!(found["metadata"]["generation"], held["metadata"]["generation"]);

    let mut manifest = deployment(NAME, "tea:2");
    manifest["spec"]["paused"] = json!(false);
    // Who owns the pause is noted once, when another one writes it.
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    shop.kubectl_with(&apply, &manifest).await;
    let before = version(&shop.deployment().await);
    for _ in 0..3 {
        shop.kubectl_with(&apply, &manifest).await;
    }
    assert_eq!(version(&shop.deployment().await), before, "applied again");

    let resume = ["rollout", "resume", "deployment", NAME];
    shop.kubectl(&resume).await;
    let before = version(&shop.deployment().await);
    for _ in 0..3 {
        shop.kubectl(&resume).await;
    }
    assert_eq!(version(&shop.deployment().await), before, "resumed again");
    assert_eq!(before[0], held["metadata"]["generation"], "nothing but ownership was written");

    shop.replace(&manifest).await;
    let found = shop.deployment().await;
    assert!(is_held(&found) && annotation(&found, "requested-by") == Some(ADMIN), "{found:#}");
}
