//! A canary in a Deployment that an autoscaler scales.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Api, ListParams};
use serde_json::json;
use workload::load::{Load, Plan};

use crate::ground::Ground;
use crate::metrics_api::MetricsApi;
use crate::policy::Policy;
use crate::shop::{End, Release, Service, Shop};

pub(super) async fn an_autoscaler_that_follows_the_load_scales_the_stable_pods_while_a_canary_is_held(
    ground: &Ground,
) -> Result<()> {
    let _metrics = MetricsApi::start(ground).await?;
    let shop = Shop::open(ground, "autoscaled", Service::small()).await?;
    let busy = |version| Release::new(version).with("WORK", "2ms");
    shop.release(&busy("v1")).await?;
    let rolled_out = format!("kubectl rollout status deployment/checkout -n {} --timeout 4m", shop.namespace);
    ground.shell(&rolled_out).await?;
    shop.govern(&Policy::quick().with("canary", json!({"hold": "90s"}))).await?;
    // 50 requests a second of 2 ms are 25m of each of four pods: one more pod and it is calm.
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "35m"}}});
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "checkout", "namespace": shop.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "minReplicas": 4, "maxReplicas": 8, "metrics": [metric],
        },
    });
    ground.apply(&autoscaler.to_string()).await?;

    shop.release(&busy("v2")).await?;
    shop.is_so("the canary is held", |rollout| {
        rollout.canary.as_ref().is_some_and(|canary| canary.held_since.is_some())
    })
    .await?;
    let more = Load::start(Plan { target: shop.target(), rate: 100.0, timeout: Duration::from_secs(3) });
    let mut wanted = 0;
    ground
        .eventually("the autoscaler has scaled up", async || {
            wanted = shop.deployment().await?.spec.unwrap_or_default().replicas.unwrap_or(0);
            Ok(wanted >= 6)
        })
        .await?;
    ground
        .eventually("the stable pods are scaled and the canary is what it was", async || {
            let wanted = shop.deployment().await?.spec.unwrap_or_default().replicas.unwrap_or(0);
            let pods = pods(ground, &shop).await?;
            ensure!(pods == (wanted, 1), "of {wanted} there are {pods:?}");
            Ok(true)
        })
        .await?;
    let phase = shop.rollout().await?.phase;
    ensure!(phase == "Canary", "it is {phase}");
    drop(more);
    shop.ends(End::Promoted).await?;
    ground.note(|measured| {
        measured.fact(format!(
            "an autoscaler took a Deployment from 4 to {wanted} replicas in mid-canary: 1 canary pod all along"
        ));
    });
    shop.close().await
}

/// How many pods of v1 and of v2 are Ready.
async fn pods(ground: &Ground, shop: &Shop<'_>) -> Result<(i32, i32)> {
    let sets: Api<ReplicaSet> = Api::namespaced(ground.client(), &shop.namespace);
    let mut ready = (0, 0);
    for set in sets.list(&ListParams::default()).await? {
        let spec = set.spec.and_then(|spec| spec.template?.spec).context("a ReplicaSet without a template")?;
        let variables = spec.containers.into_iter().flat_map(|container| container.env.unwrap_or_default());
        let version =
            variables.into_iter().find(|variable| variable.name == "VERSION").and_then(|variable| variable.value);
        let count = set.status.and_then(|status| status.ready_replicas).unwrap_or(0);
        match version.as_deref() {
            Some("v2") => ready.1 += count,
            _ => ready.0 += count,
        }
    }
    Ok(ready)
}
