//! `release`.

use serde_json::{Value, json};

use super::shop::{NAME, Shop, deployment};

const HOLD: &str = "errorbudget.dev/hold";
const RELEASE: &str = "errorbudget.dev/release";

/// What the owner had set.
fn own() -> Value {
    json!({
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "37%", "maxUnavailable": 1}},
        "minReadySeconds": 3, "progressDeadlineSeconds": 444,
    })
}

/// Held, with settings of its owner's that no default has.
async fn hold(shop: &Shop) {
    shop.patch(&json!({"spec": own()})).await;
    shop.hold().await;
    let deployment = shop.deployment().await;
    assert_ne!(deployment["spec"]["minReadySeconds"], own()["minReadySeconds"], "a held canary has it otherwise");
}

async fn assert_released(shop: &Shop) {
    let deployment = shop.deployment().await;
    let spec = &deployment["spec"];
    assert_eq!(spec.get("paused"), None);
    for (field, value) in own().as_object().expect("settings") {
        assert_eq!(&spec[field], value, "{field}");
    }
    assert_eq!(deployment["metadata"]["annotations"].get(HOLD), None);
}

#[tokio::test]
async fn a_held_canary_is_released_without_the_operator_and_its_owners_settings_are_back() {
    let shop = Shop::open("releasing-one").await;
    hold(&shop).await;
    let ended = shop.run(&["release", "deployment/kettle", "--reason", "the operator is gone"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.starts_with("releasing-one/kettle: released: no longer paused; "), "{ended:?}");
    assert_released(&shop).await;
    let reason = shop.annotation(RELEASE).await.expect("the reason");
    assert!(reason.starts_with("the operator is gone (2"), "{reason}");

    let again = shop.run(&["release", "deployment/kettle", "--reason", "again"]).await;
    let words = "releasing-one/kettle: the operator does not hold it; nothing was changed\n";
    assert_eq!((again.code, again.output.as_str()), (0, words));
}

#[tokio::test]
async fn all_that_is_held_is_released_and_nothing_else_is_touched() {
    let shop = Shop::open("releasing-all").await;
    hold(&shop).await;
    let mut other = deployment("kettle:1");
    other["metadata"]["name"] = json!("own-pause");
    other["spec"]["paused"] = json!(true);
    shop.apply(&other).await;
    let ended = shop.run(&["release", "--all", "--reason", "uninstalled"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.output.lines().count(), 1, "{ended:?}");
    assert_released(&shop).await;
    let paused = shop.kubectl(&["get", "deployment", "own-pause", "-o", "jsonpath={.spec.paused}"]).await;
    assert_eq!(paused, "true", "its owner paused it");
    let again = shop.run(&["release", "--all", "--reason", "uninstalled"]).await;
    assert_eq!((again.code, again.output.as_str()), (0, "The operator holds nothing.\n"));
}

#[tokio::test]
async fn what_a_running_operator_holds_again_is_told() {
    let shop = Shop::open("releasing-again").await;
    hold(&shop).await;
    let mut release = shop.start(&["release", "deployment/kettle", "--reason", "hurry"]);
    release.until_shown("released: ").await;
    shop.hold().await;
    let ended = release.end().await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let words = format!("releasing-again/{NAME}: held again: the operator runs");
    assert!(ended.output.contains(&words), "{ended:?}");
}

#[tokio::test]
async fn who_may_not_change_it_is_told_and_the_rest_goes_on() {
    let shop = Shop::open("releasing-rights").await;
    hold(&shop).await;
    let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]}]);
    shop.grant(rules).await;
    let kubeconfig = shop.kubeconfig_of_default_account().await;
    let ended = shop.run_with(&kubeconfig, &["release", "--all", "--reason", "uninstalled"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.output.contains("not released: ") && ended.output.contains("cannot patch resource"), "{ended:?}");
}
