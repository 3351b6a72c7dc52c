//! A service in a namespace of its own, with load on it: what a scenario releases to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::api::status::RolloutStatus;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};
use workload::load::{Load, Plan, Response};

use crate::ground::Ground;
use crate::images::WORKLOAD;
use crate::policy::Policy;
use crate::responses::Loss;

/// The name of the Deployment, its Service and its policy.
const NAME: &str = "checkout";
/// Users give up after so long.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than any rollout of a scenario takes.
const ROLLOUT: &str = "8m";

/// A version of the service: how it behaves.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    version: &'static str,
    environment: BTreeMap<&'static str, String>,
}

impl Release {
    /// A version that serves well.
    pub(crate) fn new(version: &'static str) -> Self {
        Self { version, environment: BTreeMap::new() }
    }

    /// Has it behave otherwise: a variable of the workload.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.insert(variable, value.to_owned());
        self
    }
}

/// How the Deployment is written, and the load on it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) replicas: u32,
    /// Requests a second.
    pub(crate) rate: f64,
    /// How often its pods are scraped; `None`: as often as Prometheus' own configuration says, every 15 seconds.
    pub(crate) scraped_every: Option<&'static str>,
    /// Whether its pods are given time to be taken out of the Service before they end.
    pub(crate) pre_stop: bool,
}

impl Service {
    /// Four replicas, 50 requests a second, scraped every 5 seconds, with a preStop hook.
    pub(crate) fn small() -> Self {
        Self { replicas: 4, rate: 50.0, scraped_every: Some("5s"), pre_stop: true }
    }

    fn manifest(&self, namespace: &str, release: &Release) -> Value {
        let mut annotations = json!({"prometheus.io/scrape": "true", "prometheus.io/port": "8080"});
        if let Some(interval) = self.scraped_every {
            annotations["prometheus.io/interval"] = json!(interval);
        }
        let mut environment = vec![
            json!({"name": "VERSION", "value": release.version}),
            json!({"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        ];
        environment.extend(release.environment.iter().map(|(name, value)| json!({"name": name, "value": value})));
        let mut container = json!({
            "name": "app",
            "image": WORKLOAD,
            "args": ["serve"],
            "env": environment,
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        });
        if self.pre_stop {
            container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 3}}});
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": namespace, "labels": {"app": NAME}},
            "spec": {
                "replicas": self.replicas,
                "progressDeadlineSeconds": 60,
                "selector": {"matchLabels": {"app": NAME}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    "metadata": {"labels": {"app": NAME}, "annotations": annotations},
                    "spec": {
                        "terminationGracePeriodSeconds": 10,
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 65_534, "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [container],
                    },
                },
            },
        })
    }
}

/// How a rollout ended, by the exit code of `kubectl errorbudget wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Promoted,
    RolledBack,
    /// Halted or rejected, and does not go on by itself.
    Stopped,
    /// Not at its end in time.
    TimedOut,
}

pub(crate) struct Shop<'ground> {
    ground: &'ground Ground,
    pub(crate) namespace: String,
    service: Service,
    load: Load,
    target: SocketAddr,
}

impl<'ground> Shop<'ground> {
    /// Deploys version v1, waits until all of its pods are Ready, and begins to ask.
    pub(crate) async fn open(ground: &'ground Ground, namespace: &str, service: Service) -> Result<Self> {
        let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespaced = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": restricted}});
        ground.apply(&namespaced.to_string()).await?;
        let port = json!([{"name": "http", "port": 80, "targetPort": "http"}]);
        let front = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": namespace},
            "spec": {"selector": {"app": NAME}, "ports": port}});
        ground.apply(&front.to_string()).await?;
        ground.apply(&service.manifest(namespace, &Release::new("v1")).to_string()).await?;
        ground.shell(&format!("kubectl rollout status deployment/{NAME} -n {namespace} --timeout 4m")).await?;
        let target = ground.address(namespace, NAME).await?;
        let load = Load::start(Plan { target, rate: service.rate, timeout: TIMEOUT });
        Ok(Self { ground, namespace: namespace.to_owned(), service, load, target })
    }

    /// Applies the policy and waits until it is in force, knows the budget, and has v1 as the stable version.
    pub(crate) async fn govern(&self, policy: &Policy) -> Result<()> {
        self.ground.apply(&policy.manifest(&self.namespace)).await?;
        let namespace = &self.namespace;
        self.ground
            .shell(&format!(
                "kubectl wait --for=condition=Ready ebp/{NAME} -n {namespace} --timeout 4m\n\
                 kubectl wait --for=condition=GateOpen ebp/{NAME} -n {namespace} --timeout 4m"
            ))
            .await?;
        self.is_so("v1 is stable", |rollout| rollout.phase == "Succeeded").await.map(drop)
    }

    /// `kubectl apply` of another version. Returns when that was.
    pub(crate) async fn release(&self, release: &Release) -> Result<Timestamp> {
        let manifest = self.service.manifest(&self.namespace, release).to_string();
        let now = Timestamp::now();
        self.ground.apply(&manifest).await?;
        Ok(now)
    }

    /// Follows the rollout to its end, as a pipeline would.
    pub(crate) async fn end(&self) -> Result<(End, String)> {
        let namespace = &self.namespace;
        let wait = format!(
            "kubectl errorbudget wait deployment/{NAME} -n {namespace} --timeout {ROLLOUT} --halted-for {ROLLOUT}"
        );
        let (code, text) = self.ground.exit_of(&wait, "").await?;
        let end = match code {
            0 => End::Promoted,
            3 => End::RolledBack,
            4 => End::Stopped,
            5 => End::TimedOut,
            _ => bail!("{wait} ended with {code}: {text}"),
        };
        Ok((end, text))
    }

    /// Follows the rollout to its end, which must be this one.
    pub(crate) async fn ends(&self, expected: End) -> Result<String> {
        let (end, text) = self.end().await?;
        if end != expected {
            let events = self.events().await?;
            bail!("{} is {end:?} and not {expected:?}:\n{text}\n{events}", self.namespace);
        }
        Ok(text)
    }

    /// What the status says of the rollout now.
    pub(crate) async fn rollout(&self) -> Result<RolloutStatus> {
        let policies: Api<ErrorBudgetPolicy> = Api::namespaced(self.ground.client(), &self.namespace);
        let status = policies.get(NAME).await?.status.unwrap_or_default();
        status.rollouts.get(NAME).cloned().context("no rollout in the status")
    }

    /// Waits until the status of the rollout is so.
    pub(crate) async fn is_so(&self, what: &str, is_so: impl Fn(&RolloutStatus) -> bool) -> Result<RolloutStatus> {
        let mut seen = None;
        self.ground
            .eventually(&format!("{what} in {}", self.namespace), async || {
                let rollout = self.rollout().await?;
                let found = is_so(&rollout);
                if !found {
                    bail!("it is {} ({:?}: {:?})", rollout.phase, rollout.reason, rollout.message);
                }
                seen = Some(rollout);
                Ok(true)
            })
            .await?;
        seen.context("it was seen")
    }

    /// The Deployment.
    pub(crate) async fn deployment(&self) -> Result<Deployment> {
        Ok(Api::namespaced(self.ground.client(), &self.namespace).get(NAME).await?)
    }

    /// The Deployment's Events, oldest first, one a line: reason and message.
    pub(crate) async fn events(&self) -> Result<String> {
        let columns = "custom-columns=REASON:.reason,MESSAGE:.message";
        let of = "--field-selector involvedObject.kind=Deployment --sort-by=.metadata.creationTimestamp";
        self.ground.shell(&format!("kubectl get events -n {} {of} -o {columns} --no-headers", self.namespace)).await
    }

    /// What users have seen up to now.
    pub(crate) fn responses(&self) -> Vec<Response> {
        self.load.responses()
    }

    /// What users lost since then.
    pub(crate) fn lost_since(&self, began: Timestamp) -> Loss {
        Loss::of(&self.responses(), began, Timestamp::now())
    }

    /// Waits until users have been served, all of them, for so long.
    pub(crate) async fn serves_well(&self, lasting: Duration) -> Result<()> {
        // What was asked last may not be answered yet.
        let settled = TIMEOUT + Duration::from_secs(1);
        self.ground
            .eventually(&format!("{} has served well for {lasting:?}", self.namespace), async || {
                let ended = Timestamp::now() - settled;
                let seen = Loss::of(&self.responses(), ended - lasting, ended);
                let enough = 0.9 * self.service.rate * lasting.as_secs_f64();
                ensure!(seen.bad == 0 && seen.requests as f64 > enough, "users lost {}", seen.cells());
                Ok(true)
            })
            .await
    }

    /// Where users ask.
    pub(crate) fn target(&self) -> SocketAddr {
        self.target
    }

    /// Ends the load and removes everything.
    pub(crate) async fn close(self) -> Result<()> {
        drop(self.load);
        self.ground.shell(&format!("kubectl delete namespace {} --wait=false", self.namespace)).await?;
        Ok(())
    }
}

/// Users in a pod of their own, who count what they see for Prometheus.
pub(crate) struct Users {
    pub(crate) target: SocketAddr,
    /// Requests a second.
    pub(crate) rate: u32,
}

impl Users {
    pub(crate) fn manifest(&self, namespace: &str) -> Value {
        let Self { target, rate } = self;
        let annotations = json!({
            "prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/interval": "5s",
        });
        let container = json!({
            "name": "load",
            "image": WORKLOAD,
            "args": ["load", format!("--target={target}"), format!("--rate={rate}"), "--lasting=60m", "--listen=0.0.0.0:8080"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "users", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app": "users"}},
                "template": {
                    "metadata": {"labels": {"app": "users"}, "annotations": annotations},
                    "spec": {
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 65_534, "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [container],
                    },
                },
            },
        })
    }
}
