//! Canary pods that serve and are not scraped: that is said, and where most of them are not, the rollout is held.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// The policy says of its evidence that it is there or not, for this reason and in these words.
async fn evidence_is(world: &World, [status, reason, words]: [&str; 3]) -> Result<()> {
    let what = format!("EvidenceAvailable is {status}, {reason}: {words}");
    world
        .eventually(&what, PATIENCE, async || {
            let conditions = world.status("checkout").await?.conditions;
            let evidence = conditions.iter().find(|condition| condition.type_ == "EvidenceAvailable");
            Ok(evidence
                .is_some_and(|said| (&*said.status, &*said.reason) == (status, reason) && said.message.contains(words)))
        })
        .await
}

#[tokio::test]
async fn a_canary_of_which_part_is_not_scraped_says_so_and_one_that_is_mostly_not_is_held() -> Result<()> {
    let world = World::start(WorldOptions::named("unscraped")).await?;
    // 3 pods of 13, held for as long as it takes.
    let policy = Policy::of("checkout").with("/canary", json!({"traffic": "20%", "hold": "1h"})).monitoring("6s");
    world.governed(Service::new("checkout").traffic(10_000.0), Release::new("v1").burning(0.3), policy).await?;
    let names = || world.traffic().pods(&world.namespace, "checkout").into_iter().map(|pod| pod.name);
    let stable: Vec<String> = names().collect();
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.pods_were("checkout", "v1: 10/10, v2: 3/3").await?;
    world
        .eventually(
            "the canary serves",
            PATIENCE,
            async || Ok(names().filter(|pod| !stable.contains(pod)).count() == 3),
        )
        .await?;
    let canary: Vec<String> = names().filter(|pod| !stable.contains(pod)).collect();
    world.looks_go_by(8).await?;
    evidence_is(&world, ["True", "LooksAnswered", ""]).await?;

    world.traffic().set_scraped(&world.namespace, &canary[0], false);
    let says = "Prometheus scrapes 2 of 3 Ready canary pods, and what the others serve counts nowhere";
    evidence_is(&world, ["True", "PodsNotScraped", says]).await?;
    let told = world.event("checkout", "EvidenceMissing").await?;
    assert_eq!(told, [says]);
    let is_said = |message: &Option<String>| message.as_ref().is_some_and(|message| message.contains(says));
    world.is_told("checkout", "says so", PATIENCE, |rollout| is_said(&rollout.message)).await?;
    world.looks_go_by(3).await?;
    assert_eq!(world.rollout("checkout").await?.phase, "Canary", "two thirds stand for it");

    world.traffic().set_scraped(&world.namespace, &canary[1], false);
    world.halts_for("checkout", "EvidenceMissing").await?;
    evidence_is(&world, ["False", "EvidenceMissing", "Prometheus scrapes 1 of 3 Ready canary pods"]).await?;
    world.looks_go_by(3).await?;
    let halted = world.rollout("checkout").await?;
    assert_eq!((halted.phase.as_str(), halted.reason.as_deref()), ("Halted", Some("EvidenceMissing")));
    let message = halted.message.unwrap_or_default();
    assert!(message.contains("some canary pods do not say what they serve; the others: "), "{message}");

    canary.iter().for_each(|pod| world.traffic().set_scraped(&world.namespace, pod, true));
    world.event("checkout", "Resumed").await?;
    evidence_is(&world, ["True", "LooksAnswered", ""]).await?;
    world.patch_policy("checkout", json!({"spec": {"canary": {"hold": "10s"}}})).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    ensure!(!is_said(&succeeded.message), "all were seen again: {succeeded:?}");
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    assert_eq!(world.events_of("checkout", "EvidenceMissing", 2).await?.len(), 2, "told once, and held once");
    assert_eq!(world.history.rollbacks("checkout"), 0);
    Ok(())
}
