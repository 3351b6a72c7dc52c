//! What is held is let go when its policy is: nothing stays held, and the owner's settings are back to the byte.

use anyhow::Result;
use serde_json::{Value, json};

use crate::world::{Policy, Release, Service, World, WorldOptions};

/// A canary that is held for longer than any scenario takes.
async fn held(name: &str) -> Result<(World, Value)> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").replicas(4).rolling("50%", 1).with("minReadySeconds", 1);
    let policy = Policy::of("checkout").with("/canary", json!({"traffic": "10%", "hold": "1h"}));
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_are("checkout", "v1: 4/4, v2: 1/1").await?;
    world.reaches("checkout", "Canary").await?;
    Ok((world, before))
}

async fn is_let_go(world: &World, before: &Value) -> Result<()> {
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    assert_eq!(world.settings("checkout").await?, *before);
    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.paused, deployment.hold), (false, None));
    Ok(())
}

#[tokio::test]
async fn when_its_policy_is_deleted_a_canary_goes_on() -> Result<()> {
    let (world, before) = held("let-go-deleted").await?;
    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    is_let_go(&world, &before).await
}

#[tokio::test]
async fn when_its_policy_selects_it_no_more_a_canary_goes_on() -> Result<()> {
    let (world, before) = held("let-go-unselected").await?;
    world.patch_policy("checkout", json!({"spec": {"selector": {"matchLabels": {"app": "till"}}}})).await?;
    is_let_go(&world, &before).await
}

#[tokio::test]
async fn when_its_policy_only_observes_a_canary_goes_on() -> Result<()> {
    let (world, before) = held("let-go-observed").await?;
    world.patch_policy("checkout", json!({"spec": {"mode": "Observe"}})).await?;
    is_let_go(&world, &before).await
}
