//! The traffic of one pod: counts drawn from distributions, without clock or I/O.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, Geometric, Poisson};
use sha2::{Digest, Sha256};

use super::behaviour::PodBehaviour;
use super::latency::{BucketedLatency, Histogram, binomial};

/// One pod's requests, errors and latencies since it became Ready.
///
/// Requests arrive as a Poisson process. With a burst of `b`, consecutive requests share one fate, which is drawn
/// anew before each request with probability `1 / b`: the share of errors stays what it was, and for rare errors
/// the variance of their number is `2b - 1` times that of independent ones.
#[derive(Debug)]
pub struct PodSimulation {
    behaviour: PodBehaviour,
    latency: BucketedLatency,
    rng: StdRng,
    /// Time since the pod became Ready.
    age: Duration,
    /// Fate of the latest request; none before the first.
    failing: Option<bool>,
    counters: Counters,
}

/// What the pod's exporter has counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    /// Requests answered with 200.
    pub(super) successes: u64,
    /// Requests answered with 500.
    pub(super) errors: u64,
    /// Latencies of all requests.
    pub(super) latencies: Histogram,
}

impl PodSimulation {
    /// A pod that has just become Ready. The same seed, namespace and name give the same draws again.
    pub fn new(seed: u64, namespace: &str, pod: &str, behaviour: PodBehaviour) -> Self {
        let digest = Sha256::new()
            .chain_update(seed.to_be_bytes())
            .chain_update(namespace)
            .chain_update("/")
            .chain_update(pod)
            .finalize();
        Self {
            latency: BucketedLatency::new(&behaviour.latency),
            behaviour,
            rng: StdRng::from_seed(digest.into()),
            age: Duration::ZERO,
            failing: None,
            counters: Counters::default(),
        }
    }

    /// Lets time pass while the pod gets this many requests a second (0 or more).
    ///
    /// `outage_ratio` is the share of requests (0 to 1) that fail for a reason outside the pod, on top of its own errors.
    pub fn advance(&mut self, dt: Duration, requests_per_second: f64, outage_ratio: f64) {
        let own = self.behaviour.error_ratio_at(self.age);
        let error_ratio = 1.0 - (1.0 - own) * (1.0 - outage_ratio);
        let requests = poisson(requests_per_second * dt.as_secs_f64(), &mut self.rng);
        let errors = if self.behaviour.burst > 1.0 {
            self.errors_in_bursts(requests, error_ratio)
        } else {
            binomial(requests, error_ratio, &mut self.rng)
        };
        self.counters.errors += errors;
        self.counters.successes += requests - errors;
        self.latency.observe(requests, &mut self.counters.latencies, &mut self.rng);
        self.age += dt;
    }

    /// Starts the counters at zero again, as a restarted container does. The pod's age goes on.
    pub fn restart(&mut self) {
        self.counters = Counters::default();
    }

    /// Requests counted, failed ones included.
    pub fn requests(&self) -> u64 {
        self.counters.successes + self.counters.errors
    }

    /// Failed requests counted.
    pub fn errors(&self) -> u64 {
        self.counters.errors
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Walks from change of fate to change of fate: the work grows with the number of bursts, not of requests.
    fn errors_in_bursts(&mut self, requests: u64, error_ratio: f64) -> u64 {
        let mut errors = 0;
        let mut left = requests;
        let mut failing = match self.failing {
            Some(failing) => failing,
            None => self.rng.random_bool(error_ratio),
        };
        while left > 0 {
            let towards_other = if failing { 1.0 - error_ratio } else { error_ratio };
            let same_fate = before_change(towards_other / self.behaviour.burst, &mut self.rng);
            let run = same_fate.min(left);
            errors += if failing { run } else { 0 };
            left -= run;
            if left > 0 {
                failing = !failing;
                errors += u64::from(failing);
                left -= 1;
            }
        }
        self.failing = Some(failing);
        errors
    }
}

/// Number of requests of a Poisson process with this mean, 0 or more.
fn poisson(mean: f64, rng: &mut impl Rng) -> u64 {
    if mean == 0.0 {
        return 0;
    }
    Poisson::new(mean).expect("rates are checked when they are set").sample(rng) as u64
}

/// Number of requests before the one at which an event of this probability happens.
fn before_change(probability: f64, rng: &mut impl Rng) -> u64 {
    Geometric::new(probability).expect("ratios are checked when they are read").sample(rng)
}

#[cfg(test)]
mod tests {
    use super::super::behaviour::TurnsBad;
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn pod(behaviour: PodBehaviour) -> PodSimulation {
        PodSimulation::new(42, "shop", "cart-6d5f8c7b9-x2x4q", behaviour)
    }

    /// Errors of each second, for this many seconds at this rate.
    fn errors_each_second(pod: &mut PodSimulation, seconds: usize, rate: f64) -> Vec<f64> {
        (0..seconds)
            .map(|_| {
                let before = pod.errors();
                (0..10).for_each(|_| pod.advance(TICK, rate, 0.0));
                (pod.errors() - before) as f64
            })
            .collect()
    }

    fn mean_and_variance(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (mean, squares / (values.len() - 1) as f64)
    }

    #[test]
    fn requests_and_errors_have_the_configured_means_and_the_variance_of_independent_draws() {
        let mut pod = pod(PodBehaviour::failing(0.02));
        let errors = errors_each_second(&mut pod, 4000, 250.0);
        let (mean, variance) = mean_and_variance(&errors);
        assert!((pod.requests() as f64 / 1e6 - 1.0).abs() < 0.005);
        assert!((mean / 5.0 - 1.0).abs() < 0.03, "mean {mean}");
        assert!((variance / mean - 1.0).abs() < 0.1, "dispersion {}", variance / mean);
    }

    #[test]
    fn the_same_seed_and_pod_repeat_the_run_and_others_do_not() {
        let run = |seed, name| {
            let behaviour = PodBehaviour { burst: 3.0, ..PodBehaviour::failing(0.1) };
            let mut pod = PodSimulation::new(seed, "shop", name, behaviour);
            (0..50).for_each(|_| pod.advance(TICK, 300.0, 0.0));
            pod.counters
        };
        assert_eq!(run(1, "cart-a"), run(1, "cart-a"));
        assert_ne!(run(1, "cart-a"), run(2, "cart-a"));
        assert_ne!(run(1, "cart-a"), run(1, "cart-b"));
    }

    #[test]
    fn bursts_keep_the_mean_and_raise_the_variance() {
        let mut pod = pod(PodBehaviour { burst: 5.0, ..PodBehaviour::failing(0.005) });
        let (mean, variance) = mean_and_variance(&errors_each_second(&mut pod, 20_000, 2000.0));
        assert!((mean / 10.0 - 1.0).abs() < 0.03, "mean {mean}");
        // 2b - 1 for rare errors, slightly less because two bursts do not overlap.
        assert!((8.0..9.5).contains(&(variance / mean)), "dispersion {}", variance / mean);
    }

    #[test]
    fn bursts_leave_total_failure_total_and_perfection_perfect() {
        for (error_ratio, expected) in [(1.0, 1.0), (0.0, 0.0)] {
            let mut pod = pod(PodBehaviour { burst: 5.0, ..PodBehaviour::failing(error_ratio) });
            (0..100).for_each(|_| pod.advance(TICK, 50.0, 0.0));
            assert_eq!(pod.errors() as f64, pod.requests() as f64 * expected);
        }
    }

    #[test]
    fn bursts_span_ticks_at_low_rates() {
        let mut pod = pod(PodBehaviour { burst: 20.0, ..PodBehaviour::failing(0.3) });
        let errors = errors_each_second(&mut pod, 100_000, 1.0);
        let (mean, variance) = mean_and_variance(&errors);
        assert!((mean / 0.3 - 1.0).abs() < 0.1, "mean {mean}");
        let neighbours: f64 = errors.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        let correlation = neighbours / errors.len() as f64 / variance;
        assert!(correlation > 0.2, "correlation {correlation}");
    }

    #[test]
    fn a_pod_turns_bad_when_its_time_has_come() {
        let mut pod = pod(PodBehaviour {
            turns_bad: Some(TurnsBad { after: Duration::from_secs(30), error_ratio: 1.0 }),
            ..PodBehaviour::default()
        });
        let errors = errors_each_second(&mut pod, 60, 100.0);
        assert!(errors[..30].iter().all(|errors| *errors == 0.0));
        assert!(errors[30..].iter().all(|errors| *errors > 50.0));
    }

    #[test]
    fn an_outage_adds_to_the_pods_own_errors() {
        let mut pod = pod(PodBehaviour::failing(0.5));
        (0..1000).for_each(|_| pod.advance(TICK, 1000.0, 0.5));
        let ratio = pod.errors() as f64 / pod.requests() as f64;
        assert!((ratio - 0.75).abs() < 0.01, "{ratio}");
    }

    #[test]
    fn a_pod_without_traffic_counts_nothing_but_ages() {
        let mut pod = pod(PodBehaviour {
            turns_bad: Some(TurnsBad { after: Duration::from_secs(1), error_ratio: 1.0 }),
            ..PodBehaviour::default()
        });
        (0..10).for_each(|_| pod.advance(TICK, 0.0, 0.0));
        assert_eq!(pod.requests(), 0);
        pod.advance(TICK, 1000.0, 0.0);
        assert_eq!(pod.errors(), pod.requests());
    }

    #[test]
    fn a_restart_sets_all_counters_to_zero_and_keeps_the_age() {
        let mut pod = pod(PodBehaviour::failing(0.5));
        pod.advance(TICK, 1000.0, 0.0);
        pod.restart();
        assert_eq!(pod.counters, Counters::default());
        assert_eq!(pod.age, TICK);
    }

    #[test]
    fn every_request_has_a_latency() {
        let mut pod = pod(PodBehaviour::failing(0.1));
        (0..100).for_each(|_| pod.advance(TICK, 777.0, 0.0));
        let observed: u64 = pod.counters.latencies.counts.iter().sum();
        assert_eq!(observed, pod.requests());
    }

    #[test]
    fn a_million_requests_a_second_cost_a_few_draws() {
        let mut pod = pod(PodBehaviour::failing(0.001));
        let began = std::time::Instant::now();
        (0..1000).for_each(|_| pod.advance(TICK, 1e6, 0.0));
        assert!((pod.requests() as f64 / 1e8 - 1.0).abs() < 0.001);
        // 100 million requests one by one would take minutes here.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
