//! One control plane for all tests of this folder, and a namespace with one governed Deployment for each.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gatekeeper::act::object::Object;
use gatekeeper::act::patch;
use gatekeeper::decide::action::{CanaryHold, Hold, Room};
use gatekeeper::decide::state::Cause;
use gatekeeper::watch::TemplateIds;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

/// The Deployment of each test.
pub(crate) const NAME: &str = "kettle";
/// The policy that governs it.
pub(crate) const POLICY: &str = "kitchen";
/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_error-budget-gatekeeper");

/// The process ends with it: the testbed's guard takes the control plane down then.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start(ClusterOptions::default()).await.expect("the control plane starts");
            let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/errorbudgetpolicies.yaml");
            cluster.kubectl(&["apply", "--server-side", "-f", crds]).await.expect("the CRD is accepted");
            let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", crds];
            cluster.kubectl(&established).await.expect("the CRD is served");
            // Under its other name, where kubectl looks for plugins.
            let plugins = cluster.dir().join("plugins");
            std::fs::create_dir(&plugins).expect("a folder");
            std::os::unix::fs::symlink(BINARY, plugins.join("kubectl-errorbudget")).expect("a link");
            std::os::unix::fs::symlink(BINARY, plugins.join("error-budget-gatekeeper")).expect("a link");
            std::os::unix::fs::symlink(&cluster.tools().kubectl, plugins.join("kubectl")).expect("a link");
            cluster
        })
        .await
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A namespace of one test's own.
pub(crate) struct Shop {
    cluster: &'static Cluster,
    pub(crate) namespace: &'static str,
}

impl Shop {
    /// With the Deployment and its policy in it.
    pub(crate) async fn open(namespace: &'static str) -> Self {
        let shop = Self::ungoverned(namespace).await;
        shop.apply(&policy()).await;
        shop.say_in_policy(json!({"targets": 1})).await;
        shop
    }

    /// With the Deployment alone.
    pub(crate) async fn ungoverned(namespace: &'static str) -> Self {
        let cluster = cluster().await;
        cluster.kubectl(&["create", "namespace", namespace]).await.expect("a namespace");
        let shop = Self { cluster, namespace };
        shop.apply(&deployment("kettle:1")).await;
        shop
    }

    pub(crate) fn folder(&self) -> &Path {
        self.cluster.dir()
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        self.cluster.kubeconfig()
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).await.expect("kubectl succeeds")
    }

    /// Whether kubectl succeeds.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str]) -> bool {
        let arguments = [&["--namespace", self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).await.is_ok()
    }

    pub(crate) async fn apply(&self, manifest: &Value) {
        let arguments = ["--namespace", self.namespace, "apply", "-f", "-"];
        self.cluster.kubectl_with_input(&arguments, &manifest.to_string()).await.expect("it is applied");
    }

    pub(crate) async fn deployment(&self) -> Value {
        let text = self.kubectl(&["get", "deployment", NAME, "-o", "json"]).await;
        serde_json::from_str(&text).expect("an object")
    }

    pub(crate) async fn annotation(&self, key: &str) -> Option<String> {
        self.deployment().await["metadata"]["annotations"].get(key)?.as_str().map(ToOwned::to_owned)
    }

    /// The id of the Deployment's template.
    pub(crate) async fn template(&self) -> String {
        TemplateIds::of(self.deployment().await["spec"]["template"].take()).id.0
    }

    /// Merges fields into the Deployment.
    pub(crate) async fn patch(&self, patch: &Value) {
        self.kubectl(&["patch", "deployment", NAME, "--type=merge", "-p", &patch.to_string()]).await;
    }

    /// Holds it as the operator holds a canary, and as quickly: without a process of kubectl's.
    pub(crate) async fn hold(&self) {
        let kubeconfig = Kubeconfig::read_from(self.cluster.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a configuration")).expect("a client");
        let deployments: Api<Deployment> = Api::namespaced(client, self.namespace);
        let hold = Hold { policy: POLICY.to_owned(), cause: Cause::NotConvicted };
        let canary = CanaryHold { hold, paused: true, room: Room::Beside(1) };
        let now = deployments.get(NAME).await.expect("a Deployment");
        let now = Object::new(serde_json::to_value(now).expect("JSON")).expect("a Deployment");
        let patch = Patch::Json::<()>(patch::hold_canary(&now, &canary).expect("it is not held yet"));
        deployments.patch(NAME, &PatchParams::default(), &patch).await.expect("it is held");
    }

    /// Says this of the rollout, as the operator would: of the template that the Deployment has, if none is named. What
    /// was said before of other fields is gone.
    pub(crate) async fn say(&self, mut entry: Value) {
        if entry.get("newest").is_none() {
            entry["newest"] = json!({"revision": 2, "template": self.template().await});
        }
        // In one write: whoever follows the rollout must not see it gone in between.
        let patch = json!([{"op": "add", "path": "/status/rollouts", "value": {NAME: entry}}]).to_string();
        self.kubectl(&["patch", "ebp", POLICY, "--subresource=status", "--type=json", "-p", &patch]).await;
    }

    /// Merges this into the policy's status.
    pub(crate) async fn say_in_policy(&self, status: Value) {
        let patch = json!({"status": status}).to_string();
        self.kubectl(&["patch", "ebp", POLICY, "--subresource=status", "--type=merge", "-p", &patch]).await;
    }

    /// Starts the binary in this namespace, with all rights.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(Path::new(BINARY));
        command.args(arguments).args(["--namespace", self.namespace]);
        Running::start(command)
    }

    /// Runs the binary in this namespace, with all rights, to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end().await
    }

    /// Runs the binary with another kubeconfig and nothing else.
    pub(crate) async fn run_with(&self, kubeconfig: &Path, arguments: &[&str]) -> Ended {
        let mut command = self.command(Path::new(BINARY));
        command.args(arguments).arg("--kubeconfig").arg(kubeconfig).args(["--namespace", self.namespace]);
        Running::start(command).end().await
    }

    /// A program that finds this cluster, the plugin and the real kubectl.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.folder().join("plugins").display()))
            .envs(self.cluster.command_environment());
        command
    }

    /// A kubeconfig with the rights of the namespace's default account.
    pub(crate) async fn kubeconfig_of_default_account(&self) -> PathBuf {
        self.kubectl(&["wait", "--for=create", "--timeout=60s", "serviceaccount/default"]).await;
        let token = self.kubectl(&["create", "token", "default"]).await;
        let text = std::fs::read_to_string(self.kubeconfig()).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_json::from_str(&text).expect("the testbed writes JSON");
        kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
        let path = self.folder().join(format!("{}.kubeconfig", self.namespace));
        std::fs::write(&path, kubeconfig.to_string()).expect("a file");
        path
    }

    /// Gives the namespace's default account these rights.
    pub(crate) async fn grant(&self, rules: Value) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "granted"}, "rules": rules,
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "granted"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "granted"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": self.namespace}],
        });
        self.apply(&role).await;
        self.apply(&binding).await;
    }

    /// Waits until someone asks by this annotation; what it says.
    pub(crate) async fn until_asked(&self, annotation: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = self.annotation(annotation).await {
                return value;
            }
            assert!(Instant::now() < deadline, "nobody set {annotation}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Answers as the operator does: an Event, and the annotation is taken away.
    pub(crate) async fn answer(&self, annotation: &str, reason: &str, note: &str) {
        let deployment = self.deployment().await;
        let now = jiff::Timestamp::now();
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": format!("{NAME}.{:x}", now.as_nanosecond())},
            "eventTime": format!("{now:.6}"), "reason": reason, "note": note, "action": reason, "type": "Normal",
            "reportingController": "errorbudget.dev/gatekeeper", "reportingInstance": "test",
            "regarding": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": NAME, "namespace": self.namespace,
                "uid": deployment["metadata"]["uid"],
            },
        });
        let create = ["--namespace", self.namespace, "create", "-f", "-"];
        self.cluster.kubectl_with_input(&create, &event.to_string()).await.expect("an Event");
        self.patch(&json!({"metadata": {"annotations": {annotation: null}}})).await;
    }
}

/// A command that was started.
pub(crate) struct Running {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    shown: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, output, shown: String::new() }
    }

    /// Waits until it prints a line with these words in it.
    pub(crate) async fn until_shown(&mut self, words: &str) {
        while !self.shown.lines().last().is_some_and(|line| line.contains(words)) {
            assert!(self.line().await, "it ended without {words:?}: {}", self.shown);
        }
    }

    /// Whether there was one more line.
    async fn line(&mut self) -> bool {
        let line = timeout(2 * PATIENCE, self.output.next_line()).await.expect("it goes on in time").expect("text");
        let is_there = line.is_some();
        self.shown.extend(line.map(|line| line + "\n"));
        is_there
    }

    pub(crate) async fn end(mut self) -> Ended {
        while self.line().await {}
        let ended = timeout(PATIENCE, self.child.wait_with_output()).await.expect("it ends in time").expect("it ends");
        Ended {
            code: ended.status.code().expect("no signal ended it"),
            output: self.shown,
            errors: String::from_utf8(ended.stderr).expect("text"),
        }
    }
}

/// Of one pod that nobody waits for.
pub(crate) fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}}, "spec": {"containers": [{"name": NAME, "image": image}]},
            },
        },
    })
}

pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "errorbudget.dev/v1alpha1", "kind": "ErrorBudgetPolicy", "metadata": {"name": POLICY},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "objectives": [{
                "name": "availability", "target": "99.9",
                "indicator": {"ratio": {"errors": "errors_total", "total": "requests_total"}},
            }],
        },
    })
}
