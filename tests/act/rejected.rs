//! A condemned template that comes again: the spec stands, its pods do not run, nobody fights.

use std::time::Duration;

use gatekeeper::decide::action::Hold;
use gatekeeper::decide::holding::{self, Patience};
use gatekeeper::decide::state::Cause;
use gatekeeper::watch::rollout::Rollout;

use crate::shop::{Shop, simple};

/// Long enough for the deployment controller to object.
const WATCHED: Duration = Duration::from_secs(4);

/// Holds the rejected revision without pods, as each reconcile does.
async fn hold(shop: &Shop, stable: &str) {
    let hold = Hold { policy: "checkout".to_owned(), cause: Cause::RevisionRejected };
    let next = |facts: &Rollout| {
        let stable = facts.others.iter().find(|revision| revision.uid == stable);
        holding::without_pods(facts, stable, Patience::Lasts, hold.clone())
    };
    shop.pursue(next).await;
}

async fn assert_stable_serves_alone(shop: &Shop, stable: &str) {
    let serves = |facts: &Rollout| {
        let stable = facts.others.iter().find(|revision| revision.uid == stable);
        let rejected = facts.canary.as_ref();
        stable.is_some_and(|stable| stable.ready == 3 && stable.existing == 3)
            && rejected.is_some_and(|rejected| rejected.desired == 0 && rejected.existing == 0)
    };
    shop.until("all pods are of the stable revision", serves).await;
    let seen = shop.replicas_asked_for_during(WATCHED).await;
    assert_eq!(seen.len(), 1, "nobody fights: {seen:?}");
}

#[tokio::test]
async fn its_pods_go_and_the_stable_revision_is_whole_again() {
    let shop = Shop::open("rejected").await;
    shop.apply(&simple("web:1")).await;
    let stable = shop.until_complete().await;
    shop.apply(&simple("web:2")).await;
    shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.until_complete().await;

    shop.apply(&simple("web:2")).await;
    shop.until_taken_up().await;
    hold(&shop, &stable.uid).await;
    assert_stable_serves_alone(&shop, &stable.uid).await;
    shop.apply(&simple("web:2")).await;
    assert_stable_serves_alone(&shop, &stable.uid).await;
}

#[tokio::test]
async fn also_where_it_was_complete_before_it_was_held() {
    let shop = Shop::open("rejected-complete").await;
    shop.apply(&simple("web:1")).await;
    let stable = shop.until_complete().await;
    shop.apply(&simple("web:2")).await;
    shop.until_complete().await;
    hold(&shop, &stable.uid).await;
    assert_stable_serves_alone(&shop, &stable.uid).await;
}
