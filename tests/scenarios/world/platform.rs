//! The control plane, the traffic and the Prometheus that scenarios run on.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::traffic::{TrafficOptions, TrafficPlan, TrafficSimulator};
use tokio::runtime::{Builder, Runtime};

/// Often enough that each look, every two seconds in most scenarios, finds a new sample.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Fixed, so that the same pods draw the same errors. (Their names are Kubernetes' to choose.)
const SEED: u64 = 20_260_304;

/// A control plane with traffic and a Prometheus that scrapes it.
pub(crate) struct Platform {
    // In the order in which they end.
    pub(crate) prometheus: PrometheusServer,
    pub(crate) traffic: TrafficSimulator,
    pub(crate) cluster: Cluster,
}

impl Platform {
    pub(crate) async fn start() -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let options = TrafficOptions { seed: SEED, ..TrafficOptions::default() };
        let traffic = TrafficSimulator::start(cluster.client(), TrafficPlan::new(), options).await?;
        let prometheus = scraping(&cluster, &traffic).await?;
        Ok(Self { prometheus, traffic, cluster })
    }

    /// One more Prometheus on the same traffic, for a scenario that breaks it.
    pub(crate) async fn another_prometheus(&self) -> Result<PrometheusServer> {
        scraping(&self.cluster, &self.traffic).await
    }
}

async fn scraping(cluster: &Cluster, traffic: &TrafficSimulator) -> Result<PrometheusServer> {
    let options = PrometheusOptions::scraping(traffic.target()).every(SCRAPE_INTERVAL);
    PrometheusServer::start(&cluster.tools().prometheus, &options).await
}

/// What a scenario stands on: the platform it shares, or one of its own.
pub(crate) enum Ground {
    Shared(&'static Shared),
    Own(Box<Platform>),
}

impl Ground {
    /// A client with all rights, for this scenario alone: connections belong to the runtime they were made in, so
    /// tests cannot share them.
    pub(crate) async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A kubeconfig with a token of this service account.
    pub(crate) async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        match self {
            Self::Shared(shared) => {
                let (shared, namespace, account) = (*shared, namespace.to_owned(), account.to_owned());
                let request =
                    async move { shared.platform.cluster.kubeconfig_for_service_account(&namespace, &account).await };
                shared.runtime.spawn(request).await?
            }
            Self::Own(platform) => platform.cluster.kubeconfig_for_service_account(namespace, account).await,
        }
    }
}

impl Deref for Ground {
    type Target = Platform;

    fn deref(&self) -> &Platform {
        match self {
            Self::Shared(shared) => &shared.platform,
            Self::Own(platform) => platform,
        }
    }
}

/// The platform with the runtime its tasks live in: each test has a runtime of its own, which ends with the test.
pub(crate) struct Shared {
    platform: Platform,
    runtime: Runtime,
}

/// The platform that most scenarios share, each in a namespace of its own. The first that asks starts it. Values in
/// statics are never dropped: the testbed's guard ends its processes when this one ends.
pub(crate) fn shared() -> Result<&'static Shared> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        // A runtime cannot be entered from within another.
        let starting = std::thread::spawn(start_shared);
        let outcome = starting.join().unwrap_or_else(|_| Err(anyhow!("it panicked")));
        outcome.map_err(|error| format!("{error:#}"))
    });
    started.as_ref().map_err(|error| anyhow!("the shared control plane did not start: {error}"))
}

fn start_shared() -> Result<Shared> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let platform = runtime.block_on(async {
        let platform = Platform::start().await?;
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/errorbudgetpolicies.yaml");
        // The chart of one scenario cannot own what all of them need.
        platform.cluster.kubectl(&["apply", "--server-side", "-f", crds]).await?;
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", crds];
        platform.cluster.kubectl(&established).await.context("the CRD is not served")?;
        anyhow::Ok(platform)
    })?;
    Ok(Shared { platform, runtime })
}
