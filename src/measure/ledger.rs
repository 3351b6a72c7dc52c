//! Raw counters become looks. Pure: it is told what was read and when, and keeps only what the next difference needs, so
//! that feeding it the same scrapes again after a restart gives the same looks again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::coverage::{Coverage, PartOfPods};
use super::look::{Evidence, Look, Missing, Tally};
use super::scrape::{Failure, Origin, PodSample, Samples, Scrape, Side, Silent, Source};
use crate::policy::{Counts, Indicator, Objective};

/// How long to wait for what scrapes bring while the scrape interval is not known yet, at the least. Longer than the scrape
/// interval of nearly every installation, so that a slow one is not taken for a broken one.
const UNKNOWN_INTERVAL_PATIENCE: Duration = Duration::from_secs(60);

/// How many differences between samples the scrape interval is estimated from.
const INTERVALS_KEPT: usize = 63;

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

/// One objective's part of the ledger.
#[derive(Debug, Clone, Default)]
struct Book {
    canary: Pods,
    stable: Pods,
    baseline: Vec<Tally>,
    /// The time of the last scrape that was entered, and not just found missing.
    entered: Option<Timestamp>,
    errors_seen: bool,
    /// Since when canary pods are Ready and have no series.
    absent_since: Option<Timestamp>,
    /// Looks in a row that had canary series and nothing new in them.
    looks_without_news: u32,
    intervals: VecDeque<SignedDuration>,
    failure: Option<Failure>,
    /// Where the last samples came from.
    source: Source,
    /// What one side served while nothing new is known of the other.
    unpaired: Look,
    /// Looks in a row that were held back for that.
    held_back: u32,
}

/// The pods of one side, each with its last fresh sample.
#[derive(Debug, Clone, Default)]
struct Pods {
    last: HashMap<Arc<str>, Base>,
    newest: Option<Timestamp>,
    looks_with_samples: u32,
}

#[derive(Debug, Clone, Copy)]
struct Base {
    errors: f64,
    total: f64,
    taken: Timestamp,
    /// When the first sample was taken that shows a request: what is nearest to when the pod became Ready, of all that
    /// counters tell.
    first_served: Option<Timestamp>,
    /// The last scrape that had the pod at all, with a fresh sample or not.
    seen: Timestamp,
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
        let fresh = |(book, counting): (&Book, &Counting)| {
            let warm = |base: &Base| base.first_served.is_none() || base.is_warm(counting.warmup);
            let current = |base: &&Base| Some(base.seen) == self.last && base.taken > after && warm(base);
            let fresh = book.of(side).last.values().filter(current).count();
            match book.source {
                _ if book.entered != self.last => 0,
                Source::Query { .. } if fresh > 0 => usize::MAX,
                _ => fresh,
            }
        };
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

impl Book {
    const fn of(&self, side: Side) -> &Pods {
        match side {
            Side::Canary => &self.canary,
            Side::Stable => &self.stable,
        }
    }

    fn enter(
        &mut self,
        terms: &Terms,
        counting: Counting,
        at: Timestamp,
        previous: Option<Timestamp>,
        read: &Result<Samples, Failure>,
        ready: bool,
    ) -> Evidence {
        self.failure = read.as_ref().err().cloned();
        let samples = read.as_ref().map_err(|failure| failure.why)?;
        // A look without evidence leaves every base where it was: the next good one has all that was served meanwhile.
        self.check(terms, at, samples, ready)?;
        self.entered = Some(at);
        self.source = samples.source;
        let during_rollout = at > terms.since;
        // What counts for both sides counted before the rollout, too.
        let is_of_both = matches!(samples.source, Source::Query { is_apart: false, .. });
        let mut look = Look::default();
        let source = samples.source;
        for (pods, samples, tally, counts_from_zero) in [
            (&mut self.canary, &samples.canary, &mut look.canary, !is_of_both),
            (&mut self.stable, &samples.stable, &mut look.stable, false),
        ] {
            let mut news = false;
            for sample in samples {
                self.errors_seen |= sample.errors.is_some();
                let from_zero = counts_from_zero && sample.from_zero && sample.taken > terms.since;
                let Some(step) = pods.step(sample, counting, at, source, from_zero) else { continue };
                news = true;
                *tally += step.served;
                // Across looks that did not have the pod, the time between its samples says how long these went on.
                self.intervals.extend(step.since.filter(|(seen, _)| Some(*seen) == previous).map(|(_, after)| after));
            }
            pods.looks_with_samples += u32::from(news && during_rollout);
        }
        if is_of_both {
            look.stable = look.canary;
            self.stable.looks_with_samples = self.canary.looks_with_samples;
        }
        let surplus = self.intervals.len().saturating_sub(INTERVALS_KEPT);
        self.intervals.drain(..surplus);
        Ok(if during_rollout { self.paired(terms, look, samples) } else { look })
    }

    /// Where pods are scraped less often than looked at, each at a time of its own, one look hardly ever has news of both
    /// sides when these are few pods: they could never be compared, and stable pods would seem to serve no more. So what one
    /// side has served waits until the other has been scraped, too, for one scrape interval at most.
    fn paired(&mut self, terms: &Terms, look: Look, samples: &Samples) -> Look {
        self.unpaired += look;
        let Look { canary, stable } = self.unpaired;
        let waits = match (canary.requests() > 0.0, stable.requests() > 0.0) {
            (true, false) => !samples.stable.is_empty(),
            (false, true) => !samples.canary.is_empty(),
            (true, true) | (false, false) => false,
        };
        if waits && self.held_back < self.patience(terms) {
            self.held_back += 1;
            return Look::default();
        }
        self.held_back = 0;
        std::mem::take(&mut self.unpaired)
    }

    /// Further looks until every pod has been scraped once.
    fn patience(&self, terms: &Terms) -> u32 {
        let looks = self
            .scrape_interval()
            .map_or(1, |interval| interval.as_millis().div_ceil(terms.look_interval.as_millis().max(1)));
        u32::try_from(looks.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Whether the samples are evidence at all.
    fn check(&mut self, terms: &Terms, at: Timestamp, samples: &Samples, ready: bool) -> Result<(), Missing> {
        let numbers = |sample: &PodSample| sample.total.is_finite() && sample.errors.is_none_or(f64::is_finite);
        if !samples.canary.iter().chain(&samples.stable).all(numbers) {
            return Err(Missing::NotANumber);
        }
        let interval = self.scrape_interval();
        let unknown = terms.window.max(UNKNOWN_INTERVAL_PATIENCE);
        let Some(newest) = samples.canary.iter().map(|sample| sample.taken).max() else {
            self.looks_without_news = 0;
            if !ready {
                self.absent_since = None;
                return Ok(());
            }
            let absent = at.duration_since(*self.absent_since.get_or_insert(at));
            let patience = interval.map_or(unknown, |interval| interval * 2);
            return if absent >= signed(patience) { Err(Missing::NoSeries) } else { Ok(()) };
        };
        self.absent_since = None;
        let news = samples.canary.iter().any(|sample| self.canary.is_news(sample));
        self.looks_without_news = if news { 0 } else { self.looks_without_news.saturating_add(1) };
        let limit = self.patience_with_pods(terms);
        // Both the samples' age and our own waiting: a clock of ours that runs behind makes old samples look fresh.
        let waited = terms.look_interval.saturating_mul(self.looks_without_news);
        if at.duration_since(newest) > signed(limit) || waited > limit { Err(Missing::Stale) } else { Ok(()) }
    }

    /// For how long a pod may bring nothing new.
    fn patience_with_pods(&self, terms: &Terms) -> Duration {
        let unknown = terms.window.max(UNKNOWN_INTERVAL_PATIENCE);
        self.scrape_interval().map_or(unknown, |interval| terms.window.max(interval * 3))
    }

    fn scrape_interval(&self) -> Option<Duration> {
        let mut sorted = self.intervals.iter().copied().collect::<Vec<_>>();
        sorted.sort_unstable();
        (*sorted.get(sorted.len() / 2)?).try_into().ok()
    }
}

/// What a fresh sample adds.
struct Step {
    served: Tally,
    /// When the pod was last seen before, and the time from the sample before to this one.
    since: Option<(Timestamp, SignedDuration)>,
}

impl Base {
    /// Whether all that the pod serves from this sample on counts.
    fn is_warm(&self, warmup: Duration) -> bool {
        let since = self.first_served.map(|first| self.taken.duration_since(first));
        warmup.is_zero() || since.is_some_and(|since| since >= signed(warmup))
    }
}

impl Pods {
    fn is_news(&self, sample: &PodSample) -> bool {
        self.last.get(&sample.pod).is_none_or(|base| sample.taken > base.taken)
    }

    /// Takes a sample as the pod's new base; `None` when it is not newer than the one before.
    fn step(
        &mut self,
        sample: &PodSample,
        counting: Counting,
        at: Timestamp,
        source: Source,
        from_zero: bool,
    ) -> Option<Step> {
        // No series of errors beside one of the total is a count of 0.
        let errors = sample.errors.unwrap_or(0.0);
        let first_served = (sample.total > 0.0).then_some(sample.taken);
        let mut now = Base { errors, total: sample.total, taken: sample.taken, first_served, seen: at };
        let is_count = matches!(source, Source::Query { counts: Counts::PerWindow, .. });
        let step = match self.last.get_mut(&sample.pod) {
            Some(base) if sample.taken <= base.taken => {
                base.seen = at;
                return None;
            }
            Some(base) => {
                now.first_served = base.first_served.or(now.first_served);
                if counting.errors == ErrorCount::Difference && sample.total >= base.total {
                    now.errors = errors.max(base.errors);
                }
                let before = std::mem::replace(base, now);
                // A count that went down says that some process behind it started anew, not how much all of them served.
                let went_down = now.errors < before.errors || sample.total < before.total;
                let gain = || Tally::new(now.errors - before.errors, sample.total - before.total);
                let served = match () {
                    () if !before.is_warm(counting.warmup) => Tally::ZERO,
                    () if is_count => Tally::new(errors, sample.total),
                    () if went_down => Tally::ZERO,
                    () => gain(),
                };
                Step { served, since: Some((before.seen, sample.taken.duration_since(before.taken))) }
            }
            None => {
                self.last.insert(Arc::clone(&sample.pod), now);
                let counts = (from_zero || is_count) && counting.warmup.is_zero();
                Step { served: if counts { Tally::new(errors, sample.total) } else { Tally::ZERO }, since: None }
            }
        };
        self.newest = self.newest.max(Some(sample.taken));
        Some(step)
    }
}

/// The same, signed; durations of this module are far from the bounds.
pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
