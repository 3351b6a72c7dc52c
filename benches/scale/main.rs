//! What the operator costs in a large cluster: `cargo bench --bench scale`. Prints a table in Markdown, and fails when it
//! sends more requests or queries than `baseline.json` beside it says: counts, which a busy machine does not change.
//!
//! 20,000 Deployments of 20 pods are watched and 1,000 of them are held as canaries. Kubernetes' own controllers are
//! played and no pod exists but in the metrics, so that a small machine is enough.
//!
//! `BENCH_BASELINE=write` makes today's counts the baseline. `BENCH_DEPLOYMENTS` and `BENCH_ROLLOUTS` give other sizes,
//! which nothing is compared with. With the defaults it takes some ten minutes.

mod baseline;
mod controller;
#[path = "../rollouts/cost.rs"]
mod cost;
mod fleet;
#[path = "../rollouts/ground.rs"]
mod ground;
#[path = "../rollouts/machine.rs"]
mod machine;
#[path = "../../tests/demo/operator.rs"]
mod operator;
mod page;
mod pages;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::cluster::ClusterOptions;
use testbed::prometheus::PrometheusOptions;

use baseline::Counts;
use controller::Controller;
use cost::Cost;
use fleet::Fleet;
use ground::Ground;
use page::Times;
use pages::Pages;

/// Time between two scrapes: what most clusters have.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
/// How long costs are measured each time.
const MEASURED: Duration = Duration::from_secs(60);
/// Windows, and looks, in a minute.
const WINDOWS_A_MINUTE: f64 = 2.0;
const LOOKS_A_MINUTE: f64 = 6.0;

/// What was measured with so many rollouts under way.
struct Stage {
    rollouts: usize,
    cost: Cost,
    /// Prometheus' share of the next.
    answers: Times,
    lags: Times,
}

/// How long the operator needs after its process has begun, in seconds.
struct Start {
    until_ready: f64,
    until_all_are_looked_at: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let size = Size::from_environment()?;
    let folder = tempfile::Builder::new().prefix("scale-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    eprintln!("A control plane starts");
    let cluster = ground::control_plane(folder.path(), ClusterOptions::default()).await?;
    for played in [&cluster.controller_manager, &cluster.scheduler].into_iter().chain(&cluster.kwok) {
        played.stop().await?;
    }
    let pages = Pages::serve(size.rollouts).await?;
    let fleet = Fleet::create(&cluster.client(), size).await?;
    let scraping = PrometheusOptions::scraping(pages.target()).every(SCRAPE_INTERVAL);
    let ground = Ground::start(folder.path(), cluster, &scraping).await?;
    let _controller = Controller::start(ground.cluster.client(), pages.pods());
    until(async || is_scraped(&ground, size).await).await.context("the first scrape")?;
    fleet.create_policies().await?;

    let mut stages = vec![measure(&ground, 0).await?];
    for rollouts in [size.rollouts / 10, size.rollouts] {
        fleet.release(rollouts).await?;
        stages.push(measure(&ground, rollouts).await?);
        // One that was stopped or let go costs something else.
        ensure!(fleet.canaries().await? == rollouts, "not all of the {rollouts} rollouts are canaries any more");
    }
    let start = restart(&ground, size.rollouts).await?;
    print(size, &stages, &start, cost::peak_memory(&ground)?);

    let counts = stages.iter().map(|stage| (stage.rollouts, Counts::of(&stage.cost))).collect();
    baseline::compare(size, &counts)
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    deployments: usize,
    rollouts: usize,
}

impl Size {
    fn from_environment() -> Result<Self> {
        let size = Self {
            deployments: from_environment("BENCH_DEPLOYMENTS", 20_000)?,
            rollouts: from_environment("BENCH_ROLLOUTS", 1000)?,
        };
        let fits = size.rollouts >= 10 && size.rollouts <= size.deployments;
        ensure!(fits, "BENCH_ROLLOUTS={} is not from 10 to BENCH_DEPLOYMENTS={}", size.rollouts, size.deployments);
        Ok(size)
    }

    const fn policies(self) -> usize {
        self.rollouts.div_ceil(fleet::DEPLOYMENTS_A_POLICY)
    }
}

async fn is_scraped(ground: &Ground, size: Size) -> Result<bool> {
    let pods = ground.prometheus.query("count(http_requests_total{code='200'})").await?;
    Ok(pods.first().is_some_and(|count| count.value == (size.rollouts as f64) * f64::from(fleet::PODS)))
}

async fn measure(ground: &Ground, rollouts: usize) -> Result<Stage> {
    // What a release or a new policy caused is over after a look and a window.
    tokio::time::sleep(Duration::from_secs(45)).await;
    eprintln!("  {rollouts} rollouts for {} s", MEASURED.as_secs());
    let (lags, answers) = (page::lags(&ground.operator).await?, page::answers(&ground.operator).await?);
    let cost = Cost::over(ground, MEASURED).await?;
    let lags = page::lags(&ground.operator).await?.since(&lags);
    let answers = page::answers(&ground.operator).await?.since(&answers);
    Ok(Stage { rollouts, cost, answers, lags })
}

/// Ends the operator and starts it in the middle of all rollouts.
async fn restart(ground: &Ground, rollouts: usize) -> Result<Start> {
    eprintln!("  the operator starts again");
    let process = ground.operator.process();
    process.stop().await?;
    let began = Instant::now();
    process.start()?;
    let seconds = |what: Result<()>| what.map(|()| began.elapsed().as_secs_f64());
    let until_ready = seconds(until(async || Ok(ground.operator.page("readyz").await.is_ok())).await)?;
    // A page may be refused while the operator has other things to do.
    let looks = async || Ok(page::rollouts_looked_at(&ground.operator).await.unwrap_or_default() >= rollouts as f64);
    let until_all_are_looked_at = seconds(until(looks).await.context("looks after the start"))?;
    Ok(Start { until_ready, until_all_are_looked_at })
}

async fn until(mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds().await? {
        ensure!(began.elapsed() < Duration::from_secs(300), "not within five minutes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn print(size: Size, stages: &[Stage], start: &Start, peak_memory: f64) {
    println!("\nMeasured on {}.", machine::machine());
    println!(
        "{} Deployments, {} policies, a look every 10 s, a scrape every {} s.\n",
        size.deployments,
        size.policies(),
        SCRAPE_INTERVAL.as_secs()
    );
    let cells = |of: &dyn Fn(&Stage) -> String| stages.iter().map(of).collect::<Vec<_>>().join(" | ");
    println!("| rollouts at a time | {} | aim |", cells(&|stage| stage.rollouts.to_string()));
    println!("| --- | {} | --- |", cells(&|_| "---".to_owned()));
    let row = |what: &str, aim: &str, of: &dyn Fn(&Stage) -> String| println!("| {what} | {} | {aim} |", cells(of));
    row("CPU, of a core", "0.25", &|stage| format!("{:.3}", stage.cost.cpu / 60.0));
    row("resident memory", "150 MiB", &|stage| format!("{:.0} MiB", stage.cost.memory));
    row("Prometheus queries a look, those for budgets included", "the same in all columns", &|stage| {
        format!("{:.1}", stage.cost.queries_a_minute() / LOOKS_A_MINUTE)
    });
    row("API writes a rollout and window", "1", &|stage| match stage.rollouts {
        0 => "-".to_owned(),
        rollouts => format!("{:.2}", stage.cost.writes_a_second() * 60.0 / WINDOWS_A_MINUTE / rollouts as f64),
    });
    row("API writes a second", "", &|stage| format!("{:.2}", stage.cost.writes_a_second()));
    row("API requests a minute", "", &|stage| format!("{:.0}", stage.cost.requests_a_minute()));
    row("Prometheus' answer to a look's question, p99", "", &|stage| stage.answers.quantile(0.99));
    row("look to decision, p50", "", &|stage| stage.lags.quantile(0.5));
    row("look to decision, p99", "1 s", &|stage| stage.lags.quantile(0.99));
    for stage in stages {
        let each = stage.cost.requests.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>();
        println!("\nRequests to the API server with {} rollouts: {}.", stage.rollouts, each.join(", "));
    }
    println!("\nStarted again in the middle of {} rollouts:\n", size.rollouts);
    println!("- ready after {:.1} s (aim: 15 s)", start.until_ready);
    println!("- a look at each rollout after {:.1} s", start.until_all_are_looked_at);
    println!("- the most resident memory from then on: {peak_memory:.0} MiB\n");
}

fn from_environment(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
        Err(_) => Ok(default),
    }
}
