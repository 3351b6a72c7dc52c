//! What a release's pods serve while they are cold does not condemn it, and what they serve afterwards does.

use std::time::Duration;

#[path = "../benches/simulation/cold.rs"]
mod cold;

use cold::{Outcome, Release, run};

const ROLLOUTS: u64 = 30;

fn rollouts(release: Release, warmup: u64) -> Vec<Outcome> {
    (0..ROLLOUTS).map(|seed| run(&release, Duration::from_secs(warmup), seed)).collect()
}

fn rolled_back(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.rolled_back.is_some()).count()
}

#[test]
fn a_canary_ten_times_slow_for_its_first_20_seconds_is_condemned_only_without_a_warmup() {
    for rate in [20.0, 200.0] {
        let release = Release { rate, cold: 20, slow: false };
        let without = rolled_back(&rollouts(release, 0));
        assert!(without >= 27, "without a warmup {without} of {ROLLOUTS} at {rate} requests a second");
        let with = rollouts(release, 30);
        assert_eq!(rolled_back(&with), 0, "with a warmup, at {rate} requests a second");
        assert!(with.iter().filter(|outcome| outcome.halted).count() <= 1, "{with:?}");
    }
}

#[test]
fn a_release_that_stays_slow_is_found_with_a_warmup_too() {
    for rate in [20.0, 200.0] {
        let release = Release { rate, cold: 0, slow: true };
        let found = rollouts(release, 30);
        assert_eq!(rolled_back(&found), ROLLOUTS as usize, "at {rate} requests a second");
        let latest = found.iter().filter_map(|outcome| outcome.rolled_back).max();
        assert!(latest.is_some_and(|seconds| seconds <= 120), "within the canary's hold: {latest:?} s");
    }
}
