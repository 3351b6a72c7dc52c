//! What people release with takes no notice of a hold: not in it, and not after it.

use std::path::Path;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::appliers::{chart, helm};
use crate::canary::until_held;
use crate::shop::{NAME, Shop, simple};

/// A tool that releases.
#[derive(Debug, Clone, Copy)]
enum Tool<'a> {
    ClientSide,
    ServerSide,
    Forced,
    Helm(&'a Path),
}

impl Tool<'_> {
    async fn apply(self, shop: &Shop, manifest: &Value) {
        let server_side = ["apply", "--server-side", "--field-manager", "gitops", "-f", "-"];
        match self {
            Self::ClientSide => shop.apply(manifest).await,
            Self::ServerSide => shop.apply_as("gitops", manifest).await,
            Self::Forced => {
                shop.kubectl_with(&[&server_side[..], &["--force-conflicts"]].concat(), manifest).await;
            }
            Self::Helm(chart) => helm(shop, chart, manifest, &[]).await,
        }
    }
}

fn with(image: &str, spec: &Value) -> Value {
    let mut manifest = simple(image);
    for (key, value) in spec.as_object().expect("fields") {
        manifest["spec"][key] = value.clone();
    }
    manifest
}

/// Manifests that have none, one or all of the settings, and what becomes of each.
fn manifests() -> [(&'static str, Value, Value); 4] {
    let strategy = |max_surge: Value, max_unavailable: Value| {
        let rolling = json!({"maxSurge": max_surge, "maxUnavailable": max_unavailable});
        json!({"type": "RollingUpdate", "rollingUpdate": rolling})
    };
    let all = json!({"strategy": strategy(json!(1), json!(0)), "minReadySeconds": 1, "progressDeadlineSeconds": 120});
    let others =
        json!({"strategy": strategy(json!("50%"), json!(1)), "minReadySeconds": 2, "progressDeadlineSeconds": 90});
    let mut with_pause = all.clone();
    with_pause["paused"] = json!(false);
    let one = json!({"strategy": {"rollingUpdate": {"maxSurge": 2}}});
    [
        ("none", json!({}), others.clone()),
        ("one", one, json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0}}})),
        ("all", all, others.clone()),
        ("pause", with_pause, others),
    ]
}

/// The first revision is complete, and the second one held as a canary.
async fn in_a_hold(tool: Tool<'_>, name: &str, kind: &str, spec: &Value) -> (Shop, String) {
    let namespace = format!("{name}-{kind}").leak();
    let shop = Shop::open(namespace).await;
    tool.apply(&shop, &with("web:1", spec)).await;
    let stable = shop.until_complete().await;
    tool.apply(&shop, &with("web:2", spec)).await;
    shop.until_taken_up().await;
    until_held(&shop, &stable.uid, 10).await;
    (shop, stable.uid)
}

async fn assert_nothing_of_the_spec_is_ours(shop: &Shop) {
    let deployment = shop.deployment().await;
    let entries = deployment["metadata"]["managedFields"].as_array().expect("entries");
    let ours = entries.iter().find(|entry| entry["manager"] == "error-budget-gatekeeper");
    assert_eq!(ours.and_then(|entry| entry["fieldsV1"].get("f:spec")), None, "{}", shop.namespace);
}

async fn assert_settings_as_written(shop: &Shop, manifest: &Value) {
    assert_eq!(shop.settings().await, shop.settings_as_written(manifest).await, "{}", shop.namespace);
}

async fn assert_goes_on_as_if_nothing_had_been(tool: Tool<'_>, name: &str) {
    let each = manifests().map(|(kind, spec, others)| async move {
        let (shop, _) = in_a_hold(tool, &format!("after-{name}"), kind, &spec).await;
        shop.applier.release(&shop.facts().await).await.expect("it is released");
        assert_settings_as_written(&shop, &with("web:2", &spec)).await;
        assert_nothing_of_the_spec_is_ours(&shop).await;

        let generation = shop.facts().await.generation;
        tool.apply(&shop, &with("web:2", &spec)).await;
        assert_eq!(shop.facts().await.generation, generation, "{}: the same manifest changes nothing", shop.namespace);
        for manifest in [with("web:2", &others), with("web:2", &json!({}))] {
            tool.apply(&shop, &manifest).await;
            assert_settings_as_written(&shop, &manifest).await;
        }
    });
    join_all(each).await;
}

async fn assert_a_fix_in_the_hold_is_taken_as_written(tool: Tool<'_>, name: &str) {
    let each = manifests().map(|(kind, spec, others)| async move {
        let (shop, stable) = in_a_hold(tool, &format!("in-{name}"), kind, &spec).await;
        let fix = with("web:3", &others);
        tool.apply(&shop, &fix).await;
        let held = until_held(&shop, &stable, 10).await;
        shop.applier.release(&held).await.expect("it is released");
        assert_settings_as_written(&shop, &fix).await;
        assert_nothing_of_the_spec_is_ours(&shop).await;
        let generation = shop.facts().await.generation;
        tool.apply(&shop, &fix).await;
        assert_eq!(shop.facts().await.generation, generation, "{}", shop.namespace);
    });
    join_all(each).await;
}

#[tokio::test]
async fn applied_from_the_clients_side_the_next_manifest_after_a_hold_is_taken_as_written() {
    assert_goes_on_as_if_nothing_had_been(Tool::ClientSide, "client").await;
}

#[tokio::test]
async fn applied_from_the_servers_side_the_next_manifest_after_a_hold_is_taken_as_written() {
    assert_goes_on_as_if_nothing_had_been(Tool::ServerSide, "server").await;
}

#[tokio::test]
async fn applied_by_force_the_next_manifest_after_a_hold_is_taken_as_written() {
    assert_goes_on_as_if_nothing_had_been(Tool::Forced, "forced").await;
}

#[tokio::test]
async fn upgraded_by_helm_the_next_release_after_a_hold_is_taken_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    chart(folder.path());
    assert_goes_on_as_if_nothing_had_been(Tool::Helm(folder.path()), "helm").await;
}

#[tokio::test]
async fn applied_from_the_clients_side_a_fix_in_the_hold_keeps_its_settings() {
    assert_a_fix_in_the_hold_is_taken_as_written(Tool::ClientSide, "client").await;
}

#[tokio::test]
async fn applied_from_the_servers_side_a_fix_in_the_hold_is_not_refused_and_keeps_its_settings() {
    assert_a_fix_in_the_hold_is_taken_as_written(Tool::ServerSide, "server").await;
}

#[tokio::test]
async fn upgraded_by_helm_a_fix_in_the_hold_is_not_refused_and_keeps_its_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    chart(folder.path());
    assert_a_fix_in_the_hold_is_taken_as_written(Tool::Helm(folder.path()), "helm").await;
}

#[tokio::test]
async fn a_rollback_of_a_held_canary_gives_back_what_was_held() {
    let [.., (_, spec, others)] = manifests();
    let (shop, stable) = in_a_hold(Tool::ServerSide, "rolled-back", "canary", &spec).await;
    let facts = shop.facts().await;
    let stable = facts.others.iter().find(|other| other.uid == stable).expect("it is there");
    shop.kubectl(&["annotate", "deployment", NAME, "errorbudget.dev/rollback=tea"]).await;
    shop.roll_back(stable).await;
    assert_settings_as_written(&shop, &with("web:1", &spec)).await;
    assert_nothing_of_the_spec_is_ours(&shop).await;
    assert_eq!(shop.annotation("errorbudget.dev/hold").await, None);
    assert_eq!(shop.annotation("errorbudget.dev/rollback").await, None);
    assert_eq!(shop.until_complete().await.uid, stable.uid);
    let fix = with("web:3", &others);
    Tool::ServerSide.apply(&shop, &fix).await;
    assert_settings_as_written(&shop, &fix).await;
}

#[tokio::test]
async fn where_somebody_took_the_annotation_away_a_release_leaves_kubernetes_defaults_and_no_pause() {
    let [.., (_, spec, _)] = manifests();
    let (shop, _) = in_a_hold(Tool::ClientSide, "lost", "mark", &spec).await;
    shop.kubectl(&["annotate", "deployment", NAME, "errorbudget.dev/hold-"]).await;
    shop.applier.release(&shop.facts().await).await.expect("it is released");
    assert_settings_as_written(&shop, &simple("web:2")).await;
    shop.until_complete().await;
}

#[tokio::test]
async fn what_only_the_hold_let_somebody_write_does_not_stand_in_the_way_of_a_release() {
    let (shop, _) = in_a_hold(Tool::ClientSide, "let", "through", &json!({"minReadySeconds": 1})).await;
    let patch = json!({"spec": {"minReadySeconds": 700}}).to_string();
    shop.kubectl(&["patch", "deployment", NAME, "--patch", &patch]).await;
    shop.applier.release(&shop.facts().await).await.expect("it is released");
    assert_settings_as_written(&shop, &with("web:2", &json!({"minReadySeconds": 1}))).await;
}

#[tokio::test]
async fn what_the_admission_policy_has_noted_in_the_hold_is_there_after_the_release() {
    let [.., (_, spec, others)] = manifests();
    let (shop, _) = in_a_hold(Tool::ServerSide, "noted", "word", &spec).await;
    let notes = [
        format!("errorbudget.dev/own-strategy={}", others["strategy"]),
        format!("errorbudget.dev/own-min-ready-seconds={}", others["minReadySeconds"]),
        format!("errorbudget.dev/own-progress-deadline-seconds={}", others["progressDeadlineSeconds"]),
    ];
    shop.kubectl(&[&["annotate", "deployment", NAME][..], &notes.each_ref().map(String::as_str)].concat()).await;
    shop.applier.release(&shop.facts().await).await.expect("it is released");
    assert_settings_as_written(&shop, &with("web:2", &others)).await;
    assert_eq!(shop.annotation("errorbudget.dev/own-strategy").await, None);
}
