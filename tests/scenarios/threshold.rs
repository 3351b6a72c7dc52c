//! `rule: Threshold` compares the window's burn rate with the limits and asks for nothing else.

use std::time::Duration;

use anyhow::Result;

use crate::world::{Policy, Release, Service, World, WorldOptions};

/// So many requests a second that a burn rate shows as what it is also in the first tenth of a second.
const MANY: f64 = 10_000_000.0;

async fn governed(name: &str) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let policy = Policy::of("checkout").with("/detection/rule", "Threshold").monitoring("6s");
    let service = Service::new("checkout").replicas(6).traffic(MANY);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

#[tokio::test]
async fn above_the_warning_it_is_a_halt_that_ends_with_it() -> Result<()> {
    let world = governed("threshold-warning").await?;
    world.outage("checkout", Some(0.45));
    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::from_secs(4))).await?;
    let halted = world.reaches("checkout", "Halted").await?;
    assert_eq!(halted.reason.as_deref(), Some("AboveWarning"));
    assert!(world.deployment("checkout").await?.paused);
    world.looks_go_by(4).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Halted");

    world.outage("checkout", None);
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.newest.and_then(|newest| newest.revision), Some(2));
    world.pods_are("checkout", "v1: 0/0, v2: 6/6").await?;
    let halted = world.event("checkout", "Halted").await?;
    assert!(halted.len() == 1 && halted[0].contains("6 s) exceeds the warning 0.5x; "), "{halted:?}");
    assert!(halted[0].starts_with("burn rate 0.7x (") || halted[0].starts_with("burn rate 0.8x ("), "{halted:?}");
    let resumed = world.event("checkout", "Resumed").await?;
    assert!(resumed.len() == 1 && resumed[0].starts_with("goes on after AboveWarning: "), "{resumed:?}");
    assert_eq!(world.event("checkout", "Promoted").await?.len(), 1);
    assert_eq!(world.events("checkout", "BudgetViolation").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    Ok(())
}

#[tokio::test]
async fn above_the_violation_it_is_a_rollback_at_once_whoever_is_to_blame() -> Result<()> {
    let world = governed("threshold-violation").await?;
    world.outage("checkout", Some(1.1));
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let recovering = world.reaches("checkout", "Recovering").await?;
    assert_eq!(recovering.newest.and_then(|newest| newest.revision), Some(1));
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    world.looks_go_by(4).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Recovering", "the outage is not over");
    world.outage("checkout", None);
    world.reaches("checkout", "RolledBack").await?;

    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation.len() == 1 && violation[0].starts_with("burn rate 1."), "{violation:?}");
    assert!(violation[0].contains(" 6 s) exceeds 1.0x; "), "{violation:?}");
    assert!(violation[0].contains("; stable pods "), "they burn as well: {violation:?}");
    assert!(!violation[0].contains("would show"), "it claims nothing about chance: {violation:?}");
    assert_eq!(world.event("checkout", "RolledBack").await?.len(), 1);
    assert_eq!(world.event("checkout", "Recovered").await?.len(), 1);
    assert_eq!(world.events("checkout", "Halted").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 1));
    Ok(())
}
