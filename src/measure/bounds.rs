//! Which bounds the buckets of a classic histogram have: a threshold that is none of them counts nothing.

use std::collections::BTreeSet;

use super::answer::Series;
use super::histogram::{self, Histogram};

/// How many bounds a message lists.
const LISTED: usize = 24;

/// The query for the bounds that the pods of these Deployments have now; `None` without any Deployment.
pub(super) fn query(histogram: &Histogram, namespace: &str, deployments: &BTreeSet<String>) -> Option<String> {
    let narrowed = histogram.buckets().of_deployments(namespace, deployments.iter().map(String::as_str))?;
    Some(format!("group by (le) ({narrowed})"))
}

/// The bounds that an answer to it lists.
pub(super) fn listed(buckets: &[Series]) -> Vec<f64> {
    let le =
        |series: &Series| series.others.iter().find(|(name, _)| name == histogram::BOUND).map(|(_, le)| le.clone());
    buckets.iter().filter_map(|series| histogram::bound(&le(series)?)).collect()
}

/// Why a histogram whose buckets have these bounds cannot be read: which there are in place of the threshold. `None` when it
/// can, and when there are no buckets at all: then nothing is known.
pub(super) fn problem(histogram: &Histogram, mut bounds: Vec<f64>) -> Option<String> {
    bounds.sort_unstable_by(f64::total_cmp);
    bounds.dedup();
    let threshold = histogram::bound(&histogram.threshold())?;
    if bounds.is_empty() || bounds.contains(&threshold) {
        return None;
    }
    let finite = bounds.iter().filter(|bound| bound.is_finite()).map(ToString::to_string).collect::<Vec<_>>();
    let listed = match finite.len() {
        0 => "there is none but +Inf".to_owned(),
        1..=LISTED => format!("there are {}; write one of them as threshold", finite.join(", ")),
        // The nearest ones are those that may have been meant.
        _ => {
            let above = bounds.partition_point(|bound| *bound < threshold);
            let from = above.saturating_sub(LISTED / 2).min(finite.len() - LISTED);
            let near = finite[from..from + LISTED].join(", ");
            format!("there are {} others, near it {near}; write one of them as threshold", finite.len())
        }
    };
    Some(format!("{} has no bucket with the bound {}: {listed}", histogram.selector(), histogram.threshold()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::PodLabels;
    use crate::policy::{HistogramType, Latency};

    fn histogram(milliseconds: u64) -> Histogram {
        let latency = Latency {
            histogram: "latency_seconds{path=\"/\"}".to_owned(),
            threshold: Duration::from_millis(milliseconds),
            kind: HistogramType::Classic,
            unit: None,
        };
        Histogram::parse(&latency, "shop", &PodLabels::default()).unwrap()
    }

    fn buckets(bounds: &[&str]) -> Vec<f64> {
        let bucket = |le: &&str| Series { others: vec![("le".to_owned(), (*le).to_owned())], ..Series::default() };
        listed(&bounds.iter().map(bucket).collect::<Vec<_>>())
    }

    #[test]
    fn a_threshold_that_is_no_bound_lists_those_there_are() {
        let some = buckets(&["1.0", "0.1", "+Inf", "2.5e-1", "1"]);
        assert_eq!(
            problem(&histogram(300), some.clone()).unwrap(),
            "latency_seconds{path=\"/\"} has no bucket with the bound 0.3: there are 0.1, 0.25, 1; write one of them as \
             threshold"
        );
        assert_eq!(problem(&histogram(250), some.clone()), None);
        assert_eq!(problem(&histogram(1000), some), None);
        assert_eq!(problem(&histogram(300), Vec::new()), None, "nothing is known of a service that has not served yet");
        let many: Vec<String> = (1..=100).map(|bound| bound.to_string()).collect();
        let many = buckets(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let near = problem(&histogram(50_500), many).unwrap();
        assert!(near.contains("there are 100 others, near it 39, 40, 41,") && near.contains(", 62;"), "{near}");
    }

    #[test]
    fn the_bounds_of_the_policys_own_deployments_are_asked_for() {
        let deployments = BTreeSet::from(["cart".to_owned()]);
        let query = query(&histogram(300), "shop", &deployments).unwrap();
        let begins = "group by (le) (latency_seconds_bucket{path=\"/\",namespace=\"shop\",pod=~\"(cart)-";
        assert!(query.starts_with(begins), "{query}");
    }
}
