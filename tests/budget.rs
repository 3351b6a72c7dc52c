//! What is left of error budgets, asked of a real Prometheus that scrapes known counters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use gatekeeper::config::{OperatorConfig, PodLabels};
use gatekeeper::measure::budget::{Ask, Budgets, Endpoint, Found, Source, Spent};
use gatekeeper::measure::client::PrometheusClient;
use gatekeeper::measure::promql::{Recorded, Selector};
use gatekeeper::measure::sampler::{Indicator, system_clock};
use jiff::{SignedDuration, Timestamp};
use testbed::fault_proxy::FaultProxy;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3600);

/// Errors and requests that each pod counts between the first scrape and the last.
const PODS: [(&str, &str, f64, f64); 8] = [
    ("shop", "cart-7d9f8b6c5d-x2b4z", 30.0, 10_000.0),
    ("shop", "cart-5f6b7c8d9f-bbbbb", 10.0, 10_000.0),
    ("shop", "cart-api-7d9f8b6c5d-x2b4z", 0.0, 5_000.0),
    // Of a ReplicaSet with a hash of one digit, and of something that is no Deployment.
    ("shop", "search-7-x2b4z", 7.0, 700.0),
    ("shop", "cart-web-x2b4z", 1e9, 1e9),
    ("shop", "cart-x2b4z", 1e9, 1e9),
    ("bank", "cart-7d9f8b6c5d-x2b4z", 1e9, 1e9),
    ("shop", "a-name-of-a-deployment-that-is-too-long-for-its-pods-7d9f8x2b4z", 9.0, 900.0),
];

/// The Deployment of the last pod: its name has 52 characters.
const LONG: &str = "a-name-of-a-deployment-that-is-too-long-for-its-pods";

/// A Prometheus and what it scrapes.
struct Bench {
    text: Arc<Mutex<String>>,
    prometheus: PrometheusServer,
    proxy: FaultProxy,
    _server: JoinSet<()>,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        // The HTTP client of the testbed wants one, which whoever starts a control plane has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text = Arc::new(Mutex::new(String::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let served = Arc::clone(&text);
        let metrics = async move || served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("a listener that is open is served") });
        let options = PrometheusOptions::scraping(target).every(Duration::from_millis(250));
        let prometheus = PrometheusServer::start(&tools()?.prometheus, &options).await?;
        let proxy = FaultProxy::start(prometheus.url()).await?;
        Ok(Self { text, prometheus, proxy, _server: server })
    }

    /// What is scraped from now on.
    fn serve(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    async fn eventually(&self, query: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.prometheus.query(query).await?.is_empty() {
            ensure!(Instant::now() < deadline, "it did not happen: {query}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// All pods count from zero to what they count.
    async fn count(&self) -> anyhow::Result<()> {
        let text = |share: f64| -> anyhow::Result<String> {
            let mut text = String::new();
            for (namespace, pod, errors, total) in PODS {
                for (code, count) in [(500, errors), (200, total - errors)] {
                    let labels = format!(r#"namespace="{namespace}",pod="{pod}",code="{code}""#);
                    writeln!(text, "http_requests_total{{{labels}}} {}", count * share)?;
                }
            }
            text += "left{slo=\"one\"} -0.25\nleft{slo=\"other\"} 0.5\nbad:increase1h{a=\"x\"} 3\nbad:increase1h{a=\"y\"} 4\n";
            text += "all:increase1h{a=\"x\"} 1000\n";
            Ok(text)
        };
        self.serve(text(0.0)?);
        self.eventually(r#"count_over_time(http_requests_total{namespace="bank",code="200"}[1h]) > 1"#).await?;
        self.serve(text(1.0)?);
        // What is asked is asked of the last whole second.
        self.eventually(r#"http_requests_total{namespace="bank",code="500"} offset 2s > 0"#).await
    }

    async fn ask(&self, asks: &[Ask]) -> anyhow::Result<Vec<Found>> {
        let url = self.proxy.url();
        let config = OperatorConfig::parse(Path::new("test"), &format!("prometheus: {{default: {{url: '{url}'}}}}"))?;
        let client = PrometheusClient::new("default", config.endpoint("default")?.clone(), Arc::new(()))?;
        let endpoints = BTreeMap::from([("default".to_owned(), Endpoint::new(Arc::new(client), 8))]);
        let answers = Budgets::new(endpoints, system_clock()).ask(asks).await;
        answers.into_iter().map(|answer| Ok(answer?)).collect()
    }
}

fn ask(source: Source, deployments: &[&str]) -> Ask {
    Ask {
        endpoint: "default".to_owned(),
        namespace: "shop".to_owned(),
        window: HOUR,
        source,
        deployments: deployments.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
    }
}

fn indicator() -> anyhow::Result<Indicator> {
    let errors = Selector::parse(r#"http_requests_total{code=~"5.."}"#, "shop", &PodLabels::default())?;
    Ok(Indicator::Ratio { errors, total: Selector::parse("http_requests_total", "shop", &PodLabels::default())? })
}

fn recorded(text: &str) -> anyhow::Result<Recorded> {
    Ok(Recorded::parse(text, "shop", &PodLabels::default())?)
}

/// That a Deployment counted so much. Prometheus extrapolates counts, errors and requests alike, by a part of the time
/// between two scrapes.
#[track_caller]
fn assert_counted(found: &Found, deployment: &str, errors: f64, total: f64) {
    match found.of(deployment) {
        Some(Spent::Counts { errors: e, total: t, span }) => {
            assert!((e / t - errors / total).abs() < 1e-9, "{deployment}: {e} of {t}");
            assert!(*t >= total * 0.99 && *t < total * 3.0, "{deployment}: {t}");
            assert_eq!(*span, Some(Duration::from_secs(60)), "its samples are of this minute");
        }
        other => panic!("{deployment}: {other:?}"),
    }
}

#[tokio::test]
async fn each_deployment_has_its_own_budget_also_where_names_begin_alike() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.count().await?;
    let all = ["cart", "cart-api", "search", "idle", LONG];
    let found = bench.ask(&[ask(Source::Each(indicator()?), &all), ask(Source::Each(indicator()?), &["cart"])]).await?;
    assert_counted(&found[0], "cart", 40.0, 20_000.0);
    assert_counted(&found[0], "cart-api", 0.0, 5_000.0);
    assert_counted(&found[0], "search", 7.0, 700.0);
    assert_counted(&found[1], "cart", 40.0, 20_000.0);
    let nothing = |deployment: &str| match found[0].of(deployment) {
        Some(Spent::Nothing(why)) => why.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(nothing("idle"), "http_requests_total has no sample in 1h");
    assert!(nothing(LONG).contains("longer than 46 characters"), "{}", nothing(LONG));
    assert_eq!(bench.proxy.requests().len(), 3, "errors, total and how far back, for all that ask");
    Ok(())
}

#[tokio::test]
async fn a_shared_budget_is_that_of_all_pods_also_of_those_whose_names_are_cut() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.count().await?;
    let found = bench.ask(&[ask(Source::Together(indicator()?), &["cart", "cart-api", LONG])]).await?;
    assert_counted(&found[0], "cart", 49.0, 25_900.0);
    assert_counted(&found[0], LONG, 49.0, 25_900.0);
    Ok(())
}

#[tokio::test]
async fn a_recorded_budget_is_taken_as_it_is() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.count().await?;
    let increase = |errors| -> anyhow::Result<Source> {
        Ok(Source::Increase { errors: recorded(errors)?, total: recorded("all:increase1h")? })
    };
    let asks = [
        Source::Remaining(recorded("left{slo=\"one\"}")?),
        Source::Remaining(recorded("left")?),
        increase("bad:increase1h")?,
        increase("bad:increase1h{a=\"z\"}")?,
    ];
    let found = bench.ask(&asks.map(|source| ask(source, &["cart"]))).await?;
    assert_eq!(found[0], Found::All(Spent::Left(-0.25)));
    let several = "left gives 2 numbers; write a selector that gives one".to_owned();
    assert_eq!(found[1], Found::All(Spent::Nothing(several)));
    let counts = |errors| Found::All(Spent::Counts { errors, total: 1000.0, span: None });
    assert_eq!((&found[2], &found[3]), (&counts(7.0), &counts(0.0)));
    Ok(())
}

#[tokio::test]
async fn a_budget_over_less_than_its_window_says_over_how_much() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    // Samples of the whole of an hour, and of its last half, a few minutes apart.
    let now = Timestamp::now();
    let ages = (0..15).map(|i| 59 * 60 + 30 - i * 240).chain([0]);
    for (scrape, age) in ages.enumerate() {
        let at = (now - SignedDuration::from_secs(age)).as_millisecond();
        let count = scrape * 100;
        let mut text =
            format!("http_requests_total{{namespace=\"shop\",pod=\"old-4-bbbbb\",code=\"200\"}} {count} {at}\n");
        if age < 1800 {
            writeln!(
                text,
                "http_requests_total{{namespace=\"shop\",pod=\"young-4-bbbbb\",code=\"200\"}} {count} {at}"
            )?;
        }
        bench.serve(text);
        bench
            .eventually(&format!("count_over_time(http_requests_total{{pod=\"old-4-bbbbb\"}}[1h]) == {}", scrape + 1))
            .await?;
    }
    let found = bench.ask(&[ask(Source::Each(indicator()?), &["old", "young"])]).await?;
    let span = |deployment: &str| match found[0].of(deployment) {
        Some(Spent::Counts { span, .. }) => Ok(*span),
        other => Err(anyhow::anyhow!("{deployment}: {other:?}")),
    };
    assert_eq!(span("old")?, None);
    let young = span("young")?.context("its samples are younger than the window")?;
    assert!((1500..1860).contains(&young.as_secs()), "{young:?}");
    Ok(())
}
