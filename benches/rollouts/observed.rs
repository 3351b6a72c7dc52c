//! What the operator did, by the API server's audit log, its own log, and the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::ground::Ground;
use crate::machine::cpu_seconds;

/// A decision to change a Deployment, as the operator logged it just before it did.
#[derive(Debug)]
pub(crate) struct Acted {
    /// When.
    pub(crate) at: Timestamp,
    /// Namespace and name: `shop/checkout`.
    pub(crate) deployment: String,
    /// The change: `Pause`, `Release`, `RollBack` and so on.
    pub(crate) action: String,
    /// What the looks came to: `Proceed`, `Halt` or `Rollback`.
    pub(crate) verdict: String,
}

/// Every decision since, oldest first.
pub(crate) fn decisions(ground: &Ground, since: Timestamp) -> Result<Vec<Acted>> {
    let read = |line: Value| {
        let text = |field: &str| line[field].as_str().map(str::to_owned);
        let at = text("timestamp")?.parse().ok().filter(|at| *at >= since)?;
        let is_decision = line["message"] == "decision";
        is_decision.then_some(())?;
        Some(Acted { at, deployment: text("deployment")?, action: text("action")?, verdict: text("verdict")? })
    };
    Ok(lines(ground.operator.process().log())?.into_iter().filter_map(read).collect())
}

/// The Deployments with a decision of this kind.
pub(crate) fn deployments(decisions: &[Acted], kind: impl Fn(&Acted) -> bool) -> usize {
    decisions.iter().filter(|acted| kind(acted)).map(|acted| &acted.deployment).collect::<BTreeSet<_>>().len()
}

/// A request of the operator that the API server has answered.
#[derive(Debug)]
pub(crate) struct Request {
    /// When it was answered.
    pub(crate) at: Timestamp,
    /// What was done to what: `patch deployments`, `patch errorbudgetpolicies/status`.
    pub(crate) what: String,
    /// Namespace and name.
    pub(crate) object: String,
    /// Whether it was accepted.
    pub(crate) accepted: bool,
}

impl Request {
    /// Whether it asked for a change.
    fn writes(&self) -> bool {
        !["get ", "list ", "watch "].iter().any(|verb| self.what.starts_with(verb))
    }
}

/// Every request since, oldest first.
pub(crate) fn requests(ground: &Ground, since: Timestamp) -> Result<Vec<Request>> {
    let read = |line: Value| {
        let at = line["stageTimestamp"].as_str()?.parse().ok().filter(|at| *at >= since)?;
        let object = &line["objectRef"];
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let slash = if text("subresource").is_empty() { "" } else { "/" };
        Some(Request {
            at,
            what: format!("{} {}{slash}{}", line["verb"].as_str()?, text("resource"), text("subresource")),
            object: format!("{}/{}", text("namespace"), text("name")),
            accepted: line["responseStatus"]["code"].as_i64().is_some_and(|code| (200..300).contains(&code)),
        })
    };
    Ok(lines(&ground.audit)?.into_iter().filter_map(read).collect())
}

/// The lines that are JSON; the last may be half written.
fn lines(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// What the operator costs.
#[derive(Debug)]
pub(crate) struct Cost {
    minutes: f64,
    /// Processor seconds a minute.
    pub(crate) cpu: f64,
    /// Resident memory at the end, in MiB.
    pub(crate) memory: f64,
    /// Requests to the API server by what they were.
    pub(crate) requests: BTreeMap<String, usize>,
    writes: usize,
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
        let asked = requests(ground, since)?;
        let mut requests = BTreeMap::new();
        for request in &asked {
            *requests.entry(request.what.clone()).or_default() += 1;
        }
        let writes = asked.iter().filter(|request| request.writes()).count();
        Ok(Self { minutes, cpu, memory: memory(pid, "VmRSS")?, requests, writes, queries })
    }

    /// Requests to the API server a minute.
    pub(crate) fn requests_a_minute(&self) -> f64 {
        self.requests.values().sum::<usize>() as f64 / self.minutes
    }

    /// Changes asked of the API server, a second.
    pub(crate) fn writes_a_second(&self) -> f64 {
        self.writes as f64 / self.minutes / 60.0
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
