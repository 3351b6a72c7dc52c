//! What the story happens on: a control plane, simulated traffic, Prometheus, and a folder with the files it names.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gatekeeper::api::ErrorBudgetPolicy;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::traffic::{TrafficOptions, TrafficPlan, TrafficSimulator};

/// Requests a second to the service.
pub(crate) const TRAFFIC: f64 = 20_000.0;
/// Time between two scrapes.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
/// The service's pods, as its manifest has it.
pub(crate) const REPLICAS: i32 = 10;
/// The service's namespace.
pub(crate) const NAMESPACE: &str = "shop";
/// The Deployment's name, and the policy's.
pub(crate) const SERVICE: &str = "checkout";

/// The versions, and the share of requests that each fails. A 99.9 % objective allows 0.001.
const VERSIONS: [(&str, &str); 3] = [("v1", "0.0003"), ("v2", "0.0023"), ("v3", "0.0002")];

/// Dropping it ends and removes everything.
pub(crate) struct Ground {
    /// The real Prometheus, scraping the traffic.
    pub(crate) prometheus: PrometheusServer,
    _traffic: TrafficSimulator,
    /// The real control plane.
    pub(crate) cluster: Cluster,
}

impl Ground {
    /// Starts everything but the operator. Commands run in a folder that has `charts`, `config` and the service's
    /// manifests, so that what is printed is exactly what is run.
    pub(crate) async fn start() -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        // In the control plane's, which is removed also when this program is killed.
        let folder = cluster.dir().join("demo");
        std::fs::create_dir(&folder)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["charts", "config"] {
            symlink(source.join(name), folder.join(name))?;
        }
        for (version, error_ratio) in VERSIONS {
            let manifest = include_str!("checkout.yaml");
            let manifest = manifest.replace("@VERSION@", version).replace("@ERROR_RATIO@", error_ratio);
            std::fs::write(folder.join(format!("{SERVICE}-{version}.yaml")), manifest)?;
        }
        std::env::set_current_dir(&folder)?;

        cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
        cluster.kubectl(&["config", "set-context", "--current", "--namespace", NAMESPACE]).await?;
        let plan = TrafficPlan::new().with(NAMESPACE, SERVICE, TRAFFIC);
        let traffic = TrafficSimulator::start(cluster.client(), plan, TrafficOptions::default()).await?;
        let scraping = PrometheusOptions::scraping(traffic.target()).every(SCRAPE_INTERVAL);
        let prometheus = PrometheusServer::start(&cluster.tools().prometheus, &scraping).await?;
        Ok(Self { prometheus, _traffic: traffic, cluster })
    }

    /// The Deployment as it is.
    pub(crate) async fn deployment(&self) -> Result<Deployment> {
        let deployments: Api<Deployment> = Api::namespaced(self.cluster.client(), NAMESPACE);
        deployments.get(SERVICE).await.context("read the Deployment")
    }

    /// The policy with its status.
    pub(crate) async fn policy(&self) -> Result<ErrorBudgetPolicy> {
        let policies: Api<ErrorBudgetPolicy> = Api::namespaced(self.cluster.client(), NAMESPACE);
        policies.get(SERVICE).await.context("read the policy")
    }

    /// How many requests of the service's pods Prometheus knows of.
    pub(crate) async fn requests(&self) -> Result<f64> {
        let query = format!("sum(http_requests_total{{namespace=\"{NAMESPACE}\"}})");
        Ok(self.prometheus.query(&query).await?.first().map_or(0.0, |sample| sample.value))
    }
}

/// The operator that was built beside this program.
pub(crate) fn operator_program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let built = this.parent().and_then(Path::parent).context("this program is in no folder")?;
    let program = built.join("error-budget-gatekeeper");
    ensure!(program.exists(), "the operator is not built: run `make demo`, which builds it, or `cargo build` first");
    Ok(program)
}

/// The image's tag in the Deployment's template.
pub(crate) fn version(deployment: &Deployment) -> &str {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = template.and_then(|pod| pod.containers.first()?.image.as_deref()).unwrap_or_default();
    image.rsplit_once(':').map_or(image, |(_, tag)| tag)
}
