//! Expressions of a policy: raw PromQL with placeholders, for series that carry no pod's name.
//!
//! An expression is parsed, checked node by node against a short list of what is understood, and taken apart into text and
//! selectors. What is asked is put together from those again, so no text of a user reaches a query that was not understood,
//! and a placeholder only ever becomes the value of a label, escaped. Every selector is bound to the policy's namespace.

mod reader;
mod series;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use promql_parser::parser::value::ValueType;

use self::reader::Reader;
use self::series::Series;
use super::placeholder::{self, Marked, Placeholder};
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
        let reader = Reader { marked: &marked, namespace, namespace_label, counts, look, pieces: Vec::new() };
        let pieces = reader.pieces_of(&tree).map_err(refuse)?;
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

/// The placeholders that tell revisions apart, for messages.
#[must_use]
pub fn of_revisions() -> &'static str {
    placeholder::OF_REVISIONS
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
