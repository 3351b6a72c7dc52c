//! `/healthz`, `/readyz` and `/metrics`.

mod bounded;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::record::metrics::Metrics;
use bounded::Bounded;

/// What must be there before this replica can do its work, or take it over from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The API server knows `ErrorBudgetPolicy`.
    Crd,
    /// Deployments and policies have been listed once.
    Caches,
    /// A Prometheus endpoint has answered once.
    Prometheus,
    /// The Lease was seen: we lead, or we stand by.
    Lease,
}

impl Gate {
    const ALL: [Self; 4] = [Self::Crd, Self::Caches, Self::Prometheus, Self::Lease];

    const fn name(self) -> &'static str {
        match self {
            Self::Crd => "crd",
            Self::Caches => "caches",
            Self::Prometheus => "prometheus",
            Self::Lease => "lease",
        }
    }

    /// What to look at when it stays closed.
    const fn waiting_for(self) -> &'static str {
        match self {
            Self::Crd => {
                "the API server does not serve errorbudgetpolicies.errorbudget.dev yet; install the CRDs (see the log)"
            }
            Self::Caches => {
                "Deployments and policies have not been listed yet; check the operator's rights (see the log)"
            }
            Self::Prometheus => {
                "no Prometheus endpoint has answered yet; check their addresses and credentials in the configuration \
                 (see the log)"
            }
            Self::Lease => "the Lease could not be read yet; check the operator's rights (see the log)",
        }
    }
}

/// Which gates have been passed. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<[AtomicBool; 4]>);

impl Readiness {
    /// The gate is passed.
    pub fn set(&self, gate: Gate) {
        self.0[gate as usize].store(true, Ordering::Relaxed);
    }

    /// The gate is closed again.
    pub fn clear(&self, gate: Gate) {
        self.0[gate as usize].store(false, Ordering::Relaxed);
    }

    /// Whether it is passed.
    #[must_use]
    pub fn is_set(&self, gate: Gate) -> bool {
        self.0[gate as usize].load(Ordering::Relaxed)
    }

    /// The answer of `/readyz`: one line a gate.
    fn page(&self) -> (StatusCode, String) {
        let line = |gate: Gate| match self.is_set(gate) {
            true => format!("{}: ok\n", gate.name()),
            false => format!("{}: waiting: {}\n", gate.name(), gate.waiting_for()),
        };
        let ready = Gate::ALL.into_iter().all(|gate| self.is_set(gate));
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, Gate::ALL.into_iter().map(line).collect())
    }
}

/// Proof that the main loop still turns. Clones share it.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    last: Arc<AtomicU64>,
    limit: Duration,
}

impl Heartbeat {
    /// A loop that beats now, and counts as stuck when it has not for `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { start: Instant::now(), last: Arc::default(), limit }
    }

    /// The loop turned.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// The answer of `/healthz`.
    fn page(&self) -> (StatusCode, String) {
        let silent = self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
        if silent <= self.limit {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            let (silent, limit) = (silent.as_secs(), self.limit.as_secs());
            let text = format!("the main loop has not turned for {silent} s; the limit is {limit} s\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

/// What the pages are made of.
#[derive(Debug, Clone)]
pub struct Pages {
    /// `/healthz`.
    pub heartbeat: Heartbeat,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Answers on `listener` until `shutdown`.
///
/// At most 64 connections at a time, each for one request and at most 10 s, so that slow or many clients can neither
/// hold memory nor keep the kubelet's probes waiting for long.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(Bounded::new(listener), router(pages)).with_graceful_shutdown(shutdown).await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(async |State(pages): State<Pages>| pages.heartbeat.page()))
        .route("/readyz", get(async |State(pages): State<Pages>| pages.readiness.page()))
        .route("/metrics", get(async |State(pages): State<Pages>| metrics_page(&pages.metrics)))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n"))
        .layer(axum::middleware::map_response(one_request_a_connection))
        .with_state(pages)
}

async fn one_request_a_connection(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn metrics_page(metrics: &Metrics) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    fn pages(limit: Duration) -> Pages {
        Pages {
            heartbeat: Heartbeat::new(limit),
            readiness: Readiness::default(),
            metrics: Arc::new(Metrics::new(|| false)),
        }
    }

    /// Serves `pages`, asks for `path` and gives the whole answer.
    async fn answer(pages: Pages, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, pages, async {
            let _ = stopped.await;
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n").as_bytes()).await.unwrap();
        // Without `Connection: close` in the answer this would wait for ever.
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        text
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn readiness_names_what_is_missing_and_what_to_do() {
        let pages = pages(MINUTE);
        pages.readiness.set(Gate::Crd);
        pages.readiness.set(Gate::Caches);
        pages.readiness.set(Gate::Lease);
        let text = answer(pages.clone(), "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        assert!(
            text.contains("crd: ok\ncaches: ok\nprometheus: waiting: no Prometheus endpoint has answered"),
            "{text}"
        );

        pages.readiness.set(Gate::Prometheus);
        let text = answer(pages.clone(), "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");

        pages.readiness.clear(Gate::Crd);
        assert!(answer(pages, "/readyz").await.starts_with("HTTP/1.1 503"));
    }

    #[tokio::test]
    async fn a_main_loop_that_stopped_turning_is_not_healthy() {
        assert!(answer(pages(MINUTE), "/healthz").await.starts_with("HTTP/1.1 200"));

        let stuck = pages(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        let text = answer(stuck.clone(), "/healthz").await;
        assert!(text.starts_with("HTTP/1.1 500") && text.contains("has not turned for"), "{text}");
    }

    #[test]
    fn a_beat_makes_it_healthy_again() {
        let heartbeat = Heartbeat::new(Duration::from_millis(200));
        std::thread::sleep(Duration::from_millis(220));
        assert_eq!(heartbeat.page().0, StatusCode::INTERNAL_SERVER_ERROR);
        heartbeat.beat();
        assert_eq!(heartbeat.page().0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_text() {
        let text = answer(pages(MINUTE), "/metrics").await;
        assert!(text.contains("content-type: application/openmetrics-text"), "{text}");
        assert!(text.contains("errorbudget_gatekeeper_leader 0"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn other_paths_are_told_which_there_are() {
        let text = answer(pages(MINUTE), "/").await;
        assert!(text.starts_with("HTTP/1.1 404") && text.contains("/readyz"), "{text}");
    }
}
