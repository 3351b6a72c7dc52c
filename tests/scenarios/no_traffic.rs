//! Without requests there is no verdict, whatever the release is like.

use anyhow::Result;

use crate::world::{Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn of_a_bad_release_that_nobody_calls_no_verdict_is_invented() -> Result<()> {
    let world = World::start(WorldOptions::named("no-traffic")).await?;
    let service = Service::new("checkout").replicas(4).traffic(0.0);
    world.governed(service, Release::new("v1"), Policy::of("checkout").monitoring("8s")).await?;

    world.release("checkout", Release::new("v2").burning(1000.0)).await?;
    let promoting = world.reaches("checkout", "Promoting").await?;
    assert_eq!(promoting.verdict.as_deref(), Some("Proceed"), "{promoting:?}");
    let monitoring = world.reaches("checkout", "Monitoring").await?;
    assert_eq!((monitoring.errors, monitoring.burn_rate), (Some(0), None), "no ratio of nothing");
    let succeeded = world.reaches("checkout", "Succeeded").await?;

    let message = succeeded.message.unwrap_or_default();
    assert!(message.contains("no requests seen"), "{message}");
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(2));
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    for reason in ["Halted", "BudgetViolation", "RolledBack"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}
