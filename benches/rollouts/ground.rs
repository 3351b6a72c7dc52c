//! What is measured on: a control plane with an audit log, simulated traffic, Prometheus behind a proxy that counts, and
//! the operator, installed by its chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::fault_proxy::FaultProxy;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::traffic::{TrafficOptions, TrafficPlan, TrafficSimulator};

use crate::operator::{Operator, RELEASE};

/// Time between two scrapes: what most fast installations have, and what detection is quoted for.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// Dropping it ends everything.
pub(crate) struct Ground {
    /// What is measured.
    pub(crate) operator: Operator,
    /// Counts the operator's queries.
    pub(crate) proxy: FaultProxy,
    /// The real Prometheus.
    pub(crate) prometheus: PrometheusServer,
    /// The pods' traffic.
    pub(crate) traffic: TrafficSimulator,
    /// The real control plane.
    pub(crate) cluster: Cluster,
    /// Every request of the operator that the API server has answered, a line of JSON each.
    pub(crate) audit: PathBuf,
}

impl Ground {
    /// Starts everything. Logs are written to `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let (policy, audit) = (folder.join("audit-policy.yaml"), folder.join("audit.log"));
        std::fs::write(&policy, audit_policy())?;
        let options = ClusterOptions {
            // With minReadySeconds of 5 a pod every 8 to 10 seconds: a rollout of four pods takes some 40.
            pod_ready_delay: Duration::from_secs(3)..=Duration::from_secs(5),
            apiserver_flags: vec![
                format!("--audit-policy-file={}", policy.display()),
                format!("--audit-log-path={}", audit.display()),
            ],
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(options).await?;
        let options = TrafficOptions { histograms: false, ..TrafficOptions::default() };
        let traffic = TrafficSimulator::start(cluster.client(), TrafficPlan::new(), options).await?;
        let scraping = PrometheusOptions::scraping(traffic.target()).every(SCRAPE_INTERVAL);
        let prometheus = PrometheusServer::start(&cluster.tools().prometheus, &scraping).await?;
        let proxy = FaultProxy::start(prometheus.url()).await?;

        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");
        let (namespace, url) =
            (format!("--namespace={RELEASE}"), format!("--set=prometheus.default.url={}", proxy.url()));
        let install = ["install", RELEASE, chart, &namespace, "--create-namespace", &url, "--set=replicas=0"];
        cluster.helm(&install).await?;
        let program = Path::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper"));
        let operator = Operator::start(&cluster, RELEASE, program, folder, &[]).await.context("start the operator")?;
        Ok(Self { operator, proxy, prometheus, traffic, cluster, audit })
    }
}

/// Only the operator's own account, and only what was answered.
fn audit_policy() -> String {
    let user = format!("system:serviceaccount:{RELEASE}:{RELEASE}");
    let rules = serde_json::json!([{"level": "Metadata", "users": [user]}, {"level": "None"}]);
    serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": rules,
    })
    .to_string()
}
