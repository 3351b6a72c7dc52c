//! Prometheus cannot tell: the rollout is held, never rolled back, and goes on by itself.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testbed::fault_proxy::Fault;

use crate::world::{Policy, Release, Service, World, WorldOptions};

/// A world in which v2, a good release, replaces v1 slowly enough to be held more than once.
async fn rolling_out(options: WorldOptions) -> Result<World> {
    let world = World::start(options).await?;
    world.governed(Service::new("checkout"), Release::new("v1").burning(0.3), Policy::of("checkout")).await?;
    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::from_secs(10))).await?;
    world.reaches("checkout", "Promoting").await?;
    world.looks_go_by(2).await?;
    Ok(world)
}

/// Waits until the rollout is held for want of evidence, and checks that it stays so.
async fn is_held(world: &World, why: &str) -> Result<()> {
    world.halts_for("checkout", "EvidenceMissing").await?;
    let deployment = world.deployment("checkout").await?;
    assert!(deployment.paused && deployment.hold.is_some(), "{deployment:?}");
    world.looks_go_by(3).await?;
    let halted = world.rollout("checkout").await?;
    assert_eq!((halted.phase.as_str(), halted.reason.as_deref()), ("Halted", Some("EvidenceMissing")));
    let message = halted.message.unwrap_or_default();
    assert!(message.starts_with(&format!("no evidence in the last looks ({why}); before that ")), "{message}");
    Ok(())
}

/// Waits until the rollout goes on, for the `times`th time.
async fn goes_on(world: &World, times: usize) -> Result<()> {
    let resumed = world.events_of("checkout", "Resumed", times).await?;
    assert!(
        resumed.len() == times && resumed.iter().all(|note| note.starts_with("goes on after EvidenceMissing: ")),
        "{resumed:?}"
    );
    // The status follows within a second; until then it shows the hold that is over.
    world.reaches("checkout", "Promoting").await?;
    Ok(())
}

/// Waits for the good end and checks that nothing else happened than holds.
async fn ends_well(world: &World, holds: usize) -> Result<()> {
    // Nothing is waited for any more.
    let at_once = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "100%"}}}});
    world.patch("checkout", at_once).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    let missing = world.events_of("checkout", "EvidenceMissing", holds).await?;
    assert_eq!(missing.len(), holds, "{missing:?}");
    for reason in ["Halted", "BudgetViolation", "RolledBack"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (holds, 0));
    Ok(())
}

#[tokio::test]
async fn a_rollout_is_held_while_prometheus_is_down_and_goes_on_when_it_is_back() -> Result<()> {
    let world = rolling_out(WorldOptions::named("prometheus-down").own_prometheus()).await?;

    world.prometheus().stop().await?;
    // The proxy is still there, and says that nobody is behind it.
    is_held(&world, "QueryFailed").await?;
    world.prometheus().restart().await?;
    goes_on(&world, 1).await?;

    ends_well(&world, 1).await
}

#[tokio::test]
async fn answers_that_are_no_numbers_or_not_all_of_them_or_none_hold_a_rollout_and_never_roll_it_back() -> Result<()> {
    let world = rolling_out(WorldOptions::named("useless-answers")).await?;

    let faults = [(Fault::NaN, "NotANumber"), (Fault::Partial, "Partial")];
    for (times, (fault, why)) in faults.into_iter().enumerate() {
        world.proxy.set(fault);
        is_held(&world, why).await?;
        world.proxy.set(Fault::Pass);
        goes_on(&world, times + 1).await?;
    }
    // The exporter breaks, and the series go while the pods stay.
    world.traffic().remove(&world.namespace, "checkout");
    is_held(&world, "NoSeries").await?;
    world.traffic().set_rate(&world.namespace, "checkout", 1000.0);
    goes_on(&world, 3).await?;

    ends_well(&world, 3).await
}
