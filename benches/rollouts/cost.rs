//! What the operator costs, by the API server's audit log, the proxy before Prometheus, and the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::ground::Ground;
use crate::machine::cpu_seconds;

/// What the operator costs.
#[derive(Debug)]
pub(crate) struct Cost {
    minutes: f64,
    /// Processor seconds a minute.
    pub(crate) cpu: f64,
    /// Resident memory at the end, in MiB.
    pub(crate) memory: f64,
    /// Requests to the API server by what they were: `patch errorbudgetpolicies/status`.
    pub(crate) requests: BTreeMap<String, usize>,
    queries: usize,
}

impl Cost {
    /// Measures for so long.
    pub(crate) async fn over(ground: &Ground, time: Duration) -> Result<Self> {
        let pid = ground.operator.process().pid().context("the operator does not run")?;
        let (began, since) = (Instant::now(), Timestamp::now());
        ground.proxy.clear();
        let before = cpu_seconds(pid)?;
        tokio::time::sleep(time).await;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        let cpu = (cpu_seconds(pid)? - before) / minutes;
        let queries = ground.proxy.counts().values().sum();
        let mut requests = BTreeMap::new();
        for (_, request) in answered(ground, since)? {
            *requests.entry(what(&request).context("a request for nothing")?).or_default() += 1;
        }
        Ok(Self { minutes, cpu, memory: memory(pid, "VmRSS")?, requests, queries })
    }

    /// Requests to the API server a minute.
    pub(crate) fn requests_a_minute(&self) -> f64 {
        self.requests.values().sum::<usize>() as f64 / self.minutes
    }

    /// Changes asked of the API server, a second.
    pub(crate) fn writes_a_second(&self) -> f64 {
        let is_write = |what: &str| !["get ", "list ", "watch "].iter().any(|verb| what.starts_with(verb));
        let writes: usize = self.requests.iter().filter(|(what, _)| is_write(what)).map(|(_, count)| count).sum();
        writes as f64 / self.minutes / 60.0
    }

    /// Queries to Prometheus a minute.
    pub(crate) fn queries_a_minute(&self) -> f64 {
        self.queries as f64 / self.minutes
    }
}

/// The most resident memory the operator ever had, in MiB.
pub(crate) fn peak_memory(ground: &Ground) -> Result<f64> {
    memory(ground.operator.process().pid().context("the operator does not run")?, "VmHWM")
}

fn memory(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such field")?;
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}

/// The lines of the audit log since, oldest first, each with the time when the API server answered the request.
pub(crate) fn answered(ground: &Ground, since: Timestamp) -> Result<Vec<(Timestamp, Value)>> {
    let read = |line: Value| {
        let at = line["stageTimestamp"].as_str()?.parse().ok().filter(|at| *at >= since)?;
        Some((at, line))
    };
    Ok(lines(&ground.audit)?.into_iter().filter_map(read).collect())
}

/// Verb and object of a line of the audit log.
pub(crate) fn what(line: &Value) -> Option<String> {
    let text = |field: &str| line["objectRef"][field].as_str().unwrap_or_default();
    let slash = if text("subresource").is_empty() { "" } else { "/" };
    Some(format!("{} {}{slash}{}", line["verb"].as_str()?, text("resource"), text("subresource")))
}

/// The lines that are JSON; the last may be half written.
pub(crate) fn lines(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
