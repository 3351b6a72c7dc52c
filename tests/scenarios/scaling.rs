//! What is a rollout and what is none.

use std::time::Duration;

use anyhow::Result;
use gatekeeper::api::status::RolloutStatus;
use serde_json::json;
use testbed::fault_proxy::Fault;

use crate::world::{Policy, Release, Service, World, WorldOptions};

/// By hand.
async fn scale(world: &World, replicas: u32) -> Result<()> {
    world.kubectl(&["scale", "deployment", "checkout", &format!("--replicas={replicas}")]).await?;
    Ok(())
}

/// As a HorizontalPodAutoscaler does it.
async fn autoscale(world: &World, replicas: u32) -> Result<()> {
    let patch = json!({"spec": {"replicas": replicas}}).to_string();
    let subresource = ["--subresource=scale", "--type=merge", "--patch", &patch];
    world.kubectl(&[&["patch", "deployment", "checkout"][..], &subresource].concat()).await?;
    Ok(())
}

#[tokio::test]
async fn neither_scaling_nor_labels_nor_annotations_are_a_rollout() -> Result<()> {
    let world = World::start(WorldOptions::named("scaling")).await?;
    world.governed(Service::new("checkout").replicas(6), Release::new("v1"), Policy::of("checkout")).await?;
    // While nothing is rolled out.
    autoscale(&world, 8).await?;
    world.pods_are("checkout", "v1: 8/8").await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Succeeded");

    world.release("checkout", Release::new("v2")).await?;
    let begun = world.reaches("checkout", "Promoting").await?;
    scale(&world, 10).await?;
    world.kubectl(&["label", "deployment", "checkout", "team=blue"]).await?;
    world.kubectl(&["annotate", "deployment", "checkout", "example.com/ticket=4711"]).await?;
    world.looks_go_by(1).await?;
    autoscale(&world, 7).await?;
    let monitored = world.reaches("checkout", "Monitoring").await?;
    autoscale(&world, 9).await?;
    world.looks_go_by(1).await?;
    scale(&world, 5).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;

    let template = |rollout: &RolloutStatus| rollout.newest.as_ref().map(|newest| newest.template.clone());
    for later in [&monitored, &succeeded] {
        assert_eq!((&later.started, template(later)), (&begun.started, template(&begun)));
    }
    assert_eq!(succeeded.newest.and_then(|newest| newest.revision), Some(2));
    world.pods_are("checkout", "v1: 0/0, v2: 5/5").await?;
    assert_eq!(world.event("checkout", "RolloutStarted").await?.len(), 1);
    assert_eq!(world.event("checkout", "Promoted").await?.len(), 1);
    for reason in ["Halted", "Resumed", "EvidenceMissing", "BudgetViolation", "RolledBack"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    // Created, released, let in, scaled five times, annotated (which counts here): nobody else wrote it.
    assert_eq!(world.deployment("checkout").await?.generation, 9);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_rollout_that_is_scaled_while_it_is_halted_stays_so_and_then_goes_on() -> Result<()> {
    let world = World::start(WorldOptions::named("scaled-halted")).await?;
    let policy = Policy::of("checkout").monitoring("6s");
    world.governed(Service::new("checkout").replicas(4), Release::new("v1"), policy).await?;
    world.proxy.set(Fault::Cut);
    world.release("checkout", Release::new("v2").ready_after(Duration::from_secs(8))).await?;
    let halted = world.reaches("checkout", "Halted").await?;

    autoscale(&world, 8).await?;
    world
        .eventually("both revisions are scaled", crate::world::PATIENCE, async || {
            let sets = world.replica_sets("checkout").await?;
            // Kubernetes spreads them, with the one that may come on top.
            Ok(sets.iter().map(|set| set.ready).sum::<i32>() == 9 && sets.iter().all(|set| set.desired > 0))
        })
        .await?;
    world.looks_go_by(2).await?;
    let scaled = world.rollout("checkout").await?;
    assert_eq!((&scaled.phase, &scaled.started, &scaled.since), (&halted.phase, &halted.started, &halted.since));
    assert!(world.deployment("checkout").await?.paused);

    world.proxy.set(Fault::Pass);
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 8/8").await?;
    assert_eq!(world.event("checkout", "RolloutStarted").await?.len(), 1);
    assert_eq!(world.event("checkout", "EvidenceMissing").await?.len(), 1);
    assert_eq!(world.event("checkout", "Resumed").await?.len(), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_bad_release_that_is_scaled_meanwhile_is_rolled_back_at_its_new_size() -> Result<()> {
    let world = World::start(WorldOptions::named("scaled-bad")).await?;
    world.governed(Service::new("checkout").replicas(6), Release::new("v1"), Policy::of("checkout")).await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "Promoting").await?;
    autoscale(&world, 9).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;

    assert_eq!(rolled_back.newest.and_then(|newest| newest.revision), Some(1));
    world.pods_are("checkout", "v1: 9/9, v2: 0/0").await?;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation.len() == 1 && violation[0].contains(" 6 s) exceeds 1.0x; "), "{violation:?}");
    assert_eq!(world.event("checkout", "RolledBack").await?.len(), 1);
    assert_eq!(world.event("checkout", "Recovered").await?.len(), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!(world.history.rollbacks("checkout"), 1);
    Ok(())
}

#[tokio::test]
async fn a_restart_is_a_rollout() -> Result<()> {
    let world = World::start(WorldOptions::named("restart")).await?;
    let policy = Policy::of("checkout").monitoring("6s");
    world.governed(Service::new("checkout").replicas(4), Release::new("v1"), policy).await?;
    world.kubectl(&["rollout", "restart", "deployment", "checkout"]).await?;

    world.reaches("checkout", "Promoting").await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.newest.as_ref().and_then(|newest| newest.revision), Some(2));
    assert_eq!(succeeded.stable, succeeded.newest);
    world.pods_are("checkout", "v1: 0/0, v1: 4/4").await?;
    let started = world.event("checkout", "RolloutStarted").await?;
    assert!(started.len() == 1 && started[0].ends_with("revision 1 is the one to go back to"), "{started:?}");
    assert_eq!(world.event("checkout", "Promoted").await?.len(), 1);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}
