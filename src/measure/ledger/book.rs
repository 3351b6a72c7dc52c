//! One objective of a rollout: what its samples show look by look, and whether they are evidence at all.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::pods::Pods;
use super::{Counting, Terms, signed};
use crate::measure::look::{Evidence, Look, Missing, Tally};
use crate::measure::scrape::{Failure, PodSample, Samples, Side, Source};

/// How long to wait for what scrapes bring while the scrape interval is not known yet, at the least. Longer than the scrape
/// interval of nearly every installation, so that a slow one is not taken for a broken one.
const UNKNOWN_INTERVAL_PATIENCE: Duration = Duration::from_secs(60);

/// How many differences between samples the scrape interval is estimated from.
const INTERVALS_KEPT: usize = 63;

/// One objective's part of the ledger.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    canary: Pods,
    stable: Pods,
    /// What the stable pods served before the rollout began, look by look.
    pub(super) baseline: Vec<Tally>,
    /// The time of the last scrape that was entered, and not just found missing.
    entered: Option<Timestamp>,
    pub(super) errors_seen: bool,
    /// Since when canary pods are Ready and have no series.
    absent_since: Option<Timestamp>,
    /// Looks in a row that had canary series and nothing new in them.
    looks_without_news: u32,
    intervals: VecDeque<SignedDuration>,
    pub(super) failure: Option<Failure>,
    /// Where the last samples came from.
    source: Source,
    /// What one side served while nothing new is known of the other.
    pub(super) unpaired: Look,
    /// Looks in a row that were held back for that.
    held_back: u32,
}

impl Book {
    pub(super) const fn of(&self, side: Side) -> &Pods {
        match side {
            Side::Canary => &self.canary,
            Side::Stable => &self.stable,
        }
    }

    pub(super) fn enter(
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

    /// How many pods of this side the scrape at `last` had with a sample taken after `after`, and warm or idle.
    pub(super) fn fresh_pods(&self, side: Side, last: Timestamp, after: Timestamp, warmup: Duration) -> usize {
        let fresh = self.of(side).fresh(last, after, warmup);
        match self.source {
            _ if self.entered != Some(last) => 0,
            Source::Query { .. } if fresh > 0 => usize::MAX,
            _ => fresh,
        }
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
    pub(super) fn patience_with_pods(&self, terms: &Terms) -> Duration {
        let unknown = terms.window.max(UNKNOWN_INTERVAL_PATIENCE);
        self.scrape_interval().map_or(unknown, |interval| terms.window.max(interval * 3))
    }

    pub(super) fn scrape_interval(&self) -> Option<Duration> {
        let mut sorted = self.intervals.iter().copied().collect::<Vec<_>>();
        sorted.sort_unstable();
        (*sorted.get(sorted.len() / 2)?).try_into().ok()
    }
}
