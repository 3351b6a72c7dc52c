//! A bad release, its rollback and its fix on a real control plane, told as a user sees it: `make demo`.
//!
//! Every command that is printed is run, and what follows it is its real output.

mod ground;
mod operator;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};

use gatekeeper::watch::TemplateIds;
use ground::{Ground, SERVICE, operator_program, version};
use operator::{Operator, RELEASE};
use story::{Seen, Story};

/// What takes seconds on an idle machine may take so long on a busy one.
const PATIENCE: Duration = Duration::from_secs(120);
/// In place of a minute.
const BUDGET_INTERVAL: &str = "--budget-interval=2s";
/// The policy's times for a story of two minutes.
const SHORTER: &str =
    r#"{"spec":{"canary":{"hold":"15s"},"detection":{"window":"10s","looks":5},"monitor":{"timeout":"10s"}}}"#;

#[tokio::main]
async fn main() -> ExitCode {
    match tell(&Story::new()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo ends here. {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn tell(story: &Story) -> Result<()> {
    let program = operator_program()?;
    story.chapter("A control plane");
    story.say(
        "A real Kubernetes (etcd, API server, controllers, scheduler), a real Prometheus and a real Helm start in a \
         temporary folder. There is no container runtime: kwok plays the pods, a simulator plays their requests and \
         errors, and the operator runs as a process with a token of its chart's own service account.",
    );
    let mut starting = Box::pin(Ground::start());
    let (ground, _) = story
        .wait("a control plane and Prometheus start", PATIENCE, async || {
            match tokio::time::timeout(Duration::from_millis(200), &mut starting).await {
                Ok(started) => started.map(Seen::Done),
                Err(_) => Ok(Seen::NotYet("components are coming up".to_owned())),
            }
        })
        .await?;

    install(story, &ground).await?;
    let operator =
        Operator::start(&ground.cluster, RELEASE, &program, ground.cluster.dir(), &[BUDGET_INTERVAL]).await?;
    if let Err(error) = releases(story, &ground).await {
        return Err(error.context(what_is_known(&ground, &operator).await));
    }
    operator.process().stop().await?;
    let ended = operator.process().exit_status();
    ensure!(ended.is_some_and(|status| status.success()), "the operator did not end well: {ended:?}");
    drop((operator, ground));
    story.say("Everything that was started is stopped and removed.");
    Ok(())
}

/// What helps to find out why a step did not come about.
async fn what_is_known(ground: &Ground, operator: &Operator) -> String {
    let log = std::env::temp_dir().join("error-budget-gatekeeper-demo.log");
    let kept = std::fs::copy(operator.process().log(), &log);
    let log = kept.map_or_else(|error| error.to_string(), |_| log.display().to_string());
    let status = ground.cluster.kubectl(&["describe", "ebp", SERVICE]).await;
    let status = status.unwrap_or_else(|error| format!("{error:#}"));
    format!("What the policy says:\n\n{status}\nThe operator's log: {log}\n\nWhat did not come about")
}

async fn install(story: &Story, ground: &Ground) -> Result<()> {
    story.chapter("Install the operator");
    let url = format!("prometheus.default.url={}", ground.prometheus.url());
    let chart = format!("charts/{RELEASE}");
    let (namespace, url) = (format!("--namespace={RELEASE}"), format!("--set={url}"));
    let options = ["--create-namespace", "--hide-notes", "--set=replicas=0", "--set=log.format=text"];
    story.helm(&ground.cluster, &[&["install", RELEASE, &chart, &namespace, &url][..], &options].concat()).await
}

async fn releases(story: &Story, ground: &Ground) -> Result<()> {
    story.chapter("A service, and a policy for it");
    story.say(&format!(
        "{SERVICE} is a plain Deployment of {} pods that serve {} requests a second. Version v1 fails 0.03 % of them. \
         Its policy promises 99.9 %: a budget of 0.1 % for errors. v1 burns it at 0.3x the rate that would just spend it.",
        ground::REPLICAS,
        ground::TRAFFIC
    ));
    story.kubectl(&ground.cluster, &["apply", "-f", "checkout-v1.yaml"]).await?;
    story.wait("v1 serves and Prometheus knows", PATIENCE, async || serves(ground).await).await?;
    story.kubectl(&ground.cluster, &["apply", "-f", "config/policies/availability.yaml"]).await?;
    story.say(
        "The defaults hold a canary of 10 % for 2 minutes, look every 10 s, and monitor for 5 minutes after a rollout. For \
         this story: 15 s, every 2 s, and 10 s. (Prometheus scrapes every second here, and is asked what is left of the budget every 2 s \
         in place of every minute.)",
    );
    story.kubectl(&ground.cluster, &["patch", "ebp", SERVICE, "--type=merge", "-p", SHORTER]).await?;
    story.wait("v1 is taken as stable", PATIENCE, async || governed(ground).await).await?;
    story.say("Enough of the budget is left, so the gate is open: this is what a pipeline asks first.");
    let gate = ["wait", "--for=condition=GateOpen", "ebp/checkout", "--timeout=60s"];
    story.kubectl(&ground.cluster, &gate).await?;
    story.kubectl(&ground.cluster, &["get", "ebp"]).await?;

    story.chapter("A bad release");
    story.say(
        "v2 fails 0.23 % of its requests: it burns the budget 2.3 times as fast as allowed. Nobody watches; it is released \
         as always:",
    );
    story.kubectl(&ground.cluster, &["apply", "-f", "checkout-v2.yaml"]).await?;
    story.wait("v2 is held as a canary", PATIENCE, async || has_canary(ground, "v2").await).await?;
    story.kubectl(&ground.cluster, &["get", "replicasets"]).await?;
    let (_, back) = story.wait("v2 is rolled back", PATIENCE, async || is_back(ground).await).await?;
    story.kubectl(&ground.cluster, &["get", "ebp"]).await?;
    story.wait("v1 is within its budget again", PATIENCE, async || reached(ground, "v1", "RolledBack").await).await?;

    story.chapter("What the person on call finds");
    events(story, ground).await?;
    story.kubectl(&ground.cluster, &["describe", "ebp", SERVICE]).await?;
    story.kubectl(&ground.cluster, &["describe", "deployment", SERVICE]).await?;

    story.chapter("Fix and retry");
    story.say("v3 is the fix: it fails 0.02 % of its requests.");
    story.kubectl(&ground.cluster, &["apply", "-f", "checkout-v3.yaml"]).await?;
    story.wait("v3 is held as a canary", PATIENCE, async || has_canary(ground, "v3").await).await?;
    story.wait("v3 is rolled out", PATIENCE, async || reached(ground, "v3", "Monitoring").await).await?;
    story.kubectl(&ground.cluster, &["get", "ebp"]).await?;
    story.wait("v3 is monitored", PATIENCE, async || reached(ground, "v3", "Succeeded").await).await?;
    events(story, ground).await?;
    story.kubectl(&ground.cluster, &["get", "replicasets"]).await?;

    story.chapter("In short");
    story.say(&format!(
        "v2 had 2 of 12 pods and was rolled back {:.1} s after its canary was there; the other pods stayed v1 all the \
         time. v3, the fix, is the new stable revision.",
        back.as_secs_f64()
    ));
    Ok(())
}

/// The operator's own Events on the Deployment, without Kubernetes' about scaling.
async fn events(story: &Story, ground: &Ground) -> Result<()> {
    let ours = "--field-selector=reportingComponent=errorbudget.dev/gatekeeper,involvedObject.kind=Deployment";
    story.kubectl(&ground.cluster, &["get", "events", ours, "--sort-by=.eventTime"]).await
}

/// Whether all pods are Ready and Prometheus has a second's worth of their requests.
async fn serves(ground: &Ground) -> Result<Seen<()>> {
    let ready = ground.deployment().await?.status.and_then(|status| status.ready_replicas).unwrap_or_default();
    let requests = ground.requests().await?;
    if ready == ground::REPLICAS && requests > ground::TRAFFIC {
        return Ok(Seen::Done(()));
    }
    Ok(Seen::NotYet(format!("{ready} of {} pods ready, {requests:.0} requests scraped", ground::REPLICAS)))
}

/// Whether the operator has taken in the policy as it is now, and the Deployment with it.
async fn governed(ground: &Ground) -> Result<Seen<()>> {
    let policy = ground.policy().await?;
    let status = policy.status.unwrap_or_default();
    let current = status.observed_generation == policy.metadata.generation;
    if current && status.targets == Some(1) && status.rollouts.contains_key(SERVICE) {
        return Ok(Seen::Done(()));
    }
    Ok(Seen::NotYet(format!("{} Deployments governed", status.targets.unwrap_or_default())))
}

/// Whether the rollout of this version is in this phase.
async fn reached(ground: &Ground, wanted: &str, phase: &str) -> Result<Seen<()>> {
    let deployment = ground.deployment().await?;
    let rollout = ground.policy().await?.status.unwrap_or_default().rollouts.remove(SERVICE).unwrap_or_default();
    let message = rollout.message.unwrap_or_default();
    let is = version(&deployment);
    ensure!(is == wanted, "{is} is in the Deployment now and not {wanted}: {message}");
    let template = serde_json::to_value(deployment.spec.as_ref().map(|spec| &spec.template))?;
    let is_told = rollout.newest.is_some_and(|newest| newest.template == TemplateIds::of(template).id.0);
    if rollout.phase == phase && is_told {
        return Ok(Seen::Done(()));
    }
    let updated = deployment.status.and_then(|status| status.updated_replicas).unwrap_or_default();
    Ok(Seen::NotYet(format!("{updated}/{} pods; {}: {message}", ground::REPLICAS, rollout.phase)))
}

/// Whether this version's canary has its pods.
async fn has_canary(ground: &Ground, wanted: &str) -> Result<Seen<()>> {
    let rollout = ground.policy().await?.status.unwrap_or_default().rollouts.remove(SERVICE).unwrap_or_default();
    if rollout.canary.is_some_and(|canary| canary.held_since.is_some()) {
        return Ok(Seen::Done(()));
    }
    reached(ground, wanted, "Canary").await.map(|_| Seen::NotYet(format!("{}: its pods are coming", rollout.phase)))
}

/// Whether the operator has put v1 back in the place of v2.
async fn is_back(ground: &Ground) -> Result<Seen<()>> {
    match version(&ground.deployment().await?) {
        "v1" => Ok(Seen::Done(())),
        _ => reached(ground, "v2", "RolledBack").await,
    }
}
