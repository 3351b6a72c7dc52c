//! The command lines of the components.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credentials::Credentials;
use crate::process::ProcessSpec;
use crate::tools::Tools;

/// What the controllers of a rollout, a chart and a namespace's life need. The rest would only cost memory; in
/// particular, without node lifecycle a busy machine cannot make the nodes look lost.
const CONTROLLERS: [&str; 15] = [
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "validatingadmissionpolicy-status-controller",
];

/// Who runs the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pods {
    /// kwok, which says of them what a kubelet would.
    Simulated,
    /// Real nodes, in networks of their own: see [`crate::real`].
    Real,
}

impl Pods {
    /// The address that the API server is reached at.
    pub(crate) fn server_address(self) -> &'static str {
        match self {
            Self::Simulated => "127.0.0.1",
            Self::Real => crate::real::ADDRESS,
        }
    }

    /// Nodes that no kubelet keeps must not be born tainted as not ready, since nothing would take that away, and a
    /// loopback address cannot be the endpoint that pods reach the API server by.
    fn apiserver_flags(self) -> &'static [&'static str] {
        match self {
            Self::Simulated => &[
                "--bind-address=127.0.0.1",
                "--authorization-mode=RBAC",
                "--endpoint-reconciler-type=none",
                "--disable-admission-plugins=TaintNodesByCondition",
            ],
            Self::Real => &[
                "--bind-address=0.0.0.0",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--kubelet-preferred-address-types=InternalIP",
            ],
        }
    }

    /// For real nodes all controllers but those of a cloud. A node is lost sooner than on a cluster that spans a data centre,
    /// and autoscalers look three times as often as by default.
    fn controller_manager_flags(self) -> Vec<String> {
        match self {
            Self::Simulated => vec![format!("--controllers={}", CONTROLLERS.join(","))],
            Self::Real => vec![
                "--controllers=*,-node-ipam-controller,-node-route-controller,-service-lb-controller".to_owned(),
                "--node-monitor-grace-period=20s".to_owned(),
                "--horizontal-pod-autoscaler-sync-period=5s".to_owned(),
            ],
        }
    }
}

/// The API server closes open watches and finishes requests first, which takes about a second.
const GRACE: Duration = Duration::from_secs(30);

/// Builds the specification of each component of one control plane.
pub(super) struct Components<'a> {
    pub(super) tools: &'a Tools,
    pub(super) folder: &'a Path,
    pub(super) credentials: &'a Credentials,
    pub(super) pods: Pods,
}

impl Components<'_> {
    /// etcd listens on sockets in the folder, so it needs no ports. It insists on advertising a host and a port
    /// although nobody ever asks for them.
    pub(super) fn etcd(&self) -> ProcessSpec {
        let unused = "http://127.0.0.1:1";
        self.spec("etcd", &self.tools.etcd)
            .arg("--name=testbed")
            .arg(format!("--data-dir={}", self.folder.join("etcd").display()))
            .arg(format!("--listen-client-urls={}", self.etcd_url()))
            .arg(format!("--listen-peer-urls=unix://{}", self.folder.join("etcd-peer.sock").display()))
            .args([
                format!("--advertise-client-urls={unused}"),
                format!("--initial-advertise-peer-urls={unused}"),
                format!("--initial-cluster=testbed={unused}"),
            ])
            .args(["--unsafe-no-fsync", "--log-level=warn"])
    }

    /// The API server, with RBAC.
    pub(super) fn apiserver(&self, port: u16, extra_flags: &[String]) -> ProcessSpec {
        let files = self.credentials;
        self.spec("kube-apiserver", &self.tools.kube_apiserver)
            .arg(format!("--etcd-servers={}", self.etcd_url()))
            .arg(format!("--advertise-address={}", self.pods.server_address()))
            .arg("--permit-port-sharing=true")
            .args(self.pods.apiserver_flags())
            .arg(format!("--secure-port={port}"))
            .arg(format!("--tls-cert-file={}", files.serving_certificate.display()))
            .arg(format!("--tls-private-key-file={}", files.serving_key.display()))
            .arg(format!("--token-auth-file={}", files.tokens.display()))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", files.service_account_public_key.display()))
            .arg(format!("--service-account-signing-key-file={}", files.service_account_key.display()))
            .arg(format!("--service-cluster-ip-range={}", crate::real::SERVICES))
            .arg("--allow-privileged=true")
            .args(extra_flags)
    }

    pub(super) fn controller_manager(&self) -> ProcessSpec {
        self.spec("kube-controller-manager", &self.tools.kube_controller_manager)
            .args(self.client_flags())
            .args(self.pods.controller_manager_flags())
            // Created where it does not exist, by default among the system's own folders.
            .arg(format!("--flex-volume-plugin-dir={}", self.folder.join("volume-plugins").display()))
            .arg(format!("--root-ca-file={}", self.credentials.ca.display()))
            .arg(format!("--service-account-private-key-file={}", self.credentials.service_account_key.display()))
            .args(["--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20"])
    }

    pub(super) fn scheduler(&self) -> ProcessSpec {
        self.spec("kube-scheduler", &self.tools.kube_scheduler).args(self.client_flags())
    }

    /// kwok, playing the life of pods that is described in the file `stages`.
    pub(super) fn kwok(&self, stages: &Path) -> ProcessSpec {
        self.spec("kwok", &self.tools.kwok)
            .arg(format!("--kubeconfig={}", self.credentials.kubeconfig.display()))
            .arg(format!("--config={}", stages.display()))
            // Loopback addresses, so that a test can serve at a pod's own address.
            .args(["--manage-all-nodes=true", "--cidr=127.244.0.0/16"])
            // Its configuration of the user's own would be read otherwise.
            .env("KWOK_WORKDIR", self.folder.join("kwok"))
    }

    /// One instance each, no web server, and a request rate that does not slow down many rollouts at once.
    fn client_flags(&self) -> [String; 5] {
        [
            format!("--kubeconfig={}", self.credentials.kubeconfig.display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ]
    }

    /// The socket etcd serves its clients on.
    pub(super) fn etcd_socket(&self) -> PathBuf {
        self.folder.join("etcd.sock")
    }

    fn etcd_url(&self) -> String {
        format!("unix://{}", self.etcd_socket().display())
    }

    /// Dropping a control plane kills its components: nothing of them is worth keeping.
    fn spec(&self, name: &str, program: &Path) -> ProcessSpec {
        ProcessSpec::new(name, program, self.folder).grace(GRACE).kill_on_drop()
    }
}
