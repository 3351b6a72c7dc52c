//! The writer against an API server that can be slow, contended or gone, in paused time.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::api::status::RolloutStatus;
use crate::record::metrics::Metrics;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Inner {
    policy: Option<Value>,
    version: u64,
    /// The status part of each accepted patch, and when it came.
    patches: Vec<(Instant, Value)>,
    reads: usize,
    /// Every request, as soon as it came.
    asked: usize,
    frozen: bool,
    failing: bool,
}

#[derive(Clone, Default)]
struct FakeApi(Arc<Mutex<Inner>>);

impl FakeApi {
    fn with_policy(status: Value) -> Self {
        let api = Self::default();
        api.create("uid-1", status);
        api
    }

    fn create(&self, uid: &str, status: Value) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        let metadata = json!({"name": "emerald", "namespace": "oz", "uid": uid,
            "resourceVersion": inner.version.to_string()});
        inner.policy = Some(json!({"metadata": metadata, "status": status}));
    }

    /// Writes as somebody else would.
    fn write_beside(&self, field: &str, value: Value) {
        let mut inner = self.0.lock().unwrap();
        inner.version += 1;
        let version = inner.version.to_string();
        let policy = inner.policy.as_mut().unwrap();
        policy["status"][field] = value;
        policy["metadata"]["resourceVersion"] = json!(version);
    }

    fn status(&self) -> Value {
        self.0.lock().unwrap().policy.as_ref().unwrap()["status"].clone()
    }

    fn patches(&self) -> Vec<Value> {
        self.0.lock().unwrap().patches.iter().map(|(_, patch)| patch.clone()).collect()
    }

    fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap());
    }

    fn writer_while(&self, may_write: impl Fn() -> bool + Send + Sync + 'static) -> StatusWriter {
        let client = Client::new(Router::new().fallback(answer).with_state(self.clone()), "oz");
        StatusWriter::new(client, may_write, Arc::new(Metrics::new(|| true)))
    }

    fn writer(&self) -> StatusWriter {
        self.writer_while(|| true)
    }
}

async fn answer(State(api): State<FakeApi>, method: Method, body: String) -> Response {
    api.set(|inner| inner.asked += 1);
    if api.0.lock().unwrap().frozen {
        std::future::pending::<()>().await;
    }
    let mut inner = api.0.lock().unwrap();
    let refusal = |code: StatusCode, reason: &str| {
        let status = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code.as_u16()});
        (code, status.to_string()).into_response()
    };
    if inner.failing {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    }
    let Some(mut policy) = inner.policy.clone() else { return refusal(StatusCode::NOT_FOUND, "NotFound") };
    if method == Method::GET {
        inner.reads += 1;
        return policy.to_string().into_response();
    }
    let patch: Value = serde_json::from_str(&body).unwrap();
    if patch["metadata"]["resourceVersion"] != policy["metadata"]["resourceVersion"] {
        return refusal(StatusCode::CONFLICT, "Conflict");
    }
    merge(&mut policy["status"], &patch["status"]);
    inner.version += 1;
    policy["metadata"]["resourceVersion"] = json!(inner.version.to_string());
    inner.policy = Some(policy.clone());
    inner.patches.push((Instant::now(), patch["status"].clone()));
    policy.to_string().into_response()
}

fn merge(target: &mut Value, patch: &Value) {
    for (key, change) in patch.as_object().unwrap() {
        if change.is_object() {
            if !target[key].is_object() {
                target[key] = json!({});
            }
            merge(&mut target[key], change);
        } else if change.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            target[key] = change.clone();
        }
    }
}

fn policy() -> PolicyRef {
    PolicyRef { namespace: "oz".to_owned(), name: "emerald".to_owned(), uid: "uid-1".to_owned() }
}

fn rollout(name: &str, phase: &str) -> Change {
    let entry = RolloutStatus { phase: phase.to_owned(), ..RolloutStatus::default() };
    Change::new().rollout(name, Some(&entry))
}

#[tokio::test(start_paused = true)]
async fn the_first_transition_is_written_at_once_and_the_next_ones_together_a_second_later() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    let start = Instant::now();
    writer.submit(&policy(), rollout("d-0", "Promoting"), Urgency::Transition);
    for i in 1..50 {
        sleep(Duration::from_millis(10)).await;
        writer.submit(&policy(), rollout(&format!("d-{i}"), "Promoting"), Urgency::Transition);
    }
    sleep(3 * SECOND).await;
    let times: Vec<_> = api.0.lock().unwrap().patches.iter().map(|(at, _)| (*at - start).as_millis()).collect();
    assert_eq!(times.len(), 2, "{times:?}");
    assert!(times[0] < 10 && (1000..1020).contains(&times[1]), "{times:?}");
    assert_eq!(api.status()["rollouts"].as_object().unwrap().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn refreshed_numbers_are_written_once_a_window_and_those_of_one_look_together() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    for look in 0..30 {
        for name in ["tin", "straw", "lion"] {
            let entry = RolloutStatus { requests: Some(look), ..RolloutStatus::default() };
            let change = Change::new().rollout(name, Some(&entry));
            writer.submit(&policy(), change, Urgency::Refresh(WINDOW));
            sleep(Duration::from_millis(20)).await;
        }
        sleep(10 * SECOND).await;
    }
    let patches = api.patches();
    assert!((10..=11).contains(&patches.len()), "{}", patches.len());
    assert!(patches.iter().all(|patch| patch["rollouts"].as_object().unwrap().len() == 3), "{patches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transition_does_not_wait_for_the_window_and_takes_refreshed_numbers_along() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(5 * SECOND).await;
    writer.submit(&policy(), Change::new().field("targets", &2), Urgency::Refresh(WINDOW));
    sleep(5 * SECOND).await;
    assert_eq!(api.patches().len(), 1);
    writer.submit(&policy(), rollout("tin", "Halted"), Urgency::Transition);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(api.patches()[1], json!({"rollouts": {"tin": {"phase": "Halted"}}, "targets": 2}));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_costs_no_write() {
    let api = FakeApi::with_policy(json!({"rollouts": {"tin": {"phase": "Promoting"}}, "runningRollouts": 1}));
    let writer = api.writer();
    for _ in 0..10 {
        writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
        sleep(2 * SECOND).await;
    }
    assert_eq!(api.patches(), Vec::<Value>::new());
    assert_eq!(api.0.lock().unwrap().reads, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_the_patch_is_made_anew_and_the_other_write_survives() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(2 * SECOND).await;
    api.write_beside("rollouts", json!({"tin": {"phase": "Lost"}, "lion": {"phase": "Promoting"}}));
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    writer.submit(&policy(), rollout("straw", "Promoting"), Urgency::Transition);
    sleep(2 * SECOND).await;
    let rollouts =
        json!({"tin": {"phase": "Promoting"}, "lion": {"phase": "Promoting"}, "straw": {"phase": "Promoting"}});
    assert_eq!(api.status()["rollouts"], rollouts);
}

#[tokio::test(start_paused = true)]
async fn a_policy_created_anew_gets_nothing_of_the_old_one() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(2 * SECOND).await;
    api.create("uid-2", json!({}));
    writer.submit(&policy(), rollout("tin", "RolledBack"), Urgency::Transition);
    sleep(60 * SECOND).await;
    assert_eq!(api.status(), json!({}));
    // What waited for the old one is gone with it, and the end does not wait for it.
    writer.drain().await;

    let anew = PolicyRef { uid: "uid-2".to_owned(), ..policy() };
    writer.submit(&anew, rollout("tin", "Promoting"), Urgency::Transition);
    sleep(2 * SECOND).await;
    assert_eq!(api.status()["rollouts"]["tin"]["phase"], "Promoting");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_policy_is_let_go() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    api.set(|inner| inner.policy = None);
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(SECOND).await;
    writer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_without_leadership_and_nothing_is_lost() {
    let api = FakeApi::with_policy(json!({}));
    let leads = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&leads);
    let writer = api.writer_while(move || asked.load(Ordering::Relaxed));
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(60 * SECOND).await;
    assert_eq!(api.patches().len(), 0);
    leads.store(true, Ordering::Relaxed);
    sleep(2 * SECOND).await;
    assert_eq!(api.patches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_written_later_with_the_newest_values() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    api.set(|inner| inner.frozen = true);
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    writer.submit(&policy(), rollout("straw", "Promoting"), Urgency::Transition);
    sleep(8 * SECOND).await;
    writer.submit(&policy(), rollout("tin", "Monitoring"), Urgency::Transition);
    api.set(|inner| (inner.frozen, inner.failing) = (false, true));
    sleep(10 * SECOND).await;
    api.set(|inner| inner.failing = false);
    sleep(30 * SECOND).await;
    let rollouts = json!({"tin": {"phase": "Monitoring"}, "straw": {"phase": "Promoting"}});
    assert_eq!(api.patches(), [json!({"rollouts": rollouts, "runningRollouts": 2})]);
}

#[tokio::test(start_paused = true)]
async fn the_end_writes_what_waits_without_spacing() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(Duration::from_millis(100)).await;
    writer.submit(&policy(), rollout("straw", "Promoting"), Urgency::Refresh(WINDOW));
    let asked = Instant::now();
    writer.drain().await;
    assert!(asked.elapsed() < Duration::from_millis(50), "{:?}", asked.elapsed());
    assert_eq!(api.patches().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_policies_at_once_do_not_overwhelm_the_api_server() {
    let api = FakeApi::with_policy(json!({}));
    api.set(|inner| inner.frozen = true);
    let writer = api.writer();
    for i in 0..200 {
        let policy = PolicyRef { name: format!("emerald-{i}"), ..policy() };
        writer.submit(&policy, rollout(&format!("d-{i}"), "Promoting"), Urgency::Transition);
    }
    sleep(SECOND).await;
    assert_eq!(api.0.lock().unwrap().asked, 4);
    api.set(|inner| inner.frozen = false);
    writer.drain().await;
    assert_eq!(api.status()["rollouts"].as_object().unwrap().len(), 200, "and all of them are written in the end");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_fell_silent_is_written_again_when_it_speaks() {
    let api = FakeApi::with_policy(json!({}));
    let writer = api.writer();
    writer.submit(&policy(), rollout("tin", "Promoting"), Urgency::Transition);
    sleep(600 * SECOND).await;
    writer.submit(&policy(), rollout("tin", "Monitoring"), Urgency::Transition);
    sleep(SECOND).await;
    assert_eq!(api.status()["rollouts"]["tin"]["phase"], "Monitoring");
    assert_eq!(api.0.lock().unwrap().reads, 2);
}
