use super::super::samples::{budget, burn_rate, detection, look};
use super::super::verdict::Verdict;
use super::*;
use crate::measure::look::{Look, Missing};

fn finding(reason: Reason, window: Look, total: Look, log_evidence: f64) -> Finding {
    let numbers = Numbers {
        budget: budget("99.9"),
        window,
        total,
        log_evidence: Some(log_evidence),
        log_evidence_vs_stable: Some(0.0),
    };
    Finding { verdict: Verdict::Halt, reason, numbers, is_whole: false }
}

fn say(finding: &Finding) -> String {
    sentence(finding, &detection(), 1, Span::Time(Duration::from_secs(30)))
}

#[test]
fn a_violation_is_told_with_its_numbers() {
    let window = look((38.0, 2671.0), (3.0, 10_000.0));
    let total = look((40.0, 4000.0), (6.0, 20_000.0));
    assert_eq!(
        say(&finding(Reason::Violation, window, total, 99_999_f64.ln())),
        "burn rate 14.2x (38 errors in 2,671 requests, 30 s) exceeds 1.0x; 10.0x since counting began; stable pods \
         0.3x; a release within its budget would show this in fewer than 1 of 10,000 rollouts"
    );
}

#[test]
fn what_is_measured_as_a_whole_says_nothing_of_stable_pods() {
    let window = look((38.0, 2671.0), (38.0, 2671.0));
    let whole = Finding { is_whole: true, ..finding(Reason::SharedCause, window, window, 0.0) };
    assert_eq!(
        say(&whole),
        "burn rate 14.2x (38 errors in 2,671 requests, 30 s) exceeds 1.0x; 14.2x since counting began; new and old pods are \
         counted together, so it is not known whether the release is to blame"
    );
}

#[test]
fn the_chance_is_rounded_to_the_safe_side_and_never_finer_than_the_model() {
    let told = |log_e: f64, objectives| {
        let look = look((5.0, 100.0), (0.0, 100.0));
        let text = sentence(&finding(Reason::Violation, look, look, log_e), &detection(), objectives, Span::Looks(3));
        text.split_once("1 of ").map(|(_, rest)| rest.replace(" rollouts", ""))
    };
    assert_eq!(told(999_f64.ln(), 1).as_deref(), Some("100"));
    assert_eq!(told(1001_f64.ln(), 1).as_deref(), Some("1,000"));
    assert_eq!(told(1001_f64.ln(), 2).as_deref(), Some("100"), "two objectives are two chances to err");
    assert_eq!(told(5000.0, 1).as_deref(), Some("10,000"));
    assert_eq!(told(2.0, 1), None);
}

#[test]
fn the_literal_rule_claims_no_chance() {
    let literal = Detection { rule: Rule::Threshold, ..detection() };
    let look = look((3.0, 1000.0), (0.0, 0.0));
    let text = sentence(&finding(Reason::Violation, look, look, 20.0), &literal, 1, Span::Looks(3));
    assert_eq!(
        text,
        "burn rate 3.0x (3 errors in 1,000 requests, 3 looks) exceeds 1.0x; 3.0x since counting began; no stable pods \
         serve"
    );
}

#[test]
fn going_on_tells_how_much_was_seen_and_no_more() {
    let total = look((0.0, 812.0), (0.0, 0.0));
    assert_eq!(
        say(&finding(Reason::NotConvicted, look((0.0, 1.0), (0.0, 0.0)), total, 0.0)),
        "0 errors in 812 requests since counting began (0.0x); 0 errors in 1 request in the last 30 s (0.0x)"
    );
    assert_eq!(say(&finding(Reason::NotConvicted, Look::default(), Look::default(), 0.0)), "no requests seen");
}

#[test]
fn missing_evidence_is_named() {
    let text = say(&finding(Reason::EvidenceMissing(Missing::NoSeries), Look::default(), Look::default(), 0.0));
    assert_eq!(text, "no evidence in the last looks (NoSeries); before that no requests seen");
}

#[test]
fn what_exceeds_reads_as_more() {
    let barely = look((10_004.0, 10_000_000.0), (0.0, 0.0));
    let text = say(&finding(Reason::Violation, barely, barely, 10.0));
    assert!(text.starts_with("burn rate 1.0004x (10,004 errors"), "{text}");
    assert_eq!(factor_above(Some(burn_rate("1.00000001")), burn_rate("1")), "just above 1.0x");
}

#[test]
fn a_window_that_is_clean_again_is_not_said_to_exceed() {
    let (clean, bad) = (look((0.0, 1000.0), (0.0, 0.0)), look((50.0, 10_000.0), (0.0, 0.0)));
    let text = say(&finding(Reason::Violation, clean, bad, 10.0));
    assert!(
        text.starts_with(
            "burn rate 5.0x since counting began (50 errors in 10,000 requests) exceeds 1.0x; 0.0x in the last 30 s"
        ),
        "{text}"
    );
    let text = say(&finding(Reason::CauseUnclear, clean, look((5.0, 10_000.0), (0.0, 0.0)), 10.0));
    assert!(text.starts_with("burn rate exceeded 1.0x before; 0.0x (0 errors in 1,000 requests)"), "{text}");
}

#[test]
fn every_sentence_fits_an_event() {
    let vast = look((1e18, 1e18), (1e18, 1e18));
    for reason in [
        Reason::Violation,
        Reason::CauseUnclear,
        Reason::SharedCause,
        Reason::WorseThanStable,
        Reason::AboveWarning,
        Reason::EvidenceMissing(Missing::Unreachable),
        Reason::NotConvicted,
    ] {
        for window in [Look::default(), look((123_456.7, 987_654_321.0), (1.0, 3.0)), vast] {
            for total in [window, vast] {
                let text = say(&finding(reason, window, total, 1e6));
                assert!(text.len() <= 300, "{} characters: {text}", text.len());
            }
        }
    }
}

#[test]
fn numbers_have_the_digits_that_matter() {
    let shown = [0.0, 0.004, 0.02, 0.26, 14.23, 1234.5].map(factor);
    assert_eq!(shown, ["0.0x", "below 0.01x", "0.02x", "0.3x", "14.2x", "1,234x"]);
    assert_eq!(
        [0.0, 0.01, 2.5, 999.0, 1000.0, 1_234_567.0].map(count),
        ["0", "below 0.1", "2.5", "999", "1,000", "1,234,567"]
    );
    assert_eq!(exact(0.25), "0.25");
    assert_eq!(Span::Time(Duration::from_secs(300)).to_string(), "5 min");
}
