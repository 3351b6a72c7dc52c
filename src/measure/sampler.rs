//! Reads the counters of all running rollouts, look by look, with as few queries as there are metrics; and nothing at all
//! while no rollout runs. It only fetches: what the numbers mean is the ledger's.
//!
//! Looks fall on whole multiples of their interval since the epoch, so that rollouts share queries and a restarted operator
//! looks at the same times as before.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{PrometheusClient, Queries};
use super::direct;
use super::direct::page::PageReader;
use super::scrape::{Failure, Origin, Scrape};
pub use super::subject::{Indicator, PodsToRead, ReadFrom, Subject};
use super::track::{self, Track};
use crate::config::UnknownEndpoint;
use crate::watch::rollout::DeploymentKey;

/// How many scrapes are kept for a rollout that nobody takes them from: more than the longest back-fill. Then the oldest go,
/// which loses no request, since counters add up: the next one kept holds what they would have shown.
const INBOX: usize = 12_000;

/// Tells the time. The process's own clock in production.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a registration meant for what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The rollout is measured from its beginning, back-fill first. Start a new ledger.
    Anew,
    /// It goes on as before; the same ledger goes on, too.
    Continued,
}

impl Registered {
    /// True when the ledger has to be started anew.
    #[must_use]
    pub const fn is_anew(self) -> bool {
        matches!(self, Self::Anew)
    }
}

/// The rollouts that are measured. Shared by the controller, which registers them and takes what was read, and the task that
/// reads.
pub struct Sampler<Q = PrometheusClient> {
    endpoints: BTreeMap<String, Arc<Q>>,
    pages: Option<Arc<PageReader>>,
    clock: Clock,
    subjects: Mutex<BTreeMap<DeploymentKey, Entry>>,
    beginnings: AtomicU64,
    changed: Notify,
    wake: UnboundedSender<DeploymentKey>,
}

/// A registered rollout.
struct Entry {
    subject: Arc<Subject>,
    /// Another one with each new beginning, so that an answer to an earlier one is not taken for this one's.
    generation: u64,
    progress: Progress,
    inbox: VecDeque<Scrape>,
}

/// How far the reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The time before now has to be read back, and could not be this many times.
    New(u32),
    /// It is being read back.
    Filling {
        /// Attempts before this one, all of which failed.
        failed: u32,
        /// When this one began.
        since: Instant,
        /// Whether a look was answered as missing since then.
        reported: bool,
    },
    /// Only the next look is missing.
    Current,
}

/// A rollout at one look.
#[derive(Clone)]
pub(super) struct Due {
    pub(super) subject: Arc<Subject>,
    pub(super) generation: u64,
    pub(super) progress: Progress,
}

impl<Q: Queries> Sampler<Q> {
    /// A sampler of these endpoints, and the keys of rollouts for which something new was read, one for each look. The receiver
    /// is meant to end in a queue that keeps a key only once.
    #[must_use]
    pub fn new(endpoints: BTreeMap<String, Arc<Q>>, clock: Clock) -> (Arc<Self>, UnboundedReceiver<DeploymentKey>) {
        Self::with_pages(endpoints, None, clock)
    }

    /// The same, which also reads pods themselves, where it is given what reads them.
    #[must_use]
    pub fn with_pages(
        endpoints: BTreeMap<String, Arc<Q>>,
        pages: Option<Arc<PageReader>>,
        clock: Clock,
    ) -> (Arc<Self>, UnboundedReceiver<DeploymentKey>) {
        let (wake, woken) = unbounded();
        let (subjects, beginnings, changed) = (Mutex::default(), AtomicU64::new(0), Notify::new());
        (Arc::new(Self { endpoints, pages, clock, subjects, beginnings, changed, wake }), woken)
    }

    /// Measures a rollout from now on; registering it again as it is changes nothing. When something else than a list of pods
    /// is different, measuring starts over and what was not taken yet is dropped.
    ///
    /// # Errors
    /// When there is no endpoint of that name; what was registered before stays.
    pub fn register(&self, subject: Subject) -> Result<Registered, UnknownEndpoint> {
        // Pods keep no past that could be read back.
        let mut progress = Progress::Current;
        if let ReadFrom::Prometheus(endpoint) = &subject.from {
            if !self.endpoints.contains_key(endpoint) {
                let known = self.endpoints.keys().cloned().collect();
                return Err(UnknownEndpoint { name: endpoint.clone(), known });
            }
            progress = Progress::New(0);
        }
        let mut subjects = self.subjects();
        if let Some(entry) = subjects.get_mut(&subject.key)
            && subject.continues(&entry.subject)
        {
            if subject != *entry.subject {
                entry.subject = Arc::new(subject);
            }
            return Ok(Registered::Continued);
        }
        let generation = self.beginnings.fetch_add(1, Ordering::Relaxed);
        let key = subject.key.clone();
        let (subject, inbox) = (Arc::new(subject), VecDeque::new());
        subjects.insert(key, Entry { subject, generation, progress, inbox });
        self.changed.notify_one();
        Ok(Registered::Anew)
    }

    /// Measures a rollout no longer, and drops what was not taken of it.
    pub fn remove(&self, key: &DeploymentKey) {
        self.subjects().remove(key);
    }

    /// What was read of a rollout since the last time, for its ledger, earliest first. Nothing for one that is not registered.
    ///
    /// When it begins with a back-fill, that replaces all that was taken before, and the ledger starts over with it.
    #[must_use]
    pub fn take(&self, key: &DeploymentKey) -> Vec<Scrape> {
        self.subjects().get_mut(key).map_or_else(Vec::new, |entry| entry.inbox.drain(..).collect())
    }

    /// How many rollouts are measured.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.subjects().len()
    }

    /// Reads, until it is dropped. To be run once. It never ends by itself but by a panic, and then the process should end, too:
    /// rollouts would go on unmeasured.
    pub async fn run(self: Arc<Self>) {
        let (mut tracks, mut running) = (JoinSet::new(), HashSet::new());
        loop {
            for track in self.tracks() {
                if !running.insert(track.clone()) {
                    continue;
                }
                let endpoint = track.endpoint.as_ref().and_then(|endpoint| self.endpoints.get(endpoint));
                match (endpoint, &self.pages) {
                    (Some(endpoint), _) => {
                        _ = tracks.spawn(track::follow(Arc::clone(&self), Arc::clone(endpoint), track));
                    }
                    (None, Some(pages)) => {
                        _ = tracks.spawn(direct::look::follow(Arc::clone(&self), Arc::clone(pages), track));
                    }
                    // Registering refuses an endpoint that is not there, and a policy is not in force that wants pods
                    // read where that is off.
                    (None, None) => {}
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Some(ended) = tracks.join_next() => match ended {
                    Ok(track) => _ = running.remove(&track),
                    // Going on without it would leave rollouts unmeasured in silence.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn tracks(&self) -> HashSet<Track> {
        self.subjects().values().map(|entry| Track::of(&entry.subject)).collect()
    }

    /// The rollouts of a track, by key. Those that have to be read back are marked as being so from now on.
    pub(super) fn due(&self, track: &Track) -> Vec<Due> {
        let mut subjects = self.subjects();
        let entries = subjects.values_mut().filter(|entry| Track::of(&entry.subject) == *track);
        let due = entries.map(|entry| {
            let Entry { subject, generation, progress, .. } = entry;
            let due = Due { subject: Arc::clone(subject), generation: *generation, progress: *progress };
            if let Progress::New(failed) = *progress {
                *progress = Progress::Filling { failed, since: Instant::now(), reported: false };
            }
            due
        });
        due.collect()
    }

    /// What a look brought.
    pub(super) fn deliver(&self, due: &Due, scrapes: Vec<Scrape>) {
        self.change(due, |entry| entry.inbox.extend(scrapes));
    }

    /// A look that came while the time before it was still being read back.
    pub(super) fn deliver_unfilled(&self, due: &Due, at: Timestamp, failure: &Failure) {
        self.change(due, |entry| {
            // When that is over by now, the next look will show what this one would have.
            if let Progress::Filling { reported, .. } = &mut entry.progress {
                *reported = true;
                entry.inbox.push_back(missing(due, at, failure));
            }
        });
    }

    /// All that was read back, the look at `end` being the last.
    pub(super) fn deliver_back_fill(&self, due: &Due, end: Timestamp, scrapes: Vec<Scrape>) {
        self.change(due, |entry| {
            entry.progress = Progress::Current;
            // It holds what earlier looks missed; later ones stay missing, and come after it.
            let later = entry.inbox.drain(..).filter(|scrape| scrape.at > end).collect::<Vec<_>>();
            entry.inbox.extend(scrapes.into_iter().chain(later));
        });
    }

    /// Nothing could be read back up to `end`. It is to be tried again.
    pub(super) fn deliver_no_back_fill(&self, due: &Due, end: Timestamp, failure: &Failure) {
        self.change(due, |entry| {
            let Progress::Filling { failed, reported, .. } = entry.progress else { return };
            entry.progress = Progress::New(failed.saturating_add(1));
            // A later look has said so already.
            if !reported {
                entry.inbox.push_back(missing(due, end, failure));
            }
        });
    }

    /// Changes what is kept of a rollout, unless it has been removed or started over since.
    fn change(&self, due: &Due, change: impl FnOnce(&mut Entry)) {
        let mut subjects = self.subjects();
        let Some(entry) = subjects.get_mut(&due.subject.key).filter(|entry| entry.generation == due.generation) else {
            return;
        };
        change(entry);
        let surplus = entry.inbox.len().saturating_sub(INBOX);
        entry.inbox.drain(..surplus);
        drop(subjects);
        // Fails only when the controller is gone, and with it whoever would care.
        let _ = self.wake.unbounded_send(due.subject.key.clone());
    }

    fn subjects(&self) -> MutexGuard<'_, BTreeMap<DeploymentKey, Entry>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look that brought nothing.
fn missing(due: &Due, at: Timestamp, failure: &Failure) -> Scrape {
    let objectives = vec![Err(failure.clone()); due.subject.objectives.len()];
    Scrape { at, origin: Origin::Live, objectives, silent: Vec::new(), scraped: None }
}

/// The clock of the process.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
