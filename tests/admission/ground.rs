//! One control plane with the chart installed for all tests of this folder, and a namespace with one policy and one
//! Deployment for each.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// The Deployment of every test, and the label that the policy selects it by.
pub(crate) const NAME: &str = "kettle";
/// The policy of every test.
pub(crate) const POLICY: &str = "checkout";
/// The chart's namespace.
pub(crate) const HOME: &str = "gk";
/// The account that the chart gives the operator.
pub(crate) const OPERATOR: &str = "system:serviceaccount:gk:gk-error-budget-gatekeeper";
/// The administrator of the testbed.
pub(crate) const ADMIN: &str = "admin";
/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
const SENTINEL: &str = "sentinel";
const PROBE: &str = "probe";

/// The process ends with it: the testbed's guard takes the control plane down then.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

pub(crate) async fn cluster() -> &'static Cluster {
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start(ClusterOptions::default()).await.expect("the control plane starts");
            let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");
            let install = ["install", "gk", chart, "--namespace", HOME, "--create-namespace"];
            let values = ["--set", "prometheus.default.url=http://prometheus.invalid", "--set", "replicas=0"];
            cluster.helm(&[&install[..], &values].concat()).await.expect("the chart is installed");
            // Everyone may write Deployments, and their status: what is refused is refused by the policies.
            let role =
                ["create", "clusterrole", "writers", "--verb=*", "--resource=deployments.apps,deployments.apps/status"];
            cluster.kubectl(&role).await.expect("a role");
            let bind =
                ["create", "clusterrolebinding", "writers", "--clusterrole=writers", "--group=system:authenticated"];
            cluster.kubectl(&bind).await.expect("a binding");
            cluster
        })
        .await
}

/// A namespace of one test's own, with the Deployment rolled out and the policy in force.
pub(crate) struct Shop {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: &'static str,
    /// As the administrator.
    pub(crate) admin: User,
    turns: AtomicU32,
}

impl Shop {
    pub(crate) async fn open(namespace: &'static str) -> Self {
        let shop = Self::without_policy(namespace).await;
        shop.create_policy(POLICY, json!({"selector": {"matchLabels": {"app": NAME}}})).await;
        shop.admin.create(deployment(NAME, "tea:1")).await;
        shop.settle().await;
        shop
    }

    /// With nothing in it that is tested.
    pub(crate) async fn without_policy(namespace: &'static str) -> Self {
        let cluster = cluster().await;
        cluster.kubectl(&["create", "namespace", namespace]).await.expect("a namespace");
        let admin = User::of(cluster, namespace, None, &[]).await;
        let shop = Self { cluster, namespace, admin, turns: AtomicU32::new(0) };
        shop.create_policy(SENTINEL, json!({"selector": {"matchLabels": {PROBE: "0"}}})).await;
        let mut probe = deployment(PROBE, "probe:1");
        probe["spec"]["replicas"] = json!(0);
        shop.admin.create(probe).await;
        shop
    }

    pub(crate) async fn user(&self, name: &str, groups: &[&str]) -> User {
        User::of(self.cluster, self.namespace, Some(name), groups).await
    }

    /// Whoever: a developer with no right but to write Deployments.
    pub(crate) async fn developer(&self) -> User {
        self.user("dev", &[]).await
    }

    pub(crate) async fn operator(&self) -> User {
        self.user(OPERATOR, &["system:masters"]).await
    }

    /// Creates a policy of which the operator says that it is in force.
    pub(crate) async fn create_policy(&self, name: &str, spec: Value) {
        let mut policy = json!({
            "apiVersion": "errorbudget.dev/v1alpha1", "kind": "ErrorBudgetPolicy", "metadata": {"name": name},
            "spec": {"objectives": [{
                "name": "availability", "target": "99.9",
                "indicator": {"ratio": {"errors": "errors_total", "total": "requests_total"}},
            }]},
        });
        merge(&mut policy["spec"], spec);
        let policy = serde_json::from_value(policy).expect("the shape of a policy");
        self.policies().create(&PostParams::default(), &policy).await.expect("the policy is accepted");
        self.say(name, json!({"conditions": [condition("Ready", "True", "in force")]})).await;
    }

    fn policies(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<gatekeeper::api::ErrorBudgetPolicy>(&());
        Api::namespaced_with(self.admin.client.clone(), self.namespace, &resource)
    }

    async fn say(&self, policy: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.policies().patch_status(policy, &PatchParams::default(), &patch).await.expect("the status is written");
    }

    /// Says this in the policy's status, as the operator would, and waits until admission knows.
    pub(crate) async fn status(&self, status: Value) {
        self.say(POLICY, status).await;
        self.settle().await;
    }

    /// Changes the policy, and waits until admission knows.
    pub(crate) async fn policy(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.policies().patch(POLICY, &PatchParams::default(), &patch).await.expect("the policy is changed");
        self.settle().await;
    }

    /// Waits until the admission policies know every ErrorBudgetPolicy as it is now.
    ///
    /// The API server learns of them in the order in which they are written. So another one is changed now, and when
    /// admission acts on that change, it knows all that went before.
    pub(crate) async fn settle(&self) {
        let turn = (self.turns.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let selector = json!({"spec": {"selector": {"matchLabels": {PROBE: turn}}}});
        let params = PatchParams::default();
        self.policies().patch(SENTINEL, &params, &Patch::Merge(selector)).await.expect("the sentinel is changed");
        let release = json!({
            "metadata": {"labels": {PROBE: turn}},
            "spec": {"template": {"metadata": {"labels": {"turn": turn}}}},
        });
        let deadline = Instant::now() + PATIENCE;
        while self.admin.dry_run(PROBE, release.clone()).await.expect("a dry run")["spec"]["paused"] != true {
            assert!(Instant::now() < deadline, "the admission policies do not see the policies of {}", self.namespace);
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).await.expect("kubectl succeeds")
    }

    /// With this manifest on its standard input.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], manifest: &Value) -> String {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl_with_input(&arguments, &manifest.to_string()).await.expect("kubectl succeeds")
    }

    /// `kubectl replace`, again when a controller has written between its reading and its writing.
    pub(crate) async fn replace(&self, manifest: &Value) {
        let arguments = ["--namespace", self.namespace, "replace", "-f", "-"];
        let input = manifest.to_string();
        while let Err(error) = self.cluster.kubectl_with_input(&arguments, &input).await {
            assert!(error.to_string().contains("has been modified"), "{error}");
        }
    }

    pub(crate) async fn deployment(&self) -> Value {
        let found = self.admin.deployments.get(NAME).await.expect("the Deployment is there");
        serde_json::to_value(found).expect("plain JSON")
    }

    /// Waits until this is true of the Deployment.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let deployment = self.deployment().await;
            if so(&deployment) {
                return deployment;
            }
            assert!(Instant::now() < deadline, "waited until {what}; it is {deployment:#}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn until_rolled_out(&self) {
        let rolled_out = |found: &Value| {
            let (status, replicas) = (&found["status"], &found["spec"]["replicas"]);
            status["observedGeneration"] == found["metadata"]["generation"]
                && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|pods| &status[*pods] == replicas)
        };
        self.until("it is rolled out", rolled_out).await;
    }

    /// Puts the settings of a held canary onto a held Deployment, as the operator does.
    pub(crate) async fn arm(&self) {
        let settings = json!({"spec": {
            "paused": null,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 2_147_483_646,
            "progressDeadlineSeconds": 2_147_483_647,
        }});
        self.operator().await.write(settings).await.expect("the operator may");
    }
}

/// Somebody who writes Deployments.
pub(crate) struct User {
    client: Client,
    deployments: Api<DynamicObject>,
}

impl User {
    /// A client of this test's own, since a client lives in the runtime that made it.
    async fn of(cluster: &Cluster, namespace: &str, name: Option<&str>, groups: &[&str]) -> Self {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("it is whole");
        config.auth_info.impersonate = name.map(ToOwned::to_owned);
        let groups = groups.iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned());
        config.auth_info.impersonate_groups = name.map(|_| groups.collect());
        let client = Client::try_from(config).expect("a client");
        let resource = ApiResource::erase::<Deployment>(&());
        let deployments = Api::namespaced_with(client.clone(), namespace, &resource);
        Self { client, deployments }
    }

    /// Changes the Deployment; an error is what the API server answers.
    pub(crate) async fn write(&self, change: Value) -> Result<Value, String> {
        self.patch(NAME, &PatchParams::default(), change).await
    }

    /// What the Deployment of that name would be after a change.
    pub(crate) async fn dry_run(&self, name: &str, change: Value) -> Result<Value, String> {
        self.patch(name, &PatchParams { dry_run: true, ..PatchParams::default() }, change).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, change: Value) -> Result<Value, String> {
        answered(self.deployments.patch(name, params, &Patch::Merge(change)).await)
    }

    /// Changes the Deployment through its status.
    pub(crate) async fn write_status(&self, change: Value) -> Result<Value, String> {
        answered(self.deployments.patch_status(NAME, &PatchParams::default(), &Patch::Merge(change)).await)
    }

    /// Brings a new template.
    pub(crate) async fn release(&self, image: &str) -> Result<Value, String> {
        self.write(template(image)).await
    }

    /// Sets annotations of ours; null removes one.
    pub(crate) async fn annotate(&self, annotations: Value) -> Result<Value, String> {
        self.write(json!({"metadata": {"annotations": annotations}})).await
    }

    pub(crate) async fn create(&self, manifest: Value) -> Value {
        self.try_create(manifest).await.expect("it is created")
    }

    pub(crate) async fn try_create(&self, manifest: Value) -> Result<Value, String> {
        let object = serde_json::from_value(manifest).expect("the shape of an object");
        answered(self.deployments.create(&PostParams::default(), &object).await)
    }
}

fn answered(answer: kube::Result<DynamicObject>) -> Result<Value, String> {
    match answer {
        Ok(object) => Ok(serde_json::to_value(object).expect("plain JSON")),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("no answer of the API server: {error}"),
    }
}

/// A change of the template.
pub(crate) fn template(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
}

/// A manifest, with a strategy that is no default.
pub(crate) fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": "10%"}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
}

/// A condition of a policy's status.
pub(crate) fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Told", "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    })
}

/// An annotation of ours, by its name without the prefix.
pub(crate) fn annotation<'a>(deployment: &'a Value, name: &str) -> Option<&'a str> {
    deployment["metadata"]["annotations"].get(format!("errorbudget.dev/{name}"))?.as_str()
}

/// Whether the Deployment is paused in our name.
pub(crate) fn is_held(deployment: &Value) -> bool {
    deployment["spec"]["paused"] == true && annotation(deployment, "hold").is_some()
}

/// What tells one write from none.
pub(crate) fn version(deployment: &Value) -> Value {
    json!([deployment["metadata"]["generation"], deployment["metadata"]["resourceVersion"]])
}

fn merge(into: &mut Value, what: Value) {
    let (Some(into), Value::Object(what)) = (into.as_object_mut(), what) else { panic!("objects are merged") };
    into.extend(what);
}
