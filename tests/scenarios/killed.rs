//! The operator is killed in the middle of a rollback, at each point where that could matter, and started again.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy as Admission, ValidatingAdmissionPolicyBinding as Binding,
};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// A successor waits for its end, and a machine that is busy needs time to renew it.
const LEASE: Duration = Duration::from_secs(30);
/// How long a request of the operator is on its way while a test steps in between two of them.
const LONG_WAY: Duration = Duration::from_secs(2);

async fn governed(name: &str) -> Result<World> {
    governed_by(WorldOptions::named(name).lease(LEASE), Policy::of("checkout").monitoring("10m")).await
}

async fn governed_by(options: WorldOptions, policy: Policy) -> Result<World> {
    let world = World::start(options.own_path()).await?;
    let stable = Release::new("v1").burning(0.3);
    world.governed(Service::new("checkout").replicas(6), stable, policy).await?;
    Ok(world)
}

/// Releases a bad version that nobody calls yet, and waits until that is told.
async fn release_uncalled(world: &World) -> Result<()> {
    world.traffic().set_rate(&world.namespace, "checkout", 0.0);
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.event("checkout", "RolloutStarted").await?;
    world.reaches("checkout", "Promoting").await?;
    Ok(())
}

/// From now on it shows how bad it is.
fn call(world: &World) {
    world.traffic().set_rate(&world.namespace, "checkout", 1000.0);
}

async fn start_again(world: &World) -> Result<()> {
    world.path().takes(Duration::ZERO);
    world.operator().process.start()?;
    world.operator().wait_until_ready().await
}

/// However it was interrupted: one rollback, told once, to where it belongs.
async fn ends_with_one_rollback(world: &World) -> Result<()> {
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    assert_eq!(world.history.rollbacks("checkout"), 1);
    assert!(world.history.condemned("checkout", "v2"));
    let end = world.deployment("checkout").await?;
    assert_eq!((end.paused, end.hold), (false, None));
    let incident = rolled_back.incident.unwrap_or_default();
    assert_eq!(incident.condemned.and_then(|condemned| condemned.revision), Some(2));
    assert_eq!(incident.outcome.as_deref(), Some("Recovered"));
    let told = world.event("checkout", "RolledBack").await?;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("burn rate ") && told[0].contains(" errors in "), "{told:?}");
    assert!(told[0].contains("rolled back revision 2 to 1"), "{told:?}");
    assert_eq!(world.policy_event("checkout", "RolledBack").await?.len(), 1);
    assert!(world.events("checkout", "BudgetViolation").await?.len() <= 1);
    assert_eq!(world.event("checkout", "Recovered").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn killed_before_the_decision_its_successor_decides() -> Result<()> {
    let world = governed("killed-before").await?;
    release_uncalled(&world).await?;
    world.operator().process.kill()?;
    call(&world);
    start_again(&world).await?;
    ends_with_one_rollback(&world).await?;
    assert_eq!(world.event("checkout", "RolloutStarted").await?.len(), 1);
    assert_eq!(world.event("checkout", "BudgetViolation").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn killed_between_intent_and_patch_its_successor_goes_on_with_the_patch() -> Result<()> {
    let world = governed("killed-between").await?;
    world.path().takes(LONG_WAY);
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.at_the_moment("v2 is condemned", |history| history.condemned("checkout", "v2")).await?;
    world.operator().process.kill()?;
    assert_eq!(world.deployment("checkout").await?.version, "v2", "it was too late");
    start_again(&world).await?;
    ends_with_one_rollback(&world).await
}

#[tokio::test]
async fn killed_after_the_patch_its_successor_finds_it_done_and_tells() -> Result<()> {
    let world = governed("killed-after").await?;
    world.path().takes(LONG_WAY);
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.at_the_moment("v1 is back", |history| history.rollbacks("checkout") == 1).await?;
    world.operator().process.kill()?;
    assert_eq!(world.events("checkout", "RolledBack").await?, [""; 0], "it was too late");
    start_again(&world).await?;
    ends_with_one_rollback(&world).await?;
    comes_again_without_its_replica_set(&world).await
}

/// The mark on the ReplicaSet dies with it; what the status says does not.
async fn comes_again_without_its_replica_set(world: &World) -> Result<()> {
    assert_eq!(world.rollout("checkout").await?.condemned.len(), 1);
    for set in world.replica_sets("checkout").await?.into_iter().filter(|set| set.version == "v2") {
        world.kubectl(&["delete", "replicaset", &set.name]).await?;
    }
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    world.reaches("checkout", "Rejected").await?;
    Ok(())
}

/// From when this returns, the API server accepts no status of a policy of this scenario any more.
async fn refuse_status_writes(world: &World) -> Result<()> {
    let name = world.namespace.as_str();
    let rule = json!({"apiGroups": ["errorbudget.dev"], "apiVersions": ["*"], "operations": ["UPDATE"],
        "resources": ["errorbudgetpolicies/status"]});
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": "false", "message": "not now"}],
    }});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    let create = PostParams::default();
    Api::<Admission>::all(world.client()).create(&create, &serde_json::from_value(policy)?).await?;
    Api::<Binding>::all(world.client()).create(&create, &serde_json::from_value(binding)?).await?;
    let attempt = PatchParams { dry_run: true, ..PatchParams::default() };
    world
        .eventually("no status is accepted", PATIENCE, async || {
            let patch = Patch::Merge(json!({"status": {"targets": 7}}));
            Ok(world.policies().patch_status("checkout", &attempt, &patch).await.is_err())
        })
        .await
}

async fn accept_status_writes(world: &World) -> Result<()> {
    let delete = DeleteParams::default();
    Api::<Binding>::all(world.client()).delete(&world.namespace, &delete).await?;
    Api::<Admission>::all(world.client()).delete(&world.namespace, &delete).await?;
    Ok(())
}

#[tokio::test]
async fn killed_after_it_told_and_before_it_noted_that_its_successor_does_not_tell_again() -> Result<()> {
    let world = governed("killed-telling").await?;
    release_uncalled(&world).await?;
    refuse_status_writes(&world).await?;
    call(&world);
    let told = world.event("checkout", "RolledBack").await?;
    world.operator().process.kill()?;
    accept_status_writes(&world).await?;
    assert_eq!(world.rollout("checkout").await?.incident, None, "of the rollback it could note nothing");
    start_again(&world).await?;
    ends_with_one_rollback(&world).await?;
    assert_eq!(world.event("checkout", "RolledBack").await?, told);
    assert_eq!(world.event("checkout", "RolloutStarted").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn suspended_until_a_bake_is_out_of_time_it_judges_what_was_served_meanwhile() -> Result<()> {
    const BAKE: Duration = Duration::from_secs(30);
    // It leads still when it goes on.
    let options = WorldOptions::named("suspended").lease(BAKE * 10);
    let world = governed_by(options, Policy::of("checkout").monitoring("30s")).await?;
    release_uncalled(&world).await?;
    world.reaches("checkout", "Monitoring").await?;
    world.operator().process.freeze()?;
    call(&world);
    tokio::time::sleep(BAKE).await;
    world.operator().process.thaw()?;
    ends_with_one_rollback(&world).await?;
    assert_eq!(world.events("checkout", "Promoted").await?, [""; 0]);
    Ok(())
}
