//! Of two replicas of the operator one acts, and the other when that one is gone.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::world::{Policy, Release, Service, World, WorldOptions};

const LEASE: Duration = Duration::from_secs(20);
/// How often a standby looks at the Lease, with much more for a machine that is busy.
const POLL: Duration = Duration::from_secs(30);

#[tokio::test]
async fn one_of_two_replicas_acts_and_the_other_within_the_lease_time_once_it_is_killed() -> Result<()> {
    let world = World::start(WorldOptions::named("two-replicas").replicas(2).lease(LEASE)).await?;
    let stable = Release::new("v1").burning(0.3);
    let policy = Policy::of("checkout").monitoring("10m");
    world.governed(Service::new("checkout").replicas(4), stable, policy).await?;
    let [leader, standby] = &world.operators[..] else { unreachable!("two were asked for") };
    assert_eq!((leader.leads().await?, standby.leads().await?), (true, false));

    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    assert_eq!(leader.metric("actions_total", &[("action", "roll_back")]).await?, 1.0);
    assert_eq!(standby.metric("actions_total", &[]).await?, 0.0);
    assert_eq!(standby.metric("events_total", &[]).await?, 0.0);
    assert_eq!(standby.metric("looks_total", &[]).await?, 0.0, "nor does it ask Prometheus");

    // Before its leader is gone, nobody calls it.
    world.traffic().set_rate(&world.namespace, "checkout", 0.0);
    world.release("checkout", Release::new("v3").burning(100.0)).await?;
    world.at_the_moment("v3 is released", |history| history.most_pods_of("checkout", "v3") > 0).await?;
    leader.process.kill()?;
    let killed = Instant::now();
    assert!(!world.history.condemned("checkout", "v3"), "it was too late:\n{}", world.history);
    world.is_led(standby).await?;
    assert!(killed.elapsed() < LEASE + POLL, "led again after {:?}", killed.elapsed());
    world.traffic().set_rate(&world.namespace, "checkout", 1000.0);
    world
        .eventually("v3 is rolled back", crate::world::PATIENCE, async || {
            let incident = world.rollout("checkout").await?.incident.unwrap_or_default();
            let revision = incident.condemned.and_then(|condemned| condemned.revision);
            Ok(revision.is_some_and(|revision| revision > 2) && incident.outcome.is_some())
        })
        .await?;

    world.pods_are("checkout", "v1: 4/4, v2: 0/0, v3: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v3", "v1"]);
    assert_eq!(world.history.rollbacks("checkout"), 2);
    assert_eq!(standby.metric("actions_total", &[("action", "roll_back")]).await?, 1.0);
    assert_eq!(world.events_of("checkout", "RolledBack", 2).await?.len(), 2);
    Ok(())
}
