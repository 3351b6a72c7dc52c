//! Raw counters become looks. Pure: it is told what was read and when, and keeps only what the next difference needs, so
//! that feeding it the same scrapes again after a restart gives the same looks again.

mod book;
mod pods;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::book::Book;
use super::coverage::{Coverage, PartOfPods};
use super::look::{Evidence, Missing, Tally};
use super::scrape::{Failure, Origin, Scrape, Side, Silent, Source};
use crate::policy::{Indicator, Objective};

/// What a ledger needs to know of its rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// When the rollout began. Looks up to then are its baseline; canary counters that start later start from zero.
    pub since: Timestamp,
    /// The detection window.
    pub window: Duration,
    /// Time between two looks.
    pub look_interval: Duration,
    /// How each objective is counted, in the policy's order.
    pub objectives: Vec<Counting>,
}

/// How the samples of one objective are to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counting {
    /// What each pod serves until so long after the first sample that shows a request to it is left out.
    pub warmup: Duration,
    /// Where the count of errors comes from.
    pub errors: ErrorCount,
}

impl Counting {
    /// How the samples of this objective are to be taken.
    #[must_use]
    pub const fn of(objective: &Objective) -> Self {
        let errors = match objective.indicator {
            Indicator::Ratio { .. } | Indicator::Query { .. } => ErrorCount::Counter,
            Indicator::Latency(_) => ErrorCount::Difference,
        };
        Self { warmup: objective.warmup, errors }
    }
}

/// Where a count of errors comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorCount {
    /// A counter: when it goes down, some process behind it started anew.
    #[default]
    Counter,
    /// What lies between two counters, or an estimate: it may sink by a little while all requests rise, and what it counted
    /// once is then not counted again.
    Difference,
}

/// What one scrape showed, objective by objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The time of the look.
    pub at: Timestamp,
    /// Whether it was asked at its time or read back.
    pub origin: Origin,
    /// One for each objective, in the policy's order.
    pub evidence: Vec<Evidence>,
}

/// The counters of one rollout, differenced. It must see the back-fill first, and then every later scrape; one that is lost
/// only makes the next look larger, since counters add up.
#[derive(Debug, Clone)]
pub struct Ledger {
    terms: Terms,
    last: Option<Timestamp>,
    objectives: Vec<Book>,
    silent: HashMap<Arc<str>, Silence>,
    coverage: Coverage,
    part: Option<PartOfPods>,
    /// Canary pods are Ready of which the last look had no series.
    lacks_pods: bool,
}

/// A Ready canary pod that could not be read at the last look.
#[derive(Debug, Clone)]
struct Silence {
    /// Looks in a row, that one included.
    looks: u32,
    failure: Failure,
}

impl Ledger {
    /// An empty ledger of a rollout.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        let objectives = vec![Book::default(); terms.objectives.len()];
        let (silent, coverage) = (HashMap::new(), Coverage::default());
        Self { terms, last: None, objectives, silent, coverage, part: None, lacks_pods: false }
    }

    /// Enters a scrape. `ready_canary_pods` is how many are Ready now; it counts only for live scrapes, since of a past moment
    /// it is not known.
    ///
    /// `None` for what is no look of this rollout: the baseline before it began, the same scrape a second time, or one with
    /// another number of objectives.
    pub fn enter(&mut self, scrape: &Scrape, ready_canary_pods: u32) -> Option<Entry> {
        if self.last == Some(scrape.at) || scrape.objectives.len() != self.objectives.len() {
            return None;
        }
        let previous = self.last.replace(scrape.at);
        let ready = scrape.origin == Origin::Live && ready_canary_pods > 0;
        self.listen(&scrape.silent);
        let books = self.objectives.iter_mut().zip(&self.terms.objectives).zip(&scrape.objectives);
        let enter = |((book, counting), read): ((&mut Book, &Counting), &Result<_, _>)| {
            book.enter(&self.terms, *counting, scrape.at, previous, read, ready)
        };
        let evidence = books.map(enter).collect();
        if scrape.origin == Origin::Live {
            self.cover(scrape, ready_canary_pods);
        }
        if scrape.at <= self.terms.since {
            for (book, look) in self.objectives.iter_mut().zip::<&Vec<Evidence>>(&evidence) {
                // A look between two scrapes says nothing about how the pods' errors scatter.
                book.baseline.extend(look.iter().map(|look| look.stable).filter(|served| served.requests() > 0.0));
            }
            return None;
        }
        Some(Entry { at: scrape.at, origin: scrape.origin, evidence })
    }

    /// Of how many Ready canary pods something is known. A pod is measured in all objectives or in none: what differs between
    /// them is which labels its requests have.
    fn cover(&mut self, scrape: &Scrape, ready: u32) {
        let of_pods = self.objectives.iter().zip(&scrape.objectives).filter_map(|(book, read)| {
            Some((book, read.as_ref().ok().filter(|samples| samples.source == Source::Pods)?))
        });
        let of_pods = of_pods.collect::<Vec<_>>();
        if of_pods.is_empty() {
            // A look that brought nothing says nothing of pods either.
            return;
        }
        let (mut seen, mut patience) = (BTreeSet::new(), Duration::ZERO);
        for (book, samples) in of_pods {
            let limit = book.patience_with_pods(&self.terms);
            let fresh = samples.canary.iter().filter(|sample| scrape.at.duration_since(sample.taken) <= signed(limit));
            seen.extend(fresh.map(|sample| &sample.pod));
            patience = patience.max(limit);
        }
        self.lacks_pods = seen.len() < ready as usize;
        // Where no pod has a series at all, the looks themselves say so.
        let measured = match &scrape.scraped {
            _ if seen.is_empty() => None,
            Some(scraped) => {
                seen.extend(scraped);
                Some(seen.len())
            }
            None => (!self.lacks_pods).then_some(seen.len()),
        };
        self.part = self.coverage.enter(scrape.at, ready, measured, patience);
    }

    /// The part of the Ready canary pods that is measured, when some are not scraped and that has lasted.
    #[must_use]
    pub const fn part_of_pods(&self) -> Option<PartOfPods> {
        self.part
    }

    /// Whether canary pods are Ready of which the last look had no series.
    #[must_use]
    pub const fn lacks_pods(&self) -> bool {
        self.lacks_pods
    }

    /// Who was silent, and for how long.
    fn listen(&mut self, silent: &[Silent]) {
        let before = std::mem::take(&mut self.silent);
        let canary = silent.iter().filter(|silent| silent.side == Side::Canary);
        let now = canary.map(|Silent { pod, failure, .. }| {
            let looks = before.get(pod).map_or(0, |silence| silence.looks).saturating_add(1);
            (Arc::clone(pod), Silence { looks, failure: failure.clone() })
        });
        self.silent = now.collect();
    }

    /// A Ready canary pod that could not be read in the last `looks` looks or more, while others could: that one which has
    /// been silent for longest, in words. What such a pod serves counts nowhere.
    #[must_use]
    pub fn silence(&self, looks: u32) -> Option<Failure> {
        let silent = || self.silent.iter().filter(|(_, silence)| silence.looks >= looks);
        let (pod, silence) = silent().max_by_key(|(pod, silence)| (silence.looks, *pod))?;
        let (count, Silence { looks, failure }) = (silent().count(), silence);
        let others = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let message = format!("canary pod {pod}{others} could not be read in {looks} looks: {}", failure.message);
        Some(Failure::new(Missing::Silent, message))
    }

    /// What the stable pods served look by look before the rollout began; looks without a request are left out. Empty for an
    /// objective that does not exist.
    #[must_use]
    pub fn baseline(&self, objective: usize) -> &[Tally] {
        self.objectives.get(objective).map_or(&[], |book| &book.baseline)
    }

    /// How many looks since the rollout began had a fresh sample of a pod of this side.
    #[must_use]
    pub fn looks_with_samples(&self, objective: usize, side: Side) -> u32 {
        self.objectives.get(objective).map_or(0, |book| book.of(side).looks_with_samples)
    }

    /// How many pods of this side were in the last scrape with a sample taken after `after`, in the objective that has the
    /// fewest; pods that are still warming up do not count. 0 when the last scrape brought no evidence. A query knows of no pods:
    /// when it brought something fresh, it stands for all of them.
    #[must_use]
    pub fn fresh_pods(&self, side: Side, after: Timestamp) -> usize {
        let Some(last) = self.last else { return 0 };
        let fresh = |(book, counting): (&Book, &Counting)| book.fresh_pods(side, last, after, counting.warmup);
        self.objectives.iter().zip(&self.terms.objectives).map(fresh).min().unwrap_or(0)
    }

    /// When the newest sample of this side was taken, in the objective where that is longest ago.
    #[must_use]
    pub fn newest_sample(&self, side: Side) -> Option<Timestamp> {
        self.objectives.iter().map(|book| book.of(side).newest).min().flatten()
    }

    /// True once the selector of errors matched a series of any pod of the rollout. As long as it never did, perfection and a
    /// typo look alike.
    #[must_use]
    pub fn errors_seen(&self, objective: usize) -> bool {
        self.objectives.get(objective).is_some_and(|book| book.errors_seen)
    }

    /// How often Prometheus seems to scrape the pods of an objective: the median time between samples, which is never less
    /// than looks can see. `None` until some pod had two.
    #[must_use]
    pub fn scrape_interval(&self, objective: usize) -> Option<Duration> {
        self.objectives.get(objective)?.scrape_interval()
    }

    /// Why the last scrape of an objective could not be read, in words; `None` when it could.
    #[must_use]
    pub fn failure(&self, objective: usize) -> Option<&Failure> {
        self.objectives.get(objective)?.failure.as_ref()
    }
}

/// The same, signed; durations of this module are far from the bounds.
pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
