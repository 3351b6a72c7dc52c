use std::time::Duration;

use gatekeeper::decide::analysis::{Analysis, Assessment, Verdict};
use gatekeeper::decide::baseline::Baseline;
use gatekeeper::decide::explain::explain;
use gatekeeper::measure::look::{Evidence, Look, Missing, Tally};
use gatekeeper::policy::{BurnRate, Confidence, Detection, ErrorBudget, OnMissingEvidence, Rule};
use proptest::prelude::*;

/// A policy, what was seen before the rollout, and what is seen in it.
#[derive(Debug, Clone)]
struct Case {
    detection: Detection,
    budgets: Vec<ErrorBudget>,
    baselines: Vec<Baseline>,
    looks: Vec<Vec<Evidence>>,
}

impl Case {
    fn analysis(&self) -> Analysis {
        Analysis::new(&self.detection, &self.budgets, self.baselines.clone())
    }

    /// What is decided after each look.
    fn decisions(&self) -> Vec<Assessment> {
        let mut analysis = self.analysis();
        let step = |look: &Vec<Evidence>| {
            analysis.observe(look);
            analysis.assess()
        };
        self.looks.iter().map(step).collect()
    }
}

fn burn_rate(thousandths: u64) -> BurnRate {
    BurnRate::parse(&format!("{}.{:03}", thousandths / 1000, thousandths % 1000)).expect("above 0")
}

/// A count as services have them: nothing, few, many, or absurdly many, whole or not.
fn count() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => Just(0.0),
        6 => (0..20_u32).prop_map(f64::from),
        6 => (0..5000_u32).prop_map(f64::from),
        2 => (0..u32::MAX).prop_map(f64::from),
        1 => 0.0..10.0,
        1 => Just(1e18),
    ]
}

fn tally() -> impl Strategy<Value = Tally> {
    (count(), prop_oneof![3 => 0.0..0.02, 1 => Just(0.0), 1 => 0.0..1.0, 1 => Just(1.0)])
        .prop_map(|(requests, ratio): (f64, f64)| Tally::new((requests * ratio).round(), requests))
}

fn missing() -> impl Strategy<Value = Missing> {
    prop::sample::select(Missing::ALL.to_vec())
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        8 => (tally(), tally()).prop_map(|(canary, stable)| Ok(Look { canary, stable })),
        1 => tally().prop_map(|canary| Ok(Look { canary, stable: Tally::ZERO })),
        1 => missing().prop_map(Err),
    ]
}

/// Every policy that can be written, and anything that can be seen.
fn case() -> impl Strategy<Value = Case> {
    let limits = (1..=1000_u64, 1..=1000_u64);
    let policy = (limits, 1..1_000_000_u32, 1..=10_u32, any::<[bool; 2]>(), 1..=4_usize);
    policy.prop_flat_map(|((violation, warning), confidence, looks, [threshold, hold], objectives)| {
        let targets = prop::collection::vec(1..10_000_000_u32, objectives);
        let baseline = prop::collection::vec(tally(), 0..20);
        let baselines = prop::collection::vec(baseline, objectives);
        let seen = prop::collection::vec(prop::collection::vec(evidence(), objectives), 1..40);
        (targets, baselines, seen).prop_map(move |(targets, baselines, looks_seen)| {
            let percent = |x: u32| format!("{}.{:05}", x / 100_000, x % 100_000);
            let budgets: Vec<ErrorBudget> =
                targets.iter().map(|&target| ErrorBudget::of_target(&percent(target)).expect("a target")).collect();
            // The limits are thousandths of the largest burn rate there is.
            let largest = budgets.iter().map(|budget| 1.0 / budget.ratio()).fold(f64::MAX, f64::min);
            let limit = |share: u64| burn_rate(((largest * share as f64) as u64).max(1));
            let detection = Detection {
                window: Duration::from_secs(30),
                looks,
                violation: limit(violation),
                warning: limit(warning.min(violation)),
                confidence: Confidence::parse_percent(&format!("{}.{:04}", confidence / 10_000, confidence % 10_000))
                    .expect("a percentage"),
                rule: if threshold { Rule::Threshold } else { Rule::Sequential },
                on_missing_evidence: if hold { OnMissingEvidence::Hold } else { OnMissingEvidence::Proceed },
            };
            let baselines = baselines.iter().map(|looks| Baseline::of_looks(looks)).collect();
            Case { detection, budgets, baselines, looks: looks_seen }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_and_everything_seen_comes_to_a_finite_verdict_in_a_short_sentence(case in case()) {
        for decision in case.decisions() {
            for finding in &decision.findings {
                let numbers = &finding.numbers;
                for log_e in [numbers.log_evidence, numbers.log_evidence_vs_stable].into_iter().flatten() {
                    prop_assert!(log_e.is_finite());
                }
                for tally in [numbers.window.canary, numbers.window.stable, numbers.total.canary, numbers.total.stable] {
                    prop_assert!(numbers.burn(tally).is_none_or(|burn| burn.factor().is_finite()));
                }
            }
            let text = explain(&decision, &case.detection);
            prop_assert!(!text.is_empty() && text.len() <= 300, "{} characters: {}", text.len(), text);
        }
    }

    #[test]
    fn the_same_looks_come_to_the_same_decisions(case in case()) {
        prop_assert_eq!(case.decisions(), case.decisions());
    }

    #[test]
    fn more_canary_errors_never_give_a_milder_verdict(case in case(), more in prop::collection::vec(0.0..1.0, 40)) {
        let mut worse = case.clone();
        for (look, share) in worse.looks.iter_mut().zip(more) {
            for seen in look.iter_mut().flatten() {
                let (errors, requests) = (seen.canary.errors(), seen.canary.requests());
                seen.canary = Tally::new(errors + (requests - errors) * share, requests);
            }
        }
        for (mild, harsh) in case.decisions().iter().zip(worse.decisions()) {
            prop_assert!(harsh.verdict >= mild.verdict, "{:?} after {:?}", harsh.verdict, mild.verdict);
        }
    }

    #[test]
    fn missing_evidence_never_gives_a_rollback(case in case(), gaps in prop::collection::vec(missing(), 1..30)) {
        let mut analysis = case.analysis();
        for look in &case.looks {
            analysis.observe(look);
        }
        if analysis.assess().verdict != Verdict::Rollback {
            for gap in gaps {
                analysis.observe(&vec![Err(gap); case.budgets.len()]);
                prop_assert!(analysis.assess().verdict != Verdict::Rollback);
            }
        }
    }

    #[test]
    fn a_rollback_needs_a_violation_on_the_canary(case in case()) {
        let conviction = (case.budgets.len() as f64 / case.detection.confidence.alpha()).ln();
        for decision in case.decisions() {
            let numbers = &decision.deciding().numbers;
            let violates = match case.detection.rule {
                Rule::Sequential => numbers.log_evidence.is_some_and(|log_e| log_e >= conviction - 1e-9),
                Rule::Threshold => numbers.burn(numbers.total.canary).is_some_and(|burn| burn.factor() > 0.0),
            };
            prop_assert!(decision.verdict != Verdict::Rollback || violates);
        }
    }

    #[test]
    fn the_order_of_objectives_does_not_matter(case in case()) {
        let mut turned = case.clone();
        turned.budgets.reverse();
        turned.baselines.reverse();
        turned.looks.iter_mut().for_each(|look| look.reverse());
        for (one, other) in case.decisions().iter().zip(turned.decisions()) {
            prop_assert_eq!((one.verdict, one.reason), (other.verdict, other.reason));
        }
    }

    #[test]
    fn a_resume_forgets(case in case(), cut in 0..40_usize) {
        let mut resumed = case.analysis();
        for look in case.looks.iter().take(cut) {
            resumed.observe(look);
        }
        resumed.restart();
        let mut fresh = case.analysis();
        for look in case.looks.iter().skip(cut) {
            prop_assert_eq!((resumed.assess(), resumed.calm()), (fresh.assess(), fresh.calm()));
            resumed.observe(look);
            fresh.observe(look);
        }
        prop_assert_eq!((resumed.assess(), resumed.is_blind()), (fresh.assess(), fresh.is_blind()));
    }
}
