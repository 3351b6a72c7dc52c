//! Releases to a Deployment that an autoscaler scales, by its request rate, in the middle of a canary.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use workload::load::{Load, Plan};

use crate::ground::Ground;
use crate::metrics_api::REQUEST_RATE;
use crate::policy::Policy;
use crate::responses::Loss;
use crate::shop::{End, Release, Service, Shop};

/// The autoscaler keeps the Deployment between these, with 10 requests a second for each pod.
const REPLICAS: (u32, u32) = (4, 8);
/// Requests a second at first: too few for a fifth pod, whatever a busy machine makes of them.
const CALM: f64 = 30.0;
/// And so many more later: enough for twelve pods.
const MORE: f64 = 90.0;
/// Longer than any scenario: a canary is held until the policy says otherwise.
const HELD: &str = "30m";

pub(super) async fn a_good_release_is_promoted_although_an_autoscaler_doubles_its_pods_in_mid_canary(
    ground: &Ground,
) -> Result<()> {
    let shop = open(ground, "autoscaled").await?;
    shop.govern(&Policy::quick().with("canary", json!({"hold": HELD}))).await?;
    let began = shop.release(&Release::new("v2")).await?;
    canary_is(&shop, "20.0%").await?;
    pods_are(ground, &shop, (4, 1)).await?;

    let more = more_load(&shop);
    let raised = Timestamp::now();
    pods_are(ground, &shop, (8, 1)).await?;
    let scaled = Timestamp::now().duration_since(raised).as_secs();
    canary_is(&shop, "11.1%").await?;

    // It goes on by itself as soon as it was held long enough.
    ground.apply(&Policy::quick().manifest(&shop.namespace)).await?;
    let told = shop.ends(End::Promoted).await?;
    pods_are(ground, &shop, (0, 8)).await?;
    let events = shop.events().await?;
    for never in ["Halted", "BudgetViolation", "RolledBack"] {
        ensure!(!events.contains(never), "{never} of a good release:\n{told}\n{events}");
    }
    only_grew(ground, &shop).await?;
    let (lost, also_lost) = (shop.lost_since(began), Loss::of(&more.responses(), began, Timestamp::now()));
    ground.note(|measured| {
        measured.fact(format!(
            "an autoscaler took a Deployment from 4 to 8 pods in mid-canary, {scaled} s after the load rose: still 1 canary \
             pod, promoted, users lost {} of {} requests",
            lost.bad + also_lost.bad,
            lost.requests + also_lost.requests
        ));
    });

    drop(more);
    ground.apply(&autoscaler(&shop.namespace, json!({"stabilizationWindowSeconds": 0}))).await?;
    pods_are(ground, &shop, (0, 4)).await?;
    shop.close().await
}

pub(super) async fn a_bad_release_is_rolled_back_after_an_autoscaler_doubled_its_pods_in_mid_canary(
    ground: &Ground,
) -> Result<()> {
    let shop = open(ground, "autoscaled-bad").await?;
    // What new pods serve at first is left out: so that the autoscaler is sooner, for ten minutes.
    let unjudged = Policy::quick()
        .with("canary", json!({"hold": HELD}))
        .with("monitor", json!({"timeout": HELD}))
        .with("detection", json!({"window": "10s", "looks": 2, "warmup": "10m"}));
    shop.govern(&unjudged).await?;
    let bad = Release::new("v2").with("ERROR_RATIO", "0.2");
    shop.release(&bad).await?;
    canary_is(&shop, "20.0%").await?;
    let more = more_load(&shop);
    pods_are(ground, &shop, (8, 1)).await?;
    canary_is(&shop, "11.1%").await?;

    ground.apply(&Policy::quick().with("canary", json!({"hold": HELD})).manifest(&shop.namespace)).await?;
    let judged = Timestamp::now();
    shop.ends(End::RolledBack).await?;
    pods_are(ground, &shop, (8, 0)).await?;
    let events = shop.events().await?;
    ensure!(events.matches("RolledBack").count() == 1, "rolled back more than once:\n{events}");
    only_grew(ground, &shop).await?;
    let decided = shop.rollout().await?.incident.and_then(|incident| incident.decided).context("no incident")?;
    ground.note(|measured| {
        measured.fact(format!(
            "an autoscaler took a Deployment from 4 to 8 pods in a bad canary: decided to roll back {} s after it was judged, \
             and the autoscaler's 8 are v1",
            decided.0.duration_since(judged).as_secs()
        ));
    });
    drop(more);
    shop.close().await
}

/// A service with little load, and an autoscaler for it that has seen it.
async fn open<'ground>(ground: &'ground Ground, namespace: &str) -> Result<Shop<'ground>> {
    ground.metrics_api().await?;
    let shop = Shop::open(ground, namespace, Service { rate: CALM, ..Service::small() }).await?;
    ground.apply(&autoscaler(namespace, json!({}))).await?;
    let active = format!("kubectl wait --for=condition=ScalingActive hpa/checkout -n {namespace} --timeout 4m");
    ground.shell(&active).await?;
    Ok(shop)
}

/// It gives pods up slowly, unless `down` says otherwise.
fn autoscaler(namespace: &str, down: Value) -> String {
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "checkout", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "minReplicas": REPLICAS.0,
            "maxReplicas": REPLICAS.1,
            "metrics": [{"type": "External", "external": {"metric": {"name": REQUEST_RATE}, "target": target}}],
            "behavior": {"scaleDown": down},
        },
    })
    .to_string()
}

fn more_load(shop: &Shop<'_>) -> Load {
    Load::start(Plan { target: shop.target(), rate: MORE, timeout: Duration::from_secs(3) })
}

/// Waits until the canary is held as one pod, which is this share.
async fn canary_is(shop: &Shop<'_>, share: &str) -> Result<()> {
    let what = format!("a canary of {share} is held");
    let held = shop.is_so(&what, |rollout| {
        rollout.phase == "Canary"
            && rollout.canary.as_ref().is_some_and(|canary| {
                canary.held_since.is_some() && canary.pods == Some(1) && canary.share.as_deref() == Some(share)
            })
    });
    held.await.map(drop)
}

/// Waits until so many pods of v1 and of v2 are Ready, and the autoscaler and the Deployment want no others.
async fn pods_are(ground: &Ground, shop: &Shop<'_>, expected: (i32, i32)) -> Result<()> {
    let scaled = if expected.0 == 0 { expected.1 } else { expected.0 };
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(ground.client(), &shop.namespace);
    ground
        .eventually(&format!("pods of v1 and v2 in {} are {expected:?}", shop.namespace), async || {
            let found = pods(ground, shop).await?;
            let replicas = shop.deployment().await?.spec.unwrap_or_default().replicas;
            let wanted = autoscalers.get("checkout").await?.status.unwrap_or_default().desired_replicas;
            ensure!(
                (found, replicas, wanted) == (expected, Some(scaled), scaled),
                "there are {found:?} of {replicas:?}, the autoscaler wants {wanted}"
            );
            Ok(true)
        })
        .await
}

/// How many pods of v1 and of v2 are Ready.
async fn pods(ground: &Ground, shop: &Shop<'_>) -> Result<(i32, i32)> {
    let sets: Api<ReplicaSet> = Api::namespaced(ground.client(), &shop.namespace);
    let mut ready = (0, 0);
    for set in sets.list(&ListParams::default()).await? {
        let template = set.spec.unwrap_or_default().template.unwrap_or_default();
        let containers = template.spec.context("a ReplicaSet without a template")?.containers;
        let mut variables = containers.into_iter().flat_map(|container| container.env.unwrap_or_default());
        let version = variables.find(|variable| variable.name == "VERSION").and_then(|variable| variable.value);
        let count = set.status.unwrap_or_default().ready_replicas.unwrap_or(0);
        match version.as_deref() {
            Some("v2") => ready.1 += count,
            _ => ready.0 += count,
        }
    }
    Ok(ready)
}

/// Nobody undid what the autoscaler did: each size that it set was larger than the one before, and set once.
async fn only_grew(ground: &Ground, shop: &Shop<'_>) -> Result<()> {
    let of = "--field-selector involvedObject.kind=HorizontalPodAutoscaler,reason=SuccessfulRescale";
    let columns = "custom-columns=COUNT:.count,MESSAGE:.message --no-headers --sort-by=.metadata.creationTimestamp";
    let told = ground.shell(&format!("kubectl get events -n {} {of} -o {columns}", shop.namespace)).await?;
    let sizes: Option<Vec<u32>> = told
        .lines()
        .map(|line| {
            let (size, _) = line.split_once("New size: ")?.1.split_once(';')?;
            line.starts_with("1 ").then_some(size.parse().ok()?)
        })
        .collect();
    let sizes = sizes.with_context(|| format!("set more than once:\n{told}"))?;
    ensure!(sizes.is_sorted_by(|one, next| one < next) && sizes.last() == Some(&REPLICAS.1), "it went:\n{told}");
    Ok(())
}
