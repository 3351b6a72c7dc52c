//! In whatever phase a rollout is when its policy lets go of it: its owner's settings are back to the byte, nothing is
//! left held, and what was held is said to go on. Canary and Halted are in `let_go.rs` and `policy_deleted.rs`.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// How a policy comes to hold a Deployment no more. Each has a Deployment of its name, and a policy for it alone.
const WAYS: [&str; 3] = ["deleted", "unselected", "observed"];

/// Longer than any scenario takes.
const EVER: &str = "1h";

/// For a scenario in which it takes long to renew it.
const LEASE: Duration = Duration::from_secs(60);

fn service(name: &str) -> Service {
    let service = Service::new(name).replicas(2).rolling("50%", 1);
    service.with("minReadySeconds", 1).with("progressDeadlineSeconds", 400)
}

/// Three Deployments that are governed, with v1 as the stable version.
async fn governed(name: &str, change: impl Fn(Policy) -> Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let stable = || Release::new("v1").burning(0.3);
    try_join_all(WAYS.map(|way| world.governed(service(way), stable(), change(Policy::of(way))))).await?;
    Ok(world)
}

async fn release(world: &World, release: Release) -> Result<()> {
    try_join_all(WAYS.map(|way| world.release(way, release.clone()))).await?;
    Ok(())
}

async fn reach(world: &World, phase: &str) -> Result<()> {
    try_join_all(WAYS.map(|way| world.reaches(way, phase))).await?;
    Ok(())
}

/// Each policy holds its Deployment no more, each in its own way.
async fn let_go(world: &World) -> Result<()> {
    world.kubectl(&["delete", "ebp", "deleted"]).await?;
    world.patch_policy("unselected", json!({"spec": {"selector": {"matchLabels": {"app": "another"}}}})).await?;
    world.patch_policy("observed", json!({"spec": {"mode": "Observe"}})).await
}

/// What a hold may change, with the values that the owner of each Deployment has written.
async fn is_as_its_owner_has_it(world: &World, way: &str) -> Result<()> {
    let spec = world.object("deployment", way).await?["spec"].take();
    let owners = world.manifest(way, &Release::new("v1"))["spec"].take();
    for field in ["strategy", "minReadySeconds", "progressDeadlineSeconds", "paused"] {
        assert_eq!(
            spec.get(field).unwrap_or(&Value::Null),
            owners.get(field).unwrap_or(&Value::Null),
            "{way}: {field}"
        );
    }
    assert_eq!(world.deployment(way).await?.hold, None, "{way}");
    Ok(())
}

/// All pods are v2's, held by nobody; what was held is said to go on, once, and what was not is not.
async fn goes_on_with_v2(world: &World, pods: &str, said: [&[&str]; 3]) -> Result<()> {
    for (way, said) in WAYS.into_iter().zip(said) {
        world.pods_are(way, pods).await?;
        is_as_its_owner_has_it(world, way).await?;
        if said.is_empty() {
            assert_eq!(world.events(way, "Resumed").await?, [""; 0], "{way}");
        } else {
            assert_eq!(world.event(way, "Resumed").await?, said, "{way}");
        }
    }
    Ok(())
}

const NOBODY: &[&str] = &["goes on: no policy governs it any more"];

#[tokio::test]
async fn what_waits_for_the_gate_goes_on() -> Result<()> {
    let nowhere = json!({"remaining": "recorded_nowhere"});
    let unknown = |policy: Policy| {
        policy.with("/validate/onUnknownBudget", "Hold").with("/objectives/0/budgetFrom", nowhere.clone())
    };
    let world = governed("let-go-validating", unknown).await?;
    release(&world, Release::new("v2").burning(0.3)).await?;
    try_join_all(WAYS.map(|way| world.is_because(way, "BudgetUnknown"))).await?;
    for way in WAYS {
        assert!(world.deployment(way).await?.paused, "{way}");
    }
    let_go(&world).await?;
    let why = "goes on after BudgetUnknown: mode is Observe, so nothing is held";
    goes_on_with_v2(&world, "v1: 0/0, v2: 2/2", [NOBODY, NOBODY, &[why]]).await
}

#[tokio::test]
async fn what_is_being_promoted_is_not_touched() -> Result<()> {
    let world = governed("let-go-promoting", |policy| policy).await?;
    release(&world, Release::new("v2").burning(0.3).ready_after(Duration::from_secs(10))).await?;
    reach(&world, "Promoting").await?;
    let_go(&world).await?;
    goes_on_with_v2(&world, "v1: 0/0, v2: 2/2", [&[], &[], &[]]).await?;
    world.reaches("observed", "Succeeded").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_being_monitored_is_not_touched() -> Result<()> {
    let world = governed("let-go-monitoring", |policy| policy.monitoring(EVER)).await?;
    release(&world, Release::new("v2").burning(0.3)).await?;
    reach(&world, "Monitoring").await?;
    let generations = try_join_all(WAYS.map(|way| world.deployment(way))).await?;
    let_go(&world).await?;
    goes_on_with_v2(&world, "v1: 0/0, v2: 2/2", [&[], &[], &[]]).await?;
    for before in generations {
        assert_eq!(world.deployment(&before.name).await?.generation, before.generation, "{}", before.name);
    }
    assert_eq!(world.rollout("observed").await?.phase, "Monitoring");
    Ok(())
}

#[tokio::test]
async fn what_was_rejected_is_its_owners_to_run() -> Result<()> {
    let world = governed("let-go-rejected", |policy| policy).await?;
    let bad = Release::new("v2").burning(200.0);
    release(&world, bad.clone()).await?;
    reach(&world, "RolledBack").await?;
    release(&world, bad).await?;
    reach(&world, "Rejected").await?;
    for way in WAYS {
        world.pods_are(way, "v1: 2/2, v2: 0/0").await?;
    }
    let_go(&world).await?;
    let observed: &[&str] = &["goes on after RevisionRejected: mode is Observe, so nothing is held"];
    goes_on_with_v2(&world, "v1: 0/0, v2: 2/2", [NOBODY, NOBODY, observed]).await?;
    let would = world.is_because("observed", "ObserveOnly").await?;
    assert!(would.message.unwrap_or_default().contains("mode is Observe: would roll back revision "));
    for way in WAYS {
        assert_eq!(world.history.versions(way), ["v1", "v2", "v1", "v2"], "{way}");
    }
    Ok(())
}

#[tokio::test]
async fn what_recovers_stays_where_it_was_brought() -> Result<()> {
    let world = governed("let-go-recovering", |policy| policy).await?;
    release(&world, Release::new("v2").burning(200.0)).await?;
    for way in WAYS {
        world.at_the_moment("v1 is back", |history| history.rollbacks(way) == 1).await?;
        // As long as this lasts, it does not recover.
        world.outage(way, Some(200.0));
    }
    reach(&world, "Recovering").await?;
    let_go(&world).await?;
    for way in WAYS {
        world.pods_are(way, "v1: 2/2, v2: 0/0").await?;
        is_as_its_owner_has_it(&world, way).await?;
        assert_eq!(world.history.versions(way), ["v1", "v2", "v1"], "{way}");
        assert_eq!(world.events(way, "Resumed").await?, [""; 0], "{way}");
        world.outage(way, None);
    }
    world.reaches("observed", "RolledBack").await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_deleted_in_the_moment_of_the_rollback_leaves_nothing_behind() -> Result<()> {
    let world = World::start(WorldOptions::named("let-go-rolling-back").own_path().lease(LEASE)).await?;
    let canary = json!({"traffic": "30%", "hold": EVER});
    let policy = Policy::of("checkout").with("/canary", canary);
    world.governed(service("checkout").replicas(4).traffic(10_000.0), Release::new("v1"), policy).await?;
    world.release("checkout", Release::new("v2").burning(200.0)).await?;
    world.pods_were("checkout", "v1: 4/4, v2: 2/2").await?;
    world.path().takes(Duration::from_secs(2));
    world.at_the_moment("v2 is condemned", |history| history.condemned("checkout", "v2")).await?;
    // The patch that rolls back is on its way.
    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    world.path().takes(Duration::ZERO);
    world
        .eventually("v1 is back, and nothing is held", PATIENCE, async || {
            let deployment = world.deployment("checkout").await?;
            Ok(deployment.version == "v1" && deployment.hold.is_none() && !deployment.paused)
        })
        .await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    is_as_its_owner_has_it(&world, "checkout").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    Ok(())
}
