//! What the operator did, by its own log and the API server's audit log.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::cost::{answered, lines, what};
use crate::ground::Ground;

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
    /// What was done to what: `patch deployments`.
    pub(crate) what: String,
    /// Namespace and name.
    pub(crate) object: String,
    /// Whether it was accepted.
    pub(crate) accepted: bool,
}

/// Every request since, oldest first.
pub(crate) fn requests(ground: &Ground, since: Timestamp) -> Result<Vec<Request>> {
    let read = |(at, line): (Timestamp, Value)| {
        let text = |field: &str| line["objectRef"][field].as_str().unwrap_or_default();
        Some(Request {
            at,
            what: what(&line)?,
            object: format!("{}/{}", text("namespace"), text("name")),
            accepted: line["responseStatus"]["code"].as_i64().is_some_and(|code| (200..300).contains(&code)),
        })
    };
    Ok(answered(ground, since)?.into_iter().filter_map(read).collect())
}
