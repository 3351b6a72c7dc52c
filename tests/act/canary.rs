//! A canary has exactly its pods, whatever the owner's strategy is and also when nobody looks after it.

use std::time::Duration;

use futures::future::join_all;
use gatekeeper::decide::action::{CanaryHold, Hold, Room};
use gatekeeper::decide::holding::{self, Next};
use gatekeeper::decide::state::Cause;
use gatekeeper::watch::rollout::{Pause, Rollout};
use serde_json::{Value, json};

use crate::shop::{Shop, simple};
use crate::watching::Watching;

/// Long enough for the deployment controller to go on, if anything lets it.
pub(crate) const LEFT_ALONE: Duration = Duration::from_secs(3);

pub(crate) fn hold() -> Hold {
    Hold { policy: "checkout".to_owned(), cause: Cause::NotConvicted }
}

/// A manifest with these fields of the spec, whose pods are Ready at once.
pub(crate) fn instant(image: &str, spec: &Value) -> Value {
    let mut manifest = simple(image);
    for (key, value) in spec.as_object().expect("fields") {
        manifest["spec"][key] = value.clone();
    }
    manifest["spec"]["template"]["metadata"]["annotations"] = json!({"testbed/ready-delay": "0s"});
    manifest
}

fn rolling(max_surge: &Value, max_unavailable: &Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": max_surge, "maxUnavailable": max_unavailable}})
}

/// The second template is there, and held before its first pod, as the admission policy does it.
pub(crate) async fn held_before_the_first_pod(shop: &Shop, spec: &Value) -> String {
    held_before_the_first_pod_of(shop, spec, "web:1", "web:2").await
}

/// The same with these images.
pub(crate) async fn held_before_the_first_pod_of(shop: &Shop, spec: &Value, first: &str, second: &str) -> String {
    shop.apply(&instant(first, spec)).await;
    let stable = shop.until_complete().await;
    shop.applier.pause(&shop.facts().await, &hold()).await.expect("it is paused");
    shop.apply(&instant(second, spec)).await;
    shop.until("the new template is paused", |facts| facts.observed && facts.pause == Pause::Ours).await;
    stable.uid
}

/// Leads to a held canary with this share of the traffic.
pub(crate) async fn until_held(shop: &Shop, stable: &str, traffic: u32) -> Rollout {
    shop.pursue(|facts| match facts.others.iter().find(|other| other.uid == stable) {
        Some(stable) => holding::with_canary(facts, stable, holding::room(traffic, facts), hold()),
        None => Next::Wait,
    })
    .await
}

/// Pods that each ReplicaSet is asked to have: the canary's and the stable one's, and none beside them.
pub(crate) fn assert_sizes(facts: &Rollout, stable: &str, canary: u32, stable_pods: u32) {
    let all = facts.canary.iter().chain(&facts.others);
    for revision in all {
        let newest = facts.canary.as_ref().is_some_and(|newest| newest.uid == revision.uid);
        let wanted = if newest {
            canary
        } else if revision.uid == stable {
            stable_pods
        } else {
            0
        };
        assert_eq!(revision.desired, wanted, "{}", revision.replica_set);
    }
}

fn assert_never_more(shop: &Shop, watching: &Watching, stable: &str, room: Room, replicas: u32) {
    let pods = |number: u32| i32::try_from(number).expect("a few pods");
    for seen in watching.take() {
        if seen.uid == stable {
            assert!(
                seen.desired >= pods(room.stable_pods(replicas)),
                "{}: too few stable pods, {seen:?}",
                shop.namespace
            );
            assert!(seen.desired <= pods(replicas), "{}: too many stable pods, {seen:?}", shop.namespace);
        } else {
            assert!(
                seen.desired.max(seen.existing) <= pods(room.pods()),
                "{}: a pod too many, {seen:?}",
                shop.namespace
            );
        }
    }
}

/// Arms with one patch and leaves it alone, latches and leaves it alone, then lets it go.
async fn assert_held_exactly(namespace: &'static str, traffic: u32, room: Room, spec: Value) {
    let shop = Shop::open(namespace).await;
    let stable = held_before_the_first_pod(&shop, &spec).await;
    let facts = shop.facts().await;
    assert_eq!(holding::room(traffic, &facts), room, "{namespace}");
    let replicas = facts.replicas;
    let own = shop.settings().await;
    let watching = shop.watching().await;

    let arm = CanaryHold { hold: hold(), paused: false, room };
    shop.applier.hold_canary(&facts, &arm).await.expect("it is armed");
    let is_there = |facts: &Rollout| {
        let stable = facts.others.iter().find(|other| other.uid == stable);
        facts.observed
            && facts.canary.as_ref().is_some_and(|canary| canary.ready == room.pods())
            && stable.is_some_and(|stable| stable.existing == room.stable_pods(replicas))
    };
    shop.until("the canary is there", is_there).await;
    tokio::time::sleep(LEFT_ALONE).await;
    let armed = shop.facts().await;
    assert_sizes(&armed, &stable, room.pods(), room.stable_pods(replicas));
    assert_never_more(&shop, &watching, &stable, room, replicas);

    let latch = CanaryHold { paused: true, ..arm };
    shop.applier.hold_canary(&armed, &latch).await.expect("it is latched");
    tokio::time::sleep(LEFT_ALONE).await;
    let latched = shop.facts().await;
    assert!(is_there(&latched) && latched.pause == Pause::Ours, "{namespace}: {latched:#?}");
    assert_never_more(&shop, &watching, &stable, room, replicas);

    shop.applier.release(&latched).await.expect("it is released");
    let mut unpaused = own;
    unpaused.as_object_mut().expect("fields").remove("paused");
    assert_eq!(shop.settings().await, unpaused, "{namespace}");
    assert_ne!(shop.until_complete().await.uid, stable, "{namespace}");
}

#[tokio::test]
async fn armed_or_latched_and_left_alone_it_has_exactly_its_pods_whatever_the_strategy() {
    let cases = [
        ("no-surge", 25, Room::InPlaceOf(1), json!({"replicas": 4, "strategy": rolling(&json!(0), &json!(1))})),
        (
            "no-surge-half",
            50,
            Room::InPlaceOf(2),
            json!({"replicas": 4, "strategy": rolling(&json!("0%"), &json!("50%"))}),
        ),
        ("percentages", 20, Room::Beside(2), json!({"replicas": 5, "strategy": rolling(&json!("25%"), &json!("25%"))})),
        ("one-by-one", 10, Room::Beside(1), json!({"replicas": 4, "strategy": rolling(&json!(1), &json!(0))})),
        (
            "all-at-once",
            30,
            Room::Beside(2),
            json!({"replicas": 4, "strategy": rolling(&json!("100%"), &json!("100%"))}),
        ),
        ("single", 10, Room::Beside(1), json!({"replicas": 1})),
        ("half", 50, Room::Beside(3), json!({"replicas": 3})),
        ("all-of-it", 100, Room::Beside(2), json!({"replicas": 2})),
        ("min-ready", 25, Room::Beside(1), json!({"replicas": 3, "minReadySeconds": 2})),
        ("tiny-deadline", 25, Room::Beside(1), json!({"replicas": 3, "progressDeadlineSeconds": 1})),
        ("no-deadline", 25, Room::Beside(1), json!({"replicas": 3, "progressDeadlineSeconds": 2_147_483_647})),
    ];
    join_all(cases.map(|(namespace, traffic, room, spec)| assert_held_exactly(namespace, traffic, room, spec))).await;
}
