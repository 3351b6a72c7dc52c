//! What the operator's own page says.

use anyhow::{Context, Result};

use crate::operator::Operator;

const PREFIX: &str = "errorbudget_gatekeeper_";
/// A page may be refused while the operator is busy, or break off.
const TRIES: usize = 5;

/// How long things took: upper bounds of buckets in seconds, with how many were not above.
pub(crate) struct Times(Vec<(f64, f64)>);

impl Times {
    /// Those that came since.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (bucket, (_, earlier)) in self.0.iter_mut().zip(&before.0) {
            bucket.1 -= earlier;
        }
        self
    }

    /// The bound that so large a share of them does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> String {
        let all = self.0.last().map_or(0.0, |(_, count)| *count);
        let bound = self.0.iter().find(|(_, count)| *count >= all * share).map(|(bound, _)| *bound);
        match bound.filter(|_| all > 0.0) {
            Some(bound) if bound.is_finite() => format!("at most {bound} s"),
            Some(_) => "beyond all buckets".to_owned(),
            None => "-".to_owned(),
        }
    }
}

/// From looks to the decisions made with them.
pub(crate) async fn lags(operator: &Operator) -> Result<Times> {
    times(&page(operator).await?, "decision_lag_seconds_bucket", "")
}

/// Prometheus' answers, to questions about budgets too.
pub(crate) async fn answers(operator: &Operator) -> Result<Times> {
    times(&page(operator).await?, "prometheus_query_duration_seconds_bucket", "kind=\"instant\"")
}

/// The buckets of this name that have this label.
fn times(page: &str, name: &str, label: &str) -> Result<Times> {
    let bucket = |(labels, count): (String, f64)| {
        let (_, bound) = labels.split_once("le=\"").context("a bucket without a bound")?;
        let bound = bound.split('"').next().unwrap_or_default();
        Ok((if bound == "+Inf" { f64::INFINITY } else { bound.parse()? }, count))
    };
    let samples = samples(page, name)?.into_iter().filter(|(labels, _)| labels.contains(label));
    Ok(Times(samples.map(bucket).collect::<Result<_>>()?))
}

/// How many looks at a rollout there were since the operator began, whatever they saw.
pub(crate) async fn rollouts_looked_at(operator: &Operator) -> Result<f64> {
    let page = operator.page("metrics").await?;
    Ok(samples(&page, "looks_total")?.iter().map(|(_, count)| count).sum())
}

async fn page(operator: &Operator) -> Result<String> {
    for _ in 1..TRIES {
        if let Ok(page) = operator.page("metrics").await {
            return Ok(page);
        }
    }
    operator.page("metrics").await
}

/// Labels and value of each sample of this name.
fn samples(page: &str, name: &str) -> Result<Vec<(String, f64)>> {
    let ours = page.lines().filter_map(|line| line.strip_prefix(PREFIX)?.strip_prefix(name));
    ours.map(|line| {
        // An exemplar may follow.
        let sample = line.split(" # ").next().unwrap_or_default();
        let (labels, value) = sample.rsplit_once(' ').context("a sample without a value")?;
        Ok((labels.to_owned(), value.parse()?))
    })
    .collect()
}
