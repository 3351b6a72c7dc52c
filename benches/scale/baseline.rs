//! The counts that were measured before, and the comparison with them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::Size;
use crate::cost::Cost;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/scale/baseline.json");
/// What a minute may differ by from another: a renewal, a tick, a look more or less.
const SLACK: f64 = 1.15;

/// What was sent in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Requests to the API server.
    requests: u64,
    /// Those of them that ask for a change.
    writes: u64,
    /// Queries to Prometheus.
    queries: u64,
}

impl Counts {
    /// Of this measurement.
    pub(crate) fn of(cost: &Cost) -> Self {
        Self {
            requests: cost.requests_a_minute().round() as u64,
            writes: (cost.writes_a_second() * 60.0).round() as u64,
            queries: cost.queries_a_minute().round() as u64,
        }
    }

    fn exceeding(self, baseline: Self) -> Vec<String> {
        let counts = [
            ("requests to the API server", self.requests, baseline.requests),
            ("writes", self.writes, baseline.writes),
            ("queries to Prometheus", self.queries, baseline.queries),
        ];
        // A few are within what one minute has more than another however few there are.
        let exceeds = |now: u64, then: u64| now as f64 > then as f64 * SLACK + 3.0;
        let more = counts.into_iter().filter(|(_, now, then)| exceeds(*now, *then));
        more.map(|(what, now, then)| format!("{now} {what} a minute, {then} before")).collect()
    }
}

/// By the number of rollouts under way.
type ByRollouts = BTreeMap<usize, Counts>;

#[derive(Serialize, Deserialize)]
struct Baseline {
    deployments: usize,
    rollouts: usize,
    counts: ByRollouts,
}

/// Compares with the committed counts, or writes them when asked to.
///
/// # Errors
/// When more was sent than those say.
pub(crate) fn compare(size: Size, counts: &ByRollouts) -> Result<()> {
    if std::env::var("BENCH_BASELINE").is_ok_and(|what| what == "write") {
        let baseline = Baseline { deployments: size.deployments, rollouts: size.rollouts, counts: counts.clone() };
        std::fs::write(FILE, serde_json::to_string_pretty(&baseline)? + "\n")
            .with_context(|| format!("write {FILE}"))?;
        println!("These counts are the baseline now.");
        return Ok(());
    }
    let text = std::fs::read_to_string(FILE).with_context(|| format!("read {FILE}; BENCH_BASELINE=write makes it"))?;
    let baseline: Baseline = serde_json::from_str(&text).with_context(|| format!("read {FILE}"))?;
    if (baseline.deployments, baseline.rollouts) != (size.deployments, size.rollouts) {
        println!(
            "Not compared: the baseline is of {} Deployments, {} rollouts.",
            baseline.deployments, baseline.rollouts
        );
        return Ok(());
    }
    let more: Vec<_> = counts
        .iter()
        .filter_map(|(rollouts, now)| Some((rollouts, now.exceeding(*baseline.counts.get(rollouts)?))))
        .flat_map(|(rollouts, more)| more.into_iter().map(move |more| format!("with {rollouts} rollouts {more}")))
        .collect();
    if more.is_empty() {
        println!("No more requests and queries than before.");
        return Ok(());
    }
    bail!("more was sent than before: {}", more.join("; "))
}
