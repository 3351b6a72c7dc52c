//! The values in `tests/fixtures/evidence.json`, and what must hold for all values.
use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/evidence.json")).expect("the fixture is JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn dispersion(case: &Value) -> Dispersion {
    Dispersion::new(case["phi"].as_f64().expect("a number")).expect("at least 1")
}

/// Runs one case: every look that counts must bring the process to the next of the expected values.
fn check(case: &Value, mut step: impl FnMut(&mut Process, &[f64])) {
    let mut process = Process::new();
    let mut found = Vec::new();
    for look in case["looks"].as_array().expect("a list") {
        let before = process.looks();
        step(&mut process, &numbers(look));
        if process.looks() > before {
            found.push(process.log_e());
        }
    }
    let expected = numbers(&case["log_e"]);
    assert_eq!(found.len(), expected.len(), "{case}");
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() < 1e-6, "look {i}: {found} and not {expected} in {case}");
    }
}

#[test]
fn one_sample_evidence_is_as_computed_independently() {
    for case in vectors()["one_sample"].as_array().expect("a list") {
        let allowed = Allowed::new(case["allowed_error_ratio"].as_f64().expect("a number"));
        check(case, |process, look| process.one_sample(Tally::new(look[0], look[1]), &allowed, dispersion(case)));
    }
}

#[test]
fn two_sample_evidence_is_as_computed_independently() {
    for case in vectors()["two_sample"].as_array().expect("a list") {
        let times = case["times"].as_f64().expect("a number");
        check(case, |process, look| {
            let look = Look { canary: Tally::new(look[0], look[1]), stable: Tally::new(look[2], look[3]) };
            process.two_sample(&look, times, dispersion(case));
        });
    }
}

#[test]
fn the_written_logarithms_are_right() {
    for (r, ln) in ALTERNATIVES.iter().zip(LN_ALTERNATIVES) {
        assert!((r.ln() - ln).abs() < 1e-15, "{r}");
    }
    assert!((CAP - 20_f64.ln()).abs() < 1e-15);
}

#[test]
fn the_prior_weights_sum_to_one() {
    let mut given = 0.0;
    for look in 1..=5000 {
        given += log_weight_of(look).exp();
        assert!((given + log_weight_left_after(look).exp() - 1.0).abs() < 1e-12, "after look {look}");
    }
}

#[test]
fn a_look_without_requests_changes_nothing() {
    let mut process = Process::new();
    let allowed = Allowed::new(0.001);
    process.one_sample(Tally::new(3.0, 30.0), &allowed, Dispersion::NONE);
    let before = process.clone();
    process.one_sample(Tally::ZERO, &allowed, Dispersion::NONE);
    process.two_sample(&Look { canary: Tally::new(1.0, 2.0), stable: Tally::ZERO }, 1.0, Dispersion::NONE);
    process.two_sample(&Look { canary: Tally::ZERO, stable: Tally::new(1.0, 2.0) }, 1.0, Dispersion::NONE);
    assert_eq!(process, before);
}

#[test]
fn one_look_alone_never_convicts_at_95_percent() {
    let mut process = Process::new();
    process.one_sample(Tally::new(1e18, 1e18), &Allowed::new(1e-15), Dispersion::NONE);
    assert!(process.log_e() < 20_f64.ln(), "{}", process.log_e());
}

#[test]
fn what_nothing_can_violate_is_never_convicted() {
    let mut process = Process::new();
    for _ in 0..100 {
        process.one_sample(Tally::new(1000.0, 1000.0), &Allowed::new(1.0), Dispersion::NONE);
    }
    assert!(process.log_e() <= 1e-9, "{}", process.log_e());
}

#[test]
fn vast_and_tiny_numbers_stay_finite() {
    for allowed in [1e-15, 0.5, 1.0, 7.0] {
        for (errors, requests) in [(0.0, 1e18), (1e18, 1e18), (f64::MIN_POSITIVE, f64::MIN_POSITIVE), (1e-9, 1.0)] {
            let mut process = Process::new();
            for _ in 0..2000 {
                process.one_sample(Tally::new(errors, requests), &Allowed::new(allowed), Dispersion::NONE);
                assert!(process.log_e().is_finite());
            }
        }
    }
}
