//! One evidence process: how much the looks so far speak against one null hypothesis.
//!
//! The value E is that of a bet against the hypothesis. While the hypothesis holds, E stays below any c for ever with a
//! probability of at least 1 - 1/c (Ville's inequality), however often one looks and whenever one stops. So looking
//! every ten seconds costs no certainty, which a threshold on a window's burn rate cannot say of itself.
//!
//! The bet is spread over nine alternatives (how much worse than allowed is it?) and over every look as the start (since
//! when?). All of it is kept in logarithms and in constant memory.

use std::f64::consts::LN_2;

use super::baseline::Dispersion;
use crate::measure::look::{Look, Tally};

/// How many times worse than the hypothesis allows: the alternatives that are bet on.
pub const ALTERNATIVES: [f64; 7] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// The natural logarithms of [`ALTERNATIVES`]; a test recomputes them.
const LN_ALTERNATIVES: [f64; 7] = [
    0.405_465_108_108_164_4,
    LN_2,
    1.098_612_288_668_109_8,
    1.609_437_912_434_100_3,
    std::f64::consts::LN_10,
    3.401_197_381_662_155_5,
    4.605_170_185_988_092,
];

/// Which of [`ALTERNATIVES`] are bet on a second time as being bad in some looks only: 10 and 100.
const INTERMITTENT: [usize; 2] = [4, 6];

/// All bets: the steady alternatives, then the intermittent ones.
const BETS: usize = ALTERNATIVES.len() + INTERMITTENT.len();

/// `ln 20`: what one look can add to an alternative at most, so that no single look ever convicts.
const CAP: f64 = 2.995_732_273_553_991;

/// Every look is a possible start of the trouble. Half of the prior weight is on the first look; half of the rest is on
/// the next this many.
const HORIZON: f64 = 120.0;

/// The largest error ratio that a hypothesis allows, above 0 and at most 1, with what it costs each alternative a
/// request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowed {
    ratio: f64,
    /// `ln(1 + (r - 1) ratio)`: computed once, since it is needed at every look.
    costs: [f64; ALTERNATIVES.len()],
}

impl Allowed {
    /// Allows an error ratio. What is above 1 counts as 1, which nothing can violate.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        let ratio = ratio.clamp(0.0, 1.0);
        Self { ratio, costs: ALTERNATIVES.map(|r| ((r - 1.0) * ratio).ln_1p()) }
    }

    /// The ratio.
    #[must_use]
    pub const fn ratio(&self) -> f64 {
        self.ratio
    }
}

/// The evidence against one hypothesis.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// `ln M` of every bet.
    log_bets: [f64; BETS],
    /// Looks that counted.
    looks: u64,
    /// `ln E` after the last of them.
    log_e: f64,
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

impl Process {
    /// Nothing seen: E = 1.
    #[must_use]
    pub const fn new() -> Self {
        Self { log_bets: [f64::NEG_INFINITY; BETS], looks: 0, log_e: 0.0 }
    }

    /// Natural logarithm of E. Finite; 0 before the first look that counts.
    #[must_use]
    pub const fn log_e(&self) -> f64 {
        self.log_e
    }

    /// How many looks counted.
    #[must_use]
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    /// A look against the hypothesis "the error ratio is at most `allowed`". Without requests it does not count.
    pub fn one_sample(&mut self, seen: Tally, allowed: &Allowed, dispersion: Dispersion) {
        let requests = seen.requests();
        let Some(ratio) = seen.ratio() else { return };
        self.count(dispersion, |i| requests * (ratio * LN_ALTERNATIVES[i] - allowed.costs[i]));
    }

    /// A look against the hypothesis "a canary request fails at most `times` as often as a stable one". Without requests
    /// on either side it does not count.
    pub fn two_sample(&mut self, seen: &Look, times: f64, dispersion: Dispersion) {
        let Look { canary, stable } = seen;
        if canary.requests() <= 0.0 || stable.requests() <= 0.0 {
            return;
        }
        // The share of all errors that the hypothesis grants the canary follows from its share of the requests.
        let share = canary.requests() / (canary.requests() + stable.requests());
        let errors = canary.errors() + stable.errors();
        let granted = times * share + (1.0 - share);
        self.count(dispersion, |i| {
            let claimed = ALTERNATIVES[i] * times * share + (1.0 - share);
            canary.errors() * LN_ALTERNATIVES[i] - errors * (claimed / granted).ln()
        });
    }

    /// Multiplies the look's likelihood ratios, given by alternative as logarithms, into the bets.
    fn count(&mut self, dispersion: Dispersion, log_ratio: impl Fn(usize) -> f64) {
        self.looks += 1;
        let capped: [f64; ALTERNATIVES.len()] =
            // The floor keeps a vast look finite; what lies below it is nothing either way.
            std::array::from_fn(|i| (log_ratio(i) / dispersion.factor()).clamp(f64::MIN / 4.0, CAP));
        let log_weight = log_weight_of(self.looks);
        for (bet, log_m) in self.log_bets.iter_mut().enumerate() {
            let term = match bet.checked_sub(ALTERNATIVES.len()) {
                None => capped[bet],
                // Bad in every second look: half of the stake is put on this look being a good one.
                Some(i) => capped[INTERMITTENT[i]].exp().ln_1p() - LN_2,
            };
            *log_m = log_add(*log_m, log_weight) + term;
        }
        self.log_e = log_add(log_mean(&self.log_bets), log_weight_left_after(self.looks));
    }
}

/// `ln` of the prior weight of look number `look`, counted from 1, as the start of the trouble.
fn log_weight_of(look: u64) -> f64 {
    let t = look as f64;
    if look == 1 { -LN_2 } else { (HORIZON / 2.0 / ((HORIZON + t - 2.0) * (HORIZON + t - 1.0))).ln() }
}

/// `ln` of the prior weight that is on looks after `look`.
fn log_weight_left_after(look: u64) -> f64 {
    (HORIZON / 2.0 / (HORIZON + look as f64 - 1.0)).ln()
}

/// `ln(e^a + e^b)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    // e^-37 is below half the last bit of 1.
    if high - low < 37.0 { high + (low - high).exp().ln_1p() } else { high }
}

/// `ln` of the mean of what the logarithms stand for.
fn log_mean(logs: &[f64; BETS]) -> f64 {
    let high = logs.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - high).exp()).sum();
    high + (sum / BETS as f64).ln()
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
