//! How long a release that burns the budget would go unseen: the decision's own code, fed with simulated releases of the
//! service as it is now. Pure: what is drawn at random is drawn from a fixed seed, so that the same question has the same
//! answer. What would be expected on average will not do: how much the old pods happened to fail while they were compared
//! with decides for how long the new ones are given the benefit of the doubt.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Binomial, Distribution, Poisson};

use crate::decide::baseline::Baseline;
use crate::decide::holding;
use crate::decide::lifecycle::LOOKS_TO_PASS;
use crate::decide::objective::Objective as Evidence;
use crate::decide::verdict::Verdict;
use crate::measure::look::{Look, Tally};
use crate::policy::{BurnRate, Mode, Objective, Policy};

/// How many releases are simulated: the one in the middle is told.
const RELEASES: u64 = 15;

/// How many looks each of them has at most: more than eight hours of them at 10 s.
const MOST_LOOKS: u32 = 3_000;

/// A service as it is, and the policy its releases are under.
pub(super) struct Service<'a> {
    pub(super) policy: &'a Policy,
    pub(super) objective: &'a Objective,
    /// What its pods did lately.
    pub(super) baseline: Baseline,
    /// Requests a second, all pods together.
    pub(super) rate: f64,
    pub(super) replicas: u32,
    pub(super) scrape_interval: Duration,
}

/// A moment of a release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    /// Since its first pod served.
    pub(super) after: Duration,
    /// What all pods, new and old, served until then.
    pub(super) requests: f64,
}

/// What becomes of such releases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Forecast {
    /// The one in the middle was halted; `None` when most of them never are.
    pub(super) halted: Option<Moment>,
    /// The one in the middle was convicted; `None` when most of them never are.
    pub(super) seen: Option<Moment>,
    /// The share of them that was taken as good before anything was seen.
    pub(super) missed: f64,
    /// When those were taken as good: the one in the middle.
    pub(super) taken_as_good: Option<Duration>,
    /// What was simulated at most.
    pub(super) until: Duration,
}

/// How far a release is.
struct Release<'a> {
    policy: &'a Policy,
    /// Which of the canary's steps; as many as there are once all pods are new ones.
    step: usize,
    /// How long it has been there. A halt stops this clock.
    there: Duration,
    looks: u32,
    canary_requests: f64,
}

impl Release<'_> {
    /// The share of the traffic that new pods have.
    fn share(&self, replicas: u32) -> f64 {
        match self.steps().get(self.step) {
            Some(step) => holding::beside(step.traffic, replicas).share(replicas) / 100.0,
            None => 1.0,
        }
    }

    fn steps(&self) -> &[crate::policy::CanaryStep] {
        let held = self.policy.canary.as_ref().filter(|_| self.policy.mode == Mode::Enforce);
        held.map_or(&[], |canary| &canary.steps)
    }

    /// Goes on by one look; true when the release is taken as good with it.
    fn go_on(&mut self, look_interval: Duration) -> bool {
        self.there += look_interval;
        let (Some(step), Some(canary)) = (self.steps().get(self.step), &self.policy.canary) else {
            return self.there >= self.policy.monitor.timeout;
        };
        let enough = self.looks >= LOOKS_TO_PASS && self.canary_requests >= canary.minimum_requests as f64;
        if self.there >= step.hold && (enough || self.there >= canary.maximum_hold) {
            self.step += 1;
            self.there = Duration::ZERO;
        }
        false
    }
}

/// What becomes of releases that burn so much from the first request on, while the old pods go on as they do.
pub(super) fn forecast(service: &Service<'_>, burn: f64) -> Forecast {
    let ends: Vec<End> = (0..RELEASES).map(|seed| simulate(service, burn, seed)).collect();
    let mut good: Vec<Duration> = ends.iter().filter_map(|end| end.taken_as_good).collect();
    good.sort_unstable();
    Forecast {
        halted: middle(ends.iter().map(|end| end.halted.or(end.seen))),
        seen: middle(ends.iter().map(|end| end.seen)),
        missed: good.len() as f64 / RELEASES as f64,
        taken_as_good: good.get(good.len() / 2).copied(),
        until: service.policy.detection.look_interval() * MOST_LOOKS,
    }
}

/// Of all releases, in the order in which it happened to them; `None` where it does not happen to the one in the middle.
fn middle(moments: impl Iterator<Item = Option<Moment>>) -> Option<Moment> {
    let mut all: Vec<_> = moments.collect();
    all.sort_by_key(|moment| moment.map_or(Duration::MAX, |moment| moment.after));
    all.get(all.len() / 2).copied().flatten()
}

/// What became of one release.
#[derive(Default)]
struct End {
    halted: Option<Moment>,
    seen: Option<Moment>,
    taken_as_good: Option<Duration>,
}

fn simulate(service: &Service<'_>, burn: f64, seed: u64) -> End {
    let Service { policy, objective, .. } = service;
    let look_interval = policy.detection.look_interval();
    let normal = service.baseline.burn(objective.budget).map_or(0.0, BurnRate::factor) * objective.budget.ratio();
    let bad = (burn * objective.budget.ratio()).min(1.0);
    let mut traffic =
        Traffic { random: StdRng::seed_from_u64(seed), dispersion: service.baseline.dispersion().factor() };
    let mut evidence =
        Evidence::new(&policy.detection, objective.budget, service.baseline.clone(), policy.objectives.len());
    let mut release = Release { policy, step: 0, there: Duration::ZERO, looks: 0, canary_requests: 0.0 };
    let mut end = End::default();
    let mut requests = 0.0;
    // Between two scrapes there is nothing new.
    let scrape = service.scrape_interval.as_nanos().max(1);
    let scrapes = |looks: u32| ((look_interval * looks).as_nanos() / scrape) as f64;
    for number in 1..=MOST_LOOKS {
        let seconds = service.scrape_interval.as_secs_f64() * (scrapes(number) - scrapes(number - 1));
        let (served, share) = (service.rate * seconds, release.share(service.replicas));
        let (new, old) = (traffic.serve(served * share, bad), traffic.serve(served * (1.0 - share), normal));
        requests += new.requests() + old.requests();
        let is_warming = look_interval * number <= objective.warmup;
        let look = Look { canary: if is_warming { Tally::default() } else { new }, stable: old };
        release.canary_requests += look.canary.requests();
        release.looks += u32::from(look.canary.requests() > 0.0);
        evidence.observe(&Ok(look));
        let now = Moment { after: look_interval * number, requests };
        match evidence.finding().verdict {
            Verdict::Rollback => {
                end.seen = Some(now);
                return end;
            }
            Verdict::Halt => _ = end.halted.get_or_insert(now),
            Verdict::Proceed if end.taken_as_good.is_none() => {
                end.taken_as_good = release.go_on(look_interval).then_some(now.after);
            }
            Verdict::Proceed => {}
        }
    }
    end
}

/// Requests that come by themselves, and errors that come in groups as the service's do.
struct Traffic {
    random: StdRng,
    dispersion: f64,
}

impl Traffic {
    fn serve(&mut self, expected: f64, error_ratio: f64) -> Tally {
        let requests = self.poisson(expected);
        let failed = if self.dispersion > 1.0 {
            self.dispersion * self.poisson(requests * error_ratio / self.dispersion)
        } else {
            Binomial::new(requests as u64, error_ratio).map_or(0, |errors| errors.sample(&mut self.random)) as f64
        };
        Tally::new(failed, requests)
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        Poisson::new(mean).map_or(0.0, |requests| requests.sample(&mut self.random))
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
