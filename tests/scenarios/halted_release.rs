//! A rollout that is stopped without being rolled back, and what ends the stop.

use std::time::Duration;

use anyhow::Result;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn a_release_is_not_blamed_for_an_outage_that_its_stable_pods_share() -> Result<()> {
    let world = World::start(WorldOptions::named("shared-outage")).await?;
    let service = Service::new("checkout").traffic(20_000.0);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::from_secs(4))).await?;
    both_sides_serve(&world).await?;
    world.outage("checkout", Some(5.0));
    world.halts_for("checkout", "SharedCause").await?;
    world.is_observed("checkout").await?;
    let held = world.shares("checkout").await?;
    world.looks_go_by(4).await?;
    let halted = world.rollout("checkout").await?;
    assert_eq!(
        (halted.phase.as_str(), halted.verdict.as_deref(), halted.reason.as_deref()),
        ("Halted", Some("Halt"), Some("SharedCause"))
    );
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("; the stable pods violate the budget too"), "{message}");
    assert_eq!(world.shares("checkout").await?, held, "nothing moves while it is held");

    world.outage("checkout", None);
    // Two calm windows prove it: it does not take the ten minutes that are waited for where few requests come.
    let resumed = world.event("checkout", "Resumed").await?;
    assert!(resumed[0].starts_with("goes on after SharedCause: "), "{resumed:?}");
    world.reaches("checkout", "Succeeded").await?;

    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    assert_eq!(world.event("checkout", "Promoted").await?.len(), 1);
    assert_eq!(world.events("checkout", "RolledBack").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_bad_release_is_held_while_its_guilt_is_unclear_and_rolled_back_when_it_is_clear() -> Result<()> {
    let world = World::start(WorldOptions::named("cause-unclear")).await?;
    // Four new pods beside one old one, until the fifth new one is Ready: of the little that the old one serves it is
    // no wonder that it has not failed, so the violation is plain much sooner than the difference.
    let service = Service::new("checkout").replicas(5).rolling(4, 0).traffic(40.0);
    world.governed(service, Release::new("v1"), Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").burning(100.0).ready_after(Duration::from_secs(15))).await?;
    world.reaches("checkout", "RolledBack").await?;

    let halted = world.event("checkout", "Halted").await?;
    assert_eq!(halted.len(), 1, "{halted:?}");
    assert!(halted[0].contains("; not yet clear whether the release is to blame"), "{halted:?}");
    let rolled_back = world.event("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.len(), 1, "{rolled_back:?}");
    world.pods_are("checkout", "v1: 5/5, v2: 0/0").await?;
    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.paused, deployment.hold), (false, None));
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_release_that_is_worse_than_the_stable_pods_but_within_the_budget_is_held() -> Result<()> {
    let world = World::start(WorldOptions::named("worse-than-stable")).await?;
    let service = Service::new("checkout").traffic(100_000.0);
    world.governed(service, Release::new("v1").burning(0.1), Policy::of("checkout")).await?;

    world.release("checkout", Release::new("v2").burning(0.8).ready_after(Duration::from_secs(6))).await?;
    world.halts_for("checkout", "WorseThanStable").await?;
    world.is_observed("checkout").await?;
    let held = world.shares("checkout").await?;
    world.looks_go_by(9).await?;

    let halted = world.rollout("checkout").await?;
    assert_eq!((halted.phase.as_str(), halted.reason.as_deref()), ("Halted", Some("WorseThanStable")));
    assert_eq!(world.shares("checkout").await?, held, "nothing moves while it is held");
    let events = world.event("checkout", "Halted").await?;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(" exceeds the warning 0.5x; "), "{events:?}");
    assert!(
        events[0].contains("; worse than the stable pods, but not shown to violate the budget; paused with "),
        "{events:?}"
    );
    let way_on = ": approve it, or push another template; is rolled back if it comes to violate the budget";
    assert!(events[0].ends_with(way_on), "{events:?}");
    assert_eq!(world.events("checkout", "RolledBack").await?, [""; 0]);

    // It is for its owner to go on: with another template.
    world.release("checkout", Release::new("v3").burning(0.1)).await?;
    world.reaches("checkout", "Promoting").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 10/10").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v3"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    Ok(())
}

/// Waits until pods of both versions take traffic, and one look has seen them.
async fn both_sides_serve(world: &World) -> Result<()> {
    world.reaches("checkout", "Promoting").await?;
    world
        .eventually("a pod of v2 is Ready", PATIENCE, async || {
            let sets = world.replica_sets("checkout").await?;
            Ok(sets.iter().any(|set| set.version == "v2" && set.ready > 0))
        })
        .await?;
    world.looks_go_by(1).await
}
