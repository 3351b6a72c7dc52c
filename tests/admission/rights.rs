//! Only those ask who may, by the Roles of `config/roles`.

use serde_json::{Value, json};

use crate::ground::{NAME, Shop, deployment, template};

fn wish(name: &str) -> Value {
    json!({format!("errorbudget.dev/{name}"): "because"})
}

fn refusal(user: &str, what: &str, policy: &str, verb: &str) -> String {
    format!("{user} may not {what} error budget policy {policy}: the verb {verb} on errorbudgetpolicies is needed")
}

/// The namespace that the example Roles are written for.
async fn shop_with_roles() -> Shop {
    let shop = Shop::open("shop").await;
    for file in ["oncall.yaml", "developers.yaml"] {
        let path = format!("{}/config/roles/{file}", env!("CARGO_MANIFEST_DIR"));
        shop.kubectl(&["apply", "-f", &path]).await;
    }
    shop
}

/// What is refused of a user with a Role, or nothing. The authorizer learns of Roles a moment after they are written.
async fn until_allowed(shop: &Shop, user: &str, group: &str, verb: &str) {
    let may =
        ["auth", "can-i", verb, "errorbudgetpolicies.errorbudget.dev/checkout", "--as", user, "--as-group", group];
    for _ in 0..200 {
        let arguments = [&["--namespace", shop.namespace], &may[..]].concat();
        if shop.cluster.kubectl(&arguments).await.is_ok_and(|answer| answer.trim() == "yes") {
            return;
        }
    }
    panic!("{user} of {group} may not {verb}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_roles_let_each_ask_for_what_it_may_and_no_more() {
    let shop = shop_with_roles().await;
    until_allowed(&shop, "ida", "oncall", "override").await;
    until_allowed(&shop, "jo", "checkout-developers", "approve").await;
    let (ida, jo) = (shop.user("ida", &["oncall"]).await, shop.user("jo", &["checkout-developers"]).await);
    let nobody = shop.developer().await;
    for (name, verb, what) in [
        ("override", "override", "override"),
        ("override-until", "override", "override"),
        ("override-template", "override", "override"),
        ("release", "override", "override"),
        ("approve", "approve", "approve"),
        ("rollback", "rollback", "roll back by"),
    ] {
        let change = json!({"metadata": {"annotations": wish(name)}});
        ida.dry_run(NAME, change.clone()).await.expect("who is on call may do all");
        let answer = jo.dry_run(NAME, change.clone()).await;
        match verb {
            "override" => assert!(answer.is_err_and(|said| said.contains(&refusal("jo", what, "checkout", verb)))),
            _ => drop(answer.expect("developers of the service may")),
        }
        let said = nobody.dry_run(NAME, change.clone()).await.expect_err("nobody gave the right");
        assert!(said.contains(&refusal("dev", what, "checkout", verb)), "{said}");
        let said = nobody.write_status(change).await.expect_err("nobody gave the right");
        assert!(said.contains(&refusal("dev", what, "checkout", verb)), "through the status: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_needs_the_right_also_at_the_creation() {
    let shop = Shop::open("rights-create").await;
    let mut manifest = deployment("kettle-2", "tea:1");
    manifest["metadata"]["labels"]["app"] = json!(NAME);
    manifest["metadata"]["annotations"] = wish("override");
    let said = shop.developer().await.try_create(manifest).await.expect_err("there is no right");
    assert!(said.contains(&refusal("dev", "override", "checkout", "override")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_change_a_wish_needs_the_right_and_to_take_it_back_does_not() {
    let shop = Shop::open("rights-change").await;
    let until = "errorbudget.dev/override-until";
    shop.admin.annotate(wish("override")).await.expect("the administrator may");
    shop.admin.annotate(json!({until: "2030-01-01T00:00:00Z"})).await.expect("the administrator may");
    let developer = shop.developer().await;
    developer.release("tea:2").await.expect("what is there already needs no right of the next writer");
    for longer in
        [json!({"errorbudget.dev/override": "other"}), json!({until: "2031-01-01T00:00:00Z"}), json!({until: null})]
    {
        developer.annotate(longer.clone()).await.expect_err(&format!("{longer} is another wish"));
    }
    developer
        .annotate(json!({"errorbudget.dev/override": null, until: null}))
        .await
        .expect("everyone may take it back");
}

#[tokio::test(flavor = "multi_thread")]
async fn which_template_an_override_is_for_is_said_by_right_and_that_it_is_for_none_by_everyone() {
    let shop = Shop::open("rights-template").await;
    let named = |template: Value| json!({"errorbudget.dev/override-template": template});
    shop.admin.annotate(wish("override")).await.expect("the administrator may");
    let developer = shop.developer().await;
    developer.annotate(named(json!("b0b0"))).await.expect_err("it may be another one than was meant");
    let both = json!({"metadata": {"annotations": named(json!("b0b0"))}, "spec": template("tea:2")["spec"]});
    developer.write(both).await.expect_err("not with a template of one's own either");
    shop.admin.annotate(named(json!("a0a0"))).await.expect("the administrator may");
    for other in [json!("b0b0"), Value::Null] {
        developer.annotate(named(other.clone())).await.expect_err(&format!("{other} is another template"));
    }
    developer.annotate(named(json!("earlier"))).await.expect("nothing passes by it");
    developer.annotate(named(Value::Null)).await.expect_err("now something would");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_does_not_slip_in_while_no_policy_selects_the_deployment() {
    let shop = Shop::open("rights-label").await;
    let developer = shop.developer().await;
    let unselected = json!({"metadata": {"labels": {"app": "other"}, "annotations": wish("override")}});
    developer.write(unselected).await.expect("no policy selects it");
    let selected = json!({"metadata": {"labels": {"app": NAME}}});
    let said = developer.write(selected).await.expect_err("now it would count");
    assert!(said.contains(&refusal("dev", "override", "checkout", "override")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_of_the_namespace_neither_gives_nor_takes_rights() {
    let shop = Shop::open("rights-second").await;
    shop.create_policy("another", json!({"selector": {"matchLabels": {"app": "cups"}}})).await;
    shop.settle().await;
    let role = ["create", "role", "of-another", "--verb=override", "--resource=errorbudgetpolicies.errorbudget.dev"];
    shop.kubectl(&[&role[..], &["--resource-name=another"]].concat()).await;
    shop.kubectl(&["create", "rolebinding", "of-another", "--role=of-another", "--user=kim"]).await;
    let right = ["create", "role", "of-this", "--verb=override", "--resource=errorbudgetpolicies.errorbudget.dev"];
    shop.kubectl(&[&right[..], &["--resource-name=checkout"]].concat()).await;
    shop.kubectl(&["create", "rolebinding", "of-this", "--role=of-this", "--user=lee"]).await;
    until_allowed(&shop, "lee", "any", "override").await;

    let said =
        shop.user("kim", &[]).await.annotate(wish("override")).await.expect_err("it is the other policy's right");
    assert!(said.contains(&refusal("kim", "override", "checkout", "override")), "{said}");
    shop.user("lee", &[]).await.annotate(wish("override")).await.expect("it is this policy's right");
}
