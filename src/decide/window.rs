//! The last looks, for the burn rates that people read and for the questions asked of a stretch of time.

use std::collections::VecDeque;

use crate::measure::look::{Look, Tally};

/// The looks of the last two windows, one slot a look. A look that was empty or missing takes its slot as nothing
/// served, because time passed all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    looks: usize,
    slots: VecDeque<Look>,
}

impl Windows {
    /// Empty windows of `looks` looks each, at least 1.
    #[must_use]
    pub fn new(looks: usize) -> Self {
        let looks = looks.max(1);
        Self { looks, slots: VecDeque::with_capacity(2 * looks) }
    }

    /// The next look.
    pub fn push(&mut self, look: Look) {
        if self.slots.len() == 2 * self.looks {
            self.slots.pop_front();
        }
        self.slots.push_back(look);
    }

    /// Everything in the last window, which may not be full yet.
    #[must_use]
    pub fn last(&self) -> Look {
        sum(self.slots.range(self.slots.len().saturating_sub(self.looks)..))
    }

    /// The last two windows, older first; `None` before both are full.
    #[must_use]
    pub fn two(&self) -> Option<[Look; 2]> {
        (self.slots.len() == 2 * self.looks).then(|| [sum(self.slots.range(..self.looks)), self.last()])
    }

    /// Forgets all looks.
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

fn sum<'a>(looks: impl Iterator<Item = &'a Look>) -> Look {
    looks.fold(Look::default(), |mut sum, look| {
        sum += *look;
        sum
    })
}

/// The last window of the stable pods, as it was when they last served: it ends with their last look that brought
/// requests, however long ago that is. Before their first look of the rollout it is the end of the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct StableWindow {
    looks: usize,
    slots: VecDeque<Tally>,
    /// Looks since, without requests. They enter the window once a later look shows that the pods still served.
    idle: usize,
}

impl StableWindow {
    /// A window of `looks` looks, at least 1, which goes on from the baseline's last looks.
    #[must_use]
    pub fn new(looks: usize, baseline: &[Tally]) -> Self {
        let looks = looks.max(1);
        let mut window = Self { looks, slots: VecDeque::with_capacity(looks), idle: 0 };
        for &look in baseline {
            window.push(look);
        }
        window
    }

    /// The next look; nothing served if it was empty or missing.
    pub fn push(&mut self, look: Tally) {
        if look.requests() <= 0.0 {
            self.idle = (self.idle + 1).min(self.looks);
            return;
        }
        for _ in 0..std::mem::take(&mut self.idle) {
            self.append(Tally::ZERO);
        }
        self.append(look);
    }

    fn append(&mut self, look: Tally) {
        if self.slots.len() == self.looks {
            self.slots.pop_front();
        }
        self.slots.push_back(look);
    }

    /// Everything in it.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.slots.iter().copied().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(canary: f64, stable: f64) -> Look {
        Look { canary: Tally::new(0.0, canary), stable: Tally::new(0.0, stable) }
    }

    #[test]
    fn a_window_ends_now_and_forgets_what_is_older() {
        let mut windows = Windows::new(2);
        for n in 1..=5 {
            windows.push(served(f64::from(n), 0.0));
        }
        assert_eq!(windows.last().canary.requests(), 9.0);
        assert_eq!(
            windows.two().map(|[older, newer]| (older.canary.requests(), newer.canary.requests())),
            Some((5.0, 9.0))
        );
    }

    #[test]
    fn two_windows_are_none_before_both_are_full() {
        let mut windows = Windows::new(2);
        for _ in 0..3 {
            windows.push(served(1.0, 1.0));
            assert_eq!(windows.two(), None);
        }
        windows.push(served(1.0, 1.0));
        assert!(windows.two().is_some());
        windows.clear();
        assert_eq!((windows.two(), windows.last()), (None, Look::default()));
    }

    #[test]
    fn an_empty_look_takes_its_slot() {
        let mut windows = Windows::new(2);
        windows.push(served(7.0, 0.0));
        windows.push(Look::default());
        assert_eq!(windows.last().canary.requests(), 7.0);
        windows.push(Look::default());
        assert_eq!(windows.last().canary.requests(), 0.0);
    }

    #[test]
    fn the_stable_pods_last_window_stays_when_they_are_gone() {
        let mut window = StableWindow::new(2, &[]);
        window.push(Tally::new(1.0, 10.0));
        window.push(Tally::new(2.0, 10.0));
        for _ in 0..50 {
            window.push(Tally::ZERO);
        }
        assert_eq!(window.tally(), Tally::new(3.0, 20.0));
    }

    #[test]
    fn a_gap_between_two_looks_is_part_of_the_stable_pods_window() {
        let mut window = StableWindow::new(3, &[]);
        window.push(Tally::new(5.0, 10.0));
        window.push(Tally::ZERO);
        window.push(Tally::ZERO);
        window.push(Tally::new(1.0, 10.0));
        assert_eq!(window.tally(), Tally::new(1.0, 10.0));
    }

    #[test]
    fn the_baseline_stands_before_the_first_look() {
        let mut window = StableWindow::new(2, &[Tally::new(9.0, 10.0), Tally::new(1.0, 10.0), Tally::new(2.0, 10.0)]);
        assert_eq!(window.tally(), Tally::new(3.0, 20.0));
        window.push(Tally::new(0.0, 10.0));
        assert_eq!(window.tally(), Tally::new(2.0, 20.0));
    }
}
