//! What a look costs Prometheus by the form of its pod matcher: `cargo bench --bench queries`. Prints a table in Markdown;
//! fails when it cannot measure, never on what it measures.
//!
//! A real Prometheus holds 100,000 series: 20,000 pods of 1,000 Deployments in 20 namespaces, five series each. Every
//! form asks for the same pods, those of so many rollouts; samples are what Prometheus itself counts.

#[path = "../rollouts/machine.rs"]
mod machine;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use gatekeeper::config::PodLabels;
use gatekeeper::measure::pods::PodGroup;
use gatekeeper::measure::promql::Selector;
use serde_json::Value;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;

use machine::{cpu_seconds, machine};

const DEPLOYMENTS: usize = 1000;
const NAMESPACES: usize = 20;
const PODS: usize = 20;
/// Series of a pod: what its requests were answered with.
const CODES: [&str; 5] = ["200", "201", "404", "500", "503"];
/// Rollouts that are looked at.
const ROLLOUTS: [usize; 3] = [10, 100, 1000];
/// Queries of each form are repeated this often.
const REPEATS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(300);

/// A way to name the pods of rollouts: a query for each so many of them.
struct Form {
    name: &'static str,
    /// Whether a request counts once that several jobs count.
    once: bool,
    rollouts_a_query: usize,
    matchers: fn(&[usize]) -> Result<String>,
}

impl Form {
    fn sum(&self, series: &str) -> String {
        let labels = PodLabels::default();
        let (pod, address, copy) = (labels.both(), labels.address(), labels.copy());
        if self.once {
            format!("sum by ({pod}) (max by ({address}) (sum by ({copy}) ({series})))")
        } else {
            format!("sum by ({pod}) ({series})")
        }
    }
}

const FORMS: [Form; 7] = [
    Form { name: "the operator's", once: true, rollouts_a_query: usize::MAX, matchers: operators },
    Form { name: "the operator's, 100 rollouts a query", once: true, rollouts_a_query: 100, matchers: operators },
    Form {
        name: "the operator's, every series added up",
        once: false,
        rollouts_a_query: usize::MAX,
        matchers: operators,
    },
    Form { name: "prefixes and five exact characters", once: true, rollouts_a_query: 100, matchers: exact },
    Form { name: "each prefix and `.+`", once: true, rollouts_a_query: usize::MAX, matchers: prefixes },
    Form { name: "each prefix and `.+`, 100 rollouts a query", once: true, rollouts_a_query: 100, matchers: prefixes },
    Form { name: "namespaces only", once: true, rollouts_a_query: usize::MAX, matchers: namespaces },
];

#[tokio::main]
async fn main() -> Result<()> {
    let tools = tokio::task::spawn_blocking(tools).await??;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let target = listener.local_addr()?.to_string();
    let page = exposition();
    let pages = Router::new().route("/metrics", get(move || std::future::ready(page.clone())));
    let serving = tokio::spawn(async move { axum::serve(listener, pages).await });
    let scraping = PrometheusOptions::scraping(target).every(Duration::from_secs(15));
    let prometheus = PrometheusServer::start(&tools.prometheus, &scraping).await?;
    let began = Instant::now();
    while prometheus.query("count(http_requests_total)").await?.first().map(|count| count.value)
        != Some((DEPLOYMENTS * PODS * CODES.len()) as f64)
    {
        ensure!(began.elapsed() < PATIENCE, "Prometheus did not scrape everything in time");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    println!("\nMeasured on {}.\n", machine());
    println!(
        "| pod matcher | rollouts | queries | bytes of query | series in the answer | samples touched | seconds | CPU seconds |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for rollouts in ROLLOUTS {
        for form in &FORMS {
            println!("{}", row(&prometheus, form, rollouts).await.with_context(|| form.name.to_owned())?);
        }
    }
    serving.abort();
    Ok(())
}

/// Asks as one look does, some times, and says what it costs each time.
async fn row(prometheus: &PrometheusServer, form: &Form, rollouts: usize) -> Result<String> {
    let numbers: Vec<usize> = spread(rollouts);
    let queries = numbers
        .chunks(form.rollouts_a_query.min(numbers.len()))
        .map(|chunk| Ok(form.sum(&(form.matchers)(chunk)?)))
        .collect::<Result<Vec<_>>>()?;
    let client = testbed::http::client()?;
    let pid = prometheus.process().pid().context("Prometheus does not run")?;
    let (mut series, mut samples) = (0, 0);
    let (began, cpu) = (Instant::now(), cpu_seconds(pid)?);
    for query in queries.iter().cycle().take(queries.len() * REPEATS) {
        let form = [("query", query.as_str()), ("stats", "all")];
        let mut body = reqwest::Url::parse("http://body")?;
        body.query_pairs_mut().extend_pairs(form);
        let request = client
            .post(format!("{}/api/v1/query", prometheus.url()))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body.query().unwrap_or_default().to_owned());
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["status"] == "success", "{answer}");
        series += answer["data"]["result"].as_array().map_or(0, Vec::len);
        samples +=
            answer["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64().context("no count of samples")?;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(pid)? - cpu);
    let each = |total: f64| total / REPEATS as f64;
    ensure!(series / REPEATS >= rollouts * PODS, "{} series, {} pods", series / REPEATS, rollouts * PODS);
    Ok(format!(
        "| {} | {rollouts} | {} | {} | {} | {} | {:.3} | {:.3} |",
        form.name,
        queries.len(),
        queries.iter().map(String::len).sum::<usize>(),
        series / REPEATS,
        samples / REPEATS as u64,
        each(seconds),
        each(cpu),
    ))
}

/// Rollouts are spread over the namespaces.
fn spread(rollouts: usize) -> Vec<usize> {
    (0..rollouts).map(|number| number * (DEPLOYMENTS / rollouts) % DEPLOYMENTS).collect()
}

fn namespace(deployment: usize) -> String {
    format!("team-{}", deployment / (DEPLOYMENTS / NAMESPACES))
}

/// Two ReplicaSets of each Deployment have pods: the new one two, the stable one the others.
fn replica_sets(deployment: usize) -> [String; 2] {
    ["7d9fc8b6d4", "5b8c6f9d7b"].map(|hash| format!("service-{deployment}-web-{hash}"))
}

/// All series, with honour of their own labels.
fn exposition() -> String {
    let mut text = "# TYPE http_requests_total counter\n".to_owned();
    for deployment in 0..DEPLOYMENTS {
        let namespace = namespace(deployment);
        let [canary, stable] = replica_sets(deployment);
        for pod in 0..PODS {
            let replica_set = if pod < 2 { &canary } else { &stable };
            let alphabet: Vec<char> = gatekeeper::measure::pods::SUFFIX_ALPHABET.chars().collect();
            let letter = |place: usize| alphabet[(pod * 7 + deployment * 3 + place * 5) % alphabet.len()];
            // Its number in letters, so that no two pods are called the same.
            let suffix: String = [alphabet[pod], letter(1), letter(2), letter(3), letter(4)].iter().collect();
            for code in CODES {
                let labels = format!("namespace=\"{namespace}\",pod=\"{replica_set}-{suffix}\",code=\"{code}\"");
                let _ = writeln!(text, "http_requests_total{{{labels}}} {}", 1000 + pod);
            }
        }
    }
    text
}

/// As the operator itself prints it.
fn operators(rollouts: &[usize]) -> Result<String> {
    let targets: Vec<(String, PodGroup)> = rollouts
        .iter()
        .flat_map(|number| replica_sets(*number).map(|set| (namespace(*number), PodGroup::of_replica_set(&set))))
        .collect();
    let selector = Selector::parse("http_requests_total", "", &PodLabels::default())?;
    let targets = targets.iter().map(|(namespace, group)| (namespace.as_str(), group));
    selector.narrowed(targets).context("there are pods")
}

fn exact(rollouts: &[usize]) -> Result<String> {
    let any: Vec<String> = rollouts.iter().flat_map(|number| replica_sets(*number)).collect();
    let five = format!("[{}]{{5}}", gatekeeper::measure::pods::SUFFIX_ALPHABET);
    Ok(of(rollouts, &format!(",pod=~\"({})-{five}\"", any.join("|"))))
}

fn prefixes(rollouts: &[usize]) -> Result<String> {
    let any: Vec<String> = rollouts.iter().flat_map(|number| replica_sets(*number)).collect();
    Ok(of(rollouts, &format!(",pod=~\"{}\"", any.iter().map(|set| format!("{set}-.+")).collect::<Vec<_>>().join("|"))))
}

fn namespaces(rollouts: &[usize]) -> Result<String> {
    Ok(of(rollouts, ""))
}

fn of(rollouts: &[usize], pods: &str) -> String {
    let mut namespaces: Vec<String> = rollouts.iter().map(|number| namespace(*number)).collect();
    namespaces.dedup();
    format!("http_requests_total{{namespace=~\"{}\"{pods}}}", namespaces.join("|"))
}
