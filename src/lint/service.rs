//! What Prometheus has of a policy's services: series, pods, traffic, how they burn their budget now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::copies;
use super::definition::Problem;
use crate::controller::reading;
use crate::decide::baseline::Baseline;
use crate::decide::budget::Reading;
use crate::measure::budget::{Ask, Budgets, Endpoint};
use crate::measure::client::{PrometheusClient, Queries};
use crate::measure::ledger::{Counting, Ledger, Terms};
use crate::measure::look::Tally;
use crate::measure::past::{self, SeriesOfPod};
use crate::measure::pods::{self, PodGroup};
use crate::measure::promql::Selector;
use crate::measure::reads::Reads;
use crate::measure::sampler::system_clock;
use crate::measure::scrape::{Failure, Scrape};
use crate::measure::subject::{Indicator, ReadFrom, Subject};
use crate::policy::{Objective, Policy, humane};
use crate::watch::rollout::DeploymentKey;

/// How many Deployments are looked at: those with the most pods.
const MOST_DEPLOYMENTS: usize = 20;

/// How many budgets are asked for at most: it is the dearest thing there is to ask.
const MOST_BUDGETS: usize = 3;

/// What was found of a policy.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Of each objective, in their order.
    pub(super) selectors: Vec<Vec<Matched>>,
    /// Those with the most traffic first.
    pub(super) deployments: Vec<Service>,
    /// Deployments that there are beyond those.
    pub(super) others: Vec<String>,
    /// Pods whose names do not tell a Deployment.
    pub(super) strays: Vec<String>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What may be wrong.
    pub(super) warnings: Vec<Problem>,
    /// What could not be asked.
    pub(super) failures: Vec<String>,
}

/// What a selector matches.
#[derive(Debug)]
pub(super) struct Matched {
    /// Its field, below the objective.
    pub(super) field: &'static str,
    pub(super) series: u64,
    pub(super) pods: usize,
}

/// One Deployment.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Pods of the ReplicaSet that has the most.
    pub(super) pods: u32,
    /// Of each objective, in their order; `None` where nothing was counted.
    pub(super) objectives: Vec<Option<Served>>,
}

impl Service {
    /// Requests a second, of the objective that counts the most.
    pub(super) fn rate(&self) -> f64 {
        self.objectives.iter().flatten().map(|served| served.rate).fold(0.0, f64::max)
    }
}

/// What one objective counted of a Deployment in the last ten minutes.
#[derive(Debug)]
pub(super) struct Served {
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) scrape_interval: Duration,
    pub(super) baseline: Baseline,
    /// What is left of the budget; `None` when it was not asked for.
    pub(super) budget: Option<Reading>,
}

/// Asks for everything. `only` are the Deployments to look at; empty: all there are.
pub(super) async fn ask(
    endpoint: &Arc<PrometheusClient>,
    policy: &Policy,
    reads: &[Reads],
    only: &BTreeSet<String>,
    now: Timestamp,
) -> Services {
    let mut found = Services::default();
    let mut pods = BTreeSet::new();
    for (i, reads) in reads.iter().enumerate() {
        match series(&**endpoint, i, &reads.indicator, policy, now, &mut found).await {
            Ok(named) => pods.extend(named),
            Err(failure) => {
                found.failures.push(failure.message.to_string());
                return found;
            }
        }
    }
    let targets = targets(&mut found, &pods, only);
    found.deployments = match served(&**endpoint, policy, reads, &targets, now).await {
        Ok(deployments) => deployments,
        Err(failure) => {
            found.failures.push(failure.message.to_string());
            return found;
        }
    };
    budgets(endpoint, policy, reads, &mut found).await;
    warn(policy, &mut found);
    found
}

/// The selectors of an indicator with their fields, the one of all requests last; `None` of one that is not asked for pods.
fn selectors(indicator: &Indicator) -> Option<Vec<(&'static str, Selector)>> {
    match indicator {
        Indicator::Ratio { errors, total } => {
            Some(vec![("indicator.ratio.errors", errors.clone()), ("indicator.ratio.total", total.clone())])
        }
        Indicator::Classic(histogram) => Some(vec![
            ("indicator.latency.threshold", histogram.bucket()),
            ("indicator.latency.histogram", histogram.count()),
        ]),
        Indicator::Native(histogram) => Some(vec![("indicator.latency.histogram", histogram.selector().clone())]),
        Indicator::Query(_) => None,
    }
}

/// What the selectors of an objective match; answers the names of the pods that have all requests.
async fn series(
    endpoint: &impl Queries,
    objective: usize,
    indicator: &Indicator,
    policy: &Policy,
    now: Timestamp,
    found: &mut Services,
) -> Result<BTreeSet<String>, Failure> {
    let namespace = &policy.key.namespace;
    let (mut matched, mut pods) = (Vec::new(), BTreeSet::new());
    let Some(all) = selectors(indicator) else {
        let words = "it was not asked in Prometheus: whose its placeholders stand for is known in a rollout only";
        found.warnings.push(Problem::new(format!("spec.objectives[{objective}].indicator.query"), words));
        found.selectors.push(Vec::new());
        return Ok(pods);
    };
    for (i, (field, selector)) in all.iter().enumerate() {
        let of_pods = past::series(endpoint, selector, namespace, now).await?;
        let path = format!("spec.objectives[{objective}].{field}");
        let is_total = i + 1 == all.len();
        let without_pod: u64 = of_pods.iter().filter(|of| of.pod.is_empty()).map(|of| of.series).sum();
        if of_pods.is_empty() && is_total {
            let elsewhere = past::namespaces(endpoint, selector, now).await?;
            found.problems.push(Problem::new(path, nothing_matches(selector, namespace, &elsewhere)));
        } else if of_pods.is_empty()
            && let Indicator::Classic(histogram) = indicator
        {
            let no_bound = past::no_bound(endpoint, histogram, namespace, now).await?;
            found.problems.extend(no_bound.map(|words| Problem::new(path, words)));
        } else if of_pods.is_empty() {
            let words = format!(
                "{selector} matches no series in namespace {namespace} now: perfection and a typo look alike; make sure that \
                 it is the name of a series which errors have"
            );
            found.warnings.push(Problem::new(path, words));
        } else if without_pod > 0 {
            let words = format!(
                "{without_pod} series of {selector} have no label {}, so that new pods cannot be told from old ones; \
                 write a metric that is scraped from each pod",
                selector.labels().pod
            );
            found.problems.push(Problem::new(path, words));
        } else if is_total {
            let twice = copies::warnings(endpoint, selector, namespace, now).await?;
            found.warnings.extend(twice.into_iter().map(|words| Problem::new(&path, words)));
        }
        pods = of_pods.iter().map(|of| of.pod.clone()).filter(|pod| !pod.is_empty()).collect();
        matched.push(Matched { field, series: of_pods.iter().map(|of| of.series).sum(), pods: pods.len() });
    }
    found.selectors.push(matched);
    Ok(pods)
}

fn nothing_matches(selector: &Selector, namespace: &str, elsewhere: &[SeriesOfPod]) -> String {
    let named: Vec<&str> =
        elsewhere.iter().map(|of| of.namespace.as_str()).filter(|name| !name.is_empty()).take(5).collect();
    let hint = match (elsewhere.is_empty(), named.is_empty()) {
        (true, _) => "nor in any other: write the name of a metric that exists, and labels that it has".to_owned(),
        (false, true) => {
            let label = &selector.labels().namespace;
            format!("its series have no label {label}: they must get one when they are scraped")
        }
        (false, false) => format!("but in {}: is the policy's metadata.namespace the right one?", named.join(", ")),
    };
    format!("{selector} matches no series in namespace {namespace}, {hint}")
}

/// What is looked at of a Deployment.
struct Target {
    deployment: String,
    replica_set: String,
    pods: usize,
}

/// The Deployments that these pods tell of, with the ReplicaSet of each that has the most pods.
fn targets(found: &mut Services, pods: &BTreeSet<String>, only: &BTreeSet<String>) -> Vec<Target> {
    let mut deployments: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for pod in pods {
        match pods::owners(pod) {
            Some((deployment, replica_set)) => {
                *deployments.entry(deployment).or_default().entry(replica_set).or_default() += 1;
            }
            None => found.strays.push(pod.clone()),
        }
    }
    let largest = deployments.iter().filter_map(|(deployment, sets)| {
        let (replica_set, pods) = sets.iter().max_by_key(|(_, pods)| **pods)?;
        Some(Target { deployment: (*deployment).to_owned(), replica_set: (*replica_set).to_owned(), pods: *pods })
    });
    let (mut wanted, mut others): (Vec<_>, Vec<_>) =
        largest.partition(|target| only.is_empty() || only.contains(&target.deployment));
    for name in only.iter().filter(|name| !wanted.iter().any(|target| target.deployment == **name)) {
        let words =
            format!("no pod of a Deployment {name} has series; the Deployments that have are {}", names(&others));
        found.warnings.push(Problem::new("", words));
    }
    if !only.is_empty() {
        others.clear();
    }
    wanted.sort_by_key(|target| std::cmp::Reverse(target.pods));
    others.extend(wanted.split_off(wanted.len().min(MOST_DEPLOYMENTS)));
    found.others = others.into_iter().map(|target| target.deployment).collect();
    wanted
}

fn names(targets: &[Target]) -> String {
    let names: Vec<&str> = targets.iter().map(|target| target.deployment.as_str()).take(10).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What these Deployments served in the time before now, read as the operator reads it before a rollout.
async fn served(
    endpoint: &impl Queries,
    policy: &Policy,
    reads: &[Reads],
    targets: &[Target],
    now: Timestamp,
) -> Result<Vec<Service>, Failure> {
    let asked: Vec<usize> = (0..reads.len()).filter(|i| selectors(&reads[*i].indicator).is_some()).collect();
    let subjects: Vec<Arc<Subject>> = targets
        .iter()
        .map(|target| {
            let subject = Subject {
                key: DeploymentKey { namespace: policy.key.namespace.clone(), name: target.deployment.clone() },
                // Also for pods that are read themselves: what they keep no past of, Prometheus may.
                from: ReadFrom::Prometheus(policy.prometheus.clone()),
                look_interval: policy.detection.look_interval(),
                objectives: asked.iter().map(|i| reads[*i].indicator.clone()).collect(),
                // No release is under way.
                canary: PodGroup::Names(BTreeSet::new()),
                stable: Some(PodGroup::of_replica_set(&target.replica_set)),
                pods: u32::try_from(target.pods).unwrap_or(u32::MAX),
                asks_scraped: false,
                revisions: None,
                since: now,
            };
            Arc::new(subject)
        })
        .collect();
    let mut services = Vec::new();
    for (target, read) in targets.iter().zip(past::looks(endpoint, &subjects, now).await) {
        let scrapes = read?;
        let terms = Terms {
            since: now,
            window: policy.detection.window,
            look_interval: policy.detection.look_interval(),
            objectives: asked.iter().map(|i| Counting::of(&policy.objectives[*i])).collect(),
        };
        let mut ledger = Ledger::new(terms);
        for scrape in &scrapes {
            // Nothing comes back: all of it is before the release.
            let _ = ledger.enter(scrape, 0);
        }
        let objectives = (0..reads.len()).map(|i| counted(&ledger, &scrapes, asked.binary_search(&i).ok()?)).collect();
        let pods = u32::try_from(target.pods).unwrap_or(u32::MAX);
        services.push(Service { name: target.deployment.clone(), pods, objectives });
    }
    services.sort_by(|one, other| other.rate().total_cmp(&one.rate()));
    Ok(services)
}

/// What an objective counted; `None` when its counters did not move, or were there for one scrape only.
fn counted(ledger: &Ledger, scrapes: &[Scrape], objective: usize) -> Option<Served> {
    let taken = || {
        let samples = scrapes.iter().filter_map(|scrape| scrape.objectives.get(objective)?.as_ref().ok());
        samples.flat_map(|samples| &samples.stable).map(|sample| sample.taken)
    };
    let span = taken().max()?.duration_since(taken().min()?).as_secs_f64();
    let looks = ledger.baseline(objective);
    let total: Tally = looks.iter().copied().sum();
    let scrape_interval = ledger.scrape_interval(objective)?;
    (span > 0.0 && total.requests() > 0.0).then(|| Served {
        rate: total.requests() / span,
        scrape_interval,
        baseline: Baseline::of_looks(looks),
        budget: None,
    })
}

/// Asks what is left of the budgets of those with the most traffic.
async fn budgets(endpoint: &Arc<PrometheusClient>, policy: &Policy, reads: &[Reads], found: &mut Services) {
    let deployments: BTreeSet<String> =
        found.deployments.iter().take(MOST_BUDGETS).map(|service| service.name.clone()).collect();
    if deployments.is_empty() {
        return;
    }
    let objectives = policy.objectives.iter().zip(reads).enumerate();
    let objectives: Vec<_> = objectives.filter(|(_, (_, reads))| selectors(&reads.indicator).is_some()).collect();
    let ask = |(_, (objective, reads)): &(usize, (&Objective, &Reads))| Ask {
        endpoint: policy.prometheus.clone(),
        namespace: policy.key.namespace.clone(),
        window: objective.window,
        source: reads.budget.clone(),
        deployments: deployments.clone(),
    };
    let asks: Vec<Ask> = objectives.iter().map(ask).collect();
    let asked = BTreeMap::from([(policy.prometheus.clone(), Endpoint::new(Arc::clone(endpoint), 2))]);
    let answers = Budgets::new(asked, system_clock()).ask(&asks).await;
    for ((i, (objective, _)), answer) in objectives.into_iter().zip(answers) {
        match answer {
            Ok(spent) => {
                for service in &mut found.deployments {
                    if let (Some(spent), Some(Some(served))) = (spent.of(&service.name), service.objectives.get_mut(i))
                    {
                        served.budget = Some(reading(spent, objective));
                    }
                }
            }
            Err(failure) => found.failures.push(format!("objective {}: its budget: {failure}", objective.name)),
        }
    }
}

/// What may be wrong with detection on this Prometheus.
fn warn(policy: &Policy, found: &mut Services) {
    let all = found.deployments.iter().flat_map(|service| &service.objectives).flatten();
    let longest = all.clone().map(|served| served.scrape_interval).max();
    if let Some(longest) = longest
        && policy.detection.window < longest * 2
    {
        let words = format!(
            "it is {}, and Prometheus scrapes these pods every {}: a burn rate over less than two scrapes comes and goes; \
             write {} or more, or scrape more often",
            humane(policy.detection.window),
            humane(longest),
            humane(longest * 2),
        );
        found.warnings.push(Problem::new("spec.detection.window", words));
    }
    for (i, objective) in policy.objectives.iter().enumerate() {
        let is_counted = found.deployments.iter().any(|service| service.objectives.get(i).is_some_and(Option::is_some));
        let is_there = found.selectors.get(i).and_then(|all| all.last()).is_some_and(|total| total.pods > 0);
        if is_there && !is_counted {
            let words = format!(
                "no pod of a Deployment counted a request for objective {} in the last 10 minutes: releases could not be \
                 judged by it",
                objective.name
            );
            found.warnings.push(Problem::new(format!("spec.objectives[{i}].indicator"), words));
        }
    }
    for service in &found.deployments {
        for (i, served) in service.objectives.iter().enumerate() {
            if let Some(Some(Reading::Unknown(why))) = served.as_ref().map(|served| served.budget.as_ref()) {
                let words = format!("what is left of the budget of {} is unknown: {why}", service.name);
                found.warnings.push(Problem::new(format!("spec.objectives[{i}]"), words));
            }
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
