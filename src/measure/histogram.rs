//! The histogram of a latency objective: requests up to a threshold are good.
//!
//! A classic histogram has a counter for each of some bounds, so the threshold must be one of them. A native one has buckets
//! of its own making, and Prometheus estimates within the one that the threshold falls into.

use std::time::Duration;

use super::promql::{InvalidSelector, Selector};
use crate::config::PodLabels;
use crate::policy::{Latency, TimeUnit};

/// The label that holds the bound of a classic histogram's bucket.
pub const BOUND: &str = "le";

/// A histogram and the threshold in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Histogram {
    selector: Selector,
    threshold: Decimal,
}

impl Histogram {
    /// Reads what a policy in `namespace` says of it, for an endpoint with these labels.
    ///
    /// # Errors
    /// As of [`Selector::parse_histogram`].
    pub fn parse(latency: &Latency, namespace: &str, labels: &PodLabels) -> Result<Self, InvalidSelector> {
        let selector = Selector::parse_histogram(&latency.histogram, namespace, labels)?;
        let unit = latency.unit.unwrap_or_else(|| unit_of(selector.metric()));
        Ok(Self { selector, threshold: Decimal::of(latency.threshold, unit) })
    }

    /// The same, if pods can expose such series.
    ///
    /// # Errors
    /// As of [`Selector::exposed`].
    pub fn exposed(self) -> Result<Self, InvalidSelector> {
        Ok(Self { selector: self.selector.exposed()?, ..self })
    }

    /// The selector as it was written, in its canonical text.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The threshold in the histogram's own unit, in plain digits.
    #[must_use]
    pub fn threshold(&self) -> String {
        self.threshold.plain()
    }

    /// A classic histogram's counter of all requests.
    #[must_use]
    pub fn count(&self) -> Selector {
        self.selector.histogram_series("_count", None)
    }

    /// A classic histogram's counter of requests up to the threshold, however its bound is spelt.
    #[must_use]
    pub fn bucket(&self) -> Selector {
        self.selector.histogram_series("_bucket", Some(&self.threshold.spellings()))
    }

    /// All of a classic histogram's buckets.
    #[must_use]
    pub fn buckets(&self) -> Selector {
        self.selector.histogram_series("_bucket", None)
    }
}

/// The unit that a metric's name says, as Prometheus names them; seconds where it says none.
pub(crate) fn unit_of(metric: &str) -> TimeUnit {
    let is = |word: &str| metric.split(['_', ':']).any(|part| part == word);
    if is("milliseconds") || is("ms") || is("millis") { TimeUnit::Milliseconds } else { TimeUnit::Seconds }
}

/// The duration that a value of a metric in this unit is; `None` where it is none that a threshold may be: 1 us to 1 h in whole
/// microseconds.
pub(crate) fn duration(value: f64, unit: TimeUnit) -> Option<Duration> {
    let microseconds = match unit {
        TimeUnit::Seconds => value * 1e6,
        TimeUnit::Milliseconds => value * 1e3,
    };
    let whole = microseconds.round();
    let fits = (1.0..=3.6e9).contains(&whole) && (microseconds - whole).abs() <= whole * 1e-9;
    fits.then(|| Duration::from_micros(whole as u64))
}

/// A number above 0: digits without zeros at either end, and how many of them are before the point. Exact, as a float
/// would not be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Decimal {
    digits: String,
    /// 0.25 has 0, 1 has 1, 0.005 has -2.
    before_point: i32,
}

impl Decimal {
    fn of(duration: Duration, unit: TimeUnit) -> Self {
        let decimals = match unit {
            TimeUnit::Seconds => 9,
            TimeUnit::Milliseconds => 6,
        };
        let nanoseconds = duration.as_nanos().to_string();
        let before_point = i32::try_from(nanoseconds.len()).unwrap_or(i32::MAX) - decimals;
        Self { digits: nanoseconds.trim_end_matches('0').to_owned(), before_point }
    }

    /// `0.25`, `1`, `1500`.
    fn plain(&self) -> String {
        let (whole, fraction) = self.parts();
        let whole = if whole.is_empty() { "0".to_owned() } else { whole };
        if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
    }

    /// The digits before the point, and those after it.
    fn parts(&self) -> (String, String) {
        match usize::try_from(self.before_point) {
            Ok(before) if before >= self.digits.len() => {
                (format!("{}{}", self.digits, "0".repeat(before - self.digits.len())), String::new())
            }
            Ok(before) => (self.digits[..before].to_owned(), self.digits[before..].to_owned()),
            Err(_) => {
                let zeros = usize::try_from(self.before_point.unsigned_abs()).unwrap_or(0);
                (String::new(), "0".repeat(zeros) + &self.digits)
            }
        }
    }

    /// A regular expression for all ways in which exporters write this number: `0.25`, `.250`, `2.5e-1`, `1.0`.
    fn spellings(&self) -> String {
        let with_fraction = |whole: &str, fraction: &str| match fraction {
            "" => format!("{whole}(\\.0*)?"),
            _ => format!("{whole}\\.{fraction}0*"),
        };
        let (whole, fraction) = self.parts();
        let fixed = format!("\\+?0*{}", with_fraction(&whole, &fraction));
        let mantissa = with_fraction(&self.digits[..1], &self.digits[1..]);
        let exponent = self.before_point - 1;
        let sign = match exponent {
            0 => "[+-]?",
            1.. => "\\+?",
            _ => "-",
        };
        format!("{fixed}|\\+?{mantissa}[eE]{sign}0*{}", exponent.unsigned_abs())
    }
}

/// The number that a bound is, for comparing and sorting; `None` for what is none.
#[must_use]
pub fn bound(le: &str) -> Option<f64> {
    le.parse().ok().filter(|bound: &f64| !bound.is_nan())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::HistogramType;
    use promql_parser::parser::Expr;
    use proptest::prelude::*;

    fn histogram(selector: &str, threshold: Duration, unit: Option<TimeUnit>) -> Histogram {
        let latency = Latency { histogram: selector.to_owned(), threshold, kind: HistogramType::Classic, unit };
        Histogram::parse(&latency, "shop", &PodLabels::default()).unwrap()
    }

    /// Whether the bucket's matcher for the bound takes this spelling.
    fn takes(histogram: &Histogram, le: &str) -> bool {
        let Ok(Expr::VectorSelector(tree)) = promql_parser::parser::parse(histogram.bucket().as_str()) else {
            panic!("{}", histogram.bucket())
        };
        tree.matchers.matchers.iter().find(|matcher| matcher.name == "le").unwrap().is_match(le)
    }

    #[test]
    fn a_bound_is_found_however_exporters_write_it() {
        let quarter = histogram("x_seconds", Duration::from_millis(250), None);
        for le in ["0.25", "0.250", ".25", "2.5e-1", "2.5E-1", "2.50e-01", "+0.25"] {
            assert!(takes(&quarter, le), "{le}");
        }
        for le in ["0.2", "0.251", "2.5", "25", "0.025", "2.5e-2", "2.5e1", "0x25", "00.25.0", "", "+Inf"] {
            assert!(!takes(&quarter, le), "{le}");
        }
        let one = histogram("x_seconds", Duration::from_secs(1), None);
        for le in ["1", "1.0", "1.", "1.000", "1e0", "1e+00", "1.0E0"] {
            assert!(takes(&one, le), "{le}");
        }
        assert!(!["10", "0.1", "1.01", "1e1", "1e-1"].into_iter().any(|le| takes(&one, le)));
        let ten = histogram("x_seconds", Duration::from_secs(10), None);
        assert!(["10", "10.0", "1e1", "1e+01"].into_iter().all(|le| takes(&ten, le)));
        let fine = histogram("x_seconds", Duration::from_micros(500), None);
        assert!(["0.0005", "5e-04", "5.0E-4"].into_iter().all(|le| takes(&fine, le)));
    }

    #[test]
    fn the_unit_is_the_names_unless_the_policy_says_it() {
        let threshold = Duration::from_millis(2500);
        assert_eq!(histogram("http_request_duration_seconds", threshold, None).threshold(), "2.5");
        assert_eq!(histogram("istio_request_duration_milliseconds", threshold, None).threshold(), "2500");
        assert_eq!(histogram("response_latency_ms", threshold, None).threshold(), "2500");
        assert_eq!(histogram("upstream_rq_time", threshold, None).threshold(), "2.5");
        assert_eq!(histogram("upstream_rq_time", threshold, Some(TimeUnit::Milliseconds)).threshold(), "2500");
    }

    #[test]
    fn a_value_is_a_duration_where_a_threshold_may_be_that() {
        assert_eq!(duration(0.25, TimeUnit::Seconds), Some(Duration::from_millis(250)));
        assert_eq!(duration(2500.0, TimeUnit::Milliseconds), Some(Duration::from_millis(2500)));
        assert_eq!(duration(0.1 + 0.2, TimeUnit::Seconds), Some(Duration::from_millis(300)));
        for value in [0.0, -1.0, 1e-9, 0.000_000_15, 3601.0, f64::INFINITY, f64::NAN] {
            assert_eq!(duration(value, TimeUnit::Seconds), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn the_plain_number_and_its_scientific_form_are_the_threshold(microseconds in 1_u64..4_000_000_000) {
            let threshold = Duration::from_micros(microseconds);
            let histogram = histogram("x_seconds", threshold, None);
            let plain = histogram.threshold();
            prop_assert!(takes(&histogram, &plain), "{plain}");
            // What the standard library makes of a duration may differ in the last bit from the number as it is written.
            let seconds = bound(&plain).unwrap();
            prop_assert!((seconds - threshold.as_secs_f64()).abs() <= seconds * 1e-15, "{plain}");
            let scientific = format!("{seconds:e}");
            prop_assert!(takes(&histogram, &scientific), "{scientific}");
            let other = format!("{}", seconds * 10.0);
            prop_assert!(!takes(&histogram, &other), "{other}");
        }
    }
}
