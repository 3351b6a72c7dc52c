//! People approve, override and ask for rollbacks with annotations, and are answered.

use anyhow::Result;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

async fn governed(name: &str, policy: Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").replicas(4).traffic(10_000.0);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

/// Sets one of the annotations that people ask with, and waits until the operator has taken it away again.
async fn ask(world: &World, what: &str, value: &str) -> Result<()> {
    let annotation = format!("errorbudget.dev/{what}");
    world.patch("checkout", json!({"metadata": {"annotations": {&annotation: value}}})).await?;
    world
        .eventually(&format!("{what} is answered"), PATIENCE, async || {
            let deployment = world.object("deployment", "checkout").await?;
            Ok(deployment["metadata"]["annotations"].get(&annotation).is_none())
        })
        .await
}

async fn template(world: &World) -> Result<String> {
    Ok(world.rollout("checkout").await?.newest.unwrap_or_default().template)
}

#[tokio::test]
async fn a_manual_canary_waits_for_a_persons_approval_of_this_template() -> Result<()> {
    let canary = json!({"traffic": "10%", "hold": "10s"});
    let policy = Policy::of("checkout").with("/canary", canary).with("/approval", "Manual").monitoring("6s");
    let world = governed("asked-approval", policy).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.is_because("checkout", "ApprovalRequired").await?;
    world.looks_go_by(3).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Canary");
    let required = world.event("checkout", "ApprovalRequired").await?;
    assert!(required.len() == 1 && required[0].contains("errorbudget.dev/approve to "), "{required:?}");

    ask(&world, "approve", "not-this-template").await?;
    let refused = world.event("checkout", "AskRefused").await?;
    assert!(refused[0].contains("it names template \"not-this-template\""), "{refused:?}");
    assert_eq!(world.rollout("checkout").await?.phase, "Canary");

    ask(&world, "approve", &template(&world).await?).await?;
    world.reaches("checkout", "Succeeded").await?;
    assert_eq!(world.event("checkout", "Approved").await?.len(), 1);
    assert_eq!(world.event("checkout", "CanaryPassed").await?.len(), 1);
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await
}

#[tokio::test]
async fn what_is_worse_than_stable_goes_on_when_a_person_approves_it() -> Result<()> {
    let canary = json!({"traffic": "20%", "hold": "10s"});
    let policy = Policy::of("checkout").with("/canary", canary).with("/detection/violation", "5").monitoring("6s");
    let world = governed("asked-worse", policy).await?;
    world.release("checkout", Release::new("v2").burning(2.0)).await?;
    world.halts_for("checkout", "WorseThanStable").await?;
    let halted = world.event("checkout", "Halted").await?;
    let way_on = "; paused with 1 new pod: approve it, or push another template; is rolled back if it comes to violate \
                  the budget";
    assert!(halted.len() == 1 && halted[0].ends_with(way_on), "{halted:?}");
    ask(&world, "approve", &template(&world).await?).await?;
    world.reaches("checkout", "Succeeded").await?;
    let approved = world.event("checkout", "Approved").await?;
    assert!(approved[0].ends_with(" in spite of WorseThanStable"), "{approved:?}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_is_asked_for_is_made_without_evidence_and_only_once() -> Result<()> {
    let world = governed("asked-rollback", Policy::of("checkout").monitoring("60s")).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Monitoring").await?;
    let bad = template(&world).await?;
    ask(&world, "rollback", &bad).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    ask(&world, "rollback", &bad).await?;
    let told = world.event("checkout", "RolledBack").await?;
    assert!(told.len() == 1 && told[0].contains(" asked for the rollback; rolled back revision 2 to 1"), "{told:?}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!(world.events("checkout", "AskRefused").await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_release_that_succeeded_can_be_asked_back() -> Result<()> {
    let world = governed("asked-back", Policy::of("checkout").monitoring("6s")).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world
        .eventually("v2 has succeeded", PATIENCE, async || {
            let rollout = world.rollout("checkout").await?;
            Ok(rollout.phase == "Succeeded" && rollout.newest.and_then(|newest| newest.revision) == Some(2))
        })
        .await?;
    ask(&world, "rollback", &template(&world).await?).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await
}

#[tokio::test]
async fn a_rejected_template_is_released_again_when_a_person_approves_it() -> Result<()> {
    let world = governed("asked-pardon", Policy::of("checkout").monitoring("6s")).await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "Rejected").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    ask(&world, "approve", &template(&world).await?).await?;
    // It is as bad as it was, and is rolled back as it was.
    world
        .eventually("it is rolled back again", PATIENCE, async || Ok(world.history.rollbacks("checkout") == 2))
        .await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v2", "v1"]);
    Ok(())
}
