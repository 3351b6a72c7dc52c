//! People and pipelines at the command line, with the operator at the other end.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// A command under way, and what it has printed so far.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    told: String,
}

impl Running {
    /// Waits until it has printed this.
    async fn tells(&mut self, text: &str) -> Result<()> {
        while !self.told.contains(text) {
            let read = timeout(PATIENCE, self.output.read_line(&mut self.told)).await.context("it says no more")??;
            ensure!(read > 0, "it ended without saying {text}: {}", self.told);
        }
        Ok(())
    }

    /// The exit code, and all that it printed.
    async fn ended(mut self) -> Result<(Option<i32>, String)> {
        self.output.read_to_string(&mut self.told).await?;
        let output = self.child.wait_with_output().await?;
        Ok((output.status.code(), self.told + &String::from_utf8(output.stderr)?))
    }
}

/// Starts a command in the scenario's namespace.
fn start(world: &World, arguments: &[&str]) -> Result<Running> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper"));
    command.args(arguments).args(["--namespace", &world.namespace]).env("KUBECONFIG", world.cluster().kubeconfig());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("start the binary")?;
    let output = BufReader::new(child.stdout.take().context("its output is piped")?);
    Ok(Running { child, output, told: String::new() })
}

async fn run(world: &World, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    start(world, arguments)?.ended().await
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
    let mut wait = start(&world, &WAIT)?;
    wait.tells("Canary (ApprovalRequired)").await?;
    let (code, told) = run(&world, &["approve", "deployment/checkout", "--timeout", "2m"]).await?;
    assert!(code == Some(0) && told.starts_with("Approved: "), "{code:?}: {told}");
    let (code, told) = wait.ended().await?;
    assert_eq!(code, Some(0), "{told}");
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
    let rollback = ["rollback", "deployment/checkout", "--reason", "customers call", "--timeout", "2m"];
    let (code, told) = run(&world, &rollback).await?;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("RolledBack: ") && told.contains("asked for the rollback: customers call"), "{told}");
    let (code, told) = run(&world, &WAIT).await?;
    assert!(code == Some(3) && told.contains("customers call"), "{code:?}: {told}");
    Ok(())
}
