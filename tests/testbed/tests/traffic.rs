//! Simulated traffic on a real control plane, as a real Prometheus sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::fault_proxy::{Fault, FaultProxy};
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::traffic::{PodBehaviour, TrafficOptions, TrafficPlan, TrafficSimulator};
use tokio::time::{Instant, sleep};

const NAMESPACE: &str = "default";
const TIMEOUT: Duration = Duration::from_secs(60);

struct Bench {
    prometheus: PrometheusServer,
    traffic: TrafficSimulator,
    cluster: Cluster,
}

impl Bench {
    /// A control plane whose Deployment "cart" gets this many requests a second, scraped twice a second.
    async fn new(requests_per_second: f64) -> anyhow::Result<Self> {
        let delay = Duration::from_millis(200)..=Duration::from_millis(400);
        let cluster = Cluster::start(ClusterOptions { pod_ready_delay: delay, ..ClusterOptions::default() }).await?;
        let plan = TrafficPlan::new().with(NAMESPACE, "cart", requests_per_second);
        let traffic = TrafficSimulator::start(cluster.client(), plan, TrafficOptions::default()).await?;
        let options = PrometheusOptions::scraping(traffic.target()).every(Duration::from_millis(500));
        let prometheus = PrometheusServer::start(&cluster.tools().prometheus, &options).await?;
        Ok(Self { prometheus, traffic, cluster })
    }

    async fn release(&self, replicas: u32, behaviour: &PodBehaviour) -> anyhow::Result<()> {
        let manifest = deployment(replicas, behaviour);
        self.deployments().create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
        Ok(())
    }

    /// Gives the running Deployment another template, which is a new release.
    async fn release_again(&self, behaviour: &PodBehaviour) -> anyhow::Result<()> {
        let template = json!({"metadata": {"annotations": behaviour.to_annotations()}});
        let patch = Patch::Merge(json!({"spec": {"template": template}}));
        self.deployments().patch("cart", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.client(), NAMESPACE)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client(), NAMESPACE)
    }

    /// Asks until the values by pod are as expected.
    async fn eventually_by_pod(
        &self,
        promql: &str,
        expected: impl Fn(&BTreeMap<String, f64>) -> bool,
    ) -> anyhow::Result<BTreeMap<String, f64>> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let samples = self.prometheus.query(promql).await?;
            let values = samples
                .into_iter()
                .map(|mut sample| Some((sample.labels.remove("pod")?, sample.value)))
                .collect::<Option<BTreeMap<_, _>>>()
                .context("a series without a pod")?;
            if expected(&values) {
                return Ok(values);
            }
            ensure!(Instant::now() < deadline, "{promql} remains {values:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn deployment(replicas: u32, behaviour: &PodBehaviour) -> Value {
    json!({
        "metadata": {"name": "cart"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "cart"}},
            "template": {
                "metadata": {"labels": {"app": "cart"}, "annotations": behaviour.to_annotations()},
                "spec": {"containers": [{"name": "cart", "image": "cart"}]},
            },
        },
    })
}

/// Within a fifth of what is expected.
fn close(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 0.2
}

#[tokio::test]
async fn three_pods_share_the_rate_and_a_deleted_pod_takes_its_series_with_it() -> anyhow::Result<()> {
    let bench = Bench::new(3000.0).await?;
    bench.release(3, &PodBehaviour::failing(0.1)).await?;

    let total = "sum by (pod) (rate(http_requests_total[4s]))";
    let rates =
        bench.eventually_by_pod(total, |rates| rates.len() == 3 && rates.values().all(|rate| close(*rate, 1000.0)));
    let pods: Vec<String> = rates.await?.into_keys().collect();
    let errors = r#"sum by (pod) (rate(http_requests_total{namespace="default",code="500"}[4s]))"#;
    bench.eventually_by_pod(errors, |rates| rates.len() == 3 && rates.values().all(|rate| close(*rate, 100.0))).await?;
    let median = "histogram_quantile(0.5, sum by (pod, le) (rate(http_request_duration_seconds_bucket[4s])))";
    bench.eventually_by_pod(median, |medians| medians.values().all(|median| close(*median, 0.040))).await?;

    let counted = bench.traffic.handle().pods(NAMESPACE, "cart");
    assert_eq!(counted.iter().map(|pod| &pod.name).collect::<Vec<_>>(), pods.iter().collect::<Vec<_>>());

    bench.pods().delete(&pods[0], &DeleteParams::default().grace_period(0)).await?;
    let series = bench
        .eventually_by_pod(r#"http_requests_total{code="200"}"#, |series| {
            series.len() == 3 && !series.contains_key(&pods[0])
        })
        .await?;
    assert!(series.contains_key(&pods[1]) && series.contains_key(&pods[2]));
    Ok(())
}

#[tokio::test]
async fn a_bad_release_is_just_another_template() -> anyhow::Result<()> {
    let bench = Bench::new(1000.0).await?;
    bench.release(2, &PodBehaviour::default()).await?;
    let total = r#"sum by (pod) (rate(http_requests_total{code="200"}[3s]))"#;
    let good = bench.eventually_by_pod(total, |rates| rates.len() == 2).await?;
    let errors = r#"http_requests_total{code="500"}"#;
    assert!(bench.prometheus.query(errors).await?.is_empty(), "no error, no series");

    bench.release_again(&PodBehaviour::failing(0.5)).await?;
    let bad = bench.eventually_by_pod(errors, |errors| errors.len() == 2).await?;
    assert!(bad.keys().all(|pod| !good.contains_key(pod)), "{bad:?} of {good:?}");
    bench.eventually_by_pod(r#"http_requests_total{code="200"}"#, |series| series.keys().eq(bad.keys())).await?;
    Ok(())
}

#[tokio::test]
async fn faults_between_prometheus_and_its_client_come_and_go() -> anyhow::Result<()> {
    let bench = Bench::new(100.0).await?;
    bench.release(2, &PodBehaviour::default()).await?;
    let series = r#"http_requests_total{code="200"}"#;
    bench.eventually_by_pod(series, |series| series.len() == 2).await?;

    let proxy = FaultProxy::start(bench.prometheus.url()).await?;
    let url = format!("{}/api/v1/query?query=http_requests_total", proxy.url());
    let client = testbed::http::client()?;
    let ask = async || -> anyhow::Result<Value> { Ok(client.get(&url).send().await?.json().await?) };
    let found = |answer: &Value| answer["data"]["result"].as_array().map_or(0, Vec::len);
    assert_eq!(found(&ask().await?), 2);
    proxy.set(Fault::Partial);
    assert_eq!(found(&ask().await?), 1);
    proxy.set(Fault::NaN);
    assert_eq!(ask().await?["data"]["result"][0]["value"][1], "NaN");
    proxy.set(Fault::Pass);

    bench.prometheus.stop().await?;
    assert_eq!(ask().await?["status"], "error");
    bench.prometheus.restart().await?;
    bench.eventually_by_pod(series, |series| series.len() == 2).await?;
    assert_eq!(found(&ask().await?), 2);
    Ok(())
}
