//! Two policies must not govern one Deployment.

use anyhow::{Context, Result};
use gatekeeper::api::status::{ErrorBudgetPolicyStatus, RolloutStatus};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

async fn status(world: &World, policy: &str) -> Result<ErrorBudgetPolicyStatus> {
    Ok(world.policies().get(policy).await?.status.unwrap_or_default())
}

async fn entry(world: &World, policy: &str) -> Result<Option<RolloutStatus>> {
    Ok(status(world, policy).await?.rollouts.get("checkout").cloned())
}

/// Waits until the policy's `Ready` condition has this reason, and returns its status and message.
async fn ready(world: &World, policy: &str, reason: &str) -> Result<(String, String)> {
    let mut found = None;
    world
        .eventually(&format!("{policy} is {reason}"), PATIENCE, async || {
            let conditions = status(world, policy).await?.conditions;
            found = conditions.into_iter().find(|said| said.type_ == "Ready" && said.reason == reason);
            Ok(found.is_some())
        })
        .await?;
    found.map(|said| (said.status, said.message)).context("it was found")
}

/// Waits until a policy that is created now is younger: the age of objects is kept in whole seconds.
async fn the_next_is_younger_than(world: &World, policy: &str) -> Result<()> {
    let created = world.policies().get(policy).await?.creation_timestamp().context("a time")?.0;
    let passed = async || Ok(Timestamp::now().as_second() > created.as_second());
    world.eventually("the next second begins", PATIENCE, passed).await
}

#[tokio::test]
async fn the_older_governs_and_the_newer_takes_over_when_it_is_gone() -> Result<()> {
    let world = World::start(WorldOptions::named("two-policies")).await?;
    let older = Policy::of("checkout").with("/mode", "Observe");
    world.governed(Service::new("checkout").replicas(6), Release::new("v1"), older).await?;
    the_next_is_younger_than(&world, "checkout").await?;
    // By name it would be the first.
    let newer = Policy::of("checkout").named("another");
    world.apply(&newer.manifest(&world.namespace)).await?;
    let conflict = "policy checkout is older and governs Deployment checkout; change the selector of one of the two";
    assert_eq!(ready(&world, "another", "Conflict").await?, ("False".to_owned(), conflict.to_owned()));
    let described = world.kubectl(&["describe", "ebp", "another"]).await?;
    assert!(described.contains(conflict), "{described}");

    // A policy that only observes governs, so that nobody rolls back.
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].contains("mode is Observe: would roll back revision 2 to 1"), "{violation:?}");
    world.looks_go_by(3).await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!(entry(&world, "another").await?, None);
    assert_eq!(ready(&world, "checkout", "InForce").await?.0, "True");

    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    assert_eq!(ready(&world, "another", "InForce").await?.1, "in force, 1 Deployment governed");
    world
        .eventually("the newer one has rolled back", PATIENCE, async || {
            Ok(entry(&world, "another").await?.is_some_and(|rollout| rollout.phase == "RolledBack"))
        })
        .await?;
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    assert_eq!(world.event("checkout", "RolloutStarted").await?.len(), 1, "it was taken over as it stood");
    let rolled_back = world.policy_event("another", "RolledBack").await?;
    assert!(rolled_back.len() == 1 && rolled_back[0].starts_with("checkout: burn rate "), "{rolled_back:?}");
    let record = world.deployment("checkout").await?.rolled_back.context("a record of the rollback")?;
    assert!(record.contains(r#""policy":"another""#), "{record}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 1));
    Ok(())
}

#[tokio::test]
async fn a_conflict_is_said_as_long_as_there_is_one() -> Result<()> {
    let world = World::start(WorldOptions::named("conflict-comes-and-goes")).await?;
    world.govern(Policy::of("checkout")).await?;
    the_next_is_younger_than(&world, "checkout").await?;
    let by_team = Policy::of("checkout").named("blue").with("/selector", json!({"matchLabels": {"team": "blue"}}));
    world.govern(by_team).await?;

    world.deploy(Service::new("checkout").replicas(1), Release::new("v1")).await?;
    world.kubectl(&["label", "deployment", "checkout", "team=blue"]).await?;
    assert_eq!(ready(&world, "blue", "Conflict").await?.0, "False");
    world.kubectl(&["label", "deployment", "checkout", "team-"]).await?;
    assert_eq!(ready(&world, "blue", "InForce").await?.1, "in force, 0 Deployments governed");
    world.kubectl(&["label", "deployment", "checkout", "team=blue"]).await?;
    ready(&world, "blue", "Conflict").await?;
    world.kubectl(&["delete", "deployment", "checkout"]).await?;
    ready(&world, "blue", "InForce").await?;
    Ok(())
}
