//! What many rollouts cost, and how many healthy ones are stopped.

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use testbed::traffic::TrafficSimulator;

use crate::cost::{Cost, peak_memory};
use crate::fleet::Fleet;
use crate::ground::Ground;
use crate::observed::{Acted, decisions, deployments};

/// Rollouts at a time.
pub(crate) const ROLLOUTS: usize = 200;
/// Rollouts that Prometheus goes away under.
pub(crate) const DURING_OUTAGE: usize = 10;
/// How long it is away.
pub(crate) const OUTAGE: Duration = Duration::from_secs(90);
/// How long costs are measured.
const MEASURED: Duration = Duration::from_secs(60);

/// What was measured.
pub(crate) struct Load {
    /// With all Deployments at rest.
    pub(crate) idle: Cost,
    /// With all of them being monitored, a look every 10 s.
    pub(crate) running: Cost,
    /// The most memory ever, in MiB.
    pub(crate) peak_memory: f64,
    /// Of the healthy releases.
    pub(crate) healthy: Stopped,
    /// Of those during which Prometheus was down.
    pub(crate) blind: Stopped,
}

/// Releases that were stopped although they are healthy.
pub(crate) struct Stopped {
    /// Rolled back.
    pub(crate) rolled_back: usize,
    /// Held by a pause.
    pub(crate) paused: usize,
    /// Told to halt at least once, whether they could be held or not.
    pub(crate) halted: usize,
}

impl Stopped {
    fn of(decisions: &[Acted]) -> Self {
        Self {
            rolled_back: deployments(decisions, |acted| acted.action == "RollBack"),
            paused: deployments(decisions, |acted| acted.action == "Pause"),
            halted: deployments(decisions, |acted| acted.verdict == "Halt"),
        }
    }
}

/// Releases healthy versions that burn half the budget, at 10 and 100 requests a second, and watches them so many minutes.
pub(crate) async fn measure(ground: &Ground, traffic: &TrafficSimulator, minutes: f64) -> Result<Load> {
    let rate = |number: usize| if number.is_multiple_of(2) { 10.0 } else { 100.0 };
    let fleet = Fleet::create(ground, traffic, "healthy", ROLLOUTS, rate, &json!({})).await?;
    eprintln!("  all at rest for {} s", MEASURED.as_secs());
    let idle = Cost::over(ground, MEASURED).await?;

    let (began, released) = (Timestamp::now(), Instant::now());
    for name in &fleet.names {
        fleet.release(name, "v2", 0.5).await?;
    }
    fleet.wait_for("are monitored", Duration::from_secs(600), |rollout| rollout.phase == "Monitoring").await?;
    eprintln!("  all monitored for {} s", MEASURED.as_secs());
    let running = Cost::over(ground, MEASURED).await?;
    let rest = Duration::from_secs_f64(minutes * 60.0).saturating_sub(released.elapsed());
    eprintln!("  and for another {} s (BENCH_MINUTES={minutes})", rest.as_secs());
    tokio::time::sleep(rest).await;
    let healthy = Stopped::of(&decisions(ground, began)?);
    let peak_memory = peak_memory(ground)?;

    let began = Timestamp::now();
    for name in fleet.names.iter().take(DURING_OUTAGE) {
        fleet.release(name, "v3", 0.5).await?;
    }
    eprintln!("  Prometheus is down for {} s", OUTAGE.as_secs());
    ground.prometheus.stop().await?;
    tokio::time::sleep(OUTAGE).await;
    ground.prometheus.restart().await?;
    fleet.wait_for("are monitored again", Duration::from_secs(300), |rollout| rollout.phase == "Monitoring").await?;
    let mut acted = decisions(ground, began)?;
    let released: Vec<_> = fleet.names.iter().take(DURING_OUTAGE).collect();
    acted.retain(|acted| released.iter().any(|name| acted.deployment == format!("{}/{name}", fleet.namespace)));
    Ok(Load { idle, running, peak_memory, healthy, blind: Stopped::of(&acted) })
}
