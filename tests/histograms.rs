//! Histograms of latencies, classic and native, read from a real Prometheus that has labels of its own for pods.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use gatekeeper::config::{OperatorConfig, PodLabels};
use gatekeeper::measure::budget::{Ask, Bounds, Budgets, Endpoint, Found, Source, Spent};
use gatekeeper::measure::client::PrometheusClient;
use gatekeeper::measure::histogram::Histogram;
use gatekeeper::measure::pods::PodGroup;
use gatekeeper::measure::sampler::{Indicator, ReadFrom, Sampler, Subject, system_clock};
use gatekeeper::measure::scrape::{Origin, Samples};
use gatekeeper::policy::{HistogramType, Latency};
use gatekeeper::watch::rollout::DeploymentKey;
use jiff::Timestamp;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pods of the canary and of the stable ReplicaSet, and one of another namespace that has the name of a canary pod, each
/// with its requests up to 0.25 s, and those of one to two seconds.
const PODS: [(&str, &str, u64, u64); 3] = [
    ("shop", "cart-7d9f8b6c5d-x2b4z", 97, 3),
    ("shop", "cart-5f6b7c8d9f-bbbbb", 1000, 0),
    ("bank", "cart-7d9f8b6c5d-x2b4z", 0, 1_000_000),
];

/// How one pod writes the bound 0.25; the stable one has it not at all.
fn classic(share: u64) -> String {
    let mut text = "# TYPE latency_seconds histogram\n".to_owned();
    for (namespace, pod, fast, slow) in PODS {
        let labels = format!(r#"kubernetes_namespace="{namespace}",kubernetes_pod_name="{pod}""#);
        let bound = if pod.contains("5f6b7c8d9f") { "0.1" } else { "2.50e-01" };
        let (fast, all) = (fast * share, (fast + slow) * share);
        text += &format!("latency_seconds_bucket{{{labels},le=\"{bound}\"}} {fast}\n");
        text += &format!("latency_seconds_bucket{{{labels},le=\"1\"}} {fast}\n");
        text += &format!("latency_seconds_bucket{{{labels},le=\"+Inf\"}} {all}\n");
        text += &format!("latency_seconds_sum{{{labels}}} 1\nlatency_seconds_count{{{labels}}} {all}\n");
    }
    text
}

/// The same as native histograms with a bucket for each power of two, in the protobuf format of Prometheus.
fn native(share: u64) -> Vec<u8> {
    let mut family = field(1, b"latency_seconds");
    family.extend(number(3, 4));
    for (namespace, pod, fast, slow) in PODS {
        let (fast, slow) = (fast * share, slow * share);
        let mut metric = Vec::new();
        for (name, value) in [("kubernetes_namespace", namespace), ("kubernetes_pod_name", pod)] {
            metric.extend(field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()));
        }
        // Bucket -2 ends at 0.25, bucket 1 at 2. The second span begins two buckets after the end of the first.
        let histogram = [
            number(1, fast + slow),
            number(5, zigzag(0)),
            field(12, &[number(1, zigzag(-2)), number(2, 1)].concat()),
            field(12, &[number(1, zigzag(2)), number(2, 1)].concat()),
            number(13, zigzag(fast.cast_signed())),
            number(13, zigzag(slow.cast_signed() - fast.cast_signed())),
        ];
        metric.extend(field(7, &histogram.concat()));
        family.extend(field(4, &metric));
    }
    [varint(family.len() as u64), family].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

type Page = (&'static str, Vec<u8>);

/// A Prometheus and what it scrapes.
struct Bench {
    page: Arc<Mutex<Page>>,
    prometheus: PrometheusServer,
    kind: HistogramType,
    _server: JoinSet<()>,
}

impl Bench {
    async fn start(kind: HistogramType) -> anyhow::Result<Self> {
        // The HTTP client of the testbed wants one, which whoever starts a control plane has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let page: Arc<Mutex<Page>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let served = Arc::clone(&page);
        let metrics = async move || {
            let (content_type, body) = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ([("content-type", content_type)], body)
        };
        let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("a listener that is open is served") });
        // Two jobs read the same, each at a time of its own.
        let options =
            PrometheusOptions::scraping(&*target).every(Duration::from_millis(250)).with_job("again", &*target);
        let prometheus = PrometheusServer::start(&tools()?.prometheus, &options).await?;
        let bench = Self { page, prometheus, kind, _server: server };
        bench.serve(0);
        let (counted, query) = match kind {
            HistogramType::Classic => {
                ("count_over_time(latency_seconds_count[1h])", "latency_seconds_count offset 2s > 0")
            }
            HistogramType::Native => {
                ("count_over_time(latency_seconds[1h])", "histogram_count(latency_seconds offset 2s) > 0")
            }
        };
        bench.eventually(&format!("{counted} > 1")).await?;
        bench.serve(1);
        // What is asked is asked of the last whole second.
        bench.eventually(query).await?;
        Ok(bench)
    }

    /// What is scraped from now on: so many times what the pods have.
    fn serve(&self, share: u64) {
        let page = match self.kind {
            HistogramType::Classic => ("text/plain; version=0.0.4", classic(share).into_bytes()),
            HistogramType::Native => (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                native(share),
            ),
        };
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }

    async fn eventually(&self, query: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.prometheus.query(query).await?.len() < PODS.len() {
            ensure!(Instant::now() < deadline, "it did not happen: {query}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn client(&self) -> anyhow::Result<Arc<PrometheusClient>> {
        let url = self.prometheus.url();
        let labels = "podLabel: kubernetes_pod_name, namespaceLabel: kubernetes_namespace";
        let text = format!("prometheus: {{default: {{url: '{url}', {labels}}}}}");
        let config = OperatorConfig::parse(Path::new("test"), &text)?;
        Ok(Arc::new(PrometheusClient::new("default", config.endpoint("default")?.clone(), Arc::new(()))?))
    }

    fn indicator(&self, milliseconds: u64) -> anyhow::Result<Indicator> {
        let labels = PodLabels {
            namespace: "kubernetes_namespace".into(),
            pod: "kubernetes_pod_name".into(),
            ..PodLabels::default()
        };
        let threshold = Duration::from_millis(milliseconds);
        let latency = Latency { histogram: "latency_seconds".to_owned(), threshold, kind: self.kind, unit: None };
        let histogram = Histogram::parse(&latency, "shop", &labels)?;
        Ok(match self.kind {
            HistogramType::Classic => Indicator::Classic(histogram),
            HistogramType::Native => Indicator::Native(histogram),
        })
    }

    /// What a live look sees.
    async fn look(&self, indicator: Indicator) -> anyhow::Result<Samples> {
        let endpoints = BTreeMap::from([("default".to_owned(), self.client()?)]);
        let (sampler, _) = Sampler::new(endpoints, system_clock());
        let subject = Subject {
            key: DeploymentKey { namespace: "shop".to_owned(), name: "cart".to_owned() },
            from: ReadFrom::Prometheus("default".to_owned()),
            look_interval: Duration::from_secs(1),
            objectives: vec![indicator],
            canary: PodGroup::of_replica_set("cart-7d9f8b6c5d"),
            stable: Some(PodGroup::of_replica_set("cart-5f6b7c8d9f")),
            pods: 2,
            asks_scraped: false,
            revisions: None,
            since: Timestamp::now(),
        };
        sampler.register(subject.clone())?;
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&sampler).run());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let live = sampler.take(&subject.key).into_iter().find(|scrape| scrape.origin == Origin::Live);
            if let Some(mut scrape) = live {
                return Ok(scrape.objectives.remove(0)?);
            }
            ensure!(Instant::now() < deadline, "there was no look");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn budgets(&self) -> anyhow::Result<Budgets> {
        let endpoints = BTreeMap::from([("default".to_owned(), Endpoint::new(self.client()?, 8))]);
        Ok(Budgets::new(endpoints, system_clock()))
    }

    fn ask(&self, source: fn(Indicator) -> Source, milliseconds: u64) -> anyhow::Result<Ask> {
        Ok(Ask {
            endpoint: "default".to_owned(),
            namespace: "shop".to_owned(),
            window: Duration::from_secs(3600),
            source: source(self.indicator(milliseconds)?),
            deployments: BTreeSet::from(["cart".to_owned()]),
        })
    }

    /// Errors over all requests that count.
    async fn spent(&self, source: fn(Indicator) -> Source) -> anyhow::Result<f64> {
        let found = self.budgets()?.ask(&[self.ask(source, 250)?]).await.remove(0)?;
        let spent = match &found {
            Found::Each(each) => each.get("cart").context("nothing of the Deployment")?,
            Found::All(spent) => spent,
        };
        match spent {
            Spent::Counts { errors, total, .. } => Ok(errors / total),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

fn counted(samples: &Samples) -> [Vec<(Option<f64>, f64)>; 2] {
    [&samples.canary, &samples.stable]
        .map(|side| side.iter().map(|sample| (sample.errors.map(f64::round), sample.total)).collect())
}

#[tokio::test]
async fn a_classic_histograms_slow_requests_are_errors_of_the_pods_that_have_the_bound() -> anyhow::Result<()> {
    let bench = Bench::start(HistogramType::Classic).await?;
    let samples = bench.look(bench.indicator(250)?).await?;
    assert_eq!(
        counted(&samples),
        [vec![(Some(3.0), 100.0)], vec![]],
        "the bound is 2.50e-01, and the stable pod has none"
    );
    let samples = bench.look(bench.indicator(1000)?).await?;
    assert_eq!(counted(&samples), [vec![(Some(3.0), 100.0)], vec![(Some(0.0), 1000.0)]]);
    for source in [Source::Each, Source::Together] {
        let ratio = bench.spent(source).await?;
        assert!((ratio - 0.03).abs() < 0.001, "{ratio}");
    }
    Ok(())
}

#[tokio::test]
async fn a_threshold_without_a_bucket_brings_no_evidence_and_lists_the_bounds() -> anyhow::Result<()> {
    let bench = Bench::start(HistogramType::Classic).await?;
    assert_eq!(counted(&bench.look(bench.indicator(300)?).await?), [vec![], vec![]]);
    let budgets = bench.budgets()?;
    let bounds = budgets.bounds(&bench.ask(Source::Each, 300)?, &bench.indicator(300)?).await?;
    let Bounds::Missing(why) = bounds else { anyhow::bail!("{bounds:?}") };
    assert!(why.contains("there are 0.1, 0.25, 1; write one of them"), "{why}");
    let fits = budgets.bounds(&bench.ask(Source::Each, 250)?, &bench.indicator(250)?).await?;
    assert_eq!(fits, Bounds::Fit);
    let found = budgets.ask(&[bench.ask(Source::Each, 300)?]).await.remove(0)?;
    let Some(Spent::Nothing(why)) = found.of("cart") else { anyhow::bail!("{found:?}") };
    assert_eq!(why, "the bucket of latency_seconds with the bound 0.3 has no sample in 1h");
    Ok(())
}

#[tokio::test]
async fn a_native_histograms_share_above_the_threshold_is_errors() -> anyhow::Result<()> {
    let bench = Bench::start(HistogramType::Native).await?;
    for milliseconds in [250, 1000] {
        let samples = bench.look(bench.indicator(milliseconds)?).await?;
        assert_eq!(counted(&samples), [vec![(Some(3.0), 100.0)], vec![(Some(0.0), 1000.0)]], "{milliseconds} ms");
    }
    let samples = bench.look(bench.indicator(1500)?).await?;
    let estimated = samples.canary[0].errors.context("no errors")?;
    assert!((1.0..2.0).contains(&estimated), "within a bucket it is estimated: {estimated}");
    for source in [Source::Each, Source::Together] {
        let ratio = bench.spent(source).await?;
        assert!((ratio - 3.0 / 1100.0).abs() < 1e-4, "{ratio}");
    }
    Ok(())
}
