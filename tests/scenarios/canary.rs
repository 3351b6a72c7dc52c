//! A new revision is held at its share of the pods until enough was seen of it.

use std::time::Duration;

use anyhow::Result;
use gatekeeper::api::status::CanaryStatus;
use serde_json::{Value, json};

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// 10 % of 10 replicas is 2 pods of 12.
fn canary() -> Value {
    json!({"traffic": "10%", "hold": "10s"})
}

fn policy() -> Policy {
    Policy::of("checkout").with("/canary", canary()).monitoring("6s")
}

/// Holds for as long as a scenario acts on the canary, however slow the machine is.
fn held_until_told() -> Policy {
    Policy::of("checkout").with("/canary", json!({"traffic": "10%", "hold": "1h"})).monitoring("6s")
}

async fn hold_no_longer(world: &World) -> Result<()> {
    world.patch_policy("checkout", json!({"spec": {"canary": {"hold": "10s"}}})).await
}

async fn governed(name: &str, service: Service, policy: Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    world.governed(service.traffic(10_000.0), Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

#[tokio::test]
async fn a_good_release_is_held_as_a_canary_and_then_promoted() -> Result<()> {
    let world = governed("canary-good", Service::new("checkout"), policy()).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let is_held = |canary: &CanaryStatus| canary.held_since.is_some();
    let held = world
        .is_told("checkout", "has a canary that is held", PATIENCE, |rollout| {
            rollout.canary.as_ref().is_some_and(is_held)
        })
        .await?;
    let canary = held.canary.clone().unwrap_or_default();
    assert_eq!((canary.step, canary.steps, canary.pods), (1, Some(1), Some(2)), "{held:?}");
    assert_eq!(canary.share.as_deref(), Some("16.7%"));

    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(2));
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    let started = world.event("checkout", "CanaryStarted").await?;
    assert!(started.len() == 1 && started[0].contains("2 of 12 pods, 16.7 % of them"), "{started:?}");
    let passed = world.event("checkout", "CanaryPassed").await?;
    assert!(passed.len() == 1 && passed[0].contains(" requests since counting began (0."), "{passed:?}");
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (2, 10));
    assert_eq!(world.history.pauses("checkout"), 1, "for the canary");
    assert_eq!(world.settings("checkout").await?, before);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    Ok(())
}

#[tokio::test]
async fn a_bad_canary_is_rolled_back_and_the_rest_never_sees_it() -> Result<()> {
    let world = governed("canary-bad", Service::new("checkout"), policy()).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.incident.and_then(|incident| incident.outcome).as_deref(), Some("Recovered"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 2, "{}", world.history);
    assert_eq!(world.settings("checkout").await?, before);
    assert!(world.history.condemned("checkout", "v2"));
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    Ok(())
}

#[tokio::test]
async fn each_step_has_its_share_and_its_hold() -> Result<()> {
    let steps = json!({"traffic": "10%", "hold": "10s", "steps": [{"traffic": "40%", "hold": "10s"}]});
    let policy = Policy::of("checkout").with("/canary", steps).monitoring("6s");
    let world = governed("canary-steps", Service::new("checkout"), policy).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_were("checkout", "v1: 10/10, v2: 2/2").await?;
    world.pods_were("checkout", "v1: 10/10, v2: 7/7").await?;
    world.reaches("checkout", "Succeeded").await?;
    let started = world.events_of("checkout", "CanaryStarted", 2).await?;
    assert_eq!(started.len(), 2, "{started:?}");
    assert!(started[1].starts_with("step 2 of 2: 7 of 17 pods, 41.2 % of them"), "{started:?}");
    assert_eq!(world.events_of("checkout", "CanaryPassed", 2).await?.len(), 2);
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (7, 10));
    Ok(())
}

/// Where the canary has as many pods as there are replicas, nothing but the hold keeps Kubernetes from ending the rollout.
#[tokio::test]
async fn half_of_the_traffic_and_more_is_a_canary_too_also_with_pods_that_are_ready_at_once() -> Result<()> {
    let steps = json!({"traffic": "50%", "hold": "10s", "steps": [{"traffic": "90%", "hold": "10s"}]});
    let policy = Policy::of("checkout").with("/canary", steps).monitoring("6s");
    let world = governed("canary-half", Service::new("checkout").replicas(4), policy).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::ZERO)).await?;
    world.reaches("checkout", "Succeeded").await?;
    let started = world.events_of("checkout", "CanaryStarted", 2).await?;
    for (step, note) in (1..).zip(&started) {
        assert!(note.starts_with(&format!("step {step} of 2: 4 of 8 pods, 50.0 % of them")), "{started:?}");
    }
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (4, 4), "{}", world.history);
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    assert_eq!(world.settings("checkout").await?, before);
    Ok(())
}

#[tokio::test]
async fn a_deployment_without_room_for_another_pod_gets_its_canary_in_place() -> Result<()> {
    let service = Service::new("checkout").rolling(0, "30%");
    let world = governed("canary-in-place", service, policy()).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_were("checkout", "v1: 9/9, v2: 1/1").await?;
    world.reaches("checkout", "Succeeded").await?;
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (1, 9), "{}", world.history);
    assert_eq!(world.settings("checkout").await?, before);
    Ok(())
}

#[tokio::test]
async fn a_single_replica_gets_a_canary_beside_it() -> Result<()> {
    let service = Service::new("checkout").replicas(1).with("minReadySeconds", 2).with("progressDeadlineSeconds", 60);
    let world = governed("canary-single", service, policy()).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_were("checkout", "v1: 1/1, v2: 1/1").await?;
    world.reaches("checkout", "Succeeded").await?;
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (1, 1));
    assert_eq!(world.settings("checkout").await?, before);
    Ok(())
}

#[tokio::test]
async fn replicas_that_move_in_the_hold_leave_the_canary_its_share() -> Result<()> {
    let world = governed("canary-scaled", Service::new("checkout"), held_until_told()).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_are("checkout", "v1: 10/10, v2: 2/2").await?;
    world.kubectl(&["scale", "deployment/checkout", "--replicas=20"]).await?;
    world.pods_are("checkout", "v1: 20/20, v2: 3/3").await?;
    world.kubectl(&["scale", "deployment/checkout", "--replicas=5"]).await?;
    world.pods_are("checkout", "v1: 5/5, v2: 1/1").await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Canary");
    hold_no_longer(&world).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 5/5").await?;
    Ok(())
}

#[tokio::test]
async fn scaled_to_nothing_and_back_the_canary_is_still_a_canary() -> Result<()> {
    let world = governed("canary-to-zero", Service::new("checkout"), held_until_told()).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_are("checkout", "v1: 10/10, v2: 2/2").await?;
    world.kubectl(&["scale", "deployment/checkout", "--replicas=0"]).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0").await?;
    world.kubectl(&["scale", "deployment/checkout", "--replicas=10"]).await?;
    world.pods_are("checkout", "v1: 10/10, v2: 2/2").await?;
    hold_no_longer(&world).await?;
    world.reaches("checkout", "Succeeded").await?;
    Ok(())
}

#[tokio::test]
async fn a_newer_template_in_the_canary_takes_its_place() -> Result<()> {
    let world = governed("canary-newer", Service::new("checkout"), held_until_told()).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_are("checkout", "v1: 10/10, v2: 2/2").await?;
    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    world.pods_are("checkout", "v1: 10/10, v2: 0/0, v3: 2/2").await?;
    hold_no_longer(&world).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(3));
    assert_eq!(world.history.pods_while_held("checkout", "v3", "v1"), (2, 10), "{}", world.history);
    Ok(())
}

#[tokio::test]
async fn the_operator_killed_between_arming_and_latching_leaves_a_canary_behind() -> Result<()> {
    let world = governed("canary-killed", Service::new("checkout"), policy()).await?;
    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::from_millis(100))).await?;
    world
        .at_the_moment("the canary is armed", |history| {
            let now = history.of("checkout").pop().and_then(|deployment| deployment.hold);
            now.is_some_and(|hold| hold.contains(r#""own""#))
        })
        .await?;
    world.operator().process.kill()?;
    world.pods_are("checkout", "v1: 10/10, v2: 2/2").await?;
    // Nobody looks after it, and it stays so: Kubernetes has taken note of what it is, and can go no further.
    world.is_observed("checkout").await?;
    assert_eq!(world.pods("checkout").await?, "v1: 10/10, v2: 2/2");
    world.operator().process.start()?;
    world.operator().wait_until_ready().await?;
    world.reaches("checkout", "Succeeded").await?;
    assert_eq!(world.history.pods_while_held("checkout", "v2", "v1"), (2, 10));
    Ok(())
}

#[tokio::test]
async fn a_canary_that_is_never_ready_is_rolled_back_when_its_owners_deadline_has_passed() -> Result<()> {
    let service = Service::new("checkout").with("progressDeadlineSeconds", 15);
    let world = governed("canary-never-ready", service, policy()).await?;
    world.release("checkout", Release::new("v2").never_ready()).await?;
    let rolled_back = world.reaches("checkout", "Recovering").await?;
    let reason = rolled_back.incident.and_then(|incident| incident.reason).unwrap_or_default();
    assert!(reason.contains("the canary's pods are not Ready after 15 s"), "{reason}");
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 2);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_a_quota_refuses_is_halted_with_kubernetes_own_reason_and_goes_on_without_it() -> Result<()> {
    let world = governed("canary-quota", Service::new("checkout").replicas(4), policy()).await?;
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "pods", "namespace": world.namespace},
        "spec": {"hard": {"pods": "4"}},
    });
    world.apply(&quota).await?;
    world
        .eventually("the quota counts", PATIENCE, async || {
            Ok(world.object("resourcequota", "pods").await?["status"]["used"]["pods"] == "4")
        })
        .await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let halted = world.halts_for("checkout", "CannotRun").await?;
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("exceeded quota: pods"), "{message}");
    assert_eq!(world.shares("checkout").await?, "v1: 4, v2: 1");
    world.kubectl(&["delete", "resourcequota", "pods"]).await?;
    world.reaches_within("checkout", "Succeeded", PATIENCE * 3).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await
}
