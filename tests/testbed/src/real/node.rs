//! One node: namespaces of its own, and in them containerd, a kubelet and kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::cgroups::{self, hierarchies};
use super::configuration::{self, PAUSE_IMAGE};
use super::{ADDRESS, RealTools};
use crate::cluster::eventually;
use crate::process::{Process, ProcessSpec};

const NODE: &str = concat!(include_str!("mounts.sh"), include_str!("node.sh"));
const LINK: &str = include_str!("link.sh");

/// Where a node is: names, folder, addresses.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Of the node, of the link to it, and of its cgroup.
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) address: String,
    /// The range of its pods' addresses.
    pub(super) pods: String,
    /// The kubelet's.
    pub(super) kubeconfig: PathBuf,
}

impl Place {
    /// Node `number`, counted from 1, of the cluster with that folder.
    fn new(number: usize, cluster: &Path) -> Self {
        let name = name(number);
        Self {
            folder: cluster.join(&name),
            address: format!("172.30.0.{}", number + 1),
            pods: format!("10.244.{number}.0/24"),
            kubeconfig: cluster.join(format!("{name}.kubeconfig")),
            name,
        }
    }

    /// Where containerd listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }
}

/// The name of node `number`, counted from 1.
pub(super) fn name(number: usize) -> String {
    format!("node-{number}")
}

/// A node. Dropping it ends everything that runs on it.
#[derive(Debug)]
pub(super) struct Node {
    place: Place,
    tools: RealTools,
    running: Mutex<Option<Running>>,
}

/// The programs of a node that is on.
#[derive(Debug)]
struct Running {
    kubelet: Process,
    kube_proxy: Process,
    containerd: Process,
    /// Holds the namespaces. Killing it kills everything in them.
    namespaces: Process,
}

impl Node {
    /// Makes node `number` of the cluster with that folder, and starts it. `pause` is the archive of the pods' first
    /// image. The kubeconfigs are in the folder already.
    pub(super) async fn start(number: usize, cluster: &Path, tools: &RealTools, pause: &Path) -> Result<Self> {
        let place = Place::new(number, cluster);
        fs::create_dir_all(&place.folder).with_context(|| format!("create {}", place.folder.display()))?;
        configuration::write(&place, tools, &cluster.join("kube-proxy.kubeconfig"))?;
        let hierarchies = hierarchies().map_err(anyhow::Error::msg)?;
        cgroups::create(&hierarchies, &place.name)?;
        let node = Self { place, tools: tools.clone(), running: Mutex::new(None) };
        node.switch_on().await?;
        node.import(pause).await.with_context(|| format!("import {PAUSE_IMAGE}"))?;
        Ok(node)
    }

    /// Starts the node again after [`Node::kill`], as a machine that boots: with its disk, and without what ran.
    pub(super) async fn switch_on(&self) -> Result<()> {
        ensure!(self.running().is_none(), "{} is on already", self.place.name);
        let started = self.bring_up().await.with_context(|| format!("start {}", self.place.name))?;
        *self.running() = Some(started);
        Ok(())
    }

    async fn bring_up(&self) -> Result<Running> {
        let folder = &self.place.folder;
        for file in ["namespaces", "up", "containerd.sock"].map(|file| folder.join(file)) {
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        let namespaces = Process::spawn(self.namespaces()?)?;
        let pid = namespaces.pid().context("the node's first process ended at once")?.to_string();
        let made = async || Ok(folder.join("namespaces").exists());
        eventually("the node has namespaces", &[&namespaces], made).await?;
        self.link(&pid).await?;
        let up = async || Ok(folder.join("up").exists());
        eventually("the node's system is up", &[&namespaces], up).await?;

        let configuration = |file: &str| folder.join(file).into_os_string();
        let containerd = self.inside(&pid, "containerd", &self.tools.containerd);
        let containerd = Process::spawn(containerd.arg("--config").arg(configuration("containerd.toml")))?;
        let listens = async || Ok(self.ask_containerd(&["version"]).await.is_ok());
        eventually("containerd listens", &[&namespaces, &containerd], listens).await?;
        let kube_proxy = self.inside(&pid, "kube-proxy", &self.tools.kube_proxy);
        let kube_proxy = Process::spawn(kube_proxy.arg("--config").arg(configuration("kube-proxy.json")))?;
        let kubelet = self
            .inside(&pid, "kubelet", &self.tools.kubelet)
            .arg("--config")
            .arg(configuration("kubelet.json"))
            .arg("--kubeconfig")
            .arg(&self.place.kubeconfig)
            .arg(format!("--root-dir={}", folder.join("kubelet").display()))
            .arg(format!("--cert-dir={}", folder.join("certificates").display()))
            .arg(format!("--hostname-override={}", self.place.name))
            .arg(format!("--node-ip={}", self.place.address));
        Ok(Running { kubelet: Process::spawn(kubelet)?, kube_proxy, containerd, namespaces })
    }

    fn namespaces(&self) -> Result<ProcessSpec> {
        let hierarchies = hierarchies().map_err(anyhow::Error::msg)?;
        let lists: Vec<&str> = hierarchies.iter().map(|hierarchy| hierarchy.controllers.as_str()).collect();
        Ok(self
            .spec("namespaces", Path::new("unshare"))
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"])
            .args(["--propagation=private", "--mount-proc", "sh", "-c", NODE, "node"])
            .arg(&self.place.folder)
            .args([lists.join(" ").as_str(), &self.place.address, ADDRESS]))
    }

    /// Lays the link to the node, whose namespaces are those of the process `pid`.
    async fn link(&self, pid: &str) -> Result<()> {
        let Place { name, address, pods, .. } = &self.place;
        let output = Command::new("sh").args(["-c", LINK, "link", name, pid, address, pods]).output().await?;
        ensure!(output.status.success(), "lay the link: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// A program in the namespaces of process `pid`.
    fn inside(&self, pid: &str, name: &str, program: &Path) -> ProcessSpec {
        self.spec(name, Path::new("nsenter"))
            .args(["--target", pid, "--mount", "--net", "--uts", "--ipc"])
            .arg(format!("--pid=/proc/{pid}/ns/pid_for_children"))
            .arg("--")
            .arg(program)
    }

    fn spec(&self, name: &str, program: &Path) -> ProcessSpec {
        ProcessSpec::new(name, program, &self.place.folder).kill_on_drop()
    }

    /// Ends everything on the node at once, as a machine that loses its power.
    pub(super) fn kill(&self) -> Result<()> {
        let Some(running) = self.running().take() else { bail!("{} is off already", self.place.name) };
        // With it all the others.
        running.namespaces.kill()
    }

    /// Gives the node an image.
    pub(super) async fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        self.ask_containerd(&["--namespace", "k8s.io", "images", "import", &archive]).await
    }

    async fn ask_containerd(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.tools.ctr);
        let command = command.arg("--address").arg(self.place.socket()).args(arguments).kill_on_drop(true);
        let output = command.output().await.context("run ctr")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`ctr {}` failed: {}", arguments.join(" "), said.trim());
        Ok(())
    }

    /// Fails when a program of a node that is on has ended.
    pub(super) fn ensure_running(&self) -> Result<()> {
        let running = self.running();
        let Some(Running { kubelet, kube_proxy, containerd, namespaces }) = &*running else { return Ok(()) };
        [namespaces, containerd, kube_proxy, kubelet].into_iter().try_for_each(Process::ensure_running)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
