//! What Prometheus has of services that nothing is rolled out of: for whoever wants to know what the operator would see.

use std::sync::Arc;

use jiff::Timestamp;

use super::bounds;
use super::client::Queries;
use super::histogram::Histogram;
use super::promql::Selector;
use super::scrape::{Failure, Scrape};
use super::subject::Subject;
use super::track;

/// How many series a pod has, or a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesOfPod {
    /// Their namespace; empty where there is none.
    pub namespace: String,
    /// Their pod; empty where there is none, and when it was not asked for.
    pub pod: String,
    /// How many.
    pub series: u64,
}

/// The series that a selector matches in a namespace now, by pod.
///
/// # Errors
/// When Prometheus does not answer, or not in whole.
pub async fn series(
    endpoint: &impl Queries,
    selector: &Selector,
    namespace: &str,
    now: Timestamp,
) -> Result<Vec<SeriesOfPod>, Failure> {
    let by = selector.labels().both();
    counted(endpoint, &format!("count by ({by}) ({})", selector.within(namespace)), now).await
}

/// The series that a selector matches in any namespace now, by namespace.
///
/// # Errors
/// When Prometheus does not answer, or not in whole.
pub async fn namespaces(
    endpoint: &impl Queries,
    selector: &Selector,
    now: Timestamp,
) -> Result<Vec<SeriesOfPod>, Failure> {
    let by = &selector.labels().namespace;
    counted(endpoint, &format!("count by ({by}) ({selector})"), now).await
}

/// Why the threshold of a classic histogram is no bound of its buckets in a namespace; `None` when it is one, and when there
/// are no buckets.
///
/// # Errors
/// When Prometheus does not answer, or not in whole.
pub async fn no_bound(
    endpoint: &impl Queries,
    histogram: &Histogram,
    namespace: &str,
    now: Timestamp,
) -> Result<Option<String>, Failure> {
    let query = format!("group by (le) ({})", histogram.buckets().within(namespace));
    Ok(bounds::problem(histogram, bounds::listed(&endpoint.instant(&query, now).await?)))
}

async fn counted(endpoint: &impl Queries, query: &str, now: Timestamp) -> Result<Vec<SeriesOfPod>, Failure> {
    let answer = endpoint.instant(query, now).await?;
    let counted = answer.into_iter().map(|series| {
        let count = series.points.first().map_or(0.0, |point| point.value);
        SeriesOfPod { namespace: series.namespace, pod: series.pod, series: count.max(0.0) as u64 }
    });
    Ok(counted.collect())
}

/// What looks would have shown of these rollouts-to-be in the ten minutes before now, which are the baseline of a rollout
/// that begins now. All of them at one endpoint and with one interval between looks.
pub async fn looks(
    endpoint: &impl Queries,
    subjects: &[Arc<Subject>],
    now: Timestamp,
) -> Vec<Result<Vec<Scrape>, Failure>> {
    track::past(endpoint, subjects, now).await
}
