//! Whole cycles: what a violation costs the next release, and who may be away or in the way meanwhile.

use anyhow::Result;
use gatekeeper::watch::TemplateIds;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

fn policy() -> Policy {
    Policy::of("checkout").with("/canary", json!({"traffic": "10%", "hold": "10s"})).monitoring("6s")
}

async fn governed(name: &str, policy: Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").replicas(4).traffic(10_000.0);
    world.governed(service, Release::new("v1").burning(0.1), policy).await?;
    Ok(world)
}

async fn succeeds(world: &World, version: &str) -> Result<()> {
    world
        .eventually(&format!("{version} has succeeded"), PATIENCE * 2, async || {
            let is_newest = world.deployment("checkout").await?.version == version;
            let template = world.object("deployment", "checkout").await?["spec"]["template"].take();
            let rollout = world.rollout("checkout").await?;
            let is_told = rollout.newest.is_some_and(|newest| newest.template == TemplateIds::of(template).id.0);
            Ok(is_newest && is_told && rollout.phase == "Succeeded")
        })
        .await
}

#[tokio::test]
async fn a_violation_spends_the_budget_and_the_fix_is_held_until_there_is_some_again() -> Result<()> {
    let world = governed("cycle-fix", policy().with("/validate/threshold", "0.8")).await?;
    world.release("checkout", Release::new("v2").burning(500.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 1);
    world.kubectl(&["wait", "--for=condition=GateOpen=False", "ebp/checkout", "--timeout=180s"]).await?;

    world.release("checkout", Release::new("v3").burning(0.1)).await?;
    let held = world.is_because("checkout", "BudgetSpent").await?;
    assert_eq!(held.phase, "Validating");
    assert!(held.message.unwrap_or_default().contains(" 20.0 % needed"));
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    assert_eq!(world.event("checkout", "RolloutHeld").await?.len(), 1);

    // Much is served well, which is what a budget recovers by.
    world.traffic().set_rate(&world.namespace, "checkout", 10_000_000.0);
    succeeds(&world, "v3").await?;
    let resumed = world.event("checkout", "Resumed").await?;
    assert!(resumed.iter().any(|note| note.starts_with("goes on after BudgetSpent: ")), "{resumed:?}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v3"]);
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 4/4").await
}

#[tokio::test]
async fn a_gate_that_closes_halts_a_canary_and_opening_lets_it_go_on() -> Result<()> {
    let until_the_gate_closes = json!({"traffic": "10%", "hold": "1h"});
    let world = governed("cycle-closing", policy().with("/canary", until_the_gate_closes)).await?;
    world.release("checkout", Release::new("v2").burning(0.1)).await?;
    world.pods_are("checkout", "v1: 4/4, v2: 1/1").await?;
    // v1 has spent a tenth.
    world.patch_policy("checkout", json!({"spec": {"validate": {"threshold": "0.01"}}})).await?;
    let halted = world.halts_for("checkout", "BudgetSpent").await?;
    assert!(halted.message.unwrap_or_default().contains("99.0 % needed"));
    assert_eq!(world.pods("checkout").await?, "v1: 4/4, v2: 1/1");
    let open = json!({"spec": {"validate": {"threshold": "1000"}, "canary": {"hold": "10s"}}});
    world.patch_policy("checkout", open).await?;
    succeeds(&world, "v2").await
}

#[tokio::test]
async fn what_was_pushed_in_an_owners_pause_is_canaried_when_the_owner_resumes() -> Result<()> {
    let world = governed("cycle-paused", policy()).await?;
    world.kubectl(&["rollout", "pause", "deployment/checkout"]).await?;
    world.release_at_once("checkout", &Release::new("v2").burning(0.1)).await?;
    world.is_because("checkout", "PausedByOwner").await?;
    assert_eq!(world.pods("checkout").await?, "v1: 4/4");
    world.kubectl(&["rollout", "resume", "deployment/checkout"]).await?;
    succeeds(&world, "v2").await?;
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (1, 4), "{}", world.history);
    Ok(())
}

#[tokio::test]
async fn what_is_pushed_while_the_operator_is_down_waits_for_it_without_pods() -> Result<()> {
    let world = governed("cycle-down", policy()).await?;
    world.operator().process.kill()?;
    world.release("checkout", Release::new("v2").burning(0.1)).await?;
    let held = world.deployment("checkout").await?;
    assert!(held.paused && held.hold.is_some());
    world.is_observed("checkout").await?;
    assert_eq!(world.pods("checkout").await?, "v1: 4/4");
    world.operator().process.start()?;
    world.operator().wait_until_ready().await?;
    succeeds(&world, "v2").await?;
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (1, 4), "{}", world.history);
    Ok(())
}

#[tokio::test]
async fn a_closed_gate_refuses_the_write_of_a_new_template_and_lets_images_that_succeeded_pass() -> Result<()> {
    // v1 has spent a tenth.
    let denying = policy().with("/validate/threshold", "0.01").with("/validate/admission", "Deny");
    let world = governed("cycle-deny", denying).await?;
    world.kubectl(&["wait", "--for=condition=GateOpen=False", "ebp/checkout", "--timeout=180s"]).await?;
    let refused = world.release("checkout", Release::new("v2").burning(0.1)).await;
    let refused = format!("{:#}", refused.expect_err("the gate is closed"));
    assert!(refused.contains("error budget policy checkout is closed: availability budget"), "{refused}");
    assert!(refused.contains("99.0 % needed"), "{refused}");
    assert_eq!(world.history.versions("checkout"), ["v1"]);

    let same_image = Release::new("v1").burning(0.1).with("/spec/terminationGracePeriodSeconds", 7);
    world.release("checkout", same_image).await?;
    assert_eq!(world.is_because("checkout", "BudgetSpent").await?.phase, "Validating");

    let mut manifest = world.manifest("checkout", &Release::new("v2").burning(0.1));
    manifest["metadata"]["annotations"] = json!({"errorbudget.dev/override": "P0: carts are lost"});
    world.apply(&manifest).await?;
    succeeds(&world, "v2").await?;
    let overridden = world.event("checkout", "Overridden").await?;
    assert!(overridden[0].contains(" pass a closed gate: P0: carts are lost"), "{overridden:?}");
    Ok(())
}
