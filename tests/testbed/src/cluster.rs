//! A Kubernetes control plane of one's own: etcd, API server, controllers, scheduler, and kwok for the pods.

mod commands;
mod components;
mod credentials;
mod nodes;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::http::Request;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;

use crate::guard;
use crate::port::ReservedPort;
use crate::process::Process;
use crate::tools::{Tools, tools};
use components::Components;
pub(crate) use components::Pods;
pub(crate) use credentials::Account;
use credentials::Credentials;

/// How long a component may take to do its part, on a machine that is busy with other things.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);
/// How long one request that only looks may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How a control plane is to be.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The range from which the time between a container's start and its pod's readiness is drawn, evenly and for
    /// each pod anew. A pod can ask for an exact time with the annotation `testbed/ready-delay: 4s`, or never to
    /// become Ready with `testbed/never-ready: "true"`. With `testbed/waiting: ImagePullBackOff`, or another reason of
    /// the kubelet's, its containers do not run at all and say so, with the message in `testbed/waiting-message`.
    pub pod_ready_delay: RangeInclusive<Duration>,
    /// The number of nodes. Each takes 10,000 pods.
    pub nodes: usize,
    /// Further flags of the API server, such as `--v=4`.
    pub apiserver_flags: Vec<String>,
}

impl Default for ClusterOptions {
    /// One to two seconds until a pod is Ready, and two nodes.
    fn default() -> Self {
        Self { pod_ready_delay: Duration::from_secs(1)..=Duration::from_secs(2), nodes: 2, apiserver_flags: Vec::new() }
    }
}

/// How the API server ends when it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It gets SIGTERM, finishes its requests and closes its watches.
    Graceful,
    /// It is killed, as in a crash.
    Killed,
}

/// A running control plane. Dropping it ends all its processes and removes its folder; with `TESTBED_KEEP` set in
/// the environment the folder stays, to read the logs in.
///
/// Several can run side by side. The components are public, so that a test can stop, freeze and restart each.
pub struct Cluster {
    /// The API server. [`Cluster::restart_apiserver`] restarts it and waits until it serves again.
    pub apiserver: Process,
    /// The store behind the API server.
    pub etcd: Process,
    /// The controllers.
    pub controller_manager: Process,
    /// The scheduler.
    pub scheduler: Process,
    /// Plays the pods' life, unless real nodes run them.
    pub kwok: Option<Process>,
    client: Client,
    server: String,
    credentials: Credentials,
    tools: Tools,
    // Below the processes, since fields are dropped in order.
    folder: TempDir,
    _port: ReservedPort,
}

impl Cluster {
    /// Starts a control plane and waits until it schedules pods. Builds the tools first if they are not there.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let mut cluster = Self::start_without_nodes(Pods::Simulated, &[], &options.apiserver_flags).await?;
        let stages = cluster.folder.path().join("stages.yaml");
        nodes::write_stages(&stages, &options.pod_ready_delay)?;
        nodes::create(&cluster.client, options.nodes).await?;
        cluster.kwok = Some(Process::spawn(cluster.components(Pods::Simulated).kwok(&stages))?);
        cluster.wait_until_pods_start().await?;
        Ok(cluster)
    }

    /// Starts etcd, API server, controllers and scheduler, with nobody yet who runs a pod.
    pub(crate) async fn start_without_nodes(pods: Pods, accounts: &[Account], flags: &[String]) -> Result<Self> {
        let tools = tokio::task::spawn_blocking(tools).await??;
        let folder = temporary_folder()?;
        let port = ReservedPort::new().context("reserve a port")?;
        let server = format!("https://{}:{}", pods.server_address(), port.number());
        let credentials = Credentials::create(folder.path(), &server, accounts)?;
        let client = admin_client(&credentials.kubeconfig).await?;

        let components = Components { tools: &tools, folder: folder.path(), credentials: &credentials, pods };
        let etcd = Process::spawn(components.etcd())?;
        let socket = components.etcd_socket();
        eventually("etcd listens", &[&etcd], async || Ok(socket.exists())).await?;
        let apiserver = Process::spawn(components.apiserver(port.number(), flags))?;
        eventually("the API server is ready", &[&etcd, &apiserver], async || is_ready(&client).await).await?;
        let controller_manager = Process::spawn(components.controller_manager())?;
        let scheduler = Process::spawn(components.scheduler())?;
        Ok(Self {
            apiserver,
            etcd,
            controller_manager,
            scheduler,
            kwok: None,
            client,
            server,
            credentials,
            tools,
            folder,
            _port: port,
        })
    }

    fn components(&self, pods: Pods) -> Components<'_> {
        Components { tools: &self.tools, folder: self.folder.path(), credentials: &self.credentials, pods }
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The kubeconfig with all rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.credentials.kubeconfig
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The folder of this control plane: logs (`*.log`), etcd's data, credentials. Tests may put files here too.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The programs this control plane is made of.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// All processes of this control plane.
    pub fn processes(&self) -> Vec<&Process> {
        let all = [&self.etcd, &self.apiserver, &self.controller_manager, &self.scheduler];
        all.into_iter().chain(&self.kwok).collect()
    }

    /// Ends the API server, starts it on the same port and waits until it is ready.
    pub async fn restart_apiserver(&self, ending: Ending) -> Result<()> {
        match ending {
            Ending::Graceful => self.apiserver.stop().await?,
            Ending::Killed => self.apiserver.kill()?,
        }
        self.apiserver.start()?;
        self.wait_for_apiserver().await
    }

    /// Waits until the API server says it is ready.
    pub async fn wait_for_apiserver(&self) -> Result<()> {
        let needed = [&self.etcd, &self.apiserver];
        eventually("the API server is ready", &needed, async || is_ready(&self.client).await).await
    }

    /// Runs one pod until it is started and removes it: nothing less shows that admission, scheduler and kwok
    /// all do their part.
    async fn wait_until_pods_start(&self) -> Result<()> {
        let all = self.processes();
        self.wait_until_pods_can_be_created().await?;
        let pods: Api<Pod> = Api::default_namespaced(self.client());
        let name = "testbed-start";
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {"testbed/never-ready": "true"}},
            "spec": {"containers": [{"name": "none", "image": "none"}]},
        }))?;
        pods.create(&PostParams::default(), &pod).await.context("create a first pod")?;
        let started = async || {
            let phase = pods.get(name).await?.status.and_then(|status| status.phase);
            Ok(phase.as_deref() == Some("Running"))
        };
        eventually("a first pod runs", &all, started).await?;
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.context("delete the first pod")?;
        Ok(())
    }

    pub(crate) async fn wait_until_pods_can_be_created(&self) -> Result<()> {
        // The name of the account that admission gives to pods which name none.
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client());
        let account_exists = async || Ok(accounts.get_opt("default").await?.is_some());
        eventually("the default service account exists", &self.processes(), account_exists).await
    }
}

/// Whether folders are to stay, for a person to read the logs in them.
pub(crate) fn is_kept() -> bool {
    std::env::var_os("TESTBED_KEEP").is_some()
}

fn temporary_folder() -> Result<TempDir> {
    let keep = is_kept();
    let mut builder = tempfile::Builder::new();
    let folder = builder.prefix("testbed-").disable_cleanup(keep).tempdir().context("create a temporary folder")?;
    if !keep {
        guard::remove_at_exit(folder.path())?;
    }
    Ok(folder)
}

async fn admin_client(kubeconfig: &Path) -> Result<Client> {
    let config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn is_ready(client: &Client) -> Result<bool> {
    let request = Request::get("/readyz").body(Vec::new())?;
    Ok(client.request_text(request).await? == "ok")
}

/// Looks at a condition until it holds. An error of a look counts as "not yet" and is told when time is up.
///
/// # Errors
/// When one of `needed` ends, or after [`START_TIMEOUT`].
pub(crate) async fn eventually(what: &str, needed: &[&Process], look: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    let deadline = started + START_TIMEOUT;
    loop {
        for process in needed {
            process.ensure_running().with_context(|| format!("waiting until {what}"))?;
        }
        let seen = match tokio::time::timeout(REQUEST_TIMEOUT, look()).await {
            Ok(Ok(true)) => {
                tracing::debug!(what, elapsed = ?started.elapsed());
                return Ok(());
            }
            Ok(Ok(false)) => "not so yet".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() >= deadline {
            let logs: Vec<String> =
                needed.iter().map(|process| format!("{}:\n{}", process.log().display(), process.log_tail())).collect();
            bail!("waited {START_TIMEOUT:?} until {what}; last: {seen}\n{}", logs.join("\n"));
        }
        tokio::time::sleep(POLL).await;
    }
}
