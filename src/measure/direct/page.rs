//! Reads the page of one pod, within bounds: of time, of size, and of pages at once. Pods are anyone's code, so nothing that
//! they answer is followed, kept or repeated.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use reqwest::{Response, Url, redirect};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::exposition::Format;
use crate::config::PodEvidence;
use crate::measure::look::Missing;
use crate::measure::scrape::Failure;

/// In the order in which Prometheus asks for them, so that metrics have the names that they have there.
const FORMATS: &str = "application/openmetrics-text;version=1.0.0;q=0.9, application/openmetrics-text;version=0.0.1;q=0.8, \
                       text/plain;version=0.0.4;q=0.7, */*;q=0.1";

/// Is told of each page when it was read or could not be.
pub trait PageObserver: Send + Sync {
    /// A read that had this outcome.
    fn read(&self, outcome: Result<(), Missing>);
}

/// Nobody listens.
impl PageObserver for () {
    fn read(&self, _: Result<(), Missing>) {}
}

/// Reads pages of pods.
pub struct PageReader {
    http: reqwest::Client,
    turns: Semaphore,
    limits: PodEvidence,
    observer: Arc<dyn PageObserver>,
}

/// What a pod answered.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub(super) text: String,
    pub(super) format: Format,
}

impl PageReader {
    /// Reads within these limits. Nothing is read yet.
    ///
    /// # Errors
    /// When the system lets no HTTP client be made.
    pub fn new(limits: PodEvidence, observer: Arc<dyn PageObserver>) -> Result<Self, reqwest::Error> {
        // The client wants one although it never speaks TLS here. An error says that the process has one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("error-budget-gatekeeper/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A proxy of the surroundings would be asked for the pod's address, which may be another one there.
            .no_proxy()
            .tls_certs_only([])
            // Pods come and go: a connection of its own for each page is never one that is broken already.
            .pool_max_idle_per_host(0)
            .timeout(limits.timeout)
            .build()?;
        Ok(Self { http, turns: Semaphore::new(limits.concurrency), limits, observer })
    }

    /// The page at this address, or why it cannot be had until then.
    pub(super) async fn read(&self, url: &Url, deadline: Instant) -> Result<Page, Failure> {
        let read = timeout_at(deadline, async {
            // The semaphore lives as long as the reader and is never closed.
            let _turn = self.turns.acquire().await.map_err(|_| failed("the reader is closed"))?;
            self.fetch(url).await
        });
        let late = || Failure::new(Missing::TimedOut, "no whole answer before the next look was due");
        let page = read.await.unwrap_or_else(|_| Err(late()));
        self.observer.read(page.as_ref().map(|_| ()).map_err(|failure| failure.why));
        page
    }

    async fn fetch(&self, url: &Url) -> Result<Page, Failure> {
        let request = self.http.get(url.clone()).header(ACCEPT, FORMATS);
        let response = request.send().await.map_err(|error| unanswered(&error, self.limits.timeout))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(failed(&format!("HTTP {status}: redirects are not followed; write the final path")));
        }
        if !status.is_success() {
            return Err(failed(&format!("HTTP {status}")));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let format = Format::of_content_type(header(CONTENT_TYPE).unwrap_or_default());
        let ends_by_itself = header(CONTENT_LENGTH).is_some() || header(TRANSFER_ENCODING).is_some();
        let text = String::from_utf8(self.body(response).await?).map_err(|_| failed("the page is no text"))?;
        // A number that is cut off is a smaller one: later it would look like requests that never were.
        if !ends_by_itself && !text.ends_with('\n') {
            return Err(failed("the page was cut off: its last line does not end"));
        }
        Ok(Page { text, format })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let (limit, timeout) = (self.limits.max_response_bytes, self.limits.timeout);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error, timeout))? {
            if body.len() + chunk.len() > limit {
                let message = format!(
                    "the page is larger than {limit} bytes; raise podEvidence.maxResponseBytes in the operator's \
                     configuration if it should be"
                );
                return Err(failed(&message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn failed(message: &str) -> Failure {
    Failure::new(Missing::QueryFailed, message)
}

/// Why there was no answer, or not all of one. Nothing of what the pod said is in it.
fn unanswered(error: &reqwest::Error, timeout: Duration) -> Failure {
    if error.is_timeout() {
        Failure::new(Missing::TimedOut, format!("no whole answer within {timeout:?}"))
    } else if error.is_connect() {
        Failure::new(Missing::Unreachable, "it cannot be connected to")
    } else {
        Failure::new(Missing::Unreachable, "it broke the connection off, or does not speak HTTP")
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
