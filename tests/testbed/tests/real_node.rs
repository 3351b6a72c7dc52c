//! Real pods on real nodes do what users have on their clusters: they start, serve, find each other, and get lost.
//!
//! The program starts itself again in a machine of its own, so it has no test harness: its checks share one cluster and
//! run in order.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{Api, ListParams};
use serde_json::json;
use testbed::http;
use testbed::real::{self, Entered, RealCluster, RealOptions, RealTools};

const PATIENCE: Duration = Duration::from_secs(90);
const REPLICAS: usize = 4;
const IMAGE: &str = "localhost/web:1";

fn main() -> Result<ExitCode> {
    if let Entered::Unsupported(why) = real::enter()? {
        println!("real nodes ... skipped: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let failed = tokio::runtime::Runtime::new()?.block_on(checks())?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all checks, prints what came of each, and returns how many failed.
async fn checks() -> Result<usize> {
    let started = Instant::now();
    let cluster = RealCluster::start(RealOptions { nodes: 2, ..RealOptions::default() }).await?;
    println!("two nodes take pods after {:.1} s", started.elapsed().as_secs_f64());
    let mut passed = 0;
    let mut failed = 0;
    macro_rules! check {
        ($name:ident) => {
            let started = Instant::now();
            let result = $name(&cluster).await.and_then(|()| cluster.ensure_running());
            let took = started.elapsed().as_secs_f64();
            match result {
                Ok(()) => {
                    passed += 1;
                    println!("check {} ... ok ({took:.1} s)", stringify!($name));
                }
                Err(error) => {
                    failed += 1;
                    println!("check {} ... FAILED: {error:#}", stringify!($name));
                }
            }
        };
    }
    check!(a_deployment_of_an_imported_image_becomes_ready_on_both_nodes);
    check!(every_pod_is_reached_through_the_service_address);
    check!(a_service_is_reached_by_its_name);
    check!(a_pod_reaches_a_service_by_its_name);
    check!(logs_come_from_the_kubelet);
    check!(a_node_that_is_lost_is_noticed_and_comes_back);
    println!("{passed} passed, {failed} failed");
    Ok(failed)
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = match look().await {
            Ok(true) => return Ok(()),
            Ok(false) => "not so yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}; last: {seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn get(url: &str) -> Result<String> {
    let answer = http::client()?.get(url).send().await.with_context(|| format!("get {url}"))?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url} answered {status}: {text}");
    Ok(text)
}

async fn pods(cluster: &RealCluster) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    Ok(pods.list(&ListParams::default().labels("app=web")).await?.items)
}

async fn pod_names(cluster: &RealCluster) -> Result<BTreeSet<String>> {
    Ok(pods(cluster).await?.into_iter().filter_map(|pod| pod.metadata.name).collect())
}

fn image(tools: &RealTools) -> Result<Vec<u8>> {
    let image = packaging::Image {
        name: IMAGE.to_owned(),
        root: packaging::Root::default().with_program("web", std::fs::read(&tools.web)?),
        entrypoint: vec!["/web".to_owned()],
        user: (65_534, 65_534),
        ports: vec![8080],
        labels: Default::default(),
        time: 0,
        packing: packaging::Packing::Fast,
    };
    Ok(image.archive()?.file)
}

async fn a_deployment_of_an_imported_image_becomes_ready_on_both_nodes(cluster: &RealCluster) -> Result<()> {
    let archive = cluster.dir().join("web.tar");
    std::fs::write(&archive, image(&real::tools()?)?)?;
    cluster.import_image(&archive).await?;

    let spread = json!({
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    let container = json!({
        "name": "web", "image": IMAGE, "imagePullPolicy": "Never",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "securityContext": {"runAsNonRoot": true, "readOnlyRootFilesystem": true},
    });
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"topologySpreadConstraints": [spread], "containers": [container]},
                },
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]});
    let kubectl = cluster.control_plane();
    kubectl.kubectl_with_input(&["apply", "-f", "-"], &objects.to_string()).await?;
    kubectl.kubectl(&["wait", "deployment/web", "--for=condition=Available", "--timeout=90s"]).await?;

    let nodes: BTreeSet<String> =
        pods(cluster).await?.into_iter().filter_map(|pod| pod.spec.and_then(|spec| spec.node_name)).collect();
    ensure!(nodes == BTreeSet::from(["node-1", "node-2"].map(str::to_owned)), "the pods are on {nodes:?}");
    Ok(())
}

async fn every_pod_is_reached_through_the_service_address(cluster: &RealCluster) -> Result<()> {
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    let address = services.get("web").await?.spec.and_then(|spec| spec.cluster_ip).context("it has an address")?;
    all_pods_answer(cluster, &format!("http://{address}/")).await
}

async fn a_service_is_reached_by_its_name(cluster: &RealCluster) -> Result<()> {
    all_pods_answer(cluster, "http://web.default.svc.cluster.local/").await
}

/// The name is looked up by the pod, and the Service's rules are those of its node.
async fn a_pod_reaches_a_service_by_its_name(cluster: &RealCluster) -> Result<()> {
    let names = pod_names(cluster).await?;
    for pod in pods(cluster).await? {
        let address = pod.status.and_then(|status| status.pod_ip).context("the pod has an address")?;
        let answered = get(&format!("http://{address}:8080/ask?url=http://web/")).await?;
        ensure!(names.contains(&answered), "{answered:?} answered at http://web/ and not one of {names:?}");
    }
    Ok(())
}

/// Asks until each pod has answered, and nobody else.
async fn all_pods_answer(cluster: &RealCluster, url: &str) -> Result<()> {
    let names = pod_names(cluster).await?;
    ensure!(names.len() == REPLICAS, "the pods are {names:?}");
    let mut answered = BTreeSet::new();
    until(&format!("every pod answers at {url}"), async || {
        answered.insert(get(url).await?);
        Ok(answered == names)
    })
    .await
}

async fn logs_come_from_the_kubelet(cluster: &RealCluster) -> Result<()> {
    for name in pod_names(cluster).await? {
        let said = cluster.control_plane().kubectl(&["logs", &name]).await?;
        ensure!(said.contains(&format!("{name} listens on 8080")), "{name} said {said:?}");
    }
    Ok(())
}

async fn a_node_that_is_lost_is_noticed_and_comes_back(cluster: &RealCluster) -> Result<()> {
    cluster.kill_node(2)?;
    let nodes: Api<Node> = Api::all(cluster.client());
    until("node-2 is not Ready", async || {
        let conditions = nodes.get("node-2").await?.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown"))
    })
    .await?;
    cluster.start_node(2).await?;
    let kubectl = cluster.control_plane();
    until("all pods are Ready again", async || {
        let replicas = kubectl.kubectl(&["get", "deployment/web", "-o", "jsonpath={.status.readyReplicas}"]).await?;
        Ok(replicas == REPLICAS.to_string())
    })
    .await?;
    all_pods_answer(cluster, "http://web.default.svc.cluster.local/").await
}
