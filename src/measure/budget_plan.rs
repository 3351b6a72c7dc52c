//! What is to be asked about budgets, each thing once, and in which words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::budget::{Ask, Source, is_cut};
use super::expression::Expression;
use super::pods;
use super::promql::{Recorded, Selector};
use super::query::Query;
use super::subject::Indicator;

/// How many Deployments one query asks for at most, as for looks.
const DEPLOYMENTS_A_QUERY: usize = super::grouping::ROLLOUTS_A_QUERY;

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
    Increase(Pods),
    /// When its oldest sample in the window was taken.
    Reach(Pods),
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
    selector: Selector,
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
    /// Bad requests of an ask's Deployments.
    pub(super) fn errors(ask: &Ask, indicator: &Indicator) -> Self {
        match indicator {
            Indicator::Ratio { errors, .. } => Self::increase(ask, errors),
            Indicator::Query(query) => Self::of(ask, What::Counted(Expressed::of(ask, query.errors()))),
        }
    }

    /// All their requests.
    pub(super) fn total(ask: &Ask, indicator: &Indicator) -> Self {
        match indicator {
            Indicator::Ratio { total, .. } => Self::increase(ask, total),
            Indicator::Query(query) => Self::of(ask, What::Counted(Expressed::of(ask, query.total()))),
        }
    }

    /// How far what counts them reaches back.
    pub(super) fn reach(ask: &Ask, indicator: &Indicator) -> Self {
        match indicator {
            Indicator::Ratio { total, .. } => Self::of(ask, What::Reach(Pods::of(ask, total))),
            Indicator::Query(query) => Self::of(ask, What::CountedSince(Expressed::of(ask, query.total()))),
        }
    }

    fn increase(ask: &Ask, selector: &Selector) -> Self {
        Self::of(ask, What::Increase(Pods::of(ask, selector)))
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
            What::Increase(pods) => {
                pods.queries(deployments, "sum", |narrowed, window| format!("increase({narrowed}[{window}s])"))
            }
            What::Reach(pods) => pods.queries(deployments, "min", |narrowed, window| {
                let step = step_of(pods.window).as_secs();
                format!("min_over_time(timestamp({narrowed})[{window}s:{step}s])")
            }),
            What::Counted(asked) => asked
                .queries(deployments, |deployments| asked.expression.over(asked.window, &asked.namespace, deployments)),
            What::CountedSince(asked) => asked.queries(deployments, |deployments| {
                asked.expression.reach(asked.window, step_of(asked.window), &asked.namespace, deployments)
            }),
        }
    }
}

impl Pods {
    fn of(ask: &Ask, selector: &Selector) -> Self {
        Self {
            namespace: ask.namespace.clone(),
            selector: selector.clone(),
            window: ask.window,
            together: matches!(ask.source, Source::Together(_)).then(|| ask.deployments.clone()),
        }
    }

    fn queries(
        &self,
        deployments: &BTreeSet<String>,
        aggregation: &str,
        over: impl Fn(&str, u64) -> String,
    ) -> Vec<String> {
        let deployments = self.together.as_ref().unwrap_or(deployments);
        let asked = deployments.iter().map(String::as_str);
        let asked: Vec<&str> = asked.filter(|name| self.together.is_some() || !is_cut(name)).collect();
        let query = |chunk: &[&str]| {
            let narrowed = self.selector.of_deployments(&self.namespace, chunk.iter().copied())?;
            let over = over(&narrowed, self.window.as_secs());
            Some(if self.together.is_some() {
                format!("{aggregation}({over})")
            } else {
                // The inner sum leaves the pod's name alone, of which the Deployment's is made: were other labels
                // there still, two pods could become the same series, which Prometheus refuses.
                format!(
                    "{aggregation} by (deployment) (label_replace({aggregation} by (pod) ({over}), \
                     \"deployment\", \"$1\", \"pod\", \"(.+){}\"))",
                    pods::after_deployment()
                )
            })
        };
        asked.chunks(DEPLOYMENTS_A_QUERY).filter_map(query).collect()
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
        matches!(self.what, What::Reach(_) | What::CountedSince(_))
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
