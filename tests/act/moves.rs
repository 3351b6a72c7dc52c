//! Where a canary's hold begins in the middle of something, and what moves while it lasts.

use gatekeeper::decide::holding::{self, Next, Patience};
use gatekeeper::watch::rollout::Rollout;
use serde_json::json;

use crate::canary::{
    LEFT_ALONE, assert_sizes, held_before_the_first_pod, held_before_the_first_pod_of, hold, instant, until_held,
};
use crate::shop::{NAME, Shop};
use crate::watching::Seen;

/// Scales, waits until the operator has given each its own again, and until the controller would have objected.
async fn scale(shop: &Shop, stable: &str, replicas: u32, canary: u32, stable_pods: u32) {
    shop.kubectl(&["scale", "deployment", NAME, &format!("--replicas={replicas}")]).await;
    shop.until("it is scaled", |facts| facts.observed && facts.replicas == replicas).await;
    until_held(shop, stable, 20).await;
    let seen = shop.replicas_asked_for_during(LEFT_ALONE).await;
    assert_eq!(seen.len(), 1, "nobody fights: {seen:?}");
    assert_sizes(&shop.facts().await, stable, canary, stable_pods);
}

#[tokio::test]
async fn when_it_is_scaled_the_canary_keeps_its_share_and_the_stable_revision_all_of_its_own() {
    let shop = Shop::open("scaled").await;
    let stable = held_before_the_first_pod(&shop, &json!({"replicas": 4})).await;
    until_held(&shop, &stable, 20).await;
    scale(&shop, &stable, 8, 2, 8).await;
    scale(&shop, &stable, 2, 1, 2).await;
    scale(&shop, &stable, 12, 3, 12).await;
}

#[tokio::test]
async fn also_where_the_canary_is_in_the_place_of_stable_pods() {
    let shop = Shop::open("scaled-in-place").await;
    let strategy = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    let stable = held_before_the_first_pod(&shop, &json!({"replicas": 4, "strategy": strategy})).await;
    until_held(&shop, &stable, 20).await;
    scale(&shop, &stable, 10, 2, 8).await;
    scale(&shop, &stable, 3, 1, 2).await;
}

#[tokio::test]
async fn from_none_to_some_replicas_the_stable_revision_is_whole_again() {
    let shop = Shop::open("from-none").await;
    let stable = held_before_the_first_pod(&shop, &json!({"replicas": 3})).await;
    until_held(&shop, &stable, 20).await;
    shop.kubectl(&["scale", "deployment", NAME, "--replicas=0"]).await;
    let no_pods = |facts: &Rollout| facts.canary.iter().chain(&facts.others).all(|revision| revision.existing == 0);
    shop.until("no pod is left", no_pods).await;
    scale(&shop, &stable, 6, 2, 6).await;
}

#[tokio::test]
async fn held_without_pods_it_stays_so_from_none_to_some_replicas() {
    let shop = Shop::open("from-none-without-pods").await;
    let stable = held_before_the_first_pod(&shop, &json!({"replicas": 3})).await;
    until_held(&shop, &stable, 20).await;
    let without_pods = async || {
        let next = |facts: &Rollout| match facts.others.iter().find(|other| other.uid == stable) {
            Some(stable) => holding::without_pods(facts, Some(stable), Patience::Lasts, hold()),
            None => Next::Wait,
        };
        shop.pursue(next).await
    };
    without_pods().await;
    shop.kubectl(&["scale", "deployment", NAME, "--replicas=0"]).await;
    shop.until("it has none", |facts| facts.observed && facts.replicas == 0).await;
    shop.kubectl(&["scale", "deployment", NAME, "--replicas=5"]).await;
    shop.until("it has some", |facts| facts.observed && facts.replicas == 5).await;
    without_pods().await;
    let seen = shop.replicas_asked_for_during(LEFT_ALONE).await;
    assert_eq!(seen.len(), 1, "nobody fights: {seen:?}");
    assert_sizes(&shop.facts().await, &stable, 0, 5);
}

#[tokio::test]
async fn a_third_template_takes_the_place_of_the_canary_and_no_stable_pods() {
    let shop = Shop::open("third").await;
    let spec = json!({"replicas": 4});
    let stable = held_before_the_first_pod(&shop, &spec).await;
    let second = until_held(&shop, &stable, 40).await.canary.expect("a canary");
    assert_eq!(second.desired, 3);
    let watching = shop.watching().await;
    shop.apply(&instant("web:3", &spec)).await;
    let facts = until_held(&shop, &stable, 20).await;
    assert_ne!(facts.canary.as_ref().map(|canary| &canary.uid), Some(&second.uid));
    assert_sizes(&facts, &stable, 1, 4);
    let too_few: Vec<_> = watching.take().into_iter().filter(|seen| seen.uid == stable && seen.desired < 4).collect();
    assert_eq!(too_few, [], "the stable pods stay");
}

#[tokio::test]
async fn where_the_rollout_went_to_the_end_before_it_was_held_the_stable_revision_is_whole_again() {
    let shop = Shop::open("late").await;
    let spec = json!({"replicas": 4, "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "100%"}}});
    shop.apply(&instant("web:1", &spec)).await;
    let stable = shop.until_complete().await;
    shop.apply(&instant("web:2", &spec)).await;
    shop.until_complete().await;
    until_held(&shop, &stable.uid, 20).await;
    let seen = shop.replicas_asked_for_during(LEFT_ALONE).await;
    assert_eq!(seen.len(), 1, "nobody fights: {seen:?}");
    assert_sizes(&shop.facts().await, &stable.uid, 1, 4);
}

#[tokio::test]
async fn a_replica_set_of_an_earlier_revision_becomes_the_canary_like_a_new_one() {
    let shop = Shop::open("reused").await;
    let spec = |replicas: u32| json!({"replicas": replicas, "revisionHistoryLimit": 1});
    shop.apply(&instant("web:2", &spec(9))).await;
    let earlier = shop.until_complete().await;
    let stable = held_before_the_first_pod_of(&shop, &spec(4), "web:1", "web:2").await;
    let watching = shop.watching().await;
    let facts = until_held(&shop, &stable, 20).await;
    assert_eq!(facts.canary.as_ref().map(|canary| &canary.uid), Some(&earlier.uid));
    assert_sizes(&facts, &stable, 1, 4);
    let wrong = |seen: &Seen| if seen.uid == stable { seen.desired < 4 } else { seen.desired > 1 };
    let wrong: Vec<_> = watching.take().into_iter().filter(wrong).collect();
    assert_eq!(wrong, []);
}

#[tokio::test]
async fn a_hold_that_an_undo_brings_back_from_an_old_replica_set_changes_nothing() {
    let shop = Shop::open("undone").await;
    let strategy = |max_surge: u32| json!({"rollingUpdate": {"maxSurge": max_surge, "maxUnavailable": 0}});
    let stable = held_before_the_first_pod(&shop, &json!({"strategy": strategy(3)})).await;
    until_held(&shop, &stable, 20).await;
    shop.applier.release(&shop.facts().await).await.expect("it is released");
    shop.until_complete().await;
    // Now the owner has what was ours.
    shop.apply(&instant("web:3", &json!({"strategy": strategy(1)}))).await;
    shop.until_complete().await;
    let settings = shop.settings().await;

    shop.kubectl(&["rollout", "undo", "deployment", NAME]).await;
    let undone = shop.until("the undo is seen", |facts| facts.observed && facts.canary.is_some()).await;
    assert!(undone.hold.is_some_and(|hold| hold.own.is_some()), "Kubernetes has kept a copy");
    shop.applier.release(&shop.facts().await).await.expect("it is released");
    assert_eq!(shop.facts().await.hold, None);
    assert_eq!(shop.settings().await, settings);
    shop.until_complete().await;
}
