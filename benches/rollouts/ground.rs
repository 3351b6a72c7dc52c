//! What is measured on: a control plane with an audit log, Prometheus behind a proxy that counts, and the operator,
//! installed by its chart.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::fault_proxy::FaultProxy;
use testbed::process::operator_program;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};

use crate::operator::{Operator, RELEASE};

/// Dropping it ends everything.
pub(crate) struct Ground {
    /// What is measured.
    pub(crate) operator: Operator,
    /// Counts the operator's queries.
    pub(crate) proxy: FaultProxy,
    /// The real Prometheus.
    pub(crate) prometheus: PrometheusServer,
    /// The real control plane.
    pub(crate) cluster: Cluster,
    /// Every request of the operator that the API server has answered, a line of JSON each.
    pub(crate) audit: PathBuf,
}

/// A control plane that notes every request of the operator in `audit.log` in this folder.
pub(crate) async fn control_plane(folder: &Path, mut options: ClusterOptions) -> Result<Cluster> {
    let policy = folder.join("audit-policy.yaml");
    std::fs::write(&policy, audit_policy())?;
    options.apiserver_flags.extend([
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", audit_log(folder).display()),
    ]);
    Cluster::start(options).await
}

fn audit_log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

impl Ground {
    /// Starts the rest beside this control plane. Logs are written to `folder`.
    pub(crate) async fn start(folder: &Path, cluster: Cluster, scraping: &PrometheusOptions) -> Result<Self> {
        let prometheus = PrometheusServer::start(&cluster.tools().prometheus, scraping).await?;
        let proxy = FaultProxy::start(prometheus.url()).await?;

        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");
        let (namespace, url) =
            (format!("--namespace={RELEASE}"), format!("--set=prometheus.default.url={}", proxy.url()));
        let install = ["install", RELEASE, chart, &namespace, "--create-namespace", &url, "--set=replicas=0"];
        cluster.helm(&install).await?;
        let program = operator_program(env!("CARGO_BIN_EXE_error-budget-gatekeeper"));
        let operator = Operator::start(&cluster, RELEASE, &program, folder, &[]).await.context("start the operator")?;
        Ok(Self { operator, proxy, prometheus, cluster, audit: audit_log(folder) })
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
