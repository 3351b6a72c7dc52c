//! On clusters without mutating admission policies the operator holds as soon as it sees the new template.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::world::{Policy, Release, Service, World, WorldOptions};

async fn governed(name: &str, policy: Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name).without_admission()).await?;
    world.governed(Service::new("checkout").traffic(10_000.0), Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

fn policy() -> Policy {
    Policy::of("checkout").with("/canary", json!({"traffic": "10%", "hold": "10s"})).monitoring("6s")
}

/// No second pod comes before the operator has seen the first, however slow the machine is.
fn in_time_to_be_held(version: &str) -> Release {
    Release::new(version).ready_after(Duration::from_secs(15))
}

#[tokio::test]
async fn a_good_release_is_held_as_a_canary_and_then_promoted() -> Result<()> {
    let world = governed("reactive-good", policy()).await?;
    world.release("checkout", in_time_to_be_held("v2").burning(0.3)).await?;
    world.pods_were("checkout", "v1: 10/10, v2: 2/2").await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    let (canary, _) = world.history.pods_while_held("checkout", "v2", "v1");
    assert_eq!(canary, 2, "{}", world.history);
    Ok(())
}

#[tokio::test]
async fn a_bad_canary_is_rolled_back_and_its_owners_settings_are_back() -> Result<()> {
    let world = governed("reactive-bad", policy()).await?;
    let before = world.object("deployment", "checkout").await?["spec"]["strategy"].take();
    world.release("checkout", in_time_to_be_held("v2").burning(100.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.object("deployment", "checkout").await?["spec"]["strategy"], before);
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 2, "{}", world.history);
    Ok(())
}

#[tokio::test]
async fn what_came_too_early_is_taken_back_when_the_gate_is_closed() -> Result<()> {
    let world = governed("reactive-gate", Policy::of("checkout").with("/validate/onUnknownBudget", "Hold")).await?;
    // Nobody knows what is left of a budget that is recorded nowhere.
    let nowhere = json!({"spec": {"objectives": [{
        "name": "availability", "target": "99.9",
        "indicator": {"ratio": {"errors": r#"http_requests_total{code=~"5.."}"#, "total": "http_requests_total"}},
        "budgetFrom": {"remaining": "recorded_nowhere"},
    }]}});
    world.patch_policy("checkout", nowhere).await?;
    world.gate_is("checkout", "Unknown").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let held = world.is_because("checkout", "BudgetUnknown").await?;
    assert_eq!(held.phase, "Validating");
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    world.patch_policy("checkout", json!({"spec": {"validate": {"onUnknownBudget": "Allow"}}})).await?;
    world.reaches("checkout", "Monitoring").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await
}
