//! A canary is one whatever Kubernetes keeps of earlier revisions, and however little time its owner gives new pods.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// A tenth of the traffic is one pod beside four. It is held until a scenario says otherwise.
async fn governed(name: &str, service: Service) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let canary = json!({"traffic": "10%", "hold": "1h"});
    let policy = Policy::of("checkout").with("/canary", canary).monitoring("6s");
    let service = service.replicas(4).traffic(10_000.0);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

async fn hold_for(world: &World, hold: &str) -> Result<()> {
    world.patch_policy("checkout", json!({"spec": {"canary": {"hold": hold}}})).await
}

#[tokio::test]
async fn without_a_history_a_bad_canary_is_rolled_back_and_remembered() -> Result<()> {
    let world = governed("canary-no-history", Service::new("checkout").with("revisionHistoryLimit", 0)).await?;
    let bad = Release::new("v2").burning(200.0);
    world.release("checkout", bad.clone()).await?;
    world.reaches("checkout", "RolledBack").await?;
    let said = world.event("checkout", "NoRollbackTarget").await?;
    assert!(said[0].contains("revisionHistoryLimit is 0"), "{said:?}");
    world.pods_are("checkout", "v1: 4/4").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 1);

    // The ReplicaSet that bore the mark is gone.
    world.release("checkout", bad).await?;
    world.reaches("checkout", "Rejected").await?;
    world.is_observed("checkout").await?;
    assert_eq!(world.shares("checkout").await?, "v1: 4");

    hold_for(&world, "10s").await?;
    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v3: 4/4").await?;
    assert_eq!(world.history.pods_while_held("checkout", "v3", "v1"), (1, 4), "{}", world.history);
    assert_eq!(world.history.rollbacks("checkout"), 1);
    Ok(())
}

#[tokio::test]
async fn with_a_history_of_one_a_bad_canary_goes_back_to_the_last_good_revision() -> Result<()> {
    let world = governed("canary-one-history", Service::new("checkout").with("revisionHistoryLimit", 1)).await?;
    hold_for(&world, "10s").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    world.release("checkout", Release::new("v3").burning(200.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    // Of the two without pods the older one is gone.
    world.pods_are("checkout", "v2: 4/4, v3: 0/0").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v3"), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v3", "v2"]);
    assert_eq!(world.events("checkout", "NoRollbackTarget").await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_template_that_was_pushed_before_and_never_succeeded_is_a_canary_again() -> Result<()> {
    let world = governed("canary-earlier", Service::new("checkout")).await?;
    let earlier = Release::new("v2").burning(0.3);
    world.release("checkout", earlier.clone()).await?;
    world.pods_are("checkout", "v1: 4/4, v2: 1/1").await?;
    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0, v3: 1/1").await?;
    hold_for(&world, "10s").await?;
    world.reaches("checkout", "Succeeded").await?;
    hold_for(&world, "1h").await?;

    world.release("checkout", earlier).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 1/1, v3: 4/4").await?;
    world.looks_go_by(2).await?;
    world.is_observed("checkout").await?;
    assert_eq!(world.pods("checkout").await?, "v1: 0/0, v2: 1/1, v3: 4/4");
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 1, "{}", world.history);
    assert_eq!(world.replica_sets("checkout").await?.len(), 3, "it has its ReplicaSet again");
    hold_for(&world, "10s").await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(4));
    world.pods_are("checkout", "v1: 0/0, v2: 4/4, v3: 0/0").await
}

#[tokio::test]
async fn what_goes_back_to_a_revision_that_succeeded_is_not_held_as_a_canary() -> Result<()> {
    let world = governed("canary-undone", Service::new("checkout")).await?;
    hold_for(&world, "10s").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Succeeded").await?;
    hold_for(&world, "1h").await?;
    world.kubectl(&["rollout", "undo", "deployment/checkout"]).await?;
    world.reaches("checkout", "Promoting").await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(3));
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    let started = world.events_of("checkout", "RolloutStarted", 2).await?;
    assert!(started[1].ends_with("revision 2 is the one to go back to"), "{started:?}");
    assert_eq!(world.event("checkout", "CanaryStarted").await?.len(), 1, "v2 alone was one");
    assert_eq!(world.history.rollbacks("checkout"), 0);
    Ok(())
}

/// Shorter than the canary is held, and long enough for pods on a machine that is busy.
const DEADLINE: u32 = 25;

#[tokio::test]
async fn a_canary_that_is_held_for_longer_than_its_owners_deadline_is_not_late() -> Result<()> {
    let service = Service::new("checkout").with("progressDeadlineSeconds", DEADLINE).with("minReadySeconds", 2);
    let world = governed("canary-deadline", service).await?;
    let before = world.settings("checkout").await?;
    hold_for(&world, "40s").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    assert_eq!(world.settings("checkout").await?, before);
    assert_eq!(world.events("checkout", "Halted").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    Ok(())
}

#[tokio::test]
async fn a_canary_pod_that_is_wanted_after_its_owners_deadline_is_not_late_either() -> Result<()> {
    let service = Service::new("checkout").with("progressDeadlineSeconds", DEADLINE);
    let world = governed("canary-late-pod", service).await?;
    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::from_secs(4))).await?;
    world.pods_are("checkout", "v1: 4/4, v2: 1/1").await?;
    let held = world
        .is_told("checkout", "is held", PATIENCE, |rollout| {
            rollout.canary.as_ref().is_some_and(|canary| canary.held_since.is_some())
        })
        .await?;
    let since = held.canary.and_then(|canary| canary.held_since).expect("it was so").0;
    world
        .eventually("the deadline has passed", PATIENCE, async || {
            Ok(jiff::Timestamp::now().duration_since(since).as_secs() > i64::from(DEADLINE))
        })
        .await?;
    world.kubectl(&["scale", "deployment/checkout", "--replicas=10"]).await?;
    world.pods_are("checkout", "v1: 10/10, v2: 2/2").await?;
    world.looks_go_by(2).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Canary");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    Ok(())
}

#[tokio::test]
async fn however_short_its_owners_deadline_is_a_canary_has_just_that_long_and_the_deadline_is_as_it_was() -> Result<()>
{
    let service = Service::new("checkout").with("progressDeadlineSeconds", 2).with("minReadySeconds", 1);
    let world = governed("canary-tiny-deadline", service).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").never_ready()).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.reason.as_deref(), Some("ProgressDeadlineExceeded"));
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    assert_eq!(world.settings("checkout").await?, before);
    assert!(world.history.most_pods_of("checkout", "v2") <= 1, "{}", world.history);
    Ok(())
}
