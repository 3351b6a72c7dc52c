use super::super::baseline::Baseline;
use super::super::samples::{budget, detection, look};
use super::*;

/// 1,000 canary and 9,000 stable requests a look at these burn rates, of a budget of 1 %.
fn burning(canary: f64, stable: f64) -> Look {
    look((10.0 * canary, 1000.0), (90.0 * stable, 9000.0))
}

/// The same with no stable pod left.
fn alone(canary: f64) -> Look {
    look((10.0 * canary, 1000.0), (0.0, 0.0))
}

fn objective_after(baseline: Baseline, looks: &[Look]) -> Objective {
    let mut objective = Objective::new(&detection(), budget("99"), baseline, 1);
    looks.iter().for_each(|look| objective.observe(&Ok(*look)));
    objective
}

fn judged(looks: &[Look]) -> (Verdict, Reason) {
    let finding = objective_after(Baseline::unknown(), looks).finding();
    (finding.verdict, finding.reason)
}

/// What the verdicts are look by look.
fn story(baseline: Baseline, looks: &[Look]) -> Vec<(Verdict, Reason)> {
    let mut objective = Objective::new(&detection(), budget("99"), baseline, 1);
    let step = |look: &Look| {
        objective.observe(&Ok(*look));
        let finding = objective.finding();
        (finding.verdict, finding.reason)
    };
    looks.iter().map(step).collect()
}

const PROCEED: (Verdict, Reason) = (Verdict::Proceed, Reason::NotConvicted);
const ROLLBACK: (Verdict, Reason) = (Verdict::Rollback, Reason::Violation);
const SHARED: (Verdict, Reason) = (Verdict::Halt, Reason::SharedCause);
const UNCLEAR: (Verdict, Reason) = (Verdict::Halt, Reason::CauseUnclear);

#[test]
fn a_release_within_its_budget_goes_on() {
    assert!(story(Baseline::unknown(), &[burning(0.5, 0.5); 100]).iter().all(|found| *found == PROCEED));
}

#[test]
fn a_release_that_burns_while_the_stable_pods_do_not_is_rolled_back() {
    assert_eq!(judged(&[burning(10.0, 0.3); 3]), ROLLBACK);
}

#[test]
fn one_look_alone_rolls_nothing_back() {
    assert_eq!(judged(&[burning(100.0, 0.0)]), PROCEED);
}

#[test]
fn a_trouble_that_all_pods_share_halts() {
    assert!(story(Baseline::unknown(), &[burning(20.0, 20.0); 60])[3..].iter().all(|found| *found == SHARED));
}

#[test]
fn within_a_shared_trouble_only_what_is_clearly_worse_is_rolled_back() {
    assert_eq!(judged(&[burning(6.0, 3.0); 60]), SHARED);
    assert_eq!(judged(&[burning(40.0, 3.0); 10]), ROLLBACK);
}

#[test]
fn a_violation_without_a_comparison_halts_until_there_is_one() {
    // The canary alone convicts; twenty stable requests a look say little yet.
    let few = look((60.0, 1000.0), (0.0, 20.0));
    assert_eq!(judged(&[few; 3]), UNCLEAR);
    let mut looks = vec![few; 3];
    looks.extend([burning(6.0, 0.3); 5]);
    assert_eq!(judged(&looks), ROLLBACK);
}

#[test]
fn worse_than_the_stable_pods_but_within_the_budget_halts() {
    assert_eq!(judged(&[burning(0.9, 0.1); 40]), (Verdict::Halt, Reason::WorseThanStable));
}

#[test]
fn without_stable_pods_the_release_answers_for_itself() {
    assert_eq!(judged(&[alone(10.0); 4]), ROLLBACK);
    let mut late = vec![burning(0.3, 0.3); 30];
    late.extend([alone(0.3); 30]);
    late.extend([alone(10.0); 4]);
    assert_eq!(judged(&late), ROLLBACK);
}

#[test]
fn an_outage_that_the_stable_pods_already_had_is_not_the_releases_when_they_are_gone() {
    let mut looks = vec![burning(20.0, 20.0); 10];
    looks.extend([alone(20.0); 30]);
    assert!(story(Baseline::unknown(), &looks).iter().all(|(verdict, _)| *verdict != Verdict::Rollback));
}

#[test]
fn stable_pods_that_burnt_in_their_last_window_leave_the_blame_open() {
    // Too short an outage to convict the stable pods, and then they are gone.
    let mut looks = vec![burning(0.3, 0.3); 5];
    looks.push(burning(20.0, 20.0));
    looks.extend([alone(20.0); 30]);
    let told = story(Baseline::unknown(), &looks);
    assert_eq!(told[20], UNCLEAR, "{told:?}");
    assert!(told.iter().all(|(verdict, _)| *verdict != Verdict::Rollback));
}

#[test]
fn a_quick_roll_is_judged_against_the_stable_pods_looks_before_it() {
    let before = |burn: f64| Baseline::of_looks(&[Tally::new(90.0 * burn, 9000.0); 60]);
    assert_eq!(story(before(0.3), &[alone(10.0); 5])[4], ROLLBACK);
    assert_eq!(story(before(20.0), &[alone(20.0); 30])[29], UNCLEAR, "it was like this before");
    assert_eq!(story(before(2.9), &[alone(5.0); 30])[29], UNCLEAR, "less than three times as bad as before");
}

#[test]
fn one_look_without_stable_requests_does_not_mean_that_they_are_gone() {
    let objective = |looks: &[Look]| objective_after(Baseline::unknown(), looks);
    let mut looks = vec![burning(0.3, 0.3), alone(0.3)];
    let serve = |looks: &[Look]| objective(looks).since_start.looks_without_stable < SERVING_LOOKS;
    assert!(serve(&looks));
    looks.extend([Look::default(); 20]);
    assert!(serve(&looks), "looks between two scrapes say nothing of it");
    looks.push(alone(0.3));
    assert!(!serve(&looks));
}

#[test]
fn a_total_failure_in_every_third_look_is_found() {
    let third = [burning(100.0, 0.3), burning(0.3, 0.3), burning(0.3, 0.3)];
    assert!(story(Baseline::unknown(), &third.repeat(10)).contains(&ROLLBACK));
}

#[test]
fn a_healthy_past_does_not_hide_a_late_failure() {
    let mut looks = vec![burning(0.3, 0.3); 150];
    looks.extend([burning(14.0, 0.3); 5]);
    assert_eq!(judged(&looks), ROLLBACK);
}

#[test]
fn errors_that_come_in_bursts_must_be_more() {
    let looks = [burning(4.0, 0.3); 3];
    let bursty = Baseline::with_dispersion(Dispersion::new(30.0).expect("at least 1"));
    assert_eq!(story(Baseline::unknown(), &looks)[2], ROLLBACK);
    assert_eq!(story(bursty, &looks)[2], PROCEED);
}

#[test]
fn one_look_without_evidence_changes_nothing_and_two_halt() {
    let mut objective = objective_after(Baseline::unknown(), &[burning(0.3, 0.3); 5]);
    objective.observe(&Err(Missing::Stale));
    assert_eq!(objective.finding().verdict, Verdict::Proceed);
    objective.observe(&Err(Missing::TimedOut));
    let finding = objective.finding();
    assert_eq!((finding.verdict, finding.reason), (Verdict::Halt, Reason::EvidenceMissing(Missing::TimedOut)));
    objective.observe(&Ok(Look::default()));
    assert_eq!(objective.finding().verdict, Verdict::Proceed, "the first fresh look resumes");
}

#[test]
fn a_policy_may_go_on_without_evidence_and_it_is_said() {
    let lenient = Detection { on_missing_evidence: OnMissingEvidence::Proceed, ..detection() };
    let mut objective = Objective::new(&lenient, budget("99"), Baseline::unknown(), 1);
    objective.observe(&Err(Missing::Stale));
    objective.observe(&Err(Missing::Stale));
    let finding = objective.finding();
    assert_eq!((finding.verdict, finding.reason), (Verdict::Proceed, Reason::EvidenceMissing(Missing::Stale)));
    assert!(!objective.waits_for_evidence());
}

#[test]
fn the_literal_rule_never_rolls_back_because_a_good_look_is_too_old() {
    let literal = Detection { rule: Rule::Threshold, ..detection() };
    let mut objective = Objective::new(&literal, budget("99"), Baseline::unknown(), 1);
    for burn in [0.0, 1.4, 1.4] {
        objective.observe(&Ok(alone(burn)));
    }
    assert_eq!(objective.finding().reason, Reason::AboveWarning);
    objective.observe(&Err(Missing::Stale));
    assert_eq!(objective.finding().reason, Reason::AboveWarning);
    objective.observe(&Ok(Look::default()));
    assert_eq!(objective.finding().reason, Reason::Violation, "with evidence it is 1.4x");
}

#[test]
fn a_burn_rate_that_equals_the_limit_is_not_above_it() {
    for (errors, requests) in [(10.0, 1000.0), (23.0, 2300.0), (7.0, 700.0), (1.1, 110.0)] {
        assert!(!exceeds(Tally::new(errors, requests), detection().violation, budget("99")), "{errors}");
    }
    assert!(!exceeds(Tally::ZERO, detection().violation, budget("99")));
}

#[test]
fn calm_needs_two_windows_without_a_violation_on_either_side() {
    let stretch = |looks: &[Look]| objective_after(Baseline::unknown(), looks).stretch();
    assert_eq!(stretch(&[burning(0.5, 0.5); 5]), Stretch::TooShort);
    assert_eq!(stretch(&[burning(0.5, 0.5); 6]), Stretch::Calm { proven: true });
    assert_eq!(stretch(&[look((0.0, 10.0), (0.0, 39.0)); 6]), Stretch::Calm { proven: false });
    assert_eq!(stretch(&[look((0.0, 10.0), (0.0, 40.0)); 6]), Stretch::Calm { proven: true });
    for bad in [burning(9.0, 0.5), burning(0.5, 9.0)] {
        let mut looks = vec![bad];
        looks.extend([burning(0.5, 0.5); 5]);
        assert_eq!(stretch(&looks), Stretch::Burning);
        looks.push(burning(0.5, 0.5));
        assert_eq!(stretch(&looks), Stretch::Calm { proven: true });
    }
}

#[test]
fn the_numbers_are_those_of_the_window_and_of_all_looks() {
    let numbers =
        objective_after(Baseline::unknown(), &[burning(4.0, 0.0), burning(1.0, 1.0), burning(1.0, 1.0), alone(1.0)])
            .finding()
            .numbers;
    assert_eq!(numbers.burn(numbers.window.canary).map(BurnRate::factor), Some(1.0));
    assert_eq!(numbers.total.canary, Tally::new(70.0, 4000.0));
    assert_eq!(numbers.total.stable, Tally::new(180.0, 27_000.0));
    assert!(numbers.log_evidence.is_some() && numbers.log_evidence_vs_stable.is_some());
}
