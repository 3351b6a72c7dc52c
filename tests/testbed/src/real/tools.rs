//! The programs of a node, built from Go modules.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::support;
use crate::tools::{Tool, ToolSet, kubernetes};

/// Where the programs of a node are.
#[derive(Debug, Clone)]
pub struct RealTools {
    /// Runs the pods of a node.
    pub kubelet: PathBuf,
    /// Leads what is sent to a Service to one of its pods.
    pub kube_proxy: PathBuf,
    /// Keeps images and containers. It finds its shim beside itself.
    pub containerd: PathBuf,
    /// Talks to containerd.
    pub ctr: PathBuf,
    /// Starts containers.
    pub runc: PathBuf,
    /// The folder with the programs that give pods their network.
    pub network_plugins: PathBuf,
    /// CoreDNS, with the plug-ins that a cluster needs.
    pub dns: PathBuf,
    /// The first process of every pod.
    pub pause: PathBuf,
    /// A server to try a cluster with, on port 8080: `/` tells the pod's name, and `/ask?url=` what another server says.
    pub web: PathBuf,
}

pub(super) const SET: ToolSet = ToolSet {
    go_mod: include_str!("../../tools/node/go.mod"),
    go_sum: include_str!("../../tools/node/go.sum"),
    sources: &[
        ("dns/main.go", include_str!("../../tools/node/dns/main.go")),
        ("pause/main.go", include_str!("../../tools/node/pause/main.go")),
        ("web/main.go", include_str!("../../tools/node/web/main.go")),
    ],
    tools: &TOOLS,
};

const CONTAINERD: &str = "github.com/containerd/containerd/v2";
const NETWORK: &str = "github.com/containernetworking/plugins";

const TOOLS: [Tool; 12] = [
    kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    containerd("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    containerd("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    containerd("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    // Without seccomp no pod would start: containerd asks for it. That is a library in C.
    Tool {
        tags: "seccomp",
        cgo: true,
        ..plain("runc", "github.com/opencontainers/runc", "github.com/opencontainers/runc")
    },
    plain("ptp", "github.com/containernetworking/plugins/plugins/main/ptp", NETWORK),
    plain("loopback", "github.com/containernetworking/plugins/plugins/main/loopback", NETWORK),
    plain("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local", NETWORK),
    plain("dns", "./dns", "github.com/coredns/coredns"),
    own("pause", "./pause"),
    own("web", "./web"),
];

const fn plain(name: &'static str, package: &'static str, module: &'static str) -> Tool {
    Tool { name, package, module: Some(module), tags: "", version_flags: |_| String::new(), cgo: false }
}

const fn own(name: &'static str, package: &'static str) -> Tool {
    Tool { module: None, ..plain(name, package, "") }
}

/// Without file systems that need libraries in C.
const fn containerd(name: &'static str, package: &'static str) -> Tool {
    Tool {
        tags: "no_btrfs no_zfs no_devmapper",
        version_flags: |version| format!("-X github.com/containerd/containerd/v2/version.Version={version}"),
        ..plain(name, package, CONTAINERD)
    }
}

/// The programs of a node, built first if they are not in the cache, as [`crate::tools::tools`] does.
///
/// # Errors
/// When Go or a package that runc is built with is missing, or Go is too old or cannot build a tool. There is no network inside the machine, so what is not built
/// by then cannot be.
pub fn tools() -> Result<RealTools> {
    let missing = support::missing_to_build()?;
    ensure!(missing.is_empty(), support::install(&missing));
    let folder = SET.folder()?;
    let path = |name: &str| folder.join(name);
    Ok(RealTools {
        kubelet: path("kubelet"),
        kube_proxy: path("kube-proxy"),
        containerd: path("containerd"),
        ctr: path("ctr"),
        runc: path("runc"),
        dns: path("dns"),
        pause: path("pause"),
        web: path("web"),
        network_plugins: folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_that_is_not_ours_has_a_version_in_go_mod() {
        for tool in &TOOLS {
            let version = SET.version(tool).expect("go.mod names every module");
            assert_eq!(version.starts_with('v'), tool.module.is_some(), "{} is {version:?}", tool.name);
        }
    }
}
