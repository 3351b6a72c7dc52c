//! Parts of the installation are killed in mid-rollout.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::ground::{Ground, OPERATOR};
use crate::policy::Policy;
use crate::shop::{End, Release, Service, Shop};

pub(super) async fn a_bad_release_is_rolled_back_although_the_leading_operator_is_killed(
    ground: &Ground,
) -> Result<()> {
    let shop = Shop::open(ground, "leader-killed", Service::small()).await?;
    shop.govern(&Policy::quick()).await?;
    shop.release(&Release::new("v2").with("ERROR_RATIO", "0.5")).await?;
    shop.is_so("the canary is there", |rollout| rollout.phase == "Canary").await?;
    let leader = leader(ground).await?;
    let killed = Instant::now();
    ground.shell(&format!("kubectl delete pod {leader} -n {OPERATOR} --grace-period=0 --force")).await?;

    shop.ends(End::RolledBack).await?;
    let events = shop.events().await?;
    ensure!(events.matches("RolledBack").count() == 1, "rolled back more than once:\n{events}");
    let next = self::leader(ground).await?;
    ensure!(next != leader, "{leader} leads again");
    ground.note(|measured| {
        measured.fact(format!(
            "the leading operator killed in a bad canary: rolled back and recovered {} s after that, by the other one",
            killed.elapsed().as_secs()
        ));
    });
    shop.close().await?;
    ready(ground).await
}

pub(super) async fn a_bad_release_is_rolled_back_although_prometheus_lost_its_pod_and_its_data(
    ground: &Ground,
) -> Result<()> {
    let shop = Shop::open(ground, "prometheus-killed", Service::small()).await?;
    shop.govern(&Policy::quick().with("canary", json!({"hold": "60s"}))).await?;
    shop.release(&Release::new("v2").with("ERROR_RATIO", "0.5")).await?;
    shop.is_so("the canary is there", |rollout| rollout.phase == "Canary").await?;
    ground.shell("kubectl delete pods -n monitoring -l app=prometheus-server --grace-period=0 --force").await?;
    shop.ends(End::RolledBack).await?;
    shop.close().await
}

pub(super) async fn a_good_release_is_promoted_although_a_node_is_drained(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "drained", Service::small()).await?;
    shop.govern(&Policy::quick()).await?;
    shop.release(&Release::new("v2")).await?;
    shop.is_so("the canary is there", |rollout| rollout.phase == "Canary").await?;
    // Prometheus keeps its samples in its pod: it is not on the node that is drained.
    let nodes = ground.shell("kubectl get nodes -o name").await?;
    let home = "kubectl get pods -n monitoring -l app=prometheus-server -o jsonpath={.items[0].spec.nodeName}";
    let home = ground.shell(home).await?;
    let node = nodes.lines().find(|node| *node != format!("node/{home}")).context("there is one node only")?;
    ground
        .shell(&format!("kubectl drain {node} --ignore-daemonsets --delete-emptydir-data --force --timeout=4m"))
        .await?;
    let ended = shop.ends(End::Promoted).await;
    ground.shell(&format!("kubectl uncordon {node}")).await?;
    ended?;
    let events = shop.events().await?;
    ensure!(!events.contains("RolledBack"), "{events}");
    shop.close().await?;
    ready(ground).await
}

/// The pod that holds the Lease.
async fn leader(ground: &Ground) -> Result<String> {
    let holder = format!("kubectl get lease {OPERATOR} -n {OPERATOR} -o jsonpath={{.spec.holderIdentity}}");
    let holder = ground.shell(&holder).await?;
    let pods = ground.shell(&format!("kubectl get pods -n {OPERATOR} -o jsonpath={{.items[*].metadata.name}}")).await?;
    let leader = pods.split(' ').find(|pod| holder.starts_with(*pod));
    leader.map(str::to_owned).with_context(|| format!("{holder:?} is none of {pods}"))
}

/// Both pods of the operator are there again.
async fn ready(ground: &Ground) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(500)).await;
    ground.shell(&format!("kubectl rollout status deployment/{OPERATOR} -n {OPERATOR} --timeout 4m")).await.map(drop)
}
