//! The chart is upgraded and taken away in mid-rollout.

use anyhow::{Result, ensure};
use serde_json::json;

use super::document::{self, Section};
use crate::ground::{Ground, OPERATOR};
use crate::policy::Policy;
use crate::shop::{End, Release, Service, Shop};

pub(super) async fn an_upgrade_of_the_operator_in_mid_rollout_changes_nothing_of_it(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "upgrade", Service::small()).await?;
    shop.govern(&Policy::quick()).await?;
    shop.release(&Release::new("v2")).await?;
    shop.is_so("the canary is there", |rollout| rollout.phase == "Canary").await?;
    let before = pods(ground).await?;
    let chart = "charts/error-budget-gatekeeper";
    ground
        .shell(&format!(
            "helm upgrade {OPERATOR} {chart} --namespace {OPERATOR} --reuse-values --set log.level=debug --wait"
        ))
        .await?;
    ensure!(pods(ground).await?.lines().all(|pod| !before.contains(pod)), "the pods are the old ones");
    shop.ends(End::Promoted).await?;
    let events = shop.events().await?;
    ensure!(events.matches("CanaryStarted").count() == 1, "the canary began anew:\n{events}");
    shop.close().await
}

pub(super) async fn an_uninstallation_in_mid_rollout_gives_the_deployment_back_to_its_owner(
    ground: &Ground,
) -> Result<()> {
    let shop = Shop::open(ground, "uninstalled", Service::small()).await?;
    shop.govern(&Policy::quick().with("canary", json!({"hold": "10m"}))).await?;
    let owners = shop.deployment().await?.spec.unwrap_or_default();
    shop.release(&Release::new("v2")).await?;
    shop.is_so("the canary is held", |rollout| {
        rollout.canary.as_ref().is_some_and(|canary| canary.held_since.is_some())
    })
    .await?;
    let held = shop.deployment().await?;
    ensure!(held.spec.is_some_and(|spec| spec.paused == Some(true)), "it is not held");

    document::run(ground, Section::Uninstall).await?;
    let rolled_on = format!("kubectl rollout status deployment/checkout -n {} --timeout 4m", shop.namespace);
    ground.shell(&rolled_on).await?;
    let after = shop.deployment().await?;
    let spec = after.spec.clone().unwrap_or_default();
    ensure!(spec.paused.is_none_or(|paused| !paused), "it is still paused");
    ensure!(
        (spec.strategy, spec.min_ready_seconds.unwrap_or(0), spec.progress_deadline_seconds)
            == (owners.strategy, owners.min_ready_seconds.unwrap_or(0), owners.progress_deadline_seconds),
        "its owner's settings are not back"
    );
    let annotations = after.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key("errorbudget.dev/hold"), "the mark of the hold is still there");
    let left = ground.shell(&format!("kubectl get pods,jobs,deployments -n {OPERATOR} -o name")).await?;
    ensure!(left.lines().all(|object| !object.contains(OPERATOR) || object.contains("pod/")), "left behind: {left}");
    shop.close().await
}

async fn pods(ground: &Ground) -> Result<String> {
    ground.shell(&format!("kubectl get pods -n {OPERATOR} -o name --field-selector status.phase=Running")).await
}
