//! Asks what is left of error budgets: for all policies of a namespace together, each thing once.
//!
//! What a policy's own counters say over weeks is the dearest thing the operator asks Prometheus for. So Deployments are
//! told apart by Prometheus, which answers with one number for each and not with every pod of a month, and how far
//! its samples reach back is asked once an hour only. Queries about budgets never take all the turns that an endpoint
//! gives: looks must not wait for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::Series;
use super::bounds;
use super::budget_plan::{Plan, Question, counted, is_countable, step_of};
use super::client::{PrometheusClient, Queries};
use super::look::Missing;
use super::pods;
use super::promql::Recorded;
use super::sampler::Clock;
use super::scrape::Failure;
use super::subject::Indicator;
use crate::policy::humane;

/// How long it is known how far back samples reach.
const REACH_KNOWN: Duration = Duration::from_secs(3600);

/// After a failure to find that out, when it is tried again.
const REACH_RETRY: Duration = Duration::from_secs(600);

/// What is to be asked for one objective of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Name of the Prometheus endpoint.
    pub endpoint: String,
    /// The policy's namespace.
    pub namespace: String,
    /// The objective's window.
    pub window: Duration,
    /// Where the budget is found.
    pub source: Source,
    /// The Deployments that the policy governs.
    pub deployments: BTreeSet<String>,
}

/// Where the budget is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// In the counters of each Deployment's pods.
    Each(Indicator),
    /// In the counters of all Deployments' pods together.
    Together(Indicator),
    /// In one series that is recorded.
    Remaining(Recorded),
    /// In recorded increases.
    Increase {
        /// Of bad requests.
        errors: Recorded,
        /// Of all requests.
        total: Recorded,
    },
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// For each Deployment something of its own.
    Each(BTreeMap<String, Spent>),
    /// The same for all.
    All(Spent),
}

impl Found {
    /// What was found for this Deployment; `None` when it was not asked for.
    #[must_use]
    pub fn of(&self, deployment: &str) -> Option<&Spent> {
        match self {
            Self::Each(found) => found.get(deployment),
            Self::All(spent) => Some(spent),
        }
    }
}

/// What was spent of a budget, or is left of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Spent {
    /// Requests over the window. Finite, 0 or more; of all requests more than 0.
    Counts {
        /// Bad ones.
        errors: f64,
        /// All.
        total: f64,
        /// What they were counted over, where that is less than the window.
        span: Option<Duration>,
    },
    /// What is left, as a ratio. Finite.
    Left(f64),
    /// Prometheus answered, and nothing can be made of it: why, and what to do.
    Nothing(String),
}

/// Whether a threshold is the bound of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// It is, or there need not be such a bucket.
    Fit,
    /// There are no buckets at all yet.
    Unknown,
    /// It is not: which bounds there are.
    Missing(String),
}

/// A server that is asked, and how many queries about budgets it gets at once.
pub struct Endpoint<Q = PrometheusClient> {
    client: Arc<Q>,
    turns: Semaphore,
}

impl<Q> Endpoint<Q> {
    /// `concurrency` is how many queries the endpoint takes at once in all: budgets get half of them.
    #[must_use]
    pub fn new(client: Arc<Q>, concurrency: usize) -> Self {
        Self { client, turns: Semaphore::new((concurrency / 2).max(1)) }
    }
}

/// Asks for budgets.
pub struct Budgets<Q = PrometheusClient> {
    endpoints: BTreeMap<String, Endpoint<Q>>,
    clock: Clock,
    reaches: Mutex<HashMap<Question, Reach>>,
}

/// How far back the samples of each Deployment (or, under an empty name, of all of them) reach.
#[derive(Debug, Clone)]
struct Reach {
    deployments: BTreeSet<String>,
    /// Seconds since the epoch; `None` when it could not be asked.
    oldest: Option<BTreeMap<String, f64>>,
    until: Instant,
}

impl<Q: Queries> Budgets<Q> {
    /// Asks these endpoints.
    #[must_use]
    pub fn new(endpoints: BTreeMap<String, Endpoint<Q>>, clock: Clock) -> Self {
        Self { endpoints, clock, reaches: Mutex::default() }
    }

    /// Asks for all of these, each thing once, and answers them in their order.
    pub async fn ask(&self, asks: &[Ask]) -> Vec<Result<Found, Failure>> {
        if self.endpoints.is_empty() {
            let why = "no Prometheus is configured that could tell what is left of the budget";
            return asks.iter().map(|_| Ok(Found::All(Spent::Nothing(why.to_owned())))).collect();
        }
        let now = (self.clock)();
        let plan = Plan::of(asks);
        let reaches = async { futures::join!(self.find_reaches(&plan, now), self.answers(plan.counts(), now)) };
        let (reaches, answers) = reaches.await;
        asks.iter().map(|ask| found(ask, &answers, &reaches, now)).collect()
    }

    async fn answers<'a>(
        &self,
        questions: impl Iterator<Item = (&'a Question, &'a BTreeSet<String>)>,
        at: Timestamp,
    ) -> HashMap<Question, Result<Vec<Series>, Failure>> {
        let asked = questions.map(|(question, deployments)| async move {
            (question.clone(), self.answer(question, deployments, at).await)
        });
        asked.collect::<FuturesUnordered<_>>().collect().await
    }

    /// The answer to one question, in as many queries as it takes, one after another.
    async fn answer(
        &self,
        question: &Question,
        deployments: &BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Vec<Series>, Failure> {
        let mut all = Vec::new();
        for query in question.queries(deployments) {
            all.extend(self.instant(question.endpoint(), &query, at).await?);
        }
        Ok(all)
    }

    async fn instant(&self, endpoint: &str, query: &str, at: Timestamp) -> Result<Vec<Series>, Failure> {
        let Some(endpoint) = self.endpoints.get(endpoint) else {
            let message = format!("there is no Prometheus endpoint named {endpoint:?}");
            return Err(Failure::new(Missing::QueryFailed, message));
        };
        let Ok(_turn) = endpoint.turns.acquire().await else {
            // The semaphore lives as long as the endpoint and is never closed.
            return Err(Failure::new(Missing::QueryFailed, "the endpoint is closed"));
        };
        endpoint.client.instant(query, at).await
    }

    /// Whether the threshold of a classic histogram is the bound of one of its buckets.
    ///
    /// # Errors
    /// When the whole of the answer cannot be had.
    pub async fn bounds(&self, ask: &Ask, indicator: &Indicator) -> Result<Bounds, Failure> {
        let Indicator::Classic(histogram) = indicator else { return Ok(Bounds::Fit) };
        let Some(query) = bounds::query(histogram, &ask.namespace, &ask.deployments) else {
            return Ok(Bounds::Unknown);
        };
        let buckets = self.instant(&ask.endpoint, &query, (self.clock)()).await?;
        Ok(match bounds::problem(histogram, bounds::listed(&buckets)) {
            Some(problem) => Bounds::Missing(problem),
            None if buckets.is_empty() => Bounds::Unknown,
            None => Bounds::Fit,
        })
    }

    /// How far back the counters reach: what is known, and what has to be asked.
    async fn find_reaches(&self, plan: &Plan, at: Timestamp) -> HashMap<Question, Reach> {
        let due = {
            let now = Instant::now();
            let mut known = self.reaches.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, reach| reach.until + REACH_KNOWN > now);
            let is_due = |(question, deployments): &(&Question, &BTreeSet<String>)| {
                known.get(question).is_none_or(|reach| reach.until <= now || !deployments.is_subset(&reach.deployments))
            };
            plan.reaches().filter(is_due).collect::<Vec<_>>()
        };
        let answers = self.answers(due.iter().copied(), at).await;
        let mut known = self.reaches.lock().unwrap_or_else(PoisonError::into_inner);
        for (question, deployments) in due {
            let (oldest, known_for) = match answers.get(question) {
                Some(Ok(series)) => (Some(oldest(series)), REACH_KNOWN),
                _ => (known.remove(question).and_then(|reach| reach.oldest), REACH_RETRY),
            };
            let reach = Reach { deployments: deployments.clone(), oldest, until: Instant::now() + known_for };
            known.insert(question.clone(), reach);
        }
        known.clone()
    }
}

/// The oldest sample by Deployment.
fn oldest(series: &[Series]) -> BTreeMap<String, f64> {
    let mut oldest = BTreeMap::new();
    for series in series {
        if let Some(at) = value(series).filter(|at| at.is_finite()) {
            let known = oldest.entry(series.deployment.clone()).or_insert(at);
            *known = known.min(at);
        }
    }
    oldest
}

fn value(series: &Series) -> Option<f64> {
    series.points.first().map(|point| point.value)
}

type Answers = HashMap<Question, Result<Vec<Series>, Failure>>;

/// The series that answer a question.
fn series<'a>(answers: &'a Answers, question: &Question) -> Result<&'a [Series], Failure> {
    match answers.get(question) {
        Some(answer) => answer.as_deref().map_err(Clone::clone),
        None => Ok(&[]),
    }
}

fn found(ask: &Ask, answers: &Answers, reaches: &HashMap<Question, Reach>, now: Timestamp) -> Result<Found, Failure> {
    match &ask.source {
        Source::Remaining(selector) => {
            Ok(Found::All(left(selector, series(answers, &Question::recorded(ask, selector))?)))
        }
        Source::Increase { errors, total } => {
            let of = |selector| series(answers, &Question::sum(ask, selector)).map(sum);
            Ok(Found::All(counts(of(errors)?, of(total)?, total.as_str(), ask.window, None)))
        }
        Source::Each(Indicator::Query(query)) | Source::Together(Indicator::Query(query))
            if !is_countable(query, ask) =>
        {
            let why = "the query does not say which Deployment its series are of; write {{deployment}} or {{replicaSet}} in \
                       each of its selectors, or objectives[].budgetFrom";
            Ok(Found::All(Spent::Nothing(why.to_owned())))
        }
        Source::Together(indicator) => {
            let of = |question| series(answers, &question).map(sum);
            let (errors, total) = (of(Question::errors(ask, indicator))?, of(Question::total(ask, indicator))?);
            let (errors, total) = counted(indicator, errors, total);
            let span = span(ask, indicator, reaches, "", now);
            Ok(Found::All(counts(errors, total, &indicator.total(), ask.window, span)))
        }
        Source::Each(indicator) => {
            let by_deployment = |question| {
                let series = series(answers, &question)?;
                Ok::<_, Failure>(series.iter().filter_map(|one| Some((one.deployment.as_str(), value(one)?))).collect())
            };
            let errors: HashMap<&str, f64> = by_deployment(Question::errors(ask, indicator))?;
            let total: HashMap<&str, f64> = by_deployment(Question::total(ask, indicator))?;
            let one = |name: &String| {
                let is_by_pods = !matches!(indicator, Indicator::Query(_));
                let spent = if is_by_pods && is_cut(name) {
                    Spent::Nothing(format!(
                        "the name {name} is longer than {} characters, so that Kubernetes cuts the names of its pods and \
                         they do not tell whose they are; write objectives[].budgetFrom, or budget.scope: Shared",
                        pods::LONGEST_UNCUT
                    ))
                } else {
                    let of = |counted: &HashMap<&str, f64>| counted.get(name.as_str()).copied();
                    let span = span(ask, indicator, reaches, name, now);
                    let (errors, total) = counted(indicator, of(&errors), of(&total));
                    counts(errors, total, &indicator.total(), ask.window, span)
                };
                (name.clone(), spent)
            };
            Ok(Found::Each(ask.deployments.iter().map(one).collect()))
        }
    }
}

/// Whether names of the Deployment's pods may be cut.
pub(super) fn is_cut(deployment: &str) -> bool {
    deployment.chars().count() > pods::LONGEST_UNCUT
}

/// All series together; `None` without any.
fn sum(series: &[Series]) -> Option<f64> {
    series.iter().filter_map(value).reduce(|a, b| a + b)
}

/// One number that is recorded.
fn left(selector: &Recorded, series: &[Series]) -> Spent {
    let selector = selector.as_str();
    match series {
        [] => Spent::Nothing(format!("{selector} gives no number; is the rule that records it loaded?")),
        [one] => match value(one).filter(|left| left.is_finite()) {
            Some(left) => Spent::Left(left),
            None => Spent::Nothing(format!("{selector} gives no number but NaN or infinity")),
        },
        several => {
            Spent::Nothing(format!("{selector} gives {} numbers; write a selector that gives one", several.len()))
        }
    }
}

/// What was counted. Errors without a series are none: a counter often begins with the first of them.
fn counts(errors: Option<f64>, total: Option<f64>, counter: &str, window: Duration, span: Option<Duration>) -> Spent {
    let errors = errors.unwrap_or(0.0);
    match total {
        None => Spent::Nothing(format!("{counter} has no sample in {}", humane(window))),
        Some(total) if !errors.is_finite() || !total.is_finite() => {
            Spent::Nothing(format!("{counter} gives no number but NaN or infinity"))
        }
        Some(total) if total > 0.0 => Spent::Counts { errors: errors.max(0.0), total, span },
        Some(_) => Spent::Nothing(format!("{counter} counted no request in {}", humane(window))),
    }
}

/// How much less than the window the counters reach back, if it is less by more than is worth a word.
fn span(
    ask: &Ask,
    indicator: &Indicator,
    reaches: &HashMap<Question, Reach>,
    deployment: &str,
    now: Timestamp,
) -> Option<Duration> {
    let oldest = reaches.get(&Question::reach(ask, indicator))?.oldest.as_ref()?;
    let step = step_of(ask.window);
    let reach = match oldest.get(deployment) {
        Some(oldest) => {
            let now = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).ok()?;
            now.saturating_sub(Duration::try_from_secs_f64(*oldest).ok()?)
        }
        // It is younger than the first step.
        None => step,
    };
    let enough = ask.window.saturating_sub((step * 2).max(ask.window / 50));
    (reach < enough).then(|| rounded(reach))
}

/// Whole minutes, and whole hours from two hours on: what is told of it should not change with each answer.
fn rounded(span: Duration) -> Duration {
    let unit = if span < Duration::from_secs(7200) { 60 } else { 3600 };
    Duration::from_secs((span.as_secs() / unit * unit).max(60))
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
