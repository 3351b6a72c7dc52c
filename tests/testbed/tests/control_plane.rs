//! The control plane does what a Kubernetes cluster does, as far as rollouts are concerned.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Client, Config};
use testbed::cluster::{Cluster, ClusterOptions, Ending};

const PATIENCE: Duration = Duration::from_secs(60);

fn quick() -> ClusterOptions {
    let delay = Duration::from_millis(200)..=Duration::from_millis(400);
    ClusterOptions { pod_ready_delay: delay, nodes: 1, ..ClusterOptions::default() }
}

fn manifest(name: &str, version: &str, replicas: u32, paused: bool) -> String {
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "{name}"}},
            "spec": {{
                "replicas": {replicas}, "paused": {paused}, "selector": {{"matchLabels": {{"app": "{name}"}}}},
                "template": {{
                    "metadata": {{"labels": {{"app": "{name}"}}}},
                    "spec": {{"containers": [{{"name": "main", "image": "example.org/{name}:{version}"}}]}}
                }}
            }}}}"#
    )
}

async fn apply(cluster: &Cluster, manifest: &str) -> Result<()> {
    cluster.kubectl_with_input(&["apply", "-f", "-"], manifest).await.map(drop)
}

/// Waits until `ready` pods of the newest template are available, and no other pods are left.
async fn rolled_out(client: &Client, name: &str, ready: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let complete = move |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            status.observed_generation == deployment.metadata.generation
                && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(ready); 3]
        })
    };
    tokio::time::timeout(PATIENCE, await_condition(deployments, name, complete))
        .await
        .with_context(|| format!("{name} was not rolled out within {PATIENCE:?}"))??;
    Ok(())
}

async fn images(client: &Client, name: &str) -> Result<Vec<String>> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let found = pods.list(&ListParams::default().labels(&format!("app={name}"))).await?;
    let containers = found.items.into_iter().filter_map(|pod| pod.spec).flat_map(|spec| spec.containers);
    Ok(containers.filter_map(|container| container.image).collect())
}

async fn client_of(kubeconfig: &Path) -> Result<Client> {
    let config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

#[tokio::test]
async fn two_control_planes_side_by_side_each_roll_out_a_deployment() -> Result<()> {
    let (left, right) = tokio::try_join!(Cluster::start(quick()), Cluster::start(quick()))?;
    apply(&left, &manifest("maple", "1", 3, false)).await?;
    apply(&right, &manifest("birch", "1", 2, false)).await?;
    rolled_out(&left.client(), "maple", 3).await?;
    rolled_out(&right.client(), "birch", 2).await?;
    assert!(images(&left.client(), "birch").await?.is_empty(), "the left one sees the right one's pods");
    assert!(images(&right.client(), "maple").await?.is_empty(), "the right one sees the left one's pods");
    Ok(())
}

#[tokio::test]
async fn a_paused_deployment_does_not_roll_until_it_is_resumed() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    apply(&cluster, &manifest("maple", "1", 2, false)).await?;
    rolled_out(&cluster.client(), "maple", 2).await?;

    apply(&cluster, &manifest("maple", "2", 2, true)).await?;
    // Another Deployment made after it is rolled out first, so the controller has had its turn.
    apply(&cluster, &manifest("birch", "1", 1, false)).await?;
    rolled_out(&cluster.client(), "birch", 1).await?;
    assert_eq!(images(&cluster.client(), "maple").await?, ["example.org/maple:1"; 2]);

    cluster.kubectl(&["rollout", "resume", "deployment/maple"]).await?;
    rolled_out(&cluster.client(), "maple", 2).await?;
    // A pod on its way out may still be listed.
    assert!(images(&cluster.client(), "maple").await?.iter().filter(|image| image.ends_with(":2")).count() == 2);
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_told_never_to_be_ready_holds_the_rollout_up() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    apply(&cluster, &manifest("maple", "1", 1, false)).await?;
    rolled_out(&cluster.client(), "maple", 1).await?;

    let annotate = r#"{"spec":{"template":{"metadata":{"annotations":{"testbed/never-ready":"true"}}}}}"#;
    cluster.kubectl(&["patch", "deployment/maple", "-p", annotate]).await?;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let running_unready = async || -> Result<bool> {
        let found = pods.list(&ListParams::default().labels("app=maple")).await?;
        Ok(found.items.iter().any(|pod| {
            let told = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("testbed/never-ready"));
            let status = pod.status.clone().unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            told && status.phase.as_deref() == Some("Running") && containers.iter().all(|container| !container.ready)
        }))
    };
    tokio::time::timeout(PATIENCE, async {
        while !running_unready().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    // Another Deployment made after it is rolled out first, so this one has had the time.
    apply(&cluster, &manifest("birch", "1", 1, false)).await?;
    rolled_out(&cluster.client(), "birch", 1).await?;
    assert!(running_unready().await?);
    assert_eq!(images(&cluster.client(), "maple").await?.len(), 2, "the old pod stays until the new one is Ready");
    Ok(())
}

#[tokio::test]
async fn a_pod_is_ready_no_sooner_than_it_asks_for() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    let labels = r#""labels": {"app": "maple"}},"#;
    let slower = r#""labels": {"app": "maple"}, "annotations": {"testbed/ready-delay": "1500ms"}},"#;
    let slow = manifest("maple", "1", 1, false).replace(labels, slower);
    assert!(slow.contains("testbed/ready-delay"));
    let started = Instant::now();
    apply(&cluster, &slow).await?;
    rolled_out(&cluster.client(), "maple", 1).await?;
    assert!(started.elapsed() >= Duration::from_millis(1500), "Ready after {:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_service_account_may_do_only_what_a_role_allows() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    cluster.kubectl(&["create", "serviceaccount", "reader"]).await?;
    let kubeconfig = cluster.kubeconfig_for_service_account("default", "reader").await?;
    let pods: Api<Pod> = Api::default_namespaced(client_of(&kubeconfig).await?);

    let denied = pods.list(&ListParams::default()).await.expect_err("a service account has no rights of its own");
    assert!(denied.to_string().contains("system:serviceaccount:default:reader"), "{denied}");

    cluster.kubectl(&["create", "role", "reader", "--verb=list", "--resource=pods"]).await?;
    cluster.kubectl(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:reader"]).await?;
    // The authoriser learns of the binding through a watch.
    tokio::time::timeout(PATIENCE, async {
        while pods.list(&ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await?;
    let delete = pods.delete_collection(&Default::default(), &ListParams::default()).await;
    assert!(delete.is_err(), "a right to list is no right to delete");
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_is_restarted_or_killed_comes_back_with_everything() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    cluster.kubectl(&["create", "configmap", "note", "--from-literal=text=kept"]).await?;
    let server = cluster.server().to_owned();
    for ending in [Ending::Graceful, Ending::Killed] {
        let before = cluster.apiserver.pid();
        cluster.restart_apiserver(ending).await?;
        assert_ne!(cluster.apiserver.pid(), before, "{ending:?}");
        assert_eq!(cluster.server(), server);
        let notes: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let data = notes.get("note").await?.data.unwrap_or_default();
        assert_eq!(data.get("text").map(String::as_str), Some("kept"), "{ending:?}");
    }
    // Controllers, scheduler and kwok find their way back too.
    apply(&cluster, &manifest("maple", "1", 2, false)).await?;
    rolled_out(&cluster.client(), "maple", 2).await
}

#[tokio::test]
async fn a_frozen_controller_manager_does_nothing_until_it_is_thawed() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    cluster.controller_manager.freeze()?;
    apply(&cluster, &manifest("maple", "1", 1, false)).await?;
    assert!(cluster.controller_manager.is_running(), "frozen is not ended");
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    assert_eq!(deployments.get_status("maple").await?.status.unwrap_or_default().observed_generation, None);
    cluster.controller_manager.thaw()?;
    rolled_out(&cluster.client(), "maple", 1).await
}

#[tokio::test]
async fn helm_installs_and_removes_a_chart() -> Result<()> {
    let cluster = Cluster::start(quick()).await?;
    let chart = cluster.dir().join("chart");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: maple\nversion: 0.1.0\n")?;
    std::fs::write(chart.join("templates/deployment.yaml"), manifest("maple", "1", 1, false))?;
    let chart = chart.to_str().context("a temporary folder has a readable name")?;
    cluster.helm(&["install", "maple", chart, "--wait", "--timeout", "60s"]).await?;
    rolled_out(&cluster.client(), "maple", 1).await?;
    cluster.helm(&["uninstall", "maple", "--wait", "--timeout", "60s"]).await?;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    assert!(deployments.get_opt("maple").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_component_that_cannot_start_fails_the_start_with_its_log() {
    let wrong = ClusterOptions { apiserver_flags: vec!["--no-such-flag".to_owned()], ..quick() };
    let error = match Cluster::start(wrong).await {
        Ok(_) => panic!("a flag the API server does not know was taken"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains("kube-apiserver is not running"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
}
