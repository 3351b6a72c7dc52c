//! One control plane for all tests of this file, and a namespace with one Deployment for each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gatekeeper::act::{ActError, Applied, Applier, Condemnation, Intended, RolledBack};
use gatekeeper::decide::action::Action;
use gatekeeper::decide::holding::Next;
use gatekeeper::watch::facts;
use gatekeeper::watch::rollout::{Revision, Rollout};
use gatekeeper::watch::view::{DeploymentView, ReplicaSetView};
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::watching::Watching;

pub(crate) const NAME: &str = "kettle";
pub(crate) const REASON: &str = "burn rate 14.2x (38 errors in 2,671 requests, 30 s) exceeds 1.0x";
/// The chart's namespace.
const HOME: &str = "gk";
/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than the controller takes to learn of a write.
const A_MOMENT: Duration = Duration::from_millis(500);

/// The process ends with it: the testbed's guard takes the control plane down then.
static CLUSTER: OnceCell<Shared> = OnceCell::const_new();

struct Shared {
    cluster: Cluster,
    /// For the chart's own account with the chart's own rights.
    operator: PathBuf,
    /// For an account without rights.
    stranger: PathBuf,
}

async fn shared() -> &'static Shared {
    CLUSTER
        .get_or_init(|| async {
            let delay = Duration::from_millis(300)..=Duration::from_millis(600);
            let options = ClusterOptions { pod_ready_delay: delay, ..ClusterOptions::default() };
            let cluster = Cluster::start(options).await.expect("the control plane starts");
            give_rights(&cluster).await;
            let operator = cluster.kubeconfig_for_service_account(HOME, "gk-error-budget-gatekeeper").await;
            let stranger = cluster.kubeconfig_for_service_account(HOME, "default").await;
            Shared { cluster, operator: operator.expect("a token"), stranger: stranger.expect("a token") }
        })
        .await
}

async fn give_rights(cluster: &Cluster) {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/error-budget-gatekeeper");
    let arguments = ["template", "gk", &chart.to_string_lossy(), "--namespace", HOME];
    let shown = ["--show-only", "templates/rbac.yaml", "--show-only", "templates/serviceaccount.yaml"];
    let values = ["--set", "prometheus.default.url=http://prometheus.invalid"];
    let rights = cluster.helm(&[&arguments[..], &shown, &values].concat()).await.expect("the chart renders");
    cluster.kubectl(&["create", "namespace", HOME]).await.expect("a namespace");
    cluster.kubectl_with_input(&["apply", "-f", "-"], &rights).await.expect("the rights are given");
    // Kubernetes makes it a moment after the namespace.
    let account = ["--namespace", HOME, "wait", "--for=create", "--timeout=60s", "serviceaccount/default"];
    cluster.kubectl(&account).await.expect("the default account");
}

/// A client of this test's own: a client lives in the runtime that made it.
async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("it is whole");
    Client::try_from(config).expect("a client")
}

/// A namespace of one test's own, in which a Deployment is released.
pub(crate) struct Shop {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: &'static str,
    pub(crate) applier: Applier,
    admin: Client,
}

impl Shop {
    pub(crate) async fn open(namespace: &'static str) -> Self {
        let Shared { cluster, operator, .. } = shared().await;
        cluster.kubectl(&["create", "namespace", namespace]).await.expect("a namespace");
        let admin = client(cluster.kubeconfig()).await;
        Self { cluster, namespace, applier: Applier::new(client(operator).await, || true), admin }
    }

    /// An applier with the rights of an account that has none.
    pub(crate) async fn applier_without_rights(&self) -> Applier {
        Applier::new(client(&shared().await.stranger).await, || true)
    }

    /// An applier that does not lead.
    pub(crate) async fn standby(&self) -> Applier {
        Applier::new(client(&shared().await.operator).await, || false)
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).await.expect("kubectl succeeds")
    }

    pub(crate) async fn kubectl_with(&self, arguments: &[&str], manifest: &Value) -> String {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl_with_input(&arguments, &manifest.to_string()).await.expect("kubectl succeeds")
    }

    /// `kubectl apply`, from the client's side.
    pub(crate) async fn apply(&self, manifest: &Value) {
        self.kubectl_with(&["apply", "-f", "-"], manifest).await;
    }

    /// `kubectl apply --server-side` as `manager`; a conflict with another owner fails the test.
    pub(crate) async fn apply_as(&self, manager: &str, manifest: &Value) {
        self.kubectl_with(&["apply", "--server-side", "--field-manager", manager, "-f", "-"], manifest).await;
    }

    /// The spec that this manifest gives where there was nothing before.
    async fn spec_as_written(&self, manifest: &Value) -> Value {
        let mut manifest = manifest.clone();
        manifest["metadata"]["name"] = json!("fresh");
        let made = self.kubectl_with(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &manifest).await;
        serde_json::from_str::<Value>(&made).expect("an object")["spec"].take()
    }

    /// The template that this manifest gives where there was nothing before.
    pub(crate) async fn template_as_written(&self, manifest: &Value) -> Value {
        self.spec_as_written(manifest).await["template"].take()
    }

    /// The settings that this manifest gives where there was nothing before.
    pub(crate) async fn settings_as_written(&self, manifest: &Value) -> Value {
        settings_of(self.spec_as_written(manifest).await)
    }

    /// What a hold sets of the spec, as it is.
    pub(crate) async fn settings(&self) -> Value {
        settings_of(self.deployment().await["spec"].take())
    }

    pub(crate) async fn deployment(&self) -> Value {
        let text = self.kubectl(&["get", "deployment", NAME, "-o", "json", "--show-managed-fields"]).await;
        serde_json::from_str(&text).expect("an object")
    }

    pub(crate) async fn template(&self) -> Value {
        self.deployment().await["spec"]["template"].take()
    }

    pub(crate) async fn annotation(&self, key: &str) -> Option<String> {
        self.deployment().await["metadata"]["annotations"].get(key)?.as_str().map(ToOwned::to_owned)
    }

    pub(crate) async fn facts(&self) -> Rollout {
        let deployments: Api<DeploymentView> = Api::namespaced(self.admin.clone(), self.namespace);
        let replica_sets: Api<ReplicaSetView> = Api::namespaced(self.admin.clone(), self.namespace);
        let deployment = deployments.get(NAME).await.expect("the Deployment is there");
        let replica_sets = replica_sets.list(&ListParams::default()).await.expect("ReplicaSets are listed");
        facts::rollout(&deployment, &replica_sets.items)
    }

    /// Waits until the facts are so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Rollout) -> bool) -> Rollout {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let facts = self.facts().await;
            if so(&facts) {
                return facts;
            }
            assert!(Instant::now() < deadline, "waited until {what}; it is {facts:#?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until Kubernetes has made or taken up the ReplicaSet of the newest template.
    pub(crate) async fn until_taken_up(&self) -> Revision {
        let taken_up = |facts: &Rollout| facts.observed && facts.canary.is_some();
        self.until("the newest template has a ReplicaSet", taken_up).await.canary.expect("as waited for")
    }

    pub(crate) async fn until_complete(&self) -> Revision {
        self.until("the rollout is complete", |facts| facts.complete).await.canary.expect("it has a ReplicaSet")
    }

    /// First step of a rollback from the newest revision to `stable`.
    pub(crate) async fn condemn(&self, stable: &Revision) -> Intended {
        let facts = self.facts().await;
        let bad = facts.canary.as_ref().expect("a new revision");
        let what = Condemnation { bad, stable, policy: "checkout", reason: REASON, at: Timestamp::now() };
        self.applier.condemn(&facts, &what).await.expect("the mark is written")
    }

    /// All steps of it.
    pub(crate) async fn roll_back(&self, stable: &Revision) -> RolledBack {
        let intended = self.condemn(stable).await;
        let rolled_back = self.applier.roll_back(intended).await.expect("the template is put back");
        self.applier.hand_back(&rolled_back).await.expect("ownership is handed back");
        rolled_back
    }

    /// Who owns a field of the template's first container, as `manager (operation)`.
    pub(crate) async fn owners_of_template(&self) -> Vec<String> {
        let deployment = self.deployment().await;
        let entries = deployment["metadata"]["managedFields"].as_array().expect("entries").clone();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        entries
            .iter()
            .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:template").is_some())
            .map(|entry| format!("{} ({})", text(entry, "manager"), text(entry, "operation")))
            .collect()
    }

    /// Does what is asked for, as each reconcile does, until it is as it should be and stays so for a moment: the
    /// controller may be about to undo it for what it knew before.
    pub(crate) async fn pursue(&self, next: impl Fn(&Rollout) -> Next) -> Rollout {
        let deadline = Instant::now() + PATIENCE;
        let mut changed = Instant::now();
        loop {
            let facts = self.facts().await;
            let next = if facts.observed { next(&facts) } else { Next::Wait };
            assert!(Instant::now() < deadline, "{next:?} is due for {facts:#?}");
            if next != Next::Reached {
                changed = Instant::now();
            }
            match next {
                Next::Reached if changed.elapsed() > A_MOMENT => return facts,
                Next::Reached | Next::Wait => sleep(Duration::from_millis(20)).await,
                Next::Do(action) => match self.act(&facts, &action).await {
                    Ok(_) | Err(ActError::Conflict { .. } | ActError::TimedOut { .. }) => {}
                    Err(error) => panic!("{action:?} fails: {error:?}"),
                },
            }
        }
    }

    async fn act(&self, facts: &Rollout, action: &Action) -> Result<Applied, ActError> {
        match action {
            Action::Pause(hold) => self.applier.pause(facts, hold).await,
            Action::HoldCanary(canary) => self.applier.hold_canary(facts, canary).await,
            Action::Resize(sizes) => self.applier.resize(facts, sizes).await,
            action => panic!("{action:?} holds nothing"),
        }
    }

    /// Every change of the ReplicaSets from now on.
    pub(crate) async fn watching(&self) -> Watching {
        Watching::begin(Api::namespaced(self.admin.clone(), self.namespace)).await
    }

    /// What changes of the ReplicaSets' specs from now on, for `span`.
    pub(crate) async fn replicas_asked_for_during(&self, span: Duration) -> Vec<Vec<(String, u32)>> {
        let end = Instant::now() + span;
        let mut seen = Vec::new();
        while Instant::now() < end {
            let facts = self.facts().await;
            let all = facts.canary.iter().chain(&facts.others);
            let now: Vec<_> = all.map(|revision| (revision.replica_set.clone(), revision.desired)).collect();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            sleep(Duration::from_millis(20)).await;
        }
        seen
    }

    pub(crate) async fn delete_replica_set(&self, revision: &Revision) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "ReplicaSet"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin.clone(), self.namespace, &resource);
        api.delete(&revision.replica_set, &Default::default()).await.expect("it is deleted");
    }
}

fn settings_of(mut spec: Value) -> Value {
    let settings = ["strategy", "minReadySeconds", "progressDeadlineSeconds", "paused"];
    spec.as_object_mut().expect("fields").retain(|key, _| settings.contains(&&**key));
    spec
}

/// A manifest with this pod spec, of three replicas.
pub(crate) fn manifest(pod_spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": pod_spec},
        },
    })
}

/// A manifest of one container with this image.
pub(crate) fn simple(image: &str) -> Value {
    manifest(json!({"containers": [{"name": "web", "image": image}]}))
}

/// The good version: of everything that merges item by item, something that the bad one drops or changes.
pub(crate) fn good() -> Value {
    manifest(json!({
        "terminationGracePeriodSeconds": 60,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "hostAliases": [{"ip": "10.1.0.1", "hostnames": ["tea"]}],
        "initContainers": [{"name": "fill", "image": "fill:1"}],
        "containers": [
            {
                "name": "web", "image": "web:1", "args": ["--steam", "--whistle"],
                "env": [{"name": "COMMON", "value": "1"}, {"name": "CHANGED", "value": "1"}, {"name": "DROPPED", "value": "1"}],
                "ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP", "name": "udp"}, {"containerPort": 8080}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "changed", "mountPath": "/changed"}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            },
            {"name": "dropped", "image": "dropped:1"},
        ],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "changed", "configMap": {"name": "tea", "optional": true}}],
    }))
}

/// The bad version.
pub(crate) fn bad() -> Value {
    manifest(json!({
        "containers": [
            {"name": "added", "image": "added:2"},
            {
                "name": "web", "image": "web:2", "args": ["--steam"],
                "env": [{"name": "COMMON", "value": "1"}, {"name": "CHANGED", "value": "2"}, {"name": "ADDED", "value": "2"}],
                "ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 9090}],
                "volumeMounts": [{"name": "changed", "mountPath": "/changed"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 9090}},
            },
        ],
        "volumes": [{"name": "changed", "emptyDir": {}}, {"name": "added", "emptyDir": {}}],
    }))
}

/// The fix: it lacks what the bad one had dropped, and what it had added.
pub(crate) fn fix() -> Value {
    manifest(json!({
        "containers": [{
            "name": "web", "image": "web:3",
            "env": [{"name": "COMMON", "value": "1"}, {"name": "CHANGED", "value": "3"}],
            "ports": [{"containerPort": 53, "protocol": "TCP"}],
            "volumeMounts": [{"name": "changed", "mountPath": "/changed"}],
        }],
        "volumes": [{"name": "changed", "emptyDir": {}}],
    }))
}
