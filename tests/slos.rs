//! What Sloth and Pyrra keep, read from a real Prometheus that has loaded what they generate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use gatekeeper::config::OperatorConfig;
use gatekeeper::measure::client::{PrometheusClient, QueryKind, QueryObserver};
use gatekeeper::measure::look::Missing;
use gatekeeper::measure::slos::{Answer, Slos};
use gatekeeper::policy::{Indicator, Slo, SloName};
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;

/// Every question and its outcome.
#[derive(Default)]
struct Told(Mutex<Vec<(QueryKind, Result<(), Missing>)>>);

impl QueryObserver for Told {
    fn queried(&self, _: &str, kind: QueryKind, _: Duration, outcome: Result<(), Missing>) {
        self.0.lock().expect("no test panics with the lock held").push((kind, outcome));
    }
}

fn rules(of: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/slos/{of}.yaml"));
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

async fn prometheus() -> Result<PrometheusServer> {
    // The HTTP client of the testbed wants one, which whoever starts a control plane has installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let nobody = PrometheusOptions::scraping("127.0.0.1:1").every(Duration::from_secs(1));
    PrometheusServer::start(&tools()?.prometheus, &nobody).await
}

fn slos(prometheus: &PrometheusServer, told: &Arc<Told>, limits: &str) -> Result<Slos> {
    let url = prometheus.url();
    let text = format!("prometheus: {{default: {{url: '{url}', timeout: 2s{limits}}}}}");
    let config = OperatorConfig::parse(Path::new("test"), &text)?;
    let observer: Arc<dyn QueryObserver> = Arc::<Told>::clone(told);
    let client = PrometheusClient::new("default", config.endpoint("default")?.clone(), observer)?;
    Ok(Slos::new(BTreeMap::from([("default".to_owned(), Arc::new(client))])))
}

fn sloth(slo: &str) -> SloName {
    SloName::Sloth { service: "checkout".to_owned(), slo: slo.to_owned() }
}

fn pyrra(name: &str) -> SloName {
    SloName::Pyrra { name: name.to_owned() }
}

/// What is known, as its target, its window in days and what all requests are; or why it is not.
fn known(slos: &Slos, name: &SloName) -> String {
    match slos.of("default", name) {
        Answer::NotAsked => "not asked".to_owned(),
        Answer::Known(Err(unread)) => unread.reason().to_owned(),
        Answer::Known(Ok(Slo { target, window, indicator, .. })) => {
            let all = match indicator {
                Indicator::Ratio { total, .. } => total,
                Indicator::Latency(latency) => format!("{} within {:?}", latency.histogram, latency.threshold),
                Indicator::Query { .. } => unreachable!("no tool writes placeholders"),
            };
            format!("{target} % over {} d of {all}", window.as_secs() / 86_400)
        }
    }
}

#[tokio::test]
async fn the_slos_of_both_tools_are_read_from_prometheus_in_one_question() -> Result<()> {
    let prometheus = prometheus().await?;
    prometheus.load_rules("sloth", &rules("sloth")?).await?;
    prometheus.load_rules("pyrra", &rules("pyrra")?).await?;
    let told = Arc::new(Told::default());
    let slos = slos(&prometheus, &told, "")?;
    let expected = [
        (sloth("availability"), "99.9 % over 30 d of http_requests_total"),
        (sloth("latency"), "99 % over 30 d of http_request_duration_seconds within 250ms"),
        (sloth("good-answers"), "99.5 % over 28 d of http_requests_total"),
        (sloth("recorded"), "SloNotUnderstood"),
        (sloth("checkout-errors"), "SloNotFound"),
        (pyrra("checkout-errors"), "99.9 % over 28 d of http_requests_total"),
        (pyrra("checkout-latency"), "95 % over 14 d of http_request_duration_seconds within 1s"),
        (pyrra("checkout-native"), "99 % over 28 d of request_duration_seconds within 500ms"),
        (pyrra("checkout-by-path"), "SloNotUnderstood"),
        (pyrra("availability"), "SloNotFound"),
    ];
    let names: BTreeSet<SloName> = expected.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(slos.ask("default", &names).await, names);
    for (name, says) in &expected {
        assert_eq!(known(&slos, name), *says, "{name}");
    }
    assert_eq!(*told.0.lock().expect("no test panics with the lock held"), [(QueryKind::Rules, Ok(()))]);

    // An SLO that is written anew is another one at the next question, and one that is taken away is gone.
    prometheus.load_rules("sloth", &rules("sloth")?.replace("vector(0.99)", "vector(0.9)")).await?;
    prometheus.load_rules("pyrra", "groups: []").await?;
    let changed = slos.ask("default", &names).await;
    assert!(changed.contains(&sloth("latency")) && !changed.contains(&sloth("availability")), "{changed:?}");
    assert_eq!(known(&slos, &sloth("latency")), "90 % over 30 d of http_request_duration_seconds within 250ms");
    assert_eq!(known(&slos, &pyrra("checkout-errors")), "SloNotFound");
    Ok(())
}

#[tokio::test]
async fn a_prometheus_that_is_away_or_says_too_much_is_a_counted_failure_within_its_timeout() -> Result<()> {
    let prometheus = prometheus().await?;
    prometheus.load_rules("sloth", &rules("sloth")?).await?;
    let names = BTreeSet::from([sloth("availability")]);
    let told = Arc::new(Told::default());
    let bounded = slos(&prometheus, &told, ", maxResponseBytes: 64Ki")?;
    bounded.ask("default", &names).await;
    let before = known(&bounded, &sloth("availability"));
    assert!(before.starts_with("99.9 %"), "{before}");

    prometheus.freeze()?;
    bounded.ask("default", &names).await;
    assert_eq!(known(&bounded, &sloth("availability")), before, "what was known before still counts");
    let unknown = slos(&prometheus, &told, "")?;
    unknown.ask("default", &names).await;
    assert_eq!(known(&unknown, &sloth("availability")), "SloUnanswered");
    prometheus.thaw()?;
    let outcomes = std::mem::take(&mut *told.0.lock().expect("no test panics with the lock held"));
    let late = (QueryKind::Rules, Err(Missing::TimedOut));
    assert_eq!(outcomes, [(QueryKind::Rules, Ok(())), late, late]);

    let mut many = "groups: [{name: many, rules: [".to_owned();
    for i in 0..600 {
        many += &format!(
            "{{record: 'a:b{i}', expr: '1', labels: {{sloth_slo: availability, filler: {}}}}},",
            "x".repeat(80)
        );
    }
    prometheus.load_rules("many", &(many + "]}]")).await?;
    bounded.ask("default", &names).await;
    assert_eq!(known(&bounded, &sloth("availability")), before);
    let outcomes = std::mem::take(&mut *told.0.lock().expect("no test panics with the lock held"));
    assert_eq!(outcomes, [(QueryKind::Rules, Err(Missing::QueryFailed))]);
    Ok(())
}
