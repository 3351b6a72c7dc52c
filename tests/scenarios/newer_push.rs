//! Somebody pushes while the operator is busy with what was pushed before.

use std::time::Duration;

use anyhow::Result;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn a_push_during_analysis_starts_over_and_goes_back_to_the_last_good_one() -> Result<()> {
    let world = World::start(WorldOptions::named("newer-push")).await?;
    let stable = Release::new("v1").burning(0.3);
    world.governed(Service::new("checkout").replicas(6), stable, Policy::of("checkout")).await?;

    let late = Release::new("v2").turning_bad(Duration::from_secs(600), 1000.0);
    world.release("checkout", late).await?;
    world
        .eventually("v2 is looked at", PATIENCE, async || {
            Ok(world.rollout("checkout").await?.requests.is_some_and(|requests| requests > 0))
        })
        .await?;
    world.release("checkout", Release::new("v3").burning(100.0)).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;

    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v3", "v1"], "v2 proved nothing");
    world.pods_are("checkout", "v1: 6/6, v2: 0/0, v3: 0/0").await?;
    assert_eq!(world.history.rollbacks("checkout"), 1);
    let incident = rolled_back.incident.unwrap_or_default();
    assert_eq!(incident.condemned.and_then(|condemned| condemned.revision), Some(3));
    assert_eq!(incident.outcome.as_deref(), Some("Recovered"));
    let started = world.events_of("checkout", "RolloutStarted", 2).await?;
    assert_eq!(started.len(), 2, "{started:?}");
    assert!(started.iter().all(|note| note.contains("revision 1 is the one to go back to")), "{started:?}");
    let told = world.event("checkout", "RolledBack").await?;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("rolled back revision 3 to 1 in "), "{told:?}");
    assert!(told[0].contains(" errors in "), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_push_in_the_very_moment_of_the_rollback_is_not_overwritten() -> Result<()> {
    let world = World::start(WorldOptions::named("push-in-rollback").own_path().lease(Duration::from_secs(60))).await?;
    let stable = Release::new("v1").burning(0.3);
    let policy = Policy::of("checkout").monitoring("6s");
    world.governed(Service::new("checkout").replicas(4), stable, policy).await?;

    world.path().takes(Duration::from_secs(2));
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.at_the_moment("v2 is condemned", |history| history.condemned("checkout", "v2")).await?;
    // The patch that rolls back is on its way.
    world.release_at_once("checkout", &Release::new("v3").burning(0.3)).await?;
    world
        .eventually("the rollback met the push", PATIENCE, async || {
            let labels = [("action", "roll_back"), ("outcome", "Conflict")];
            Ok(world.operator().metric("actions_total", &labels).await? == 1.0)
        })
        .await?;
    world.path().takes(Duration::ZERO);
    let succeeded = world.reaches("checkout", "Succeeded").await?;

    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v3"]);
    assert_eq!((world.history.rollbacks("checkout"), succeeded.incident), (0, None), "what was not done is not told");
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 4/4").await?;
    assert_eq!(world.events("checkout", "RolledBack").await?, [""; 0]);
    let started = world.events_of("checkout", "RolloutStarted", 2).await?;
    assert_eq!(started.len(), 2, "{started:?}");
    assert!(started[1].contains("revision 1 is the one to go back to"), "v2 is condemned: {started:?}");
    let promoted = world.event("checkout", "Promoted").await?;
    assert_eq!(promoted.len(), 1, "{promoted:?}");
    assert!(promoted[0].contains("revision 3 is stable: "), "{promoted:?}");
    Ok(())
}
