//! What the stable pods did before the rollout began.

use crate::measure::look::Tally;
use crate::policy::{BurnRate, ErrorBudget};

/// With fewer errors than this a baseline says nothing of how they cluster.
const FEWEST_ERRORS: f64 = 10.0;

/// How much more errors vary than independent ones would: variance over mean, 1 or more. Errors that come in bursts of
/// five weigh a fifth each.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Dispersion(f64);

impl Dispersion {
    /// Independent errors.
    pub const NONE: Self = Self(1.0);

    /// A factor; `None` when it is not finite or below 1.
    #[must_use]
    pub fn new(factor: f64) -> Option<Self> {
        (factor.is_finite() && factor >= 1.0).then_some(Self(factor))
    }

    /// As looks show it: Pearson's chi-squared over its degrees of freedom, around their common error ratio. Looks
    /// without requests do not count; [`Dispersion::NONE`] below ten errors, or with fewer than two looks.
    #[must_use]
    pub fn of_looks(looks: &[Tally]) -> Self {
        let total: Tally = looks.iter().copied().sum();
        let served = || looks.iter().filter(|look| look.requests() > 0.0);
        let freedom = served().count().saturating_sub(1);
        let Some(ratio) = total.ratio().filter(|_| total.errors() >= FEWEST_ERRORS && freedom > 0) else {
            return Self::NONE;
        };
        let chi_squared: f64 = served()
            .map(|look| {
                let expected = look.requests() * ratio;
                (look.errors() - expected).powi(2) / expected
            })
            .sum();
        Self::new(chi_squared / freedom as f64).unwrap_or(Self::NONE)
    }

    /// The factor.
    #[must_use]
    pub const fn factor(self) -> f64 {
        self.0
    }
}

/// The looks of the stable pods before the rollout, as far as deciding needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    dispersion: Dispersion,
    total: Tally,
    recent: Vec<Tally>,
}

impl Baseline {
    /// The most looks that a window has.
    const RECENT: usize = 10;

    /// Nothing is known of the time before.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::with_dispersion(Dispersion::NONE)
    }

    /// Nothing is known but how errors cluster.
    #[must_use]
    pub const fn with_dispersion(dispersion: Dispersion) -> Self {
        Self { dispersion, total: Tally::ZERO, recent: Vec::new() }
    }

    /// What the looks before the rollout showed, oldest first, on the grid on which the rollout's looks go on.
    #[must_use]
    pub fn of_looks(looks: &[Tally]) -> Self {
        Self {
            dispersion: Dispersion::of_looks(looks),
            total: looks.iter().copied().sum(),
            recent: looks[looks.len().saturating_sub(Self::RECENT)..].to_vec(),
        }
    }

    /// How errors cluster.
    #[must_use]
    pub const fn dispersion(&self) -> Dispersion {
        self.dispersion
    }

    /// What the stable pods burnt; `None` when they served nothing.
    #[must_use]
    pub fn burn(&self, budget: ErrorBudget) -> Option<BurnRate> {
        self.total.ratio().map(|ratio| BurnRate::of_ratio(ratio, budget))
    }

    /// The last looks, oldest first, at most as many as a window can have.
    #[must_use]
    pub fn recent(&self) -> &[Tally] {
        &self.recent
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn few_errors_say_nothing_of_bursts() {
        let looks = [Tally::new(9.0, 100.0), Tally::new(0.0, 100.0), Tally::new(0.0, 100.0)];
        assert_eq!(Dispersion::of_looks(&looks), Dispersion::NONE);
        assert_eq!(Dispersion::of_looks(&[]), Dispersion::NONE);
    }

    #[test]
    fn one_look_says_nothing_of_bursts() {
        assert_eq!(Dispersion::of_looks(&[Tally::new(50.0, 100.0), Tally::ZERO]), Dispersion::NONE);
    }

    #[test]
    fn bursts_disperse_as_chi_squared_says() {
        // Mean 5 an equal look: (25 + 25 + 0) / 5 / 2 = 5. The empty look is none.
        let looks = [Tally::new(10.0, 100.0), Tally::ZERO, Tally::new(0.0, 100.0), Tally::new(5.0, 100.0)];
        assert_eq!(Dispersion::of_looks(&looks).factor(), 5.0);
    }

    #[test]
    fn errors_more_even_than_chance_are_not_trusted_more() {
        assert_eq!(Dispersion::of_looks(&[Tally::new(10.0, 100.0); 20]), Dispersion::NONE);
    }

    #[test]
    fn a_factor_below_one_is_refused() {
        assert_eq!(Dispersion::new(0.99), None);
        assert_eq!(Dispersion::new(f64::NAN), None);
        assert_eq!(Dispersion::new(4.5).unwrap().factor(), 4.5);
    }

    #[test]
    fn a_baseline_knows_its_burn_and_its_last_looks() {
        let looks: Vec<Tally> = (0..25).map(|i| Tally::new(f64::from(i % 2), 1000.0)).collect();
        let baseline = Baseline::of_looks(&looks);
        let budget = ErrorBudget::of_target("99.9").unwrap();
        assert_eq!(baseline.burn(budget).unwrap().factor(), 0.48);
        assert_eq!(baseline.recent(), &looks[15..]);
        assert_eq!(Baseline::unknown().burn(budget), None);
    }
}
