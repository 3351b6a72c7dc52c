//! What is written to the cluster: Deployments, their releases, and policies.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::traffic::{PodBehaviour, TurnsBad};

/// The error budget of the objective that all scenarios have: 99.9 %.
pub(crate) const BUDGET: f64 = 0.001;

/// A version of a service, and how well it serves. Written as the Deployment's pod template.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    version: String,
    behaviour: PodBehaviour,
    ready_after: Option<Duration>,
    never_ready: bool,
    waiting: Option<(String, String)>,
    port: Option<u16>,
    fields: Vec<(String, Value)>,
}

impl Release {
    /// A version without errors. Its name is the image's tag, by which scenarios tell ReplicaSets apart.
    pub(crate) fn new(version: &str) -> Self {
        let behaviour = PodBehaviour::default();
        Self {
            version: version.to_owned(),
            behaviour,
            ready_after: None,
            never_ready: false,
            waiting: None,
            port: None,
            fields: Vec::new(),
        }
    }

    /// Burns the budget this many times as fast as allowed, from the first request on.
    pub(crate) fn burning(mut self, burn_rate: f64) -> Self {
        self.behaviour.error_ratio = burn_rate * BUDGET;
        self
    }

    /// Each pod burns this much from so long after it became Ready.
    pub(crate) fn turning_bad(mut self, after: Duration, burn_rate: f64) -> Self {
        self.behaviour.turns_bad = Some(TurnsBad { after, error_ratio: burn_rate * BUDGET });
        self
    }

    /// Half of its answers take longer than so many milliseconds, and nearly all between a third and three times of it.
    pub(crate) fn answering_in(mut self, milliseconds: f64) -> Self {
        self.behaviour.latency.median_ms = milliseconds;
        self
    }

    /// Errors come in bursts of this mean length. They are independent otherwise.
    pub(crate) fn in_bursts_of(mut self, requests: f64) -> Self {
        self.behaviour.burst = requests;
        self
    }

    /// Pods become Ready after exactly this time, in place of one to two seconds.
    pub(crate) fn ready_after(mut self, delay: Duration) -> Self {
        self.ready_after = Some(delay);
        self
    }

    /// Pods never become Ready.
    pub(crate) fn never_ready(mut self) -> Self {
        self.never_ready = true;
        self
    }

    /// Containers do not run, and the kubelet gives this reason and message.
    pub(crate) fn waiting(mut self, reason: &str, message: &str) -> Self {
        self.waiting = Some((reason.to_owned(), message.to_owned()));
        self
    }

    /// Says that its metrics are at this port: at [`super::World::pod_port`] they are, at any other there is nobody.
    pub(crate) fn exposing(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets any other field of the pod template by its path, such as `/spec/containers/0/env`.
    pub(crate) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.fields.push((path.to_owned(), value.into()));
        self
    }

    /// The pod template that is this release of the service.
    ///
    /// # Panics
    /// When what the path of a field leads through is not there.
    pub(crate) fn template(&self, service: &str) -> Value {
        let mut annotations = json!(self.behaviour.to_annotations());
        if let Some(delay) = self.ready_after {
            annotations["testbed/ready-delay"] = json!(format!("{}ms", delay.as_millis()));
        }
        if let Some(port) = self.port {
            annotations["prometheus.io/port"] = json!(port.to_string());
        }
        if self.never_ready {
            annotations["testbed/never-ready"] = json!("true");
        }
        if let Some((reason, message)) = &self.waiting {
            annotations["testbed/waiting"] = json!(reason);
            annotations["testbed/waiting-message"] = json!(message);
        }
        let mut template = json!({
            "metadata": {"labels": {"app": service}, "annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": format!("{service}:{}", self.version)}]},
        });
        for (path, value) in &self.fields {
            set(&mut template, path, value.clone());
        }
        template
    }
}

/// A Deployment and the traffic it gets.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(super) name: String,
    pub(super) requests_per_second: f64,
    pub(super) is_applied_server_side: bool,
    replicas: u32,
    spec: Value,
}

impl Service {
    /// Ten replicas, replaced one by one (which takes some 15 to 20 seconds), and 1,000 requests a second.
    pub(crate) fn new(name: &str) -> Self {
        let rolling = json!({"maxSurge": 1, "maxUnavailable": 0});
        Self {
            name: name.to_owned(),
            requests_per_second: 1000.0,
            is_applied_server_side: false,
            replicas: 10,
            spec: json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}),
        }
    }

    pub(crate) fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Its manifests are applied on the server's side, as most GitOps tools do it, and not on the client's.
    pub(crate) fn applied_server_side(mut self) -> Self {
        self.is_applied_server_side = true;
        self
    }

    /// Requests a second, shared evenly by the Ready pods of all revisions.
    pub(crate) fn traffic(mut self, requests_per_second: f64) -> Self {
        self.requests_per_second = requests_per_second;
        self
    }

    /// How pods are replaced: numbers or percentages, as in the Deployment.
    pub(crate) fn rolling(mut self, max_surge: impl Into<Value>, max_unavailable: impl Into<Value>) -> Self {
        let rolling = json!({"maxSurge": max_surge.into(), "maxUnavailable": max_unavailable.into()});
        self.spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        self
    }

    /// Sets any other field of the Deployment's spec, such as `revisionHistoryLimit`.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.spec[field] = value.into();
        self
    }

    /// The Deployment's manifest with this release, as its owner keeps it in Git.
    pub(crate) fn manifest(&self, namespace: &str, release: &Release) -> Value {
        let mut spec = self.spec.clone();
        spec["replicas"] = json!(self.replicas);
        spec["selector"] = json!({"matchLabels": {"app": self.name}});
        spec["template"] = release.template(&self.name);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": namespace, "labels": {"app": self.name}},
            "spec": spec,
        })
    }
}

/// An `ErrorBudgetPolicy` with one objective, 99.9 % of the requests without an error.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(super) name: String,
    labels: Value,
    spec: Value,
}

impl Policy {
    /// Governs the Deployment of this name, looks every 2 seconds in a window of 6, monitors for 20 seconds, holds no
    /// canary and lets everything in whatever is left of the budget. The rest is as the schema's defaults have it.
    pub(crate) fn of(service: &str) -> Self {
        let ratio = json!({"errors": r#"http_requests_total{code=~"5.."}"#, "total": "http_requests_total"});
        let spec = json!({
            "selector": {"matchLabels": {"app": service}},
            "objectives": [{"name": "availability", "target": "99.9", "indicator": {"ratio": ratio}}],
            "validate": {"threshold": "1000"},
            "canary": {"traffic": "0%"},
            "detection": {"window": "6s", "looks": 3},
            "monitor": {"timeout": "20s"},
        });
        Self { name: service.to_owned(), labels: json!({}), spec }
    }

    /// Gives the policy another name than the Deployment's.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Gives the policy a label.
    pub(crate) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels[key] = json!(value);
        self
    }

    /// How many looks in which window.
    pub(crate) fn looking(mut self, looks: u32, window: &str) -> Self {
        self.spec["detection"]["looks"] = json!(looks);
        self.spec["detection"]["window"] = json!(window);
        self
    }

    /// How long a complete rollout is monitored.
    pub(crate) fn monitoring(mut self, timeout: &str) -> Self {
        self.spec["monitor"]["timeout"] = json!(timeout);
        self
    }

    /// Sets a field of the spec by its path, such as `/detection/rule` or `/mode`.
    ///
    /// # Panics
    /// When what the path leads through is not there.
    pub(crate) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.spec, path, value.into());
        self
    }

    /// It does more than look on.
    pub(super) fn is_enforced(&self) -> bool {
        self.spec["mode"] != "Observe"
    }

    pub(crate) fn manifest(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "errorbudget.dev/v1alpha1",
            "kind": "ErrorBudgetPolicy",
            "metadata": {"name": self.name, "namespace": namespace, "labels": self.labels},
            "spec": self.spec,
        })
    }
}

fn set(object: &mut Value, path: &str, value: Value) {
    let (parent, field) = path.rsplit_once('/').expect("a path begins with a slash");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    parent[field] = value;
}
