//! Keeps a testbed running for a person to try things on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::real::{self, Entered, RealCluster, RealOptions};
use testbed::tools::tools;
use testbed::traffic::{BAD_AFTER, BAD_ERROR_RATIO, BURST, ERROR_RATIO, LATENCY_MS};
use testbed::traffic::{TrafficOptions, TrafficPlan, TrafficSimulator};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How often it is looked whether all components run.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Parser)]
#[command(about = "A real Kubernetes control plane in a temporary folder")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the programs of the control plane, if they are not in the cache
    Build {
        /// Build those of real nodes, too
        #[arg(long)]
        real: bool,
    },
    /// Start a control plane and keep it until Ctrl-C
    Up {
        /// With real nodes that run real containers, in namespaces of their own: needs root
        #[arg(long, conflicts_with_all = ["pod_ready_delay", "pod_ready_jitter", "traffic", "scrape_interval"])]
        real: bool,
        /// Shortest time from a container's start to its pod's readiness, such as 500ms or 2s
        #[arg(long, default_value = "1s", value_parser = parse_duration)]
        pod_ready_delay: Duration,
        /// How much longer it may take, drawn for each pod
        #[arg(long, default_value = "1s", value_parser = parse_duration)]
        pod_ready_jitter: Duration,
        /// Number of nodes
        #[arg(long, default_value_t = 2)]
        nodes: usize,
        /// Simulated requests per second to the pods of a Deployment, such as shop/checkout=100; may be repeated
        #[arg(long, value_name = "NAMESPACE/DEPLOYMENT=RATE", value_parser = parse_traffic)]
        traffic: Vec<Traffic>,
        /// Time between two scrapes of the Prometheus that reads the simulated traffic
        #[arg(long, default_value = "5s", value_parser = parse_duration)]
        scrape_interval: Duration,
    },
}

/// Simulated load on one Deployment.
#[derive(Clone)]
struct Traffic {
    namespace: String,
    deployment: String,
    requests_per_second: f64,
}

fn main() -> Result<()> {
    // The start asks a server that is not up yet whether it is, which the client would log as errors.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,kube_client::client=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Arguments::parse().command {
        Task::Build { real } => {
            let mut folders = vec![folder_of(&tools()?.kubectl)];
            if real {
                folders.push(real::tools()?.network_plugins);
            }
            folders.iter().for_each(|folder| println!("{}", folder.display()));
            Ok(())
        }
        Task::Up { real: true, nodes, .. } => {
            if let Entered::Unsupported(why) = real::enter()? {
                bail!(why);
            }
            runtime()?.block_on(up_real(RealOptions { nodes, ..RealOptions::default() }))
        }
        Task::Up { pod_ready_delay, pod_ready_jitter, nodes, traffic, scrape_interval, .. } => {
            // Before signals are listened for, so that Ctrl-C ends a long build at once.
            tools()?;
            let pod_ready_delay = pod_ready_delay..=pod_ready_delay + pod_ready_jitter;
            let options = ClusterOptions { pod_ready_delay, nodes, ..ClusterOptions::default() };
            runtime()?.block_on(up(options, traffic, scrape_interval))
        }
    }
}

fn runtime() -> Result<Runtime> {
    Runtime::new().context("start the runtime")
}

fn folder_of(program: &Path) -> PathBuf {
    program.parent().unwrap_or(program).to_owned()
}

/// Ends with the machine, which Ctrl-C ends from outside.
async fn up_real(options: RealOptions) -> Result<()> {
    let started = Instant::now();
    let cluster = RealCluster::start(options).await?;
    announce_real(&cluster, started.elapsed())?;
    loop {
        cluster.ensure_running()?;
        tokio::time::sleep(LOOK).await;
    }
}

fn announce_real(cluster: &RealCluster, took: Duration) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "# Kubernetes with real nodes is up after {:.1} s. In another shell, as root:", took.as_secs_f64())?;
    write!(out, "{} env", real::how_to_join()?)?;
    for (name, value) in cluster.control_plane().command_environment() {
        write!(out, " {name}='{}'", value.display())?;
    }
    writeln!(out, " PATH='{}':\"$PATH\" bash", folder_of(&cluster.tools().kubectl).display())?;
    writeln!(out, "# There kubectl and helm talk to it, and curl reaches Services and pods by address and by name.")?;
    writeln!(
        out,
        "# An image of yours: '{}' --address {}/node-1/containerd.sock --namespace k8s.io images import FILE.tar",
        real::tools()?.ctr.display(),
        cluster.dir().display()
    )?;
    writeln!(out, "# Logs: {0}/*.log and {0}/node-1/*.log", cluster.dir().display())?;
    writeln!(out, "# Ctrl-C ends it and removes everything.")?;
    out.flush().context("print how to use the testbed")
}

async fn up(options: ClusterOptions, traffic: Vec<Traffic>, scrape_interval: Duration) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let run = async {
        let started = Instant::now();
        let cluster = Cluster::start(options).await?;
        let plan = traffic.iter().fold(TrafficPlan::new(), |plan, load| {
            plan.with(&load.namespace, &load.deployment, load.requests_per_second)
        });
        let simulator = TrafficSimulator::start(cluster.client(), plan, TrafficOptions::default()).await?;
        let scraping = PrometheusOptions::scraping(simulator.target()).every(scrape_interval);
        let prometheus = PrometheusServer::start(&cluster.tools().prometheus, &scraping).await?;
        announce(&cluster, &prometheus, started.elapsed())?;
        let failure = first_failure(&cluster, &prometheus).await;
        Err(failure)
    };
    tokio::select! {
        () = stopped => Ok(()),
        failed = run => failed,
    }
}

fn announce(cluster: &Cluster, prometheus: &PrometheusServer, took: Duration) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "# Kubernetes is up after {:.1} s. In another shell:", took.as_secs_f64())?;
    for (name, value) in cluster.command_environment() {
        writeln!(out, "export {name}='{}'", value.display())?;
    }
    let tools = cluster.tools();
    writeln!(out, "alias kubectl='{}'", tools.kubectl.display())?;
    writeln!(out, "alias helm='{}'", tools.helm.display())?;
    writeln!(out, "# Prometheus: {}", prometheus.url())?;
    writeln!(
        out,
        "# Pods of Deployments named with --traffic serve simulated requests. How they do it stands in annotations"
    )?;
    writeln!(out, "# of the pod template: {ERROR_RATIO}, {BAD_AFTER} with {BAD_ERROR_RATIO}, {BURST}, {LATENCY_MS}")?;
    writeln!(out, "# Logs: {}/*.log", cluster.dir().display())?;
    writeln!(out, "# Ctrl-C ends it and removes everything.")?;
    out.flush().context("print how to use the testbed")
}

/// Waits until a component ends that nobody asked to end, and says why it did.
async fn first_failure(cluster: &Cluster, prometheus: &PrometheusServer) -> anyhow::Error {
    loop {
        for process in cluster.processes().into_iter().chain([prometheus.process()]) {
            if let Err(error) = process.ensure_running() {
                return error;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn parse_traffic(text: &str) -> Result<Traffic> {
    let parse = || {
        let (name, rate) = text.split_once('=')?;
        let (namespace, deployment) = name.split_once('/')?;
        let requests_per_second = rate.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)?;
        Some(Traffic { namespace: namespace.to_owned(), deployment: deployment.to_owned(), requests_per_second })
    };
    parse().with_context(|| format!("{text:?} is not of the form shop/checkout=100"))
}

fn parse_duration(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|character: char| character.is_alphabetic()).unwrap_or(text.len()));
    let number: u64 = number.parse().with_context(|| format!("{text:?} is not a duration such as 500ms or 2s"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => bail!("{text:?} needs a unit, ms or s"),
    }
}
