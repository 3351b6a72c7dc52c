//! The load generator: asks at a fixed rate, whatever the answers, and records each.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::serve::{POD_HEADER, VERSION_HEADER};

/// What is asked, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who is asked: a Service's address, as pods would use it.
    pub target: SocketAddr,
    /// Requests a second, whether or not earlier ones were answered. Each has a connection of its own, so that a Service
    /// spreads them over its pods.
    pub rate: f64,
    /// Who has no answer after so long gives up.
    pub timeout: Duration,
}

/// What one user saw.
#[derive(Debug, Clone, Serialize)]
pub struct Response {
    /// When the request was made.
    pub at: Timestamp,
    /// How long it took until there was an answer, or none was waited for any more.
    #[serde(serialize_with = "as_milliseconds", rename = "milliseconds")]
    pub took: Duration,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The version that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The pod that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// An answer with this status code.
    Status(u16),
    /// None: this went wrong.
    Error(Failure),
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// Nobody listened.
    Refused,
    /// The connection broke off.
    Broken,
    /// It took too long.
    Timeout,
}

/// Load that goes on until this value is dropped.
#[derive(Debug)]
pub struct Load {
    responses: Arc<Mutex<Vec<Response>>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins to ask, on the present runtime.
    pub fn start(plan: Plan) -> Self {
        let responses = Arc::default();
        let task = tokio::spawn(ask_on(plan, Arc::clone(&responses)));
        Self { responses, task }
    }

    /// Everything that was answered, or given up, since the start. A request that is under way is not in it yet.
    pub fn responses(&self) -> Vec<Response> {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        responses.sort_by_key(|response| response.at);
        responses
    }

    /// Takes away what [`responses`](Self::responses) has, for those who write it out.
    pub fn take(&self) -> Vec<Response> {
        std::mem::take(&mut *self.responses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask_on(plan: Plan, responses: Arc<Mutex<Vec<Response>>>) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / plan.rate));
    // A generator that was late asks what it should have asked: its users would have.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        let responses = Arc::clone(&responses);
        let Plan { target, timeout, .. } = plan;
        // The rate times the time-out bounds how many there are at once.
        tokio::spawn(async move {
            let response = ask(target, timeout).await;
            responses.lock().unwrap_or_else(PoisonError::into_inner).push(response);
        });
    }
}

/// Makes one request.
pub async fn ask(target: SocketAddr, timeout: Duration) -> Response {
    let (at, began) = (Timestamp::now(), Instant::now());
    let (outcome, headers) = match tokio::time::timeout(timeout, request(target)).await {
        Ok(Ok((status, headers))) => (Outcome::Status(status), headers),
        Ok(Err(failure)) => (Outcome::Error(failure), HeaderMap::new()),
        Err(_) => (Outcome::Error(Failure::Timeout), HeaderMap::new()),
    };
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    Response { at, took: began.elapsed(), outcome, version: text(VERSION_HEADER), pod: text(POD_HEADER) }
}

async fn request(target: SocketAddr) -> Result<(u16, HeaderMap), Failure> {
    let stream = TcpStream::connect(target).await.map_err(|_| Failure::Refused)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Broken)?;
    let request = Request::get("/")
        .header(header::HOST, target.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("a request that never changes");
    let answered = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        body.collect().await?;
        Ok::<_, hyper::Error>((head.status.as_u16(), head.headers))
    };
    // The connection does its work in here, so that it is gone when nobody waits for the answer any more.
    tokio::pin!(answered, connection);
    tokio::select! {
        answer = &mut answered => answer.map_err(|_| Failure::Broken),
        ended = &mut connection => match ended {
            Ok(()) => answered.await.map_err(|_| Failure::Broken),
            Err(_) => Err(Failure::Broken),
        },
    }
}

/// The address behind `HOST:PORT`.
///
/// # Errors
/// When the name has none.
pub async fn resolve(target: &str) -> Result<SocketAddr> {
    let mut found = tokio::net::lookup_host(target).await.with_context(|| format!("find {target}"))?;
    match found.next() {
        Some(address) => Ok(address),
        None => bail!("{target} has no address"),
    }
}

fn as_milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}
