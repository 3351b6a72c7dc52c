//! Events, on the Deployment and on its policy.
//!
//! Telling comes after acting and must never delay it: [`Events::announce`] puts a note into a bounded queue and returns.
//! A task of its own publishes. When the API server is away for longer than the queue lasts, Events are dropped and
//! counted; status and logs have the same facts.
//!
//! `kube`'s own `Recorder` folds Events of the same reason for six minutes into a series that keeps the *first* note. Here
//! each note has its own numbers and is the reason the Event exists, so each becomes an Event of its own. What bounds
//! them instead is an allowance for each reason and object. An Event's name is chosen before the first attempt, so that
//! an attempt that was accepted without an answer is not published twice. What is told of a rollback is named by when it
//! was decided, so that a successor of a process that was killed does not tell it again.

mod limit;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::decide::announcement::{Announcement, EventReason};
use crate::record::metrics::{EventFate, Metrics};
use limit::Limiter;

/// Names the operator in each Event; `kubectl describe` shows it under "From".
pub const REPORTING_CONTROLLER: &str = "errorbudget.dev/gatekeeper";

/// 200 rollouts that each announce a rollback at once make 200 * 3 announcements of two Events each; 1 kB each.
const QUEUE: usize = 1200;
/// Requests under way at a time: more would compete with rollbacks for the client's own queue.
const CONCURRENCY: usize = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 4;
/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// What the API server accepts as a note.
const NOTE_BYTES: usize = 1024;
/// What the API server accepts as the name of an instance.
const INSTANCE_BYTES: usize = 128;

/// What an announcement is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The Deployment.
    pub deployment: ObjectReference,
    /// The policy that governs it.
    pub policy: ObjectReference,
}

/// Takes announcements. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    instance: Arc<str>,
}

/// Publishes what [`Events`] takes. Ends when all of those are dropped and the queue is empty.
pub struct Publisher {
    client: Client,
    queue: mpsc::Receiver<Event>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// The queue and what publishes it. `instance` is this replica's identity.
#[must_use]
pub fn channel(client: Client, instance: &str, metrics: Arc<Metrics>) -> (Events, Publisher) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let events = Events {
        queue: sender,
        limiter: Arc::default(),
        metrics: Arc::clone(&metrics),
        instance: cut(instance, INSTANCE_BYTES).into(),
    };
    (events, Publisher { client, queue, metrics })
}

impl Events {
    /// Announces on the Deployment and on the policy. Returns at once; never fails: what cannot be queued is counted.
    pub fn announce(&self, subject: &Subject, announcement: &Announcement) {
        let Subject { deployment, policy } = subject;
        let note = &announcement.note;
        self.enqueue(announcement, note, deployment, Some(policy));
        // A policy has many Deployments, and `kubectl describe` does not show what an Event is related to.
        let name = deployment.name.as_deref().unwrap_or_default();
        self.enqueue(announcement, &format!("{name}: {note}"), policy, Some(deployment));
    }

    /// Announces on one object alone.
    pub fn announce_on(&self, regarding: &ObjectReference, announcement: &Announcement) {
        self.enqueue(announcement, &announcement.note, regarding, None);
    }

    fn enqueue(
        &self,
        announcement: &Announcement,
        note: &str,
        regarding: &ObjectReference,
        related: Option<&ObjectReference>,
    ) {
        let reason = announcement.reason;
        let uid = regarding.uid.as_deref().unwrap_or_default();
        if !self.limiter.allows(uid, reason, Instant::now()) {
            self.metrics.event(EventFate::Limited);
            return;
        }
        let event = event(announcement, note, regarding, related, &self.instance, Timestamp::now());
        if self.queue.try_send(event).is_err() {
            self.metrics.event(EventFate::Dropped);
        }
    }
}

impl Publisher {
    /// Publishes until all [`Events`] are dropped and what they took is dealt with. The caller bounds the wait at the end.
    pub async fn run(self) {
        let Self { client, queue, metrics } = self;
        let queue = futures::stream::unfold(queue, async |mut queue| queue.recv().await.map(|event| (event, queue)));
        queue
            .for_each_concurrent(CONCURRENCY, async |event| {
                metrics.event(publish(&client, &event).await);
            })
            .await;
    }
}

/// Why one attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("no answer in {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

async fn publish(client: &Client, event: &Event) -> EventFate {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        let answer = timeout(REQUEST_TIMEOUT, api.create(&PostParams::default(), event)).await;
        let error: PublishError = match answer {
            Ok(Ok(_)) => return EventFate::Published,
            // An earlier attempt was accepted without an answer.
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => return EventFate::Published,
            Ok(Err(error)) => error.into(),
            Err(_) => PublishError::TimedOut,
        };
        let name = event.metadata.name.as_deref();
        if attempt == ATTEMPTS || is_final(&error) {
            warn!(event = name, namespace, reason = event.reason, note = event.note, %error, "event was not published");
            return EventFate::Failed;
        }
        sleep(pause).await;
        pause *= 2;
    }
    EventFate::Failed
}

/// Whether another attempt would be answered the same: forbidden, invalid, or in a namespace that is gone.
fn is_final(error: &PublishError) -> bool {
    match error {
        PublishError::Refused(kube::Error::Api(status)) => (400..500).contains(&status.code) && status.code != 429,
        _ => false,
    }
}

fn event(
    announcement: &Announcement,
    note: &str,
    regarding: &ObjectReference,
    related: Option<&ObjectReference>,
    instance: &str,
    now: Timestamp,
) -> Event {
    let reason = announcement.reason;
    let name = regarding.name.as_deref().unwrap_or_default();
    // Sixteen digits last until 2554.
    let moment = match announcement.decided {
        // The API server refuses a second one of that name.
        Some(decided) => {
            let (step, related) = (step_of_rollback(reason), related.map_or("", start_of_uid));
            format!("{:016x}.{step}.{}{related}", decided.as_nanosecond(), start_of_uid(regarding))
        }
        // Two about one object in one nanosecond differ by their reason.
        None => format!("{:016x}", now.as_nanosecond()),
    };
    Event {
        metadata: ObjectMeta {
            namespace: regarding.namespace.clone(),
            name: Some(event_name(name, &moment, reason)),
            ..ObjectMeta::default()
        },
        // An Event needs an action; ours are named by what happened.
        action: Some(reason.as_str().to_owned()),
        reason: Some(reason.as_str().to_owned()),
        type_: Some(if reason.is_warning() { "Warning" } else { "Normal" }.to_owned()),
        note: Some(cut(note, NOTE_BYTES).to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(regarding.clone()),
        related: related.cloned(),
        reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// A name of its own for each Event. It may have 253 characters.
///
/// It begins with `moment`, so that names sort as the Events happened: `kubectl describe` knows no order for those of
/// `events.k8s.io` and leaves them as they are listed, by name.
fn event_name(object: &str, moment: &str, reason: EventReason) -> String {
    let suffix = format!(".{moment}.{}", reason.as_str().to_ascii_lowercase());
    let stem = cut(object, 253 - suffix.len()).trim_end_matches(['.', '-']);
    format!("{stem}{suffix}")
}

/// What is told of one rollback bears the moment of its decision, and happens in this order.
const fn step_of_rollback(reason: EventReason) -> u8 {
    match reason {
        EventReason::RolledBack => 1,
        EventReason::NotRecovered => 2,
        EventReason::Recovered => 3,
        _ => 0,
    }
}

/// Enough of a uid to tell the few objects apart that are rolled back in one second.
fn start_of_uid(object: &ObjectReference) -> &str {
    cut(object.uid.as_deref().unwrap_or_default(), 8)
}

/// At most `limit` bytes of `text`, ending between two characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
