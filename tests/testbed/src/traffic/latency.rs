//! Latencies drawn as counts per histogram bucket, not one by one.

use rand::Rng;
use rand_distr::{Binomial, Distribution};

use super::behaviour::Latency;

/// Upper bounds of the finite buckets in seconds: the defaults of the Prometheus client libraries.
pub(super) const BOUNDS_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Number of buckets, the one without an upper bound included.
pub(super) const BUCKETS: usize = BOUNDS_SECONDS.len() + 1;

/// Requests per bucket (each request in one bucket only) and the sum of their latencies.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// Requests whose latency lies between the previous bound and this one.
    pub(super) counts: [u64; BUCKETS],
    /// Sum of the latencies in seconds.
    pub(super) sum_seconds: f64,
}

/// A log-normal distribution cut into the histogram's buckets.
#[derive(Debug, Clone)]
pub(super) struct BucketedLatency {
    /// For each bucket, the probability of a latency in it, given that it is in no earlier one.
    conditional: [f64; BUCKETS],
    /// Mean latency of each bucket in seconds, so that the sum agrees with the buckets.
    means: [f64; BUCKETS],
}

impl BucketedLatency {
    pub(super) fn new(latency: &Latency) -> Self {
        let median = latency.median_ms / 1000.0;
        let mut conditional = [0.0; BUCKETS];
        let mut means = [median; BUCKETS];
        let (mut below, mut partial_mean_below) = (0.0, 0.0);
        for bucket in 0..BUCKETS {
            let bound = BOUNDS_SECONDS.get(bucket).copied().unwrap_or(f64::INFINITY);
            let (up_to, partial_mean) = up_to(bound, median, latency.sigma);
            let probability = up_to - below;
            if probability > 0.0 {
                conditional[bucket] = (probability / (1.0 - below)).min(1.0);
                means[bucket] = (partial_mean - partial_mean_below) / probability;
            }
            (below, partial_mean_below) = (up_to, partial_mean);
        }
        // Rounding must not let a request fall through the last bucket.
        conditional[BUCKETS - 1] = 1.0;
        Self { conditional, means }
    }

    /// Adds this many requests to the histogram: a multinomial draw, as a chain of binomial ones.
    pub(super) fn observe(&self, requests: u64, histogram: &mut Histogram, rng: &mut impl Rng) {
        let mut left = requests;
        for bucket in 0..BUCKETS {
            if left == 0 {
                break;
            }
            let count = binomial(left, self.conditional[bucket], rng);
            histogram.counts[bucket] += count;
            histogram.sum_seconds += count as f64 * self.means[bucket];
            left -= count;
        }
    }
}

/// Number of successes among `trials` of this probability, which must lie between 0 and 1.
pub(super) fn binomial(trials: u64, probability: f64, rng: &mut impl Rng) -> u64 {
    Binomial::new(trials, probability).expect("probabilities are checked when they are read").sample(rng)
}

/// Probability of a latency of at most `bound`, and the part of the mean that comes from those.
fn up_to(bound: f64, median: f64, sigma: f64) -> (f64, f64) {
    if sigma == 0.0 {
        return if bound >= median { (1.0, median) } else { (0.0, 0.0) };
    }
    let mean = median * (sigma * sigma / 2.0).exp();
    let score = (bound / median).ln() / sigma;
    (normal_cdf(score), mean * normal_cdf(score - sigma))
}

/// Distribution function of the standard normal distribution.
fn normal_cdf(score: f64) -> f64 {
    0.5 * libm::erfc(-score / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn observed(median_ms: f64, sigma: f64, requests: u64) -> Histogram {
        let mut histogram = Histogram::default();
        BucketedLatency::new(&Latency { median_ms, sigma }).observe(
            requests,
            &mut histogram,
            &mut StdRng::seed_from_u64(7),
        );
        histogram
    }

    #[test]
    fn every_request_falls_into_exactly_one_bucket() {
        for median_ms in [0.001, 1.0, 40.0, 700.0, 1e6] {
            for sigma in [0.0, 0.1, 0.5, 3.0] {
                let histogram = observed(median_ms, sigma, 12_345);
                assert_eq!(histogram.counts.iter().sum::<u64>(), 12_345);
            }
        }
    }

    #[test]
    fn half_of_the_requests_are_faster_than_the_median() {
        let histogram = observed(50.0, 0.5, 1_000_000);
        let faster: u64 = histogram.counts[..4].iter().sum();
        assert!((faster as f64 / 1e6 - 0.5).abs() < 0.005, "{faster}");
    }

    #[test]
    fn the_sum_is_the_mean_of_the_log_normal_distribution() {
        let histogram = observed(40.0, 0.5, 1_000_000);
        let mean = 0.040 * (0.5f64 * 0.5 / 2.0).exp();
        let relative = histogram.sum_seconds / 1e6 / mean;
        assert!((relative - 1.0).abs() < 0.005, "{relative}");
    }

    #[test]
    fn without_spread_every_request_takes_the_median() {
        let histogram = observed(40.0, 0.0, 100);
        assert_eq!(histogram.counts[3], 100);
        assert!((histogram.sum_seconds - 4.0).abs() < 1e-9);
    }
}
