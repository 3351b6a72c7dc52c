//! A closed gate refuses new templates, where the policy says Deny.

use serde_json::{Value, json};

use crate::ground::{NAME, Shop, annotation, condition, is_held, template};

const WHY: &str = "availability budget 3.2% left, 20% needed";

async fn closed(namespace: &'static str) -> Shop {
    let shop = Shop::open(namespace).await;
    shop.policy(json!({"validate": {"admission": "Deny"}})).await;
    shop.status(json!({"gate": "Closed", "closed": {NAME: WHY}})).await;
    shop
}

/// The template and our annotations in one write.
fn release_with(image: &str, annotations: Value) -> Value {
    let mut change = template(image);
    change["metadata"] = json!({"annotations": annotations});
    change
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_refuses_a_new_template_and_says_why_and_what_to_do() {
    let shop = closed("deny-closed").await;
    let said = shop.developer().await.release("tea:2").await.expect_err("the gate is closed");
    assert!(said.contains(&format!("error budget policy checkout is closed: {WHY}; ")), "{said}");
    assert!(said.contains("kubectl wait --for=condition=GateOpen --namespace=deny-closed ebp/checkout"), "{said}");
    assert!(said.contains("errorbudget.dev/override"), "{said}");
    shop.admin.write(json!({"spec": {"replicas": 3}})).await.expect("scaling is no rollout");
    shop.operator().await.release("tea:2").await.expect("the operator may");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refuses_nothing_when_it_is_open_or_holds_or_observes_or_is_not_in_force() {
    let shop = closed("deny-when").await;
    let release = || shop.admin.dry_run(NAME, template("tea:2"));
    release().await.expect_err("the gate is closed");
    shop.policy(json!({"validate": {"admission": "Hold"}})).await;
    assert!(is_held(&release().await.expect("it is held instead")));
    shop.policy(json!({"validate": {"admission": "Deny"}, "mode": "Observe"})).await;
    release().await.expect("it observes");
    shop.policy(json!({"mode": "Enforce"})).await;
    release().await.expect_err("the gate is closed");
    shop.status(json!({"conditions": [condition("Ready", "False", "no")]})).await;
    release().await.expect("it is not in force");
    shop.status(json!({"conditions": [condition("Ready", "True", "yes")], "closed": {"cups": WHY}})).await;
    release().await.expect_err("a merge patch keeps the other entry");
    shop.status(json!({"closed": {NAME: null}})).await;
    assert!(is_held(&release().await.expect("the gate of another is closed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_budget_closes_the_gate_of_all() {
    let shop = Shop::open("deny-shared").await;
    shop.policy(json!({"validate": {"admission": "Deny"}, "budget": {"scope": "Shared"}})).await;
    let conditions = json!([condition("Ready", "True", "yes"), condition("GateOpen", "False", WHY)]);
    shop.status(json!({"gate": "Closed", "conditions": conditions})).await;
    let said = shop.developer().await.release("tea:2").await.expect_err("the gate is closed");
    assert!(said.contains(&format!("error budget policy checkout is closed: {WHY}; ")), "{said}");
    shop.status(json!({"gate": "Open"})).await;
    assert!(is_held(&shop.developer().await.release("tea:2").await.expect("the gate is open")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_passes_by_right_and_says_which_right_is_missing() {
    let shop = closed("deny-override").await;
    let overriding = || release_with("tea:2", json!({"errorbudget.dev/override": "outage"}));
    let said = shop.developer().await.write(overriding()).await.expect_err("there is no right");
    assert!(said.contains("dev may not override error budget policy checkout"), "{said}");
    shop.admin.dry_run(NAME, overriding()).await.expect("the administrator may");

    shop.admin.annotate(json!({"errorbudget.dev/override": "outage"})).await.expect("the administrator may");
    let released = shop.developer().await.release("tea:2").await.expect("it was overridden before");
    assert_eq!(annotation(&released, "override-by"), Some("admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_revision_that_succeeded_pass_and_a_mix_of_two_does_not() {
    let shop = closed("deny-images").await;
    let images = json!(["fill:1 tea:1 milk:1", "fill:1 tea:2 milk:2"]);
    shop.status(json!({"succeededImages": {NAME: images, "cups": ["tea:9"]}})).await;
    let release = |containers: Value, init: Value| json!({"spec": {"template": {"spec": {"containers": containers, "initContainers": init}}}});
    let web = |image: &str| json!({"name": "web", "image": image});
    let milk = |image: &str| json!({"name": "milk", "image": image});
    let fill = |image: &str| json!([{"name": "fill", "image": image}]);
    for (change, passes) in [
        (release(json!([milk("milk:1"), web("tea:1")]), fill("fill:1")), true),
        (release(json!([web("tea:2"), milk("milk:2")]), fill("fill:1")), true),
        (release(json!([web("tea:2")]), json!(null)), true),
        (release(json!([web("tea:2"), milk("milk:1")]), fill("fill:1")), false),
        (release(json!([web("tea:2"), milk("milk:2")]), fill("fill:2")), false),
        (release(json!([web("tea:9")]), json!(null)), false),
        (release(json!([web("tea")]), json!(null)), false),
    ] {
        let answer = shop.developer().await.dry_run(NAME, change.clone()).await;
        assert_eq!(answer.is_ok(), passes, "{change}: {answer:?}");
        assert!(answer.is_err() || is_held(&answer.expect("it passes")), "what passes is held all the same");
    }
    shop.kubectl(&["rollout", "restart", "deployment", NAME]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_by_right_passes_with_the_operator_down() {
    let shop = closed("deny-release").await;
    let released = shop.admin.write(release_with("tea:2", json!({"errorbudget.dev/release": "outage"}))).await;
    let released = released.expect("the administrator may");
    assert!(!is_held(&released), "{released:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_in_a_pause_of_the_owners_own_passes_as_no_pod_can_start() {
    let shop = closed("deny-paused").await;
    shop.until_rolled_out().await;
    shop.kubectl(&["rollout", "pause", "deployment", NAME]).await;
    shop.developer().await.release("tea:2").await.expect("it does not roll out");
    shop.until("no pod has the new template", |found| found["status"].get("updatedReplicas").is_none()).await;
    shop.kubectl(&["rollout", "resume", "deployment", NAME]).await;
    assert!(is_held(&shop.deployment().await));
}
