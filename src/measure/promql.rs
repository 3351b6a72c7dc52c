//! Selectors of a policy, as text in and text out. Parsed, narrowed to the policy's own pods, and printed again: no text of
//! a user ever reaches a query unparsed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, VectorSelector};
use promql_parser::util::escape_string;

use super::histogram::BOUND;
use super::pods::{self, PodGroup, SUFFIX_ALPHABET, SUFFIX_LENGTH};
use super::syntax;
use crate::config::PodLabels;

/// What the names of a classic histogram's series end in.
const HISTOGRAM_SERIES: [&str; 3] = ["_bucket", "_count", "_sum"];
/// The labels that Prometheus gives to all series of a target.
const OF_TARGETS: [&str; 2] = ["job", "instance"];
/// The label that holds a metric's own name.
const NAME: &str = "__name__";

/// Selectors longer than this are refused: nobody writes one, and a parser need not be tried with it.
const MAX_LENGTH: usize = 4096;

/// Why a selector of a policy cannot be used. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// Not PromQL.
    #[error("{message}{} {given:?}; write a selector like http_requests_total{{code=~\"5..\"}}", at(*column))]
    Syntax {
        /// What is wrong, in the parser's words, and where those say nothing, what was expected there.
        message: String,
        /// Where, counted in characters from 1; `None` when it is what a string says, and not where it stands.
        column: Option<usize>,
        /// What was written.
        given: String,
    },
    /// PromQL, but more or other than a selector.
    #[error(
        "{given:?} has {found}; write a bare selector over a counter like http_requests_total{{code=~\"5..\"}}: rates and \
         sums over pods are added by the operator"
    )]
    NotBare {
        /// What it has that a bare selector has not.
        found: &'static str,
        /// What was written.
        given: String,
    },
    /// No metric name before the braces.
    #[error("{given:?} has no metric name before the braces; write one like http_requests_total{{code=~\"5..\"}}")]
    NoMetricName {
        /// What was written.
        given: String,
    },
    /// A matcher on the namespace, in the label that the endpoint has for it, that is not the policy's own.
    #[error(
        "{given:?} selects namespaces by {matcher}; a policy reads its own namespace only: leave the matcher out, or write \
         {label}={own:?}"
    )]
    Namespace {
        /// The matcher, as understood.
        matcher: String,
        /// The label for the namespace.
        label: Arc<str>,
        /// The policy's namespace.
        own: String,
        /// What was written.
        given: String,
    },
    /// The name of one of a histogram's series in place of its own.
    #[error("{given:?} names the series {suffix} of a histogram; write the histogram's own name, {base}")]
    Suffix {
        /// What it ends in.
        suffix: &'static str,
        /// What is before that.
        base: String,
        /// What was written.
        given: String,
    },
    /// A matcher on the bounds of a histogram.
    #[error("{given:?} has a matcher for le, which threshold stands for; leave it out")]
    Bound {
        /// What was written.
        given: String,
    },
    /// It selects by a label that only Prometheus gives to series, where pods are read themselves.
    #[error(
        "{given:?} needs the label {label}, which Prometheus adds and pods do not expose; with evidence: Pods leave its \
         matcher out"
    )]
    NotExposed {
        /// The label.
        label: String,
        /// What was written.
        given: String,
    },
    /// Too long to be meant.
    #[error("the selector has {length} characters; write one of at most 4096")]
    TooLong {
        /// How long it is, in bytes.
        length: usize,
    },
}

fn at(column: Option<usize>) -> String {
    column.map_or_else(|| " in".to_owned(), |column| format!(", at column {column} of"))
}

/// A metric and matchers on its labels, without any on the namespace: what rollouts of several policies may share.
///
/// Two selectors that mean the same matchers in another order or with other quotes are equal.
#[derive(Debug, Clone)]
pub struct Selector {
    metric: Arc<str>,
    /// Each as the parser printed it; sorted and without repetition.
    matchers: Arc<[String]>,
    /// Those that were written, to be tried on series; what stands for a histogram's bounds is not among them.
    tests: Arc<[Matcher]>,
    /// By which the endpoint tells pods.
    labels: PodLabels,
    /// The canonical text, which is also what makes two selectors equal.
    text: Arc<str>,
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// Reads the selector of a policy in `namespace`, for an endpoint with these labels.
    ///
    /// # Errors
    /// When it is not PromQL, not a bare vector selector (no function, range, `offset`, `@`, operator or aggregation), has no
    /// metric name, or has a matcher on the label of the namespace other than equality with the policy's own.
    pub fn parse(text: &str, namespace: &str, labels: &PodLabels) -> Result<Self, InvalidSelector> {
        let (metric, tests, _) = parts(text, namespace, labels)?;
        let matchers = tests.iter().map(ToString::to_string).collect();
        Ok(Self::new(&metric, matchers, tests.into(), labels))
    }

    /// Reads the selector of a histogram: its own name, and no matcher for the bounds of its buckets.
    ///
    /// # Errors
    /// As of [`Selector::parse`], and where it names one of the histogram's series or bounds.
    pub fn parse_histogram(text: &str, namespace: &str, labels: &PodLabels) -> Result<Self, InvalidSelector> {
        let given = || text.to_owned();
        let selector = Self::parse(text, namespace, labels)?;
        if let Some((suffix, base)) =
            HISTOGRAM_SERIES.into_iter().find_map(|suffix| Some((suffix, selector.metric.strip_suffix(suffix)?)))
        {
            return Err(InvalidSelector::Suffix { suffix, base: base.to_owned(), given: given() });
        }
        if selector.tests.iter().any(|test| test.name == BOUND) {
            return Err(InvalidSelector::Bound { given: given() });
        }
        Ok(selector)
    }

    fn new(metric: &str, mut matchers: Vec<String>, tests: Arc<[Matcher]>, labels: &PodLabels) -> Self {
        matchers.sort_unstable();
        matchers.dedup();
        let text = print(metric, matchers.iter().map(String::as_str));
        Self { metric: metric.into(), matchers: matchers.into(), tests, labels: labels.clone(), text: text.into() }
    }

    /// The series that say of each target whether it could be scraped.
    #[must_use]
    pub fn of_targets(labels: &PodLabels) -> Self {
        Self::new("up", Vec::new(), Arc::new([]), labels)
    }

    /// One kind of a classic histogram's series, with a regular expression for the bounds.
    #[must_use]
    pub fn histogram_series(&self, suffix: &str, bounds: Option<&str>) -> Self {
        let bounds = bounds.map(|bounds| pattern(BOUND, bounds));
        let matchers = self.matchers.iter().cloned().chain(bounds).collect();
        Self::new(&format!("{}{suffix}", self.metric), matchers, Arc::clone(&self.tests), &self.labels)
    }

    /// The labels by which its endpoint tells pods.
    #[must_use]
    pub fn labels(&self) -> &PodLabels {
        &self.labels
    }

    /// The name of the metric.
    #[must_use]
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Whether a series of the metric is selected, by the values of its labels; empty for one that it does not have.
    pub fn selects<'a>(&self, label: impl Fn(&str) -> &'a str) -> bool {
        self.tests.iter().all(|test| test.is_match(label(&test.name)))
    }

    /// The same, if pods can expose such series: those that it selects need no label that Prometheus adds to every target.
    ///
    /// # Errors
    /// When they need one.
    pub fn exposed(self) -> Result<Self, InvalidSelector> {
        let needed = self.tests.iter().find(|test| OF_TARGETS.contains(&test.name.as_str()) && !test.is_match(""));
        match needed.map(|test| test.name.clone()) {
            Some(label) => Err(InvalidSelector::NotExposed { label, given: self.text.to_string() }),
            None => Ok(self),
        }
    }

    /// This selector narrowed to the pods of `targets`: (namespace, pods) pairs. What comes back may hold a pod of one of
    /// these namespaces that was meant in another one, so answers are still told apart by their own labels. `None` when
    /// there is no pod to ask for.
    #[must_use]
    pub fn narrowed<'a>(&self, targets: impl IntoIterator<Item = (&'a str, &'a PodGroup)>) -> Option<String> {
        let (mut namespaces, mut prefixes, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (namespace, group) in targets {
            namespaces.insert(namespace);
            match group {
                PodGroup::Prefix(prefix) => _ = prefixes.insert(prefix.as_str()),
                PodGroup::Names(list) => names.extend(list.iter().map(String::as_str)),
            }
        }
        let mut pods = names.into_iter().map(literal).collect::<Vec<_>>();
        if !prefixes.is_empty() {
            let any_prefix = prefixes.into_iter().map(literal).collect::<Vec<_>>().join("|");
            pods.push(format!("({any_prefix})[{SUFFIX_ALPHABET}]{{{SUFFIX_LENGTH}}}"));
        }
        if pods.is_empty() {
            return None;
        }
        let mut namespaces = namespaces.into_iter();
        let namespace = match (namespaces.next(), namespaces.next()) {
            (Some(only), None) => equality(&self.labels.namespace, only),
            (first, second) => {
                let all = first.into_iter().chain(second).chain(namespaces).map(literal).collect::<Vec<_>>();
                pattern(&self.labels.namespace, &all.join("|"))
            }
        };
        let pods = pattern(&self.labels.pod, &pods.join("|"));
        let own = self.matchers.iter().map(String::as_str);
        Some(print(&self.metric, own.chain([namespace.as_str(), pods.as_str()])))
    }

    /// This selector narrowed to a namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> String {
        let namespace = equality(&self.labels.namespace, namespace);
        print(&self.metric, self.matchers.iter().map(String::as_str).chain([namespace.as_str()]))
    }

    /// This selector narrowed to the pods that these Deployments of the namespace have or had, of all revisions. Where a
    /// Deployment's name is so long that the names of its pods are cut, those of another one may be among them whose name
    /// begins with the same 58 characters. `None` when there is no Deployment.
    #[must_use]
    pub fn of_deployments<'a>(
        &self,
        namespace: &str,
        deployments: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        let (cut, whole): (Vec<_>, Vec<_>) =
            deployments.into_iter().partition(|name| name.chars().count() > pods::LONGEST_UNCUT);
        let mut alternatives = Vec::new();
        if !whole.is_empty() {
            let any = whole.into_iter().map(literal).collect::<Vec<_>>().join("|");
            alternatives.push(format!("({any}){}", pods::after_deployment()));
        }
        for name in cut {
            let (base, rest) = pods::cut(name);
            alternatives.push(literal(&base) + &rest);
        }
        if alternatives.is_empty() {
            return None;
        }
        let namespace = equality(&self.labels.namespace, namespace);
        let pods = pattern(&self.labels.pod, &alternatives.join("|"));
        let own = self.matchers.iter().map(String::as_str);
        Some(print(&self.metric, own.chain([namespace.as_str(), pods.as_str()])))
    }

    /// The canonical text, without any matcher on the namespace.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A selector of series that Prometheus records about a budget, as it is to be asked. They often have no label for the
/// namespace, so none is added; one that is written must be the policy's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Recorded(Arc<str>);

impl Recorded {
    /// Reads the selector of a policy in `namespace`, for an endpoint with these labels.
    ///
    /// # Errors
    /// As of [`Selector::parse`].
    pub fn parse(text: &str, namespace: &str, labels: &PodLabels) -> Result<Self, InvalidSelector> {
        let (metric, matchers, within) = parts(text, namespace, labels)?;
        let mut matchers = matchers.iter().map(ToString::to_string).collect::<Vec<_>>();
        matchers.extend(within.then(|| equality(&labels.namespace, namespace)));
        matchers.sort_unstable();
        matchers.dedup();
        Ok(Self(print(&metric, matchers.iter().map(String::as_str)).into()))
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The metric, the matchers that are not on the namespace, and whether there was one on the namespace.
fn parts(text: &str, own: &str, labels: &PodLabels) -> Result<(String, Vec<Matcher>, bool), InvalidSelector> {
    if text.len() > MAX_LENGTH {
        return Err(InvalidSelector::TooLong { length: text.len() });
    }
    let tree = promql_parser::parser::parse(text).map_err(|parser| {
        let (message, column) = match syntax::first_error(text) {
            Some(place) => (format!("{parser}: expected {}", place.expected), Some(place.column)),
            None => (parser, None),
        };
        InvalidSelector::Syntax { message, column, given: text.to_owned() }
    })?;
    let tree = bare(tree).map_err(|found| InvalidSelector::NotBare { found, given: text.to_owned() })?;
    let Some(metric) = tree.name.filter(|name| !name.is_empty()) else {
        return Err(InvalidSelector::NoMetricName { given: text.to_owned() });
    };
    let (mut matchers, mut within) = (Vec::new(), false);
    for matcher in tree.matchers.matchers {
        match matcher.name.as_str() {
            name if name == &*labels.namespace => {
                if matcher.op == MatchOp::Equal && matcher.value == own {
                    within = true;
                    continue;
                }
                let label = Arc::clone(&labels.namespace);
                let (matcher, own, given) = (matcher.to_string(), own.to_owned(), text.to_owned());
                return Err(InvalidSelector::Namespace { matcher, label, own, given });
            }
            NAME => {
                let found = "a second name of the metric in the braces";
                return Err(InvalidSelector::NotBare { found, given: text.to_owned() });
            }
            _ => matchers.push(matcher),
        }
    }
    Ok((metric, matchers, within))
}

/// `name="value"`.
fn equality(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", escape_string(value))
}

/// `name=~"regex"`. Prometheus anchors it at both ends.
fn pattern(name: &str, regex: &str) -> String {
    format!("{name}=~\"{}\"", escape_string(regex))
}

/// A regular expression that matches just this text.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c != '-' && c != '_' && c.is_ascii() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// How much of a query one alternative of a regular expression takes that matches just this text.
pub(super) fn alternative_bytes(text: &str) -> usize {
    escape_string(&literal(text)).len() + '|'.len_utf8()
}

fn print<'a>(metric: &str, matchers: impl Iterator<Item = &'a str>) -> String {
    let mut text = metric.to_owned();
    for (i, matcher) in matchers.enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{matcher}", if i == 0 { "{" } else { "," });
    }
    if text.len() > metric.len() {
        text.push('}');
    }
    text
}

/// The vector selector that a tree is, if it is nothing more; otherwise what it has more.
fn bare(tree: Expr) -> Result<VectorSelector, &'static str> {
    match tree {
        Expr::VectorSelector(selector) => {
            if selector.offset.is_some() {
                Err("an offset")
            } else if selector.at.is_some() {
                Err("an @ modifier")
            } else if !selector.matchers.or_matchers.is_empty() {
                Err("an \"or\" between its matchers")
            } else {
                Ok(selector)
            }
        }
        Expr::MatrixSelector(_) => Err("a range in brackets"),
        Expr::Subquery(_) => Err("a subquery"),
        Expr::Call(_) => Err("a function"),
        Expr::Aggregate(_) => Err("an aggregation"),
        Expr::Binary(_) => Err("an operator between two expressions"),
        Expr::Unary(_) => Err("a sign"),
        Expr::Paren(_) => Err("parentheses"),
        Expr::NumberLiteral(_) => Err("a number only"),
        Expr::StringLiteral(_) => Err("a string only"),
        Expr::Extension(_) => Err("an extension of the language"),
    }
}

#[cfg(test)]
#[path = "promql_tests.rs"]
mod tests;
