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

/// While no operator looks, an override is asked for with `how`, and then `newer` is pushed.
async fn override_is_overtaken(world: &World, how: impl AsyncFnOnce() -> Result<()>, newer: &str) -> Result<String> {
    let template = world.rollout("checkout").await?.newest.unwrap_or_default().template;
    world.operator().process.stop().await?;
    how().await?;
    world.release("checkout", Release::new(newer).burning(0.3)).await?;
    world.operator().process.start()?;
    world.operator().wait_until_ready().await?;
    Ok(template)
}

#[tokio::test]
async fn an_override_that_another_push_overtakes_lets_neither_pass() -> Result<()> {
    let policy = Policy::of("checkout").monitoring("6s");
    let world = governed("command-overtaken", policy).await?;
    world.patch_policy("checkout", json!({"spec": {"validate": {"threshold": "0.001"}}})).await?;
    world.gate_is("checkout", "Closed").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.is_because("checkout", "BudgetSpent").await?;

    let overriding = ["override", "deployment/checkout", "--reason", "v2 is the fix"];
    let by_command = async || {
        let (code, told) = run(&world, &overriding).await?;
        assert!(code == Some(5) && told.contains("has not answered yet"), "{code:?}: {told}");
        Ok(())
    };
    let v2 = override_is_overtaken(&world, by_command, "v3").await?;
    let refused = world.event("checkout", "AskRefused").await?;
    let why = format!("errorbudget.dev/override is not followed: it names template \"{v2}\", and ");
    assert!(refused.len() == 1 && refused[0].starts_with(&why), "{refused:?}");

    world.is_because("checkout", "BudgetSpent").await?;
    let annotate = ["annotate", "deployment", "checkout", "errorbudget.dev/override=v3 is the fix"];
    let by_hand = async || world.kubectl(&annotate).await.map(drop);
    override_is_overtaken(&world, by_hand, "v4").await?;
    let refused = world.events_of("checkout", "AskRefused", 2).await?;
    assert!(refused[1].contains("is not followed: it was set before template "), "{refused:?}");

    let held = world.is_because("checkout", "BudgetSpent").await?;
    assert_eq!((held.phase.as_str(), held.overridden), ("Validating", None));
    world.pods_are("checkout", "v1: 10/10").await?;
    assert_eq!(world.events("checkout", "Overridden").await?, [""; 0]);
    let (code, told) =
        run(&world, &["override", "deployment/checkout", "--reason", "this one", "--timeout", "2m"]).await?;
    assert!(code == Some(0) && told.starts_with("Overridden: "), "{code:?}: {told}");
    world.reaches("checkout", "Succeeded").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v3", "v4"]);
    assert_eq!(world.history.most_pods_of("checkout", "v2") + world.history.most_pods_of("checkout", "v3"), 0);
    Ok(())
}
