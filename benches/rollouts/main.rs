//! How soon bad releases are rolled back on a real control plane, how many healthy ones are stopped, and what it costs:
//! `cargo bench --bench rollouts`. Prints a table in Markdown; fails when it cannot measure, never on what it measures.
//!
//! `BENCH_MINUTES` (default 3) says how long healthy releases are watched, `BENCH_ROUNDS` (default 2) how often bad ones
//! are released to 50 Deployments at each interval between looks, both one after the other and almost at once. With the
//! defaults it takes some 25 minutes.

mod cost;
mod fleet;
mod ground;
mod latency;
mod load;
mod machine;
mod observed;
#[path = "../../tests/demo/operator.rs"]
mod operator;

use std::time::Duration;

use anyhow::{Context, Result};
use testbed::cluster::ClusterOptions;
use testbed::prometheus::PrometheusOptions;
use testbed::traffic::{TrafficOptions, TrafficPlan, TrafficSimulator};

use cost::Cost;
use ground::Ground;
use latency::{Latencies, quantile};
use load::{DURING_OUTAGE, Load, OUTAGE, ROLLOUTS, Stopped};

/// Time between two scrapes: what most fast installations have, and what detection is quoted for.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let minutes: f64 = from_environment("BENCH_MINUTES", 3.0)?;
    let rounds: usize = from_environment("BENCH_ROUNDS", 2)?;
    let folder = tempfile::Builder::new().prefix("rollouts-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    eprintln!("A control plane starts");
    let options = ClusterOptions {
        // With minReadySeconds of 5 a pod every 8 to 10 seconds: a rollout of four pods takes some 40.
        pod_ready_delay: Duration::from_secs(3)..=Duration::from_secs(5),
        ..ClusterOptions::default()
    };
    let cluster = ground::control_plane(folder.path(), options).await?;
    let options = TrafficOptions { histograms: false, ..TrafficOptions::default() };
    let traffic = TrafficSimulator::start(cluster.client(), TrafficPlan::new(), options).await?;
    let scraping = PrometheusOptions::scraping(traffic.target()).every(SCRAPE_INTERVAL);
    let ground = Ground::start(folder.path(), cluster, &scraping).await?;
    eprintln!("Bad releases");
    let latencies = latency::measure(&ground, &traffic, rounds).await?;
    eprintln!("Healthy releases");
    let load = load::measure(&ground, &traffic, minutes).await?;

    println!("\nMeasured on {}.", machine::machine());
    println!("99.9 % objective, Prometheus scrapes every {} s, Deployments of 4 pods.\n", SCRAPE_INTERVAL.as_secs());
    println!("| | p50 | p95 | p99 | rollbacks |\n| --- | --- | --- | --- | --- |");
    latencies.iter().for_each(print_latencies);
    println!("\n| healthy releases, half the budget burnt | rolled back | paused | told to halt |");
    println!("| --- | --- | --- | --- |");
    print_stopped(&format!("{ROLLOUTS} at 10 and 100 requests/s, watched for {minutes} min"), &load.healthy);
    print_stopped(&format!("{DURING_OUTAGE} with Prometheus down for {} s", OUTAGE.as_secs()), &load.blind);
    print_costs(&load);
    Ok(())
}

fn print_latencies(measured: &Latencies) {
    let row = |what: &str, values: &[f64], unit: f64, name: &str| {
        let at =
            |share: f64| quantile(values, share).map_or("-".to_owned(), |value| format!("{:.1} {name}", value * unit));
        println!("| {what} | {} | {} | {} | {} of {} |", at(0.5), at(0.95), at(0.99), values.len(), measured.released);
    };
    let looks =
        format!("a look every {} s, a release every {:.1} s", 30 / measured.looks, measured.pause.as_secs_f64());
    let burn = format!("{}x at {} requests/s", latency::BURN_RATE, latency::RATE);
    row(
        &format!("violation visible in counters to accepted rollback, {burn}, {looks}"),
        &measured.from_violation,
        1.0,
        "s",
    );
    row(&format!("decision to accepted rollback, {looks}"), &measured.from_decision, 1000.0, "ms");
}

fn print_stopped(what: &str, stopped: &Stopped) {
    println!("| {what} | {} | {} | {} |", stopped.rolled_back, stopped.paused, stopped.halted);
}

fn print_costs(load: &Load) {
    println!("\n| {ROLLOUTS} Deployments, a policy each | all at rest | all rolled out, a look every 10 s |");
    println!("| --- | --- | --- |");
    let row = |what: &str, of: &dyn Fn(&Cost) -> String| {
        println!("| {what} | {} | {} |", of(&load.idle), of(&load.running));
    };
    let each = |number: f64| format!("{number:.1} ({:.2} each)", number / ROLLOUTS as f64);
    row("API requests a minute", &|cost| each(cost.requests_a_minute()));
    row("API writes a second", &|cost| format!("{:.2}", cost.writes_a_second()));
    row("Prometheus queries a minute", &|cost| each(cost.queries_a_minute()));
    row("CPU seconds a minute", &|cost| format!("{:.2}", cost.cpu));
    row("resident memory", &|cost| format!("{:.0} MiB", cost.memory));
    println!(
        "\nThe most resident memory ever: {:.0} MiB. Requests to the API server while rolled out:\n",
        load.peak_memory
    );
    for (what, count) in &load.running.requests {
        println!("- {what}: {count}");
    }
}

fn from_environment<T: std::str::FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
        Err(_) => Ok(default),
    }
}
