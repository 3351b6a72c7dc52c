//! Of how many Ready canary pods something is measured, where Prometheus reads them. Pure.
//!
//! A pod without a series need not be one that is not scraped: many counters appear with the first request. So a pod counts
//! as measured, too, when Prometheus says that it scrapes it, and where Prometheus says nothing of the kind, nothing is known.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::ledger::signed;

/// How many canary pods were Ready at a look, and how many of them were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    at: Timestamp,
    ready: u32,
    measured: u32,
}

/// The counts of the last looks, for as long as each says something.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage(VecDeque<Count>);

/// Too few of the Ready canary pods are measured, and that has lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOfPods {
    /// Of so many something is known.
    pub measured: u32,
    /// So many were Ready all the time.
    pub ready: u32,
}

impl Coverage {
    /// A look: how many canary pods are Ready, and of how many something is known; `None` when nobody could say that this time.
    /// Answers the part of the pods that was measured in the last `patience`, where that was never all of them: pods that
    /// were made Ready meanwhile do not count, since it takes a while until they are scraped.
    pub(super) fn enter(
        &mut self,
        at: Timestamp,
        ready: u32,
        measured: Option<usize>,
        patience: Duration,
    ) -> Option<PartOfPods> {
        let is_old = |count: &Count| at.duration_since(count.at) >= signed(patience);
        // What was before a long silence says nothing of the time since.
        if self.0.back().is_some_and(|newest| at.duration_since(newest.at) > signed(patience)) {
            self.0.clear();
        }
        match measured.map(|measured| u32::try_from(measured).unwrap_or(u32::MAX)) {
            Some(measured) if measured < ready => self.0.push_back(Count { at, ready, measured }),
            Some(_) => self.0.clear(),
            None => {}
        }
        // One that is as old as it has to be says that it has lasted.
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.front().filter(|oldest| is_old(oldest))?;
        let ready = self.0.iter().map(|count| count.ready).min()?;
        let measured = self.0.iter().map(|count| count.measured).max()?;
        (measured < ready).then_some(PartOfPods { measured, ready })
    }
}

impl PartOfPods {
    /// Whether what is measured cannot stand for the release: it is less than half of it.
    #[must_use]
    pub const fn is_minor(self) -> bool {
        self.measured < self.ready.div_ceil(2)
    }
}

impl std::fmt::Display for PartOfPods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { measured, ready } = self;
        write!(
            f,
            "Prometheus scrapes {measured} of {ready} Ready canary pods, and what the others serve counts nowhere"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What is known after looks every ten seconds with so many Ready pods, and so many measured ones.
    fn after(looks: &[(u32, Option<usize>)]) -> Option<PartOfPods> {
        let (mut coverage, mut part) = (Coverage::default(), None);
        for (i, (ready, measured)) in (0_i64..).zip(looks) {
            let at = Timestamp::from_second(1000 + 10 * i).expect("a time");
            part = coverage.enter(at, *ready, *measured, PATIENCE);
        }
        part
    }

    #[test]
    fn a_pod_that_is_not_scraped_is_missed_once_that_has_lasted() {
        assert_eq!(after(&[(3, Some(2)); 3]), None);
        assert_eq!(after(&[(3, Some(2)); 4]), Some(PartOfPods { measured: 2, ready: 3 }));
        assert_eq!(after(&[(3, Some(2)); 400]), Some(PartOfPods { measured: 2, ready: 3 }));
        assert_eq!(after(&[[(3, Some(2)); 4].as_slice(), &[(3, Some(3))]].concat()), None, "it is scraped now");
        let then = |looks: &[(u32, Option<usize>)]| after(&[&[(3, Some(2)); 4], looks].concat());
        assert_eq!(then(&[(3, None)]), Some(PartOfPods { measured: 2, ready: 3 }), "one look that could not be read");
        assert_eq!(then(&[(3, None); 4]), None, "nobody knows any more");
        assert_eq!(then(&[(3, None), (3, None), (3, None), (3, None), (3, Some(2))]), None, "it begins anew");
    }

    #[test]
    fn pods_that_became_ready_lately_are_not_missed() {
        let growing: Vec<(u32, Option<usize>)> = (0..50).map(|i| (3 + i, Some(i as usize))).collect();
        assert_eq!(after(&growing), None, "each is scraped at the third look");
    }

    #[test]
    fn less_than_half_cannot_stand_for_all() {
        let is_minor = |measured, ready| PartOfPods { measured, ready }.is_minor();
        assert_eq!(
            [(1, 3), (1, 2), (2, 3), (2, 5), (3, 5), (1, 4)].map(|(m, r)| is_minor(m, r)),
            [true, false, false, true, false, true]
        );
    }

    proptest! {
        #[test]
        fn what_is_said_was_so_at_every_look_that_could_be_read(
            looks in prop::collection::vec((0_u32..6, prop::option::of(0_usize..6)), 1..20),
        ) {
            if let Some(part) = after(&looks) {
                prop_assert!(part.measured < part.ready);
                let known = looks.iter().rev().take(4).filter_map(|(ready, measured)| Some((*ready, (*measured)?)));
                let known = known.collect::<Vec<_>>();
                prop_assert!(!known.is_empty());
                let was_so =
                    |(ready, measured): &(u32, usize)| *ready >= part.ready && *measured <= part.measured as usize;
                prop_assert!(known.iter().all(was_so), "{part:?}");
            }
        }
    }
}
