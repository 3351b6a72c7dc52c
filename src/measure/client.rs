//! Asks one Prometheus server, within bounds: of time on both sides, of queries at once, and of the size of an answer.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_http_query::Error;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, redirect};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer;
pub use super::answer::{Point, Series};
use super::look::Missing;
use super::scrape::Failure;
use super::slos::{self, Rule, Rules};
use crate::config::{Endpoint, PodLabels, SecretError};

/// Queries longer than this are sent in the body: not every proxy takes long addresses.
const LONGEST_IN_ADDRESS: usize = 1500;

/// How long credentials are used before their files are read again.
const REREAD_AFTER: Duration = Duration::from_secs(60);

/// Why a client for an endpoint cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// One of its files cannot be used.
    #[error(transparent)]
    File(#[from] SecretError),
    /// TLS cannot be set up; without a CA file most often because the system has no certificates.
    #[error("cannot set up TLS: {}; name the server's certificates in caFile", chain(.0))]
    Tls(#[source] reqwest::Error),
    /// Its address or its credentials cannot be made into a request; the configuration refuses them before.
    #[error("cannot ask the endpoint: {0}")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryKind {
    /// At one time.
    Instant,
    /// At many.
    Range,
    /// No query: which rules there are.
    Rules,
}

impl QueryKind {
    /// As a metric's label has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Range => "range",
            Self::Rules => "rules",
        }
    }
}

/// Is told of each query when it is over.
pub trait QueryObserver: Send + Sync {
    /// A query to `endpoint` took this long, without the time it waited for its turn, and had this outcome. One that was given
    /// up before it was over is `TimedOut`.
    fn queried(&self, endpoint: &str, kind: QueryKind, took: Duration, outcome: Result<(), Missing>);
}

/// Nobody listens.
impl QueryObserver for () {
    fn queried(&self, _: &str, _: QueryKind, _: Duration, _: Result<(), Missing>) {}
}

/// A server that answers queries: the real one, or one of a test.
pub trait Queries: Send + Sync + 'static {
    /// How long one query may take, after which it has failed.
    fn timeout(&self) -> Duration;

    /// The value of an expression at a time, to the second.
    ///
    /// # Errors
    /// When the whole of the answer cannot be had; the failure says why.
    fn instant(&self, query: &str, at: Timestamp) -> impl Future<Output = Result<Vec<Series>, Failure>> + Send;

    /// The values of an expression from `start` to `end`, both included, `step` apart; all of them to the second.
    ///
    /// # Errors
    /// As of `instant`.
    fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> impl Future<Output = Result<Vec<Series>, Failure>> + Send;
}

/// A client of one endpoint of the configuration.
pub struct PrometheusClient {
    name: Arc<str>,
    endpoint: Endpoint,
    labels: PodLabels,
    turns: Semaphore,
    session: Mutex<Session>,
    observer: Arc<dyn QueryObserver>,
}

/// What was made from the endpoint's files, until they are read again.
#[derive(Clone)]
struct Session {
    http: reqwest::Client,
    api: prometheus_http_query::Client,
    authorization: Option<HeaderValue>,
    ca_pem: Option<Vec<u8>>,
    /// When to read the files again.
    until: Instant,
}

/// What is asked, and when: times and steps in whole seconds.
#[derive(Clone, Copy)]
enum Question<'a> {
    Instant { query: &'a str, at: i64 },
    Range { query: &'a str, start: i64, end: i64, step: f64 },
    Rules { selectors: &'a [String] },
}

impl PrometheusClient {
    /// A client of the endpoint of this name. Nothing is asked yet.
    ///
    /// # Errors
    /// When one of the endpoint's files cannot be used, or the system has no certificates where those are needed.
    pub fn new(name: &str, endpoint: Endpoint, observer: Arc<dyn QueryObserver>) -> Result<Self, ClientError> {
        let session = Mutex::new(Session::open(&endpoint, None)?);
        let turns = Semaphore::new(endpoint.concurrency);
        let labels = endpoint.labels();
        Ok(Self { name: name.into(), endpoint, labels, turns, session, observer })
    }

    /// The current session; with files read anew when it is time. If they cannot be read then, the earlier ones serve on: a
    /// secret that is just being replaced must not stop a look.
    fn session(&self) -> Session {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.until <= Instant::now() {
            match Session::open(&self.endpoint, Some(&session)) {
                Ok(fresh) => *session = fresh,
                Err(error) => {
                    tracing::warn!(endpoint = %self.name, %error, "using the earlier credentials of a Prometheus endpoint");
                    session.until = Instant::now() + REREAD_AFTER;
                }
            }
        }
        session.clone()
    }

    /// Asks, and reads the answer by its HTTP status and body.
    async fn ask<T>(
        &self,
        question: Question<'_>,
        read: impl FnOnce(u16, &[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Ok(_turn) = self.turns.acquire().await else {
            // The semaphore lives as long as the client and is never closed.
            return Err(self.failure(Missing::QueryFailed, "the client is closed"));
        };
        let kind = question.kind();
        let mut watch = Watch { client: self, kind, since: Instant::now(), outcome: Err(Missing::TimedOut) };
        let answer = self.exchange(question).await.and_then(|(status, body)| read(status, &body));
        watch.outcome = answer.as_ref().map(|_| ()).map_err(|failure| failure.why);
        answer.map_err(|failure| self.failure(failure.why, &failure.message))
    }

    /// The HTTP status and the body of an answer.
    async fn exchange(&self, question: Question<'_>) -> Result<(u16, Vec<u8>), Failure> {
        let session = self.session();
        // The response comes raw: the crate would read a body of any size, and pass over warnings.
        let response = question.send(&session, &self.endpoint).await?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            // Perhaps the secret was replaced a moment ago.
            self.session.lock().unwrap_or_else(PoisonError::into_inner).until = Instant::now();
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let message =
                format!("HTTP {status}: redirects are not followed; it leads to {to}: write the final address in url");
            return Err(Failure::new(Missing::QueryFailed, message));
        }
        Ok((status.as_u16(), self.body(response).await?))
    }

    /// The body, as long as it is within bounds.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let limit = self.endpoint.max_response_bytes;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
            if body.len() + chunk.len() > limit {
                let message =
                    format!("the answer is larger than {limit} bytes; raise maxResponseBytes if it should be");
                return Err(Failure::new(Missing::QueryFailed, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, why: Missing, message: &str) -> Failure {
        Failure::new(why, format!("Prometheus endpoint {}: {message}", self.name))
    }
}

impl Queries for PrometheusClient {
    fn timeout(&self) -> Duration {
        self.endpoint.timeout
    }

    async fn instant(&self, query: &str, at: Timestamp) -> Result<Vec<Series>, Failure> {
        let read = |status, body: &[u8]| answer::read(status, body, &self.labels);
        self.ask(Question::Instant { query, at: at.as_second() }, read).await
    }

    async fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Vec<Series>, Failure> {
        let step = Duration::from_secs(step.as_secs()).as_secs_f64();
        let read = |status, body: &[u8]| answer::read(status, body, &self.labels);
        self.ask(Question::Range { query, start: start.as_second(), end: end.as_second(), step }, read).await
    }
}

impl Rules for PrometheusClient {
    async fn rules(&self, selectors: &[String]) -> Result<Vec<Rule>, Failure> {
        self.ask(Question::Rules { selectors }, slos::read).await
    }
}

impl Question<'_> {
    const fn kind(&self) -> QueryKind {
        match self {
            Self::Instant { .. } => QueryKind::Instant,
            Self::Range { .. } => QueryKind::Range,
            Self::Rules { .. } => QueryKind::Rules,
        }
    }

    /// Sends it. The server may take as long as the session itself.
    async fn send(self, session: &Session, endpoint: &Endpoint) -> Result<Response, Failure> {
        let timeout = i64::try_from(endpoint.timeout.as_millis()).unwrap_or(i64::MAX);
        // As Thanos and VictoriaMetrics call it; a server that does not know it passes over it.
        let whole: &[(&'static str, &str)] = match endpoint.partial_response {
            true => &[],
            false => &[("partial_response", "false"), ("deny_partial_response", "1")],
        };
        let authorization = session.authorization.clone();
        let is_long = |query: &str| query.len() > LONGEST_IN_ADDRESS;
        let response = match self {
            Self::Instant { query: text, at } => {
                let query = session.api.query(text).at(at).timeout(timeout);
                let mut query = whole.iter().fold(query, |query, (name, value)| query.query(name, value));
                if let Some(authorization) = authorization {
                    query = query.header(AUTHORIZATION, authorization);
                }
                if is_long(text) { query.post_raw().await } else { query.get_raw().await }
            }
            Self::Range { query: text, start, end, step } => {
                let query = session.api.query_range(text, start, end, step).timeout(timeout);
                let mut query = whole.iter().fold(query, |query, (name, value)| query.query(name, value));
                if let Some(authorization) = authorization {
                    query = query.header(AUTHORIZATION, authorization);
                }
                if is_long(text) { query.post_raw().await } else { query.get_raw().await }
            }
            // The crate can neither select rules by their labels nor hand the answer on unread.
            Self::Rules { selectors } => {
                let mut url = endpoint.url.clone();
                url.set_path(&format!("{}/api/v1/rules", url.path().trim_end_matches('/')));
                let selected = selectors.iter().map(|selector| ("match[]", selector.as_str()));
                let parameters = std::iter::once(("type", "record")).chain(selected).chain(whole.iter().copied());
                url.query_pairs_mut().extend_pairs(parameters);
                let request = session.http.get(url);
                let request = match authorization {
                    Some(authorization) => request.header(AUTHORIZATION, authorization),
                    None => request,
                };
                return request.send().await.map_err(|error| unanswered(&error));
            }
        };
        response.map_err(|error| unsent(&error))
    }
}

impl Session {
    fn open(endpoint: &Endpoint, earlier: Option<&Self>) -> Result<Self, ClientError> {
        let ca_pem = endpoint.ca_pem()?;
        let (http, api) = match earlier {
            Some(earlier) if earlier.ca_pem == ca_pem => (earlier.http.clone(), earlier.api.clone()),
            _ => {
                let http = http_client(endpoint, ca_pem.as_deref()).map_err(ClientError::Tls)?;
                // The crate adds its paths after a slash of its own.
                let url = endpoint.url.as_str().trim_end_matches('/');
                let api = prometheus_http_query::Client::from(http.clone(), url);
                (http, api.map_err(|error| ClientError::Request(error.into()))?)
            }
        };
        let authorization = authorization(endpoint, &http)?;
        Ok(Self { http, api, authorization, ca_pem, until: Instant::now() + REREAD_AFTER })
    }
}

/// The header that an endpoint's credentials are sent in, from its file as it is now; `None` without credentials.
fn authorization(endpoint: &Endpoint, http: &reqwest::Client) -> Result<Option<HeaderValue>, ClientError> {
    let request = http.get(endpoint.url.clone());
    let request = if let Some(file) = &endpoint.bearer_token_file {
        request.bearer_auth(file.read()?)
    } else if let Some(auth) = &endpoint.basic_auth {
        request.basic_auth(&auth.username, Some(auth.password_file.read()?))
    } else {
        return Ok(None);
    };
    // Never sent: it only lets the HTTP client write the header, and mark it as not to be logged.
    let request = request.build().map_err(|error| ClientError::Request(error.without_url().into()))?;
    Ok(request.headers().get(AUTHORIZATION).cloned())
}

fn http_client(endpoint: &Endpoint, ca_pem: Option<&[u8]>) -> Result<reqwest::Client, reqwest::Error> {
    // The same cryptography as the Kubernetes client's. An error says that the process has one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("error-budget-gatekeeper/", env!("CARGO_PKG_VERSION")))
        .default_headers(endpoint.headers.clone())
        .redirect(redirect::Policy::none())
        .timeout(endpoint.timeout);
    let builder = match ca_pem {
        Some(pem) => builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?),
        // Without TLS no certificate is needed, and a minimal image has none.
        None if endpoint.url.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build()
}

/// Tells the observer when a query is over, also when it is dropped half way.
struct Watch<'a> {
    client: &'a PrometheusClient,
    kind: QueryKind,
    since: Instant,
    outcome: Result<(), Missing>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.client.observer.queried(&self.client.name, self.kind, self.since.elapsed(), self.outcome);
    }
}

/// Why a query got no response at all.
fn unsent(error: &Error) -> Failure {
    match error {
        Error::Client(error) => match error.inner() {
            Some(error) => unanswered(error),
            None => Failure::new(Missing::Unreachable, error.to_string()),
        },
        error => Failure::new(Missing::QueryFailed, error.to_string()),
    }
}

/// Why there was no answer, or not all of one.
fn unanswered(error: &reqwest::Error) -> Failure {
    let why = if error.is_timeout() { Missing::TimedOut } else { Missing::Unreachable };
    Failure::new(why, chain(error))
}

/// An error with its causes, and without the address, which may hold the query.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() { "cannot connect".to_owned() } else { "no complete answer".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
