//! The examples of `config/indicators`, each fed with metrics as the tool it is for exposes them, through the real Prometheus:
//! what the operator measures from them for the new pods, for the stable ones, and for the budget.
//!
//! An exposition in `tests/fixtures/indicators` is what Prometheus has of the Deployment `shop/checkout` in the middle of a
//! rollout, the labels of the scrape included, and of others that must not be counted: another namespace's Deployment of the
//! same name, another Deployment, health checks. It is served twice: first with half of each count, and then as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::config::{OperatorConfig, PodLabels};
use gatekeeper::measure::budget::{Ask, Budgets, Endpoint, Spent};
use gatekeeper::measure::client::PrometheusClient;
use gatekeeper::measure::expression::Names;
use gatekeeper::measure::ledger::{Counting, Ledger, Terms};
use gatekeeper::measure::look::Look;
use gatekeeper::measure::pods::PodGroup;
use gatekeeper::measure::query::Revisions;
use gatekeeper::measure::reads::Reads;
use gatekeeper::measure::sampler::{Sampler, Subject, system_clock};
use gatekeeper::measure::slos::{Answer, Slos};
use gatekeeper::measure::subject::ReadFrom;
use gatekeeper::policy::{Counts, Indicator, Policy};
use gatekeeper::watch::rollout::DeploymentKey;
use jiff::Timestamp;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

const STABLE: &str = "checkout-7d9f8b6c5d";
const CANARY: &str = "checkout-5f6b7c8d9f";

/// Errors and requests.
type Served = (f64, f64);

/// What every exposition has between its two servings: of the new pods, and of the stable ones.
const NEW: Served = (50.0, 1000.0);
const OLD: Served = (10.0, 10_000.0);
/// Both together.
const ALL: Served = (60.0, 11_000.0);

fn path(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name)
}

/// The policy of an example.
fn policy(name: &str) -> Result<Policy> {
    let text = std::fs::read_to_string(path("config/indicators", &format!("{name}.yaml")))?;
    let policy: ErrorBudgetPolicy = serde_norway::from_str(&text)?;
    Policy::parse(&policy).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

/// What its exposition says, with this share of each count.
fn exposition(name: &str, share: f64) -> Result<String> {
    let text = std::fs::read_to_string(path("tests/fixtures/indicators", &format!("{name}.prom")))?;
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((series, count)) if !line.starts_with('#') => Ok(format!("{series} {}\n", count.parse::<f64>()? * share)),
        _ => Ok(format!("{line}\n")),
    };
    let lines: String = text.lines().map(line).collect::<Result<_>>()?;
    Ok(format!("{lines}fixture_share {share}\n"))
}

/// An exporter, and the Prometheus that scrapes it.
struct Bench {
    text: Arc<Mutex<String>>,
    prometheus: PrometheusServer,
    _exporter: JoinSet<()>,
}

impl Bench {
    /// `again` are further jobs that read the same exporter, at the same address.
    async fn serving(text: String, again: &[&str]) -> Result<Self> {
        // The HTTP client of the testbed wants one, which whoever starts a control plane has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text = Arc::new(Mutex::new(text));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let once = PrometheusOptions::scraping(&*address).every(Duration::from_millis(500));
        let options = again.iter().fold(once, |options, job| options.with_job(*job, &*address));
        let served = Arc::clone(&text);
        let metrics = async move || served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        let mut exporter = JoinSet::new();
        exporter.spawn(async move { axum::serve(listener, router).await.expect("a listener that is open is served") });
        let prometheus = PrometheusServer::start(&tools()?.prometheus, &options).await?;
        Ok(Self { text, prometheus, _exporter: exporter })
    }

    fn serve(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn client(&self) -> Result<Arc<PrometheusClient>> {
        let url = self.prometheus.url();
        let config = OperatorConfig::parse(Path::new("test"), &format!("prometheus: {{default: {{url: '{url}'}}}}"))?;
        Ok(Arc::new(PrometheusClient::new("default", config.endpoint("default")?.clone(), Arc::new(()))?))
    }
}

/// Asks again and again until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "it did not happen: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn names(replica_set: &str, revision: u64, version: &str) -> Names {
    Names {
        namespace: "shop".to_owned(),
        deployment: "checkout".to_owned(),
        replica_set: replica_set.to_owned(),
        revision,
        labels: BTreeMap::from([("version".to_owned(), version.to_owned())]),
    }
}

fn subject(policy: &Policy, reads: &[Reads], since: Timestamp) -> Subject {
    Subject {
        key: DeploymentKey { namespace: policy.key.namespace.clone(), name: "checkout".to_owned() },
        from: ReadFrom::Prometheus(policy.prometheus.clone()),
        look_interval: Duration::from_secs(1),
        objectives: reads.iter().map(|reads| reads.indicator.clone()).collect(),
        canary: PodGroup::of_replica_set(CANARY),
        stable: Some(PodGroup::of_replica_set(STABLE)),
        pods: 2,
        asks_scraped: false,
        revisions: Some(Arc::new(Revisions { canary: names(CANARY, 5, "v2"), stable: Some(names(STABLE, 4, "v1")) })),
        since,
    }
}

/// What is measured of an example's objectives while the second half of all counts comes in, of new pods and of stable ones;
/// and what was spent of the budget.
async fn measured(name: &str) -> Result<Vec<((Served, Served), Spent)>> {
    measured_of(&policy(name)?, [exposition(name, 0.5)?, exposition(name, 1.0)?], rules(name), &[]).await
}

/// The rules that another tool generated for an example, where one did.
fn rules(name: &str) -> Option<String> {
    std::fs::read_to_string(path("tests/fixtures/indicators", &format!("{name}.rules.yaml"))).ok()
}

/// The policy with what Prometheus has of the SLOs that it names.
async fn with_slos(policy: &Policy, client: &Arc<PrometheusClient>) -> Result<Policy> {
    let slos = Slos::new(BTreeMap::from([("default".to_owned(), Arc::clone(client))]));
    slos.ask("default", &policy.named.iter().map(|named| named.slo.clone()).collect()).await;
    let found = policy.named.iter().map(|named| match slos.of("default", &named.slo) {
        Answer::Known(slo) => Ok(slo?),
        Answer::NotAsked => anyhow::bail!("it was asked"),
    });
    policy.with_slos(&found.collect::<Result<Vec<_>>>()?).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

/// The same of any policy and the two texts that are served.
async fn measured_of(
    policy: &Policy,
    [first, then]: [String; 2],
    rules: Option<String>,
    again: &[&str],
) -> Result<Vec<((Served, Served), Spent)>> {
    let bench = Bench::serving(first, again).await?;
    let client = bench.client()?;
    if let Some(rules) = rules {
        bench.prometheus.load_rules("slos", &rules).await?;
    }
    let policy = &with_slos(policy, &client).await?;
    let reads = policy.objectives.iter().map(|objective| {
        Reads::of(objective, policy, &PodLabels::default())
            .map_err(|errors| anyhow::anyhow!("{}: {errors:?}", objective.name))
    });
    let reads = reads.collect::<Result<Vec<_>>>()?;
    let scraped = r#"count_over_time(up{job="traffic"}[1m]) > 3"#;
    eventually(scraped, async || Ok((!bench.prometheus.query(scraped).await?.is_empty()).then_some(()))).await?;

    let (sampler, _woken) = Sampler::new(BTreeMap::from([("default".to_owned(), Arc::clone(&client))]), system_clock());
    let since = Timestamp::now();
    let subject = subject(policy, &reads, since);
    sampler.register(subject.clone())?;
    let mut task = JoinSet::new();
    task.spawn(Arc::clone(&sampler).run());
    let terms = Terms {
        since,
        window: Duration::from_secs(3),
        look_interval: Duration::from_secs(1),
        objectives: vec![Counting::default(); reads.len()],
    };
    let mut ledger = Ledger::new(terms);
    let mut served = vec![Look::default(); reads.len()];
    // Reads until a look after the next second was taken in.
    let mut read = async || {
        let until = Timestamp::now() + Duration::from_secs(1);
        let mut last = since;
        eventually("looks", async || {
            for scrape in sampler.take(&subject.key) {
                for objective in &scrape.objectives {
                    objective.as_ref().map_err(Clone::clone)?;
                }
                let Some(entry) = ledger.enter(&scrape, 1) else { continue };
                last = entry.at;
                for (served, evidence) in served.iter_mut().zip(entry.evidence) {
                    *served += evidence.map_err(|missing| anyhow::anyhow!("{missing}"))?;
                }
            }
            Ok((last > until).then_some(()))
        })
        .await
    };
    read().await?;
    bench.serve(then);
    let whole = "fixture_share == 1";
    eventually(whole, async || Ok((!bench.prometheus.query(whole).await?.is_empty()).then_some(()))).await?;
    read().await?;

    let endpoints = BTreeMap::from([("default".to_owned(), Endpoint::new(client, 8))]);
    let asks = policy.objectives.iter().zip(&reads).map(|(objective, reads)| Ask {
        endpoint: "default".to_owned(),
        namespace: "shop".to_owned(),
        window: objective.window,
        source: reads.budget.clone(),
        deployments: ["checkout".to_owned()].into(),
    });
    let found = Budgets::new(endpoints, system_clock()).ask(&asks.collect::<Vec<_>>()).await;
    let mut budgets = Vec::new();
    for found in found {
        budgets.push(found?.of("checkout").context("it was not asked for")?.clone());
    }
    let pair =
        |look: Look| ((look.canary.errors(), look.canary.requests()), (look.stable.errors(), look.stable.requests()));
    Ok(served.into_iter().map(pair).zip(budgets).collect())
}

/// Shows that what an example measures is what its exposition holds, and that its budget is spent by the same requests.
async fn shows(name: &str, expected: &[(Served, Served)]) -> Result<()> {
    let measured = measured(name).await.with_context(|| name.to_owned())?;
    assert_eq!(measured.len(), expected.len(), "{name}");
    for ((sides, spent), expected) in measured.iter().zip(expected) {
        assert_eq!(sides, expected, "{name}");
        let Spent::Counts { errors, total, span: Some(_) } = spent else { panic!("{name}: {spent:?}") };
        // Prometheus extrapolates errors and requests alike.
        assert!((errors / total - ALL.0 / ALL.1).abs() < 1e-9, "{name}: {spent:?}");
    }
    Ok(())
}

/// The same where the budget is what another tool recorded.
async fn shows_recorded(name: &str, budget: Spent) -> Result<()> {
    let measured = measured(name).await.with_context(|| name.to_owned())?;
    assert_eq!(measured, [((NEW, OLD), budget)], "{name}");
    Ok(())
}

#[tokio::test]
async fn grpc_servers_are_measured_by_pod() -> Result<()> {
    shows("grpc", &[(NEW, OLD)]).await
}

#[tokio::test]
async fn opentelemetry_http_servers_are_measured_by_pod() -> Result<()> {
    shows("opentelemetry", &[(NEW, OLD)]).await
}

#[tokio::test]
async fn spring_boot_is_measured_by_pod() -> Result<()> {
    shows("spring-boot", &[(NEW, OLD)]).await
}

#[tokio::test]
async fn envoy_is_measured_by_pod() -> Result<()> {
    shows("envoy", &[(NEW, OLD)]).await
}

#[tokio::test]
async fn istio_tells_releases_apart_by_the_version_of_their_pods() -> Result<()> {
    shows("istio", &[(NEW, OLD)]).await
}

#[tokio::test]
async fn linkerd_tells_releases_apart_by_the_hash_of_their_template() -> Result<()> {
    shows("linkerd", &[(NEW, OLD)]).await
}

#[tokio::test]
async fn an_nginx_ingress_knows_the_service_as_a_whole() -> Result<()> {
    shows("nginx-ingress", &[(ALL, ALL)]).await
}

#[tokio::test]
async fn an_slo_of_sloth_is_measured_by_pod_and_its_budget_is_what_sloth_recorded() -> Result<()> {
    shows_recorded("sloth", Spent::Left(0.632)).await
}

#[tokio::test]
async fn an_slo_of_pyrra_is_measured_by_pod_and_its_budget_is_what_pyrra_recorded() -> Result<()> {
    shows_recorded("pyrra", Spent::Counts { errors: 420.0, total: 1_000_000.0, span: None }).await
}

#[tokio::test]
async fn what_an_exporter_counts_between_scrapes_is_summed_a_look_at_a_time() -> Result<()> {
    let mut policy = policy("istio")?;
    let sum = |metric: &str| {
        format!(
            "sum(sum_over_time({metric}{{namespace=\"{{{{namespace}}}}\",rs=\"{{{{replicaSet}}}}\"}}[{{{{look}}}}]))"
        )
    };
    (policy.detection.window, policy.detection.looks) = (Duration::from_secs(3), 3);
    policy.objectives[0].indicator =
        Indicator::Query { errors: sum("bad"), total: sum("hits"), counts: Counts::PerWindow };
    let text = |share: f64| {
        let of = |set: &str, bad: f64, hits: f64| {
            format!("bad{{namespace=\"shop\",rs=\"{set}\"}} {bad}\nhits{{namespace=\"shop\",rs=\"{set}\"}} {hits}\n")
        };
        format!("{}{}fixture_share {share}\n", of(CANARY, 2.0, 16.0), of(STABLE, 0.0, 64.0))
    };
    let measured = measured_of(&policy, [text(0.5), text(1.0)], None, &[]).await?;
    let [((new, old), Spent::Counts { errors, total, .. })] = measured.as_slice() else { panic!("{measured:?}") };
    // How many scrapes there were is up to the machine; each counts once, and for both alike.
    assert!(new.1 > 0.0 && new.1 % 16.0 == 0.0 && old.1 % 64.0 == 0.0, "{measured:?}");
    assert_eq!((new.0 / new.1, old.0), (0.125, 0.0), "{measured:?}");
    assert_eq!(errors / total, 2.0 / 80.0, "{measured:?}");
    Ok(())
}

/// First each pod is read at two addresses, as where two of its containers serve, by a pair of Prometheus whose series the one
/// that is asked has all of; and then by three jobs.
#[tokio::test]
async fn what_several_jobs_and_a_pair_of_prometheus_read_of_a_pod_counts_once() -> Result<()> {
    let text = |share: f64| -> Result<String> {
        let lines = exposition("grpc", share)?;
        let line = |line: &str| match line.split_once('{') {
            Some((metric, rest)) if !line.starts_with('#') => {
                let (labels, count) = rest.rsplit_once(' ').context("a count")?;
                let half = count.parse::<f64>()? / 2.0;
                let copy = |(address, replica)| {
                    let more = format!("instance=\"10.0.0.3:{address}\",prometheus_replica=\"{replica}\"");
                    format!("{metric}{{{more},{labels} {half}\n")
                };
                Ok([(8080, "a"), (8080, "b"), (9090, "a"), (9090, "b")].map(copy).concat())
            }
            _ => Ok(format!("{line}\n")),
        };
        lines.lines().map(line).collect()
    };
    let measured = measured_of(&policy("grpc")?, [text(0.5)?, text(1.0)?], None, &[]).await?;
    assert_eq!(measured[0].0, (NEW, OLD), "a pair of Prometheus");
    let again = ["monitor", "annotations"];
    let once = [exposition("grpc", 0.5)?, exposition("grpc", 1.0)?];
    let measured = measured_of(&policy("grpc")?, once, None, &again).await?;
    assert_eq!(measured[0].0, (NEW, OLD), "three jobs");
    Ok(())
}

#[test]
fn every_example_is_tested() {
    let files = |folder: &str, end: &str| {
        let files = std::fs::read_dir(path(folder, "")).expect("a folder");
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect();
        names.sort();
        names
    };
    let examples = files("config/indicators", ".yaml");
    assert_eq!(examples, files("tests/fixtures/indicators", ".prom"));
    let tests = std::fs::read_to_string(file!()).expect("this file");
    for example in examples {
        assert!(tests.contains(&format!("(\"{example}\", ")), "{example} is shown by no test");
    }
}
