//! One simulated rollout, judged by the code that runs in production.

use std::time::Duration;

use gatekeeper::decide::analysis::{Analysis, Calm, Reason, Verdict};
use gatekeeper::decide::baseline::Baseline;
use gatekeeper::measure::look::{Look, Tally};
use gatekeeper::policy::{BurnRate, Confidence, Detection, ErrorBudget, OnMissingEvidence, Rule};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::traffic::{BUDGET, Errors, serve};

/// Two minutes with a tenth of the traffic.
pub(crate) const CANARY: u32 = 12;
/// Ninety seconds to all of it.
pub(crate) const RAMP: u32 = 9;
/// Five minutes with no stable pod left.
pub(crate) const ALONE: u32 = 30;

/// The canary's share of the traffic before the ramp.
const CANARY_SHARE: f64 = 0.1;
/// Ten minutes of the stable pods before the rollout.
const BASELINE: u32 = 60;
/// Ten minutes without a violation are calm enough, however few the requests.
const CALM_LOOKS: u32 = 60;
/// A rollout that is still halted after so many looks stays so.
const PATIENCE: u32 = 360;

/// What the service and the release do, look by look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Requests a second, all pods together.
    pub(crate) rate: f64,
    pub(crate) errors: Errors,
    /// Burn rate of the stable pods, and of the new ones while they are well.
    pub(crate) normal: f64,
    pub(crate) trouble: Trouble,
    /// Looks with no stable pod left before the release has succeeded.
    pub(crate) alone: u32,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    None,
    /// From look `from` on the new pods burn this much.
    Release {
        from: u32,
        burn: f64,
    },
    /// Every request to new pods fails in every `every`-th look.
    Intermittent {
        every: u32,
    },
    /// All pods burn this much in `looks` looks from `from` on.
    Shared {
        from: u32,
        looks: u32,
        burn: f64,
    },
}

impl Trouble {
    /// The first look of it.
    pub(crate) fn begins(self) -> u32 {
        match self {
            Self::None | Self::Intermittent { .. } => 0,
            Self::Release { from, .. } | Self::Shared { from, .. } => from,
        }
    }
}

/// How a rollout went. Looks are counted from 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// At which look it was rolled back.
    pub(crate) rolled_back: Option<u32>,
    /// At which look it was first halted.
    pub(crate) halted: Option<u32>,
    /// It came to its end.
    pub(crate) succeeded: bool,
}

/// The defaults of a policy, with this rule.
pub(crate) fn detection(rule: Rule) -> Detection {
    Detection {
        window: Duration::from_secs(30),
        looks: 3,
        violation: BurnRate::parse("1.0").expect("a burn rate"),
        warning: BurnRate::parse("0.5").expect("a burn rate"),
        confidence: Confidence::parse_percent("99").expect("a percentage"),
        rule,
        on_missing_evidence: OnMissingEvidence::Hold,
    }
}

/// Why the rollout stands still, and since which look.
struct Halt {
    reason: Reason,
    since: u32,
}

/// Runs one rollout to its end.
pub(crate) fn run(scenario: &Scenario, detection: &Detection, seed: u64) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let budget = ErrorBudget::of_target("99.9").expect("a target");
    let normal = scenario.normal * BUDGET;
    let before: Vec<Tally> =
        (0..BASELINE).map(|_| serve(&mut random, scenario.rate, normal, scenario.errors)).collect();
    let mut analysis = Analysis::new(detection, &[budget], vec![Baseline::of_looks(&before)]);
    let mut outcome = Outcome::default();
    let mut halt: Option<Halt> = None;
    // How far the rollout is; it stands still while halted.
    let mut progress = 0;
    for now in 0..PATIENCE {
        analysis.observe(&[Ok(draw(&mut random, scenario, now, progress))]);
        let found = analysis.assess();
        match (found.verdict, found.reason) {
            (Verdict::Rollback, _) => {
                outcome.rolled_back = Some(now);
                return outcome;
            }
            (Verdict::Halt, reason) => {
                let since = halt.as_ref().map_or(now, |halt| halt.since);
                outcome.halted.get_or_insert(now);
                let stays = halt.filter(|halt| halt.reason == Reason::WorseThanStable);
                halt = Some(stays.unwrap_or(Halt { reason, since }));
            }
            (Verdict::Proceed, _) => {}
        }
        if let Some(halted) = &halt
            && is_over(halted, found.verdict, analysis.calm(), now)
        {
            if needs_calm(halted.reason) {
                analysis.restart();
            }
            halt = None;
        }
        if halt.is_none() {
            progress += 1;
        }
        if progress == CANARY + RAMP + scenario.alone {
            outcome.succeeded = true;
            return outcome;
        }
    }
    outcome
}

fn needs_calm(reason: Reason) -> bool {
    matches!(reason, Reason::SharedCause | Reason::CauseUnclear)
}

fn is_over(halt: &Halt, verdict: Verdict, calm: Calm, now: u32) -> bool {
    match halt.reason {
        Reason::WorseThanStable => false,
        reason if needs_calm(reason) => {
            calm == Calm::Proven || calm == Calm::Unproven && now - halt.since >= CALM_LOOKS
        }
        _ => verdict == Verdict::Proceed,
    }
}

fn draw(random: &mut StdRng, scenario: &Scenario, now: u32, progress: u32) -> Look {
    let share = match progress {
        0..CANARY => CANARY_SHARE,
        _ if progress < CANARY + RAMP => {
            CANARY_SHARE + (1.0 - CANARY_SHARE) * (f64::from(progress - CANARY) + 0.5) / f64::from(RAMP)
        }
        _ => 1.0,
    };
    let normal = scenario.normal * BUDGET;
    let (canary, stable) = match scenario.trouble {
        Trouble::Release { from, burn } if now >= from => (burn * BUDGET, normal),
        Trouble::Intermittent { every } if now.is_multiple_of(every) => (1.0, normal),
        Trouble::Shared { from, looks, burn } if (from..from + looks).contains(&now) => (burn * BUDGET, burn * BUDGET),
        _ => (normal, normal),
    };
    Look {
        canary: serve(random, scenario.rate * share, canary, scenario.errors),
        stable: serve(random, scenario.rate * (1.0 - share), stable, scenario.errors),
    }
}
