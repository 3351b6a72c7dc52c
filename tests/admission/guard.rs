//! A hold stays as it is against everybody but the operator and those who may release it.

use gatekeeper::watch::annotations::{OWN_MIN_READY_SECONDS, OWN_PROGRESS_DEADLINE_SECONDS, OWN_STRATEGY};
use serde_json::{Value, json};

use crate::ground::{NAME, Shop, annotation, deployment, is_held, template, version};

const HELD_MIN_READY_SECONDS: i64 = 2_147_483_646;
const NO_DEADLINE: i64 = 2_147_483_647;

/// The settings of a canary are all in place.
fn is_armed(deployment: &Value) -> bool {
    let spec = &deployment["spec"];
    annotation(deployment, "hold").is_some()
        && spec["strategy"] == json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        && spec["minReadySeconds"] == HELD_MIN_READY_SECONDS
        && spec["progressDeadlineSeconds"] == NO_DEADLINE
}

/// What of the owner's settings is noted.
fn noted(deployment: &Value) -> [Option<Value>; 3] {
    [OWN_STRATEGY, OWN_MIN_READY_SECONDS, OWN_PROGRESS_DEADLINE_SECONDS].map(|key| {
        let text = deployment["metadata"]["annotations"].get(key)?.as_str().expect("text");
        Some(serde_json::from_str(text).expect("JSON"))
    })
}

async fn armed(namespace: &'static str) -> Shop {
    let shop = Shop::open(namespace).await;
    shop.until_rolled_out().await;
    shop.admin.release("tea:2").await.expect("it is accepted");
    shop.arm().await;
    assert!(is_armed(&shop.deployment().await));
    shop
}

fn manifest() -> Value {
    let mut manifest = deployment(NAME, "tea:2");
    manifest["spec"]["paused"] = json!(true);
    manifest["spec"]["minReadySeconds"] = json!(7);
    manifest["spec"]["progressDeadlineSeconds"] = json!(300);
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canarys_settings_survive_an_applier_that_brings_its_own_and_those_are_noted() {
    let shop = armed("guard-apply").await;
    let is_there = |found: &Value| {
        let status = &found["status"];
        found["metadata"]["generation"] == status["observedGeneration"]
            && (&status["readyReplicas"], &status["updatedReplicas"]) == (&json!(3), &json!(1))
    };
    shop.until("the canary is there", is_there).await;
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    shop.kubectl_with(&apply, &manifest()).await;
    let found = shop.deployment().await;
    assert!(is_armed(&found) && found["spec"].get("paused").is_none(), "{found:#}");
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": "10%"}});
    assert_eq!(noted(&found), [Some(strategy), Some(json!(7)), Some(json!(300))]);

    let before = version(&shop.until("Kubernetes has seen it", is_there).await);
    for _ in 0..3 {
        shop.kubectl_with(&apply, &manifest()).await;
    }
    assert_eq!(version(&shop.deployment().await), before, "it is not even written");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_survive_a_replace_that_brings_no_annotation() {
    let shop = armed("guard-replace").await;
    shop.replace(&manifest()).await;
    let found = shop.deployment().await;
    assert!(is_armed(&found), "{found:#}");
    assert_eq!(noted(&found)[1], Some(json!(7)));

    // With the settings of the hold in it, and without what is noted.
    let mut held = found.clone();
    held["metadata"]["annotations"] = json!({});
    held["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    shop.replace(&held).await;
    assert_eq!(noted(&shop.deployment().await), noted(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_the_owner_writes_in_the_hold_the_last_counts() {
    let shop = armed("guard-last").await;
    let rolling = |surge: Value, unavailable: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    for strategy in [rolling(json!("25%"), json!(3)), json!({"type": "Recreate"}), rolling(json!(0), json!("100%"))] {
        let mut change = json!({"spec": {"strategy": strategy}});
        if strategy["type"] == "Recreate" {
            change["spec"]["strategy"]["rollingUpdate"] = Value::Null;
        }
        let written = shop.admin.write(change).await.expect("it is accepted");
        assert!(is_armed(&written), "{written:#}");
        assert_eq!(noted(&written), [Some(strategy), None, None]);
    }
    let written = shop.admin.write(json!({"spec": {"minReadySeconds": null}})).await.expect("it is accepted");
    assert!(is_armed(&written));
    assert_eq!(noted(&written)[1], Some(json!(0)), "none is a value, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_there_is_a_canary_the_settings_are_the_owners_to_change() {
    let shop = Shop::open("guard-own").await;
    shop.admin.release("tea:2").await.expect("it is accepted");
    let written =
        shop.admin.write(json!({"spec": {"minReadySeconds": 7, "replicas": 3}})).await.expect("it is accepted");
    assert!(is_held(&written));
    assert_eq!((&written["spec"]["minReadySeconds"], &written["spec"]["replicas"]), (&json!(7), &json!(3)));
    assert_eq!(noted(&written), [None, None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_template_comes_in_held_with_who_brought_it() {
    let shop = armed("guard-newer").await;
    let written = shop.user("ida", &[]).await.release("tea:3").await.expect("it is accepted");
    assert!(is_armed(&written) && is_held(&written), "{written:#}");
    assert_eq!(annotation(&written, "requested-by"), Some("ida"));
    assert_eq!(written["spec"]["template"]["spec"]["containers"][0]["image"], "tea:3");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_the_marks_of_a_hold() {
    let shop = Shop::open("guard-marks").await;
    let held = shop.user("ida", &[]).await.release("tea:2").await.expect("it is accepted");
    for marks in [
        json!({"errorbudget.dev/hold": "{}", "errorbudget.dev/requested-by": "boss"}),
        json!({"errorbudget.dev/hold": null, "errorbudget.dev/requested-by": null}),
    ] {
        let written = shop.admin.annotate(marks).await.expect("it is accepted");
        for name in ["hold", "requested-by"] {
            assert_eq!(annotation(&written, name), annotation(&held, name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_no_back_door() {
    let shop = Shop::open("guard-status").await;
    let mut change = template("tea:2");
    change["status"] = json!({"observedGeneration": 1});
    let written = shop.admin.write_status(change).await.expect("it is accepted");
    assert_eq!(annotation(&written, "hold"), None, "a template in the status is no rollout");

    let held = shop.admin.release("tea:2").await.expect("it is accepted");
    let marks = json!({"errorbudget.dev/hold": null, "errorbudget.dev/requested-by": "boss"});
    let written = shop.admin.write_status(json!({"metadata": {"annotations": marks}})).await.expect("it is accepted");
    for name in ["hold", "requested-by"] {
        assert_eq!(annotation(&written, name), annotation(&held, name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_releases_what_it_holds() {
    let shop = armed("guard-operator").await;
    let release = json!({
        "metadata": {"annotations": {"errorbudget.dev/hold": null}},
        "spec": {"strategy": null, "minReadySeconds": null, "progressDeadlineSeconds": null, "paused": null},
    });
    let released = shop.operator().await.write(release).await.expect("it may");
    assert_eq!(annotation(&released, "hold"), None);
    assert_eq!(released["spec"]["progressDeadlineSeconds"], 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policy_no_longer_selects_or_enforces_people_may_end_the_hold() {
    let shop = Shop::open("guard-observe").await;
    shop.admin.release("tea:2").await.expect("it is accepted");
    let resume = || json!({"spec": {"paused": null}});
    let unlabelled = json!({"metadata": {"labels": {"app": "other"}}, "spec": {"paused": null}});
    for (change, is_kept) in [(resume(), true), (unlabelled, false)] {
        let written = shop.admin.dry_run(NAME, change).await.expect("it is accepted");
        assert_eq!(written["spec"]["paused"] == true, is_kept);
    }
    shop.policy(json!({"mode": "Observe"})).await;
    assert_eq!(shop.admin.write(resume()).await.expect("it is accepted")["spec"].get("paused"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_by_right_takes_the_hold_away_and_one_without_is_refused() {
    let shop = armed("guard-release").await;
    let take_away = |reason| {
        json!({
            "metadata": {"annotations": {"errorbudget.dev/hold": null, "errorbudget.dev/release": reason}},
            "spec": {"strategy": null, "minReadySeconds": null, "progressDeadlineSeconds": null, "paused": null},
        })
    };
    let refused = shop.developer().await.write(take_away("outage 7")).await.expect_err("there is no right");
    assert!(refused.contains("the verb override on errorbudgetpolicies is needed"), "{refused}");

    let released = shop.admin.write(take_away("outage 7")).await.expect("the administrator may");
    assert_eq!((annotation(&released, "hold"), released["spec"].get("minReadySeconds")), (None, None));

    let next = shop.developer().await.release("tea:3").await.expect("it is accepted");
    assert!(is_held(&next), "a release is for one hold");

    let mut at_once = template("tea:4");
    at_once["metadata"] = json!({"annotations": {"errorbudget.dev/hold": null, "errorbudget.dev/release": "outage 8"}});
    at_once["spec"]["paused"] = Value::Null;
    let released = shop.admin.write(at_once).await.expect("the administrator may");
    assert!(!is_held(&released) && annotation(&released, "hold").is_none(), "also with a template of its own");
}
