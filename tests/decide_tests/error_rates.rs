//! The promise of the evidence processes, by simulation: however long one looks, a hypothesis that holds is convicted
//! with a probability of alpha at most. The seeds are fixed.

use gatekeeper::decide::baseline::Dispersion;
use gatekeeper::decide::process::{Allowed, Process};
use gatekeeper::measure::look::{Look, Tally};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Binomial, Distribution};

const ALPHA: f64 = 0.05;
const RUNS: u32 = 1500;
const LOOKS: u32 = 300;

fn draw(random: &mut StdRng, requests: u32, error_ratio: f64) -> Tally {
    let errors = Binomial::new(u64::from(requests), error_ratio).expect("a chance").sample(random);
    Tally::new(errors as f64, f64::from(requests))
}

/// The share of runs that convict at any look.
fn convicted(seed: u64, mut look: impl FnMut(&mut Process, &mut StdRng)) -> f64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut convicts = || {
        let mut process = Process::new();
        (0..LOOKS).any(|_| {
            look(&mut process, &mut random);
            process.log_e() >= -ALPHA.ln()
        })
    };
    f64::from((0..RUNS).map(|_| u32::from(convicts())).sum::<u32>()) / f64::from(RUNS)
}

#[test]
fn what_burns_just_what_is_allowed_is_convicted_no_more_often_than_promised() {
    for (requests, ratio) in [(10, 0.001), (1000, 0.001), (100, 0.05), (20, 0.5)] {
        let allowed = Allowed::new(ratio);
        let share = convicted(1, |process, random| {
            process.one_sample(draw(random, requests, ratio), &allowed, Dispersion::NONE);
        });
        assert!(share <= ALPHA, "{share} of runs with {requests} requests a look at {ratio}");
    }
}

#[test]
fn what_fails_as_often_as_the_stable_pods_is_convicted_no_more_often_than_promised() {
    for (canary, stable, ratio) in [(100, 900, 0.01), (1000, 1000, 0.002), (50, 50, 0.3)] {
        let share = convicted(2, |process, random| {
            let look = Look { canary: draw(random, canary, ratio), stable: draw(random, stable, ratio) };
            process.two_sample(&look, 1.0, Dispersion::NONE);
        });
        assert!(share <= ALPHA, "{share} of runs with {canary} and {stable} requests a look at {ratio}");
    }
}

#[test]
fn errors_in_bursts_are_convicted_no_more_often_than_promised_once_their_dispersion_is_known() {
    let allowed = Allowed::new(0.01);
    let known = Dispersion::new(5.0).expect("at least 1");
    let share = convicted(3, |process, random| {
        let bursts = draw(random, 1000, 0.002).errors();
        process.one_sample(Tally::new(5.0 * bursts, 1000.0), &allowed, known);
    });
    assert!(share <= ALPHA, "{share}");
}

#[test]
fn what_burns_three_times_what_is_allowed_is_convicted() {
    let allowed = Allowed::new(0.001);
    let share = convicted(4, |process, random| {
        process.one_sample(draw(random, 1000, 0.003), &allowed, Dispersion::NONE);
    });
    assert!(share > 0.99, "{share}");
}
