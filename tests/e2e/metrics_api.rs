//! A metrics server in miniature: what the kubelets say of their pods' CPU, as `metrics.k8s.io`, so that a real autoscaler has
//! something to go by.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Path, Query, State};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ground::Ground;

/// Where the API server finds this machine: the first node's address.
const NODE: &str = "172.30.0.1";
const NAME: &str = "metrics-server";
const HANDSHAKE: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(crate) struct MetricsApi(JoinHandle<()>);

impl MetricsApi {
    /// Serves, and makes the API server pass on what is asked of `metrics.k8s.io`.
    pub(crate) async fn start(ground: &Ground) -> Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let port = listener.local_addr()?.port();
        let listener = Tls { listener, acceptor: acceptor()? };
        let router = Router::new()
            .route("/apis/metrics.k8s.io/v1beta1", get(resources))
            .route("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods", get(pods))
            .with_state(ground.client());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the metrics API ended: {error}");
            }
        });
        for object in registration(port) {
            ground.apply(&object.to_string()).await?;
        }
        let available = "kubectl wait --for=condition=Available apiservice/v1beta1.metrics.k8s.io --timeout 1m";
        ground.shell(available).await?;
        Ok(Self(task))
    }
}

impl Drop for MetricsApi {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A Service that leads to this program, and the part of the API that is served behind it.
fn registration(port: u16) -> [Value; 3] {
    let metadata = json!({"name": NAME, "namespace": "kube-system"});
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": NAME, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [NODE], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": true, "service": {"name": NAME, "namespace": "kube-system"}}}),
    ]
}

async fn resources() -> Json<Value> {
    let pods =
        json!({"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]});
    Json(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [pods]}),
    )
}

type Failure = (StatusCode, String);

async fn pods(
    State(client): State<Client>,
    Path(namespace): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, Failure> {
    let selector = query.get("labelSelector").map_or("", String::as_str);
    match usage(&client, &namespace, selector).await {
        Ok(list) => Ok(Json(list)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))),
    }
}

/// The CPU and memory of the pods that the selector chooses.
async fn usage(client: &Client, namespace: &str, selector: &str) -> Result<Value> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let chosen = pods.list(&ListParams::default().labels(selector)).await?;
    let labels: BTreeMap<String, Value> = chosen.iter().map(|pod| (pod.name_any(), json!(pod.labels()))).collect();
    let nodes: Api<Node> = Api::all(client.clone());
    let mut items = Vec::new();
    for node in nodes.list(&ListParams::default()).await? {
        let path = format!("/api/v1/nodes/{}/proxy/stats/summary", node.name_any());
        let summary: Value = client.request(Request::get(path).body(Vec::new())?).await?;
        for pod in summary["pods"].as_array().into_iter().flatten() {
            let name = pod["podRef"]["name"].as_str().unwrap_or_default();
            if pod["podRef"]["namespace"] == namespace && labels.contains_key(name) {
                items.extend(item(namespace, name, &labels[name], pod));
            }
        }
    }
    Ok(json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}))
}

/// One pod, once the kubelet has measured it.
fn item(namespace: &str, name: &str, labels: &Value, pod: &Value) -> Option<Value> {
    let containers: Option<Vec<Value>> = pod["containers"]
        .as_array()?
        .iter()
        .map(|container| {
            let cpu = container["cpu"]["usageNanoCores"].as_u64()?;
            let memory = container["memory"]["workingSetBytes"].as_u64()?;
            Some(json!({"name": container["name"], "usage": {"cpu": format!("{cpu}n"), "memory": memory.to_string()}}))
        })
        .collect();
    Some(json!({
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "timestamp": Timestamp::from_second(Timestamp::now().as_second()).ok()?.to_string(),
        "window": "15s",
        "containers": containers?,
    }))
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Whoever does not speak TLS is of no interest, and whoever says nothing must not keep others waiting.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await
            {
                return (stream, address);
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
