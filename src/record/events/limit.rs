//! How many Events of one reason one object may have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::announcement::EventReason;

/// Events of one reason that may follow each other at once: a rollout that is tried, halted and resumed a few times.
const BURST: u32 = 10;
/// Then one more each time this has passed.
const REFILL: Duration = Duration::from_secs(30);
/// Allowances that are remembered. Only objects that announced something within [`BURST`] times [`REFILL`] need one.
const REMEMBERED: usize = 20_000;

/// An allowance for each object and reason, so that what repeats itself (no evidence, a change that fails) can never
/// crowd out what happens once (a rollback).
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<HashMap<(String, EventReason), Allowance>>);

#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When `left` was right.
    at: Instant,
}

impl Allowance {
    fn refill(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.at).as_secs() / REFILL.as_secs();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).min(BURST);
        if self.left + steps >= BURST {
            (self.left, self.at) = (BURST, now);
        } else {
            self.left += steps;
            self.at += REFILL * steps;
        }
    }
}

impl Limiter {
    /// Whether one more may be announced `now`; if so, it is counted.
    pub(super) fn allows(&self, uid: &str, reason: EventReason, now: Instant) -> bool {
        // Allowances are whole between any two statements: a panic elsewhere cannot have broken them.
        let mut allowances = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if allowances.len() >= REMEMBERED {
            allowances.retain(|_, allowance| {
                allowance.refill(now);
                allowance.left < BURST
            });
            // Still full: then more is going on than anyone could read.
            if allowances.len() >= REMEMBERED {
                return false;
            }
        }
        let allowance = allowances.entry((uid.to_owned(), reason)).or_insert(Allowance { left: BURST, at: now });
        allowance.refill(now);
        match allowance.left.checked_sub(1) {
            Some(left) => {
                allowance.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limiter: &Limiter, uid: &str, reason: EventReason, now: Instant) -> usize {
        (0..1000).filter(|_| limiter.allows(uid, reason, now)).count()
    }

    #[test]
    fn a_reason_that_repeats_itself_is_limited_and_comes_back_slowly() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        assert_eq!(allowed(&limiter, "tin", EventReason::EvidenceMissing, start), 10);
        assert_eq!(allowed(&limiter, "tin", EventReason::EvidenceMissing, start + REFILL - Duration::from_secs(1)), 0);
        assert_eq!(allowed(&limiter, "tin", EventReason::EvidenceMissing, start + REFILL), 1);
        assert_eq!(allowed(&limiter, "tin", EventReason::EvidenceMissing, start + REFILL * 1000), 10);
    }

    #[test]
    fn it_crowds_out_neither_other_reasons_nor_other_objects() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        allowed(&limiter, "tin", EventReason::EvidenceMissing, now);
        assert!(limiter.allows("tin", EventReason::RolledBack, now));
        assert!(limiter.allows("straw", EventReason::EvidenceMissing, now));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgets_what_has_refilled() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        for i in 0..REMEMBERED {
            assert!(limiter.allows(&i.to_string(), EventReason::Halted, start));
        }
        assert!(!limiter.allows("one more", EventReason::Halted, start));
        assert!(limiter.allows("one more", EventReason::Halted, start + REFILL));
    }
}
