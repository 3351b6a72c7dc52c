//! The counters as a Prometheus client library would expose them.

use std::fmt::Write;

use super::fleet::Fleet;
use super::latency::BOUNDS_SECONDS;
use super::simulation::Counters;

/// Content type of the Prometheus text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders all counters in the Prometheus text format, and of each pod that it is scraped, as a Prometheus says of its targets
/// that is asked by another one.
///
/// The series of code 200 is there from the beginning, that of code 500 from the first error, as in
/// exporters that create a labelled child when it is first used.
pub(super) fn render(fleet: &Fleet, histograms: bool) -> String {
    let labels = |namespace, pod| format!(r#"namespace="{namespace}",pod="{pod}","#);
    let all = fleet.scraped().map(|(namespace, pod, counters)| (labels(namespace, pod), counters));
    let all = all.collect::<Vec<_>>();
    let mut text = page(&all, histograms);
    text.push_str("# TYPE up gauge\n");
    all.iter().for_each(|(labels, _)| text += &format!("up{{{}}} 1\n", labels.trim_end_matches(',')));
    text
}

/// The page of one pod, which says nothing of where it is; empty of series when the pod has no counters.
pub(super) fn render_pod(fleet: &Fleet, namespace: &str, pod: &str, histograms: bool) -> String {
    let own = fleet.counters().filter(|(of, name, _)| (*of, *name) == (namespace, pod));
    page(&own.map(|(_, _, counters)| (String::new(), counters)).collect::<Vec<_>>(), histograms)
}

fn page(all: &[(String, &Counters)], histograms: bool) -> String {
    let mut text = String::new();
    write_all(&mut text, all, histograms).expect("a String takes all that is written to it");
    text
}

fn write_all(text: &mut String, all: &[(String, &Counters)], histograms: bool) -> std::fmt::Result {
    text.push_str("# HELP http_requests_total Requests answered.\n");
    text.push_str("# TYPE http_requests_total counter\n");
    for (labels, counters) in all {
        write_requests(text, labels, "200", counters.successes)?;
        if counters.errors > 0 {
            write_requests(text, labels, "500", counters.errors)?;
        }
    }
    if histograms {
        text.push_str("# HELP http_request_duration_seconds Time to answer a request.\n");
        text.push_str("# TYPE http_request_duration_seconds histogram\n");
        for (labels, counters) in all {
            write_latencies(text, labels, counters)?;
        }
    }
    Ok(())
}

fn write_requests(text: &mut String, labels: &str, code: &str, count: u64) -> std::fmt::Result {
    writeln!(text, r#"http_requests_total{{{labels}code="{code}",method="GET"}} {count}"#)
}

fn write_latencies(text: &mut String, labels: &str, counters: &Counters) -> std::fmt::Result {
    let metric = "http_request_duration_seconds";
    let latencies = &counters.latencies;
    let mut cumulated = 0;
    for (bound, count) in BOUNDS_SECONDS.iter().zip(&latencies.counts) {
        cumulated += count;
        writeln!(text, r#"{metric}_bucket{{{labels}le="{bound}"}} {cumulated}"#)?;
    }
    let count: u64 = latencies.counts.iter().sum();
    writeln!(text, r#"{metric}_bucket{{{labels}le="+Inf"}} {count}"#)?;
    let labels = labels.trim_end_matches(',');
    writeln!(text, "{metric}_sum{{{labels}}} {}", latencies.sum_seconds)?;
    writeln!(text, "{metric}_count{{{labels}}} {count}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::behaviour::PodBehaviour;
    use super::super::fleet::{DeploymentKey, PodView};
    use super::*;

    fn fleet(error_ratio: f64) -> Fleet {
        let mut fleet = Fleet::new(1);
        let deployment = DeploymentKey::new("shop", "cart");
        fleet.set_rate(deployment.clone(), 100.0);
        fleet.observe(PodView {
            deployment,
            name: "cart-1".to_owned(),
            uid: "1".to_owned(),
            ready: true,
            behaviour: PodBehaviour::failing(error_ratio),
        });
        fleet
    }

    fn value(text: &str, series: &str) -> f64 {
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{series} is missing in\n{text}"))
    }

    #[test]
    fn a_new_pod_shows_zero_successes_and_no_series_of_errors() {
        let text = render(&fleet(1.0), true);
        let ok = r#"http_requests_total{namespace="shop",pod="cart-1",code="200",method="GET"}"#;
        assert_eq!(value(&text, ok), 0.0);
        assert!(!text.contains(r#"code="500""#));
    }

    #[test]
    fn a_pod_that_is_not_scraped_serves_on_and_has_no_series() {
        let mut fleet = fleet(0.0);
        let up = r#"up{namespace="shop",pod="cart-1"}"#;
        assert_eq!(value(&render(&fleet, true), up), 1.0);
        fleet.set_scraped("shop", "cart-1", false);
        assert!(!render(&fleet, true).contains("cart-1"));
        assert!(render_pod(&fleet, "shop", "cart-1", true).contains("http_requests_total{"), "its own page is there");
        fleet.set_scraped("shop", "cart-1", true);
        assert_eq!(value(&render(&fleet, true), up), 1.0);
    }

    #[test]
    fn the_series_of_errors_appears_with_the_first_error() {
        let mut fleet = fleet(1.0);
        fleet.advance(Duration::from_secs(10));
        let text = render(&fleet, true);
        let failed = r#"http_requests_total{namespace="shop",pod="cart-1",code="500",method="GET"}"#;
        assert!(value(&text, failed) > 800.0);
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_end_with_the_count() {
        let mut fleet = fleet(0.0);
        fleet.advance(Duration::from_secs(100));
        let text = render(&fleet, true);
        let labels = r#"{namespace="shop",pod="cart-1""#;
        let buckets: Vec<f64> = text
            .lines()
            .filter(|line| line.contains("_bucket"))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert_eq!(buckets.len(), BOUNDS_SECONDS.len() + 1);
        assert!(buckets.is_sorted());
        let count = value(&text, &format!("http_request_duration_seconds_count{labels}}}"));
        assert_eq!(buckets.last(), Some(&count));
        let sum = value(&text, &format!("http_request_duration_seconds_sum{labels}}}"));
        assert!((sum / count / 0.0453 - 1.0).abs() < 0.1, "mean {}", sum / count);
    }

    #[test]
    fn histograms_can_be_left_out() {
        assert!(!render(&fleet(0.0), false).contains("duration"));
    }
}
