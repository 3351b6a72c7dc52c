//! People and pipelines at the command line, with the operator at the other end.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::world::{Policy, Release, Service, World, WorldOptions};

/// Starts a command in the scenario's namespace.
fn start(world: &World, arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper"));
    command.args(arguments).args(["--namespace", &world.namespace]).env("KUBECONFIG", world.cluster().kubeconfig());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().context("start the binary")
}

/// The exit code, and all that it printed.
async fn ended(child: Child) -> Result<(Option<i32>, String)> {
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(text)?))
}

async fn run(world: &World, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    ended(start(world, arguments)?).await
}

async fn governed(name: &str, policy: Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").traffic(10_000.0);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

const WAIT: [&str; 2] = ["wait", "deployment/checkout"];

#[tokio::test]
async fn a_canary_that_waits_for_a_person_is_approved_and_followed_to_its_end() -> Result<()> {
    let canary = json!({"traffic": "10%", "hold": "10s"});
    let policy = Policy::of("checkout").with("/canary", canary).with("/approval", "Manual").monitoring("6s");
    let world = governed("command-approve", policy).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let wait = start(&world, &WAIT)?;
    world.is_because("checkout", "ApprovalRequired").await?;
    let (code, told) = run(&world, &["approve", "deployment/checkout"]).await?;
    assert!(code == Some(0) && told.starts_with("Approved: "), "{code:?}: {told}");
    let (code, told) = ended(wait).await?;
    assert!(code == Some(0) && told.contains("Canary (ApprovalRequired)"), "{code:?}: {told}");
    assert!(told.contains("command-approve/checkout: promoted: revision 2 "), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_bad_release_is_followed_to_its_rollback_and_asking_for_another_does_nothing() -> Result<()> {
    let world = governed("command-bad", Policy::of("checkout")).await?;
    world.release("checkout", Release::new("v2").burning(14.4)).await?;
    let (code, told) = run(&world, &WAIT).await?;
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("command-bad/checkout: rolled back: revision 2 ") && told.contains(" exceeds 1.0x"),
        "{told}"
    );
    let (code, told) = run(&world, &["rollback", "deployment/checkout"]).await?;
    assert!(code == Some(0) && told.starts_with("nothing to do: "), "{code:?}: {told}");
    let (_, told) = run(&world, &["explain", "deployment/checkout"]).await?;
    assert!(told.contains("Last incident  revision 2 "), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_person_has_a_good_release_rolled_back_and_their_reason_is_kept() -> Result<()> {
    let world = governed("command-rollback", Policy::of("checkout").monitoring("10m")).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Monitoring").await?;
    let rollback = ["rollback", "deployment/checkout", "--reason", "customers call"];
    let (code, told) = run(&world, &rollback).await?;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("RolledBack: ") && told.contains("asked for the rollback: customers call"), "{told}");
    let (code, told) = run(&world, &WAIT).await?;
    assert!(code == Some(3) && told.contains("customers call"), "{code:?}: {told}");
    Ok(())
}
