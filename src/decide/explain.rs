//! A verdict as a sentence with the numbers, for Events, status and `evaluate`.
//!
//! It says what was seen and never more. Its one claim of probability follows from the evidence process: E bounds how
//! often a release within its budget would ever show as much, so 1/E is rounded to the safe side, to a power of ten, and
//! never below one in ten thousand, because the model of errors is not better than that.

use std::time::Duration;

use super::analysis::Assessment;
use super::objective::{Finding, Numbers, exceeds};
use super::verdict::Reason;
use crate::measure::look::{Missing, Tally};
use crate::policy::{BurnRate, Detection, Rule};

/// The smallest chance that is claimed, as a power of ten.
const FINEST_CLAIM: f64 = 4.0;

/// How the window is told to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// By its length.
    Time(Duration),
    /// By its looks, where nobody knows how far apart these are.
    Looks(u32),
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(time) if time.as_secs() >= 120 && time.as_secs() % 60 == 0 => {
                write!(f, "{} min", time.as_secs() / 60)
            }
            Self::Time(time) => write!(f, "{} s", time.as_secs_f64()),
            Self::Looks(1) => f.write_str("1 look"),
            Self::Looks(looks) => write!(f, "{looks} looks"),
        }
    }
}

/// Why the rollout gets its verdict, in at most 300 characters: what its deciding objective came to.
#[must_use]
pub fn explain(assessment: &Assessment, detection: &Detection) -> String {
    sentence(assessment.deciding(), detection, assessment.findings.len(), Span::Time(detection.window))
}

/// Why one objective of `objectives` comes to its finding, in at most 300 characters. `span` is what one window of
/// `detection` is called.
#[must_use]
pub fn sentence(finding: &Finding, detection: &Detection, objectives: usize, span: Span) -> String {
    let numbers = &finding.numbers;
    let (violation, warning) = (detection.violation, detection.warning);
    let claim = match detection.rule {
        Rule::Sequential => claim(numbers, objectives),
        Rule::Threshold => String::new(),
    };
    match finding.reason {
        Reason::Violation => {
            format!("{}{}{claim}", excess(numbers, violation, "", span), stable(numbers))
        }
        Reason::CauseUnclear => format!(
            "{}{}; not yet clear whether the release is to blame{claim}",
            excess(numbers, violation, "", span),
            stable(numbers)
        ),
        Reason::SharedCause if finding.is_whole => format!(
            "{}; new and old pods are counted together, so it is not known whether the release is to blame{claim}",
            excess(numbers, violation, "", span)
        ),
        Reason::SharedCause => format!(
            "{}{}; the stable pods violate the budget too{claim}",
            excess(numbers, violation, "", span),
            stable(numbers)
        ),
        Reason::WorseThanStable => format!(
            "{}{}; worse than the stable pods, but not shown to violate the budget",
            excess(numbers, warning, "the warning ", span),
            stable(numbers)
        ),
        Reason::AboveWarning => format!("{}{}", excess(numbers, warning, "the warning ", span), stable(numbers)),
        Reason::EvidenceMissing(Missing::Silent) => {
            format!("some canary pods do not say what they serve; the others: {}", seen(numbers, span))
        }
        Reason::EvidenceMissing(why) => {
            format!("no evidence in the last looks ({why}); before that {}", seen(numbers, span))
        }
        Reason::NotConvicted => seen(numbers, span),
    }
}

/// That the canary burnt more than `limit`, over the window and since counting began.
fn excess(numbers: &Numbers, limit: BurnRate, kind: &str, span: Span) -> String {
    let (window, total) = (numbers.window.canary, numbers.total.canary);
    let limit_text = format!("{kind}{}x", exact(limit.factor()));
    let since = || format!("{} since counting began", burn(numbers, total));
    if exceeds(window, limit, numbers.budget) {
        let burnt = factor_above(numbers.burn(window), limit);
        format!("burn rate {burnt} ({}, {span}) exceeds {limit_text}; {}", tally(window), since())
    } else if exceeds(total, limit, numbers.budget) {
        let burnt = factor_above(numbers.burn(total), limit);
        format!(
            "burn rate {burnt} since counting began ({}) exceeds {limit_text}; {} in the last {span}",
            tally(total),
            burn(numbers, window)
        )
    } else {
        // The evidence outlasts the trouble for a while.
        format!(
            "burn rate exceeded {limit_text} before; {} ({}) in the last {span}; {}",
            burn(numbers, window),
            tally(window),
            since()
        )
    }
}

/// What the stable pods burnt in the window.
fn stable(numbers: &Numbers) -> String {
    match numbers.burn(numbers.window.stable) {
        Some(rate) => format!("; stable pods {}", factor(rate.factor())),
        None => "; no stable pods serve".to_owned(),
    }
}

/// How much was seen, and nothing else.
fn seen(numbers: &Numbers, span: Span) -> String {
    let (window, total) = (numbers.window.canary, numbers.total.canary);
    if total.requests() <= 0.0 {
        return "no requests seen".to_owned();
    }
    format!(
        "{} since counting began ({}); {} in the last {span} ({})",
        tally(total),
        burn(numbers, total),
        tally(window),
        burn(numbers, window)
    )
}

/// How rarely chance alone would show as much against a release within its budget.
fn claim(numbers: &Numbers, objectives: usize) -> String {
    // Each objective is one more chance to err.
    let log_e = numbers.log_evidence.unwrap_or(0.0) - (objectives.max(1) as f64).ln();
    let digits = (log_e / std::f64::consts::LN_10).floor().min(FINEST_CLAIM);
    if digits < 1.0 {
        return String::new();
    }
    let rollouts = grouped(10_f64.powf(digits));
    format!("; a release within its budget would show this in fewer than 1 of {rollouts} rollouts")
}

fn tally(seen: Tally) -> String {
    let errors = count(seen.errors());
    let requests = count(seen.requests());
    format!(
        "{errors} error{} in {requests} request{}",
        if errors == "1" { "" } else { "s" },
        if requests == "1" { "" } else { "s" }
    )
}

/// A count that need not be whole: with one digit after the point if that is not 0.
fn count(x: f64) -> String {
    let tenths = (x * 10.0).round();
    if x > 0.0 && tenths == 0.0 {
        "below 0.1".to_owned()
    } else if x < 1000.0 && tenths % 10.0 != 0.0 {
        format!("{x:.1}")
    } else {
        grouped(x)
    }
}

fn burn(numbers: &Numbers, seen: Tally) -> String {
    numbers.burn(seen).map_or_else(|| "no requests".to_owned(), |rate| factor(rate.factor()))
}

/// A burn rate with as many digits as matter.
fn factor(x: f64) -> String {
    if x <= 0.0 {
        "0.0x".to_owned()
    } else if x < 0.01 {
        "below 0.01x".to_owned()
    } else if x < 0.1 {
        format!("{x:.2}x")
    } else if x < 1000.0 {
        format!("{x:.1}x")
    } else {
        format!("{}x", grouped(x))
    }
}

/// A burn rate above `limit`, with enough digits to show that it is.
fn factor_above(rate: Option<BurnRate>, limit: BurnRate) -> String {
    let x = rate.map_or(0.0, BurnRate::factor);
    let short = factor(x);
    let reads_above = |text: &str| text.replace([',', 'x'], "").parse::<f64>().is_ok_and(|read| read > limit.factor());
    if reads_above(&short) {
        return short;
    }
    (2..=6)
        .map(|digits| format!("{x:.digits$}x"))
        .find(|text| reads_above(text))
        .unwrap_or_else(|| format!("just above {}x", exact(limit.factor())))
}

/// A limit as its author wrote it.
fn exact(x: f64) -> String {
    if x.fract() == 0.0 { format!("{x:.1}") } else { x.to_string() }
}

/// A whole number with commas between the thousands; what no service counts, by its order of magnitude.
fn grouped(x: f64) -> String {
    if x >= 1e12 {
        return format!("{x:.0e}");
    }
    let digits = format!("{x:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
