//! What a successor finds after each step of a rollback, and what it makes of it.

use std::time::Duration;

use gatekeeper::act::{Applied, Condemnation};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::shop::{NAME, REASON, Shop, bad, fix, good};

#[tokio::test]
async fn after_the_mark_a_successor_makes_the_rollback_with_the_reason_of_the_mark() {
    let shop = Shop::open("after-mark").await;
    shop.apply(&good()).await;
    let stable = shop.until_complete().await;
    shop.apply(&bad()).await;
    shop.until_taken_up().await;
    drop(shop.condemn(&stable).await);

    let found =
        shop.until("the mark shows", |facts| facts.canary.as_ref().is_some_and(|c| c.condemned.is_some())).await;
    let bad = found.canary.as_ref().expect("the bad revision");
    let what = Condemnation { bad, stable: &stable, policy: "other", reason: "another", at: Timestamp::now() };
    let intended = shop.applier.condemn(&found, &what).await.expect("the mark is there");
    let rolled_back = shop.applier.roll_back(intended).await.expect("the rollback is made");
    assert_eq!((rolled_back.record.reason.as_str(), rolled_back.record.policy.as_str()), (REASON, "checkout"));
    assert_eq!(shop.until_complete().await.uid, stable.uid);
}

#[tokio::test]
async fn after_the_patch_a_successor_hands_ownership_back_once() {
    let shop = Shop::open("after-patch").await;
    shop.apply_as("gitops", &good()).await;
    let stable = shop.until_complete().await;
    shop.apply_as("gitops", &bad()).await;
    let condemned = shop.until_taken_up().await;
    let intended = shop.condemn(&stable).await;
    drop(shop.applier.roll_back(intended).await.expect("the rollback is made"));
    let owners = shop.owners_of_template().await;
    assert!(owners.contains(&"error-budget-gatekeeper (Update)".to_owned()), "{owners:?}");

    let facts = shop.until("Kubernetes has seen it", |facts| facts.observed).await;
    let written = shop.applier.hand_back_again(&facts).await.expect("it is handed back");
    assert_eq!(written, Applied::Written { generation: facts.generation }, "the spec is as it was");
    assert_eq!(shop.owners_of_template().await, ["gitops (Apply)"]);
    assert_eq!(shop.applier.hand_back_again(&facts).await.expect("so it is"), Applied::Unchanged);
    shop.apply_as("gitops", &bad()).await;
    assert_eq!(shop.until_taken_up().await.uid, condemned.uid);
    shop.apply_as("gitops", &fix()).await;
    assert_eq!(shop.template().await, shop.template_as_written(&fix()).await);
}

#[tokio::test]
async fn ownership_is_handed_back_also_when_status_updates_have_moved_the_entries() {
    let shop = Shop::open("moved-entries").await;
    shop.apply_as("gitops", &good()).await;
    let stable = shop.until_complete().await;
    shop.apply_as("gitops", &bad()).await;
    shop.until_taken_up().await;
    let intended = shop.condemn(&stable).await;
    let rolled_back = shop.applier.roll_back(intended).await.expect("the rollback is made");
    shop.until_complete().await;
    // Entries are sorted by the second in which they were written.
    sleep(Duration::from_millis(1100)).await;
    shop.kubectl(&["scale", "deployment", NAME, "--replicas=2"]).await;
    shop.until("it is scaled", |facts| facts.complete && facts.replicas == 2).await;
    shop.applier.hand_back(&rolled_back).await.expect("ownership is handed back");
    assert_eq!(shop.owners_of_template().await, ["gitops (Apply)"]);
}
