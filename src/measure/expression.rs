//! Expressions of a policy: raw PromQL with placeholders, for series that carry no pod's name.
//!
//! An expression is parsed, checked node by node against a short list of what is understood, and taken apart into text and
//! selectors. What is asked is put together from those again, so no text of a user reaches a query that was not understood,
//! and a placeholder only ever becomes the value of a label, escaped. Every selector is bound to the policy's namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{BinaryExpr, Expr, LabelModifier, VectorSelector};
use promql_parser::util::escape_string;

use super::placeholder::{self, Marked, Placeholder};
use super::pods::HASH_ALPHABET;
use super::promql::literal;
use crate::policy::Counts;

/// Labels in which a namespace stands in the metrics of exporters, meshes and ingress controllers. A selector has to have one
/// of them, or the endpoint's own, equal to the policy's namespace.
pub const NAMESPACE_LABELS: [&str; 7] = [
    "namespace",
    "exported_namespace",
    "kubernetes_namespace",
    "k8s_namespace_name",
    "destination_workload_namespace",
    "destination_service_namespace",
    "dst_namespace",
];

/// Expressions longer than this are refused.
const MAX_LENGTH: usize = 4096;

/// Selectors that one expression may have: each is one more thing that Prometheus has to read at every look.
const MAX_SELECTORS: usize = 8;

/// Functions of plain values that are understood.
const OF_VALUES: [&str; 5] = ["label_replace", "label_join", "clamp_min", "histogram_count", "vector"];

/// Functions of ranges that count what was served in them.
const OF_RANGES: [&str; 3] = ["increase", "sum_over_time", "count_over_time"];

/// Aggregations that leave counters what they are.
const AGGREGATIONS: [&str; 3] = ["sum", "max", "min"];

/// Operators that do.
const OPERATORS: [&str; 6] = ["+", "-", "*", "/", "or", "unless"];

/// Why an expression of a policy cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; in {given:?}")]
pub struct InvalidExpression {
    /// What is wrong and what to write.
    problem: String,
    /// What was written.
    given: String,
}

/// What placeholders stand for: one revision of one Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The Deployment's namespace.
    pub namespace: String,
    /// The Deployment.
    pub deployment: String,
    /// The ReplicaSet.
    pub replica_set: String,
    /// `deployment.kubernetes.io/revision`; 0 when it has none yet.
    pub revision: u64,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
}

/// An expression, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Expression {
    /// Pieces in the order of the text.
    pieces: Arc<[Piece]>,
    counts: Counts,
    /// As it was written, for messages.
    given: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Piece {
    Text(String),
    Series(Series),
}

/// A vector selector, bound to the policy's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Series {
    metric: String,
    matchers: Vec<Match>,
}

/// A matcher: its label as it is printed, its operator, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Match {
    label: String,
    op: &'static str,
    value: Vec<Part>,
}

/// A part of a matcher's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Text(String),
    Stands(Placeholder),
}

impl Expression {
    /// Reads the expression of a policy in `namespace`. `look` is how long a look is, and `namespace_label` the label in which
    /// the endpoint has the namespace.
    ///
    /// # Errors
    /// When it is not PromQL, has something that is not on the short list of what is understood, or a selector that is not
    /// bound to the namespace.
    pub fn parse(
        text: &str,
        namespace: &str,
        namespace_label: &str,
        counts: Counts,
        look: Duration,
    ) -> Result<Self, InvalidExpression> {
        let refuse = |problem: String| InvalidExpression { problem, given: text.to_owned() };
        if text.len() > MAX_LENGTH {
            let problem = format!("it has {} characters; write at most {MAX_LENGTH}", text.len());
            return Err(InvalidExpression { problem, given: text.chars().take(40).collect() });
        }
        let marked = Marked::of(text, counts, look).map_err(refuse)?;
        let tree = promql_parser::parser::parse(&marked.text)
            .map_err(|error| refuse(format!("it is not PromQL: {}", marked.unmarked(&error))))?;
        if tree.value_type() != ValueType::Vector {
            return Err(refuse("it has no series; write an expression over counters".to_owned()));
        }
        let mut reader = Reader { marked: &marked, namespace, namespace_label, counts, look, pieces: Vec::new() };
        reader.read(&tree).map_err(refuse)?;
        let pieces = reader.pieces;
        let series = pieces.iter().filter(|piece| matches!(piece, Piece::Series(_))).count();
        if series == 0 || series > MAX_SELECTORS {
            return Err(refuse(format!("it has {series} selectors; write 1 to {MAX_SELECTORS}")));
        }
        let read = Self { pieces: pieces.into(), counts, given: text.into() };
        // What is printed must be what was read, whatever the parser makes of unusual names and strings.
        let again = read.print(|series| Ok::<_, ()>(series.print(&marked.range(), |p| marked.mark(p))));
        if again.ok().and_then(|again| promql_parser::parser::parse(&again).ok()) != Some(tree) {
            return Err(refuse(
                "it has names or strings that cannot be printed again as they are; write simpler ones".into(),
            ));
        }
        Ok(read)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// Whether every selector names the revision, by a placeholder that differs from one to the next: `Some(true)` when all
    /// do, `Some(false)` when none does, `None` when only some do.
    #[must_use]
    pub fn tells_revisions_apart(&self) -> Option<bool> {
        let names = |series: &Series| series.placeholders().any(Placeholder::is_of_a_revision);
        let mut all = self.series().map(names);
        let first = all.next()?;
        all.all(|names| names == first).then_some(first)
    }

    /// Whether every selector names the Deployment.
    #[must_use]
    pub fn names_deployment(&self) -> bool {
        let names = |p: &Placeholder| matches!(p, Placeholder::Deployment | Placeholder::ReplicaSet);
        self.series().all(|series| series.placeholders().any(names))
    }

    /// The expression for one revision.
    ///
    /// # Errors
    /// When the revision has no value for a placeholder, in words.
    pub fn of(&self, names: &Names, look: Duration) -> Result<String, String> {
        self.print(|series| series.of(names, &self.range(look)))
    }

    /// For each selector, an expression for when the newest sample of one revision's series was taken.
    ///
    /// # Errors
    /// As of [`of`](Self::of).
    pub fn taken(&self, names: &Names) -> Result<Vec<String>, String> {
        self.series().map(|series| Ok(format!("max(timestamp({}))", series.of(names, "")?))).collect()
    }

    /// How much these Deployments, all revisions of them together, counted in `window`.
    #[must_use]
    pub fn over(&self, window: Duration, namespace: &str, deployments: &[&str]) -> String {
        let range = format!("[{}s]", window.as_secs());
        let counted = self.print(|series| {
            let all = series.of_all(namespace, deployments, &range);
            Ok::<_, std::convert::Infallible>(match self.counts {
                Counts::Cumulative => format!("increase({all})"),
                Counts::PerWindow => all,
            })
        });
        let Ok(counted) = counted;
        format!("sum({counted})")
    }

    /// When the oldest sample in `window` of what the first selector selects was taken, looked for in steps.
    #[must_use]
    pub fn reach(&self, window: Duration, step: Duration, namespace: &str, deployments: &[&str]) -> String {
        let first = self.series().next().map(|series| series.of_all(namespace, deployments, "")).unwrap_or_default();
        format!("min(min_over_time(timestamp({first})[{}s:{}s]))", window.as_secs(), step.as_secs())
    }

    fn range(&self, look: Duration) -> String {
        match self.counts {
            Counts::Cumulative => String::new(),
            Counts::PerWindow => format!("[{}s]", look.as_secs()),
        }
    }

    fn series(&self) -> impl Iterator<Item = &Series> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Series(series) => Some(series),
            Piece::Text(_) => None,
        })
    }

    fn print<E>(&self, of: impl Fn(&Series) -> Result<String, E>) -> Result<String, E> {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Series(series) => of(series),
        });
        pieces.collect()
    }
}

impl Series {
    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.matchers.iter().flat_map(|matcher| &matcher.value).filter_map(|part| match part {
            Part::Stands(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    /// Of one revision.
    fn of(&self, names: &Names, range: &str) -> Result<String, String> {
        for placeholder in self.placeholders() {
            placeholder.value(names)?;
        }
        Ok(self.print(range, |placeholder| placeholder.value(names).unwrap_or_default()))
    }

    /// With another text for each placeholder, which is escaped where it stands in a regular expression.
    fn print(&self, range: &str, value: impl Fn(&Placeholder) -> String) -> String {
        let matchers = self.matchers.iter().map(|matcher| {
            let parts = matcher.value.iter().map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Stands(placeholder) if matcher.is_regex() => literal(&value(placeholder)),
                Part::Stands(placeholder) => value(placeholder),
            });
            matcher.print(matcher.op, &parts.collect::<String>())
        });
        self.printed(matchers, range)
    }

    /// Of all revisions of these Deployments. What is not the same in all becomes a regular expression.
    fn of_all(&self, namespace: &str, deployments: &[&str], range: &str) -> String {
        let any = match deployments {
            [one] => literal(one),
            several => format!("({})", several.iter().map(|name| literal(name)).collect::<Vec<_>>().join("|")),
        };
        let hash = format!("[{HASH_ALPHABET}]{{1,10}}");
        let pattern = |placeholder: &Placeholder| match placeholder {
            Placeholder::Namespace => literal(namespace),
            Placeholder::Deployment => any.clone(),
            Placeholder::ReplicaSet => format!("{any}-{hash}"),
            Placeholder::PodTemplateHash => hash.clone(),
            Placeholder::Revision => "[0-9]+".to_owned(),
            Placeholder::PodLabel(_) => ".*".to_owned(),
        };
        let matchers = self.matchers.iter().map(|matcher| {
            let is_fixed = |part: &Part| match part {
                Part::Text(_) | Part::Stands(Placeholder::Namespace) => true,
                Part::Stands(Placeholder::Deployment) => deployments.len() == 1,
                Part::Stands(_) => false,
            };
            if matcher.value.iter().all(is_fixed) && !matcher.is_regex() {
                let parts = matcher.value.iter().map(|part| match part {
                    Part::Text(text) => text.as_str(),
                    Part::Stands(Placeholder::Namespace) => namespace,
                    Part::Stands(_) => deployments.first().copied().unwrap_or_default(),
                });
                return matcher.print(matcher.op, &parts.collect::<String>());
            }
            let parts = matcher.value.iter().map(|part| match part {
                Part::Text(text) if matcher.is_regex() => text.clone(),
                Part::Text(text) => literal(text),
                Part::Stands(placeholder) => pattern(placeholder),
            });
            let op = if matcher.is_regex() { matcher.op } else { "=~" };
            matcher.print(op, &parts.collect::<String>())
        });
        self.printed(matchers, range)
    }

    fn printed(&self, matchers: impl Iterator<Item = String>, range: &str) -> String {
        format!("{}{{{}}}{range}", self.metric, matchers.collect::<Vec<_>>().join(","))
    }
}

impl Match {
    fn is_regex(&self) -> bool {
        matches!(self.op, "=~" | "!~")
    }

    fn print(&self, op: &str, value: &str) -> String {
        format!("{}{op}\"{}\"", self.label, escape_string(value))
    }
}

/// Takes a tree apart, and refuses what is not understood.
struct Reader<'a> {
    marked: &'a Marked,
    namespace: &'a str,
    namespace_label: &'a str,
    counts: Counts,
    look: Duration,
    pieces: Vec<Piece>,
}

impl Reader<'_> {
    fn text(&mut self, text: impl Into<String>) {
        let text = text.into();
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => self.pieces.push(Piece::Text(text)),
        }
    }

    fn read(&mut self, tree: &Expr) -> Result<(), String> {
        match tree {
            Expr::VectorSelector(selector) if self.counts == Counts::Cumulative => self.series(selector),
            Expr::VectorSelector(selector) => Err(format!(
                "with counts: PerWindow the selector {} needs the range of a look; write increase({}[{{{{look}}}}])",
                self.shown(selector),
                self.shown(selector)
            )),
            Expr::MatrixSelector(matrix) if self.counts == Counts::PerWindow && matrix.range == self.look => {
                self.series(&matrix.vs)
            }
            Expr::MatrixSelector(_) if self.counts == Counts::PerWindow => {
                Err("it has a range that is not that of a look; write [{{look}}]".to_owned())
            }
            Expr::MatrixSelector(_) => {
                Err("it has a range, and counts: Cumulative takes counters as they are; leave rates and \
                                            ranges out, or write counts: PerWindow and [{{look}}]"
                    .to_owned())
            }
            Expr::Aggregate(aggregate) => {
                let op = aggregate.op.to_string();
                one_of(&AGGREGATIONS, &op, "the aggregation")?;
                self.text(op);
                match &aggregate.modifier {
                    Some(LabelModifier::Include(labels)) => self.text(format!(" by ({labels}) ")),
                    Some(LabelModifier::Exclude(labels)) => self.text(format!(" without ({labels}) ")),
                    None => {}
                }
                self.inner("(", &aggregate.expr, ")")
            }
            Expr::Call(call) => {
                let understood = match self.counts {
                    Counts::Cumulative => OF_VALUES.to_vec(),
                    Counts::PerWindow => [&OF_VALUES[..], &OF_RANGES].concat(),
                };
                one_of(&understood, call.func.name, "the function")?;
                self.text(format!("{}(", call.func.name));
                for (index, argument) in call.args.args.iter().enumerate() {
                    self.inner(if index == 0 { "" } else { ", " }, argument, "")?;
                }
                self.text(")");
                Ok(())
            }
            Expr::Binary(BinaryExpr { op, lhs, rhs, modifier }) => {
                one_of(&OPERATORS, &op.to_string(), "the operator")?;
                self.read(lhs)?;
                let modifier = modifier.as_ref().map(ToString::to_string).unwrap_or_default();
                self.text(format!(" {op}{modifier} "));
                self.read(rhs)
            }
            Expr::Paren(paren) => self.inner("(", &paren.expr, ")"),
            Expr::NumberLiteral(number) => {
                self.text(number.to_string());
                Ok(())
            }
            Expr::StringLiteral(string) => {
                if self.marked.parts(&string.val).any(|part| part.is_err()) {
                    return Err(
                        "a placeholder stands in a string; it can only be the value of a label in braces".to_owned()
                    );
                }
                self.text(string.to_string());
                Ok(())
            }
            Expr::Unary(_) => Err("it has a sign; leave it out".to_owned()),
            Expr::Subquery(_) => Err("it has a subquery; leave it out, or record it as a series".to_owned()),
            Expr::Extension(_) => Err("it has an extension of the language; leave it out".to_owned()),
        }
    }

    fn inner(&mut self, before: &str, tree: &Expr, after: &str) -> Result<(), String> {
        self.text(before);
        self.read(tree)?;
        self.text(after);
        Ok(())
    }

    fn series(&mut self, selector: &VectorSelector) -> Result<(), String> {
        let shown = self.shown(selector);
        if selector.offset.is_some() || selector.at.is_some() {
            return Err(format!("{shown} is moved in time; leave offset and @ out"));
        }
        if !selector.matchers.or_matchers.is_empty() {
            return Err(format!("{shown} has an \"or\" between its matchers; write two selectors"));
        }
        let Some(metric) = selector.name.clone().filter(|name| !name.is_empty()) else {
            return Err(format!("{shown} has no metric name before the braces; write one"));
        };
        let matchers =
            selector.matchers.matchers.iter().map(|matcher| self.matcher(matcher)).collect::<Result<Vec<_>, _>>()?;
        let is_bound = |matcher: &Match| {
            let own = match matcher.value.as_slice() {
                [Part::Stands(Placeholder::Namespace)] => true,
                [Part::Text(text)] => text == self.namespace,
                _ => false,
            };
            own && matcher.op == "="
                && (NAMESPACE_LABELS.contains(&matcher.label.as_str()) || matcher.label == self.namespace_label)
        };
        if !matchers.iter().any(is_bound) {
            return Err(format!(
                "{shown} is not bound to the policy's namespace; write namespace=\"{{{{namespace}}}}\" in its braces, or \
                 another of the labels {}",
                NAMESPACE_LABELS[1..].join(", ")
            ));
        }
        self.pieces.push(Piece::Series(Series { metric, matchers }));
        Ok(())
    }

    fn matcher(&self, matcher: &Matcher) -> Result<Match, String> {
        if matcher.name == "__name__" {
            return Err("a metric is named by __name__; write its name before the braces".to_owned());
        }
        let op = match &matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        let part = |part: Result<&str, Placeholder>| part.map_or_else(Part::Stands, |text| Part::Text(text.to_owned()));
        let value = self.marked.parts(&matcher.value).map(part).collect::<Vec<_>>();
        if op.starts_with('!') && value.iter().any(|part| matches!(part, Part::Stands(_))) {
            return Err(format!("the label {} has a placeholder after {op}; write = or =~", matcher.name));
        }
        // The label as the parser prints it, which quotes unusual names.
        let printed = Matcher::new(MatchOp::Equal, &matcher.name, "").to_string();
        let label = printed.strip_suffix("=\"\"").unwrap_or(&matcher.name).to_owned();
        Ok(Match { label, op, value })
    }

    fn shown(&self, selector: &VectorSelector) -> String {
        self.marked.unmarked(&selector.to_string())
    }
}

fn one_of(understood: &[&str], found: &str, kind: &str) -> Result<(), String> {
    if understood.contains(&found) {
        return Ok(());
    }
    let hint = match found {
        "rate" | "irate" => "; it is a count that is needed, not a rate",
        _ => "",
    };
    Err(format!("it has {kind} {found}{hint}; write one of {}", understood.join(", ")))
}

/// The placeholders that tell revisions apart, for messages.
#[must_use]
pub fn of_revisions() -> &'static str {
    placeholder::OF_REVISIONS
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
