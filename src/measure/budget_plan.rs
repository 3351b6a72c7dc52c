//! What is to be asked about budgets, each thing once, and in which words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::budget::{Ask, Source, is_cut};
use super::expression::Expression;
use super::histogram::Histogram;
use super::pods;
use super::promql::{Recorded, Selector};
use super::query::Query;
use super::subject::Indicator;

/// How many Deployments one query asks for at most. Each has all the samples of a window that may be weeks long, so that these
/// queries are bounded by what they touch long before they are by their length.
const DEPLOYMENTS_A_QUERY: usize = 100;

/// The same of expressions, which are longer.
const EXPRESSIONS_A_QUERY: usize = 10;

/// Something that is asked once for all who ask it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Question {
    endpoint: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum What {
    /// How many a counter of pods counted in the window.
    Increase(Selector, Pods),
    /// When its oldest sample in the window was taken.
    Reach(Selector, Pods),
    /// How many requests a classic histogram counted above its threshold.
    Slow(Histogram, Pods),
    /// How many requests a native histogram counted.
    Observed(Selector, Pods),
    /// Which share of them is up to its threshold.
    Fast(Histogram, Pods),
    /// How many an expression counted in the window.
    Counted(Expressed),
    /// When the oldest sample of it in the window was taken.
    CountedSince(Expressed),
    /// A recorded series.
    Recorded(Recorded),
    /// The sum of recorded series.
    Sum(Recorded),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Pods {
    namespace: String,
    window: Duration,
    /// Of these Deployments together; `None`: of each Deployment by itself, whoever asks for it.
    together: Option<BTreeSet<String>>,
}

/// The same of an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Expressed {
    namespace: String,
    expression: Expression,
    window: Duration,
    together: Option<BTreeSet<String>>,
}

impl Question {
    /// What tells of bad requests of an ask's Deployments; see [`counted`].
    pub(super) fn errors(ask: &Ask, indicator: &Indicator) -> Self {
        let pods = Pods::of(ask);
        Self::of(
            ask,
            match indicator {
                Indicator::Ratio { errors, .. } => What::Increase(errors.clone(), pods),
                Indicator::Classic(histogram) => What::Slow(histogram.clone(), pods),
                Indicator::Native(histogram) => What::Fast(histogram.clone(), pods),
                Indicator::Query(query) => What::Counted(Expressed::of(ask, query.errors())),
            },
        )
    }

    /// What tells of all their requests; see [`counted`].
    pub(super) fn total(ask: &Ask, indicator: &Indicator) -> Self {
        let pods = Pods::of(ask);
        Self::of(
            ask,
            match indicator {
                Indicator::Ratio { total, .. } => What::Increase(total.clone(), pods),
                Indicator::Classic(histogram) => What::Increase(histogram.bucket(), pods),
                Indicator::Native(histogram) => What::Observed(histogram.selector().clone(), pods),
                Indicator::Query(query) => What::Counted(Expressed::of(ask, query.total())),
            },
        )
    }

    /// How far what counts them reaches back.
    pub(super) fn reach(ask: &Ask, indicator: &Indicator) -> Self {
        let counter = match indicator {
            Indicator::Ratio { total, .. } => total.clone(),
            Indicator::Classic(histogram) => histogram.bucket(),
            Indicator::Native(histogram) => histogram.selector().clone(),
            Indicator::Query(query) => {
                return Self::of(ask, What::CountedSince(Expressed::of(ask, query.total())));
            }
        };
        Self::of(ask, What::Reach(counter, Pods::of(ask)))
    }

    fn of(ask: &Ask, what: What) -> Self {
        Self { endpoint: ask.endpoint.clone(), what }
    }

    /// A recorded series, as it is.
    pub(super) fn recorded(ask: &Ask, selector: &Recorded) -> Self {
        Self::of(ask, What::Recorded(selector.clone()))
    }

    /// The sum of recorded series.
    pub(super) fn sum(ask: &Ask, selector: &Recorded) -> Self {
        Self::of(ask, What::Sum(selector.clone()))
    }

    /// Name of the endpoint to ask.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The queries that answer it for these Deployments: none when there is nothing to ask for.
    pub(super) fn queries(&self, deployments: &BTreeSet<String>) -> Vec<String> {
        match &self.what {
            What::Recorded(selector) => vec![selector.as_str().to_owned()],
            What::Sum(selector) => vec![format!("sum({})", selector.as_str())],
            What::Increase(selector, pods) => {
                pods.queries(deployments, "sum", selector, |narrow| pods.increase(&narrow(selector)))
            }
            What::Reach(selector, pods) => pods.queries(deployments, "min", selector, |narrow| {
                let (window, step) = (pods.window.as_secs(), step_of(pods.window).as_secs());
                format!("min_over_time(timestamp({})[{window}s:{step}s])", narrow(selector))
            }),
            What::Counted(asked) => asked
                .queries(deployments, |deployments| asked.expression.over(asked.window, &asked.namespace, deployments)),
            What::CountedSince(asked) => asked.queries(deployments, |deployments| {
                asked.expression.reach(asked.window, step_of(asked.window), &asked.namespace, deployments)
            }),
            // The sum takes two spellings of one bound, as an update of the exporter brings them, for one.
            What::Slow(histogram, pods) => pods.queries(deployments, "sum", histogram.selector(), |narrow| {
                let increase = |selector: &Selector| pods.increase(&narrow(selector));
                format!("{} - sum without (le) ({})", increase(&histogram.count()), increase(&histogram.bucket()))
            }),
            What::Observed(selector, pods) => {
                let increases = pods.queries(deployments, "sum", selector, |narrow| pods.increase(&narrow(selector)));
                increases.into_iter().map(|increase| format!("histogram_count({increase})")).collect()
            }
            What::Fast(histogram, pods) => {
                let selector = histogram.selector();
                let increases = pods.queries(deployments, "sum", selector, |narrow| pods.increase(&narrow(selector)));
                let share = |increase| format!("histogram_fraction(-Inf, {}, {increase})", histogram.threshold());
                increases.into_iter().map(share).collect()
            }
        }
    }
}

/// Errors and total, from the answers to both questions about them.
pub(super) fn counted(indicator: &Indicator, first: Option<f64>, second: Option<f64>) -> (Option<f64>, Option<f64>) {
    match indicator {
        Indicator::Ratio { .. } | Indicator::Query(_) => (first, second),
        // What is up to the threshold is the second; of what has no such bound nothing is known.
        Indicator::Classic(_) => {
            let slow = first.map(|slow| if slow < 0.0 { 0.0 } else { slow });
            (slow, second.map(|good| good + slow.unwrap_or(0.0)))
        }
        // Of no requests there is no share.
        Indicator::Native(_) => {
            let slow = second.map(|all| if all == 0.0 { 0.0 } else { all * (1.0 - first.unwrap_or(f64::NAN)) });
            (slow, second)
        }
    }
}

impl Pods {
    fn of(ask: &Ask) -> Self {
        Self {
            namespace: ask.namespace.clone(),
            window: ask.window,
            together: matches!(ask.source, Source::Together(_)).then(|| ask.deployments.clone()),
        }
    }

    /// Of all series, also where several jobs read one pod: a share is the same however often its requests are counted, and in
    /// weeks a job may take another's place, so that each counted a part.
    fn increase(&self, narrowed: &str) -> String {
        format!("increase({narrowed}[{}s])", self.window.as_secs())
    }

    /// `over` makes a query of one or more selectors with the labels of `of`, each narrowed by what it is given.
    fn queries(
        &self,
        deployments: &BTreeSet<String>,
        aggregation: &str,
        of: &Selector,
        over: impl Fn(&dyn Fn(&Selector) -> String) -> String,
    ) -> Vec<String> {
        let pod = &of.labels().pod;
        let deployments = self.together.as_ref().unwrap_or(deployments);
        let asked = deployments.iter().map(String::as_str);
        let asked: Vec<&str> = asked.filter(|name| self.together.is_some() || !is_cut(name)).collect();
        let query = |chunk: &[&str]| {
            // There is always one to ask for: a chunk is never empty.
            let narrow = |selector: &Selector| {
                selector.of_deployments(&self.namespace, chunk.iter().copied()).unwrap_or_default()
            };
            let over = over(&narrow);
            if self.together.is_some() {
                format!("{aggregation}({over})")
            } else {
                // The inner sum leaves the pod's name alone, of which the Deployment's is made: were other labels
                // there still, two pods could become the same series, which Prometheus refuses.
                format!(
                    "{aggregation} by (deployment) (label_replace({aggregation} by ({pod}) ({over}), \
                     \"deployment\", \"$1\", \"{pod}\", \"(.+){}\"))",
                    pods::after_deployment()
                )
            }
        };
        asked.chunks(DEPLOYMENTS_A_QUERY).map(query).collect()
    }
}

impl Expressed {
    fn of(ask: &Ask, expression: &Expression) -> Self {
        Self {
            namespace: ask.namespace.clone(),
            expression: expression.clone(),
            window: ask.window,
            together: matches!(ask.source, Source::Together(_)).then(|| ask.deployments.clone()),
        }
    }

    fn queries(&self, deployments: &BTreeSet<String>, of: impl Fn(&[&str]) -> String) -> Vec<String> {
        let names = self.together.as_ref().unwrap_or(deployments).iter().map(String::as_str).collect::<Vec<_>>();
        if names.is_empty() {
            return Vec::new();
        }
        if self.together.is_some() {
            return vec![of(&names)];
        }
        // Nothing says in which label a Deployment stands, so each is asked for by itself and named in the answer.
        let one = |name: &&str| format!("label_replace({}, \"deployment\", \"{name}\", \"\", \"\")", of(&[*name]));
        let chunks = names.chunks(EXPRESSIONS_A_QUERY);
        chunks.map(|chunk| chunk.iter().map(one).collect::<Vec<_>>().join(" or ")).collect()
    }
}

/// How exactly it is found out how far samples reach back: a window has 600 steps at most.
pub(super) fn step_of(window: Duration) -> Duration {
    Duration::from_secs((window.as_secs() / 600).max(30))
}

/// All questions, and the Deployments that each is asked for.
#[derive(Debug, Default)]
pub(super) struct Plan(BTreeMap<Question, BTreeSet<String>>);

impl Plan {
    pub(super) fn of(asks: &[Ask]) -> Self {
        let mut plan = Self::default();
        for ask in asks {
            match &ask.source {
                Source::Each(Indicator::Query(query)) | Source::Together(Indicator::Query(query))
                    if !is_countable(query, ask) => {}
                Source::Each(indicator) | Source::Together(indicator) => {
                    plan.add(ask, Question::errors(ask, indicator));
                    plan.add(ask, Question::total(ask, indicator));
                    plan.add(ask, Question::reach(ask, indicator));
                }
                Source::Remaining(selector) => plan.add(ask, Question::recorded(ask, selector)),
                Source::Increase { errors, total } => {
                    plan.add(ask, Question::sum(ask, errors));
                    plan.add(ask, Question::sum(ask, total));
                }
            }
        }
        plan
    }

    fn add(&mut self, ask: &Ask, question: Question) {
        self.0.entry(question).or_default().extend(ask.deployments.iter().cloned());
    }

    /// What is asked each time.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Question, &BTreeSet<String>)> {
        self.0.iter().filter(|(question, _)| !question.is_reach())
    }

    /// What is asked once an hour.
    pub(super) fn reaches(&self) -> impl Iterator<Item = (&Question, &BTreeSet<String>)> {
        self.0.iter().filter(|(question, _)| question.is_reach())
    }
}

impl Question {
    const fn is_reach(&self) -> bool {
        matches!(self.what, What::Reach(..) | What::CountedSince(_))
    }
}

/// Whether what a query counts in all revisions is what these Deployments served: it names them; or it counts the same for all
/// revisions anyway, and is asked for one Deployment or for all together.
pub(super) fn is_countable(query: &Query, ask: &Ask) -> bool {
    let as_a_whole = matches!(ask.source, Source::Together(_)) || ask.deployments.len() < 2;
    query.names_deployment() || (!query.tells_revisions_apart() && as_a_whole)
}

#[cfg(test)]
#[path = "budget_plan_tests.rs"]
mod tests;
