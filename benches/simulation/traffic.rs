//! What the pods serve between two looks, drawn at random.

use gatekeeper::measure::look::Tally;
use rand::rngs::StdRng;
use rand_distr::{Binomial, Distribution, Poisson};

/// Seconds between two looks.
pub(crate) const LOOK_SECONDS: f64 = 10.0;

/// The error budget of the simulated objective, 99.9 %.
pub(crate) const BUDGET: f64 = 0.001;

/// How the errors of a service come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Errors {
    /// Each request fails by itself.
    Independent,
    /// Failures come in groups of so many.
    Bursts(u32),
}

/// One look at pods that serve `rate` requests a second, of which this share fails.
pub(crate) fn serve(random: &mut StdRng, rate: f64, error_ratio: f64, errors: Errors) -> Tally {
    let requests = poisson(random, rate * LOOK_SECONDS);
    let failed = match errors {
        Errors::Independent => binomial(random, requests, error_ratio),
        Errors::Bursts(size) => {
            let size = f64::from(size);
            size * poisson(random, requests * error_ratio / size)
        }
    };
    Tally::new(failed, requests)
}

fn poisson(random: &mut StdRng, mean: f64) -> f64 {
    if mean <= 0.0 { 0.0 } else { Poisson::new(mean).expect("the mean is positive and finite").sample(random) }
}

fn binomial(random: &mut StdRng, of: f64, chance: f64) -> f64 {
    Binomial::new(of as u64, chance.clamp(0.0, 1.0)).expect("the chance is between 0 and 1").sample(random) as f64
}
