//! Several operators beside each other, each for its own policies.

use anyhow::Result;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, SHARD, Service, World, WorldOptions};

const HELD: &str = r#"{"traffic": "10%", "hold": "1h"}"#;

async fn two_shards(name: &str) -> Result<World> {
    let mut world = World::start(WorldOptions::named(name).shard("north")).await?;
    world.add_shard("south").await?;
    Ok(world)
}

/// A service that serves, with a policy of this shard.
async fn governed(world: &World, name: &str, shard: &str, policy: Policy) -> Result<()> {
    let policy = policy.labelled(SHARD, shard);
    world.governed(Service::new(name).replicas(4), Release::new("v1").burning(0.3), policy).await
}

#[tokio::test]
async fn each_rolls_back_its_own_and_touches_nothing_of_the_others() -> Result<()> {
    let world = two_shards("shards-apart").await?;
    let [north, south] = &world.operators[..] else { unreachable!("there are two") };
    assert!(north.leads().await? && south.leads().await?, "each has a Lease of its own");
    governed(&world, "checkout", "north", Policy::of("checkout")).await?;
    governed(&world, "search", "south", Policy::of("search")).await?;

    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    assert_eq!(north.metric("actions_total", &[("action", "roll_back")]).await?, 1.0);
    for metric in ["actions_total", "looks_total"] {
        assert_eq!(south.metric(metric, &[]).await?, 0.0, "{metric}");
    }
    let written = north.metric("actions_total", &[]).await?;
    world.release("search", Release::new("v2").burning(100.0)).await?;
    world.reaches("search", "RolledBack").await?;
    assert_eq!(south.metric("actions_total", &[("action", "roll_back")]).await?, 1.0);
    assert_eq!(north.metric("actions_total", &[]).await?, written);
    for service in ["checkout", "search"] {
        assert_eq!(world.history.versions(service), ["v1", "v2", "v1"]);
        assert_eq!(world.events(service, "RolledBack").await?.len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_hold_is_not_released_by_another_shard_and_its_own_operator_may_release_it() -> Result<()> {
    let world = two_shards("shards-hold").await?;
    let [north, south] = &world.operators[..] else { unreachable!("there are two") };
    let policy = Policy::of("checkout").with("/canary", serde_json::from_str::<serde_json::Value>(HELD)?);
    governed(&world, "checkout", "north", policy).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Canary").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 1/1").await?;

    // Nobody governs it while its operator is away, but its policy is still there.
    north.process.kill()?;
    let elsewhere = json!({"spec": {"selector": {"matchLabels": {"app": "till"}}}}).to_string();
    world.kubectl(&["patch", "ebp", "checkout", "--type=merge", "--patch", &elsewhere]).await?;
    // South has seen it by the time that it governs what came later.
    governed(&world, "search", "south", Policy::of("search")).await?;
    assert!(world.deployment("checkout").await?.hold.is_some(), "it is north's");
    assert_eq!(south.metric("actions_total", &[]).await?, 0.0);

    // The policy changes hands: the admission policies of the one must not stand in the way of the other.
    world.patch_policy("checkout", json!({"metadata": {"labels": {SHARD: "south"}}})).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    assert_eq!(world.deployment("checkout").await?.hold, None);
    assert_eq!(south.metric("actions_total", &[("action", "release")]).await?, 1.0);
    Ok(())
}

#[tokio::test]
async fn of_two_shards_policies_that_select_one_deployment_the_older_governs() -> Result<()> {
    let world = two_shards("shards-conflict").await?;
    let [north, south] = &world.operators[..] else { unreachable!("there are two") };
    governed(&world, "checkout", "north", Policy::of("checkout")).await?;
    let created = world.policies().list(&ListParams::default()).await?.items[0].metadata.creation_timestamp.clone();
    world
        .eventually("the next second begins", PATIENCE, async || {
            Ok(created.as_ref().is_some_and(|at| jiff::Timestamp::now().as_second() > at.0.as_second()))
        })
        .await?;
    let newer = Policy::of("checkout").named("another").labelled(SHARD, "south");
    world.apply(&newer.manifest(&world.namespace)).await?;
    let policies: Api<gatekeeper::api::ErrorBudgetPolicy> = world.policies();
    world
        .eventually("south says that its policy conflicts", PATIENCE, async || {
            let status = policies.get("another").await?.status.unwrap_or_default();
            Ok(status.conditions.iter().any(|said| said.type_ == "Ready" && said.reason == "Conflict"))
        })
        .await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    assert_eq!(north.metric("actions_total", &[("action", "roll_back")]).await?, 1.0);
    assert_eq!(south.metric("actions_total", &[]).await?, 0.0);
    assert_eq!(policies.get("another").await?.status.unwrap_or_default().rollouts.len(), 0);
    Ok(())
}
