//! Deployments that are each brought to a phase of a rollout, and what must be so when nobody holds them any more.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::world::{PATIENCE, Policy, Release, Service, World};

/// Deployments, each of which is named as the phase that it is brought to, with a policy of its own.
pub(crate) const VALIDATING: &str = "validating";
pub(crate) const CANARY: &str = "canary";
pub(crate) const HALTED: &str = "halted";
pub(crate) const PROMOTING: &str = "promoting";
pub(crate) const MONITORING: &str = "monitoring";
pub(crate) const RECOVERING: &str = "recovering";
pub(crate) const REJECTED: &str = "rejected";

pub(crate) const ALL: [&str; 7] = [VALIDATING, CANARY, HALTED, PROMOTING, MONITORING, RECOVERING, REJECTED];

/// Those that the operator pauses.
pub(crate) const HELD: [&str; 4] = [VALIDATING, CANARY, HALTED, REJECTED];

/// Longer than any scenario takes.
pub(crate) const EVER: &str = "1h";

/// Two replicas, with settings of its owner's that neither a default nor a hold has.
pub(crate) fn service(name: &str) -> Service {
    let service = Service::new(name).replicas(2).rolling("50%", 1);
    service.with("minReadySeconds", 1).with("progressDeadlineSeconds", 400)
}

fn policy(name: &str) -> Policy {
    let policy = Policy::of(name);
    let held = json!({"traffic": "30%", "hold": EVER});
    match name {
        VALIDATING => policy
            .with("/validate/onUnknownBudget", "Hold")
            .with("/objectives/0/budgetFrom", json!({"remaining": "recorded_nowhere"})),
        CANARY => policy.with("/canary", held),
        HALTED => policy.with("/monitor/autoRollback", false).with("/canary", held),
        MONITORING => policy.monitoring(EVER),
        _ => policy,
    }
}

/// Brings each Deployment to its phase.
pub(crate) async fn brought(world: &World) -> Result<()> {
    let bad = || Release::new("v2").burning(200.0);
    let good = || Release::new("v2").burning(0.3);
    let governed = |name| world.governed(service(name), Release::new("v1").burning(0.3), policy(name));
    try_join_all(ALL.map(governed)).await?;

    world.release(REJECTED, bad()).await?;
    world.reaches(REJECTED, "RolledBack").await?;
    world.release(REJECTED, bad()).await?;
    world.release(HALTED, bad()).await?;
    world.release(RECOVERING, bad()).await?;
    for name in [VALIDATING, CANARY, MONITORING] {
        world.release(name, good()).await?;
    }
    world.at_the_moment("v1 is back", |history| history.rollbacks(RECOVERING) == 1).await?;
    // As long as this lasts, it does not recover.
    world.outage(RECOVERING, Some(200.0));
    world.reaches(RECOVERING, "Recovering").await?;
    world.pods_are(RECOVERING, "v1: 2/2, v2: 0/0").await?;
    world.reaches(REJECTED, "Rejected").await?;
    world.halts_for(HALTED, "AutoRollbackOff").await?;
    world.is_because(VALIDATING, "BudgetUnknown").await?;
    world.reaches(MONITORING, "Monitoring").await?;
    world.pods_are(CANARY, "v1: 2/2, v2: 1/1").await?;
    for name in HELD {
        let is_held = async || Ok(world.deployment(name).await?.paused);
        world.eventually(&format!("{name} is held"), PATIENCE, is_held).await?;
    }
    world.release(PROMOTING, good().ready_after(Duration::from_secs(8))).await?;
    world.reaches(PROMOTING, "Promoting").await?;
    Ok(())
}

/// What a hold may change has the values that the Deployment's owner has written, and nothing marks it as held.
pub(crate) async fn is_as_its_owner_has_it(world: &World, name: &str) -> Result<()> {
    let spec = world.object("deployment", name).await?["spec"].take();
    let owners = world.manifest(name, &Release::new("v1"))["spec"].take();
    for field in ["strategy", "minReadySeconds", "progressDeadlineSeconds", "paused"] {
        let (found, written) = (spec.get(field).unwrap_or(&Value::Null), owners.get(field).unwrap_or(&Value::Null));
        assert_eq!(found, written, "{name}: {field}");
    }
    assert_eq!(world.deployment(name).await?.hold, None, "{name}");
    Ok(())
}
