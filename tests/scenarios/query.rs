//! Objectives that are measured by a policy's own PromQL, in place of counters with the pods' names.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// Errors over total of what these matchers select.
fn query(matchers: &str) -> Value {
    let sum =
        |more: &str| format!("sum by (pod) (http_requests_total{{namespace=\"{{{{namespace}}}}\",{matchers}{more}}})");
    json!({"query": {"errors": sum(",code=~\"5..\""), "total": sum(""), "counts": "Cumulative"}})
}

#[tokio::test]
async fn a_bad_release_that_a_query_tells_from_the_stable_one_is_rolled_back() -> Result<()> {
    let world = World::start(WorldOptions::named("query-apart")).await?;
    let service = Service::new("checkout").traffic(2000.0);
    let by_revision = query(r#"pod=~"{{replicaSet}}-.+""#);
    let policy = Policy::of("checkout").with("/objectives/0/indicator", by_revision);
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    world
        .eventually("the budget is computed from the query", PATIENCE, async || {
            let left = world.kubectl(&["get", "ebp", "checkout", "-o", "jsonpath={.status.budgetRemaining}"]).await?;
            Ok(left.ends_with('%'))
        })
        .await?;

    world.release("checkout", Release::new("v2").burning(100.0).ready_after(Duration::from_secs(4))).await?;
    let end = world.reaches("checkout", "RolledBack").await?;

    let incident = end.incident.expect("a rollback leaves a record");
    assert_eq!(incident.outcome.as_deref(), Some("Recovered"), "all restored pods are seen again");
    let rolled_back = world.event("checkout", "RolledBack").await?;
    assert!(rolled_back[0].contains("; stable pods 0."), "{rolled_back:?}");
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_only_known_as_a_whole_is_halted_and_never_rolled_back() -> Result<()> {
    let world = World::start(WorldOptions::named("query-whole")).await?;
    let service = Service::new("checkout").traffic(2000.0);
    let policy = Policy::of("checkout").with("/objectives/0/indicator", query(r#"pod=~"{{deployment}}-.+""#));
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;

    world.release("checkout", Release::new("v2").burning(100.0).ready_after(Duration::from_secs(4))).await?;
    world.halts_for("checkout", "SharedCause").await?;
    world.looks_go_by(9).await?;

    let halted = world.rollout("checkout").await?;
    assert_eq!((halted.phase.as_str(), halted.reason.as_deref()), ("Halted", Some("SharedCause")));
    assert_eq!(halted.stable_burn_rate, None, "nobody knows it");
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("; new and old pods are counted together"), "{message}");
    assert_eq!(world.events("checkout", "RolledBack").await?, [""; 0]);
    assert_eq!(world.history.rollbacks("checkout"), 0);
    Ok(())
}
