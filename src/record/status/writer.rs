//! Gathers changes by policy and writes each policy's in its own task.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use super::changes::{Changes, json_of};
use super::summary::Numbers;
use crate::api::ErrorBudgetPolicy;
use crate::api::status::{ObjectiveStatus, RolloutStatus};
use crate::record::metrics::{Metrics, StatusWrite};

/// At most one write a second for each policy.
const SPACING: Duration = Duration::from_secs(1);
/// Looks are aligned to the clock, so the rollouts of a policy report within moments of each other: a refresh waits for
/// the others for that long.
const GATHERING: Duration = Duration::from_millis(250);
/// What one write may take. Leadership reckons with it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Policies that are written at a time. A status of many rollouts takes the API server tens of milliseconds of CPU to check, and
/// at a start all policies have one to write: all at once, few are answered within [`WRITE_TIMEOUT`], nor is the Lease renewed.
const WRITES_AT_ONCE: usize = 4;
/// Between attempts after an error, doubled from [`SPACING`] up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A policy without changes for that long costs no task and no memory until the next one.
const IDLE: Duration = Duration::from_secs(120);

/// Which policy. One that is deleted and created anew under the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicyRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How soon a change has to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Something happened: a phase, a verdict, a condition. Written at once, or a second after the last write.
    Transition,
    /// Numbers moved. Written with the next transition, or when the last write is that long ago: the detection window.
    Refresh(Duration),
}

/// Changes of one policy's status, to be made together.
#[derive(Debug, Clone, Default)]
pub struct Change(Changes);

impl Change {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry of a Deployment; `None` takes it away. How many run and their worst verdict follow from the entries.
    #[must_use]
    pub fn rollout(mut self, deployment: &str, entry: Option<&RolloutStatus>) -> Self {
        self.0.rollouts.insert(deployment.to_owned(), entry.map(json_of));
        self
    }

    /// The images of a Deployment's revisions that succeeded, the newest last; none takes what is there away.
    #[must_use]
    pub fn images(mut self, deployment: &str, images: Vec<String>) -> Self {
        self.0.images.insert(deployment.to_owned(), images);
        self
    }

    /// What a Deployment's rollout burns of each objective, in the policy's order. The status shows, for each objective,
    /// the rollout that burns most, as long as that one's entry is not over.
    #[must_use]
    pub fn numbers(mut self, deployment: &str, objectives: Vec<ObjectiveStatus>) -> Self {
        self.0.numbers.insert(deployment.to_owned(), objectives);
        self
    }

    /// What is left of each objective's budget: of these objectives name, window, remaining budget and span, in the
    /// policy's order. Objectives that are not among them are none of the policy's any more.
    #[must_use]
    pub fn budgets(mut self, objectives: Vec<ObjectiveStatus>) -> Self {
        self.0.budgets = Some(objectives);
        self
    }

    /// A condition. Its `last_transition_time` is used only if its status differs from what is there.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.0.conditions.insert(condition.type_.clone(), condition);
        self
    }

    /// Any other field of the status, by its name on the wire.
    #[must_use]
    pub fn field(mut self, name: &str, value: &impl Serialize) -> Self {
        self.0.fields.insert(name.to_owned(), json_of(value));
        self
    }
}

/// Takes changes and sees to it that they are written. Clones share the work.
#[derive(Clone)]
pub struct StatusWriter(Arc<Shared>);

struct Shared {
    client: Client,
    /// Objects are read and written as they are on the wire: what another version put there must survive.
    resource: ApiResource,
    may_write: Box<dyn Fn() -> bool + Send + Sync>,
    metrics: Arc<Metrics>,
    slots: Mutex<HashMap<PolicyRef, Slot>>,
    /// How many policies have changes that are not written yet.
    unwritten: watch::Sender<usize>,
    /// Set at the end: write what there is without spacing.
    draining: watch::Sender<bool>,
    /// For one request each.
    turns: Semaphore,
}

/// What waits to be written for one policy.
struct Slot {
    pending: Changes,
    /// When it should be written; `None` while nothing waits.
    due: Option<Instant>,
    last_write: Option<Instant>,
    /// Counted in [`Shared::unwritten`].
    counted: bool,
    wake: Arc<Notify>,
}

impl fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWriter").finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// `may_write` is asked before each write; while it says no, changes wait.
    #[must_use]
    pub fn new(client: Client, may_write: impl Fn() -> bool + Send + Sync + 'static, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            client,
            resource: ApiResource::erase::<ErrorBudgetPolicy>(&()),
            may_write: Box::new(may_write),
            metrics,
            slots: Mutex::default(),
            unwritten: watch::Sender::new(0),
            draining: watch::Sender::new(false),
            turns: Semaphore::new(WRITES_AT_ONCE),
        }))
    }

    /// Adds a change to what waits for this policy. Returns at once, and never loses one: what waits is one entry for
    /// each part of the status, however slow the API server is. To be called within the runtime.
    pub fn submit(&self, policy: &PolicyRef, change: Change, urgency: Urgency) {
        if change.0.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut slots = self.0.slots();
        let slot = slots.entry(policy.clone()).or_insert_with(|| {
            let wake = Arc::new(Notify::new());
            tokio::spawn(Writer::new(Arc::clone(&self.0), policy.clone(), Arc::clone(&wake)).run());
            Slot { pending: Changes::default(), due: None, last_write: None, counted: false, wake }
        });
        slot.pending.add(change.0);
        let due = due(slot.last_write, now, urgency);
        slot.due = Some(slot.due.map_or(due, |known| known.min(due)));
        if !slot.counted {
            slot.counted = true;
            self.0.unwritten.send_modify(|count| *count += 1);
        }
        slot.wake.notify_one();
    }

    /// Writes what waits without further spacing, and returns when nothing waits any more. The caller bounds the wait.
    pub async fn drain(&self) {
        self.0.draining.send_replace(true);
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.unwritten.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// When a change that comes `now` should be written.
fn due(last_write: Option<Instant>, now: Instant, urgency: Urgency) -> Instant {
    let (gathering, spacing) = match urgency {
        Urgency::Transition => (Duration::ZERO, SPACING),
        Urgency::Refresh(window) => (GATHERING, window.max(SPACING)),
    };
    let earliest = now + gathering;
    last_write.map_or(earliest, |last| earliest.max(last + spacing))
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, HashMap<PolicyRef, Slot>> {
        // Nothing panics between two statements that belong together.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one policy's status.
struct Writer {
    shared: Arc<Shared>,
    api: Api<DynamicObject>,
    policy: PolicyRef,
    wake: Arc<Notify>,
    /// The status as the API server last gave it, and its `resourceVersion`.
    base: Option<(Map<String, Value>, String)>,
    /// What each running rollout burns, gathered from the changes so far.
    numbers: Numbers,
    failures: u32,
}

/// Why a write came to nothing.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("this replica does not lead")]
    NotLeading,
    #[error("someone else has written")]
    Conflict,
    #[error("the policy is gone")]
    Gone,
    #[error("the API server refused it: {0}")]
    Refused(#[source] kube::Error),
    #[error("no answer in {} s", WRITE_TIMEOUT.as_secs())]
    TimedOut,
    #[error(transparent)]
    Failed(kube::Error),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            kube::Error::Api(status) if status.is_not_found() => Self::Gone,
            kube::Error::Api(status) if status.is_invalid() || status.is_forbidden() => Self::Refused(error),
            _ => Self::Failed(error),
        }
    }
}

impl WriteError {
    fn outcome(&self) -> Option<StatusWrite> {
        match self {
            Self::NotLeading => None,
            Self::Conflict => Some(StatusWrite::Conflict),
            Self::Gone => Some(StatusWrite::Gone),
            Self::Refused(_) => Some(StatusWrite::Refused),
            Self::TimedOut => Some(StatusWrite::TimedOut),
            Self::Failed(_) => Some(StatusWrite::Failed),
        }
    }
}

impl Writer {
    fn new(shared: Arc<Shared>, policy: PolicyRef, wake: Arc<Notify>) -> Self {
        let api = Api::namespaced_with(shared.client.clone(), &policy.namespace, &shared.resource);
        Self { shared, api, policy, wake, base: None, numbers: Numbers::new(), failures: 0 }
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while self.wait_until_due().await {
            // Never closed. What comes while it is waited for is taken along.
            let turn = shared.turns.acquire().await;
            let Some(changes) = self.take() else { continue };
            let written = self.write(&changes).await;
            drop(turn);
            match written {
                Ok(()) => self.written(),
                Err(WriteError::Gone) => return self.forget(),
                Err(error) => self.keep_for_later(changes, &error).await,
            }
        }
    }

    /// Waits until something is due. False when the slot was given up, for want of changes.
    async fn wait_until_due(&self) -> bool {
        let mut draining = self.shared.draining.subscribe();
        loop {
            let due = self.shared.slots().get(&self.policy).and_then(|slot| slot.due);
            let now = Instant::now();
            match due {
                Some(due) if due <= now || *draining.borrow_and_update() => return true,
                Some(due) => {
                    tokio::select! {
                        _ = timeout_at(due, self.wake.notified()) => {}
                        _ = draining.changed() => {}
                    }
                }
                None => {
                    if timeout(IDLE, self.wake.notified()).await.is_err() && self.give_up_if_idle() {
                        return false;
                    }
                }
            }
        }
    }

    /// Ends the slot unless a change came in this very moment.
    fn give_up_if_idle(&self) -> bool {
        let mut slots = self.shared.slots();
        let idle = slots.get(&self.policy).is_none_or(|slot| slot.due.is_none());
        if idle {
            slots.remove(&self.policy);
        }
        idle
    }

    fn take(&self) -> Option<Changes> {
        let mut slots = self.shared.slots();
        let slot = slots.get_mut(&self.policy)?;
        slot.due = None;
        Some(std::mem::take(&mut slot.pending))
    }

    /// After a write: the slot counts as written unless more has come meanwhile.
    fn written(&mut self) {
        self.failures = 0;
        let mut slots = self.shared.slots();
        let Some(slot) = slots.get_mut(&self.policy) else { return };
        slot.counted = slot.due.is_some();
        let done = !slot.counted;
        drop(slots);
        if done {
            self.shared.unwritten.send_modify(|count| *count -= 1);
        }
    }

    /// The policy does not exist any more: nor does what waits for it.
    fn forget(&self) {
        let gone = self.shared.slots().remove(&self.policy);
        if gone.is_some_and(|slot| slot.counted) {
            self.shared.unwritten.send_modify(|count| *count -= 1);
        }
    }

    /// Puts changes back beneath what has come since, and waits longer each time.
    async fn keep_for_later(&mut self, changes: Changes, error: &WriteError) {
        let pause = if let WriteError::NotLeading = error {
            // A gap between two renewals of the Lease, or the end of this process: nothing that waiting longer helps.
            SPACING
        } else {
            warn!(policy = %self.policy, %error, "status was not written; trying again");
            let doubled = SPACING * 2_u32.saturating_pow(self.failures.min(5));
            self.failures += 1;
            doubled.min(LONGEST_PAUSE)
        };
        {
            let mut slots = self.shared.slots();
            if let Some(slot) = slots.get_mut(&self.policy) {
                let newer = std::mem::replace(&mut slot.pending, changes);
                slot.pending.add(newer);
                slot.due = Some(Instant::now());
            }
        }
        sleep(pause).await;
    }

    /// One write: at most one patch, and a second one right away when someone else had written first.
    async fn write(&mut self, changes: &Changes) -> Result<(), WriteError> {
        changes.update(&mut self.numbers);
        let mut result = self.patch(changes).await;
        if let Err(WriteError::Conflict) = result {
            self.shared.metrics.status_write(StatusWrite::Conflict);
            self.base = None;
            result = self.patch(changes).await;
        }
        if let Err(error) = &result {
            // After an error nothing is known: the write may have happened.
            self.base = None;
            if let Some(outcome) = error.outcome() {
                self.shared.metrics.status_write(outcome);
            }
        }
        result
    }

    async fn patch(&mut self, changes: &Changes) -> Result<(), WriteError> {
        if self.base.is_none() {
            let found = in_time(self.api.get(&self.policy.name)).await?;
            self.base = Some(self.status_of(found)?);
        }
        let Some((status, version)) = &self.base else { return Err(WriteError::Conflict) };
        let Some(patch) = changes.plan(status, &self.numbers) else { return Ok(()) };
        if !(self.shared.may_write)() {
            return Err(WriteError::NotLeading);
        }
        let body = json!({"metadata": {"resourceVersion": version}, "status": patch});
        if let Some(slot) = self.shared.slots().get_mut(&self.policy) {
            slot.last_write = Some(Instant::now());
        }
        let params = PatchParams::default();
        let written = in_time(self.api.patch_status(&self.policy.name, &params, &Patch::Merge(body))).await?;
        self.shared.metrics.status_write(StatusWrite::Written);
        self.base = Some(self.status_of(written)?);
        Ok(())
    }

    /// The status in an answer, if it is of the policy that is meant.
    fn status_of(&self, mut found: DynamicObject) -> Result<(Map<String, Value>, String), WriteError> {
        if found.metadata.uid.as_ref() != Some(&self.policy.uid) {
            return Err(WriteError::Gone);
        }
        let status = match found.data.get_mut("status").map(Value::take) {
            Some(Value::Object(status)) => status,
            _ => Map::new(),
        };
        Ok((status, found.metadata.resource_version.unwrap_or_default()))
    }
}

/// The client itself waits for answers without limit.
async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    Ok(timeout(WRITE_TIMEOUT, request).await.map_err(|_| WriteError::TimedOut)??)
}
