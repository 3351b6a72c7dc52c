//! A control plane with real nodes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::Api;

use super::configuration::{self, PAUSE_IMAGE};
use super::node::{self, Node};
use super::{RealTools, dns, is_inside};
use crate::cluster::{Account, Cluster, Pods, eventually};
use crate::http;
use crate::process::{Process, ProcessSpec};
use crate::tools::Tools;

/// Node number n has the addresses 172.30.0.(n + 1) and 10.244.n.
const MOST_NODES: usize = 250;

/// How a cluster with real nodes is to be.
#[derive(Debug, Clone)]
pub struct RealOptions {
    /// The number of nodes: `node-1`, `node-2` and so on.
    pub nodes: usize,
    /// Further flags of the API server, such as `--v=4`.
    pub apiserver_flags: Vec<String>,
}

impl Default for RealOptions {
    /// One node.
    fn default() -> Self {
        Self { nodes: 1, apiserver_flags: Vec::new() }
    }
}

/// A running cluster. Dropping it ends all its processes and pods.
///
/// The program that holds it reaches the API server, Services and pods by their addresses, and looks names up in the
/// cluster's DNS. One can run at a time in a machine.
pub struct RealCluster {
    nodes: Vec<Node>,
    /// Leads what this program sends to a Service to one of its pods.
    kube_proxy: Process,
    dns: Process,
    // Below the nodes, since fields are dropped in order.
    control_plane: Cluster,
}

impl RealCluster {
    /// Starts a cluster and waits until its nodes take pods. The program has to be inside a machine:
    /// [`super::enter`].
    ///
    /// # Errors
    /// When it is not, there are no nodes or too many, or something does not start; the error holds the end of its log.
    pub async fn start(options: RealOptions) -> Result<Self> {
        ensure!(is_inside(), "real nodes need a machine: call `testbed::real::enter` at the start of the program");
        ensure!((1..=MOST_NODES).contains(&options.nodes), "there can be 1 to {MOST_NODES} nodes");
        let since = Timestamp::now();
        let tools = tokio::task::spawn_blocking(super::tools).await??;
        let control_plane =
            Cluster::start_without_nodes(Pods::Real, &accounts(options.nodes), &options.apiserver_flags).await?;
        let folder = control_plane.dir();
        let pause = folder.join("pause.tar");
        fs::write(&pause, pause_image(&tools)?).context("write the pause image")?;
        let starts = (1..=options.nodes).map(|number| Node::start(number, folder, &tools, &pause));
        let nodes = futures::future::try_join_all(starts).await?;
        let cluster = Self {
            nodes,
            kube_proxy: Process::spawn(kube_proxy(folder, &tools)?)?,
            dns: Process::spawn(dns::process(folder, control_plane.kubeconfig(), &tools)?)?,
            control_plane,
        };
        cluster.wait_until_ready(since).await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&self, since: Timestamp) -> Result<()> {
        for number in 1..=self.nodes.len() {
            self.wait_until_node_is_ready(number, since).await?;
        }
        self.control_plane.wait_until_pods_can_be_created().await?;
        let answers = async || Ok(http::client()?.get(dns::READY).send().await?.status().is_success());
        eventually("DNS is ready", &[&self.dns], answers).await
    }

    /// Waits until the node says that it takes pods, and has said so after `since`.
    async fn wait_until_node_is_ready(&self, number: usize, since: Timestamp) -> Result<()> {
        let name = node::name(number);
        let nodes: Api<NodeObject> = Api::all(self.client());
        let is_ready = async || {
            self.ensure_running()?;
            Ok(nodes.get_opt(&name).await?.is_some_and(|node| takes_pods(&node, since)))
        };
        eventually(&format!("{name} takes pods"), &self.control_plane.processes(), is_ready).await
    }

    /// The control plane, with kubectl, Helm and kubeconfig files of service accounts.
    pub fn control_plane(&self) -> &Cluster {
        &self.control_plane
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.control_plane.client()
    }

    /// The kubeconfig with all rights.
    pub fn kubeconfig(&self) -> &Path {
        self.control_plane.kubeconfig()
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        self.control_plane.server()
    }

    /// The cluster's folder: logs (`*.log`, those of a node in `node-1` and so on), credentials. Tests may put files
    /// here too.
    pub fn dir(&self) -> &Path {
        self.control_plane.dir()
    }

    /// The programs of the control plane.
    pub fn tools(&self) -> &Tools {
        self.control_plane.tools()
    }

    /// Gives all nodes that are on an image: an OCI archive whose index names it. Pods that use it say
    /// `imagePullPolicy: Never` or `IfNotPresent`.
    ///
    /// # Errors
    /// When the archive cannot be read or a node is off.
    pub async fn import_image(&self, archive: &Path) -> Result<()> {
        for node in &self.nodes {
            node.import(archive).await.with_context(|| format!("import {}", archive.display()))?;
        }
        Ok(())
    }

    /// Ends everything on node `number`, counted from 1, at once, as a machine that loses its power. The control plane
    /// notices after 20 s at the latest.
    ///
    /// # Errors
    /// When there is no such node or it is off.
    pub fn kill_node(&self, number: usize) -> Result<()> {
        self.node(number)?.kill()
    }

    /// Starts a node again after [`RealCluster::kill_node`], and waits until it takes pods.
    ///
    /// # Errors
    /// When there is no such node, it is on, or it does not start.
    pub async fn start_node(&self, number: usize) -> Result<()> {
        let since = Timestamp::now();
        self.node(number)?.switch_on().await?;
        self.wait_until_node_is_ready(number, since).await
    }

    fn node(&self, number: usize) -> Result<&Node> {
        let index = number.checked_sub(1).context("nodes are counted from 1")?;
        self.nodes.get(index).with_context(|| format!("there are {} nodes", self.nodes.len()))
    }

    /// Fails when a program of the control plane or of a node that is on has ended; the error holds the end of its log.
    pub fn ensure_running(&self) -> Result<()> {
        let processes = self.control_plane.processes().into_iter().chain([&self.kube_proxy, &self.dns]);
        processes.map(Process::ensure_running).chain(self.nodes.iter().map(Node::ensure_running)).collect()
    }
}

/// Whether the node is Ready, as its kubelet said after `since`, and nothing keeps pods away from it.
fn takes_pods(node: &NodeObject, since: Timestamp) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|condition| {
        let said = condition.last_heartbeat_time.as_ref().map(|time| time.0.as_second());
        condition.type_ == "Ready" && condition.status == "True" && said >= Some(since.as_second())
    });
    let tainted = node.spec.iter().any(|spec| spec.taints.as_ref().is_some_and(|taints| !taints.is_empty()));
    ready && !tainted
}

/// Each kubelet is somebody of its own, with the rights of a kubelet.
fn accounts(nodes: usize) -> Vec<Account> {
    let kubelets = (1..=nodes).map(|number| {
        let name = node::name(number);
        Account { user: format!("system:node:{name}"), name, group: "system:nodes" }
    });
    let proxy =
        Account { name: "kube-proxy".to_owned(), user: "system:kube-proxy".to_owned(), group: "system:authenticated" };
    kubelets.chain([proxy]).collect()
}

/// The one beside the control plane. It stands for no node, and calls itself after the first.
fn kube_proxy(folder: &Path, tools: &RealTools) -> Result<ProcessSpec> {
    let path = folder.join("kube-proxy.json");
    let configuration = configuration::kube_proxy(&node::name(1), &folder.join("kube-proxy.kubeconfig"));
    fs::write(&path, configuration.to_string()).with_context(|| format!("write {}", path.display()))?;
    Ok(ProcessSpec::new("kube-proxy", &tools.kube_proxy, folder).arg("--config").arg(path).kill_on_drop())
}

fn pause_image(tools: &RealTools) -> Result<Vec<u8>> {
    let program = fs::read(&tools.pause).with_context(|| format!("read {}", tools.pause.display()))?;
    let image = packaging::Image {
        name: PAUSE_IMAGE.to_owned(),
        root: packaging::Root::default().with_program("pause", program),
        entrypoint: vec!["/pause".to_owned()],
        user: (65_535, 65_535),
        ports: Vec::new(),
        labels: Default::default(),
        time: 0,
        packing: packaging::Packing::Fast,
    };
    Ok(image.archive()?.file)
}
