//! `external.metrics.k8s.io`: the request rates that Prometheus knows, for autoscalers, as an adapter for it would tell them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use jiff::Timestamp;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Client, Url};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use testbed::{http, real};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ground::Ground;

/// Requests a second to all pods of a namespace.
pub(crate) const REQUEST_RATE: &str = "requests_per_second";
/// Of its Service and of the certificate, which nobody checks.
const NAME: &str = "external-metrics";
const VERSION: &str = "external.metrics.k8s.io/v1beta1";
/// Whoever says nothing for so long does not speak TLS. On a busy machine an API server takes seconds.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Serves it until this program ends, and makes the API server pass on what is asked of it. Neither is taken back: the
/// scenarios share it, and for what nobody serves any more the API server answers 503.
///
/// # Errors
/// When the API server does not get through to it.
pub(crate) async fn start(ground: &Ground) -> Result<()> {
    let prometheus = ground.address("monitoring", "prometheus-server").await?;
    let rates = Rates { client: http::client()?, url: format!("http://{prometheus}/api/v1/query").parse()? };
    let listener = TcpListener::bind((real::ADDRESS, 0)).await?;
    let port = listener.local_addr()?.port();
    let listener = Tls { listener, acceptor: acceptor()?, handshakes: JoinSet::new() };
    let router = Router::new()
        .route(&format!("/apis/{VERSION}"), get(resources))
        .route(&format!("/apis/{VERSION}/namespaces/{{namespace}}/{REQUEST_RATE}"), get(request_rate))
        .with_state(Arc::new(rates));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the metrics API ended: {error}");
        }
    });
    for object in registration(port) {
        ground.apply(&object.to_string()).await?;
    }
    let available = "kubectl wait --for=condition=Available apiservice/v1beta1.external.metrics.k8s.io --timeout 4m";
    ground.shell(available).await.map(drop)
}

/// A Service that leads to this program, and the part of the API that is served behind it.
fn registration(port: u16) -> [Value; 3] {
    let metadata = json!({"name": NAME, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": NAME}});
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4", "ports": [{"name": "https", "port": port}],
            "endpoints": [{"addresses": [real::ADDRESS], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1",
                "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": true, "service": {"name": NAME, "namespace": "kube-system"}}}),
    ]
}

async fn resources() -> Json<Value> {
    let rate = json!({"name": REQUEST_RATE, "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList",
        "verbs": ["get"]});
    Json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": [rate]}))
}

/// Where the rates come from.
struct Rates {
    client: Client,
    /// Of Prometheus' queries.
    url: Url,
}

type Failure = (StatusCode, String);

async fn request_rate(State(rates): State<Arc<Rates>>, Path(namespace): Path<String>) -> Result<Json<Value>, Failure> {
    match rates.of(&namespace).await {
        Ok(value) => Ok(Json(json!({"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {},
            "items": [value]}))),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))),
    }
}

impl Rates {
    async fn of(&self, namespace: &str) -> Result<Value> {
        let query = format!("sum(rate(http_requests_total{{namespace=\"{namespace}\"}}[30s]))");
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("query", &query);
        let answer: Value = self.client.get(url).send().await?.error_for_status()?.json().await?;
        let rate = answer["data"]["result"][0]["value"][1].as_str().context("nothing was scraped yet")?;
        let rate: f64 = rate.parse().with_context(|| format!("{rate} is no rate"))?;
        let now = Timestamp::from_second(Timestamp::now().as_second())?;
        Ok(json!({"metricName": REQUEST_RATE, "metricLabels": {}, "timestamp": now.to_string(),
            "value": format!("{:.0}m", rate * 1000.0)}))
    }
}

/// Connections whose handshakes are done. One that takes its time keeps no other waiting.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, address) = Listener::accept(&mut self.listener) => {
                    let handshake = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream));
                    self.handshakes.spawn(async move { Some((handshake.await.ok()?.ok()?, address)) });
                }
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn acceptor() -> Result<TlsAcceptor> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).ok().context("a key of an unknown form")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
