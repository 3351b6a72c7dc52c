//! Pausing and releasing, and what is left alone.

use gatekeeper::act::{ActError, Applied, Condemnation, WriteOutcome};
use gatekeeper::decide::action::Hold;
use gatekeeper::decide::state::Cause;
use gatekeeper::watch::rollout::Pause;
use jiff::Timestamp;

use crate::shop::{NAME, REASON, Shop, simple};

fn hold() -> Hold {
    Hold { policy: "checkout".to_owned(), cause: Cause::SharedCause }
}

#[tokio::test]
async fn a_hold_stops_a_rollout_and_its_release_lets_it_complete() {
    let shop = Shop::open("hold").await;
    shop.apply(&simple("web:1")).await;
    shop.until_complete().await;
    shop.apply(&simple("web:2")).await;
    shop.until_taken_up().await;
    shop.applier.pause(&shop.facts().await, &hold()).await.expect("it is paused");
    let held = shop.facts().await;
    assert_eq!(held.pause, Pause::Ours);
    let mark = shop.annotation("errorbudget.dev/hold").await;
    assert_eq!(mark.as_deref(), Some(r#"{"policy":"checkout","reason":"SharedCause"}"#));
    assert_eq!(shop.applier.pause(&held, &hold()).await.expect("so it is"), Applied::Unchanged);

    shop.applier.release(&held).await.expect("it is released");
    assert_eq!(shop.facts().await.hold, None);
    shop.until_complete().await;
    assert_eq!(shop.applier.release(&shop.facts().await).await.expect("so it is"), Applied::Unchanged);
}

#[tokio::test]
async fn a_pause_of_the_owners_own_is_left_alone() {
    let shop = Shop::open("owners-pause").await;
    shop.apply(&simple("web:1")).await;
    shop.until_complete().await;
    shop.kubectl(&["rollout", "pause", "deployment", NAME]).await;
    let facts = shop.until("Kubernetes has seen the pause", |facts| facts.observed).await;
    assert_eq!(shop.applier.pause(&facts, &hold()).await.expect("nothing to do"), Applied::Unchanged);
    assert_eq!(shop.applier.release(&facts).await.expect("nothing to do"), Applied::Unchanged);
    assert_eq!(shop.facts().await, facts);
}

#[tokio::test]
async fn where_the_owner_has_resumed_it_only_our_annotation_goes() {
    let shop = Shop::open("resumed").await;
    shop.apply(&simple("web:1")).await;
    shop.until_complete().await;
    shop.applier.pause(&shop.facts().await, &hold()).await.expect("it is paused");
    shop.kubectl(&["rollout", "resume", "deployment", NAME]).await;
    let resumed = shop.deployment().await;
    shop.applier.release(&shop.facts().await).await.expect("it is released");
    let released = shop.facts().await;
    assert_eq!((released.pause, released.hold), (Pause::None, None));
    assert_eq!(shop.deployment().await["spec"], resumed["spec"]);
}

#[tokio::test]
async fn what_somebody_has_changed_since_the_decision_is_a_conflict_and_stays() {
    let shop = Shop::open("conflict").await;
    shop.apply(&simple("web:1")).await;
    let stable = shop.until_complete().await;
    shop.apply(&simple("web:2")).await;
    shop.until_taken_up().await;
    let decided_on = shop.facts().await;
    let intended = shop.condemn(&stable).await;
    shop.apply(&simple("web:3")).await;

    let pushed = shop.template().await;
    let pause = shop.applier.pause(&decided_on, &hold()).await;
    assert_eq!(WriteOutcome::of(&pause), Some(WriteOutcome::Conflict));
    let rollback = shop.applier.roll_back(intended).await;
    assert!(matches!(rollback, Err(ActError::Conflict { .. })), "{rollback:?}");
    assert_eq!(shop.template().await, pushed);
    assert_eq!(shop.facts().await.pause, Pause::None);
}

#[tokio::test]
async fn a_stable_revision_that_is_gone_is_a_conflict_and_nothing_is_marked() {
    let shop = Shop::open("gone").await;
    shop.apply(&simple("web:1")).await;
    let stable = shop.until_complete().await;
    shop.apply(&simple("web:2")).await;
    shop.until_complete().await;
    shop.delete_replica_set(&stable).await;
    let facts = shop.facts().await;
    let bad = facts.canary.as_ref().expect("a new revision");
    let what = Condemnation { bad, stable: &stable, policy: "checkout", reason: REASON, at: Timestamp::now() };
    let refused = shop.applier.condemn(&facts, &what).await;
    assert!(matches!(refused, Err(ActError::Conflict { .. })), "{refused:?}");
    assert_eq!(shop.until_taken_up().await.condemned, None);
}

#[tokio::test]
async fn without_rights_it_is_denied_and_without_the_lease_nothing_is_sent() {
    let shop = Shop::open("denied").await;
    shop.apply(&simple("web:1")).await;
    shop.until_complete().await;
    let facts = shop.facts().await;
    let denied = shop.applier_without_rights().await.pause(&facts, &hold()).await;
    assert_eq!(WriteOutcome::of(&denied), Some(WriteOutcome::Denied), "{denied:?}");
    let standing_by = shop.standby().await.pause(&facts, &hold()).await;
    assert_eq!(WriteOutcome::of(&standing_by), None, "{standing_by:?}");
    assert_eq!(shop.facts().await, facts);
}
