//! Pods read themselves: with Prometheus away for the whole rollout, everything is decided as ever.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// 99 % of the requests within this time.
fn within(threshold: &str) -> Policy {
    let latency = json!({"histogram": "http_request_duration_seconds", "threshold": threshold});
    policy()
        .with("/objectives/0/name", "latency")
        .with("/objectives/0/target", "99")
        .with("/objectives/0/indicator", json!({"latency": latency}))
        .with("/detection/warmup", "4s")
        .monitoring("12s")
}

fn policy() -> Policy {
    Policy::of("checkout").with("/evidence", "Pods").with("/canary/traffic", "10%").with("/canary/hold", "10s")
}

/// A world in which v1 serves, and Prometheus is stopped.
async fn without_prometheus(name: &str) -> Result<World> {
    without_prometheus_by(name, policy()).await
}

/// The same, under this policy.
async fn without_prometheus_by(name: &str, policy: Policy) -> Result<World> {
    let world = World::start(WorldOptions::named(name).own_prometheus().reading_pods()).await?;
    let stable = Release::new("v1").burning(0.3).exposing(world.pod_port());
    world.governed(Service::new("checkout"), stable, policy).await?;
    world.prometheus().stop().await?;
    Ok(world)
}

#[tokio::test]
async fn without_prometheus_a_bad_release_is_rolled_back_and_the_next_good_one_promoted() -> Result<()> {
    let world = without_prometheus("pods-bad-release").await?;

    world.release("checkout", Release::new("v2").burning(100.0).exposing(world.pod_port())).await?;
    let end = world.reaches("checkout", "RolledBack").await?;
    let outcome = end.incident.as_ref().and_then(|incident| incident.outcome.as_deref()).unwrap_or_default();
    assert!(["Recovered", "RecoveredUnproven"].contains(&outcome), "{end:?}");
    assert_eq!(end.reason.as_deref(), Some("Violation"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation[0].contains("; stable pods 0."), "compared with pods that were read, too: {violation:?}");

    world.release("checkout", Release::new("v3").burning(0.3).exposing(world.pod_port())).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    let message = succeeded.message.unwrap_or_default();
    assert!(message.starts_with("revision ") && message.contains(" is stable: "), "{message}");
    assert!(message.contains(" requests since counting began ("), "{message}");
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 10/10").await?;
    assert_eq!(world.events("checkout", "CanaryPassed").await?.len(), 1);
    assert_eq!(world.events("checkout", "EvidenceMissing").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v3"]);
    assert!(world.operator().metric("pod_reads_total", &[("evidence", "Seen")]).await? > 0.0);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_cannot_be_read_is_held_and_never_rolled_back_nor_let_through() -> Result<()> {
    let world = without_prometheus("pods-unreadable").await?;

    // Nobody listens at the port that it announces.
    world.release("checkout", Release::new("v2").burning(0.3).exposing(1)).await?;
    let halted = world.halts_for("checkout", "EvidenceMissing").await?;
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("canary pods could be read: checkout-"), "{message}");
    assert!(message.contains(": it cannot be connected to"), "{message}");
    world.looks_go_by(5).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Halted");
    world
        .eventually("the condition says so", PATIENCE, async || {
            let conditions = world.status("checkout").await?.conditions;
            let evidence = conditions.iter().find(|condition| condition.type_ == "EvidenceAvailable");
            Ok(evidence
                .is_some_and(|said| said.status == "False" && said.message.contains("canary pods could be read")))
        })
        .await?;
    assert_eq!(world.history.rollbacks("checkout"), 0);

    world.release("checkout", Release::new("v3").burning(0.3).exposing(world.pod_port())).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 10/10").await
}

#[tokio::test]
async fn without_prometheus_a_slow_release_is_rolled_back_and_the_next_fast_one_promoted() -> Result<()> {
    let world = without_prometheus_by("pods-slow-release", within("1s")).await?;

    world.release("checkout", Release::new("v2").answering_in(4000.0).exposing(world.pod_port())).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.reason.as_deref(), Some("Violation"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation.len() == 1 && violation[0].contains(" exceeds 1.0x"), "{violation:?}");
    assert!(violation[0].contains("; stable pods 0.0"), "compared with pods that were read, too: {violation:?}");

    world.release("checkout", Release::new("v3").answering_in(45.0).exposing(world.pod_port())).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 10/10").await?;
    assert_eq!(world.events("checkout", "EvidenceMissing").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1", "v3"]);
    Ok(())
}

#[tokio::test]
async fn a_threshold_that_is_no_bound_of_the_pods_lists_the_bounds_and_lets_no_release_pass() -> Result<()> {
    let world = without_prometheus_by("pods-no-bound", within("300ms")).await?;

    world.release("checkout", Release::new("v2").answering_in(4000.0).exposing(world.pod_port())).await?;
    world.halts_for("checkout", "EvidenceMissing").await?;
    world
        .eventually("the message names a pod and the bounds that it has", PATIENCE, async || {
            let message = world.rollout("checkout").await?.message.unwrap_or_default();
            let bounds = "http_request_duration_seconds has no bucket with the bound 0.3: there are 0.005, 0.01, ";
            Ok(message.contains(": pod checkout-") && message.contains(bounds))
        })
        .await?;
    world.looks_go_by(4).await?;
    assert_eq!((world.history.rollbacks("checkout"), world.rollout("checkout").await?.phase.as_str()), (0, "Halted"));

    world.govern(within("250ms")).await?;
    world.reaches("checkout", "RolledBack").await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_that_is_restarted_reads_on_and_says_what_it_does_not_know() -> Result<()> {
    let world = without_prometheus("pods-restarted").await?;
    world.patch_policy("checkout", serde_json::json!({"spec": {"canary": {"hold": "60s"}}})).await?;

    let bad = Release::new("v2").turning_bad(Duration::from_secs(40), 100.0).exposing(world.pod_port());
    world.release("checkout", bad).await?;
    world.reaches("checkout", "Canary").await?;
    world.looks_go_by(4).await?;
    world.operator().process.kill()?;
    world.operator().process.start()?;
    world
        .eventually("the message says since when it counts", PATIENCE, async || {
            let message = world.rollout("checkout").await?.message.unwrap_or_default();
            Ok(message.contains("what pods served before ") && message.contains(" is not known"))
        })
        .await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await
}

#[tokio::test]
async fn where_reading_pods_is_switched_off_the_policy_says_what_to_write() -> Result<()> {
    let world = World::start(WorldOptions::named("pods-off")).await?;
    world.deploy(Service::new("checkout"), Release::new("v1")).await?;
    world.apply(&policy().manifest(&world.namespace)).await?;
    world
        .eventually("the policy is not in force", PATIENCE, async || {
            let conditions = world.status("checkout").await?.conditions;
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            Ok(ready.is_some_and(|ready| {
                ready.status == "False"
                    && ready.reason == "PodEvidenceOff"
                    && ready.message.contains("podEvidence.enabled=true")
            }))
        })
        .await
}
