//! Simulated traffic: every Ready pod of a Deployment gets its share of a request rate and its errors and latencies
//! are served for Prometheus to scrape, as if the pods were real.
//!
//! What a pod does with its requests is said by annotations on the Deployment's pod template (see [`PodBehaviour`]),
//! so that a bad release is just another template. The draws are seeded; time is the wall clock, cut into ticks.

mod behaviour;
mod exposition;
mod fleet;
mod latency;
mod pages;
mod simulation;
mod watch;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use behaviour::{
    BAD_AFTER, BAD_ERROR_RATIO, BURST, ERROR_RATIO, LATENCY_MS, LATENCY_SIGMA, Latency, PodBehaviour, TurnsBad,
};
pub use fleet::DeploymentKey;
use fleet::Fleet;
use pages::Pages;
pub use simulation::PodSimulation;

/// Requests per second of each Deployment at the start. Deployments without an entry get no traffic and no series.
#[derive(Debug, Clone, Default)]
pub struct TrafficPlan {
    rates: BTreeMap<DeploymentKey, f64>,
}

impl TrafficPlan {
    /// A plan without any traffic.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a Deployment and the requests per second its pods share.
    ///
    /// # Panics
    /// When the rate is negative or not finite.
    #[must_use]
    pub fn with(mut self, namespace: &str, deployment: &str, requests_per_second: f64) -> Self {
        let key = DeploymentKey::new(namespace, deployment);
        self.rates.insert(key, checked_rate(requests_per_second));
        self
    }
}

/// How the simulator runs.
#[derive(Debug, Clone)]
pub struct TrafficOptions {
    /// Same seed, pod names and ticks: same draws.
    pub seed: u64,
    /// Time between two draws, above 0.
    pub tick: Duration,
    /// Namespaces whose pods are watched; empty: all.
    pub namespaces: Vec<String>,
    /// Whether latencies are served. Without them many thousands of pods stay cheap to scrape (3 series a pod, not 17).
    pub histograms: bool,
}

impl Default for TrafficOptions {
    fn default() -> Self {
        Self { seed: 1, tick: Duration::from_millis(100), namespaces: Vec::new(), histograms: true }
    }
}

/// The running simulator. Dropping it ends the traffic and closes its port.
#[derive(Debug)]
pub struct TrafficSimulator {
    handle: TrafficHandle,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl TrafficSimulator {
    /// Starts to watch pods, to draw their traffic, and to serve `/metrics` on a free port.
    ///
    /// # Errors
    /// When no port can be opened. A cluster that cannot be reached (yet) is no error: it is tried again.
    pub async fn start(client: Client, plan: TrafficPlan, options: TrafficOptions) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new(options.seed);
        for (key, rate) in plan.rates {
            fleet.set_rate(key, rate);
        }
        let fleet = Arc::new(Mutex::new(fleet));
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port for the traffic simulator")?;
        let address = listener.local_addr()?;

        let pages = || Pages::new(fleet.clone(), address.port(), options.histograms);
        let mut tasks = JoinSet::new();
        if options.namespaces.is_empty() {
            tasks.spawn(watch::follow(client, None, fleet.clone(), pages()));
        } else {
            for namespace in options.namespaces {
                tasks.spawn(watch::follow(client.clone(), Some(namespace), fleet.clone(), pages()));
            }
        }
        tasks.spawn(keep_advancing(fleet.clone(), options.tick));
        tasks.spawn(serve(listener, fleet.clone(), options.histograms));
        Ok(Self { handle: TrafficHandle { fleet }, address, _tasks: tasks })
    }

    /// Changes and reads the traffic while it runs.
    pub fn handle(&self) -> TrafficHandle {
        self.handle.clone()
    }

    /// Host and port to scrape, such as `127.0.0.1:40123`; the path is `/metrics`.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// The port at which pods have a page of their own, `/metrics` at their own address, when their annotation
    /// `prometheus.io/port` names it.
    pub fn pod_port(&self) -> u16 {
        self.address.port()
    }
}

/// Changes and reads the traffic of a running [`TrafficSimulator`].
#[derive(Debug, Clone)]
pub struct TrafficHandle {
    fleet: Arc<Mutex<Fleet>>,
}

/// What one pod has really counted: the truth that measurements are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTraffic {
    /// Name of the pod.
    pub name: String,
    /// Whether it gets traffic now.
    pub ready: bool,
    /// Requests since it became Ready or its container restarted, failed ones included.
    pub requests: u64,
    /// Failed requests among them.
    pub errors: u64,
}

impl TrafficHandle {
    /// Sets the requests per second the Deployment's Ready pods share; 0 keeps the series and stops their growth.
    ///
    /// # Panics
    /// When the rate is negative or not finite.
    pub fn set_rate(&self, namespace: &str, deployment: &str, requests_per_second: f64) {
        let key = DeploymentKey::new(namespace, deployment);
        self.fleet().set_rate(key, checked_rate(requests_per_second));
    }

    /// Ends the Deployment's traffic and takes its series away although the pods stay, as a broken exporter does.
    /// With the next [`set_rate`](Self::set_rate) its pods start again, at zero and at age zero.
    pub fn remove(&self, namespace: &str, deployment: &str) {
        self.fleet().remove_rate(&DeploymentKey::new(namespace, deployment));
    }

    /// Makes this share of the requests of all pods of the Deployment fail, on top of their own errors, until it is
    /// set to none: an outage of something they all depend on.
    ///
    /// # Panics
    /// When the ratio is not between 0 and 1.
    pub fn set_outage(&self, namespace: &str, deployment: &str, error_ratio: Option<f64>) {
        let error_ratio = error_ratio.unwrap_or(0.0);
        assert!((0.0..=1.0).contains(&error_ratio), "{error_ratio} is no error ratio");
        let key = DeploymentKey::new(namespace, deployment);
        self.fleet().set_outage(key, error_ratio);
    }

    /// Takes the pod from what Prometheus scrapes, or gives it back. It serves on.
    pub fn set_scraped(&self, namespace: &str, pod: &str, scraped: bool) {
        self.fleet().set_scraped(namespace, pod, scraped);
    }

    /// Sets the pod's counters to zero, as the restart of its container does; false when the pod has no counters.
    #[must_use]
    pub fn restart_container(&self, namespace: &str, pod: &str) -> bool {
        self.fleet().restart(namespace, pod)
    }

    /// The Deployment's pods that have counters, by name.
    pub fn pods(&self, namespace: &str, deployment: &str) -> Vec<PodTraffic> {
        let key = DeploymentKey::new(namespace, deployment);
        self.fleet()
            .pods_of(&key)
            .map(|(name, ready, pod)| PodTraffic {
                name: name.to_owned(),
                ready,
                requests: pod.requests(),
                errors: pod.errors(),
            })
            .collect()
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        locked(&self.fleet)
    }
}

/// A test that panicked with the lock held must not hide its message behind a second panic.
fn locked(fleet: &Mutex<Fleet>) -> MutexGuard<'_, Fleet> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

fn checked_rate(requests_per_second: f64) -> f64 {
    assert!(requests_per_second.is_finite() && requests_per_second >= 0.0, "{requests_per_second} is no request rate");
    requests_per_second
}

/// Delays of up to this many ticks are made up for tick by tick, so that a busy machine draws the same numbers;
/// longer ones in one step, so that it does not fall further behind.
const MOST_SINGLE_TICKS: u32 = 20;

async fn keep_advancing(fleet: Arc<Mutex<Fleet>>, tick: Duration) {
    let began = Instant::now();
    let mut done: u32 = 0;
    loop {
        tokio::time::sleep_until(began + tick * (done + 1)).await;
        let due = (began.elapsed().as_secs_f64() / tick.as_secs_f64()) as u32;
        let missing = due.saturating_sub(done);
        let mut fleet = locked(&fleet);
        if missing <= MOST_SINGLE_TICKS {
            (0..missing).for_each(|_| fleet.advance(tick));
        } else {
            fleet.advance(tick * missing);
        }
        done += missing;
    }
}

async fn serve(listener: TcpListener, fleet: Arc<Mutex<Fleet>>, histograms: bool) {
    let metrics = async move || {
        let text = exposition::render(&locked(&fleet), histograms);
        ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
    };
    let router = Router::new().route("/metrics", get(metrics));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the traffic simulator no longer serves metrics");
    }
}
