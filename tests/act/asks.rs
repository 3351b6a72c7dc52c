//! What people asked for is taken away once it is answered, a pardon lasts, and pods are given out only where they stay.

use gatekeeper::act::{ActError, Applied};
use gatekeeper::decide::action::Resize;

use crate::canary::hold;
use crate::shop::{NAME, Shop, simple};

const CONDEMNED: &str = "errorbudget.dev/condemned";

#[tokio::test]
async fn an_answer_takes_away_what_was_asked_and_never_what_is_asked_since() {
    let shop = Shop::open("answered").await;
    shop.apply(&simple("web:1")).await;
    shop.until_complete().await;
    let annotate = async |annotations: &[&str]| {
        shop.kubectl(&[&["annotate", "--overwrite", "deployment", NAME], annotations].concat()).await;
    };
    annotate(&["errorbudget.dev/override=outage", "errorbudget.dev/override-by=ida"]).await;
    let decided_on = shop.facts().await;
    annotate(&["errorbudget.dev/override=another"]).await;
    let refused = shop.applier.answer(&decided_on).await;
    assert!(matches!(refused, Err(ActError::Conflict { .. })), "{refused:?}");
    assert_eq!(shop.facts().await.asks.overriding.map(|ask| ask.value).as_deref(), Some("another"));

    shop.applier.answer(&shop.facts().await).await.expect("it is answered");
    assert!(shop.facts().await.asks.is_empty());
    assert_eq!(shop.applier.answer(&shop.facts().await).await.expect("so it is"), Applied::Unchanged);
}

#[tokio::test]
async fn a_pardon_lasts_also_where_an_undo_has_brought_a_copy_of_the_mark_to_the_deployment() {
    let shop = Shop::open("pardoned").await;
    shop.apply(&simple("web:1")).await;
    let stable = shop.until_complete().await;
    shop.apply(&simple("web:2")).await;
    shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.until_complete().await;
    shop.kubectl(&["rollout", "undo", "deployment", NAME]).await;
    let condemned = shop.until_taken_up().await;
    assert!(condemned.condemned.is_some());
    assert!(shop.annotation(CONDEMNED).await.is_some(), "the undo has copied it");

    shop.applier.pardon(&shop.facts().await, &condemned).await.expect("it is pardoned");
    shop.kubectl(&["scale", "deployment", NAME, "--replicas=4"]).await;
    let pardoned = shop.until_complete().await;
    assert_eq!((&pardoned.uid, pardoned.condemned), (&condemned.uid, None));
    assert_eq!(shop.annotation(CONDEMNED).await, None);
    let again = shop.applier.pardon(&shop.facts().await, &shop.until_complete().await).await;
    assert_eq!(again.expect("so it is"), Applied::Unchanged);
}

#[tokio::test]
async fn pods_are_not_given_out_while_the_deployment_is_not_paused_by_us() {
    let shop = Shop::open("not-ours").await;
    shop.apply(&simple("web:1")).await;
    let only = shop.until_complete().await;
    shop.kubectl(&["rollout", "pause", "deployment", NAME]).await;
    let facts = shop.until("the pause is seen", |facts| facts.observed).await;
    let sizes = [Resize { replica_set: only.replica_set, uid: only.uid, pods: 1 }];
    let refused = shop.applier.resize(&facts, &sizes).await;
    assert!(matches!(refused, Err(ActError::Conflict { .. })), "{refused:?}");
    assert_eq!(shop.facts().await.canary.map(|only| only.desired), Some(3));
}

#[tokio::test]
async fn only_replica_sets_that_have_another_number_are_resized_and_only_the_ones_that_were_meant() {
    let shop = Shop::open("resized").await;
    shop.apply(&simple("web:1")).await;
    let only = shop.until_complete().await;
    shop.applier.pause(&shop.facts().await, &hold()).await.expect("it is paused");
    let facts = shop.until("the pause is seen", |facts| facts.observed).await;
    let size = Resize { replica_set: only.replica_set, uid: only.uid, pods: 3 };
    let same = shop.applier.resize(&facts, std::slice::from_ref(&size)).await;
    assert_eq!(same.expect("nothing to do"), Applied::Unchanged);
    let created_anew = Resize { uid: "another".to_owned(), pods: 1, ..size };
    let refused = shop.applier.resize(&facts, &[created_anew]).await;
    assert!(matches!(refused, Err(ActError::Conflict { .. })), "{refused:?}");
    assert_eq!(shop.facts().await.canary.map(|only| only.desired), Some(3));
}
