//! Releases whose pods are slow while they are cold, judged by a latency objective through the ledger that production has.

use std::sync::Arc;
use std::time::Duration;

use gatekeeper::decide::analysis::{Analysis, Verdict};
use gatekeeper::decide::baseline::Baseline;
use gatekeeper::measure::ledger::{Counting, ErrorCount, Ledger, Terms};
use gatekeeper::measure::scrape::{Origin, PodSample, Samples, Scrape};
use gatekeeper::policy::{BurnRate, Confidence, Detection, ErrorBudget, OnMissingEvidence, Rule};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Binomial, Distribution, Poisson};

/// Pods that serve; two more are the canary.
const PODS: usize = 10;
const CANARY_PODS: usize = 2;
/// Seconds between two looks, and between two samples of a pod.
const LOOK: i64 = 10;
/// The rollout begins after ten minutes of baseline; the canary is held for two.
const SINCE: i64 = 600;
const HOLD: i64 = 120;
/// One pod is replaced each ten seconds after that, and five minutes are monitored.
const MONITOR: i64 = 300;
/// A rollout that is halted for longer is left alone.
const PATIENCE: i64 = 3600;

/// Share of the requests above 250 ms of a pod whose median is 40 ms, with a spread of 0.5, and of one ten times as slow.
const WELL: f64 = 0.000_125;
const SLOW: f64 = 0.826;

/// How pods of the release do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Release {
    /// Requests a second, all pods together.
    pub(crate) rate: f64,
    /// Ten times as slow for so many seconds after they became Ready.
    pub(crate) cold: i64,
    /// Ten times as slow for ever.
    pub(crate) slow: bool,
}

/// How a rollout ended, and the seconds until it was rolled back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) rolled_back: Option<i64>,
    pub(crate) halted: bool,
}

struct Pod {
    name: Arc<str>,
    is_new: bool,
    ready: i64,
    /// When it is scraped, within a look.
    phase: i64,
    errors: f64,
    total: f64,
    sample: Option<PodSample>,
}

impl Pod {
    fn new(random: &mut StdRng, number: usize, is_new: bool, ready: i64) -> Self {
        let name = format!("{}-{number}", if is_new { "new" } else { "old" }).into();
        Self { name, is_new, ready, phase: random.random_range(0..LOOK), errors: 0.0, total: 0.0, sample: None }
    }

    /// Serves for a second, and is scraped when it is time.
    fn serve(&mut self, random: &mut StdRng, release: &Release, rate: f64, now: i64) {
        let is_slow = self.is_new && (release.slow || now - self.ready < release.cold);
        let requests = Poisson::new(rate).expect("the rate is above 0").sample(random);
        let slow = Binomial::new(requests as u64, if is_slow { SLOW } else { WELL }).expect("a probability");
        self.errors += slow.sample(random) as f64;
        self.total += requests;
        if now % LOOK == self.phase {
            let (pod, errors, total) = (Arc::clone(&self.name), Some(self.errors), self.total);
            self.sample = Some(PodSample { pod, errors, total, taken: second(now), from_zero: true });
        }
    }
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// The defaults of a policy.
fn detection() -> Detection {
    Detection {
        window: Duration::from_secs(30),
        looks: 3,
        violation: BurnRate::parse("1.0").expect("a burn rate"),
        warning: BurnRate::parse("0.5").expect("a burn rate"),
        confidence: Confidence::parse_percent("99").expect("a percentage"),
        rule: Rule::Sequential,
        on_missing_evidence: OnMissingEvidence::Hold,
    }
}

/// Runs one rollout with this warmup, under an objective of 99 % within 250 ms.
pub(crate) fn run(release: &Release, warmup: Duration, seed: u64) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let detection = detection();
    let mut ledger = Ledger::new(Terms {
        since: second(SINCE),
        window: detection.window,
        look_interval: detection.look_interval(),
        objectives: vec![Counting { warmup, errors: ErrorCount::Difference }],
    });
    let mut pods: Vec<Pod> = (0..PODS).map(|number| Pod::new(&mut random, number, false, 0)).collect();
    let mut analysis = None;
    let (mut outcome, mut halted, mut progress) = (Outcome::default(), false, 0);
    for now in 1..SINCE + PATIENCE {
        if now == SINCE {
            pods.extend((0..CANARY_PODS).map(|number| Pod::new(&mut random, number, true, now)));
        }
        let rate = release.rate / pods.len() as f64;
        pods.iter_mut().for_each(|pod| pod.serve(&mut random, release, rate, now));
        if now % LOOK == 0 {
            let of = |is_new: bool| {
                pods.iter().filter(|pod| pod.is_new == is_new).filter_map(|pod| pod.sample.clone()).collect()
            };
            let samples = Samples { canary: of(true), stable: of(false), ..Samples::default() };
            let scrape = Scrape {
                at: second(now),
                origin: Origin::Live,
                objectives: vec![Ok(samples)],
                silent: Vec::new(),
                scraped: None,
            };
            if let Some(entry) = ledger.enter(&scrape, CANARY_PODS as u32) {
                let budget = ErrorBudget::of_target("99").expect("a target");
                let analysis = analysis.get_or_insert_with(|| {
                    Analysis::new(&detection, &[budget], vec![Baseline::of_looks(ledger.baseline(0))])
                });
                analysis.observe(&entry.evidence);
                let verdict = analysis.assess().verdict;
                if verdict == Verdict::Rollback {
                    outcome.rolled_back = Some(now - SINCE);
                    return outcome;
                }
                halted = verdict == Verdict::Halt;
                outcome.halted |= halted;
            }
        }
        if now < SINCE || halted {
            continue;
        }
        progress += 1;
        // Kubernetes replaces one pod after another, and the last of the old ones go beside the canary's own.
        if progress > HOLD && (progress - HOLD) % LOOK == 0 {
            let number = pods.iter().filter(|pod| pod.is_new).count();
            if let Some(old) = pods.iter().position(|pod| !pod.is_new) {
                pods.remove(old);
                if number < PODS {
                    pods.push(Pod::new(&mut random, number, true, now));
                }
            }
        }
        if progress == HOLD + LOOK * PODS as i64 + MONITOR {
            return outcome;
        }
    }
    outcome
}
