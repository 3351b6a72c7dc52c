//! The configuration files of a node's programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::node::Place;
use super::{ADDRESS, DOMAIN, PODS, RealTools};

/// The image that containerd takes for the first container of every pod.
pub(super) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// Writes them all into the node's folder.
pub(super) fn write(place: &Place, tools: &RealTools, proxy_kubeconfig: &Path) -> Result<()> {
    let folder = &place.folder;
    fs::create_dir_all(folder.join("network"))?;
    // What pods are given beyond the cluster's own names: nothing.
    write_file(&folder.join("resolv.conf"), "")?;
    write_file(&folder.join("containerd.toml"), &containerd(place, tools))?;
    write_json(&folder.join("network/10-pods.conflist"), &network(place))?;
    write_json(&folder.join("kubelet.json"), &kubelet_configuration(place))?;
    write_json(&folder.join("kube-proxy.json"), &kube_proxy(&place.name, proxy_kubeconfig))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_file(path, &format!("{value:#}\n"))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Its scores for the out-of-memory killer are left as they are where raising them needs a right that is not given.
fn containerd(place: &Place, tools: &RealTools) -> String {
    let folder = place.folder.display();
    format!(
        r#"version = 3
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{socket}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{folder}/network"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#,
        socket = place.socket().display(),
        plugins = tools.network_plugins.display(),
        runc = tools.runc.display(),
    )
}

/// A link from each pod to its node, which leads on from there: no bridge, past which rules for packets would have to be
/// told to look.
fn network(place: &Place) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": place.folder.join("addresses"),
                "ranges": [[{"subnet": place.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn kubelet_configuration(place: &Place) -> Value {
    let folder = &place.folder;
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", place.socket().display()),
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", place.name),
        "enforceNodeAllocatable": ["none"],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // Only the API server gets here.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": folder.join("resolv.conf"),
        "podLogsDir": folder.join("pod-logs"),
        "volumePluginDir": folder.join("volume-plugins"),
        // No image comes back that is thrown away.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        // Renewed every 2.5 s, so that a lost node is noticed soon.
        "nodeLeaseDurationSeconds": 10,
    })
}

/// The one for the node `name`. Limits of the machine's connection tracking stay as they are.
pub(super) fn kube_proxy(name: &str, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": name,
        "clusterCIDR": PODS,
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}
