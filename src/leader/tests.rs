//! Leadership against an API server that can be slow, silent or forgetful, in paused time.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How the API server behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    /// Takes requests and never answers, and does nothing.
    Frozen,
    /// Does what is asked and never answers.
    Mute,
    /// Answers every request with 500.
    Failing,
}

#[derive(Debug, Clone)]
struct FakeApi(Arc<Mutex<(Mood, Option<Value>, u64)>>);

impl FakeApi {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((Mood::Well, None, 1))))
    }

    fn set(&self, mood: Mood) {
        self.0.lock().unwrap().0 = mood;
    }

    fn forget_the_lease(&self) {
        self.0.lock().unwrap().1 = None;
    }

    fn holder(&self) -> Option<String> {
        let lease = self.0.lock().unwrap().1.clone()?;
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }

    /// Writes as another candidate would.
    fn hand_to(&self, holder: &str) {
        let mut inner = self.0.lock().unwrap();
        inner.2 += 1;
        let version = inner.2.to_string();
        let lease = inner.1.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!(holder);
        lease["metadata"]["resourceVersion"] = json!(version);
    }

    fn client(&self) -> Client {
        Client::new(Router::new().fallback(answer).with_state(self.clone()), "oz")
    }

    fn candidate(&self, identity: &str) -> Running {
        let api = Api::namespaced(self.client(), "oz");
        let (candidate, leadership) = Candidate::new(api, "gate", identity.to_owned(), Timing::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(candidate.run(async move {
            let _ = stopped.await;
        }));
        Running { leadership, stop, task }
    }
}

struct Running {
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), LeaderError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

async fn answer(State(api): State<FakeApi>, method: Method, body: String) -> Response {
    let mood = api.0.lock().unwrap().0;
    if mood == Mood::Frozen {
        std::future::pending::<()>().await;
    }
    let response = if mood == Mood::Failing {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
    } else {
        api.serve(&method, &body)
    };
    if mood == Mood::Mute {
        std::future::pending::<()>().await;
    }
    response
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code.as_u16()});
    (code, status.to_string()).into_response()
}

impl FakeApi {
    fn serve(&self, method: &Method, body: &str) -> Response {
        let mut inner = self.0.lock().unwrap();
        let known = inner.1.clone();
        if method == Method::GET {
            return match known {
                Some(lease) => lease.to_string().into_response(),
                None => refusal(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        let mut wanted: Value = serde_json::from_str(body).unwrap();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        match (method.as_str(), known) {
            ("POST", Some(_)) => return refusal(StatusCode::CONFLICT, "AlreadyExists"),
            ("PUT", None) => return refusal(StatusCode::NOT_FOUND, "NotFound"),
            ("PUT", Some(known)) if version(&known) != version(&wanted) => {
                return refusal(StatusCode::CONFLICT, "Conflict");
            }
            _ => {}
        }
        inner.2 += 1;
        wanted["metadata"]["resourceVersion"] = json!(inner.2.to_string());
        inner.1 = Some(wanted.clone());
        wanted.to_string().into_response()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_leads_and_the_second_stands_by() {
    let api = FakeApi::new();
    let mut first = api.candidate("dorothy");
    first.leadership.gained().await;
    let mut second = api.candidate("toto");
    second.leadership.observed().await;
    sleep(60 * SECOND).await;
    assert!(first.leadership.may_write());
    assert!(!second.leadership.may_write());
    assert_eq!(api.holder().as_deref(), Some("dorothy"));
}

#[tokio::test(start_paused = true)]
async fn nobody_may_write_before_the_lease_was_seen() {
    let api = FakeApi::new();
    api.set(Mood::Frozen);
    let running = api.candidate("dorothy");
    sleep(60 * SECOND).await;
    assert!(!running.leadership.may_write());
    assert!(!running.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_crashed_leader_is_replaced_after_its_lease_and_not_before() {
    let api = FakeApi::new();
    let mut first = api.candidate("dorothy");
    first.leadership.gained().await;
    let mut second = api.candidate("toto");
    second.leadership.observed().await;
    sleep(12 * SECOND).await;

    first.task.abort();
    let crashed = Instant::now();
    second.leadership.gained().await;
    // The last renewal was up to 5 s before the crash; the standby looks every 2 s.
    let waited = crashed.elapsed();
    assert!((10 * SECOND..=17 * SECOND).contains(&waited), "{waited:?}");
    assert!(!first.leadership.may_write());
    assert_eq!(api.holder().as_deref(), Some("toto"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_shuts_down_hands_over_at_once() {
    let api = FakeApi::new();
    let mut first = api.candidate("dorothy");
    first.leadership.gained().await;
    let mut second = api.candidate("toto");
    second.leadership.observed().await;
    sleep(7 * SECOND).await;

    let leadership = first.leadership.clone();
    first.stop().await;
    assert!(!leadership.may_write());
    let stopped = Instant::now();
    second.leadership.gained().await;
    assert!(stopped.elapsed() <= 2 * SECOND, "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn writes_stop_one_write_timeout_before_the_lease_runs_out_and_then_the_task_ends() {
    let api = FakeApi::new();
    let mut running = api.candidate("dorothy");
    running.leadership.gained().await;
    api.set(Mood::Frozen);
    let frozen = Instant::now();

    sleep(Duration::from_millis(9_900)).await;
    assert!(running.leadership.may_write());
    sleep(Duration::from_millis(200)).await;
    assert!(!running.leadership.may_write());

    let error = running.task.await.unwrap().unwrap_err();
    assert!(matches!(&error, LeaderError::Expired { .. }), "{error}");
    assert!(frozen.elapsed() <= 17 * SECOND, "{:?}", frozen.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_renewal_without_an_answer_interrupts_nothing() {
    let api = FakeApi::new();
    let mut running = api.candidate("dorothy");
    running.leadership.gained().await;
    sleep(Duration::from_millis(4_500)).await;
    api.set(Mood::Frozen);
    sleep(2 * SECOND).await;
    api.set(Mood::Well);
    for _ in 0..60 {
        sleep(SECOND).await;
        assert!(running.leadership.may_write());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_was_accepted_without_an_answer_is_no_conflict_with_ourselves() {
    let api = FakeApi::new();
    let mut running = api.candidate("dorothy");
    running.leadership.gained().await;
    sleep(Duration::from_millis(4_500)).await;
    api.set(Mood::Mute);
    sleep(Duration::from_millis(2_600)).await;
    api.set(Mood::Well);
    sleep(30 * SECOND).await;
    assert!(running.leadership.may_write());
    assert!(!running.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_api_server_are_outlived_until_the_lease_runs_out() {
    let api = FakeApi::new();
    let mut running = api.candidate("dorothy");
    running.leadership.gained().await;
    api.set(Mood::Failing);
    sleep(12 * SECOND).await;
    assert!(!running.leadership.may_write());
    api.set(Mood::Well);
    sleep(2 * SECOND).await;
    assert!(running.leadership.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_another_hand_ends_the_leader() {
    let api = FakeApi::new();
    let mut running = api.candidate("dorothy");
    running.leadership.gained().await;
    api.hand_to("witch");
    let error = running.task.await.unwrap().unwrap_err();
    assert!(matches!(&error, LeaderError::Taken { holder } if holder == "witch"), "{error}");
    assert!(!running.leadership.may_write());
    assert_eq!(api.holder().as_deref(), Some("witch"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_written_again() {
    let api = FakeApi::new();
    let mut running = api.candidate("dorothy");
    running.leadership.gained().await;
    api.forget_the_lease();
    sleep(6 * SECOND).await;
    assert!(running.leadership.may_write());
    assert_eq!(api.holder().as_deref(), Some("dorothy"));
}

#[tokio::test(start_paused = true)]
async fn of_many_candidates_never_two_may_write() {
    let api = FakeApi::new();
    let candidates: Vec<_> = (0..5).map(|i| api.candidate(&format!("munchkin-{i}"))).collect();
    for second in 0..300_u32 {
        sleep(SECOND).await;
        api.set(match second % 60 {
            20..=33 => Mood::Frozen,
            40..=44 => Mood::Mute,
            45..=48 => Mood::Failing,
            _ => Mood::Well,
        });
        let writers = candidates.iter().filter(|candidate| candidate.leadership.may_write()).count();
        assert!(writers <= 1, "{writers} after {second} s");
    }
}

#[test]
fn a_lease_shorter_than_what_must_fit_in_is_refused_with_words() {
    let error = Timing::new(10 * SECOND, 5 * SECOND, 5 * SECOND).unwrap_err().to_string();
    assert_eq!(
        error,
        "a lease of 10s is too short: it must be longer than 13s, which is one renewal interval, one failed renewal \
         with its pause, and one write"
    );
    assert_eq!(Timing::new(15 * SECOND, 5 * SECOND, 5 * SECOND), Ok(Timing::default()));
}

#[test]
fn no_two_identities_are_equal() {
    assert_ne!(identity(Some("gate-0")), identity(Some("gate-0")));
    assert!(identity(Some("gate-0")).starts_with("gate-0_"));
    assert!(!identity(None).starts_with('_'));
}
