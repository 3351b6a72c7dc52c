//! A release that violates the budget when there is nothing to go back to.

use anyhow::Result;
use serde_json::json;

use crate::world::{Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn a_first_revision_that_burns_is_halted_and_the_lack_of_another_is_said_at_its_start() -> Result<()> {
    let world = World::start(WorldOptions::named("first-revision")).await?;
    let policy = Policy::of("checkout").monitoring("6s");
    world.govern(policy).await?;
    let service = Service::new("checkout").replicas(3);
    // On two nodes the third pod finds no place, so that the rollout stays incomplete and a halt means something.
    let place = json!([{"containerPort": 8080, "hostPort": 8080}]);
    world
        .begin(service, Release::new("v1").burning(100.0), |manifest| {
            manifest["spec"]["template"]["spec"]["containers"][0]["ports"] = place;
        })
        .await?;

    let at_start = world.event("checkout", "NoRollbackTarget").await?;
    assert_eq!(at_start.len(), 1, "{at_start:?}");
    assert!(at_start[0].contains("there is no earlier revision to go back to"), "{at_start:?}");
    let halted = world.reaches("checkout", "Halted").await?;
    assert_eq!(halted.reason.as_deref(), Some("NoRollbackTarget"));
    let message = halted.message.unwrap_or_default();
    assert!(
        message.contains(" errors in ") && message.ends_with("there is no earlier revision to go back to"),
        "{message}"
    );
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].starts_with("burn rate "), "{violation:?}");
    assert_eq!(world.event("checkout", "Halted").await?.len(), 1);
    assert!(world.deployment("checkout").await?.paused);
    world.looks_go_by(3).await?;
    world.pods_are("checkout", "v1: 2/3").await?;

    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.newest.and_then(|newest| newest.revision), Some(2));
    world.pods_are("checkout", "v1: 0/0, v2: 3/3").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    assert_eq!(world.deployment("checkout").await?.hold, None);
    Ok(())
}

#[tokio::test]
async fn without_a_history_nothing_is_rolled_back_after_completion_and_that_is_said_at_the_start() -> Result<()> {
    let world = World::start(WorldOptions::named("no-history")).await?;
    let service = Service::new("checkout").replicas(4).with("revisionHistoryLimit", 0);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout").monitoring("60s")).await?;

    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let at_start = world.event("checkout", "NoRollbackTarget").await?;
    assert_eq!(at_start.len(), 1, "{at_start:?}");
    assert!(at_start[0].contains("revisionHistoryLimit"), "{at_start:?}");
    world.reaches("checkout", "Monitoring").await?;
    world.pods_are("checkout", "v2: 4/4").await?;
    world.outage("checkout", Some(100.0));
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].starts_with("burn rate ") && violation[0].contains(" errors in "), "{violation:?}");
    let stopped = world.is_because("checkout", "NoRollbackTarget").await?;
    assert_eq!(stopped.phase, "Monitoring");
    assert!(stopped.clock_stopped.is_some(), "it does not succeed meanwhile: {stopped:?}");

    world.outage("checkout", None);
    let resumed = world.event("checkout", "Resumed").await?;
    assert!(resumed[0].starts_with("goes on after NoRollbackTarget: "), "{resumed:?}");
    world.reaches("checkout", "Succeeded").await?;
    assert_eq!(violation.len(), world.events("checkout", "BudgetViolation").await?.len(), "said once");
    world.pods_are("checkout", "v2: 4/4").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}
