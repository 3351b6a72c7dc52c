//! A release within its budget is left alone.

use anyhow::Result;

use crate::world::{Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn a_good_release_is_promoted_and_monitored_and_never_touched() -> Result<()> {
    let world = World::start(WorldOptions::named("good-release")).await?;
    let stable = Release::new("v1").burning(0.3).in_bursts_of(5.0);
    world.governed(Service::new("checkout").traffic(10_000.0), stable, Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").burning(0.3).in_bursts_of(5.0)).await?;
    let promoting = world.reaches("checkout", "Promoting").await?;
    assert_eq!(promoting.stable.and_then(|stable| stable.revision), Some(1));
    world.looks_go_by(3).await?;
    let monitoring = world.reaches("checkout", "Monitoring").await?;
    assert!(monitoring.monitor_until.is_some(), "{monitoring:?}");
    let succeeded = world.reaches("checkout", "Succeeded").await?;

    assert_eq!(succeeded.stable, succeeded.newest);
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(2));
    let message = succeeded.message.unwrap_or_default();
    assert!(message.starts_with("revision 2 is stable: "), "{message}");
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    let started = world.event("checkout", "RolloutStarted").await?;
    assert!(started[0].contains("revision 1 is the one to go back to"), "{started:?}");
    let promoted = world.event("checkout", "Promoted").await?;
    assert_eq!(promoted, [message]);
    assert!(promoted[0].contains(" requests since counting began (0."), "{promoted:?}");
    for reason in ["Halted", "BudgetViolation", "RolledBack", "EvidenceMissing"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}
