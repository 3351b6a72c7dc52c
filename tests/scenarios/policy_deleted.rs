//! Whatever no policy governs any more is released, and nothing else about it is touched; what is gone is forgotten.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::fault_proxy::Fault;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// Four pods, one after the other: long enough to be halted in between.
const READY_AFTER: Duration = Duration::from_secs(8);

/// A world in which a release is halted for want of evidence, and what its owner wrote.
async fn halted(name: &str) -> Result<(World, Written)> {
    let world = World::start(WorldOptions::named(name)).await?;
    world.governed(Service::new("checkout").replicas(4), Release::new("v1"), Policy::of("checkout")).await?;
    world.proxy.set(Fault::Cut);
    world.release("checkout", Release::new("v2").ready_after(READY_AFTER)).await?;
    let written = Written::of(&world).await?;
    let halted = world.reaches("checkout", "Halted").await?;
    assert_eq!(halted.reason.as_deref(), Some("EvidenceMissing"));
    let deployment = world.deployment("checkout").await?;
    assert!(deployment.paused && deployment.hold.is_some(), "{deployment:?}");
    Ok((world, written))
}

/// What the Deployment's owner is answerable for.
#[derive(Debug, PartialEq)]
struct Written {
    spec: Value,
    labels: Value,
    annotations: Vec<String>,
}

impl Written {
    async fn of(world: &World) -> Result<Self> {
        let mut deployment = world.object("deployment", "checkout").await?;
        let mut spec = deployment["spec"].take();
        spec.as_object_mut().expect("a spec").remove("paused");
        let annotations = deployment["metadata"]["annotations"].as_object().expect("annotations");
        let annotations = annotations.keys().filter(|name| !name.starts_with("errorbudget.dev/")).cloned().collect();
        Ok(Self { spec, labels: deployment["metadata"]["labels"].take(), annotations })
    }
}

/// The rollout goes on to its end as if there had never been a policy.
async fn assert_released(world: &World, written: &Written) -> Result<()> {
    world.complete("checkout").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.paused, deployment.hold, deployment.rolled_back), (false, None, None));
    assert_eq!(Written::of(world).await?, *written);
    assert_eq!(world.event("checkout", "Resumed").await?, ["goes on: no policy governs it any more"]);
    assert_eq!(world.event("checkout", "EvidenceMissing").await?.len(), 1);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    // Created, released, let in, paused by us, un-paused by us.
    assert_eq!(deployment.generation, 5);
    Ok(())
}

#[tokio::test]
async fn a_halted_rollout_goes_on_when_its_policy_is_deleted() -> Result<()> {
    let (world, written) = halted("policy-deleted").await?;
    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    assert_released(&world, &written).await
}

#[tokio::test]
async fn a_halted_rollout_goes_on_when_its_policy_selects_something_else() -> Result<()> {
    let (world, written) = halted("selector-changed").await?;
    let elsewhere = Policy::of("checkout").with("/selector", json!({"matchLabels": {"app": "search"}}));
    world.govern(elsewhere).await?;
    assert_released(&world, &written).await?;

    world
        .eventually("the policy says that it governs nothing", PATIENCE, async || {
            let said = world.kubectl(&["describe", "ebp", "checkout"]).await?;
            Ok(said.contains("in force, 0 Deployments governed") && world.status("checkout").await?.rollouts.is_empty())
        })
        .await
}

#[tokio::test]
async fn a_halted_rollout_goes_on_when_the_operator_finds_its_policy_gone_after_a_restart() -> Result<()> {
    let (world, written) = halted("policy-deleted-unseen").await?;
    let operator = &world.operator().process;
    operator.stop().await?;
    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    assert!(world.deployment("checkout").await?.paused);
    // An operator that cannot reach Prometheus does not become ready.
    world.proxy.set(Fault::Pass);
    operator.start()?;
    world.operator().wait_until_ready().await?;
    assert_released(&world, &written).await
}

#[tokio::test]
async fn a_deployment_that_is_deleted_while_the_operator_is_down_is_forgotten_when_it_is_back() -> Result<()> {
    let world = World::start(WorldOptions::named("deleted-while-down")).await?;
    let both = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["checkout", "basket"]}]});
    world.deploy(Service::new("basket").replicas(1), Release::new("v1")).await?;
    let policy = Policy::of("checkout").with("/selector", both);
    world.governed(Service::new("checkout").replicas(1), Release::new("v1"), policy).await?;
    let told_of = async |expected: &[&str]| {
        world
            .eventually(&format!("the status tells of {expected:?}"), PATIENCE, async || {
                let status = world.status("checkout").await?;
                let names: Vec<_> = status.rollouts.keys().map(String::as_str).collect();
                Ok(names == expected && status.targets == i32::try_from(expected.len()).ok())
            })
            .await
    };
    told_of(&["basket", "checkout"]).await?;
    world.operator().process.stop().await?;
    world.kubectl(&["delete", "deployment", "basket"]).await?;
    assert_eq!(world.status("checkout").await?.rollouts.len(), 2, "nobody was there to see it");
    world.operator().process.start()?;
    world.operator().wait_until_ready().await?;
    told_of(&["checkout"]).await
}
