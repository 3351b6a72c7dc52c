//! The pods of one side of a rollout: how much each served since its sample before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Counting, ErrorCount, signed};
use crate::measure::look::Tally;
use crate::measure::scrape::{PodSample, Source};
use crate::policy::Counts;

/// The pods of one side, each with its last fresh sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Pods {
    last: HashMap<Arc<str>, Base>,
    /// When the newest of all samples was taken.
    pub(super) newest: Option<Timestamp>,
    /// Looks since the rollout began that had a fresh sample.
    pub(super) looks_with_samples: u32,
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

/// What a fresh sample adds.
pub(super) struct Step {
    pub(super) served: Tally,
    /// When the pod was last seen before, and the time from the sample before to this one.
    pub(super) since: Option<(Timestamp, SignedDuration)>,
}

impl Base {
    /// Whether all that the pod serves from this sample on counts.
    fn is_warm(&self, warmup: Duration) -> bool {
        let since = self.first_served.map(|first| self.taken.duration_since(first));
        warmup.is_zero() || since.is_some_and(|since| since >= signed(warmup))
    }
}

impl Pods {
    pub(super) fn is_news(&self, sample: &PodSample) -> bool {
        self.last.get(&sample.pod).is_none_or(|base| sample.taken > base.taken)
    }

    /// How many pods the scrape at `last` had with a sample taken after `after`, and that have not begun to warm up or are done.
    pub(super) fn fresh(&self, last: Timestamp, after: Timestamp, warmup: Duration) -> usize {
        let warm = |base: &Base| base.first_served.is_none() || base.is_warm(warmup);
        self.last.values().filter(|base| base.seen == last && base.taken > after && warm(base)).count()
    }

    /// Takes a sample as the pod's new base; `None` when it is not newer than the one before.
    pub(super) fn step(
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
