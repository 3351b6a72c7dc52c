//! What the service counts of itself, by the names that most services use, and what its users count.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::load::Outcome;

/// Upper bounds, in seconds: those that client libraries have by default.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What pages are written in.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `http_requests_total{code}` and `http_request_duration_seconds`.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<[(&'static str, String); 1], Counter>,
    duration: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<[(&'static str, String); 1], Counter>::default();
        let duration = Histogram::new(BOUNDS);
        registry.register("http_requests", "Requests answered, by status code", requests.clone());
        registry.register("http_request_duration_seconds", "Time until the answer was ready", duration.clone());
        // There from the first scrape on, so that the first requests are an increase.
        let _ = requests.get_or_create(&[("code", "200".to_owned())]);
        Self { registry, requests, duration }
    }

    pub(crate) fn answered(&self, code: u16, seconds: f64) {
        self.requests.get_or_create(&[("code", code.to_string())]).inc();
        self.duration.observe(seconds);
    }

    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("a string takes everything");
        page
    }
}

/// What users count: `client_requests_total{outcome}`, with a status code, or what went wrong in place of an answer.
#[derive(Debug)]
pub struct UsersMetrics {
    registry: Registry,
    requests: Family<[(&'static str, String); 1], Counter>,
}

impl UsersMetrics {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<[(&'static str, String); 1], Counter>::default();
        registry.register("client_requests", "Requests made, by what came of them", requests.clone());
        let _ = requests.get_or_create(&[("outcome", "200".to_owned())]);
        Self { registry, requests }
    }

    /// Counts one.
    pub fn count(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Status(code) => code.to_string(),
            Outcome::Error(failure) => format!("{failure:?}").to_lowercase(),
        };
        self.requests.get_or_create(&[("outcome", outcome)]).inc();
    }

    fn page(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("a string takes everything");
        page
    }
}

impl Default for UsersMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves what users counted, at `/metrics`.
///
/// # Errors
/// When it cannot listen.
pub async fn serve_users(listen: SocketAddr, metrics: Arc<UsersMetrics>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let page = move || std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], metrics.page()));
    axum::serve(listener, Router::new().route("/metrics", get(page))).await.context("serve the users' metrics")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Failure;

    #[test]
    fn users_count_answers_by_code_and_failures_by_name() {
        let metrics = UsersMetrics::new();
        metrics.count(Outcome::Status(500));
        metrics.count(Outcome::Error(Failure::Refused));
        let page = metrics.page();
        assert!(page.contains("client_requests_total{outcome=\"500\"} 1"), "{page}");
        assert!(page.contains("client_requests_total{outcome=\"refused\"} 1"), "{page}");
    }

    #[test]
    fn a_page_has_the_usual_names() {
        let metrics = Metrics::new();
        metrics.answered(503, 0.2);
        let page = metrics.page();
        assert!(page.contains("http_requests_total{code=\"503\"} 1"), "{page}");
        assert!(page.contains("http_requests_total{code=\"200\"} 0"), "{page}");
        assert!(page.contains("http_request_duration_seconds_bucket{le=\"0.25\"} 1"), "{page}");
        assert!(page.contains("http_request_duration_seconds_bucket{le=\"0.1\"} 0"), "{page}");
    }
}
