//! How soon a bad release is rolled back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testbed::traffic::TrafficSimulator;

use crate::fleet::{BUDGET, Fleet};
use crate::ground::Ground;
use crate::observed::{decisions, requests};

/// Deployments that a bad version is released to in one round.
const AT_ONCE: usize = 50;
/// Time between two releases. One after the other, hardly two of them are decided on in the same moment: what is measured is
/// the operator. Fifty within ten seconds are decided on by the dozen, and wait for each other and for the control plane.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(200)];
/// Requests a second to each Deployment.
pub(crate) const RATE: f64 = 1000.0;
/// How fast the bad versions burn the budget.
pub(crate) const BURN_RATE: f64 = 14.0;
/// What the burn rate is reported over: the window that a violation has to show in.
const WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// What was measured with one interval between looks.
pub(crate) struct Latencies {
    /// Looks a window of 30 s.
    pub(crate) looks: u32,
    /// Time between two releases.
    pub(crate) pause: Duration,
    /// Versions that were released.
    pub(crate) released: usize,
    /// From the first scrape in which the new pods' counters exceed the budget to the accepted patch, in seconds.
    pub(crate) from_violation: Vec<f64>,
    /// From the decision to the accepted patch, in seconds.
    pub(crate) from_decision: Vec<f64>,
}

/// Rolls out bad versions until each interval has had so many rounds.
pub(crate) async fn measure(ground: &Ground, traffic: &TrafficSimulator, rounds: usize) -> Result<Vec<Latencies>> {
    let detection = |looks: u32| json!({"window": "30s", "looks": looks});
    let fleet = Fleet::create(ground, traffic, "bad", AT_ONCE, |_| RATE, &detection(3)).await?;
    let mut measured = Vec::new();
    for looks in [3, 6] {
        fleet.detect(&detection(looks)).await?;
        for pause in PAUSES {
            let (from_violation, from_decision) = (Vec::new(), Vec::new());
            let mut latencies = Latencies { looks, pause, released: 0, from_violation, from_decision };
            for round in 1..=rounds {
                eprintln!("  a look every {} s, a release every {pause:?}, round {round} of {rounds}", 30 / looks);
                one_round(ground, &fleet, &format!("bad-{looks}-{}-{round}", pause.as_millis()), &mut latencies)
                    .await?;
            }
            measured.push(latencies);
        }
    }
    fleet.delete(ground, traffic).await?;
    Ok(measured)
}

async fn one_round(ground: &Ground, fleet: &Fleet, version: &str, latencies: &mut Latencies) -> Result<()> {
    let began = Timestamp::now();
    for name in &fleet.names {
        fleet.release(name, version, BURN_RATE).await?;
        tokio::time::sleep(latencies.pause).await;
    }
    latencies.released += fleet.names.len();
    let is_over = |rollout: &gatekeeper::api::status::RolloutStatus| {
        let incident = rollout.incident.as_ref().filter(|_| rollout.phase == "RolledBack");
        let this_one = incident.filter(|incident| incident.decided.as_ref().is_some_and(|at| at.0 > began));
        this_one.is_some_and(|incident| incident.outcome.is_some())
    };
    fleet.wait_for("are rolled back and recovered", Duration::from_secs(240), is_over).await?;

    let (decisions, requests) = (decisions(ground, began)?, requests(ground, began)?);
    let violations = violations(ground, fleet, version).await?;
    for name in &fleet.names {
        let key = format!("{}/{name}", fleet.namespace);
        let decided = decisions.iter().find(|acted| acted.deployment == key && acted.action == "RollBack");
        let Some(decided) = decided.map(|acted| acted.at) else { continue };
        let is_patch = |what: &str| what == "patch deployments";
        let patch = requests.iter().find(|request| {
            request.accepted && is_patch(&request.what) && request.object == key && request.at >= decided
        });
        let Some(accepted) = patch.map(|request| request.at) else { continue };
        latencies.from_decision.push(accepted.duration_since(decided).as_secs_f64());
        if let Some(violation) = violations.get(name) {
            latencies.from_violation.push(accepted.duration_since(*violation).as_secs_f64());
        }
    }
    Ok(())
}

/// For each Deployment the first scrape in which the counters of this version's pods show a violation: more errors in the
/// window than the budget allows.
async fn violations(ground: &Ground, fleet: &Fleet, version: &str) -> Result<BTreeMap<String, Timestamp>> {
    let query = format!("http_requests_total{{namespace=\"{}\"}}[5m]", fleet.namespace);
    let mut url = reqwest::Url::parse(&format!("{}/api/v1/query", ground.prometheus.url()))?;
    url.query_pairs_mut().append_pair("query", &query);
    let answer: Value = testbed::http::client()?.get(url).send().await?.json().await?;
    let series = answer["data"]["result"].as_array().with_context(|| format!("no series: {answer}"))?;

    let mut violations = BTreeMap::new();
    for (deployment, replica_set) in fleet.replica_sets(version).await? {
        let prefix = format!("{replica_set}-");
        // Errors and requests that each scrape added.
        let mut added: BTreeMap<Timestamp, (f64, f64)> = BTreeMap::new();
        let of_version = |one: &&Value| one["metric"]["pod"].as_str().is_some_and(|pod| pod.starts_with(&prefix));
        for one in series.iter().filter(of_version) {
            let is_error = one["metric"]["code"].as_str().is_some_and(|code| code.starts_with('5'));
            let mut last = 0.0;
            for (at, value) in one["values"].as_array().into_iter().flatten().filter_map(sample) {
                let entry = added.entry(at).or_default();
                entry.0 += if is_error { value - last } else { 0.0 };
                entry.1 += value - last;
                last = value;
            }
        }
        let violates = |at: &Timestamp| {
            let window = added.iter().filter(|(then, _)| **then <= *at && at.duration_since(**then) < WINDOW);
            let (errors, requests) = window.fold((0.0, 0.0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1));
            errors > BUDGET * requests
        };
        if let Some(first) = added.keys().find(|at| violates(at)) {
            violations.insert(deployment, *first);
        }
    }
    Ok(violations)
}

fn sample(pair: &Value) -> Option<(Timestamp, f64)> {
    let milliseconds = (pair[0].as_f64()? * 1000.0).round() as i64;
    Some((Timestamp::from_millisecond(milliseconds).ok()?, pair[1].as_str()?.parse().ok()?))
}

/// The value that this share (0 to 1) of the values does not exceed; none of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}
