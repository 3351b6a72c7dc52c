//! A latency objective: slow answers burn the budget as errors do.

use anyhow::Result;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// 99 % of the requests within this time, whatever they are answered with.
fn within(threshold: &str) -> Policy {
    let latency = json!({"histogram": "http_request_duration_seconds", "threshold": threshold});
    Policy::of("checkout")
        .with("/objectives/0/name", "latency")
        .with("/objectives/0/target", "99")
        .with("/objectives/0/indicator", json!({"latency": latency}))
        .with("/canary", json!({"traffic": "10%", "hold": "10s"}))
        .with("/detection/warmup", "4s")
        .monitoring("12s")
}

#[tokio::test]
async fn a_release_that_answers_in_two_seconds_and_without_errors_is_rolled_back() -> Result<()> {
    let world = World::start(WorldOptions::named("latency-bad")).await?;
    world.governed(Service::new("checkout"), Release::new("v1"), within("250ms")).await?;

    world.release("checkout", Release::new("v2").answering_in(2000.0)).await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.incident.and_then(|incident| incident.outcome).as_deref(), Some("Recovered"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.history.most_pods_of("checkout", "v2"), 2, "{}", world.history);
    let violation = world.event("checkout", "BudgetViolation").await?;
    // One in 60,000 requests is answered within the threshold all the same.
    let burns = |rate: &str| violation.iter().all(|note| note.starts_with(&format!("burn rate {rate}")));
    assert!(violation.len() == 1 && (burns("100.0x (") || burns("99.")), "{violation:?}");
    assert!(violation[0].contains("; stable pods 0.0"), "{violation:?}");
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    Ok(())
}

#[tokio::test]
async fn a_release_that_is_as_fast_as_promised_is_promoted() -> Result<()> {
    let world = World::start(WorldOptions::named("latency-good")).await?;
    world.governed(Service::new("checkout"), Release::new("v1"), within("250ms")).await?;

    world.release("checkout", Release::new("v2").answering_in(45.0)).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    for reason in ["BudgetViolation", "RolledBack", "EvidenceMissing"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    let status = world.status("checkout").await?;
    let verified = status.conditions.iter().find(|condition| condition.type_ == "IndicatorVerified");
    assert_eq!(verified.map(|condition| condition.status.as_str()), Some("True"), "{verified:?}");
    assert_eq!(world.gate_is("checkout", "Open").await?.gate.as_deref(), Some("Open"), "its budget is known");
    Ok(())
}

#[tokio::test]
async fn a_threshold_that_is_no_bound_lists_the_bounds_and_lets_no_release_pass() -> Result<()> {
    let world = World::start(WorldOptions::named("latency-bound")).await?;
    world.governed(Service::new("checkout"), Release::new("v1"), within("300ms")).await?;
    world
        .eventually("the policy says which bounds there are", PATIENCE, async || {
            let conditions = world.status("checkout").await?.conditions;
            let verified = conditions.iter().find(|condition| condition.type_ == "IndicatorVerified");
            Ok(verified.is_some_and(|condition| {
                condition.status == "False"
                    && condition.reason == "InvalidIndicator"
                    && condition.message
                        == "objective latency: http_request_duration_seconds has no bucket with the bound 0.3: there are \
                            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10; write one of them as threshold"
            }))
        })
        .await?;

    world.release("checkout", Release::new("v2").answering_in(2000.0)).await?;
    let halted = world.halts_for("checkout", "EvidenceMissing").await?;
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("has no bucket with the bound 0.3"), "{message}");
    world.looks_go_by(4).await?;
    assert_eq!(world.history.rollbacks("checkout"), 0);
    assert_eq!(world.events("checkout", "CanaryPassed").await?, [""; 0]);

    // The bound is there now, and so is the evidence.
    world.govern(within("250ms")).await?;
    world.reaches("checkout", "RolledBack").await?;
    Ok(())
}
