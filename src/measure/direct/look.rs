//! One look at the pods of each rollout that is read directly.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use super::counts::{Counted, counts};
use super::page::PageReader;
use super::target::Target;
use crate::measure::client::Queries;
use crate::measure::look::Missing;
use crate::measure::sampler::{Clock, Due, Sampler};
use crate::measure::scrape::{Failure, Origin, PodSample, Samples, Scrape, Side, Silent, Source};
use crate::measure::subject::{PodsToRead, ReadFrom, Subject};
use crate::measure::track::{Grid, Track};

/// Looks until no rollout is left on the track; then it is given back.
pub(in crate::measure) async fn follow<Q: Queries>(
    sampler: Arc<Sampler<Q>>,
    reader: Arc<PageReader>,
    track: Track,
) -> Track {
    let mut grid = Grid::of(&track);
    loop {
        let at = grid.next(&sampler, std::time::Duration::ZERO).await;
        let due = sampler.due(&track);
        if due.is_empty() {
            return track;
        }
        let deadline = Instant::now() + track.interval() * 9 / 10;
        // A rollout gets its part as soon as its own pods have answered.
        let look = async |due: Due| {
            let scrape = scrape(&reader, &due.subject, at, deadline, sampler.clock()).await;
            sampler.deliver(&due, vec![scrape]);
        };
        join_all(due.into_iter().map(look)).await;
    }
}

/// Reads all pods of a rollout.
async fn scrape(reader: &PageReader, subject: &Subject, at: Timestamp, deadline: Instant, clock: &Clock) -> Scrape {
    const NONE: &PodsToRead = &PodsToRead { canary: Vec::new(), stable: Vec::new(), unlisted: None };
    let pods = match &subject.from {
        ReadFrom::Pods(pods) => pods,
        // Its track is another one.
        ReadFrom::Prometheus(_) => NONE,
    };
    let read = async |side: Side, target: &Target| Read {
        side,
        pod: Arc::clone(&target.pod),
        from_zero: target.from_zero,
        counts: one(reader, subject, target, deadline).await,
        taken: clock(),
    };
    let canary = pods.canary.iter().map(|target| read(Side::Canary, target));
    let reads = join_all(canary.chain(pods.stable.iter().map(|target| read(Side::Stable, target)))).await;
    together(&reads, subject.objectives.len(), pods.unlisted.as_ref(), at)
}

/// What came of reading one pod.
struct Read {
    side: Side,
    pod: Arc<str>,
    from_zero: bool,
    counts: Result<Vec<Counted>, Failure>,
    taken: Timestamp,
}

async fn one(
    reader: &PageReader,
    subject: &Subject,
    target: &Target,
    deadline: Instant,
) -> Result<Vec<Counted>, Failure> {
    let failed = |message: &str| Failure::new(Missing::QueryFailed, message);
    let url = target.page.as_ref().map_err(|why| failed(why))?;
    let page = reader.read(url, deadline).await?;
    counts(&page.text, page.format, &target.pod, &subject.objectives).map_err(|error| failed(&error.to_string()))
}

/// Everything that was read at one look. A side of which nothing could be read makes the look one without evidence: without
/// the canary there is nothing to judge, and without the stable pods, which serve, nobody to compare it with.
fn together(reads: &[Read], objectives: usize, unlisted: Option<&Arc<str>>, at: Timestamp) -> Scrape {
    let of = |side| reads.iter().filter(move |read| read.side == side);
    let unread = |side: Side, words: &str| {
        let first = of(side).find_map(|read| Some((read, read.counts.as_ref().err()?)))?;
        let none = of(side).all(|read| read.counts.is_err());
        let (read, failure) = first;
        let message =
            format!("none of {} {words} pods could be read: {}: {}", of(side).count(), read.pod, failure.message);
        none.then(|| Failure::new(failure.why, message))
    };
    let unlisted = unlisted.filter(|_| reads.is_empty());
    let unlisted = unlisted.map(|why| Failure::new(Missing::QueryFailed, Arc::clone(why)));
    let failure = unlisted.or_else(|| unread(Side::Canary, "canary")).or_else(|| unread(Side::Stable, "stable"));
    let samples = |objective: usize| {
        let samples = |side| {
            let sample = |read: &Read| {
                let counts = read.counts.as_ref().ok()?.get(objective)?.as_ref().ok()?;
                let (pod, from_zero) = (Arc::clone(&read.pod), read.from_zero);
                Some(PodSample { pod, errors: counts.errors, total: counts.total?, taken: read.taken, from_zero })
            };
            of(side).filter_map(sample).collect()
        };
        Samples { canary: samples(Side::Canary), stable: samples(Side::Stable), source: Source::Pods }
    };
    // All pods of a ReplicaSet expose the same: what one page cannot have, none has. Stable ones are left out then, as with
    // Prometheus, or no release could begin to expose what its policy reads.
    let unreadable = |objective: usize| {
        let problem =
            |read: &Read| Some((Arc::clone(&read.pod), read.counts.as_ref().ok()?.get(objective)?.clone().err()?));
        let (pod, problem) = of(Side::Canary).find_map(problem)?;
        Some(Failure::new(Missing::NoSeries, format!("pod {pod}: {problem}")))
    };
    let silent = reads.iter().filter_map(|read| {
        let failure = read.counts.as_ref().err()?.clone();
        Some(Silent { pod: Arc::clone(&read.pod), side: read.side, failure })
    });
    Scrape {
        at,
        origin: Origin::Live,
        objectives: (0..objectives)
            .map(|i| failure.clone().or_else(|| unreadable(i)).map_or_else(|| Ok(samples(i)), Err))
            .collect(),
        silent: silent.collect(),
        scraped: None,
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
