//! In whatever phase a rollout is when its policy lets go of it: its owner's settings are back to the byte, nothing is
//! left held, and what was held is said to go on. Canary and Halted are in `let_go.rs` and `policy_deleted.rs`.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::phases::{EVER, is_as_its_owner_has_it, service};
use crate::world::{PATIENCE, Policy, Release, World, WorldOptions};

/// How a policy comes to hold a Deployment no more. Each has a Deployment of its name, and a policy for it alone.
const WAYS: [&str; 3] = ["deleted", "unselected", "observed"];

/// For a scenario in which it takes long to renew it.
const LEASE: Duration = Duration::from_secs(60);

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
async fn what_is_monitored_beside_control_pods_is_completed() -> Result<()> {
    let kept = |policy: Policy| policy.monitoring(EVER).with("/monitor/controlPods", 1);
    let world = governed("let-go-control", kept).await?;
    release(&world, Release::new("v2").burning(0.3)).await?;
    reach(&world, "Monitoring").await?;
    for way in WAYS {
        world.pods_are(way, "v1: 1/1, v2: 2/2").await?;
    }
    let_go(&world).await?;
    let observed: &[&str] = &["the rollout is completed without control pods: mode is Observe, so nothing is held"];
    goes_on_with_v2(&world, "v1: 0/0, v2: 2/2", [NOBODY, NOBODY, observed]).await?;
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

/// The policy lets go while the patch that rolls back is on its way to the API server.
async fn in_the_moment_of_the_rollback(name: &str, let_go: impl AsyncFn(&World) -> Result<()>) -> Result<()> {
    let world = World::start(WorldOptions::named(name).own_path().lease(LEASE)).await?;
    let canary = json!({"traffic": "30%", "hold": EVER});
    let policy = Policy::of("checkout").with("/canary", canary);
    world.governed(service("checkout").replicas(4).traffic(10_000.0), Release::new("v1"), policy).await?;
    world.release("checkout", Release::new("v2").burning(200.0)).await?;
    world.pods_were("checkout", "v1: 4/4, v2: 2/2").await?;
    world.path().takes(Duration::from_secs(2));
    world.at_the_moment("v2 is condemned", |history| history.condemned("checkout", "v2")).await?;
    let_go(&world).await?;
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

#[tokio::test]
async fn a_policy_that_is_deleted_in_the_moment_of_the_rollback_leaves_nothing_behind() -> Result<()> {
    let deleted = async |world: &World| world.kubectl(&["delete", "ebp", "checkout"]).await.map(|_| ());
    in_the_moment_of_the_rollback("let-go-rolling-deleted", deleted).await
}

/// The change is not waited to be taken in: that would take longer than the moment lasts.
async fn changed(world: &World, spec: Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    world.kubectl(&["patch", "ebp", "checkout", "--type=merge", "--patch", &patch]).await.map(|_| ())
}

#[tokio::test]
async fn a_policy_that_selects_something_else_in_the_moment_of_the_rollback_leaves_nothing_behind() -> Result<()> {
    let another = json!({"selector": {"matchLabels": {"app": "another"}}});
    in_the_moment_of_the_rollback("let-go-rolling-unselected", async |world| changed(world, another.clone()).await)
        .await
}

#[tokio::test]
async fn a_policy_that_only_observes_from_the_moment_of_the_rollback_on_leaves_nothing_behind() -> Result<()> {
    let observe = json!({"mode": "Observe"});
    in_the_moment_of_the_rollback("let-go-rolling-observed", async |world| changed(world, observe.clone()).await).await
}
