//! Events against an API server that can be slow or refuse, in paused time.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Frozen,
    /// Takes the Event and never answers.
    Mute,
    Refusing(u16),
}

#[derive(Debug, Default)]
struct Inner {
    mood: Mood,
    taken: Vec<Value>,
    requests: usize,
}

#[derive(Debug, Clone, Default)]
struct FakeApi(Arc<Mutex<Inner>>);

impl FakeApi {
    fn start(&self) -> (Events, tokio::task::JoinHandle<()>, Arc<Metrics>) {
        let client = Client::new(Router::new().fallback(answer).with_state(self.clone()), "oz");
        let metrics = Arc::new(Metrics::new(|| true));
        let (events, publisher) = channel(client, "gate-0_1", Arc::clone(&metrics));
        (events, tokio::spawn(publisher.run()), metrics)
    }

    fn set(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    fn taken(&self) -> Vec<Value> {
        self.0.lock().unwrap().taken.clone()
    }

    fn requests(&self) -> usize {
        self.0.lock().unwrap().requests
    }
}

async fn answer(State(api): State<FakeApi>, body: String) -> Response {
    let event: Value = serde_json::from_str(&body).unwrap();
    let refusal = |code: u16, reason: &str| {
        let status = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code});
        (StatusCode::from_u16(code).unwrap(), status.to_string()).into_response()
    };
    let mood = {
        let mut inner = api.0.lock().unwrap();
        inner.requests += 1;
        let known = inner.taken.iter().any(|known| known["metadata"]["name"] == event["metadata"]["name"]);
        match inner.mood {
            Mood::Well if known => return refusal(409, "AlreadyExists"),
            Mood::Well | Mood::Mute => inner.taken.push(event),
            Mood::Refusing(code) => return refusal(code, "Nope"),
            Mood::Frozen => {}
        }
        inner.mood
    };
    if mood != Mood::Well {
        std::future::pending::<()>().await;
    }
    body.into_response()
}

fn reference(kind: &str, name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: Some("oz".to_owned()),
        uid: Some(format!("uid-of-{name}")),
        ..ObjectReference::default()
    }
}

fn subject() -> Subject {
    Subject { deployment: reference("Deployment", "tin"), policy: reference("ErrorBudgetPolicy", "emerald") }
}

fn announcement(reason: EventReason, note: &str) -> Announcement {
    Announcement::new(reason, note.to_owned())
}

fn count(metrics: &Metrics, outcome: &str) -> u64 {
    let page = metrics.encode().unwrap();
    let start = format!("errorbudget_gatekeeper_events_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_announcement_is_an_event_on_the_deployment_and_one_on_the_policy() {
    let api = FakeApi::default();
    let (events, publisher, metrics) = api.start();
    events.announce(&subject(), &announcement(EventReason::RolledBack, "revision 7 to 6"));
    drop(events);
    publisher.await.unwrap();

    let mut taken = api.taken();
    taken.sort_by_key(|event| event["regarding"]["kind"].to_string());
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0]["regarding"]["name"], "tin");
    assert_eq!(taken[0]["related"]["name"], "emerald");
    assert_eq!(taken[0]["note"], "revision 7 to 6");
    assert_eq!(taken[1]["regarding"]["name"], "emerald");
    assert_eq!(taken[1]["note"], "tin: revision 7 to 6");
    for event in &taken {
        assert_eq!(event["reason"], "RolledBack");
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["reportingController"], REPORTING_CONTROLLER);
        assert_eq!(event["reportingInstance"], "gate-0_1");
        assert_eq!(event["metadata"]["namespace"], "oz");
    }
    assert_eq!(count(&metrics, "published"), 2);
}

#[tokio::test(start_paused = true)]
async fn events_of_the_same_reason_keep_their_own_numbers() {
    let api = FakeApi::default();
    let (events, publisher, _) = api.start();
    for burn in ["2.0x", "3.0x", "4.0x"] {
        events.announce_on(&subject().policy, &announcement(EventReason::Halted, burn));
    }
    drop(events);
    publisher.await.unwrap();
    let mut notes: Vec<_> = api.taken().iter().map(|event| event["note"].to_string()).collect();
    notes.sort();
    assert_eq!(notes, ["\"2.0x\"", "\"3.0x\"", "\"4.0x\""]);
}

#[tokio::test(start_paused = true)]
async fn an_event_taken_without_an_answer_is_not_published_twice() {
    let api = FakeApi::default();
    let (events, publisher, metrics) = api.start();
    api.set(Mood::Mute);
    events.announce_on(&subject().policy, &announcement(EventReason::Promoted, ""));
    drop(events);
    sleep(Duration::from_secs(2)).await;
    api.set(Mood::Well);
    publisher.await.unwrap();
    assert_eq!((api.taken().len(), api.requests()), (1, 2));
    assert_eq!(count(&metrics, "published"), 1);
}

#[tokio::test(start_paused = true)]
async fn announcing_never_waits_and_what_the_queue_cannot_hold_is_counted() {
    let api = FakeApi::default();
    let (events, publisher, metrics) = api.start();
    api.set(Mood::Frozen);
    let announcement = announcement(EventReason::Halted, "");
    for i in 0..QUEUE + 100 {
        events.announce_on(&reference("ErrorBudgetPolicy", &i.to_string()), &announcement);
    }
    assert_eq!(count(&metrics, "dropped"), 100);
    publisher.abort();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_stays_away_is_tried_a_few_times() {
    let api = FakeApi::default();
    let (events, publisher, metrics) = api.start();
    api.set(Mood::Refusing(500));
    events.announce_on(&subject().policy, &announcement(EventReason::Halted, ""));
    drop(events);
    publisher.await.unwrap();
    assert_eq!(api.requests(), 4);
    assert_eq!(count(&metrics, "failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_not_tried_again() {
    let api = FakeApi::default();
    let (events, publisher, metrics) = api.start();
    api.set(Mood::Refusing(403));
    events.announce_on(&subject().policy, &announcement(EventReason::Halted, ""));
    drop(events);
    publisher.await.unwrap();
    assert_eq!(api.requests(), 1);
    assert_eq!(count(&metrics, "failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_repeats_itself_too_often_is_left_out_and_counted() {
    let api = FakeApi::default();
    let (events, publisher, metrics) = api.start();
    for _ in 0..30 {
        events.announce_on(&subject().policy, &announcement(EventReason::EvidenceMissing, ""));
    }
    drop(events);
    publisher.await.unwrap();
    assert_eq!((count(&metrics, "published"), count(&metrics, "limited")), (10, 20));
}

#[test]
fn a_note_is_cut_between_two_characters() {
    let note = "é".repeat(600);
    let event = event(
        &announcement(EventReason::Halted, ""),
        &format!("x{note}"),
        &subject().policy,
        None,
        "i",
        Timestamp::UNIX_EPOCH,
    );
    let note = event.note.unwrap();
    assert_eq!(note.len(), 1023);
    assert!(note.ends_with('é'));
}

#[test]
fn the_name_of_an_event_fits_whatever_the_object_is_called() {
    let object = "a.".repeat(126) + "a";
    let name = event_name(&object, "1a", EventReason::NoRollbackTarget);
    assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    assert_ne!(event_name("tin", "0", EventReason::Halted), event_name("tin", "0", EventReason::Resumed));
}

#[test]
fn what_two_processes_tell_of_one_rollback_has_one_name_for_each_object() {
    let told = |decided: i64, told_at: i64, regarding: ObjectReference, related: &ObjectReference| {
        let decided = Timestamp::from_second(decided).unwrap();
        let announcement = Announcement::of_rollback(EventReason::RolledBack, "7 to 6".to_owned(), decided);
        let now = Timestamp::from_second(told_at).unwrap();
        event(&announcement, "7 to 6", &regarding, Some(related), "i", now).metadata.name.unwrap()
    };
    let reference = |kind: &str, uid: &str| ObjectReference { uid: Some(uid.to_owned()), ..reference(kind, "tin") };
    let policy = || reference("ErrorBudgetPolicy", "7a1c0000-0");
    let (tin, other) = (|| reference("Deployment", "0e5f0000-1"), || reference("Deployment", "9d330000-2"));
    let first = told(60, 61, tin(), &policy());
    assert_eq!(first, told(60, 75, tin(), &policy()), "told again by a successor");
    assert_ne!(first, told(61, 61, tin(), &policy()), "another rollback");
    assert_ne!(first, told(60, 61, policy(), &tin()), "the policy may have the Deployment's name");
    assert_ne!(told(60, 61, policy(), &tin()), told(60, 61, policy(), &other()), "one policy, two Deployments");
}

#[test]
fn names_sort_as_the_events_happened() {
    let moment = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let name = |announcement: &Announcement, told| {
        event(announcement, "", &reference("Deployment", "tin"), None, "i", moment(told)).metadata.name.unwrap()
    };
    let once = |reason, told| name(&Announcement::new(reason, String::new()), told);
    let of_rollback = |reason, told| name(&Announcement::of_rollback(reason, String::new(), moment(20)), told);
    let names = [
        once(EventReason::RolloutStarted, 10),
        once(EventReason::Halted, 15),
        of_rollback(EventReason::BudgetViolation, 20),
        of_rollback(EventReason::RolledBack, 20),
        of_rollback(EventReason::NotRecovered, 620),
        of_rollback(EventReason::Recovered, 700),
        once(EventReason::RevisionRejected, 800),
    ];
    assert!(names.is_sorted(), "{names:#?}");
}
