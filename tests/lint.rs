//! `lint` and `import` as commands: against a real Prometheus that scrapes counters which go up, and on the examples.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pods of the namespace shop, the requests a second that each has, and how many of a thousand fail.
const PODS: [(&str, f64, f64); 5] = [
    ("kasse-7d9f8b6c5d-x2b4z", 2000.0, 0.5),
    ("kasse-7d9f8b6c5d-bbbbb", 2000.0, 0.5),
    ("kasse-7d9f8b6c5d-ccccc", 2000.0, 0.5),
    ("lager-5f6b7c8d9f-ddddd", 50.0, 0.0),
    ("datenbank-0", 10.0, 0.0),
];

struct Bench {
    prometheus: PrometheusServer,
    _server: JoinSet<()>,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        // The HTTP client of the testbed wants one, which whoever starts a control plane has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let began = Instant::now();
        let metrics = async move || counters(began.elapsed().as_secs_f64());
        let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("a listener that is open is served") });
        let options = PrometheusOptions::scraping(target).every(Duration::from_secs(1));
        let prometheus = PrometheusServer::start(&tools()?.prometheus, &options).await?;
        let bench = Self { prometheus, _server: server };
        bench.eventually(r#"count_over_time(http_requests_total{pod="datenbank-0",code="200"}[1m]) > 8"#).await?;
        Ok(bench)
    }

    async fn eventually(&self, query: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.prometheus.query(query).await?.is_empty() {
            ensure!(Instant::now() < deadline, "it did not happen: {query}");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn lint(&self, flags: &[&str], policies: &str) -> anyhow::Result<Ended> {
        let asked = ["lint", "--filename", "-", "--prometheus", self.prometheus.url()];
        run(&[&asked[..], flags].concat(), policies).await
    }
}

fn counters(elapsed: f64) -> String {
    let mut text = String::new();
    for (pod, rate, of_a_thousand) in PODS {
        let total = (elapsed * rate).floor();
        let errors = (total * of_a_thousand / 1000.0).floor();
        for (code, count) in [(500, errors), (200, total - errors)] {
            writeln!(text, r#"http_requests_total{{namespace="shop",pod="{pod}",code="{code}"}} {count}"#)
                .expect("writing to a String cannot fail");
        }
    }
    for (pod, rate, slow_of_a_thousand) in PODS {
        let total = (elapsed * rate).floor();
        let fast = total - (total * slow_of_a_thousand / 1000.0).floor();
        for (le, count) in [("0.1", 0.0), ("2.5e-1", fast), ("+Inf", total)] {
            writeln!(text, r#"http_seconds_bucket{{ns="shop",k8s_pod="{pod}",le="{le}"}} {count}"#)
                .expect("writing to a String cannot fail");
        }
        writeln!(text, r#"http_seconds_count{{ns="shop",k8s_pod="{pod}"}} {total}"#)
            .expect("writing to a String cannot fail");
    }
    let twice = ["10.0.0.3:80", "kasse"].map(|at| {
        format!(
            "twice_total{{namespace=\"shop\",pod=\"kasse-7d9f8b6c5d-x2b4z\",instance=\"{at}\"}} {}\n",
            elapsed.floor()
        )
    });
    text + "without_pod_total{namespace=\"shop\"} 5\n" + &twice.concat()
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
}

async fn run(arguments: &[&str], input: &str) -> anyhow::Result<Ended> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().await?;
    let ended = Ended { code: status.code(), output: String::from_utf8(stdout)?, errors: String::from_utf8(stderr)? };
    Ok(ended)
}

/// A policy that looks every second, with this total.
fn policy(total: &str) -> String {
    let policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "kasse", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "kasse"}},
            "objectives": [{
                "name": "availability", "target": "99.9", "window": "1h",
                "indicator": {"ratio": {"errors": format!("{total}{{code=\"500\"}}"), "total": total}},
            }],
            "detection": {"window": "5s", "looks": 5},
        },
    });
    policy.to_string()
}

#[tokio::test]
async fn with_prometheus_it_says_what_there_is_and_how_soon_a_bad_release_is_seen() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    tells_people(&bench).await?;
    tells_programs(&bench).await?;
    finds_selectors_that_match_nothing(&bench).await?;
    warns_of_pods_that_may_be_read_twice(&bench).await?;
    looks_at_histograms_by_the_labels_of_the_endpoint(&bench).await?;
    says_what_was_found_offline_when_prometheus_does_not_answer(&bench).await
}

async fn tells_people(bench: &Bench) -> anyhow::Result<()> {
    let ended = bench.lint(&[], &policy("http_requests_total")).await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for says in [
        "stdin:1: shop/kasse, objective availability:\n",
        "  indicator.ratio.errors: 5 series of 5 pods\n",
        "  indicator.ratio.total: 10 series of 5 pods\n",
        "  kasse: 3 pods, ",
        "  lager: 1 pod, ",
        "    a release, with 1 pod (25.0 %) as canary, that burns\n",
        "pods whose names do not tell a Deployment: datenbank-0\n",
        "1 policy: no problem\n",
    ] {
        assert!(ended.output.contains(says), "{says:?} is not in {}", ended.output);
    }
    for burn in ["2.3x: about ", "14.4x: about ", "100x: about "] {
        assert!(ended.output.contains(burn), "{burn:?} is not in {}", ended.output);
    }
    let ended = bench.lint(&["--deployment", "lager"], &policy("http_requests_total")).await?;
    assert!(ended.code == Some(0) && !ended.output.contains("  kasse: "), "{ended:?}");
    Ok(())
}

async fn tells_programs(bench: &Bench) -> anyhow::Result<()> {
    let ended = bench.lint(&["--output", "json"], &policy("http_requests_total")).await?;
    let report: Value = serde_json::from_str(&ended.output)?;
    let kasse = &report["policies"][0]["objectives"][0]["deployments"][0];
    assert_eq!((&kasse["name"], &kasse["pods"], &kasse["canaryPods"]), (&json!("kasse"), &json!(3), &json!(1)));
    let number = |field: &str| kasse[field].as_f64().with_context(|| format!("{field} of {kasse}"));
    // Three pods with 2000 requests a second each; scrapes come late on a busy machine.
    assert!((4000.0..8000.0).contains(&number("requestsPerSecond")?), "{kasse}");
    assert!((0.3..0.7).contains(&number("burnRate")?), "{kasse}");
    assert!((0.3..0.7).contains(&number("budgetRemaining")?), "{kasse}");
    let releases = kasse["releases"].as_array().context("releases")?;
    let seen: Vec<u64> = releases.iter().filter_map(|release| release["seen"]["seconds"].as_u64()).collect();
    assert!(seen.len() == 3 && seen.is_sorted_by(|slower, faster| slower >= faster), "{releases:?}");
    Ok(())
}

async fn finds_selectors_that_match_nothing(bench: &Bench) -> anyhow::Result<()> {
    let ended = bench.lint(&[], &policy("http_request_total")).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let says = "stdin:1: spec.objectives[0].indicator.ratio.total: http_request_total matches no series in namespace shop, nor in any \
                other: write the name of a metric that exists";
    assert!(ended.output.contains(says), "{}", ended.output);
    let elsewhere = policy("http_requests_total").replace("\"shop\"", "\"laden\"");
    let ended = bench.lint(&[], &elsewhere).await?;
    assert!(
        ended.code == Some(1) && ended.output.contains("in namespace laden, but in shop: is the policy's"),
        "{ended:?}"
    );
    let ended = bench.lint(&[], &policy("without_pod_total")).await?;
    assert!(
        ended.code == Some(1) && ended.output.contains("1 series of without_pod_total have no label pod"),
        "{ended:?}"
    );
    assert!(ended.output.contains("warning: spec.objectives[0].indicator.ratio.errors: "), "{ended:?}");
    Ok(())
}

async fn warns_of_pods_that_may_be_read_twice(bench: &Bench) -> anyhow::Result<()> {
    let ended = bench.lint(&[], &policy("twice_total")).await?;
    let says = "warning: spec.objectives[0].indicator.ratio.total: the series of pod kasse-7d9f8b6c5d-x2b4z are read at 2 addresses: \
                10.0.0.3:80 (job traffic), kasse (job traffic). ";
    assert!(ended.code == Some(0) && ended.output.contains(says), "{ended:?}");
    let ended = bench.lint(&[], &policy("http_requests_total")).await?;
    assert!(!ended.output.contains("addresses"), "{ended:?}");
    Ok(())
}

/// A policy with a latency objective, at an endpoint whose series name pods by labels of their own.
async fn looks_at_histograms_by_the_labels_of_the_endpoint(bench: &Bench) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("operator.yaml");
    let text = format!(
        "prometheus: {{default: {{url: '{}', namespaceLabel: ns, podLabel: k8s_pod}}}}",
        bench.prometheus.url()
    );
    std::fs::write(&config, text)?;
    let config = config.to_str().context("UTF-8")?;
    let lint = async |threshold: &str| -> anyhow::Result<Ended> {
        let mut policy: Value = serde_json::from_str(&policy("http_requests_total"))?;
        let latency = json!({"histogram": "http_seconds", "threshold": threshold});
        policy["spec"]["objectives"][0]["indicator"] = json!({"latency": latency});
        // Nothing has run for longer than a latency objective's usual warmup.
        policy["spec"]["detection"]["warmup"] = json!("0s");
        run(&["lint", "-f", "-", "--prometheus", "--config", config], &policy.to_string()).await
    };
    let ended = lint("250ms").await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for says in [
        "  indicator.latency.threshold: 5 series of 5 pods\n",
        "  indicator.latency.histogram: 5 series of 5 pods\n",
        "  kasse: 3 pods, ",
        "2.3x: about ",
    ] {
        assert!(ended.output.contains(says), "{says:?} is not in {}", ended.output);
    }
    let ended = lint("300ms").await?;
    let says = "stdin:1: spec.objectives[0].indicator.latency.threshold: http_seconds has no bucket with the bound 0.3: there are \
                0.1, 0.25; write one of them as threshold";
    assert!(ended.code == Some(1) && ended.output.contains(says), "{ended:?}");
    Ok(())
}

async fn says_what_was_found_offline_when_prometheus_does_not_answer(bench: &Bench) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("operator.yaml");
    std::fs::write(&config, format!("prometheus: {{default: {{url: '{}', timeout: 1s}}}}", bench.prometheus.url()))?;
    bench.prometheus.freeze()?;
    let config = config.to_str().context("UTF-8")?;
    let policies = format!("{}\n---\n{}", policy("http_requests_total"), policy("sum(http_requests_total)"));
    let ended = run(&["lint", "-f", "-", "--prometheus", "--config", config], &policies).await?;
    bench.prometheus.thaw()?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.errors.starts_with("error: shop/kasse: Prometheus endpoint default: "), "{ended:?}");
    assert!(ended.output.contains("stdin:2: spec.objectives[0].indicator.ratio.total: "), "{ended:?}");
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder of the project.
fn files(folder: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files =
        std::fs::read_dir(root().join(folder))?.map(|file| Ok(file?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn the_example_policies_are_clean() -> anyhow::Result<()> {
    for file in files("config/policies")? {
        let file = file.to_str().context("UTF-8")?;
        let ended = run(&["lint", "-f", file], "").await?;
        assert_eq!((ended.code, ended.output.as_str()), (Some(0), "1 policy: no problem\n"), "{file}: {ended:?}");
    }
    Ok(())
}

/// What Sloth generates for an SLO of this total, which promises 99.9 %.
fn rules_of_sloth(total: &str) -> String {
    let labels = "labels: {sloth_service: kasse, sloth_slo: availability}";
    format!(
        "groups:\n- name: sloth\n  rules:\n\
         \x20 - {{record: 'slo:sli_error:ratio_rate5m', {labels}, expr: '(sum(rate({total}{{code=\"500\"}}[5m]))) / (sum(rate({total}[5m])))'}}\n\
         \x20 - {{record: 'slo:objective:ratio', {labels}, expr: vector(0.9990000000000001)}}\n\
         \x20 - {{record: 'slo:time_period:days', {labels}, expr: vector(30)}}\n"
    )
}

#[tokio::test]
async fn an_slo_that_a_policy_names_is_read_and_looked_at_like_any_objective() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    let mut named: Value = serde_norway::from_str(&policy("http_requests_total"))?;
    let indicator = json!({"sloth": {"service": "kasse", "slo": "availability"}});
    named["spec"]["objectives"] = json!([{"name": "availability", "indicator": indicator}]);
    let named = named.to_string();
    let offline = run(&["lint", "-f", "-"], &named).await?;
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let not_there = bench.lint(&[], &named).await?;
    assert_eq!(not_there.code, Some(1), "{not_there:?}");
    let said =
        "spec.objectives[0].indicator.sloth: Prometheus has no rules of Sloth's SLO \"availability\" of \"kasse\"";
    assert!(not_there.output.contains(said), "{not_there:?}");

    bench.prometheus.load_rules("sloth", &rules_of_sloth("http_requests_total")).await?;
    let there = bench.lint(&[], &named).await?;
    assert_eq!(there.code, Some(0), "{there:?}");
    assert!(there.output.contains("kasse") && there.output.contains("availability"), "{there:?}");

    bench
        .prometheus
        .load_rules("sloth", &rules_of_sloth("http_requests_total{namespace=\"bank\"}").replace("}{", ","))
        .await?;
    let foreign = bench.lint(&[], &named).await?;
    assert_eq!(foreign.code, Some(1), "{foreign:?}");
    assert!(foreign.output.contains("a policy reads its own namespace only"), "{foreign:?}");
    Ok(())
}

#[tokio::test]
async fn the_example_openslo_files_become_policies_that_are_clean() -> anyhow::Result<()> {
    let all = files("config/openslo")?;
    assert!(!all.is_empty());
    for file in all {
        let file = file.to_str().context("UTF-8")?;
        let imported = run(&["import", "openslo", file, "--selector", "app=checkout", "-n", "shop"], "").await?;
        assert_eq!(imported.code, Some(0), "{file}: {imported:?}");
        let linted = run(&["lint", "-f", "-"], &imported.output).await?;
        assert_eq!(linted.code, Some(0), "{file}: {linted:?}");
    }
    Ok(())
}

/// The shell of the job `lint` of a pipeline, in a repository with a sound policy and in one with another.
#[tokio::test]
async fn the_example_pipelines_refuse_a_policy_that_would_be_refused() -> anyhow::Result<()> {
    let read = |file: &str| -> anyhow::Result<Value> {
        Ok(serde_norway::from_str(&std::fs::read_to_string(root().join("config/ci").join(file))?)?)
    };
    let steps = read("github-actions.yaml")?["jobs"]["lint"]["steps"].clone();
    let github = steps
        .as_array()
        .context("steps")?
        .iter()
        .filter_map(|step| step["run"].as_str())
        .collect::<Vec<_>>()
        .join("\n");
    let script = read("gitlab-ci.yaml")?["lint"]["script"].clone();
    let gitlab = script.as_array().context("a script")?.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
    let programs = Path::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper")).parent().context("a folder")?;
    for shell in [github, gitlab] {
        for (target, code) in [("99.9", 0), ("100", 1)] {
            let folder = tempfile::tempdir()?;
            std::fs::create_dir(folder.path().join("policies"))?;
            let policy = policy("http_requests_total").replace("99.9", target);
            std::fs::write(folder.path().join("policies/checkout.yaml"), policy)?;
            let ended = Command::new("bash")
                .args(["-ec", &shell])
                .current_dir(folder.path())
                .env("PATH", format!("{}:{}", programs.display(), env!("PATH")))
                .output()
                .await?;
            assert_eq!(ended.status.code(), Some(code), "{shell}: {ended:?}");
        }
    }
    Ok(())
}
