//! A proxy in front of Prometheus that can answer badly in all the ways a client must survive, and remembers what
//! it was asked.

mod answer;
mod connection;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use reqwest::{Client, Url};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use connection::{Connection, CuttableListener};

/// What the proxy does with requests from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Passes everything on.
    #[default]
    Pass,
    /// Waits this long before it passes the request on.
    Delay(Duration),
    /// Closes the connection without an answer.
    Cut,
    /// Answers with this status and an error in the form of the Prometheus API.
    Status(StatusCode),
    /// Answers with 200 and something that is no JSON.
    Garbage,
    /// Passes queries on and replaces every value of the result by `NaN`.
    NaN,
    /// Passes queries on and takes all series out of the result.
    Empty,
    /// Passes queries on, drops every second series of the result (in the order of their labels) and adds a warning,
    /// as a federated store does when one of its parts does not answer.
    Partial,
}

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// When it came.
    pub at: Instant,
    /// HTTP method.
    pub method: Method,
    /// Path without parameters, such as `/api/v1/query`.
    pub path: String,
    /// Parameters of the URL and, for a form, of the body, decoded.
    pub parameters: Vec<(String, String)>,
    /// Headers, for tests of authentication.
    pub headers: HeaderMap,
    /// The fault that was switched on.
    pub fault: Fault,
}

impl RecordedRequest {
    /// The first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        parameters.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The PromQL expression of a query.
    pub fn query(&self) -> Option<&str> {
        self.parameter("query")
    }
}

/// The running proxy. Dropping it closes its port; connections that are open end with their clients.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Url,
    client: Client,
    state: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    fault: Fault,
    requests: Vec<RecordedRequest>,
}

impl FaultProxy {
    /// Starts a proxy on a free port that passes requests to `upstream`, such as `http://127.0.0.1:9090`.
    ///
    /// # Errors
    /// When the URL is none or no port can be opened. Upstream need not run yet: until it does, answers are 502.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        let upstream = Url::parse(upstream).with_context(|| format!("{upstream} is no URL"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port for the proxy")?;
        let address = listener.local_addr()?;
        let client = crate::http::client()?;
        let shared = Arc::new(Shared { upstream, client, state: Mutex::default() });
        let router = Router::new()
            .fallback(handle)
            .with_state(shared.clone())
            .into_make_service_with_connect_info::<Connection>();
        let mut server = JoinSet::new();
        server.spawn(async move {
            if let Err(error) = axum::serve(CuttableListener::new(listener), router).await {
                tracing::error!(%error, "the proxy no longer serves");
            }
        });
        Ok(Self { address, shared, _server: server })
    }

    /// Where clients are to send their requests, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Switches the fault for all requests that come in from now on.
    pub fn set(&self, fault: Fault) {
        self.shared.state().fault = fault;
    }

    /// Everything asked since the start or the last [`clear`](Self::clear), in order of arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.state().requests.clone()
    }

    /// Number of those requests by path.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in &self.shared.state().requests {
            *counts.entry(request.path.clone()).or_default() += 1;
        }
        counts
    }

    /// The PromQL expressions of those requests, in order of arrival.
    pub fn queries(&self) -> Vec<String> {
        let state = self.shared.state();
        let queries = state.requests.iter().filter_map(RecordedRequest::query);
        queries.map(str::to_owned).collect()
    }

    /// Forgets the requests recorded so far.
    pub fn clear(&self) {
        self.shared.state().requests.clear();
    }
}

impl Shared {
    /// A test that panicked with the lock held must not hide its message behind a second panic.
    fn state(&self) -> MutexGuard<'_, Record> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the request and says what to do with it.
    fn record(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Fault {
        let mut state = self.state();
        let fault = state.fault;
        state.requests.push(RecordedRequest {
            at: Instant::now(),
            method: method.clone(),
            path: uri.path().to_owned(),
            parameters: parameters(uri, headers, body),
            headers: headers.clone(),
            fault,
        });
        fault
    }

    async fn pass(&self, method: Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> reqwest::Result<Answer> {
        let mut url = self.upstream.clone();
        url.set_path(&format!("{}{}", self.upstream.path().trim_end_matches('/'), uri.path()));
        url.set_query(uri.query());
        let mut request = self.client.request(method, url).body(body);
        // Others concern the connection, or ask for an encoding that the proxy would have to undo.
        for name in [header::CONTENT_TYPE, header::ACCEPT, header::AUTHORIZATION] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let response = request.send().await?;
        Ok(Answer {
            status: response.status(),
            content_type: response.headers().get(header::CONTENT_TYPE).cloned(),
            body: response.bytes().await?,
        })
    }
}

/// What upstream said.
struct Answer {
    status: StatusCode,
    content_type: Option<header::HeaderValue>,
    body: Bytes,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        response
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = shared.record(&method, &uri, &headers, &body);
    match fault {
        Fault::Cut => {
            connection.cut();
            return StatusCode::BAD_GATEWAY.into_response();
        }
        Fault::Status(status) => return answer::error(status, "this error is made up"),
        Fault::Garbage => return answer::garbage(),
        Fault::Delay(delay) => tokio::time::sleep(delay).await,
        Fault::Pass | Fault::NaN | Fault::Empty | Fault::Partial => {}
    }
    match shared.pass(method, &uri, &headers, body).await {
        Ok(mut passed) => {
            if matches!(uri.path(), "/api/v1/query" | "/api/v1/query_range") {
                passed.body = answer::change(passed.body, fault);
            }
            passed.into_response()
        }
        Err(error) => answer::error(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

fn parameters(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Vec<(String, String)> {
    let mut encoded = uri.query().unwrap_or_default().to_owned();
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded")) {
        encoded.push('&');
        encoded.push_str(&String::from_utf8_lossy(body));
    }
    let mut url = Url::parse("http://localhost").expect("a constant URL");
    url.set_query(Some(&encoded));
    url.query_pairs().into_owned().collect()
}

#[cfg(test)]
mod tests;
