//! Objectives that other tools keep: a policy names an SLO of Sloth or of Pyrra, and says nothing of it itself.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// A policy whose one objective is this SLO.
fn policy(indicator: serde_json::Value) -> Policy {
    Policy::of("checkout")
        .with("/objectives", json!([{"name": "promise", "indicator": indicator}]))
        .with("/canary", json!({"traffic": "10%", "hold": "10s"}))
        .with("/detection/warmup", "4s")
        .monitoring("12s")
}

/// An SLO of Sloth, in rules of this name in the form in which it generates them.
fn of_sloth() -> Policy {
    policy(json!({"sloth": {"service": "checkout", "slo": "availability"}}))
}

/// The rules of a tool.
fn rules(of: &str) -> Result<String> {
    let path = format!("{}/tests/fixtures/slos/{of}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).context(path)
}

async fn world(name: &str) -> Result<World> {
    World::start(WorldOptions::named(name).own_prometheus()).await
}

/// Waits until the policy's condition Ready has this status and reason, and says this.
async fn is_ready(world: &World, status: &str, reason: &str, says: &str) -> Result<()> {
    world
        .eventually(&format!("Ready is {status}, {reason}: {says}"), PATIENCE, async || {
            let conditions = world.status("checkout").await?.conditions;
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            Ok(ready.is_some_and(|ready| {
                (ready.status.as_str(), ready.reason.as_str()) == (status, reason) && ready.message.contains(says)
            }))
        })
        .await
}

#[tokio::test]
async fn under_an_slo_of_sloth_a_bad_release_is_rolled_back_and_a_change_of_its_target_takes_effect() -> Result<()> {
    let world = world("slo-of-sloth").await?;
    world.prometheus().load_rules("sloth", &rules("sloth")?).await?;
    world.governed(Service::new("checkout"), Release::new("v1").burning(0.3), of_sloth()).await?;
    let said = "promise: 99.9 % over 30d, of Sloth's SLO \"availability\" of \"checkout\"";
    is_ready(&world, "True", "InForce", said).await?;
    world
        .eventually("the gate goes by the budget that Sloth records", PATIENCE, async || {
            let status = world.status("checkout").await?;
            Ok(status.gate.as_deref() == Some("Open") && status.budget_remaining.is_some())
        })
        .await?;

    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.reason.as_deref(), Some("Violation"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 2, "{}", world.history);
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation.len() == 1 && violation[0].contains("; stable pods 0."), "{violation:?}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);

    // Of a promise of 50 % a release that fails a tenth of its requests keeps more than enough. Nobody touches the policy.
    let generation = world.object("ebp", "checkout").await?["metadata"]["generation"].clone();
    let lenient = rules("sloth")?.replace("vector(0.9990000000000001)", "vector(0.5)");
    world.prometheus().load_rules("sloth", &lenient).await?;
    is_ready(&world, "True", "InForce", "promise: 50 % over 30d, of Sloth's SLO").await?;
    world.release("checkout", Release::new("v3").burning(100.0)).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 10/10").await?;
    assert_eq!(world.object("ebp", "checkout").await?["metadata"]["generation"], generation);
    assert!(world.operator().metric("prometheus_query_duration_seconds_count", &[("kind", "rules")]).await? > 0.0);
    Ok(())
}

#[tokio::test]
async fn under_an_slo_of_pyrra_a_slow_release_is_rolled_back() -> Result<()> {
    let world = world("slo-of-pyrra").await?;
    world.prometheus().load_rules("pyrra", &rules("pyrra")?).await?;
    let policy = policy(json!({"pyrra": {"name": "checkout-latency"}}));
    world.governed(Service::new("checkout"), Release::new("v1"), policy).await?;
    is_ready(&world, "True", "InForce", "promise: 95 % over 14d, of Pyrra's SLO \"checkout-latency\"").await?;

    world.release("checkout", Release::new("v2").answering_in(4000.0)).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.reason.as_deref(), Some("Violation"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].contains(" exceeds 1.0x") && violation[0].contains("; stable pods 0.0"), "{violation:?}");
    Ok(())
}

#[tokio::test]
async fn an_operator_that_is_restarted_reads_the_slo_again_and_goes_on() -> Result<()> {
    let world = world("slo-restarted").await?;
    world.prometheus().load_rules("sloth", &rules("sloth")?).await?;
    let policy = of_sloth().with("/canary/hold", "60s");
    world.governed(Service::new("checkout"), Release::new("v1").burning(0.3), policy).await?;

    world.release("checkout", Release::new("v2").turning_bad(Duration::from_secs(20), 100.0)).await?;
    world.reaches("checkout", "Canary").await?;
    world.operator().process.kill()?;
    world.operator().process.start()?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.reason.as_deref(), Some("Violation"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.events("checkout", "EvidenceMissing").await?, [""; 0], "what is going to be asked is not missing");
    assert_eq!(world.history.rollbacks("checkout"), 1);
    Ok(())
}

#[tokio::test]
async fn an_slo_that_is_not_there_holds_a_release_and_never_rolls_it_back() -> Result<()> {
    let world = world("slo-not-there").await?;
    world.deploy(Service::new("checkout"), Release::new("v1").burning(0.3)).await?;
    world.apply(&of_sloth().manifest(&world.namespace)).await?;
    let said = "Prometheus has no rules of Sloth's SLO \"availability\" of \"checkout\"; load what Sloth generates";
    is_ready(&world, "False", "SloNotFound", said).await?;
    world.reaches("checkout", "Succeeded").await?;

    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let halted = world.halts_for("checkout", "EvidenceMissing").await?;
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("Prometheus has no rules of Sloth's SLO"), "{message}");
    assert_eq!((world.history.rollbacks("checkout"), world.rollout("checkout").await?.phase.as_str()), (0, "Halted"));
    assert!(world.deployment("checkout").await?.paused);

    world.prometheus().load_rules("sloth", &rules("sloth")?).await?;
    is_ready(&world, "True", "InForce", "promise: 99.9 % over 30d").await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    assert_eq!(world.history.rollbacks("checkout"), 0);
    Ok(())
}
