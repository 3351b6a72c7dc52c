//! A policy that cannot be enforced says what is wrong with it and what to write instead.

use std::time::Duration;

use anyhow::Result;
use testbed::fault_proxy::Fault;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// Waits until `kubectl describe` says all of this of the policy.
async fn describe_says(world: &World, policy: &str, sentences: &[&str]) -> Result<()> {
    let what = format!("describe ebp {policy} says {sentences:?}");
    world
        .eventually(&what, PATIENCE, async || {
            let text = world.kubectl(&["describe", "ebp", policy]).await?;
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            Ok(sentences.iter().all(|sentence| words.contains(sentence)))
        })
        .await
}

#[tokio::test]
async fn a_policy_that_cannot_be_enforced_says_why_until_it_is_mended() -> Result<()> {
    let world = World::start(WorldOptions::named("broken-policy")).await?;
    let elsewhere = Policy::of("checkout").named("elsewhere").with("/prometheus", "far");
    world.apply(&elsewhere.manifest(&world.namespace)).await?;
    let misspelt = Policy::of("search")
        .named("misspelt")
        .with("/objectives/0/indicator/ratio/errors", r#"http_requests_total{code=~"5..""#);
    world.apply(&misspelt.manifest(&world.namespace)).await?;
    let foreign = Policy::of("pay")
        .named("foreign")
        .with("/objectives/0/indicator/ratio/total", r#"http_requests_total{namespace="other"}"#);
    world.apply(&foreign.manifest(&world.namespace)).await?;

    let unknown = ["Reason: UnknownPrometheus", "Status: False", "Type: Ready", "\"far\"", "default"];
    describe_says(&world, "elsewhere", &unknown).await?;
    let syntax = [
        "Reason: InvalidIndicator",
        "Status: False",
        "objective availability: indicator.ratio.errors: ",
        "at column ",
        "write a selector like http_requests_total{code=~\"5..\"}",
    ];
    describe_says(&world, "misspelt", &syntax).await?;
    let tenancy = [
        "Reason: InvalidIndicator",
        "objective availability: indicator.ratio.total: ",
        "a policy reads its own namespace only: leave the matcher out, or write namespace=\"broken-policy\"",
    ];
    describe_says(&world, "foreign", &tenancy).await?;

    world.govern(Policy::of("checkout").named("elsewhere")).await?;
    world.govern(Policy::of("search").named("misspelt")).await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_deleted_and_created_anew_says_how_it_is() -> Result<()> {
    let world = World::start(WorldOptions::named("policy-anew")).await?;
    world.govern(Policy::of("checkout")).await?;
    let first = world.object("ebp", "checkout").await?;
    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    world.govern(Policy::of("checkout")).await?;
    assert_ne!(world.object("ebp", "checkout").await?["metadata"]["uid"], first["metadata"]["uid"]);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_breaks_while_it_holds_a_rollout_keeps_it_and_goes_on_once_it_is_mended() -> Result<()> {
    let world = World::start(WorldOptions::named("policy-breaks")).await?;
    let policy = Policy::of("checkout").monitoring("6s");
    world.governed(Service::new("checkout").replicas(4), Release::new("v1"), policy.clone()).await?;
    world.proxy.set(Fault::Cut);
    world.release("checkout", Release::new("v2").ready_after(Duration::from_secs(8))).await?;
    let halted = world.reaches("checkout", "Halted").await?;

    let broken = policy.clone().with("/prometheus", "far");
    world.apply(&broken.manifest(&world.namespace)).await?;
    let held = ["Reason: UnknownPrometheus", "Phase: Halted", "Reason: EvidenceMissing"];
    describe_says(&world, "checkout", &held).await?;
    world.proxy.set(Fault::Pass);
    assert!(world.deployment("checkout").await?.paused);

    world.govern(policy).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.started, halted.started, "it is the same rollout");
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    assert_eq!(world.event("checkout", "RolloutStarted").await?.len(), 1);
    assert_eq!(world.event("checkout", "Resumed").await?.len(), 1);
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (1, 0));
    Ok(())
}
