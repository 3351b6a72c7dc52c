//! In whatever phase a rollout is when the operator goes down: what is held stays held, what runs is left alone, and all
//! of it goes on when the operator is back.

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::json;

use crate::phases::{
    ALL, CANARY, HALTED, HELD, MONITORING, PROMOTING, RECOVERING, REJECTED, VALIDATING, brought, is_as_its_owner_has_it,
};
use crate::world::{Release, World, WorldOptions};

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
    world.patch_policy(CANARY, json!({"spec": {"canary": {"hold": "10s"}}})).await?;
    for name in [VALIDATING, CANARY, PROMOTING] {
        world.reaches(name, "Succeeded").await?;
        world.pods_are(name, "v1: 0/0, v2: 2/2").await?;
        is_as_its_owner_has_it(&world, name).await?;
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
