//! One query for many rollouts, and its answer back to each of them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{Point, Series, milliseconds};
use super::client::Limits;
use super::histogram::Histogram;
use super::pods::{PodGroup, PodPrefix};
use super::promql::{Selector, alternative_bytes};
use super::query::{Answer, Query};
use super::scrape::{Failure, Origin, PodSample, Samples, Scrape, Side};
use super::subject::{Indicator, Subject};
use crate::config::PodLabels;

/// What a selector has in a query beside its own text and the names it is narrowed to, at most: labels, operators, the
/// characters that end a pod's name, and its share of the functions around it.
const SYNTAX_BYTES: usize = 768;

/// What is the same for all rollouts that one query can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Question {
    /// The value of a counter.
    Count(Selector),
    /// When its newest sample was taken.
    Taken(Selector),
    /// How many requests a classic histogram has above its threshold.
    Slow(Histogram),
    /// How many requests a native histogram has.
    Observed(Selector),
    /// Which share of them is up to its threshold.
    Fast(Histogram),
    /// Whether the pods are scraped.
    Scraped(Selector),
}

impl Question {
    /// All that is asked for an indicator.
    fn of(indicator: &Indicator) -> Vec<Self> {
        match indicator {
            Indicator::Ratio { errors, total } => {
                vec![Self::Count(errors.clone()), Self::Count(total.clone()), Self::Taken(total.clone())]
            }
            // What is up to the threshold stands for the total, so that whatever has no such bound is not counted at all.
            Indicator::Classic(histogram) => {
                let good = histogram.bucket();
                vec![Self::Slow(histogram.clone()), Self::Count(good.clone()), Self::Taken(good)]
            }
            Indicator::Native(histogram) => {
                let all = histogram.selector();
                vec![Self::Fast(histogram.clone()), Self::Observed(all.clone()), Self::Taken(all.clone())]
            }
            Indicator::Query(_) => Vec::new(),
        }
    }

    /// Which pods are scraped, where an indicator is of pods that are.
    fn scraped(subject: &Subject) -> Option<Self> {
        let labels = subject.objectives.iter().find_map(|indicator| match indicator {
            Indicator::Ratio { total, .. } => Some(total.labels()),
            Indicator::Classic(histogram) | Indicator::Native(histogram) => Some(histogram.selector().labels()),
            Indicator::Query(_) => None,
        });
        labels.map(|labels| Self::Scraped(Selector::of_targets(labels)))
    }

    /// How long its query is at most before any pod is named, and how often each name stands in it.
    fn size(&self) -> (usize, usize) {
        let (selector, times) = match self {
            Self::Count(selector) | Self::Taken(selector) | Self::Observed(selector) | Self::Scraped(selector) => {
                (selector, 1)
            }
            Self::Slow(histogram) => (histogram.selector(), 4),
            Self::Fast(histogram) => (histogram.selector(), 1),
        };
        (times * (selector.as_str().len() + SYNTAX_BYTES), times)
    }

    /// The query that answers it for these targets; `None` when there is no pod to ask for.
    fn query(&self, targets: &[(&str, &PodGroup)]) -> Option<String> {
        let narrowed = |selector: &Selector| selector.narrowed(targets.iter().copied());
        Some(match self {
            Self::Count(selector) => {
                let series = narrowed(selector)?;
                once(selector.labels(), |copy| format!("sum by ({copy}) ({series})"))
            }
            Self::Taken(selector) => {
                format!("max by ({}) (timestamp({}))", selector.labels().both(), narrowed(selector)?)
            }
            // Of several targets of a pod one is enough: which of them has the counters is not known.
            Self::Scraped(selector) => format!("max by ({}) ({})", selector.labels().both(), narrowed(selector)?),
            Self::Slow(histogram) => {
                let labels = histogram.selector().labels();
                let by = labels.both();
                let (count, bucket) = (narrowed(&histogram.count())?, narrowed(&histogram.bucket())?);
                // Servers that are written to remotely may have the one series' sample and not yet the other's, and the
                // difference would be of two moments: such a pod is left out until they agree. The maximum takes two
                // spellings of one bound, as an update of the exporter brings them, for one.
                let slow = |copy: &str| format!("sum by ({copy}) ({count} - max without (le) ({bucket}))");
                format!(
                    "{} unless on ({by}) (timestamp({count}) != max without (le) (timestamp({bucket})))",
                    once(labels, slow)
                )
            }
            Self::Observed(selector) => {
                let series = narrowed(selector)?;
                // The maximum leaves histograms alone, so it is taken of their counts.
                once(selector.labels(), |copy| format!("histogram_count(sum by ({copy}) ({series}))"))
            }
            // A share is the same however often its requests are counted.
            Self::Fast(histogram) => format!(
                "histogram_fraction(-Inf, {}, sum by ({}) ({}))",
                histogram.threshold(),
                histogram.selector().labels().both(),
                narrowed(histogram.selector())?
            ),
        })
    }
}

/// What pods count, each request once although several jobs, or several copies of a Prometheus, read the same pod. Of one
/// address the highest count is taken, which is that of the last scrape; those of several addresses are several containers',
/// and added up. `of_copy` counts by the labels that it is given.
fn once(labels: &PodLabels, of_copy: impl FnOnce(&str) -> String) -> String {
    let (pod, address, copy) = (labels.both(), labels.address(), labels.copy());
    format!("sum by ({pod}) (max by ({address}) ({}))", of_copy(&copy))
}

/// One query.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) question: Question,
    /// Whose, as indices of the subjects it was planned for.
    pub(super) subjects: Vec<usize>,
    /// The text; `None` when none of them has a pod to ask for.
    pub(super) query: Option<String>,
}

/// The queries that answer all questions of these rollouts: one for each question, however many rollouts ask it, or several
/// where one would go beyond the limits.
pub(super) fn plan(subjects: &[Arc<Subject>], limits: Limits) -> Vec<Batch> {
    let mut asked_by = BTreeMap::<Question, Vec<usize>>::new();
    for (i, subject) in subjects.iter().enumerate() {
        let scraped = subject.asks_scraped.then(|| Question::scraped(subject)).flatten();
        for question in subject.objectives.iter().flat_map(Question::of).chain(scraped) {
            let askers = asked_by.entry(question).or_default();
            if askers.last() != Some(&i) {
                askers.push(i);
            }
        }
    }
    let batches = asked_by.into_iter().flat_map(|(question, askers)| {
        let parts = within(limits, &question, &askers, subjects);
        parts.into_iter().map(move |askers| (question.clone(), askers))
    });
    let batches = batches.map(|(question, askers)| {
        let targets = askers
            .iter()
            .filter_map(|i| subjects.get(*i))
            .flat_map(|subject| subject.groups().map(|group| (subject.key.namespace.as_str(), group)));
        let query = question.query(&targets.collect::<Vec<_>>());
        Batch { question, subjects: askers, query }
    });
    batches.collect()
}

/// Cuts the list of those who ask a question, so that neither its query nor the answer goes beyond the limits. Whoever is
/// beyond them alone is asked for alone.
fn within(limits: Limits, question: &Question, askers: &[usize], subjects: &[Arc<Subject>]) -> Vec<Vec<usize>> {
    let (empty, times) = question.size();
    let mut parts = Vec::new();
    let (mut part, mut namespaces, mut names, mut series) = (Vec::new(), HashSet::new(), 0, 0);
    for i in askers {
        let Some(subject) = subjects.get(*i) else { continue };
        let namespace = subject.key.namespace.as_str();
        let (pods, own_series) = (subject.groups().map(names_bytes).sum::<usize>(), subject.pods as usize);
        let own_names = |namespaces: &HashSet<&str>| match namespaces.contains(namespace) {
            true => pods,
            false => pods + alternative_bytes(namespace),
        };
        let bytes = empty + times * (names + own_names(&namespaces));
        if !part.is_empty() && (bytes > limits.query_bytes || series + own_series > limits.series) {
            parts.push(std::mem::take(&mut part));
            (namespaces, names, series) = (HashSet::new(), 0, 0);
        }
        names += own_names(&namespaces);
        series += own_series;
        namespaces.insert(namespace);
        part.push(*i);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// How much of a query it takes to name these pods.
fn names_bytes(group: &PodGroup) -> usize {
    match group {
        PodGroup::Prefix(prefix) => alternative_bytes(prefix.as_str()),
        PodGroup::Names(names) => names.iter().map(|name| alternative_bytes(name)).sum(),
    }
}

/// The points of one rollout's pods, by pod.
pub(super) type Pods = HashMap<Arc<str>, Vec<Point>>;

/// All that was answered to one rollout.
#[derive(Default, Clone)]
pub(super) struct Answers {
    pods: HashMap<Question, Result<Pods, Failure>>,
    queries: HashMap<Arc<Query>, Result<Answer, Failure>>,
}

impl Answers {
    pub(super) fn failed(&mut self, question: &Question, failure: Failure) {
        self.pods.insert(question.clone(), Err(failure));
    }

    pub(super) fn answered(&mut self, question: &Question, pods: Pods) {
        self.pods.insert(question.clone(), Ok(pods));
    }

    pub(super) fn query_answered(&mut self, query: &Arc<Query>, answer: Result<Answer, Failure>) {
        self.queries.insert(Arc::clone(query), answer);
    }

    /// True when not one objective can be read from it.
    pub(super) fn all_failed(&self, subject: &Subject) -> bool {
        subject.objectives.iter().all(|indicator| self.failure(indicator).is_some())
    }

    /// The first failure of any objective.
    pub(super) fn any_failure(&self, subject: &Subject) -> Option<&Failure> {
        subject.objectives.iter().find_map(|indicator| self.failure(indicator))
    }

    fn failure(&self, indicator: &Indicator) -> Option<&Failure> {
        if let Indicator::Query(query) = indicator {
            return self.queries.get(query)?.as_ref().err();
        }
        Question::of(indicator).iter().find_map(|question| self.pods.get(question)?.as_ref().err())
    }

    /// The scrapes at these times (milliseconds since the epoch, and how each came about).
    pub(super) fn scrapes(&self, subject: &Subject, times: &[(i64, Origin)]) -> Vec<Scrape> {
        let mut objectives = subject.objectives.iter().map(|i| self.samples(subject, i)).collect::<Vec<_>>();
        let scrapes = times.iter().filter_map(|(at, origin)| {
            let objectives = objectives.iter_mut().map(|samples| match samples {
                Ok(by_time) => Ok(by_time.remove(at).unwrap_or_default()),
                Err(failure) => Err(failure.clone()),
            });
            Some(Scrape {
                at: Timestamp::from_millisecond(*at).ok()?,
                origin: *origin,
                objectives: objectives.collect(),
                silent: Vec::new(),
                scraped: self.scraped(subject, *at),
            })
        });
        scrapes.collect()
    }

    /// The canary pods that are scraped.
    fn scraped(&self, subject: &Subject, at: i64) -> Option<BTreeSet<Arc<str>>> {
        let pods = self.pods.get(&Question::scraped(subject)?)?.as_ref().ok()?;
        let said = |points: &[Point]| points.iter().find(|point| point.at == at).map(|point| point.value);
        let said = pods.iter().filter_map(|(pod, points)| Some((pod, said(points)?))).collect::<Vec<_>>();
        let is_up = |(pod, value): &&(&Arc<str>, f64)| *value == 1.0 && subject.canary.contains(pod);
        (!said.is_empty()).then(|| said.iter().filter(is_up).map(|(pod, _)| Arc::clone(pod)).collect())
    }

    /// The samples of an objective by time.
    fn samples(&self, subject: &Subject, indicator: &Indicator) -> Result<HashMap<i64, Samples>, Failure> {
        if let Some(failure) = self.failure(indicator) {
            return Err(failure.clone());
        }
        if let Indicator::Query(query) = indicator {
            let answer = self.queries.get(query).and_then(|answer| answer.as_ref().ok());
            return answer.map_or_else(|| Ok(HashMap::new()), |answer| query.samples(answer));
        }
        let answer = |question: &Question| self.pods.get(question)?.as_ref().ok();
        let [errors, total, taken] = match Question::of(indicator).as_slice() {
            [errors, total, taken] => [answer(errors), answer(total), answer(taken)],
            _ => [None; 3],
        };
        let mut by_time = HashMap::<i64, Samples>::new();
        for (pod, points) in total.into_iter().flatten() {
            let Some(side) = subject.side(pod) else { continue };
            let at = |pods: Option<&Pods>, time: i64| {
                let points = pods?.get(pod)?;
                let found = points.binary_search_by_key(&time, |point| point.at).ok()?;
                points.get(found).map(|point| point.value)
            };
            for point in points {
                // A total without a time cannot be told from the one before it.
                let Some(taken) = at(taken, point.at) else { continue };
                let Ok(taken) = Timestamp::from_millisecond(milliseconds(taken)) else { continue };
                let Some((errors, total)) = counted(indicator, at(errors, point.at), point.value) else { continue };
                let sample = PodSample { pod: Arc::clone(pod), errors, total, taken, from_zero: true };
                let samples = by_time.entry(point.at).or_default();
                match side {
                    Side::Canary => samples.canary.push(sample),
                    Side::Stable => samples.stable.push(sample),
                }
            }
        }
        Ok(by_time)
    }
}

/// Errors and total of a pod, from the values of the first two questions about it; `None` when they do not make a sample.
fn counted(indicator: &Indicator, first: Option<f64>, second: f64) -> Option<(Option<f64>, f64)> {
    match indicator {
        Indicator::Ratio { .. } | Indicator::Query(_) => Some((first, second)),
        // Requests of a client that counts in two steps may be in the bucket before they are in the count.
        Indicator::Classic(_) => {
            let slow = first.map(|slow| if slow < 0.0 { 0.0 } else { slow })?;
            Some((Some(slow), slow + second))
        }
        // Of no requests there is no share.
        Indicator::Native(_) if second == 0.0 => Some((Some(0.0), 0.0)),
        Indicator::Native(_) => first.map(|fast| (Some(second * (1.0 - fast)), second)),
    }
}

/// Gives each series of an answer to the rollouts it belongs to, by its own namespace and pod: the query asked for all
/// namespaces and all prefixes at once, so that a pod of one namespace may be named as another one's. What belongs to none is
/// dropped.
pub(super) fn distribute(series: Vec<Series>, subjects: &[Arc<Subject>], askers: &[usize]) -> HashMap<usize, Pods> {
    let mut prefixes = HashMap::<(&str, &str), Vec<usize>>::new();
    let mut names = HashMap::<(&str, &str), Vec<usize>>::new();
    for i in askers {
        let Some(subject) = subjects.get(*i) else { continue };
        let namespace = subject.key.namespace.as_str();
        for group in subject.groups() {
            match group {
                PodGroup::Prefix(prefix) => prefixes.entry((namespace, prefix.as_str())).or_default().push(*i),
                PodGroup::Names(list) => {
                    list.iter().for_each(|name| names.entry((namespace, name.as_str())).or_default().push(*i));
                }
            }
        }
    }
    let mut given = HashMap::<usize, Pods>::new();
    for Series { namespace, pod, points, .. } in series {
        let by_prefix = PodPrefix::in_pod_name(&pod).and_then(|prefix| prefixes.get(&(namespace.as_str(), prefix)));
        let by_name = names.get(&(namespace.as_str(), pod.as_str()));
        let mut owners = by_prefix.into_iter().chain(by_name).flatten().copied().collect::<Vec<_>>();
        owners.sort_unstable();
        owners.dedup();
        let pod = Arc::<str>::from(pod);
        for owner in owners {
            // A pod comes again in the answer for a later time.
            given.entry(owner).or_default().entry(Arc::clone(&pod)).or_default().extend_from_slice(&points);
        }
    }
    given
}

#[cfg(test)]
#[path = "grouping_tests.rs"]
mod tests;
