//! In whatever phase a rollout is when the operator goes down: what is held stays held, what runs is left alone, and all
//! of it goes on when the operator is back. The canary is in `let_go.rs`.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// Deployments, each of which is named as the phase that it is brought to, with a policy of its own.
const VALIDATING: &str = "validating";
const HALTED: &str = "halted";
const PROMOTING: &str = "promoting";
const MONITORING: &str = "monitoring";
const RECOVERING: &str = "recovering";
const REJECTED: &str = "rejected";

const ALL: [&str; 6] = [VALIDATING, HALTED, PROMOTING, MONITORING, RECOVERING, REJECTED];

/// Those that the operator pauses.
const HELD: [&str; 3] = [VALIDATING, HALTED, REJECTED];

/// Longer than any scenario takes.
const EVER: &str = "1h";

fn policy(name: &str) -> Policy {
    let policy = Policy::of(name);
    match name {
        VALIDATING => policy
            .with("/validate/onUnknownBudget", "Hold")
            .with("/objectives/0/budgetFrom", json!({"remaining": "recorded_nowhere"})),
        HALTED => policy.with("/monitor/autoRollback", false).with("/canary", json!({"traffic": "30%", "hold": EVER})),
        MONITORING => policy.monitoring(EVER),
        _ => policy,
    }
}

/// Brings each Deployment to its phase.
async fn brought(world: &World) -> Result<()> {
    let bad = || Release::new("v2").burning(200.0);
    let good = || Release::new("v2").burning(0.3);
    let governed = |name| world.governed(Service::new(name).replicas(2), Release::new("v1").burning(0.3), policy(name));
    try_join_all(ALL.map(governed)).await?;

    world.release(REJECTED, bad()).await?;
    world.reaches(REJECTED, "RolledBack").await?;
    world.release(REJECTED, bad()).await?;
    world.release(HALTED, bad()).await?;
    world.release(RECOVERING, bad()).await?;
    world.release(VALIDATING, good()).await?;
    world.release(MONITORING, good()).await?;
    world.at_the_moment("v1 is back", |history| history.rollbacks(RECOVERING) == 1).await?;
    // As long as this lasts, it does not recover.
    world.outage(RECOVERING, Some(200.0));
    world.reaches(RECOVERING, "Recovering").await?;
    world.pods_are(RECOVERING, "v1: 2/2, v2: 0/0").await?;
    world.reaches(REJECTED, "Rejected").await?;
    world.halts_for(HALTED, "AutoRollbackOff").await?;
    world.is_because(VALIDATING, "BudgetUnknown").await?;
    world.reaches(MONITORING, "Monitoring").await?;
    for name in HELD {
        let is_held = async || Ok(world.deployment(name).await?.paused);
        world.eventually(&format!("{name} is held"), PATIENCE, is_held).await?;
    }
    world.release(PROMOTING, good().ready_after(Duration::from_secs(8))).await?;
    world.reaches(PROMOTING, "Promoting").await?;
    Ok(())
}

#[tokio::test]
async fn while_the_operator_is_down_nothing_moves_and_afterwards_all_of_it_goes_on() -> Result<()> {
    let world = World::start(WorldOptions::named("down-phases")).await?;
    brought(&world).await?;
    world.operator().process.kill()?;

    let before = try_join_all(ALL.map(|name| world.deployment(name))).await?;
    let pods = try_join_all(HELD.map(|name| world.pods(name))).await?;
    // Kubernetes needs no operator for this one.
    world.pods_are(PROMOTING, "v1: 0/0, v2: 2/2").await?;
    for before in before {
        let now = world.deployment(&before.name).await?;
        assert_eq!((now.generation, now.paused, now.hold), (before.generation, before.paused, before.hold));
        assert_eq!(now.paused, HELD.contains(&before.name.as_str()), "{}", before.name);
    }
    assert_eq!(try_join_all(HELD.map(|name| world.pods(name))).await?, pods);
    assert_eq!(world.pods(MONITORING).await?, "v1: 0/0, v2: 2/2");

    world.operator().process.start()?;
    world.operator().wait_until_ready().await?;
    world.outage(RECOVERING, None);
    world.patch_policy(VALIDATING, json!({"spec": {"validate": {"onUnknownBudget": "Allow"}}})).await?;
    world.patch_policy(HALTED, json!({"spec": {"monitor": {"autoRollback": true}}})).await?;
    for name in [VALIDATING, PROMOTING] {
        world.reaches(name, "Succeeded").await?;
        world.pods_are(name, "v1: 0/0, v2: 2/2").await?;
    }
    for name in [HALTED, RECOVERING] {
        world.reaches(name, "RolledBack").await?;
        world.pods_are(name, "v1: 2/2, v2: 0/0").await?;
    }
    assert_eq!(world.rollout(MONITORING).await?.phase, "Monitoring");
    assert_eq!(world.rollout(REJECTED).await?.phase, "Rejected");
    world.release(REJECTED, Release::new("v3").burning(0.3)).await?;
    world.pods_are(REJECTED, "v1: 0/0, v2: 0/0, v3: 2/2").await
}
