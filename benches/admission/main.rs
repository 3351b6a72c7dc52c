//! What the chart's admission policies cost the API server: `cargo bench --bench admission`. Prints a table in Markdown;
//! fails when it cannot measure, never on what it measures. It takes a minute or two.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};

/// Who writes at the same time, each a Deployment of its own.
const WRITERS: usize = 8;
/// How long each number is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// What is written before that, so that everything is warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the API server may take to learn of policies.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "shop";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");

#[tokio::main]
async fn main() -> Result<()> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    // What controllers write would be measured too.
    cluster.controller_manager.stop().await?;
    let client = cluster.client();
    cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
    install(&cluster, false).await?;
    let mut policies = 1;
    create_policies(&client, 0..policies).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    for kind in ["selected", "other"] {
        for writer in 0..WRITERS {
            deployments.create(&PostParams::default(), &deployment(kind, writer)?).await?;
        }
    }

    println!("{WRITERS} writers, updates of Deployments a second:\n");
    println!("| | a label, not selected | a label, selected | a new template, selected |");
    println!("| --- | --- | --- | --- |");
    for (is_on, count) in [(false, 1), (true, 1), (false, 1), (true, 1), (true, 20)] {
        create_policies(&client, policies..count).await?;
        policies = policies.max(count);
        install(&cluster, is_on).await?;
        until(&deployments, is_on).await?;
        let what = match is_on {
            true => format!("with the admission policies, {count} ErrorBudgetPolicy objects in the namespace"),
            false => "without".to_owned(),
        };
        let [other, selected, rollout] = [
            rate(&deployments, "other", label).await?,
            rate(&deployments, "selected", label).await?,
            rate(&deployments, "selected", template).await?,
        ];
        println!("| {what} | {other:.0} | {selected:.0} | {rollout:.0} |");
    }
    Ok(())
}

/// Installs the chart, or changes what is installed.
async fn install(cluster: &Cluster, with_admission: bool) -> Result<()> {
    let mut arguments = vec!["upgrade", "--install", "gk", CHART, "--namespace", "gk", "--create-namespace"];
    let values = ["prometheus.default.url=http://prometheus.invalid", "replicas=0"];
    let switches = ["hold", "deny", "rights"].map(|part| format!("admission.{part}={with_admission}"));
    for value in values.into_iter().chain(switches.iter().map(String::as_str)) {
        arguments.extend(["--set", value]);
    }
    cluster.helm(&arguments).await?;
    Ok(())
}

/// Policies in force. The first selects Deployments, the others are there to be looked at.
async fn create_policies(client: &Client, numbers: std::ops::Range<usize>) -> Result<()> {
    let resource = ApiResource::erase::<gatekeeper::api::ErrorBudgetPolicy>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let params = PatchParams::default();
    for number in numbers {
        let name = format!("policy-{number}");
        let app = if number == 0 { "selected".to_owned() } else { name.clone() };
        let policy = serde_json::from_value(json!({
            "apiVersion": "errorbudget.dev/v1alpha1", "kind": "ErrorBudgetPolicy", "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "objectives": [{
                    "name": "availability", "target": "99.9",
                    "indicator": {"ratio": {"errors": "errors_total", "total": "requests_total"}},
                }],
            },
        }))?;
        api.create(&PostParams::default(), &policy).await?;
        let ready = json!({"status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "InForce", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }]}});
        api.patch_status(&name, &params, &Patch::Merge(ready)).await?;
    }
    Ok(())
}

fn deployment(kind: &str, writer: usize) -> Result<Deployment> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("{kind}-{writer}"), "labels": {"app": kind}},
        "spec": {
            "selector": {"matchLabels": {"app": kind}},
            "template": {
                "metadata": {"labels": {"app": kind}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }))?)
}

/// Waits until a new template is held, or until it is not.
async fn until(deployments: &Api<Deployment>, is_held: bool) -> Result<()> {
    let resumed = json!({"metadata": {"annotations": null}, "spec": {"paused": null}});
    let params = PatchParams::default();
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let mut change = template(number);
        change["spec"]["paused"] = Value::Null;
        let found = deployments.patch("selected-0", &params, &Patch::Merge(change)).await?;
        if found.spec.is_some_and(|spec| spec.paused == Some(true)) == is_held {
            break;
        }
        ensure!(Instant::now() < deadline, "the API server does not see what was installed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for writer in 0..WRITERS {
        deployments.patch(&format!("selected-{writer}"), &params, &Patch::Merge(resumed.clone())).await?;
    }
    Ok(())
}

fn label(number: usize) -> Value {
    json!({"metadata": {"labels": {"number": number.to_string()}}})
}

fn template(number: usize) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"number": number.to_string()}}}}})
}

/// Writes a second.
async fn rate(deployments: &Api<Deployment>, kind: &str, change: impl Fn(usize) -> Value + Copy) -> Result<f64> {
    let from = Instant::now() + WARM_UP;
    let to = from + MEASURED;
    let writers = (0..WRITERS).map(async |writer| -> Result<u32> {
        let name = format!("{kind}-{writer}");
        let mut counted = 0;
        for number in 0.. {
            let patch = Patch::Merge(change(number));
            deployments.patch(&name, &PatchParams::default(), &patch).await.context("write a Deployment")?;
            let now = Instant::now();
            if now >= to {
                break;
            }
            counted += u32::from(now >= from);
        }
        Ok(counted)
    });
    let written: u32 = try_join_all(writers).await?.into_iter().sum();
    Ok(f64::from(written) / MEASURED.as_secs_f64())
}
