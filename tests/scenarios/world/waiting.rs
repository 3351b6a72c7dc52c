//! Waiting on conditions, and the story that is told when they do not come.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gatekeeper::api::ErrorBudgetPolicyStatus;
use gatekeeper::api::status::RolloutStatus;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::Value;

use super::{History, Operator, PATIENCE, World};

const POLL: Duration = Duration::from_millis(200);
/// How much of the operator's log is told.
const LOG_LINES: usize = 60;

impl World {
    /// Waits until the condition holds. An error while looking counts as "not yet": components may be down on purpose.
    ///
    /// # Errors
    /// With everything that helps to understand why, when time is up.
    pub(crate) async fn eventually(
        &self,
        what: &str,
        patience: Duration,
        mut holds: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let last = match holds().await {
                Ok(true) => return Ok(()),
                Ok(false) => "it is not so".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= deadline {
                bail!("waited {patience:?} until {what}; at last: {last}\n{}", self.story().await);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for the very moment at which the history shows something, to act in it.
    pub(crate) async fn at_the_moment(&self, what: &str, shows: impl Fn(&History) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !shows(&self.history) {
            if Instant::now() >= deadline {
                bail!("waited {PATIENCE:?} for the moment when {what}\n{}", self.story().await);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until a replica of the operator leads, and tells how long it took.
    pub(crate) async fn is_led(&self, operator: &Operator) -> Result<Duration> {
        let began = Instant::now();
        self.eventually(&format!("{} leads", operator.process.name()), PATIENCE, async || operator.leads().await)
            .await?;
        Ok(began.elapsed())
    }

    /// Waits until the gate of the policy is this.
    pub(crate) async fn gate_is(&self, policy: &str, gate: &str) -> Result<ErrorBudgetPolicyStatus> {
        self.eventually(&format!("the gate of {policy} is {gate}"), PATIENCE, async || {
            Ok(self.status(policy).await?.gate.as_deref() == Some(gate))
        })
        .await?;
        self.status(policy).await
    }

    /// Waits until the service's rollout is in this phase, or has been since what was waited for last, and returns what
    /// its status says, or last said, in it.
    pub(crate) async fn reaches(&self, service: &str, phase: &str) -> Result<RolloutStatus> {
        self.reaches_within(service, phase, PATIENCE).await
    }

    /// The same, for at most so long.
    pub(crate) async fn reaches_within(&self, service: &str, phase: &str, patience: Duration) -> Result<RolloutStatus> {
        self.is_told(service, &format!("is {phase}"), patience, |rollout| rollout.phase == phase).await
    }

    /// Waits until the service's rollout is halted for this reason.
    pub(crate) async fn halts_for(&self, service: &str, reason: &str) -> Result<RolloutStatus> {
        let halted = |rollout: &RolloutStatus| rollout.phase == "Halted" && rollout.reason.as_deref() == Some(reason);
        self.is_told(service, &format!("is Halted for {reason}"), PATIENCE, halted).await
    }

    /// Waits until the service's rollout is where it is for this reason.
    pub(crate) async fn is_because(&self, service: &str, reason: &str) -> Result<RolloutStatus> {
        let because = |rollout: &RolloutStatus| rollout.reason.as_deref() == Some(reason);
        self.is_told(service, &format!("is where it is because of {reason}"), PATIENCE, because).await
    }

    /// Waits until the service's status is so, or was since what was waited for last: no phase is too short to be seen.
    pub(crate) async fn is_told(
        &self,
        service: &str,
        what: &str,
        patience: Duration,
        is_it: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        let mut told = None;
        self.eventually(&format!("{service} {what}"), patience, async || {
            let now = self.rollout(service).await?;
            told = self.course.find(service, &is_it);
            ensure!(told.is_some(), "it is {} for {:?} ({:?})", now.phase, now.reason, now.message);
            Ok(true)
        })
        .await?;
        told.context("it was found")
    }

    /// Waits until the rollout of the Deployment's newest template is complete and Prometheus has scraped its pods.
    pub(crate) async fn complete(&self, service: &str) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), &self.namespace);
        self.eventually(&format!("{service} is complete"), PATIENCE, async || {
            let deployment = deployments.get(service).await?;
            let (Some(spec), Some(status)) = (deployment.spec, deployment.status) else { return Ok(false) };
            let wanted = spec.replicas;
            let current = status.observed_generation == deployment.metadata.generation;
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            Ok(current && (wanted == Some(0) || counts.iter().all(|count| *count == wanted)))
        })
        .await?;
        let served = self.traffic().pods(&self.namespace, service).iter().map(|pod| pod.requests).sum::<u64>();
        self.eventually(&format!("{service} is scraped"), PATIENCE, async || {
            Ok(self.scraped_requests(service).await? >= served as f64)
        })
        .await
    }

    /// Requests of the service's present pods, as Prometheus has scraped them.
    async fn scraped_requests(&self, service: &str) -> Result<f64> {
        let prometheus = self.own_prometheus.as_ref().unwrap_or(&self.ground.prometheus);
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/query", prometheus.url()))?;
        let query = format!("sum(http_requests_total{{namespace=\"{}\",pod=~\"{service}-.*\"}})", self.namespace);
        url.query_pairs_mut().append_pair("query", &query);
        let answer: Value = testbed::http::client()?.get(url).send().await?.json().await?;
        let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
        value.unwrap_or("0").parse().with_context(|| answer.to_string())
    }

    /// Waits until the service has an Event with this reason, and returns the notes of all of them.
    pub(crate) async fn event(&self, service: &str, reason: &str) -> Result<Vec<String>> {
        self.eventually(&format!("{service} has an Event {reason}"), PATIENCE, async || {
            Ok(!self.events(service, reason).await?.is_empty())
        })
        .await?;
        self.events(service, reason).await
    }

    /// Waits until the service has so many Events with this reason, and returns the notes of all of them.
    pub(crate) async fn events_of(&self, service: &str, reason: &str, times: usize) -> Result<Vec<String>> {
        self.eventually(&format!("{service} has {times} Events {reason}"), PATIENCE, async || {
            Ok(self.events(service, reason).await?.len() >= times)
        })
        .await?;
        self.events(service, reason).await
    }

    /// Waits until the policy has an Event with this reason, and returns the notes of all of them.
    pub(crate) async fn policy_event(&self, policy: &str, reason: &str) -> Result<Vec<String>> {
        self.eventually(&format!("policy {policy} has an Event {reason}"), PATIENCE, async || {
            Ok(!self.policy_events(policy, reason).await?.is_empty())
        })
        .await?;
        self.policy_events(policy, reason).await
    }

    /// Waits until the pods of each version are as said, in the form of [`World::pods`].
    pub(crate) async fn pods_are(&self, service: &str, expected: &str) -> Result<()> {
        self.eventually(&format!("the pods of {service} are {expected}"), PATIENCE, async || {
            let pods = self.pods(service).await?;
            ensure!(pods == expected, "they are {pods}");
            Ok(true)
        })
        .await
    }

    /// Waits until the pods of each version are as said, or were at any time: for what does not last.
    pub(crate) async fn pods_were(&self, service: &str, expected: &str) -> Result<()> {
        self.eventually(&format!("the pods of {service} are or were {expected}"), PATIENCE, async || {
            Ok(self.history.pods(service).iter().any(|pods| pods == expected))
        })
        .await
    }

    /// Waits until Kubernetes has taken notice of the newest change of the Deployment.
    pub(crate) async fn is_observed(&self, service: &str) -> Result<()> {
        self.eventually(&format!("Kubernetes has seen the newest {service}"), PATIENCE, async || {
            let deployment = self.object("deployment", service).await?;
            Ok(deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"])
        })
        .await
    }

    /// Waits until the operator has looked so many more times: "nothing happens" is said of looks, not of seconds.
    pub(crate) async fn looks_go_by(&self, looks: u32) -> Result<()> {
        let enough = self.looks().await? + f64::from(looks);
        self.eventually(&format!("{looks} looks went by"), PATIENCE, async || Ok(self.looks().await? >= enough)).await
    }

    /// Everything a person would ask for who wants to know what is going on.
    pub(crate) async fn story(&self) -> String {
        let mut story = String::new();
        let namespace = self.namespace.as_str();
        let questions: [&[&str]; 4] = [
            &["describe", "ebp", "--namespace", namespace],
            &["describe", "deployments", "--namespace", namespace],
            &["get", "replicasets,pods", "--output=wide", "--namespace", namespace],
            &["get", "events", "--sort-by=.metadata.creationTimestamp", "--namespace", namespace],
        ];
        for question in questions {
            let answer = self.cluster().kubectl(question).await.unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(story, "--- kubectl {}\n{answer}", question.join(" "));
        }
        let _ = writeln!(story, "--- what happened\n{}\n{}", self.history, self.course);
        for operator in &self.operators {
            let log = std::fs::read_to_string(operator.process.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            let _ = writeln!(story, "--- the end of the log of {}\n{tail}", operator.process.name());
        }
        story
    }
}
