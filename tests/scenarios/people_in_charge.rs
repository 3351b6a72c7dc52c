//! What the owner of a Deployment or of a policy has decided stands.

use anyhow::Result;
use serde_json::json;

use crate::world::{Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn what_its_owner_has_paused_is_not_touched_before_the_owner_resumes_it() -> Result<()> {
    let world = World::start(WorldOptions::named("owners-pause")).await?;
    let service = Service::new("checkout").replicas(6);
    world.governed(service, Release::new("v1").burning(0.3), Policy::of("checkout")).await?;

    // Paused before the release, and again when there is a pod of it to look at. Before that nobody calls it.
    world.traffic().set_rate(&world.namespace, "checkout", 0.0);
    world.patch("checkout", json!({"spec": {"paused": true}})).await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "Promoting").await?;
    world.patch("checkout", json!({"spec": {"paused": false}})).await?;
    world.at_the_moment("v2 has a pod", |history| history.most_pods_of("checkout", "v2") > 0).await?;
    world.patch("checkout", json!({"spec": {"paused": true}})).await?;
    world.traffic().set_rate(&world.namespace, "checkout", 1000.0);

    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].contains("its owner has paused it, so it is not touched"), "{violation:?}");
    assert!(violation[0].ends_with("would roll back revision 2 to 1"), "{violation:?}");
    let generation = world.deployment("checkout").await?.generation;
    world.looks_go_by(4).await?;
    let standing = world.rollout("checkout").await?;
    assert_eq!((standing.phase.as_str(), standing.reason.as_deref()), ("Promoting", Some("PausedByOwner")));
    let untouched = world.deployment("checkout").await?;
    assert_eq!((untouched.generation, untouched.paused, untouched.hold), (generation, true, None));

    world.patch("checkout", json!({"spec": {"paused": false}})).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!(
        (world.history.pauses("checkout"), world.history.rollbacks("checkout")),
        (2, 1),
        "both were the owner's"
    );
    assert_eq!(world.event("checkout", "RolledBack").await?.len(), 1);
    assert_eq!(world.events("checkout", "Halted").await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_observes_says_everything_and_touches_nothing() -> Result<()> {
    let world = World::start(WorldOptions::named("observe")).await?;
    let service = Service::new("checkout").replicas(4);
    let policy = Policy::of("checkout").with("/mode", "Observe");
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;

    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    let generation = world.deployment("checkout").await?.generation;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].starts_with("burn rate ") && violation[0].contains(" errors in "), "{violation:?}");
    assert!(violation[0].ends_with("mode is Observe: would roll back revision 2 to 1"), "{violation:?}");
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    world.reaches("checkout", "Monitoring").await?;
    world.looks_go_by(4).await?;

    let standing = world.rollout("checkout").await?;
    assert_eq!((standing.phase.as_str(), standing.verdict.as_deref()), ("Monitoring", Some("Rollback")));
    assert_eq!(standing.reason.as_deref(), Some("ObserveOnly"));
    assert!(standing.clock_stopped.is_some(), "a bad release does not succeed: {standing:?}");
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    let untouched = world.deployment("checkout").await?;
    assert_eq!((untouched.generation, untouched.hold), (generation, None));
    assert!(!world.history.condemned("checkout", "v2"), "not even its ReplicaSet is marked");
    assert_eq!(world.operator().metric("actions_total", &[]).await?, 0.0);
    assert_eq!(world.events("checkout", "BudgetViolation").await?.len(), 1, "said once");
    assert_eq!(world.events("checkout", "RolledBack").await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn without_auto_rollback_it_halts_and_rolls_back_once_that_is_allowed() -> Result<()> {
    let world = World::start(WorldOptions::named("no-auto-rollback")).await?;
    let service = Service::new("checkout").replicas(6);
    let policy = Policy::of("checkout").with("/monitor/autoRollback", false);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;

    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    let halted = world.is_because("checkout", "AutoRollbackOff").await?;
    assert_eq!((halted.phase.as_str(), halted.verdict.as_deref()), ("Halted", Some("Rollback")));
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].ends_with("monitor.autoRollback is off: would roll back revision 2 to 1"), "{violation:?}");
    world.looks_go_by(4).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Halted");
    let shares = world.shares("checkout").await?;
    world.looks_go_by(2).await?;
    let held = world.deployment("checkout").await?;
    assert!(held.paused && held.hold.is_some(), "{held:?}");
    assert_eq!(world.shares("checkout").await?, shares);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);

    world.patch_policy("checkout", json!({"spec": {"monitor": {"autoRollback": true}}})).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 1));
    assert_eq!(world.deployment("checkout").await?.hold, None);
    Ok(())
}
