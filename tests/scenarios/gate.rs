//! What is left of the error budget opens and closes the gate, and people and pipelines can read it.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::world::{PATIENCE, PROGRAM, Policy, Release, Service, World, WorldOptions};

fn policy(service: &str) -> Policy {
    Policy::of(service).with("/validate/threshold", "0.8")
}

impl World {
    /// Waits as pipelines do.
    async fn wait_for_gate(&self, policy: &str, status: &str) -> Result<()> {
        let condition = format!("--for=condition=GateOpen={status}");
        self.kubectl(&["wait", &condition, &format!("ebp/{policy}"), "--timeout=180s"]).await?;
        Ok(())
    }

    /// Runs `check` and returns its exit code and its line.
    async fn check(&self, policy: &str, arguments: &[&str]) -> Result<(i32, String)> {
        let kubeconfig = self.cluster().kubeconfig().to_owned();
        let policy = format!("{}/{policy}", self.namespace);
        let mut command = Command::new(&*PROGRAM);
        command.args(["check", "--policy", &policy]).arg("--kubeconfig").arg(kubeconfig).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let line = String::from_utf8(output.stdout)?.trim_end().to_owned();
        Ok((output.status.code().context("it was killed")?, line))
    }
}

#[tokio::test]
async fn the_gate_closes_when_the_budget_is_spent_and_opens_when_there_is_more_again() -> Result<()> {
    let world = World::start(WorldOptions::named("gate")).await?;
    // Of the first seconds' hundred thousands of requests one in ten thousand fails: 90 % of the budget is left.
    let stable = Release::new("v1").burning(0.1);
    world.governed(Service::new("checkout").replicas(2).traffic(100_000.0), stable, policy("checkout")).await?;

    world.wait_for_gate("checkout", "True").await?;
    let open = world.status("checkout").await?;
    let condition = open.conditions.iter().find(|of| of.type_ == "GateOpen").context("no condition GateOpen")?;
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "BudgetWindowTruncated"));
    assert!(condition.message.contains(" % left, 20.0 % needed, computed over at most "), "{}", condition.message);
    assert!(condition.message.ends_with(" of 28d"), "{}", condition.message);
    assert_eq!(open.gate.as_deref(), Some("Open"));
    assert_eq!(open.objectives[0].window.as_deref(), Some("28d"));
    assert_eq!(open.objectives[0].budget_remaining, open.budget_remaining);
    let (code, line) = world.check("checkout", &[]).await?;
    assert_eq!(code, 0, "{line}");
    assert!(line.starts_with("gate/checkout: Open: availability budget "), "{line}");
    let ratio = world.operator().metric("budget_remaining_ratio", &[("policy", "checkout")]).await?;
    assert!(ratio > 0.2 && ratio <= 1.0, "{ratio}");

    world.outage("checkout", Some(500.0));
    world.wait_for_gate("checkout", "False").await?;
    let closed = world.gate_is("checkout", "Closed").await?;
    let why = closed.closed.get("checkout").context("the Deployment is not named")?;
    assert!(why.contains("20.0 % needed"), "{why}");
    let events = world.policy_event("checkout", "GateClosed").await?;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(
        events[0].starts_with("checkout: availability budget ") && events[0].contains("20.0 % needed"),
        "{events:?}"
    );
    let (code, line) = world.check("checkout", &["--deployment", "checkout", "--output", "json"]).await?;
    let answer: Value = serde_json::from_str(&line)?;
    assert_eq!((code, &answer["gate"], &answer["policy"]), (1, &json!("Closed"), &json!("gate/checkout")), "{line}");
    assert!(answer["budgetRemaining"].as_str().is_some_and(|left| left.ends_with('%')), "{line}");

    // More may be spent from now on.
    world.outage("checkout", None);
    world.patch_policy("checkout", json!({"spec": {"validate": {"threshold": "1000"}}})).await?;
    world.wait_for_gate("checkout", "True").await?;
    let opened = world.gate_is("checkout", "Open").await?;
    assert!(opened.closed.is_empty(), "{:?}", opened.closed);
    assert_eq!(world.check("checkout", &[]).await?.0, 0);
    world
        .eventually("an Event says that the gate opened", PATIENCE, async || {
            Ok(world.policy_events("checkout", "GateOpened").await?.len() == 1)
        })
        .await?;
    assert_eq!(world.policy_events("checkout", "GateClosed").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_budget_that_nobody_knows_is_unknown_and_check_cannot_tell() -> Result<()> {
    let world = World::start(WorldOptions::named("gate-unknown")).await?;
    let unheard = json!({"remaining": "nobody_records_this"});
    let policy = policy("checkout").with("/objectives/0/budgetFrom", unheard);
    world.governed(Service::new("checkout").replicas(1), Release::new("v1"), policy).await?;

    let unknown = world.gate_is("checkout", "Unknown").await?;
    let why = "availability budget unknown: nobody_records_this gives no number; is the rule that records it loaded?";
    assert_eq!(unknown.unknown.get("checkout").map(String::as_str), Some(why));
    let (code, line) = world.check("checkout", &[]).await?;
    assert_eq!(code, 2, "{line}");
    assert!(line.starts_with(&format!("gate-unknown/checkout: Unknown: {why}")) && line.contains("Allow"), "{line}");
    for (name, deployment, expected) in [
        ("absent", "checkout", "there is no ErrorBudgetPolicy absent in namespace gate-unknown"),
        ("checkout", "absent", "there is no Deployment absent in namespace gate-unknown"),
    ] {
        let (code, line) = world.check(name, &["--deployment", deployment]).await?;
        assert_eq!(code, 2, "{line}");
        assert!(line.contains(expected), "{line}");
    }

    let invalid = json!({"spec": {"objectives": [{
        "name": "availability", "target": "99.9", "budgetFrom": {"remaining": "left{namespace='bank'}"},
        "indicator": {"ratio": {"errors": r#"http_requests_total{code=~"5.."}"#, "total": "http_requests_total"}},
    }]}});
    world.patch_policy("checkout", invalid).await?;
    world.kubectl(&["wait", "--for=condition=Ready=False", "ebp/checkout", "--timeout=60s"]).await?;
    let refused = world.status("checkout").await?;
    let ready = refused.conditions.iter().find(|of| of.type_ == "Ready").context("no condition Ready")?;
    assert_eq!(ready.reason, "InvalidIndicator");
    assert!(ready.message.contains("objective availability: budgetFrom.remaining: "), "{}", ready.message);
    assert!(ready.message.contains("a policy reads its own namespace only"), "{}", ready.message);
    assert_eq!(world.check("checkout", &[]).await?.0, 2);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_governs_nothing_is_neither_open_nor_closed() -> Result<()> {
    let world = World::start(WorldOptions::named("gate-nothing")).await?;
    world.govern(policy("checkout")).await?;
    let status = world.gate_is("checkout", "Unknown").await?;
    let condition = status.conditions.iter().find(|of| of.type_ == "GateOpen").context("no condition GateOpen")?;
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("Unknown", "NoDeployment"));
    let asked = world.proxy.requests();
    let budgets = asked.iter().filter(|request| request.query().is_some_and(|query| query.contains("http_requests")));
    assert_eq!(budgets.count(), 0, "nothing is asked for nothing");
    Ok(())
}

#[tokio::test]
async fn a_release_waits_for_the_budget_and_goes_on_when_there_is_enough_again() -> Result<()> {
    let world = World::start(WorldOptions::named("gate-held")).await?;
    let service = Service::new("checkout").replicas(2).traffic(10_000.0);
    world.governed(service, Release::new("v1").burning(0.95), policy("checkout").monitoring("6s")).await?;
    world.outage("checkout", Some(1.0));
    world.gate_is("checkout", "Closed").await?;

    world.release("checkout", Release::new("v2").burning(0.1)).await?;
    let held = world.is_because("checkout", "BudgetSpent").await?;
    assert_eq!(held.phase, "Validating");
    let message = held.message.unwrap_or_default();
    assert!(message.contains("availability budget ") && message.contains("20.0 % needed"), "{message}");

    world.outage("checkout", None);
    world.patch_policy("checkout", json!({"spec": {"validate": {"threshold": "5"}}})).await?;
    world.gate_is("checkout", "Open").await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 2/2").await?;
    Ok(())
}

#[tokio::test]
async fn of_a_shared_budget_one_service_can_spend_what_holds_the_releases_of_another() -> Result<()> {
    let world = World::start(WorldOptions::named("gate-shared")).await?;
    let both = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["checkout", "basket"]}]});
    let shared = policy("checkout").with("/selector", both).with("/budget", json!({"scope": "Shared"}));
    let stable = || Release::new("v1").burning(0.1);
    let service = |name: &str| Service::new(name).replicas(2).traffic(10_000.0);
    world.deploy(service("basket"), stable()).await?;
    world.governed(service("checkout"), stable(), shared.monitoring("6s")).await?;
    world.outage("checkout", Some(500.0));
    let closed = world.gate_is("checkout", "Closed").await?;
    assert_eq!(closed.targets, Some(2));

    world.release("basket", Release::new("v2").burning(0.1)).await?;
    let held = async || {
        let rollouts = world.status("checkout").await?.rollouts;
        Ok(rollouts.get("basket").is_some_and(|rollout| rollout.reason.as_deref() == Some("BudgetSpent")))
    };
    world.eventually("basket waits for what checkout has spent", PATIENCE, held).await?;
    world.pods_are("basket", "v1: 2/2").await?;
    Ok(())
}

#[test]
fn of_a_cluster_that_cannot_be_reached_check_cannot_tell() -> Result<()> {
    let folder = tempfile::TempDir::with_prefix("check-")?;
    let file = folder.path().join("kubeconfig");
    let server = format!("https://127.0.0.1:{}", testbed::port::free_port()?);
    let kubeconfig = json!({
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "x",
    });
    std::fs::write(&file, kubeconfig.to_string())?;
    let arguments = ["check", "--policy", "shop/checkout", "--output", "json", "--kubeconfig"];
    let output = Command::new(&*PROGRAM).args(arguments).arg(file).output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((output.status.code(), &answer["gate"]), (Some(2), &json!("Unknown")), "{answer}");
    let message = answer["message"].as_str().context("no message")?;
    assert!(message.starts_with("reading ErrorBudgetPolicy shop/checkout: "), "{message}");
    Ok(())
}
