//! Pods that cannot come to be are said within a window, in Kubernetes' own words, and hold the rollout.

use anyhow::Result;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// v1 has four pods, so that a tenth of the traffic is one pod of v2 beside them.
async fn governed(name: &str, service: Service) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let canary = json!({"traffic": "10%", "hold": "10s"});
    let policy = Policy::of("checkout").with("/canary", canary).monitoring("6s");
    let service = service.replicas(4).traffic(10_000.0);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

/// The rollout is halted for this cause with these words, in its status and in an Event, with its one pod and all of the
/// stable ones.
async fn is_halted(world: &World, cause: &str, words: &str) -> Result<()> {
    let halted = world.halts_for("checkout", cause).await?;
    let message = halted.message.unwrap_or_default();
    assert!(message.contains(words) && message.ends_with("; 0 of 1 new pods are Ready"), "{message}");
    let told = world.event("checkout", "Halted").await?;
    assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    assert_eq!(world.shares("checkout").await?, "v1: 4, v2: 1");
    Ok(())
}

/// The canary that did not come to be in its owner's time is gone, and the record says why it did not.
async fn is_rolled_back(world: &World, words: &str) -> Result<()> {
    let rolled_back = world.reaches("checkout", "Recovering").await?;
    let reason = rolled_back.incident.and_then(|incident| incident.reason).unwrap_or_default();
    assert!(reason.contains("the canary's pods are not Ready after 20 s") && reason.contains(words), "{reason}");
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!(world.event("checkout", "RolledBack").await?.len(), 1);
    assert_eq!(world.events("checkout", "BudgetViolation").await?, [""; 0], "nobody was served badly");
    Ok(())
}

#[tokio::test]
async fn a_canary_that_fits_on_no_node_is_halted_and_goes_on_when_there_is_one() -> Result<()> {
    let world = governed("canary-no-node", Service::new("checkout")).await?;
    let picky =
        Release::new("v2").burning(0.3).with("/spec/nodeSelector", json!({"example.com/disk": "canary-no-node"}));
    world.release("checkout", picky).await?;
    is_halted(&world, "CannotRun", "new pods cannot run: Unschedulable: 0/2 nodes are available").await?;

    world.kubectl(&["label", "node", "node-1", "example.com/disk=canary-no-node", "--overwrite"]).await?;
    // The scheduler may wait for minutes before it tries again what did not fit.
    world.reaches_within("checkout", "Succeeded", PATIENCE * 3).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    let resumed = world.event("checkout", "Resumed").await?;
    assert!(resumed.len() == 1 && resumed[0].starts_with("goes on after CannotRun: "), "{resumed:?}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_is_too_big_for_every_node_is_halted_and_rolled_back_after_its_owners_deadline() -> Result<()> {
    let world = governed("canary-too-big", Service::new("checkout").with("progressDeadlineSeconds", 20)).await?;
    let big = json!({"requests": {"cpu": "20k"}});
    world.release("checkout", Release::new("v2").with("/spec/containers/0/resources", big)).await?;
    is_halted(&world, "CannotRun", "Insufficient cpu").await?;
    is_rolled_back(&world, "Insufficient cpu").await
}

#[tokio::test]
async fn a_canary_whose_image_cannot_be_pulled_is_halted_until_another_template_comes() -> Result<()> {
    let world = governed("canary-no-image", Service::new("checkout")).await?;
    let why = "Back-off pulling image \"checkout:v2\"";
    world.release("checkout", Release::new("v2").waiting("ImagePullBackOff", why)).await?;
    is_halted(&world, "CannotRun", &format!("new pods cannot run: ImagePullBackOff: {why}")).await?;
    world.looks_go_by(3).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Halted");

    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 4/4").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 1);
    assert_eq!(world.history.rollbacks("checkout"), 0);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_crashes_again_and_again_is_halted_and_rolled_back_after_its_owners_deadline() -> Result<()> {
    let world = governed("canary-crashes", Service::new("checkout").with("progressDeadlineSeconds", 20)).await?;
    let why = "back-off 40s restarting failed container=app";
    world.release("checkout", Release::new("v2").waiting("CrashLoopBackOff", why)).await?;
    is_halted(&world, "CanaryUnstable", &format!("new pods crash: CrashLoopBackOff: {why}")).await?;
    is_rolled_back(&world, why).await
}

#[tokio::test]
async fn without_a_canary_what_cannot_run_is_halted_when_kubernetes_gives_up_waiting() -> Result<()> {
    let world = World::start(WorldOptions::named("promoting-no-image")).await?;
    let service = Service::new("checkout").replicas(4).with("progressDeadlineSeconds", 10);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout")).await?;
    let why = "Back-off pulling image \"checkout:v2\"";
    world.release("checkout", Release::new("v2").waiting("ErrImagePull", why)).await?;
    is_halted(&world, "CannotRun", &format!("new pods cannot run: ErrImagePull: {why}")).await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"], "which its code could not be blamed for");
    Ok(())
}
