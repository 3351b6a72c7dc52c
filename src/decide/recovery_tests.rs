use super::super::baseline::Dispersion;
use super::super::samples::{budget, detection};
use super::*;

fn recovery() -> Recovery {
    Recovery::new(&detection(), &[budget("99.9")], &[])
}

fn run(recovery: &mut Recovery, looks: &[(f64, f64)]) -> Vec<Option<Outcome>> {
    looks.iter().map(|&(errors, requests)| recovery.observe(&[Ok(Tally::new(errors, requests))])).collect()
}

#[test]
fn a_clean_window_with_enough_requests_is_recovered() {
    let found = run(&mut recovery(), &[(0.0, 1000.0); 3]);
    assert_eq!(found, [None, None, Some(Outcome::Recovered)]);
}

#[test]
fn a_clean_window_with_few_requests_is_unproven() {
    let found = run(&mut recovery(), &[(0.0, 999.0); 3]);
    assert_eq!(found, [None, None, Some(Outcome::RecoveredUnproven)]);
    assert_eq!(run(&mut recovery(), &[(0.0, 0.0); 3]), [None, None, Some(Outcome::RecoveredUnproven)]);
}

#[test]
fn pods_that_still_fail_are_not_recovered_until_a_window_is_clean() {
    let mut recovery = recovery();
    assert_eq!(run(&mut recovery, &[(50.0, 1000.0); 60]), [None; 60]);
    assert_eq!(run(&mut recovery, &[(0.0, 1000.0); 3]), [None, None, Some(Outcome::Recovered)]);
}

#[test]
fn total_failure_is_not_recovered_however_short_the_window_or_rare_the_samples() {
    let one_look = Detection { looks: 1, ..detection() };
    let mut short = Recovery::new(&one_look, &[budget("99.9")], &[]);
    assert_eq!(run(&mut short, &[(5000.0, 5000.0); 50]), [None; 50]);
    let mut rare = recovery();
    for _ in 0..20 {
        assert_eq!(run(&mut rare, &[(5000.0, 5000.0), (0.0, 0.0), (0.0, 0.0)]), [None; 3]);
    }
}

#[test]
fn a_look_without_evidence_does_not_count() {
    let mut recovery = recovery();
    assert_eq!(run(&mut recovery, &[(0.0, 1000.0); 2]), [None, None]);
    for _ in 0..10 {
        assert_eq!(recovery.observe(&[Err(Missing::Stale)]), None);
    }
    assert_eq!(run(&mut recovery, &[(0.0, 1000.0)]), [Some(Outcome::Recovered)]);
}

#[test]
fn every_objective_must_be_well() {
    let both = || Recovery::new(&detection(), &[budget("99.9"), budget("99")], &[]);
    let feed = |recovery: &mut Recovery, first: Tally, second: Tally| {
        let look = [Ok(first), Ok(second)];
        assert_eq!((recovery.observe(&look), recovery.observe(&look)), (None, None));
        recovery.observe(&look)
    };
    let clean = Tally::new(0.0, 1000.0);
    assert_eq!(feed(&mut both(), clean, clean), Some(Outcome::Recovered));
    assert_eq!(feed(&mut both(), clean, Tally::new(0.0, 10.0)), Some(Outcome::RecoveredUnproven));
    assert_eq!(feed(&mut both(), clean, Tally::new(500.0, 1000.0)), None);
}

#[test]
fn bursts_known_from_before_do_not_count_as_a_violation() {
    let looks = [(12.0, 1000.0); 3];
    let bursty = Baseline::with_dispersion(Dispersion::new(50.0).expect("at least 1"));
    let mut lenient = Recovery::new(&detection(), &[budget("99.9")], &[bursty]);
    assert_eq!(run(&mut lenient, &looks), [None, None, Some(Outcome::Recovered)]);
    assert_eq!(run(&mut recovery(), &looks), [None; 3]);
}
