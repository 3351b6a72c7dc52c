//! A cluster with a governed service in it, in the words of the domain.

mod course;
mod history;
mod operator;
mod path;
mod platform;
mod reading;
mod release;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::cluster::Cluster;
use testbed::fault_proxy::FaultProxy;
use testbed::prometheus::PrometheusServer;
use testbed::traffic::TrafficHandle;

use course::Course;
pub(crate) use history::{DeploymentView, History, ReplicaSetView};
use operator::{Installation, Switches};
pub(crate) use operator::{Operator, PROGRAM, SHARD};
pub(crate) use path::Path;
use platform::{Ground, Platform, shared};
pub(crate) use release::{BUDGET, Policy, Release, Service};

/// How long anything may take that takes seconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What a scenario needs beside a namespace of its own with an operator that governs it.
#[derive(Debug, Clone)]
pub(crate) struct WorldOptions {
    name: String,
    own_cluster: bool,
    own_prometheus: bool,
    replicas: usize,
    lease: Option<Duration>,
    own_path: bool,
    switches: Switches,
}

impl WorldOptions {
    /// The shared control plane, the shared Prometheus, and one replica of the operator. The name becomes that of the
    /// namespace: it must be different in each scenario.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            own_cluster: false,
            own_prometheus: false,
            replicas: 1,
            lease: None,
            own_path: false,
            switches: Switches { admission: true, pod_evidence: false, shard: None },
        }
    }

    /// A control plane (and a Prometheus) of its own, to break; the operator is installed for the whole cluster.
    pub(crate) fn own_cluster(mut self) -> Self {
        self.own_cluster = true;
        self
    }

    /// A Prometheus of its own, to break.
    pub(crate) fn own_prometheus(mut self) -> Self {
        self.own_prometheus = true;
        self
    }

    /// Without the chart's admission policies, as on a cluster whose API server does not serve them.
    pub(crate) fn without_admission(mut self) -> Self {
        self.switches.admission = false;
        self
    }

    /// Policies may have pods read themselves.
    pub(crate) fn reading_pods(mut self) -> Self {
        self.switches.pod_evidence = true;
        self
    }

    /// An operator that enforces only the policies of this shard. [`World::add_shard`] installs others beside it.
    pub(crate) fn shard(mut self, name: &str) -> Self {
        self.switches.shard = Some(name.to_owned());
        self
    }

    /// So many replicas of the operator.
    pub(crate) fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// A Lease of this length, in place of the operator's default.
    pub(crate) fn lease(mut self, duration: Duration) -> Self {
        self.lease = Some(duration);
        self
    }

    /// Puts [`World::path`] between the operator and the API server.
    pub(crate) fn own_path(mut self) -> Self {
        self.own_path = true;
        self
    }
}

/// One scenario's world. Dropping it ends the operator and the traffic.
pub(crate) struct World {
    /// The operator's replicas, in the order of their start.
    pub(crate) operators: Vec<Operator>,
    /// Stands between the operator and Prometheus.
    pub(crate) proxy: FaultProxy,
    /// Every change of the namespace's Deployments and ReplicaSets.
    pub(crate) history: History,
    /// Every status of the namespace's rollouts.
    course: Course,
    /// The namespace of the Deployments and policies.
    pub(crate) namespace: String,
    installation: Installation,
    has_admission: bool,
    own_prometheus: Option<PrometheusServer>,
    path: Option<Path>,
    services: Mutex<BTreeMap<String, Service>>,
    client: Client,
    // Below everything that lives in it.
    ground: Ground,
    folder: TempDir,
}

impl World {
    /// Brings everything up and waits until the operator is ready.
    pub(crate) async fn start(options: WorldOptions) -> Result<Self> {
        let WorldOptions { name, own_cluster, own_prometheus, replicas, lease, own_path, switches } = options;
        let ground =
            if own_cluster { Ground::Own(Box::new(Platform::start().await?)) } else { Ground::Shared(shared()?) };
        let client = ground.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        namespaces.create(&PostParams::default(), &namespace).await.context("create the scenario's namespace")?;
        let history = History::watch(&client, &name);
        let course = Course::watch(&client, &name);

        let own_prometheus = if own_prometheus { Some(ground.another_prometheus().await?) } else { None };
        let prometheus = own_prometheus.as_ref().unwrap_or(&ground.prometheus);
        let proxy = FaultProxy::start(prometheus.url()).await?;
        let folder = TempDir::with_prefix("scenario-")?;
        let watched = (!own_cluster).then_some(name.as_str());
        let system = format!("{name}-system");
        let has_admission = switches.admission;
        let mut installation =
            Installation::install(&ground, &client, folder.path(), &system, watched, &proxy.url(), switches).await?;
        if let Some(lease) = lease {
            installation.add(&format!("--lease-duration={}s", lease.as_secs()));
        }
        let path = if own_path { Some(Path::to(ground.cluster.server()).await?) } else { None };
        if let Some(path) = &path {
            installation.reach_api_server_by(&path.url())?;
        }
        let mut world = Self {
            operators: Vec::new(),
            proxy,
            history,
            course,
            namespace: name,
            installation,
            has_admission,
            own_prometheus,
            path,
            services: Mutex::default(),
            client,
            ground,
            folder,
        };
        for _ in 0..replicas {
            world.add_operator().await?;
        }
        Ok(world)
    }

    /// Starts one more replica of the operator.
    pub(crate) async fn add_operator(&mut self) -> Result<()> {
        let name = format!("operator-{}", self.operators.len() + 1);
        self.operators.push(self.installation.start(&name).await?);
        Ok(())
    }

    /// Installs the operator once more beside the first, for the policies of this shard.
    pub(crate) async fn add_shard(&mut self, name: &str) -> Result<()> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        let system = format!("{}-system", self.namespace);
        let prometheus = self.proxy.url();
        let installation = Installation::install(
            &self.ground,
            &self.client,
            &folder,
            &system,
            Some(&self.namespace),
            &prometheus,
            Switches { admission: true, pod_evidence: false, shard: Some(name.to_owned()) },
        );
        self.operators.push(installation.await?.start(&format!("operator-{name}")).await?);
        Ok(())
    }

    /// Ends the operator and uninstalls its chart, and returns what the chart's last Job printed.
    pub(crate) async fn uninstall(&self) -> Result<String> {
        for operator in &self.operators {
            operator.process.kill()?;
        }
        self.installation.uninstall(&self.ground, &self.client).await
    }

    /// The operator's first replica.
    pub(crate) fn operator(&self) -> &Operator {
        &self.operators[0]
    }

    /// A client with all rights.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The control plane. Only [`WorldOptions::own_cluster`] makes it one that may be broken.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.ground.cluster
    }

    /// The Prometheus of [`WorldOptions::own_prometheus`].
    ///
    /// # Panics
    /// When it was not asked for: the others' must not be broken.
    pub(crate) fn prometheus(&self) -> &PrometheusServer {
        self.own_prometheus.as_ref().expect("a scenario that breaks Prometheus asks for its own")
    }

    /// The operator's way to the API server.
    ///
    /// # Panics
    /// When [`WorldOptions::own_path`] was not asked for.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_ref().expect("a scenario that makes the way longer asks for one of its own")
    }

    /// The traffic of all scenarios: its methods take the namespace.
    pub(crate) fn traffic(&self) -> TrafficHandle {
        self.ground.traffic.handle()
    }

    /// The port at which pods can have a page of their own, when their release is [`Release::exposing`] it.
    pub(crate) fn pod_port(&self) -> u16 {
        self.ground.traffic.pod_port()
    }

    /// Makes all pods of the service, of whatever version, burn this much in addition; `None` ends it.
    pub(crate) fn outage(&self, service: &str, burn_rate: Option<f64>) {
        self.traffic().set_outage(&self.namespace, service, burn_rate.map(|burn_rate| burn_rate * BUDGET));
    }

    /// Deploys a service for the first time, as `kubectl apply` does, and waits until all its pods serve and are scraped.
    pub(crate) async fn deploy(&self, service: Service, release: Release) -> Result<()> {
        let name = service.name.clone();
        self.begin(service, release, |_| {}).await?;
        self.complete(&name).await
    }

    /// Deploys a service for the first time, with a change of its manifest, and does not wait.
    pub(crate) async fn begin(
        &self,
        service: Service,
        release: Release,
        change: impl FnOnce(&mut Value),
    ) -> Result<()> {
        let name = service.name.clone();
        self.register(service);
        let mut manifest = self.manifest(&name, &release);
        change(&mut manifest);
        self.apply_as_its_owner_does(&name, &manifest).await
    }

    /// Makes a service known whose Deployment another tool brings.
    pub(crate) fn register(&self, service: Service) {
        self.traffic().set_rate(&self.namespace, &service.name, service.requests_per_second);
        self.services.lock().expect("no test panics with the lock held").insert(service.name.clone(), service);
    }

    /// Releases another version with `kubectl apply` and does not wait.
    pub(crate) async fn release(&self, service: &str, release: Release) -> Result<()> {
        self.apply_as_its_owner_does(service, &self.manifest(service, &release)).await
    }

    async fn apply_as_its_owner_does(&self, service: &str, manifest: &Value) -> Result<()> {
        self.another_release_begins(service).await?;
        match self.service(service).is_applied_server_side {
            true => self.apply_server_side(manifest).await,
            false => self.apply(manifest).await,
        }
    }

    /// The Deployment's manifest with this release.
    ///
    /// # Panics
    /// When the service was never deployed.
    pub(crate) fn manifest(&self, service: &str, release: &Release) -> Value {
        self.service(service).manifest(&self.namespace, release)
    }

    /// What status says of the service until now is not waited for any more.
    async fn another_release_begins(&self, service: &str) -> Result<()> {
        if let Some(policy) = self.policies().get_opt(service).await? {
            self.course.note(&policy);
        }
        self.course.is_over(service);
        Ok(())
    }

    fn service(&self, name: &str) -> Service {
        let services = self.services.lock().expect("no test panics with the lock held");
        services.get(name).expect("a service that was deployed").clone()
    }

    /// Runs kubectl in the scenario's namespace and returns what it prints.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster().kubectl(&[arguments, &["--namespace", &self.namespace]].concat()).await
    }

    /// An object with everything that the API server has of it.
    pub(crate) async fn object(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "--output=json"]).await?)?)
    }

    /// `kubectl apply`, as most people do it: merged on the client's side.
    pub(crate) async fn apply(&self, manifest: &Value) -> Result<()> {
        self.cluster().kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()).await?;
        Ok(())
    }

    /// `kubectl apply --server-side`, as most GitOps tools do it.
    pub(crate) async fn apply_server_side(&self, manifest: &Value) -> Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.cluster().kubectl_with_input(&arguments, &manifest.to_string()).await?;
        Ok(())
    }

    /// Creates or changes a policy and waits until the operator has taken notice of each Deployment in the namespace, and
    /// has asked what is left of the error budget.
    pub(crate) async fn govern(&self, policy: Policy) -> Result<()> {
        self.apply(&policy.manifest(&self.namespace)).await?;
        self.eventually("the policy is Ready and its gate is known", PATIENCE, async || {
            let policy = self.policies().get(&policy.name).await?;
            let conditions = policy.status.unwrap_or_default().conditions;
            let current = |of: &str| {
                let of = conditions.iter().find(|condition| condition.type_ == of)?;
                Some(of.status.clone()).filter(|_| of.observed_generation == policy.metadata.generation)
            };
            Ok(current("Ready").as_deref() == Some("True") && current("GateOpen").is_some())
        })
        .await
    }

    /// A service of this version that serves, was scraped, and is governed by this policy, with its version as the
    /// stable one: where most scenarios begin.
    pub(crate) async fn governed(&self, service: Service, release: Release, policy: Policy) -> Result<()> {
        let name = service.name.clone();
        let is_enforced = policy.is_enforced();
        self.deploy(service, release).await?;
        self.govern(policy).await?;
        self.reaches(&name, "Succeeded").await?;
        if self.has_admission && is_enforced {
            self.would_be_held(&name).await?;
        }
        Ok(())
    }

    /// Waits until the API server, which takes notice of policies in its own time, holds another template of the service.
    async fn would_be_held(&self, service: &str) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), &self.namespace);
        let another = json!({"spec": {"template": {"metadata": {"annotations": {"example.com/another": "yes"}}}}});
        let attempt = PatchParams { dry_run: true, ..PatchParams::default() };
        self.eventually(&format!("another template of {service} is held"), PATIENCE, async || {
            let held = deployments.patch(service, &attempt, &Patch::Merge(&another)).await?;
            Ok(DeploymentView::from(&held).paused)
        })
        .await
    }

    /// Patches the Deployment with a JSON merge patch.
    pub(crate) async fn patch(&self, service: &str, patch: Value) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), &self.namespace);
        deployments.patch(service, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Releases another version in one request of no length: for what has to happen at an exact moment.
    pub(crate) async fn release_at_once(&self, service: &str, release: &Release) -> Result<()> {
        self.course.is_over(service);
        let template = self.manifest(service, release)["spec"]["template"].clone();
        let replace = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        let deployments: Api<Deployment> = Api::namespaced(self.client(), &self.namespace);
        let patch = Patch::Json::<()>(serde_json::from_value(replace)?);
        deployments.patch(service, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Patches the policy with a JSON merge patch, and waits until the operator, if it runs, has taken it in.
    pub(crate) async fn patch_policy(&self, policy: &str, patch: Value) -> Result<()> {
        let patched = self.policies().patch(policy, &PatchParams::default(), &Patch::Merge(patch)).await?;
        if !self.operators.iter().any(|operator| operator.process.is_running()) {
            return Ok(());
        }
        self.eventually(&format!("the change of {policy} is taken in"), PATIENCE, async || {
            let conditions = self.status(policy).await?.conditions;
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
            Ok(ready.is_some_and(|ready| ready.observed_generation >= patched.metadata.generation))
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An assertion failed; what waits tells its own story.
            eprintln!("what happened in {}:\n{}", self.namespace, self.history);
            for operator in &self.operators {
                eprintln!("{}:\n{}", operator.process.log().display(), operator.process.log_tail());
            }
        }
        let services = self.services.lock().map(|services| services.clone()).unwrap_or_default();
        for service in services.keys() {
            self.traffic().remove(&self.namespace, service);
        }
    }
}
