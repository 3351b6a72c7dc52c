//! Counters of simulated pods, read from a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use gatekeeper::config::{OperatorConfig, PodLabels};
use gatekeeper::measure::client::{PrometheusClient, Queries};
use gatekeeper::measure::look::Missing;
use gatekeeper::measure::pods::PodGroup;
use gatekeeper::measure::promql::Selector;
use gatekeeper::measure::sampler::{Indicator, ReadFrom, Sampler, Subject, system_clock};
use gatekeeper::measure::scrape::{Origin, PodSample, Scrape, Side};
use gatekeeper::watch::rollout::DeploymentKey;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::fault_proxy::FaultProxy;
use testbed::prometheus::{PrometheusOptions, PrometheusServer};
use testbed::tools::tools;
use testbed::traffic::{PodBehaviour, TrafficOptions, TrafficPlan, TrafficSimulator};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two namespaces with the same Deployment in the middle of the same rollout, so that ReplicaSets have the same names, and
/// the requests a second that theirs gets.
const NAMESPACES: [(&str, f64); 2] = [("shop", 900.0), ("bank", 300.0)];

/// What pods of the namespace "zoo" count, if there are any: something nobody could miss.
const ABSURD: f64 = 1e15;

struct Bench {
    proxy: FaultProxy,
    traffic: TrafficSimulator,
    zoo: Zoo,
    prometheus: PrometheusServer,
    _cluster: Cluster,
    /// Names of the ReplicaSets of both namespaces.
    stable: String,
    canary: String,
}

/// An exporter of a third namespace, with pods of any names.
struct Zoo {
    text: Arc<Mutex<String>>,
    target: String,
    _server: JoinSet<()>,
}

impl Bench {
    async fn new() -> anyhow::Result<Self> {
        let delay = Duration::from_millis(200)..=Duration::from_millis(400);
        let cluster = Cluster::start(ClusterOptions { pod_ready_delay: delay, ..ClusterOptions::default() }).await?;
        let mut plan = TrafficPlan::new();
        for (namespace, rate) in NAMESPACES {
            plan = plan.with(namespace, "cart", rate);
        }
        let traffic = TrafficSimulator::start(cluster.client(), plan, TrafficOptions::default()).await?;
        let zoo = Zoo::start().await?;
        let options = PrometheusOptions::scraping(traffic.target()).every(Duration::from_millis(500));
        let options = options.with_job("zoo", zoo.target.clone());
        let prometheus = PrometheusServer::start(&cluster.tools().prometheus, &options).await?;
        let proxy = FaultProxy::start(prometheus.url()).await?;
        let mut names = BTreeSet::new();
        for (namespace, _) in NAMESPACES {
            names.insert(release_twice(&cluster, namespace).await?);
        }
        let (stable, canary) = names.pop_first().context("no ReplicaSets")?;
        ensure!(names.is_empty(), "the same templates have the same names in both namespaces, and not {names:?}");
        let bench = Self { proxy, traffic, zoo, prometheus, _cluster: cluster, stable, canary };
        bench.eventually_scraped(r#"http_requests_total{namespace!="zoo",code="500"}"#, 6).await?;
        Ok(bench)
    }

    async fn eventually_scraped(&self, selector: &str, series: usize) -> anyhow::Result<()> {
        eventually(async || Ok((self.prometheus.query(selector).await?.len() == series).then_some(()))).await
    }

    /// The rollout of a namespace, since a moment ago.
    fn subject(&self, namespace: &str) -> anyhow::Result<Subject> {
        let objectives = vec![indicator(r#"http_requests_total{code=~"5.."}"#, "http_requests_total")?];
        let canary = PodGroup::of_replica_set(&self.canary);
        Ok(Subject { stable: Some(PodGroup::of_replica_set(&self.stable)), ..subject(namespace, canary, objectives) })
    }

    /// The names of the pods that a namespace really has.
    fn pods(&self, namespace: &str) -> BTreeSet<String> {
        self.traffic.handle().pods(namespace, "cart").into_iter().map(|pod| pod.name).collect()
    }
}

impl Zoo {
    async fn start() -> anyhow::Result<Self> {
        let text = Arc::new(Mutex::new(String::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let served = Arc::clone(&text);
        let metrics = async move || served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("a listener that is open is served") });
        Ok(Self { text, target, _server: server })
    }

    /// Has pods of these names from now on.
    fn imitate(&self, pods: &BTreeSet<String>) -> anyhow::Result<()> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in pods {
            for code in [200, 500] {
                writeln!(text, r#"http_requests_total{{namespace="zoo",pod="{pod}",code="{code}"}} {ABSURD}"#)?;
            }
        }
        Ok(())
    }
}

/// A Prometheus that scrapes the zoo alone, without any control plane.
async fn prometheus_of(zoo: &Zoo) -> anyhow::Result<PrometheusServer> {
    // The HTTP client of the testbed wants one, which whoever starts a control plane has installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = PrometheusOptions::scraping(zoo.target.clone()).every(Duration::from_millis(500));
    PrometheusServer::start(&tools()?.prometheus, &options).await
}

/// Brings a Deployment to two pods of one revision beside one of the next; answers the names of their ReplicaSets.
async fn release_twice(cluster: &Cluster, namespace: &str) -> anyhow::Result<(String, String)> {
    let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
    Api::<Namespace>::all(cluster.client()).create(&PostParams::default(), &object).await?;
    let deployments = Api::<Deployment>::namespaced(cluster.client(), namespace);
    let sets = Api::<ReplicaSet>::namespaced(cluster.client(), namespace);
    let ready = async || -> anyhow::Result<BTreeMap<String, i32>> {
        let list = sets.list(&ListParams::default()).await?;
        let ready = list.items.into_iter().filter_map(|set| Some((set.metadata.name?, set.status?.ready_replicas?)));
        Ok(ready.collect())
    };

    let manifest = json!({
        "metadata": {"name": "cart"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "cart"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "cart"}, "annotations": PodBehaviour::failing(0.1).to_annotations()},
                "spec": {"containers": [{"name": "cart", "image": "cart"}]},
            },
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(manifest)?).await?;
    let first = eventually(async || Ok(Some(ready().await?).filter(|sets| sets.values().eq(&[2])))).await?;

    // New pods that never count as available hold the rollout there.
    let annotations = PodBehaviour::failing(0.5).to_annotations();
    let next = json!({"spec": {"minReadySeconds": 500, "template": {"metadata": {"annotations": annotations}}}});
    deployments.patch("cart", &PatchParams::default(), &Patch::Merge(next)).await?;
    let both = eventually(async || Ok(Some(ready().await?).filter(|sets| sets.values().sum::<i32>() == 3))).await?;
    let (stable, _) = first.into_iter().next().context("no first ReplicaSet")?;
    let canary = both.into_keys().find(|name| *name != stable).context("no second ReplicaSet")?;
    Ok((stable, canary))
}

fn subject(namespace: &str, canary: PodGroup, objectives: Vec<Indicator>) -> Subject {
    Subject {
        key: DeploymentKey { namespace: namespace.to_owned(), name: "cart".to_owned() },
        from: ReadFrom::Prometheus("default".to_owned()),
        look_interval: Duration::from_secs(1),
        objectives,
        canary,
        stable: None,
        pods: 0,
        asks_scraped: false,
        revisions: None,
        since: Timestamp::now(),
    }
}

fn indicator(errors: &str, total: &str) -> anyhow::Result<Indicator> {
    // No selector names a namespace here, so that any will do.
    Ok(Indicator::Ratio {
        errors: Selector::parse(errors, "any", &PodLabels::default())?,
        total: Selector::parse(total, "any", &PodLabels::default())?,
    })
}

/// A running sampler.
struct Reading {
    sampler: Arc<Sampler>,
    _task: JoinSet<()>,
}

impl Reading {
    /// Reads these rollouts, all of them from the same look on.
    fn start(url: &str, subjects: &[Subject]) -> anyhow::Result<Self> {
        let config = OperatorConfig::parse(Path::new("test"), &format!("prometheus: {{default: {{url: '{url}'}}}}"))?;
        let client = PrometheusClient::new("default", config.endpoint("default")?.clone(), Arc::new(()))?;
        let endpoints = BTreeMap::from([("default".to_owned(), Arc::new(client))]);
        let (sampler, _) = Sampler::new(endpoints, system_clock());
        for subject in subjects {
            sampler.register(subject.clone())?;
        }
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&sampler).run());
        Ok(Self { sampler, _task: task })
    }

    /// What was read of a rollout, once there are at least this many live looks.
    async fn take(&self, subject: &Subject, looks: usize) -> anyhow::Result<Vec<Scrape>> {
        let mut scrapes = Vec::new();
        let live = |scrapes: &[Scrape]| scrapes.iter().filter(|scrape| scrape.origin == Origin::Live).count();
        let enough = eventually(async || {
            scrapes.extend(self.sampler.take(&subject.key));
            Ok((live(&scrapes) >= looks).then_some(()))
        });
        enough.await?;
        Ok(scrapes)
    }
}

/// Asks again and again until there is an answer.
async fn eventually<T>(mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "it did not happen");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The samples of the first objective.
fn samples(scrape: &Scrape) -> anyhow::Result<BTreeMap<(Side, &str), &PodSample>> {
    let samples = scrape.objectives[0].as_ref().map_err(Clone::clone)?;
    let of = |side| samples.of(side).iter().map(move |sample| ((side, &*sample.pod), sample));
    Ok(of(Side::Canary).chain(of(Side::Stable)).collect())
}

#[tokio::test]
async fn rollouts_of_two_namespaces_share_three_queries_a_look_and_see_only_their_own_pods() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    bench.zoo.imitate(&bench.pods("shop"))?;
    bench.eventually_scraped(r#"http_requests_total{namespace="zoo",code="500"}"#, 3).await?;
    let subjects = [bench.subject("shop")?, bench.subject("bank")?];
    let reading = Reading::start(&bench.proxy.url(), &subjects)?;

    for subject in &subjects {
        let pods = bench.pods(&subject.key.namespace);
        let scrapes = reading.take(subject, 6).await?;
        for scrape in &scrapes {
            let samples = samples(scrape)?;
            for ((side, pod), sample) in &samples {
                assert!(pods.contains(*pod), "{pod} is not in {}", subject.key);
                let set = if *side == Side::Canary { &bench.canary } else { &bench.stable };
                assert!(pod.starts_with(&format!("{set}-")), "{pod} is no {side:?}");
                assert!(sample.total < ABSURD);
            }
            if scrape.origin == Origin::Live {
                assert_eq!(samples.len(), 3, "one canary pod and two stable ones: {samples:?}");
            }
        }
    }

    let mut looks = BTreeMap::<String, usize>::new();
    let mut read_back = 0;
    for request in bench.proxy.requests() {
        let query = request.query().context("no query")?;
        assert!(query.contains(r#"namespace=~"bank|shop""#), "{query}");
        match request.parameter("time") {
            Some(time) => *looks.entry(time.to_owned()).or_default() += 1,
            None => read_back += 1,
        }
    }
    // One may be under way.
    looks.pop_last();
    assert!(looks.len() >= 4 && looks.values().all(|queries| *queries == 3), "{looks:?}");
    assert_eq!(read_back, 3);
    Ok(())
}

#[tokio::test]
async fn what_is_read_back_is_what_live_looks_saw() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let subject = bench.subject("shop")?;
    let reading = Reading::start(&bench.proxy.url(), std::slice::from_ref(&subject))?;
    let live = reading.take(&subject, 10).await?;
    reading.sampler.remove(&subject.key);
    reading.sampler.register(subject.clone())?;
    let read_back = reading.take(&subject, 1).await?;

    let read_back: BTreeMap<_, _> = read_back.iter().map(|scrape| (scrape.at, scrape)).collect();
    let live: Vec<&Scrape> = live.iter().filter(|scrape| scrape.origin == Origin::Live).collect();
    let (mut same, mut progress) = (0, BTreeSet::new());
    for look in &live {
        let again = read_back.get(&look.at).context("the grid has moved")?;
        assert_eq!(again.origin, Origin::BackFill);
        let (then, now) = (samples(look)?, samples(again)?);
        same += usize::from(then == now);
        // On a busy machine a sample may be stored only after it was asked for; then it is the one before that was seen.
        for (pod, then) in &then {
            let now = now.get(pod).context("a pod is missing")?;
            assert!(then == now || then.taken < now.taken, "{then:?} and later {now:?}");
            progress.insert(then.total as u64);
        }
    }
    assert!(same * 2 > live.len(), "only {same} of {} looks were the same", live.len());
    assert!(progress.len() > live.len(), "the counters move");
    Ok(())
}

#[tokio::test]
async fn every_selector_is_accepted_as_it_is_printed() -> anyhow::Result<()> {
    let zoo = Zoo::start().await?;
    let prometheus = prometheus_of(&zoo).await?;
    let names = BTreeSet::from(["cart-a".to_owned(), "cart.b".to_owned()]);
    zoo.imitate(&names)?;
    let scraped = async || Ok((prometheus.query("http_requests_total").await?.len() == 4).then_some(()));
    eventually(scraped).await?;

    let errors = [
        r#"http_requests_total{code=~"5.."}"#,
        r#"http_requests_total{code!~'2..|3\\d\\d',method!="GET",}"#,
        r#"http_requests_total{code=~`5[0-9]{2}`,path!="say \"hello\" \\ world"}"#,
        "http_requests_total{code=~\"5..\",path!='\u{e4}\t\u{1f600}\\n'}",
        r#"http_requests_total{code="500",pod=~"cart.*"}"#,
    ];
    let objectives = errors.iter().map(|errors| indicator(errors, "http_requests_total"));
    let subject = subject("zoo", PodGroup::Names(names), objectives.collect::<Result<_, _>>()?);
    let reading = Reading::start(prometheus.url(), std::slice::from_ref(&subject))?;
    let scrapes = reading.take(&subject, 2).await?;
    let last = scrapes.last().context("no look")?;
    for (errors, read) in errors.iter().zip(&last.objectives) {
        let samples = read.as_ref().map_err(Clone::clone).with_context(|| (*errors).to_owned())?;
        let found = samples.canary.iter().map(|sample| (sample.errors, sample.total)).collect::<Vec<_>>();
        assert_eq!(found, [(Some(ABSURD), 2.0 * ABSURD); 2], "{errors}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_as_long_as_the_default_allows_is_answered() -> anyhow::Result<()> {
    let zoo = Zoo::start().await?;
    let prometheus = prometheus_of(&zoo).await?;
    zoo.imitate(&BTreeSet::from(["animal-4000-of-the-zoo-7d9fc8b6d4-bcdfg".to_owned()]))?;
    let scraped = async || Ok((prometheus.query("http_requests_total").await?.len() == 2).then_some(()));
    eventually(scraped).await?;
    let sets = |number: usize| ["7d9fc8b6d4", "5b8c6f9d7b"].map(|hash| format!("animal-{number}-of-the-zoo-{hash}"));
    let groups = (1..=7000).flat_map(sets).map(|set| PodGroup::of_replica_set(&set)).collect::<Vec<_>>();
    let selector = Selector::parse("http_requests_total", "zoo", &PodLabels::default())?;
    let query = selector.narrowed(groups.iter().map(|group| ("zoo", group))).context("there are pods")?;

    let config = format!("prometheus: {{default: {{url: '{}', timeout: 60s}}}}", prometheus.url());
    let endpoint = OperatorConfig::parse(Path::new("test"), &config)?.endpoint("default")?.clone();
    assert!((480_000..=endpoint.max_query_bytes).contains(&query.len()), "{} bytes", query.len());
    let client = PrometheusClient::new("default", endpoint, Arc::new(()))?;
    // Queries are asked at whole seconds, and what was scraped in this one is not before its beginning.
    let at = Timestamp::from_second(Timestamp::now().as_second() + 1)?;
    let series = client.instant(&query, at).await?;
    assert_eq!(series.len(), 2, "both codes of the pod that there is");
    Ok(())
}

#[tokio::test]
async fn a_query_that_prometheus_refuses_is_missing_in_its_words() -> anyhow::Result<()> {
    let zoo = Zoo::start().await?;
    let prometheus = prometheus_of(&zoo).await?;
    // Not every regular expression that the operator's parser takes is one to Prometheus, too.
    let objectives = vec![indicator(r#"http_requests_total{code=~"5.{1001}"}"#, "http_requests_total")?];
    let subject = subject("zoo", PodGroup::of_replica_set("cart"), objectives);
    let reading = Reading::start(prometheus.url(), std::slice::from_ref(&subject))?;
    let scrapes = reading.take(&subject, 1).await?;
    let failure = scrapes[0].objectives[0].as_ref().expect_err("it cannot be compiled");
    assert_eq!(failure.why, Missing::QueryFailed);
    assert!(failure.message.contains("error parsing regexp"), "{failure}");
    Ok(())
}
