//! The looks of one endpoint at one interval. Tracks know nothing of each other, so that a slow server delays only its own.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{Limits, Queries, Series};
use super::grouping::Answers;
use super::look::Missing;
use super::request::Request;
use super::sampler::{Due, Progress, Sampler};
use super::scrape::{Failure, Origin, Scrape};
use super::subject::{ReadFrom, Subject};

/// How long after its time a look is asked for: samples are scraped up to its very moment and need some time to be stored.
const STORING: Duration = Duration::from_millis(200);

/// How much of the time before a rollout is read for its baseline.
const BASELINE_MS: i64 = 600_000;

/// How many looks are read back at most, a day and more of them at 10 s. An older rollout's earlier looks come as one, and
/// it has no baseline.
const LONGEST_BACK_FILL: i64 = 10_000;

/// Points of one series that one range query asks for at most. Prometheus refuses more than 11,000.
const POINTS_A_SERIES: i64 = 10_000;

/// How many rollouts are read back together at most. After a restart all of them are at once, and answers about many times are
/// large: with twenty pods each, three of some 4 MB for ten minutes.
const ROLLOUTS_READ_BACK: usize = 100;

/// How often that is done at a time. It bounds the memory for answers, and leaves turns at the endpoint to looks.
const READ_BACK_AT_ONCE: usize = 2;

/// Rollouts times points of one range query at most: with ten pods each, some 10 MB.
const POINTS_A_QUERY: i64 = 20_000;

/// After this many failed attempts to read back, the objectives that could be read go on without the others.
const ATTEMPTS_FOR_ALL: u32 = 2;

/// Rollouts that are looked at together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Track {
    /// Name of the Prometheus endpoint; `None` where pods are read themselves.
    pub(super) endpoint: Option<String>,
    /// Whole seconds, as the query API is asked for; in milliseconds, as answers and clocks have them.
    interval_ms: i64,
}

impl Track {
    pub(super) fn of(subject: &Subject) -> Self {
        let seconds = i64::try_from(subject.look_interval.as_secs()).unwrap_or(i64::MAX);
        let endpoint = match &subject.from {
            ReadFrom::Prometheus(endpoint) => Some(endpoint.clone()),
            ReadFrom::Pods(_) => None,
        };
        Self { endpoint, interval_ms: seconds.max(1).saturating_mul(1000) }
    }

    /// The first look after a time, both in milliseconds since the epoch.
    fn next_look(&self, after: i64) -> i64 {
        (after.div_euclid(self.interval_ms) + 1).saturating_mul(self.interval_ms)
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.unsigned_abs())
    }

    fn late(&self, message: &str) -> Failure {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        Failure::new(Missing::TimedOut, format!("Prometheus endpoint {endpoint}: {message}"))
    }

    /// The earliest look that a rollout is read back to, when the latest is at `end`.
    fn back_to(&self, subject: &Subject, end: i64) -> i64 {
        let baseline = subject.since.as_millisecond() - BASELINE_MS;
        let longest = end.saturating_sub(LONGEST_BACK_FILL.saturating_mul(self.interval_ms));
        self.next_look(baseline.max(longest) - 1).min(end)
    }

    /// The looks of a rollout that is read back, when the latest is at `end`.
    fn times(&self, subject: &Subject, end: i64) -> Vec<(i64, Origin)> {
        let looks = (end - self.back_to(subject, end)) / self.interval_ms;
        let time = |i| match i {
            0 => (end, Origin::Live),
            _ => (end - i * self.interval_ms, Origin::BackFill),
        };
        (0..=looks).rev().map(time).collect()
    }
}

/// The times of a track's looks, one after the other.
pub(super) struct Grid {
    track: Track,
    last: Option<i64>,
}

impl Grid {
    pub(super) fn of(track: &Track) -> Self {
        Self { track: track.clone(), last: None }
    }

    /// Waits for the next look, and for so long after it; its time. One that is over is left out.
    pub(super) async fn next<Q: Queries>(&mut self, sampler: &Sampler<Q>, after: Duration) -> Timestamp {
        let after = i64::try_from(after.as_millis()).unwrap_or(0);
        let now = sampler.now().as_millisecond();
        let mut at = self.track.next_look(now - after);
        if self.last == Some(at) {
            at += self.track.interval_ms;
        }
        self.last = Some(at);
        sleep(Duration::from_millis((at + after - now).unsigned_abs())).await;
        timestamp(at)
    }
}

/// Looks until no rollout is left on the track; then it is given back.
pub(super) async fn follow<Q: Queries>(sampler: Arc<Sampler<Q>>, endpoint: Arc<Q>, track: Track) -> Track {
    let mut back_fills = JoinSet::new();
    let turns = Arc::new(Semaphore::new(READ_BACK_AT_ONCE));
    let mut grid = Grid::of(&track);
    loop {
        let at = grid.next(&sampler, STORING).await.as_millisecond();
        while let Some(ended) = back_fills.try_join_next() {
            // Going on without it would leave its rollouts unmeasured.
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
        let due = sampler.due(&track);
        if due.is_empty() {
            return track;
        }
        let (mut current, mut new) = (Vec::new(), Vec::new());
        for due in due {
            match due.progress {
                Progress::Current => current.push(due),
                Progress::New(_) => new.push(due),
                // For as long as the first attempt may take, nothing is missing yet.
                Progress::Filling { failed: 0, since, .. } if since.elapsed() < endpoint.timeout() => {}
                Progress::Filling { .. } => {
                    let message = "the time since the rollout began is still being read back";
                    sampler.deliver_unfilled(&due, timestamp(at), &track.late(message));
                }
            }
        }
        // Those with the same past are asked for together.
        new.sort_by_key(|due| due.subject.since);
        for chunk in new.chunks(ROLLOUTS_READ_BACK) {
            let (sampler, endpoint, track) = (Arc::clone(&sampler), Arc::clone(&endpoint), track.clone());
            let (due, turns) = (chunk.to_vec(), Arc::clone(&turns));
            back_fills.spawn(async move {
                // Never closed, so that it is always had in the end.
                let _turn = turns.acquire().await;
                back_fill(sampler, endpoint, track, due, at).await;
            });
        }
        look(&sampler, &endpoint, &track, &current, at).await;
    }
}

/// One look. It ends before the next one is due, whatever the server does; a rollout gets its part as soon as its own queries
/// are answered.
async fn look<Q: Queries>(sampler: &Sampler<Q>, endpoint: &Q, track: &Track, due: &[Due], at: i64) {
    let deadline = Instant::now() + track.interval() * 9 / 10;
    let subjects = due.iter().map(|due| Arc::clone(&due.subject)).collect::<Vec<_>>();
    let requests = Request::all(&subjects, endpoint.limits());
    let mut open = vec![0_usize; due.len()];
    requests.iter().flat_map(Request::subjects).for_each(|i| open[*i] += 1);
    let ask = async |request: &Request| {
        let Some(query) = request.text()? else { return Ok(Vec::new()) };
        let late = || track.late("no answer before the next look was due");
        timeout_at(deadline, endpoint.instant(query, timestamp(at))).await.unwrap_or_else(|_| Err(late()))
    };
    let ask = &ask;
    let mut asked =
        requests.iter().map(|request| async move { (request, ask(request).await) }).collect::<FuturesUnordered<_>>();
    let mut answers = vec![Answers::default(); due.len()];
    while let Some((request, answer)) = asked.next().await {
        request.settle(answer, &subjects, &mut answers);
        for i in request.subjects() {
            open[*i] -= 1;
            if open[*i] == 0 {
                let scrapes = answers[*i].scrapes(&subjects[*i], &[(at, Origin::Live)]);
                sampler.deliver(&due[*i], scrapes);
            }
        }
    }
}

/// Reads back the looks of rollouts from before they began to `end`, which is a look of its own right.
async fn back_fill<Q: Queries>(sampler: Arc<Sampler<Q>>, endpoint: Arc<Q>, track: Track, due: Vec<Due>, end: i64) {
    let subjects = due.iter().map(|due| Arc::clone(&due.subject)).collect::<Vec<_>>();
    let start = subjects.iter().map(|subject| track.back_to(subject, end)).min().unwrap_or(end);
    // After each failure the queries get smaller: what is too large or too slow in one may do in several.
    let failed = due.iter().map(|due| failures(due.progress)).max().unwrap_or(0);
    let answers = read_all_back(&*endpoint, &track, &subjects, start, end, failed).await;
    for ((due, subject), answers) in due.iter().zip(&subjects).zip(&answers) {
        let failed = failures(due.progress);
        match answers.any_failure(subject) {
            Some(failure) if failed < ATTEMPTS_FOR_ALL || answers.all_failed(subject) => {
                sampler.deliver_no_back_fill(due, timestamp(end), failure);
            }
            _ => {
                sampler.deliver_back_fill(due, timestamp(end), answers.scrapes(subject, &track.times(subject, end)));
            }
        }
    }
}

/// The looks before now of rollouts that would begin now, all of them on one track.
pub(super) async fn past(
    endpoint: &impl Queries,
    subjects: &[Arc<Subject>],
    now: Timestamp,
) -> Vec<Result<Vec<Scrape>, Failure>> {
    let Some(track) = subjects.first().map(|subject| Track::of(subject)) else { return Vec::new() };
    // The last look that all samples are stored of.
    let end = track.next_look(now.as_millisecond()) - track.interval_ms;
    let start = subjects.iter().map(|subject| track.back_to(subject, end)).min().unwrap_or(end);
    let answers = read_all_back(endpoint, &track, subjects, start, end, 0).await;
    let of_subject = |(subject, answers): (&Arc<Subject>, &Answers)| match answers.any_failure(subject) {
        Some(failure) => Err(failure.clone()),
        None => Ok(answers.scrapes(subject, &track.times(subject, end))),
    };
    subjects.iter().zip(&answers).map(of_subject).collect()
}

/// The answers to all questions of these rollouts from `start` to `end`.
async fn read_all_back<Q: Queries>(
    endpoint: &Q,
    track: &Track,
    subjects: &[Arc<Subject>],
    start: i64,
    end: i64,
    failed: u32,
) -> Vec<Answers> {
    // How much is answered is bounded by the number of times that are asked for at once.
    let limits = Limits { series: usize::MAX, ..endpoint.limits() };
    let requests = Request::all(subjects, limits);
    let read = requests.iter().map(|request| read_back(endpoint, track, request, start, end, failed));
    let read = read.collect::<FuturesUnordered<_>>().collect::<Vec<_>>().await;
    let mut answers = vec![Answers::default(); subjects.len()];
    for (request, answer) in read {
        request.settle(answer, subjects, &mut answers);
    }
    answers
}

/// The answer to one question from `start` to `end`, in as many queries as it takes, one after another.
async fn read_back<'a, Q: Queries>(
    endpoint: &Q,
    track: &Track,
    request: &'a Request,
    start: i64,
    end: i64,
    failed: u32,
) -> (&'a Request, Result<Vec<Series>, Failure>) {
    let query = match request.text() {
        Ok(Some(query)) => query,
        Ok(None) => return (request, Ok(Vec::new())),
        Err(failure) => return (request, Err(failure)),
    };
    let rollouts = i64::try_from(request.subjects().len()).unwrap_or(i64::MAX).max(1);
    let points = (POINTS_A_QUERY / rollouts).min(POINTS_A_SERIES) >> failed.min(7);
    let span = (points.max(2) - 1) * track.interval_ms;
    let mut all = Vec::new();
    let mut from = start;
    while from <= end {
        let to = end.min(from + span);
        match endpoint.range(query, timestamp(from), timestamp(to), track.interval()).await {
            Ok(series) => all.extend(series),
            Err(failure) => return (request, Err(failure)),
        }
        from = to + track.interval_ms;
    }
    (request, Ok(all))
}

const fn failures(progress: Progress) -> u32 {
    match progress {
        Progress::New(failed) | Progress::Filling { failed, .. } => failed,
        Progress::Current => 0,
    }
}

/// A look's time; the bound where it does not fit, which no clock reaches.
fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}
