use proptest::prelude::*;

use super::*;
use crate::policy::Indicator;

const DAY: u64 = 86_400;

fn objective(name: &str) -> Objective {
    Objective {
        name: name.to_owned(),
        target: "99.9".to_owned(),
        budget: ErrorBudget::of_target("99.9").expect("a target"),
        window: Duration::from_secs(28 * DAY),
        warmup: Duration::ZERO,
        indicator: Indicator::Ratio { errors: "bad".to_owned(), total: "all".to_owned() },
        budget_from: None,
    }
}

fn known(ratio: f64) -> Reading {
    Reading::Known { remaining: Remaining::of_ratio(ratio).expect("finite"), span: None }
}

fn unknown(why: &str) -> Reading {
    Reading::Unknown(why.to_owned())
}

/// The gate of objectives that are called `first`, `second` and so on.
fn gate_at(threshold: &str, readings: &[Reading]) -> Gate {
    let objectives = ["first", "second", "third"].map(objective);
    gate(SpentShare::parse(threshold).expect("a share"), objectives.iter().zip(readings))
}

#[test]
fn what_is_left_is_one_less_what_the_errors_spent() {
    let budget = ErrorBudget::of_target("99.9").expect("a target");
    let left = |errors, total| Remaining::of_counts(errors, total, budget).map(|left| left.to_string());
    assert_eq!(left(0.0, 1e6).as_deref(), Some("100.0%"));
    assert_eq!(left(368.0, 1e6).as_deref(), Some("63.2%"));
    assert_eq!(left(1000.0, 1e6).as_deref(), Some("0.0%"));
    assert_eq!(left(1400.0, 1e6).as_deref(), Some("-40.0%"));
    assert_eq!(left(7.0, 5.0), left(5.0, 5.0), "more errors than requests are all of them");
}

#[test]
fn without_a_request_nothing_is_said() {
    let budget = ErrorBudget::of_target("99.9").expect("a target");
    for (errors, total) in [(0.0, 0.0), (0.0, -1.0), (-1.0, 5.0), (f64::NAN, 5.0), (1.0, f64::INFINITY)] {
        assert_eq!(Remaining::of_counts(errors, total, budget), None, "{errors} of {total}");
    }
    assert_eq!(Remaining::of_ratio(f64::NAN), None);
    assert_eq!(Remaining::of_ratio(f64::NEG_INFINITY), None);
}

#[test]
fn never_more_is_shown_than_there_is() {
    assert_eq!(Remaining::of_ratio(0.199_99).expect("finite").to_string(), "19.9%");
    assert_eq!(Remaining::of_ratio(-0.000_1).expect("finite").to_string(), "-0.1%");
    assert_eq!(Remaining::of_ratio(0.632).expect("finite").to_string(), "63.2%");
}

#[test]
fn the_sentence_has_the_numbers() {
    let closed = |sentence: &str| Gate::Closed(sentence.to_owned());
    let open = |sentence: &str| Gate::Open(sentence.to_owned());
    assert_eq!(gate_at("0.8", &[known(0.632)]), open("first budget 63.2 % left, 20.0 % needed"));
    assert_eq!(gate_at("0.8", &[known(0.2)]), open("first budget 20.0 % left, 20.0 % needed"));
    assert_eq!(gate_at("0.8", &[known(0.032)]), closed("first budget 3.2 % left, 20.0 % needed"));
    assert_eq!(gate_at("0.8", &[known(0.1999)]), closed("first budget 19.9 % left, 20.0 % needed"));
    assert_eq!(gate_at("0.8", &[known(-0.4)]), closed("first budget overspent by 40.0 %, 20.0 % needed"));
    assert_eq!(gate_at("1", &[known(-0.4)]), closed("first budget overspent by 40.0 %, 0.0 % needed"));
    assert_eq!(gate_at("1.5", &[known(0.1)]), open("first budget 10.0 % left, may be overspent by 50.0 %"));
}

#[test]
fn the_objective_with_the_least_left_counts() {
    let gate = gate_at("0.8", &[known(0.9), known(0.3), known(0.5)]);
    assert_eq!(gate, Gate::Open("second budget 30.0 % left, 20.0 % needed".to_owned()));
    let gate = gate_at("0.8", &[known(0.1), known(-2.0), known(0.5)]);
    assert_eq!(gate, Gate::Closed("second budget overspent by 200.0 %, 20.0 % needed".to_owned()));
}

#[test]
fn what_is_unknown_neither_opens_nor_hides_what_is_closed() {
    assert_eq!(
        gate_at("0.8", &[known(0.9), unknown("no answer")]),
        Gate::Unknown("second budget unknown: no answer".to_owned())
    );
    assert_eq!(
        gate_at("0.8", &[unknown("no answer"), known(0.1)]),
        Gate::Closed("second budget 10.0 % left, 20.0 % needed".to_owned())
    );
}

#[test]
fn a_shorter_span_is_said() {
    let span = Some(Duration::from_secs(3 * DAY + 4 * 3600));
    let reading = Reading::Known { remaining: Remaining::of_ratio(0.632).expect("finite"), span };
    assert_eq!(
        gate_at("0.8", &[reading]).sentence(),
        "first budget 63.2 % left, 20.0 % needed, computed over at most 3d4h of 28d"
    );
}

prop_compose! {
    fn readings()(each in prop::collection::vec(prop::option::of(-3.0..1.0_f64), 1..=3)) -> Vec<Option<f64>> {
        each
    }
}

proptest! {
    #[test]
    fn what_is_left_is_finite_and_falls_with_errors(
        errors in 0.0..1e12_f64, more in 0.0..1e12_f64, total in 0.0..1e12_f64, target in "[0-9]{2}\\.[0-9]{6}",
    ) {
        prop_assume!(total > 0.0);
        let Ok(budget) = ErrorBudget::of_target(&target) else { return Ok(()) };
        let less = Remaining::of_counts(errors, total, budget).expect("countable").ratio();
        let least = Remaining::of_counts(errors + more, total, budget).expect("countable").ratio();
        prop_assert!(less.is_finite() && less <= 1.0);
        prop_assert!(least <= less);
    }

    #[test]
    fn the_gate_is_closed_just_when_the_least_is_too_little(each in readings(), spent in 1_u32..3000) {
        let threshold = format!("{}.{:03}", spent / 1000, spent % 1000);
        let readings: Vec<_> = each.iter().map(|ratio| ratio.map_or_else(|| unknown("?"), known)).collect();
        let needed = SpentShare::parse(&threshold).expect("a share").remaining();
        let least = each.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let gate = gate_at(&threshold, &readings);
        prop_assert_eq!(matches!(gate, Gate::Closed(_)), least < needed);
        let all_known = each.iter().all(Option::is_some);
        prop_assert_eq!(matches!(gate, Gate::Open(_)), all_known && least >= needed);
    }

    /// Whoever reads a closed gate reads of less than is needed.
    #[test]
    fn what_a_closed_gate_says_is_less_than_what_it_needs(ratio in 0.0..1.0_f64, spent in 1_u32..1000) {
        let sentence = match gate_at(&format!("0.{spent:03}"), &[known(ratio)]) {
            Gate::Closed(sentence) => sentence,
            _ => return Ok(()),
        };
        let numbers: Vec<f64> = sentence.split(' ').filter_map(|word| word.parse().ok()).collect();
        prop_assert!(numbers[0] < numbers[1], "{}", sentence);
    }
}
