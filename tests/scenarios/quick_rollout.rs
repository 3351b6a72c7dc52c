//! A rollout so quick that no stable pod is left at the first look: it is judged against what they did before it.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// All pods at once, Ready at once.
fn at_once(version: &str) -> Release {
    Release::new(version).ready_after(Duration::ZERO)
}

/// What the first version serves before anything else happens: a window of looks and more.
const BEFORE: u64 = 30_000;

/// Time between two looks, in milliseconds: much longer than such a rollout takes.
const LOOKS: i64 = 10_000;

async fn governed(name: &str, burn_rate: f64) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").replicas(3).rolling("100%", "100%");
    let policy = Policy::of("checkout").looking(3, "30s").monitoring("30s");
    world.governed(service, at_once("v1").burning(burn_rate), policy).await?;
    let enough = async || {
        let pods = world.traffic().pods(&world.namespace, "checkout");
        Ok(pods.iter().map(|pod| pod.requests).sum::<u64>() >= BEFORE)
    };
    world.eventually("the first version has served for some time", PATIENCE, enough).await?;
    Ok(world)
}

/// Releases right after a look would have been taken: the next is nearly ten seconds away.
async fn release_between_looks(world: &World, release: Release) -> Result<()> {
    let phase = async || Ok(Timestamp::now().as_millisecond().rem_euclid(LOOKS) < 500);
    world.eventually("a look has just passed", PATIENCE, phase).await?;
    world.release_at_once("checkout", &release).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 3/3").await
}

#[tokio::test]
async fn a_bad_one_is_rolled_back() -> Result<()> {
    let world = governed("quick-bad", 0.3).await?;
    release_between_looks(&world, at_once("v2").burning(30.0)).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;

    assert_eq!(rolled_back.newest.and_then(|newest| newest.revision), Some(1));
    world.pods_are("checkout", "v1: 3/3, v2: 0/0").await?;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation.len() == 1 && violation[0].contains(" 30 s) exceeds 1.0x; "), "{violation:?}");
    assert!(violation[0].contains("; no stable pods serve; "), "{violation:?}");
    assert_eq!(world.event("checkout", "RolledBack").await?.len(), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 1));
    Ok(())
}

#[tokio::test]
async fn a_good_one_is_left_alone() -> Result<()> {
    let world = governed("quick-good", 0.3).await?;
    release_between_looks(&world, at_once("v2").burning(0.3)).await?;
    world.reaches("checkout", "Succeeded").await?;

    world.event("checkout", "Promoted").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 3/3").await?;
    for reason in ["Halted", "BudgetViolation", "RolledBack", "EvidenceMissing"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}

#[tokio::test]
async fn one_as_bad_as_the_one_before_it_is_not_blamed() -> Result<()> {
    let world = governed("quick-no-worse", 30.0).await?;
    release_between_looks(&world, at_once("v2").burning(30.0)).await?;
    let halted = world.event("checkout", "Halted").await?;
    assert!(halted[0].contains("; not yet clear whether the release is to blame"), "{halted:?}");
    world.looks_go_by(4).await?;

    let rollout = world.rollout("checkout").await?;
    assert_eq!((rollout.phase.as_str(), rollout.reason.as_deref()), ("Monitoring", Some("CauseUnclear")));
    assert!(rollout.clock_stopped.is_some(), "it does not become stable meanwhile: {rollout:?}");
    world.pods_are("checkout", "v1: 0/0, v2: 3/3").await?;
    assert_eq!(world.events("checkout", "BudgetViolation").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    Ok(())
}
