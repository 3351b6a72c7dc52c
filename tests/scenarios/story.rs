//! What a person reads who was asleep while it happened.

use anyhow::Result;
use gatekeeper::api::status::RolloutStatus;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// Waits until the text has all of these sentences, whatever the white space: Events come a moment after what they tell.
async fn describe_says(world: &World, kind: &str, sentences: &[&str]) -> Result<String> {
    let mut words = String::new();
    let what = format!("kubectl describe {kind} checkout says {sentences:?}");
    world
        .eventually(&what, PATIENCE, async || {
            let text = world.kubectl(&["describe", kind, "checkout"]).await?;
            words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            Ok(sentences.iter().all(|sentence| words.contains(sentence)))
        })
        .await?;
    Ok(words)
}

#[tokio::test]
async fn kubectl_describe_tells_a_rollback_from_beginning_to_end() -> Result<()> {
    let world = World::start(WorldOptions::named("story")).await?;
    world
        .governed(
            Service::new("checkout").replicas(6).traffic(10_000.0),
            Release::new("v1").burning(0.3),
            Policy::of("checkout"),
        )
        .await?;
    world.release("checkout", Release::new("v2").burning(100.0)).await?;
    let is_green = |rollout: &RolloutStatus| {
        rollout.phase == "Recovering" && rollout.burn_rate.as_ref().is_some_and(|rate| rate.starts_with("0."))
    };
    world.is_told("checkout", "is Recovering with a burn rate below 1", PATIENCE, is_green).await?;
    world.reaches("checkout", "RolledBack").await?;

    let policy = [
        // Where it is now, and what led there.
        "Phase: RolledBack",
        "Outcome: Recovered",
        "Reason: burn rate ",
        // The objective.
        "Name: availability",
        // That the policy itself is well.
        "Message: in force, 1 Deployment governed",
        // And the Events, each with the Deployment's name.
        "checkout: template ",
        "revision 1 is the one to go back to",
        "Warning BudgetViolation",
        "errorbudget.dev/gatekeeper checkout: burn rate ",
        " exceeds 1.0x; ",
        "; a release within its budget would show this in fewer than 1 of ",
        "; rolled back revision 2 to 1 in ",
        "checkout: green again on revision 1, ",
        " s after the decision: ",
    ];
    let read = describe_says(&world, "ebp", &policy).await?;
    let order = ["RolloutStarted", "BudgetViolation", "RolledBack ", "Recovered "];
    let events = &read[read.find("Events:").expect("Events")..];
    let places: Vec<_> = order.iter().map(|reason| events.find(reason)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?} in {events}");

    let deployment = [
        "errorbudget.dev/rolled-back:",
        "Normal RolloutStarted",
        "Warning BudgetViolation",
        "errorbudget.dev/gatekeeper burn rate ",
        "; rolled back revision 2 to 1 in ",
        "green again on revision 1, ",
    ];
    describe_says(&world, "deployment", &deployment).await?;
    Ok(())
}
