//! Releases that are bad in the ways that releases are, beside the same ones without the operator: what their users lost.
//!
//! Prometheus scrapes every 15 seconds, as most do, and the policy is the default one.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;

use crate::ground::Ground;
use crate::policy::Policy;
use crate::responses::Loss;
use crate::shop::{End, Release, Service, Shop};

/// Losses are counted for so long from `kubectl apply` on, with the operator and without: nobody steps in without it.
const COUNTED: Duration = Duration::from_secs(180);
/// How long both serve well before.
const BEFORE: Duration = Duration::from_secs(20);
/// How long the restored pods serve well afterwards.
const AFTER: Duration = Duration::from_secs(10);

/// A bad release, and the service that gets it.
struct Case {
    /// For the table.
    what: &'static str,
    /// What its namespaces begin with.
    name: &'static str,
    /// Requests a second.
    rate: f64,
    policy: Policy,
    release: Release,
}

impl Case {
    /// 30 requests a second, and version v2 that behaves as this variable says.
    fn new(what: &'static str, name: &'static str, variable: &'static str, value: &str) -> Self {
        let release = Release::new("v2").with(variable, value);
        Self { what, name, rate: 30.0, policy: Policy::by_default(), release }
    }
}

/// What it came to.
struct Pair {
    governed: Loss,
    plain: Loss,
    /// How many requests it answered, with the operator.
    met: usize,
    /// What was told of the governed one.
    story: String,
}

/// Releases it with the operator and without, at the same time.
async fn pair(ground: &Ground, case: Case) -> Result<Pair> {
    let Case { what, name, rate, policy, release } = case;
    let service = Service { rate, scraped_every: None, ..Service::small() };
    let (ungoverned, guarded) = (format!("{name}-plain"), format!("{name}-governed"));
    let (plain, governed) =
        tokio::try_join!(Shop::open(ground, &ungoverned, service.clone()), Shop::open(ground, &guarded, service))?;
    governed.govern(&policy).await?;
    tokio::try_join!(plain.serves_well(BEFORE), governed.serves_well(BEFORE))?;

    let began = Timestamp::now();
    tokio::try_join!(plain.release(&release), governed.release(&release))?;
    let counted = began + COUNTED;
    let story = governed.ends(End::RolledBack).await?;
    if let Ok(rest) = Duration::try_from(counted.duration_since(Timestamp::now())) {
        tokio::time::sleep(rest).await;
    }
    let met = governed.responses().iter().filter(|response| response.version.as_deref() == Some("v2")).count();
    let (lost, lost_plain) =
        (Loss::of(&governed.responses(), began, counted), Loss::of(&plain.responses(), began, counted));
    let seconds = governed
        .rollout()
        .await?
        .incident
        .and_then(|incident| Some(incident.decided?.0.duration_since(began).as_secs()));
    let end = seconds.map_or("rolled back".to_owned(), |seconds| format!("decided to roll back after {seconds} s"));
    ground.note(|measured| measured.release(what, lost, lost_plain, end));

    governed.serves_well(AFTER).await?;
    plain.close().await?;
    governed.close().await?;
    Ok(Pair { governed: lost, plain: lost_plain, met, story })
}

impl Pair {
    /// The operator saved at least half of what was lost without it.
    fn saved_half(&self) -> Result<()> {
        let Self { governed, plain, story, .. } = self;
        ensure!(
            plain.bad > 0 && governed.percent() * 2.0 < plain.percent(),
            "lost {} with the operator, {} without:\n{story}",
            governed.cells(),
            plain.cells()
        );
        Ok(())
    }
}

pub(super) async fn a_release_that_fails_every_request_is_rolled_back(ground: &Ground) -> Result<()> {
    pair(ground, Case::new("100 % errors", "all", "ERROR_RATIO", "1")).await?.saved_half()
}

pub(super) async fn a_release_that_fails_five_percent_is_rolled_back(ground: &Ground) -> Result<()> {
    pair(ground, Case::new("5 % errors", "five", "ERROR_RATIO", "0.05")).await?.saved_half()
}

pub(super) async fn a_release_that_fails_one_percent_is_rolled_back(ground: &Ground) -> Result<()> {
    let case = Case { rate: 60.0, ..Case::new("1 % errors", "one", "ERROR_RATIO", "0.01") };
    // A handful of errors while it is a canary: how many, is chance, and so is what is saved.
    pair(ground, case).await.map(drop)
}

pub(super) async fn a_release_that_takes_two_seconds_is_rolled_back(ground: &Ground) -> Result<()> {
    let policy = Policy::by_default().within_250_ms();
    pair(ground, Case { policy, ..Case::new("2 s latency", "slow", "DELAY", "2s") }).await?.saved_half()
}

pub(super) async fn a_release_that_crashes_again_and_again_is_rolled_back(ground: &Ground) -> Result<()> {
    pair(ground, Case::new("crashes at its 50th request", "crash", "CRASH_AT", "50")).await.map(drop)
}

pub(super) async fn a_release_that_runs_out_of_memory_is_rolled_back(ground: &Ground) -> Result<()> {
    // Its limit leaves it some 60 MiB.
    pair(ground, Case::new("out of memory after a minute", "memory", "LEAK", "1")).await.map(drop)
}

pub(super) async fn a_release_that_is_never_ready_is_rolled_back(ground: &Ground) -> Result<()> {
    let pair = pair(ground, Case::new("never Ready", "never", "READINESS", "never")).await?;
    ensure!(pair.met == 0, "it answered {} requests", pair.met);
    Ok(())
}
