//! The service: answers every request, as well or as badly as it is told to by environment variables.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::duration::parse_duration;
use crate::metrics::{Metrics, OPEN_METRICS};

/// Names the version that answered.
pub const VERSION_HEADER: &str = "x-version";
/// Names the pod that answered.
pub const POD_HEADER: &str = "x-pod";
const MEBIBYTE: usize = 1024 * 1024;
/// How often a leak takes some more.
const LEAK_TICK: Duration = Duration::from_millis(100);

/// How the service behaves. Everything can be said by an environment variable, as in a pod's template.
#[derive(Debug, Clone, Args)]
pub struct Behaviour {
    /// Where it listens
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// What it says it is, with every response
    #[arg(long, env = "VERSION", default_value = "v1")]
    pub version: String,
    /// The pod it says it runs in, with every response
    #[arg(long, env = "POD", default_value = "")]
    pub pod: String,
    /// Share of the requests that are answered with 500: from 0 to 1
    #[arg(long, env = "ERROR_RATIO", default_value = "0", value_parser = parse_ratio)]
    pub error_ratio: f64,
    /// Time until each answer
    #[arg(long, env = "DELAY", default_value = "2ms", value_parser = parse_duration)]
    pub delay: Duration,
    /// Memory that it takes and never gives back, in MiB a second
    #[arg(long, env = "LEAK", default_value_t = 0)]
    pub leak: usize,
    /// Ends with exit code 1 in place of answering this request: 1 is the first
    #[arg(long, env = "CRASH_AT")]
    pub crash_at: Option<u64>,
    /// From its start on it answers requests with 503 for so long
    #[arg(long, env = "START_UP", default_value = "0s", value_parser = parse_duration)]
    pub start_up: Duration,
    /// What /readyz says
    #[arg(long, env = "READINESS", value_enum, default_value = "honest")]
    pub readiness: Readiness,
    /// What it does when it is asked to end
    #[arg(long, env = "ENDING", value_enum, default_value = "graceful")]
    pub ending: Ending,
}

/// What a service says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Readiness {
    /// Ready once it has started up.
    Honest,
    /// Ready from the first moment on, although it has not started up.
    Lies,
    /// Never ready, although it would serve.
    Never,
}

/// How a service ends at SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ending {
    /// Accepts nothing new, and answers what it has accepted.
    Graceful,
    /// Ends at once, with whatever is under way.
    Abrupt,
}

fn parse_ratio(text: &str) -> Result<f64> {
    let ratio: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    ensure!((0.0..=1.0).contains(&ratio), "{text} is not from 0 to 1");
    Ok(ratio)
}

struct Service {
    behaviour: Behaviour,
    started: Instant,
    requests: AtomicU64,
    metrics: Metrics,
}

impl Service {
    fn has_started(&self) -> bool {
        self.started.elapsed() >= self.behaviour.start_up
    }

    fn is_ready(&self) -> bool {
        match self.behaviour.readiness {
            Readiness::Honest => self.has_started(),
            Readiness::Lies => true,
            Readiness::Never => false,
        }
    }
}

/// Serves until it is asked to end.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(behaviour: Behaviour) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener =
        TcpListener::bind(behaviour.listen).await.with_context(|| format!("listen on {}", behaviour.listen))?;
    let ending = behaviour.ending;
    if behaviour.leak > 0 {
        tokio::spawn(leak(behaviour.leak));
    }
    let serving = axum::serve(listener, router(behaviour)).with_graceful_shutdown(async move {
        terminate.recv().await;
        if ending == Ending::Abrupt {
            // Destructors would close what is under way in an orderly manner.
            std::process::exit(0);
        }
    });
    serving.await.context("serve")
}

fn router(behaviour: Behaviour) -> Router {
    let service =
        Arc::new(Service { behaviour, started: Instant::now(), requests: AtomicU64::new(0), metrics: Metrics::new() });
    Router::new()
        .route("/", get(answer))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(service)
}

async fn answer(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let began = Instant::now();
    let behaviour = &service.behaviour;
    let number = service.requests.fetch_add(1, Ordering::Relaxed) + 1;
    if behaviour.crash_at.is_some_and(|at| number >= at) {
        std::process::exit(1);
    }
    tokio::time::sleep(behaviour.delay).await;
    let status = if !service.has_started() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if rand::random_bool(behaviour.error_ratio) {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    service.metrics.answered(status.as_u16(), began.elapsed().as_secs_f64());
    let headers = [(VERSION_HEADER, behaviour.version.clone()), (POD_HEADER, behaviour.pod.clone())];
    (status, headers, format!("{}\n", status.as_u16()))
}

async fn readiness(State(service): State<Arc<Service>>) -> StatusCode {
    if service.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], service.metrics.page())
}

/// Takes so many MiB a second and keeps them.
async fn leak(mebibytes: usize) -> Infallible {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let started = Instant::now();
    let mut taken = 0;
    loop {
        let wanted =
            usize::try_from(started.elapsed().as_millis()).unwrap_or(usize::MAX).saturating_mul(mebibytes) / 1000;
        // Written to, so that it is really there.
        kept.extend((taken..wanted).map(|_| vec![1; MEBIBYTE]));
        taken = wanted.max(taken);
        tokio::time::sleep(LEAK_TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        behaviour: Behaviour,
    }

    fn service(arguments: &[&str]) -> Service {
        let arguments = ["workload"].iter().chain(arguments);
        let behaviour = Arguments::try_parse_from(arguments).expect("valid arguments").behaviour;
        Service { behaviour, started: Instant::now(), requests: AtomicU64::new(0), metrics: Metrics::new() }
    }

    #[test]
    fn a_slow_start_shows_in_readiness_unless_it_lies() {
        assert!(!service(&["--start-up=1m"]).is_ready());
        assert!(service(&["--start-up=1m", "--readiness=lies"]).is_ready());
        assert!(service(&[]).is_ready());
        assert!(!service(&["--readiness=never"]).is_ready());
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        assert!(parse_ratio("0.05").is_ok_and(|ratio| ratio == 0.05));
        assert!(parse_ratio("5").is_err());
        assert!(parse_ratio("NaN").is_err());
    }
}
