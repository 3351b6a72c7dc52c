//! The programs of the control plane, built from Go modules.

mod build;

use std::path::PathBuf;

use anyhow::Result;

pub(crate) use build::{Tool, ToolSet, kubernetes};

/// Where the built programs are.
#[derive(Debug, Clone)]
pub struct Tools {
    /// etcd, the store behind the API server.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controllers: Deployments, ReplicaSets, garbage collection and so on.
    pub kube_controller_manager: PathBuf,
    /// The scheduler.
    pub kube_scheduler: PathBuf,
    /// The command line client.
    pub kubectl: PathBuf,
    /// kwok, which plays the kubelets.
    pub kwok: PathBuf,
    /// Helm.
    pub helm: PathBuf,
    /// Prometheus, with static, file, HTTP and Kubernetes service discovery and no other.
    pub prometheus: PathBuf,
}

const SET: ToolSet = ToolSet {
    go_mod: include_str!("../tools/go.mod"),
    go_sum: include_str!("../tools/go.sum"),
    sources: &[],
    tools: &TOOLS,
};

const TOOLS: [Tool; 8] = [
    Tool {
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        module: Some("go.etcd.io/etcd/server/v3"),
        tags: "",
        version_flags: |_| String::new(),
        cgo: false,
    },
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    Tool {
        name: "kwok",
        package: "sigs.k8s.io/kwok/cmd/kwok",
        module: Some("sigs.k8s.io/kwok"),
        tags: "",
        version_flags: |_| String::new(),
        cgo: false,
    },
    Tool {
        name: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        module: Some("helm.sh/helm/v4"),
        tags: "",
        version_flags: |version| format!("-X helm.sh/helm/v4/internal/version.version={version}"),
        cgo: false,
    },
    Tool {
        name: "prometheus",
        package: "github.com/prometheus/prometheus/cmd/prometheus",
        module: Some("github.com/prometheus/prometheus"),
        // Leaves out the discovery of machines in clouds, and with it most of what would have to be compiled.
        tags: "remove_all_sd,enable_kubernetes_sd",
        version_flags: |version| {
            format!("-X github.com/prometheus/common/version.Version={}", prometheus_release(version))
        },
        cgo: false,
    },
];

/// Prometheus 3.5.0 is module version v0.305.0.
fn prometheus_release(module_version: &str) -> String {
    let mut parts = module_version.trim_start_matches("v0.").split('.');
    let joined: u32 = parts.next().and_then(|part| part.parse().ok()).unwrap_or_default();
    format!("{}.{}.{}", joined / 100, joined % 100, parts.next().unwrap_or_default())
}

/// The tools, built first if they are not in the cache.
///
/// That takes minutes the first time; progress goes to standard error. The cache is the folder in
/// `TESTBED_CACHE`, or `error-budget-gatekeeper/tools` in the user's cache folder.
///
/// # Errors
/// When Go is missing, too old, or cannot build a tool.
pub fn tools() -> Result<Tools> {
    let folder = SET.folder()?;
    let path = |name: &str| folder.join(name);
    Ok(Tools {
        etcd: path("etcd"),
        kube_apiserver: path("kube-apiserver"),
        kube_controller_manager: path("kube-controller-manager"),
        kube_scheduler: path("kube-scheduler"),
        kubectl: path("kubectl"),
        kwok: path("kwok"),
        helm: path("helm"),
        prometheus: path("prometheus"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_version_in_go_mod() {
        for tool in &TOOLS {
            let version = SET.version(tool).expect("go.mod names every module");
            assert!(version.starts_with('v'), "{} is {version}", tool.name);
        }
    }

    #[test]
    fn kubernetes_programs_are_told_their_version() {
        let flags = (TOOLS[1].version_flags)("v1.36.3");
        assert!(flags.contains("gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains("gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
    }

    #[test]
    fn a_prometheus_module_version_becomes_its_release() {
        assert_eq!(prometheus_release("v0.313.5"), "3.13.5");
        assert_eq!(prometheus_release("v0.305.0"), "3.5.0");
    }
}
