//! Who asked for an override, an approval or a rollback is noted, and cannot be forged.

use serde_json::{Value, json};

use crate::ground::{NAME, Shop, User, annotation, deployment, template};

const WISHES: [&str; 3] = ["override", "approve", "rollback"];

fn key(name: &str) -> String {
    format!("errorbudget.dev/{name}")
}

/// Who is noted.
fn by<'a>(deployment: &'a Value, wish: &str) -> Option<&'a str> {
    annotation(deployment, &format!("{wish}-by"))
}

async fn ann(shop: &Shop) -> User {
    shop.user("ann", &["system:masters"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_noted_in_the_same_write_also_through_the_status() {
    let shop = Shop::open("wish-who").await;
    let ann = ann(&shop).await;
    for wish in WISHES {
        let asked = ann.annotate(json!({key(wish): "outage"})).await.expect("ann may");
        assert_eq!(by(&asked, wish), Some("ann"), "{wish}");
        let changed = shop.admin.annotate(json!({key(wish): "another"})).await.expect("the administrator may");
        assert_eq!(by(&changed, wish), Some("admin"), "{wish}");
        let taken_back = shop.admin.annotate(json!({key(wish): null})).await.expect("everyone may");
        assert_eq!(by(&taken_back, wish), None, "{wish}");

        let through_status = json!({"metadata": {"annotations": {key(wish): "outage"}}});
        assert_eq!(by(&ann.write_status(through_status).await.expect("ann may"), wish), Some("ann"), "{wish}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_creates_with_a_wish_is_noted_and_a_copy_of_one_is_not_taken() {
    let shop = Shop::open("wish-create").await;
    let ann = ann(&shop).await;
    let created = async |name: &str, annotations: Value| {
        let mut manifest = deployment(name, "cups:1");
        manifest["metadata"]["annotations"] = annotations;
        ann.create(manifest).await
    };
    let asked = created("cups", json!({key("override"): "outage"})).await;
    assert_eq!(by(&asked, "override"), Some("ann"));
    let copied = created("mugs", json!({key("override"): "outage", key("override-by"): "boss"})).await;
    assert_eq!((annotation(&copied, "override"), by(&copied, "override")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_end_of_an_override_is_another_wish() {
    let shop = Shop::open("wish-until").await;
    ann(&shop).await.annotate(json!({key("override"): "outage"})).await.expect("ann may");
    let until = json!({key("override-until"): "2030-01-01T00:00:00Z"});
    let changed = shop.admin.annotate(until).await.expect("the administrator may");
    assert_eq!(by(&changed, "override"), Some("admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_stands_is_not_meant_for_a_template_that_comes_later() {
    let shop = Shop::open("wish-earlier").await;
    let (ann, developer) = (ann(&shop).await, shop.developer().await);
    let meant_for = |found: &Value| annotation(found, "override-template").map(ToOwned::to_owned);
    let asked = ann.annotate(json!({key("override"): "outage"})).await.expect("ann may");
    assert_eq!(meant_for(&asked), None);
    let scaled = developer.write(json!({"spec": {"replicas": 3}})).await.expect("it is accepted");
    assert_eq!(meant_for(&scaled), None, "the template is the same");
    let pushed = developer.release("tea:2").await.expect("it is accepted");
    assert_eq!((meant_for(&pushed).as_deref(), by(&pushed, "override")), (Some("earlier"), Some("ann")));

    // With the template, or bound to one, it says for itself what it is for.
    let together = json!({
        "metadata": {"annotations": {key("override"): "the fix", key("override-template"): null}},
        "spec": template("tea:3")["spec"],
    });
    let brought = ann.write(together).await.expect("ann may");
    assert_eq!(meant_for(&brought), None);
    ann.annotate(json!({key("override-template"): "a0a0"})).await.expect("ann may");
    let overtaken = developer.release("tea:4").await.expect("it is accepted");
    assert_eq!((meant_for(&overtaken).as_deref(), by(&overtaken, "override")), (Some("a0a0"), Some("ann")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_override_of_another_template_is_another_wish() {
    let shop = Shop::open("wish-template").await;
    let named = |template: &str| json!({key("override"): "outage", key("override-template"): template});
    ann(&shop).await.annotate(named("a0a0")).await.expect("ann may");
    let changed = shop.admin.annotate(named("b0b0")).await.expect("the administrator may");
    assert_eq!(by(&changed, "override"), Some("admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_other_things_changes_nothing_of_it() {
    let shop = Shop::open("wish-others").await;
    let ann = ann(&shop).await;
    for wish in WISHES {
        ann.annotate(json!({key(wish): "outage"})).await.expect("ann may");
    }
    let developer = shop.developer().await;
    let written = developer.write(template("tea:2")).await.expect("it is accepted");
    let without_names = json!({key("override-by"): null, key("approve-by"): null, key("rollback-by"): null});
    for found in [&written, &developer.annotate(without_names).await.expect("it is accepted")] {
        for wish in WISHES {
            assert_eq!((annotation(found, wish), by(found, wish)), (Some("outage"), Some("ann")), "{wish}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_cannot_be_forged_with_a_wish_or_without() {
    let shop = Shop::open("wish-forged").await;
    let ann = ann(&shop).await;
    for wish in WISHES {
        let by_key = key(&format!("{wish}-by"));
        let orphan = shop.developer().await.annotate(json!({by_key.clone(): "boss"})).await.expect("it is accepted");
        assert_eq!(by(&orphan, wish), None, "{wish}");

        let together =
            ann.annotate(json!({key(wish): "outage", by_key.clone(): "boss"})).await.expect("it is accepted");
        assert_eq!((annotation(&together, wish), by(&together, wish)), (None, None), "{wish}");

        ann.annotate(json!({key(wish): "outage"})).await.expect("ann may");
        let renamed = shop.developer().await.annotate(json!({by_key: "boss"})).await.expect("it is accepted");
        assert_eq!((annotation(&renamed, wish), by(&renamed, wish)), (Some("outage"), Some("ann")), "{wish}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_does_not_bring_answered_wishes_back_nor_need_their_right() {
    let shop = Shop::open("wish-undo").await;
    shop.until_rolled_out().await;
    let asked = json!({key("override"): "outage", key("override-until"): "2030-01-01T00:00:00Z"});
    ann(&shop).await.annotate(asked).await.expect("ann may");
    let copied = ["wait", "--for=jsonpath={.metadata.annotations.errorbudget\\.dev/override}=outage", "--timeout=60s"];
    shop.kubectl(&[&copied[..], &["replicaset", "--selector=app=kettle"]].concat()).await;

    let operator = shop.operator().await;
    let answered = json!({key("override"): null, key("override-until"): null, key("override-by"): null});
    operator.annotate(answered).await.expect("it may");
    operator.release("tea:2").await.expect("it may");
    shop.until_rolled_out().await;

    shop.kubectl(&["--as=dev", "--as-group=system:masters", "rollout", "undo", "deployment", NAME]).await;
    let found = shop.deployment().await;
    assert_eq!(found["spec"]["template"]["spec"]["containers"][0]["image"], "tea:1");
    for name in ["override", "override-until", "override-by"] {
        assert_eq!(annotation(&found, name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_takes_wishes_away() {
    let shop = Shop::open("wish-answered").await;
    ann(&shop).await.annotate(json!({key("approve"): "tea"})).await.expect("ann may");
    let answer = json!({key("approve"): null, key("approve-by"): null});
    let answered = shop.operator().await.annotate(answer).await.expect("it may");
    assert_eq!((annotation(&answered, "approve"), by(&answered, "approve")), (None, None));
}
