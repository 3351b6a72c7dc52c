//! A release that violates the budget is rolled back, whenever it turns bad.

use std::time::Duration;

use anyhow::Result;
use gatekeeper::api::status::RolloutStatus;

use crate::world::{Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn a_release_that_burns_a_little_too_much_is_rolled_back_when_traffic_is_high() -> Result<()> {
    let world = World::start(WorldOptions::named("bad-at-high-traffic")).await?;
    let service = Service::new("checkout").traffic(40_000.0);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").burning(2.3).ready_after(Duration::from_secs(4))).await?;
    let end = was_rolled_back(&world).await?;

    assert_eq!(outcome(&end), "Recovered");
    let recovered = world.event("checkout", "Recovered").await?;
    assert!(recovered[0].starts_with("green again on revision "), "{recovered:?}");
    Ok(())
}

#[tokio::test]
async fn a_release_that_fails_every_tenth_request_is_rolled_back_when_traffic_is_low() -> Result<()> {
    let world = World::start(WorldOptions::named("bad-at-low-traffic")).await?;
    let service = Service::new("checkout").traffic(50.0);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").burning(100.0).ready_after(Duration::from_secs(4))).await?;
    let end = was_rolled_back(&world).await?;

    // A window of 6 seconds holds some 300 requests: a tenth of what proves that the budget is kept.
    assert_eq!(outcome(&end), "RecoveredUnproven");
    let recovered = world.event("checkout", "Recovered").await?;
    assert!(recovered[0].contains("too few requests to prove it"), "{recovered:?}");
    Ok(())
}

#[tokio::test]
async fn a_release_that_turns_bad_after_it_is_complete_is_rolled_back() -> Result<()> {
    let world = World::start(WorldOptions::named("bad-in-monitoring")).await?;
    let service = Service::new("checkout").rolling(5, 0);
    let policy = Policy::of("checkout").monitoring("3m");
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;

    let turns_bad = Release::new("v2").burning(0.3).turning_bad(Duration::from_secs(60), 30.0);
    world.release("checkout", turns_bad).await?;
    let monitoring = world.reaches("checkout", "Monitoring").await?;
    assert_eq!(monitoring.reason.as_deref(), Some("NotConvicted"), "{monitoring:?}");
    world.pods_were("checkout", "v1: 0/0, v2: 10/10").await?;
    let end = was_rolled_back(&world).await?;

    assert_eq!(outcome(&end), "Recovered");
    assert_eq!(world.history.pauses("checkout"), 0, "there was nothing left to hold");
    Ok(())
}

#[tokio::test]
async fn a_release_whose_pods_do_not_become_ready_in_time_is_rolled_back() -> Result<()> {
    let world = World::start(WorldOptions::named("never-ready")).await?;
    let service = Service::new("checkout").replicas(4).with("progressDeadlineSeconds", 10);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").never_ready()).await?;
    let end = world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;

    let incident = end.incident.expect("a rollback leaves a record");
    let reason = incident.reason.unwrap_or_default();
    assert!(reason.contains("has timed out progressing"), "{reason}");
    let rolled_back = world.event("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.len(), 1, "{rolled_back:?}");
    assert!(rolled_back[0].starts_with(&format!("{reason}; rolled back revision 2 to 1 in ")), "{rolled_back:?}");
    assert_eq!(world.events("checkout", "BudgetViolation").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 1));
    Ok(())
}

/// Waits for the end and checks everything that is the same however a release came to be rolled back.
async fn was_rolled_back(world: &World) -> Result<RolloutStatus> {
    let end = world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;

    let incident = end.incident.clone().expect("a rollback leaves a record");
    assert_eq!(incident.condemned.and_then(|condemned| condemned.revision), Some(2));
    assert_eq!(end.newest, end.stable);
    assert_eq!(end.condemned.len(), 1);

    let violation = world.event("checkout", "BudgetViolation").await?;
    assert_eq!(violation.len(), 1, "{violation:?}");
    assert!(violation[0].starts_with("burn rate "), "{violation:?}");
    assert!(violation[0].contains(" exceeds 1.0x; "), "{violation:?}");
    assert!(
        violation[0].contains("; a release within its budget would show this in fewer than 1 of "),
        "{violation:?}"
    );
    let rolled_back = world.event("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.len(), 1, "{rolled_back:?}");
    assert!(rolled_back[0].contains("; rolled back revision 2 to 1 in "), "{rolled_back:?}");
    let told = world.policy_event("checkout", "RolledBack").await?;
    assert_eq!(told, [format!("checkout: {}", rolled_back[0])]);

    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.paused, deployment.hold), (false, None));
    let condemned = world.replica_sets("checkout").await?.into_iter().filter(|set| set.condemned.is_some());
    assert_eq!(condemned.map(|set| set.version).collect::<Vec<_>>(), ["v2"]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!(world.history.rollbacks("checkout"), 1);
    Ok(end)
}

fn outcome(end: &RolloutStatus) -> &str {
    end.incident.as_ref().and_then(|incident| incident.outcome.as_deref()).unwrap_or_default()
}
