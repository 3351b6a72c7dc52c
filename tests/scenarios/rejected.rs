//! The same bad manifest applied again after its rollback: the spec stands, its pods do not run, nobody fights.

use anyhow::Result;
use serde_json::{Value, json};

use crate::world::{Policy, Release, Service, World, WorldOptions};

/// A release with these variables, and these containers beside its own.
fn release(version: &str, variables: &[&str], beside: &[&str]) -> Release {
    let env: Vec<_> = variables.iter().map(|name| json!({"name": name, "value": version})).collect();
    let beside = beside.iter().map(|name| json!({"name": name, "image": format!("{name}:1")}));
    let own = json!({"name": "app", "image": format!("checkout:{version}"), "env": env});
    Release::new(version).with("/spec/containers", std::iter::once(own).chain(beside).collect::<Vec<_>>())
}

/// What the API server has of the template, as far as manifests say it.
async fn template(world: &World) -> Result<Value> {
    let mut template = world.object("deployment", "checkout").await?["spec"]["template"].take();
    let containers = template["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let written = |container: &Value| {
        let fields = ["name", "image", "env"].into_iter().filter(|field| !container[field].is_null());
        fields.map(|field| (field.to_owned(), container[field].clone())).collect::<Value>()
    };
    let containers: Vec<_> = containers.iter().map(written).collect();
    Ok(json!({"metadata": template["metadata"].take(), "spec": {"containers": containers}}))
}

async fn story(name: &str, service: Service) -> Result<()> {
    let world = World::start(WorldOptions::named(name)).await?;
    let good = release("v1", &["COMMON", "DROPPED"], &["dropped"]);
    world.governed(service, good, Policy::of("checkout").monitoring("6s")).await?;
    let bad = release("v2", &["ADDED", "COMMON"], &["added"]).burning(100.0);
    world.release("checkout", bad.clone()).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    let condemned = world.replica_sets("checkout").await?.remove(0);
    assert_eq!((condemned.version.as_str(), condemned.condemned.is_some()), ("v2", true));

    world.release("checkout", bad.clone()).await?;
    let rejected = world.reaches("checkout", "Rejected").await?;
    let message = rejected.message.unwrap_or_default();
    assert!(message.contains(" came again and is held: it was rolled back: burn rate "), "{message}");
    world.pods_are("checkout", "v1: 6/6, v2: 0/0").await?;
    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.version.as_str(), deployment.paused), ("v2", true), "its owner's word stands");
    for _ in 0..3 {
        world.release("checkout", bad.clone()).await?;
    }
    let sets = world.replica_sets("checkout").await?;
    assert_eq!(sets.len(), 2);
    assert!(sets.iter().any(|set| set.name == condemned.name && set.version == "v2"), "{sets:?}");
    assert_eq!(world.event("checkout", "RevisionRejected").await?, [message]);

    let fix = release("v3", &["COMMON"], &[]);
    let written = world.manifest("checkout", &fix)["spec"]["template"].take();
    world.release("checkout", fix).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable, succeeded.newest);
    assert_eq!(template(&world).await?, written);
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 6/6").await?;
    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.paused, deployment.hold), (false, None));
    let started = world.events_of("checkout", "RolloutStarted", 2).await?;
    assert!(started.len() == 2 && started[1].ends_with("revision 3 is the one to go back to"), "{started:?}");

    // Written by its owner: v1, v2, v2 again, v3. By us: v2 let in and rolled back, v3 let in. And not once more: what
    // came again was held from the start.
    assert_eq!(deployment.generation, 7);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v2", "v3"]);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 1));
    assert_eq!(world.events("checkout", "RevisionRejected").await?.len(), 1);
    assert_eq!(world.event("checkout", "BudgetViolation").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn applied_again_from_the_clients_side_a_bad_manifest_is_held_and_the_fix_comes_out_as_written() -> Result<()> {
    story("rejected-client-side", Service::new("checkout").replicas(6)).await
}

#[tokio::test]
async fn applied_again_from_the_servers_side_a_bad_manifest_is_held_and_the_fix_comes_out_as_written() -> Result<()> {
    story("rejected-server-side", Service::new("checkout").replicas(6).applied_server_side()).await
}
