//! What a pod's page says of the objectives. Pure.

use super::exposition::{Format, Malformed, samples};
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
) -> Result<Vec<Counts>, Malformed> {
    let mut counts = vec![Counts::default(); indicators.len()];
    samples(text, format, |sample| {
        let selects = |selector: &Selector| {
            sample.name == selector.metric()
                && selector.selects(|label| if label == &*selector.labels().pod { pod } else { sample.label(label) })
        };
        for (indicator, counts) in indicators.iter().zip(&mut counts) {
            match indicator {
                // Asked of Prometheus only; a policy that has one is refused.
                Indicator::Classic(_) | Indicator::Native(_) | Indicator::Query(_) => {}
                Indicator::Ratio { errors, total } => {
                    for (selector, count) in [(errors, &mut counts.errors), (total, &mut counts.total)] {
                        if selects(selector) {
                            *count = Some(count.unwrap_or(0.0) + sample.value);
                        }
                    }
                }
            }
        }
    })?;
    Ok(counts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::PodLabels;

    fn count(page: &str, errors: &str, total: &str) -> Counts {
        let selector = |text| Selector::parse(text, "shop", &PodLabels::default()).unwrap();
        let indicator = Indicator::Ratio { errors: selector(errors), total: selector(total) };
        counts(page, Format::Prometheus, "checkout-7d9f8b6c5d-x2b4z", &[indicator]).unwrap()[0]
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
}
