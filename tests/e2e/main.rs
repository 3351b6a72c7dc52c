//! The operator in a cluster, from its image and its chart, with real containers and real traffic: `make e2e`.
//!
//! Needs root and Linux namespaces; where they are not to be had, every scenario is printed as skipped, with why. One node (or
//! two) with the real kubelet, containerd and kube-proxy runs in namespaces of its own, with everything else: the control
//! plane, Prometheus and the operator in pods, load that goes through ClusterIPs. When this program ends, all of it is gone.
//!
//! `make e2e E2E=rolled_back` runs the scenarios whose names contain that.

mod ground;
mod images;
mod measured;
mod metrics_api;
mod policy;
mod responses;
mod scenarios;
mod shop;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{self, StreamExt};
use testbed::real::{self, Entered};

use ground::Ground;
use images::Images;

/// How many scenarios are under way at once: each mostly waits.
const AT_ONCE: usize = 5;

/// One story, whose name is a sentence.
struct Scenario {
    name: &'static str,
    company: Company,
    run: for<'a> fn(&'a Ground) -> LocalBoxFuture<'a, Result<()>>,
}

/// Which scenarios a scenario can share the cluster with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    /// All that come before it and after it.
    Any,
    /// None: it breaks what the others stand on.
    None,
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    match run(&wanted) {
        Ok(code) => code,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &[String]) -> Result<ExitCode> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    let mut scenarios = scenarios::all();
    // The first installs what the others need.
    let first = scenarios.first().map_or("", |scenario| scenario.name);
    scenarios.retain(|scenario| scenario.name == first || is_wanted(scenario.name));
    if let Entered::Unsupported(why) = real::enter()? {
        for scenario in &scenarios {
            println!("skipped  {}: {why}", scenario.name);
        }
        println!("\n0 passed, 0 failed, {} skipped", scenarios.len());
        return Ok(ExitCode::SUCCESS);
    }
    let images = Images::make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(tell(&images, &scenarios))
}

async fn tell(images: &Images, scenarios: &[Scenario]) -> Result<ExitCode> {
    let began = Instant::now();
    let ground = Ground::start(images).await.context("a cluster with the operator in it")?;
    println!("ready    nodes, with all images, after {} s", began.elapsed().as_secs());
    let (mut passed, mut failed) = (0, 0);
    for group in scenarios.chunk_by(|one, other| one.company == Company::Any && other.company == Company::Any) {
        let ended: Vec<bool> =
            stream::iter(group).map(|scenario| passes(scenario, &ground)).buffer_unordered(AT_ONCE).collect().await;
        failed += ended.iter().filter(|passed| !**passed).count();
        passed += ended.iter().filter(|passed| **passed).count();
        if passed == 0 {
            // Nothing is installed.
            break;
        }
    }
    if failed > 0 {
        println!("{}", ground.story().await);
    }
    print!("{}", ground.measured());
    println!("\n{passed} passed, {failed} failed, {} skipped", scenarios.len() - passed - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one scenario and prints how it went.
async fn passes(scenario: &Scenario, ground: &Ground) -> bool {
    let began = Instant::now();
    let ended = AssertUnwindSafe((scenario.run)(ground)).catch_unwind().await;
    let ended = ended.unwrap_or_else(|_| Err(anyhow!("an assertion failed: it is told above")));
    let seconds = began.elapsed().as_secs();
    match &ended {
        Ok(()) => println!("ok       {} ({seconds} s)", scenario.name),
        Err(error) => println!("FAILED   {} ({seconds} s): {error:#}", scenario.name),
    }
    ended.is_ok()
}
