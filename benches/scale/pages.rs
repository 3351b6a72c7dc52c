//! What Prometheus scrapes: the counters of all pods of the Deployments that are released to, on one page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use axum::Router;
use axum::routing::get;
use gatekeeper::measure::pods::SUFFIX_ALPHABET;
use tokio::task::JoinHandle;

use crate::controller::{CANARY, STABLE, Version};
use crate::fleet::{PODS, name, namespace};

/// Requests a second to each pod.
const RATE: f64 = 10.0;
/// Half of the budget of a target of 99.9 %.
const ERROR_RATIO: f64 = 0.0005;

/// How many canary pods each Deployment has, by its name, and since when.
pub(crate) struct CanaryPods(Mutex<BTreeMap<String, (u32, Instant)>>);

impl CanaryPods {
    /// So many pods begin to serve. False when they do already.
    pub(crate) fn appear(&self, deployment: &str, pods: u32) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !all.contains_key(deployment);
        all.entry(deployment.to_owned()).or_insert((pods, Instant::now()));
        is_new
    }

    /// How many there are.
    pub(crate) fn of(&self, deployment: &str) -> u32 {
        self.since(deployment).map_or(0, |(pods, _)| pods)
    }

    fn since(&self, deployment: &str) -> Option<(u32, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(deployment).copied()
    }
}

/// Serves until it is dropped.
pub(crate) struct Pages {
    pods: Arc<CanaryPods>,
    target: String,
    serving: JoinHandle<()>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Pages {
    /// The counters of the first so many Deployments, which begin to serve now.
    pub(crate) async fn serve(deployments: usize) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let pods = Arc::new(CanaryPods(Mutex::default()));
        let (canaries, began) = (pods.clone(), Instant::now());
        let page = move || std::future::ready(exposition(deployments, began, &canaries));
        let router = Router::new().route("/metrics", get(page));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("  the page of metrics ended: {error}");
            }
        });
        Ok(Self { pods, target, serving })
    }

    /// The pods on the page.
    pub(crate) fn pods(&self) -> Arc<CanaryPods> {
        self.pods.clone()
    }

    /// Where Prometheus finds it.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

fn exposition(deployments: usize, began: Instant, canaries: &CanaryPods) -> String {
    let mut text = "# TYPE http_requests_total counter\n".to_owned();
    for number in 0..deployments {
        let canary = canaries.since(&name(number)).map(|(pods, since)| (&CANARY, pods, since));
        for (version, pods, since) in [(&STABLE, PODS, began)].into_iter().chain(canary) {
            for pod in 0..pods {
                write_pod(&mut text, number, version, pod, since);
            }
        }
    }
    text
}

/// Errors come evenly, and at different times from pod to pod.
fn write_pod(text: &mut String, number: usize, version: &Version, pod: u32, since: Instant) {
    let requests = (RATE * since.elapsed().as_secs_f64()).floor();
    let golden = f64::from(number as u32 * (PODS + 1) + pod) * 0.618_033_988_75;
    let errors = (requests * ERROR_RATIO + golden.fract()).floor();
    let letter = SUFFIX_ALPHABET.chars().nth(pod as usize % SUFFIX_ALPHABET.len()).unwrap_or('x');
    let labels =
        format!("namespace=\"{}\",pod=\"{}-{letter}4q7z\"", namespace(number), version.replica_set(&name(number)));
    for (code, count) in [("200", requests - errors), ("500", errors)] {
        let _ = writeln!(text, "http_requests_total{{{labels},code=\"{code}\"}} {count}");
    }
}
