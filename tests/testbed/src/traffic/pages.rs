//! Pages of single pods, each at the pod's own address, for those who read pods themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::warn;

use super::exposition;
use super::fleet::Fleet;
use super::locked;

/// Annotation: the port of a pod's page.
const PORT: &str = "prometheus.io/port";

/// The pages of the pods whose annotation names the simulator's port. Pods with another one have none: what they announce
/// is not there.
pub(super) struct Pages {
    fleet: Arc<Mutex<Fleet>>,
    port: u16,
    histograms: bool,
    by_uid: BTreeMap<String, Served>,
}

/// The address may be that of a pod that went a moment ago, whose page is being closed.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    for _ in 0..100 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => sleep(Duration::from_millis(20)).await,
            bound => return bound,
        }
    }
    TcpListener::bind(address).await
}

/// A page that is served until this is dropped.
struct Served(JoinHandle<()>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pages {
    /// No page yet. The port is taken at the simulator's own address, so that nobody else has it at any.
    pub(super) fn new(fleet: Arc<Mutex<Fleet>>, port: u16, histograms: bool) -> Self {
        Self { fleet, port, histograms, by_uid: BTreeMap::new() }
    }

    /// Serves the page of a pod once it has an address.
    pub(super) fn observe(&mut self, pod: &Pod) {
        let is_asked = pod.annotations().get(PORT).is_some_and(|port| *port == self.port.to_string());
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse::<IpAddr>().ok());
        let (Some(uid), Some(namespace), Some(ip)) = (pod.uid(), pod.namespace(), ip.filter(|_| is_asked)) else {
            return;
        };
        if self.by_uid.contains_key(&uid) {
            return;
        }
        let (fleet, histograms) = (Arc::clone(&self.fleet), self.histograms);
        let (address, name) = (SocketAddr::new(ip, self.port), pod.name_any());
        let page = async move || {
            let text = exposition::render_pod(&locked(&fleet), &namespace, &name, histograms);
            ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
        };
        let router = Router::new().route("/metrics", get(page));
        let serving = tokio::spawn(async move {
            let served = async { axum::serve(listen(address).await?, router).await };
            if let Err(error) = served.await {
                warn!(%address, %error, "a pod has no page");
            }
        });
        self.by_uid.insert(uid, Served(serving));
    }

    /// The pod is gone, and its address may be another's.
    pub(super) fn forget(&mut self, pod: &Pod) {
        if let Some(uid) = pod.uid() {
            self.by_uid.remove(&uid);
        }
    }

    /// Only these pods are still there.
    pub(super) fn retain(&mut self, uids: &BTreeSet<String>) {
        self.by_uid.retain(|uid, _| uids.contains(uid));
    }
}
