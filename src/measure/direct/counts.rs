//! What a pod's page says of the objectives. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exposition::{Format, Malformed, Sample, samples};
use crate::measure::bounds;
use crate::measure::histogram::{self, Histogram};
use crate::measure::promql::Selector;
use crate::measure::subject::Indicator;

/// The counters of one objective on one page.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Counts {
    /// `None` when no series is one of bad requests.
    pub(super) errors: Option<f64>,
    /// `None` when no series is one of requests at all.
    pub(super) total: Option<f64>,
}

/// The counters of one objective, or why this page cannot have them.
pub(super) type Counted = Result<Counts, Arc<str>>;

/// The counters of each objective on the page of a pod, in their order: the sums over the series that are selected.
///
/// Series have the labels that the pod gives them. What Prometheus' discovery would add is not there, but for the name of
/// the pod, which is known.
///
/// # Errors
/// When a line of the page cannot be read.
pub(super) fn counts(
    text: &str,
    format: Format,
    pod: &str,
    indicators: &[Indicator],
) -> Result<Vec<Counted>, Malformed> {
    let mut readings = indicators.iter().map(Reading::of).collect::<Vec<_>>();
    samples(text, format, |sample| {
        for reading in &mut readings {
            reading.observe(sample, pod);
        }
    })?;
    Ok(readings.into_iter().map(Reading::counted).collect())
}

/// Whether the series of a pod's page is selected.
fn selects(selector: &Selector, sample: &Sample<'_>, pod: &str) -> bool {
    let value = |label: &str| if label == &*selector.labels().pod { pod } else { sample.label(label) };
    sample.name == selector.metric() && selector.selects(|label| value(label))
}

/// One objective while the page is read.
enum Reading<'a> {
    Ratio {
        errors: &'a Selector,
        total: &'a Selector,
        counts: Counts,
    },
    Classic(Box<Buckets<'a>>),
    /// Asked of Prometheus only; a policy that has one is refused.
    Elsewhere,
}

/// The series of a classic histogram.
struct Buckets<'a> {
    histogram: &'a Histogram,
    count: Selector,
    bucket: Selector,
    threshold: Option<f64>,
    /// For each set of labels other than the bound: all requests, and those up to the threshold.
    requests: BTreeMap<Labels, (Option<f64>, Option<f64>)>,
    /// The bounds that there are.
    bounds: Vec<f64>,
}

type Labels = Vec<(String, String)>;

impl<'a> Reading<'a> {
    fn of(indicator: &'a Indicator) -> Self {
        match indicator {
            Indicator::Ratio { errors, total } => Self::Ratio { errors, total, counts: Counts::default() },
            Indicator::Classic(histogram) => Self::Classic(Box::new(Buckets {
                histogram,
                count: histogram.count(),
                bucket: histogram.buckets(),
                threshold: histogram::bound(&histogram.threshold()),
                requests: BTreeMap::new(),
                bounds: Vec::new(),
            })),
            Indicator::Native(_) | Indicator::Query(_) => Self::Elsewhere,
        }
    }

    fn observe(&mut self, sample: &Sample<'_>, pod: &str) {
        match self {
            Self::Ratio { errors, total, counts } => {
                for (selector, count) in [(errors, &mut counts.errors), (total, &mut counts.total)] {
                    if selects(selector, sample, pod) {
                        *count = Some(count.unwrap_or(0.0) + sample.value);
                    }
                }
            }
            Self::Classic(buckets) => buckets.observe(sample, pod),
            Self::Elsewhere => {}
        }
    }

    fn counted(self) -> Counted {
        match self {
            Self::Ratio { counts, .. } => Ok(counts),
            Self::Classic(buckets) => buckets.counted(),
            Self::Elsewhere => Ok(Counts::default()),
        }
    }
}

impl Buckets<'_> {
    fn observe(&mut self, sample: &Sample<'_>, pod: &str) {
        if selects(&self.count, sample, pod) {
            self.requests.entry(without_bound(sample)).or_default().0 = Some(sample.value);
        } else if selects(&self.bucket, sample, pod) {
            let Some(bound) = histogram::bound(sample.label(histogram::BOUND)) else { return };
            self.bounds.push(bound);
            if self.threshold == Some(bound) {
                self.requests.entry(without_bound(sample)).or_default().1 = Some(sample.value);
            }
        }
    }

    /// As of Prometheus: what is up to the threshold stands for the total, so that what has no such bound is not counted.
    fn counted(self) -> Counted {
        if let Some(problem) = bounds::problem(self.histogram, self.bounds) {
            return Err(problem.into());
        }
        let mut counts = Counts::default();
        for (all, good) in self.requests.into_values() {
            let (Some(all), Some(good)) = (all, good) else { continue };
            // A client that counts in two steps may show a request in the bucket before it is in the count.
            let slow = if all < good { 0.0 } else { all - good };
            counts.errors = Some(counts.errors.unwrap_or(0.0) + slow);
            counts.total = Some(counts.total.unwrap_or(0.0) + slow + good);
        }
        Ok(counts)
    }
}

/// The labels that tell one histogram of a metric from another.
fn without_bound(sample: &Sample<'_>) -> Labels {
    let others = sample.labels.iter().filter(|(name, value)| name != histogram::BOUND && !value.is_empty());
    let mut others = others.map(|(name, value)| (name.to_string(), value.to_string())).collect::<Labels>();
    others.sort_unstable();
    others
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::PodLabels;
    use crate::policy::{HistogramType, Latency};

    fn of(page: &str, indicator: Indicator) -> Counted {
        counts(page, Format::Prometheus, "checkout-7d9f8b6c5d-x2b4z", &[indicator]).unwrap().remove(0)
    }

    fn count(page: &str, errors: &str, total: &str) -> Counts {
        let selector = |text| Selector::parse(text, "shop", &PodLabels::default()).unwrap();
        let indicator = Indicator::Ratio { errors: selector(errors), total: selector(total) };
        of(page, indicator).unwrap()
    }

    const PAGE: &str = "requests_total{code=\"200\",path=\"/a\"} 90\nrequests_total{code=\"200\",path=\"/b\"} 5\n\
        requests_total{code=\"503\",path=\"/a\"} 3\nrequests_total{code=\"500\"} 2\nrequests_totals{code=\"500\"} 1000\n";

    #[test]
    fn the_series_that_are_selected_are_summed() {
        let counts = count(PAGE, "requests_total{code=~\"5..\"}", "requests_total");
        assert_eq!(counts, Counts { errors: Some(5.0), total: Some(100.0) });
        let counts = count(PAGE, "requests_total{code!~\"2..\",path!=\"\"}", "requests_total{path=\"/a\"}");
        assert_eq!(counts, Counts { errors: Some(3.0), total: Some(93.0) });
    }

    #[test]
    fn a_pattern_matches_whole_values_as_it_does_in_prometheus() {
        assert_eq!(count(PAGE, "requests_total{code=~\"5\"}", "requests_total{code=~\"20|50.\"}").errors, None);
        assert_eq!(count(PAGE, "requests_total{code=~\"5\"}", "requests_total{code=~\"20|50.\"}").total, Some(5.0));
        assert_eq!(count(PAGE, "requests_total{path=~\"|/b\"}", "requests_total").errors, Some(7.0));
    }

    #[test]
    fn no_series_is_no_count_and_not_zero() {
        assert_eq!(count("up 1\n", "requests_total{code=\"500\"}", "requests_total"), Counts::default());
        assert_eq!(count("requests_total 0\n", "requests_total{code=\"500\"}", "requests_total").total, Some(0.0));
    }

    #[test]
    fn matchers_on_namespace_and_pod_are_about_where_the_page_is_from() {
        let own = "requests_total{namespace=\"shop\",pod=~\"checkout-.*\"}";
        assert_eq!(count(PAGE, "requests_total{pod=\"cart-1\"}", own), Counts { errors: None, total: Some(100.0) });
        // What a page says of other pods, it says of itself.
        let of_others = "requests_total{pod=\"cart-1\",namespace=\"bank\"} 4\n";
        assert_eq!(count(of_others, "requests_total{code=\"500\"}", own).total, Some(4.0));
    }

    #[test]
    fn a_count_that_is_no_number_stays_so() {
        let counts = count(
            "requests_total 1\nrequests_total{code=\"500\"} NaN\n",
            "requests_total{code=\"500\"}",
            "requests_total",
        );
        assert!(counts.errors.unwrap().is_nan() && counts.total.unwrap().is_nan());
    }

    /// What a page says of the requests that took longer than so many milliseconds.
    fn slow(page: &str, histogram: &str, milliseconds: u64) -> Counted {
        let latency = Latency {
            histogram: histogram.to_owned(),
            threshold: Duration::from_millis(milliseconds),
            kind: HistogramType::Classic,
            unit: None,
        };
        of(page, Indicator::Classic(Histogram::parse(&latency, "shop", &PodLabels::default()).unwrap()))
    }

    const HISTOGRAM: &str = "took_seconds_bucket{path=\"/a\",le=\"0.25\"} 90\ntook_seconds_bucket{path=\"/a\",le=\"1.0\"} 97\n\
        took_seconds_bucket{path=\"/a\",le=\"+Inf\"} 100\ntook_seconds_sum{path=\"/a\"} 12.5\ntook_seconds_count{path=\"/a\"} 100\n\
        took_seconds_bucket{path=\"/b\",le=\"2.5e-1\"} 5\ntook_seconds_bucket{path=\"/b\",le=\"1\"} 5\n\
        took_seconds_bucket{path=\"/b\",le=\"+Inf\"} 10\ntook_seconds_count{path=\"/b\"} 10\n";

    #[test]
    fn what_is_above_the_bound_is_slow_however_the_bound_is_written() {
        let counted = |errors, total| Ok(Counts { errors: Some(errors), total: Some(total) });
        assert_eq!(slow(HISTOGRAM, "took_seconds", 250), counted(15.0, 110.0));
        assert_eq!(slow(HISTOGRAM, "took_seconds", 1000), counted(8.0, 110.0));
        assert_eq!(slow(HISTOGRAM, "took_seconds{path=\"/a\"}", 1000), counted(3.0, 100.0));
    }

    #[test]
    fn a_threshold_that_is_no_bound_lists_those_there_are() {
        let problem = slow(HISTOGRAM, "took_seconds", 300).unwrap_err();
        assert_eq!(
            &*problem,
            "took_seconds has no bucket with the bound 0.3: there are 0.25, 1; write one of them as threshold"
        );
        assert_eq!(slow("up 1\n", "took_seconds", 300), Ok(Counts::default()), "of no histogram nothing is known");
    }

    #[test]
    fn series_without_the_bound_do_not_count_and_cannot_pass_as_fast() {
        let other = "took_seconds_bucket{path=\"/c\",le=\"7\"} 0\ntook_seconds_count{path=\"/c\"} 50\n";
        let page = format!("{HISTOGRAM}{other}");
        assert_eq!(slow(&page, "took_seconds", 250), Ok(Counts { errors: Some(15.0), total: Some(110.0) }));
    }

    #[test]
    fn a_bucket_that_is_ahead_of_the_count_is_no_negative_number_of_slow_requests() {
        let page = "took_seconds_bucket{le=\"1\"} 11\ntook_seconds_count 10\n";
        assert_eq!(slow(page, "took_seconds", 1000), Ok(Counts { errors: Some(0.0), total: Some(11.0) }));
        let nan = slow("took_seconds_bucket{le=\"1\"} NaN\ntook_seconds_count 10\n", "took_seconds", 1000).unwrap();
        assert!(nan.errors.unwrap().is_nan() && nan.total.unwrap().is_nan(), "and what is no number stays so");
    }
}
