//! The operator's life: starts the parts in order, and ends them in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::{self as flag, Receiver};
use tracing::{error, info, warn};

use crate::act::Applier;
use crate::act::apply::WRITE_TIMEOUT;
use crate::api::ErrorBudgetPolicy;
use crate::cli::RunArgs;
use crate::config::OperatorConfig;
use crate::controller::{self, Parts};
use crate::leader::{self, Candidate, Leadership, Timing};
use crate::measure::budget::{Budgets, Endpoint};
use crate::measure::client::{PrometheusClient, QueryKind, QueryObserver};
use crate::measure::direct::page::{PageObserver, PageReader};
use crate::measure::look::Missing;
use crate::measure::sampler::{Sampler, system_clock};
use crate::measure::slos::Slos;
use crate::record::metrics::Metrics;
use crate::record::{events, status::StatusWriter};
use crate::server::{self, Gate, Heartbeat, Pages, Readiness};
use crate::telemetry;
use crate::watch::{self, Scope};

/// A Lease is renewed in a third of its duration.
const RENEWALS: u32 = 3;
/// What telling people may take at the end, before the Lease is given back.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Between two tries of what is needed to start.
const RETRY: Duration = Duration::from_secs(2);
/// The main loop turns with every pass; when nothing is rolled out, with the ticker of the health page alone.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Runs the operator until SIGTERM or SIGINT, or until its leadership is lost.
///
/// # Errors
/// When its configuration cannot be used, or it led and does not any more: then it has to start anew.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log_level)?;
    let config = Arc::new(OperatorConfig::load(&args.config)?);
    let renew_every = args.lease_duration / RENEWALS;
    let timing = Timing::new(args.lease_duration, renew_every, WRITE_TIMEOUT).context("--lease-duration")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(operate(args, config, timing))
}

async fn operate(args: &RunArgs, config: Arc<OperatorConfig>, timing: Timing) -> anyhow::Result<()> {
    let client = client(args.kubeconfig.as_deref()).await?;
    let identity = leader::identity(std::env::var("POD_NAME").ok().as_deref());
    let namespace = args.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let (candidate, leadership) = Candidate::new(
        Api::<Lease>::namespaced(client.clone(), &namespace),
        &args.lease_name,
        identity.clone(),
        timing,
    );

    let leads = leadership.clone();
    let metrics = Arc::new(Metrics::new(move || leads.may_write()));
    let readiness = Readiness::default();
    let heartbeat = Heartbeat::new(HEARTBEAT);
    let endpoints = endpoints(&config, &metrics)?;
    let reader = pod_reader(&config, &metrics)?;

    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("--listen {}: cannot be listened on", args.listen))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %listener.local_addr().unwrap_or(args.listen),
        %identity,
        lease = %format!("{namespace}/{}", args.lease_name),
        namespaces = ?args.namespaces,
        "started"
    );
    let (stop, stopped) = flag::channel(false);
    let pages = Pages { heartbeat: heartbeat.clone(), readiness: readiness.clone(), metrics: Arc::clone(&metrics) };
    let pages = tokio::spawn(server::serve(listener, pages, on(stopped.clone())));
    let signal = tokio::spawn(terminated());

    // The Lease is given back last: giving it back invites another to write.
    let (written, all_written) = flag::channel(false);
    let mut election = tokio::spawn(candidate.run(on(all_written)));

    let parts = Prepared { client, config, metrics, readiness, heartbeat, endpoints, reader, identity, leadership };
    let work = tokio::spawn(lead(args.clone(), parts, stopped));

    let result = tokio::select! {
        signal = signal => {
            signal.context("waiting for signals")??;
            info!("stopping");
            Ok(())
        }
        lost = &mut election => match lost.context("the election ended")? {
            Err(lost) => Err(lost.into()),
            Ok(()) => bail!("the election ended by itself"),
        },
        pages = pages => match pages.context("the pages ended")? {
            Err(broken) => Err(broken).context("--listen: the listener failed"),
            Ok(()) => bail!("the pages ended by themselves"),
        },
    };
    stop.send_replace(true);
    if result.is_ok() {
        // Leadership lost is different: then nothing may be written any more, and nothing is waited for.
        work.await.context("the controller ended")??;
        written.send_replace(true);
        if let Ok(Err(late)) = election.await {
            warn!(error = %late, "the Lease was lost while stopping");
        }
        info!("stopped");
    }
    result
}

struct Prepared {
    client: Client,
    config: Arc<OperatorConfig>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    heartbeat: Heartbeat,
    endpoints: BTreeMap<String, Arc<PrometheusClient>>,
    reader: Option<Arc<PageReader>>,
    identity: String,
    leadership: Leadership,
}

/// Fills the caches, waits for leadership, and works until it is to stop.
async fn lead(args: RunArgs, parts: Prepared, stopped: Receiver<bool>) -> anyhow::Result<()> {
    let Prepared { client, config, metrics, readiness, heartbeat, endpoints, reader, identity, mut leadership } = parts;
    let ticker = tokio::spawn(beat(heartbeat.clone()));
    let ready = tokio::spawn(reach_prometheus(endpoints.clone(), readiness.clone()));
    let mut observed = leadership.clone();
    let lease_gate = readiness.clone();
    let observing = tokio::spawn(async move {
        observed.observed().await;
        lease_gate.set(Gate::Lease);
    });

    let scope = Scope::of(args.namespaces.clone());
    let result = async {
        tokio::select! {
            () = wait_for_crd(&client, &args.namespaces, &readiness) => {}
            () = on(stopped.clone()) => return Ok(()),
        }
        let (deployment_store, deployments) = watch::deployments(&client, &scope);
        let (policy_store, policies) = watch::policies(&client, &scope);
        let (mut deployments, mut policies) = (deployments, policies);
        let caches = async {
            let _ = tokio::join!(deployment_store.wait_until_ready(), policy_store.wait_until_ready());
            readiness.set(Gate::Caches);
            leadership.gained().await;
        };
        // Standing by, the caches are kept warm, so that taking over costs no listing. What changes is the leader's to act on.
        let standing_by = async {
            loop {
                tokio::select! {
                    touched = deployments.next() => note(touched),
                    touched = policies.next() => note(touched),
                }
            }
        };
        tokio::select! {
            () = caches => info!("leading"),
            () = standing_by => {}
            () = on(stopped.clone()) => return Ok(()),
        }
        let asked = endpoints.iter().filter_map(|(name, endpoint)| {
            let concurrency = config.endpoint(name).ok()?.concurrency;
            Some((name.clone(), Endpoint::new(Arc::clone(endpoint), concurrency)))
        });
        let budgets = Budgets::new(asked.collect(), system_clock());
        let slos = Slos::new(endpoints.clone());
        let (sampler, looks) = Sampler::with_pages(endpoints, reader, system_clock());
        let sampling = tokio::spawn(Arc::clone(&sampler).run());
        let may_write = || {
            let leadership = leadership.clone();
            move || leadership.may_write()
        };
        let (events, publisher) = events::channel(client.clone(), &identity, Arc::clone(&metrics));
        let publishing = tokio::spawn(publisher.run());
        let status = StatusWriter::new(client.clone(), may_write(), Arc::clone(&metrics));
        let parts = Parts {
            client: client.clone(),
            config,
            deployments: (deployment_store, deployments),
            policies: (policy_store, policies),
            sampler: (sampler, looks),
            budgets,
            slos,
            policy_selector: args.policy_selector,
            budget_interval: args.budget_interval,
            applier: Applier::new(client.clone(), may_write()),
            events,
            status: status.clone(),
            metrics,
            heartbeat,
            concurrency: args.concurrency,
        };
        controller::run(parts, on(stopped)).await;
        sampling.abort();
        let last_words = async {
            let _ = tokio::join!(status.drain(), publishing);
        };
        if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
            warn!("not everything could be told before the end");
        }
        anyhow::Ok(())
    }
    .await;
    for task in [ticker, ready, observing] {
        task.abort();
    }
    result
}

/// A watch that is interrupted goes on by itself, but somebody may have to know why.
fn note<K: kube::runtime::reflector::Lookup>(touched: Option<kube::runtime::watcher::Result<ObjectRef<K>>>) {
    if let Some(Err(error)) = touched {
        warn!(%error, "a watch is interrupted and goes on by itself");
    }
}

/// Completes once the flag is set.
async fn on(mut flag: Receiver<bool>) {
    // The sender outlives everything that waits here, or the process is at its end anyway.
    let _ = flag.wait_for(|set| *set).await;
}

async fn terminated() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// A client of the cluster that this kubeconfig file, or the surroundings, lead to.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig {}", path.display()))?
        }
        None => Config::infer().await.context("no Kubernetes configuration was found; give --kubeconfig FILE")?,
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).context("the Kubernetes configuration cannot be used")
}

/// Counts queries.
struct CountQueries(Arc<Metrics>);

impl QueryObserver for CountQueries {
    fn queried(&self, endpoint: &str, kind: QueryKind, took: Duration, outcome: Result<(), Missing>) {
        self.0.query(endpoint, kind, took, outcome.err());
    }
}

/// Counts pages of pods.
struct CountPages(Arc<Metrics>);

impl PageObserver for CountPages {
    fn read(&self, outcome: Result<(), Missing>) {
        self.0.pod_read(outcome);
    }
}

/// What reads pods themselves, where that is allowed.
fn pod_reader(config: &OperatorConfig, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Arc<PageReader>>> {
    let Some(limits) = &config.pod_evidence else { return Ok(None) };
    let observer = Arc::new(CountPages(Arc::clone(metrics)));
    let reader = PageReader::new(limits.clone(), observer).context("podEvidence: no HTTP client can be made")?;
    Ok(Some(Arc::new(reader)))
}

fn endpoints(
    config: &OperatorConfig,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<BTreeMap<String, Arc<PrometheusClient>>> {
    let observer: Arc<dyn QueryObserver> = Arc::new(CountQueries(Arc::clone(metrics)));
    let client = |(name, endpoint): (&String, &crate::config::Endpoint)| {
        let client = PrometheusClient::new(name, endpoint.clone(), Arc::clone(&observer))
            .with_context(|| format!("the Prometheus endpoint {name}"))?;
        Ok((name.clone(), Arc::new(client)))
    };
    config.prometheus.iter().map(client).collect()
}

async fn beat(heartbeat: Heartbeat) {
    loop {
        heartbeat.beat();
        tokio::time::sleep(HEARTBEAT / 4).await;
    }
}

/// Asks every endpoint until one has answered. Where there is none, nothing is waited for.
async fn reach_prometheus(endpoints: BTreeMap<String, Arc<PrometheusClient>>, readiness: Readiness) {
    use crate::measure::client::Queries;
    if endpoints.is_empty() {
        return readiness.set(Gate::Prometheus);
    }
    loop {
        for (name, endpoint) in &endpoints {
            match endpoint.instant("vector(1)", jiff::Timestamp::now()).await {
                Ok(_) => {
                    readiness.set(Gate::Prometheus);
                    return;
                }
                Err(failure) => warn!(endpoint = %name, error = %failure, "Prometheus does not answer yet"),
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Policies must be known to the API server before they can be watched.
async fn wait_for_crd(client: &Client, namespaces: &[String], readiness: &Readiness) {
    let api: Api<ErrorBudgetPolicy> = match namespaces.first() {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let one = ListParams::default().limit(1);
    loop {
        match tokio::time::timeout(Duration::from_secs(5), api.list_metadata(&one)).await {
            Ok(Ok(_)) => {
                readiness.set(Gate::Crd);
                return;
            }
            Ok(Err(why)) => {
                error!(error = %why, "ErrorBudgetPolicies cannot be listed; is the CRD installed and may the operator list it?")
            }
            Err(_) => error!("no answer from the API server within 5 s"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
