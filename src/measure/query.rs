//! What a policy's two expressions say of canary and stable pods: how they are asked, and what the answer holds. Pure.
//!
//! One query a look asks everything of an objective: errors, total and the times of the samples, of both revisions. Each
//! series of the answer carries in one label which of these it is; by its other labels errors and totals are put together,
//! and each is a counter of its own. So a process that ends or starts anew is not taken for traffic.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::answer::{Point, Series, milliseconds};
use super::expression::{Expression, InvalidExpression, Names, of_revisions};
use super::look::Missing;
use super::scrape::{Failure, PodSample, Samples, Side, Source};
use crate::policy::{Counts, Detection, Rule};

/// The label that says what a series of the answer is.
const PART: &str = "errorbudget_part";

/// Why two expressions cannot be used. The field is the path below the objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// One of them is wrong.
    #[error("{why}")]
    Expression {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: InvalidExpression,
    },
    /// They do not fit together.
    #[error(
        "some selectors tell revisions apart by {} and others do not; write such a placeholder in all of them, or in none",
        of_revisions()
    )]
    Mixed {
        /// One of them, or both.
        field: &'static str,
    },
    /// The rule would blame the new pods for what is not known to be theirs.
    #[error(
        "it does not tell the new pods from the old ones, and detection.rule: Threshold would roll back whatever is wrong; \
         write rule: Sequential, which then halts, or one of {} in each selector",
        of_revisions()
    )]
    Threshold,
}

impl InvalidQuery {
    /// Where it is wrong: the path below the objective.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Expression { field, .. } | Self::Mixed { field } => field,
            Self::Threshold => BOTH,
        }
    }
}

const ERRORS: &str = "indicator.query.errors";
const TOTAL: &str = "indicator.query.total";
const BOTH: &str = "indicator.query";

/// The two expressions of an objective.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    errors: Expression,
    total: Expression,
    counts: Counts,
    is_apart: bool,
}

/// What placeholders stand for in one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revisions {
    /// The new ReplicaSet.
    pub canary: Names,
    /// The one to go back to; `None` when there is none.
    pub stable: Option<Names>,
}

impl Query {
    /// Reads the expressions of a policy in `namespace`; see [`Expression::parse`].
    ///
    /// # Errors
    /// All that is wrong, never empty: an expression that cannot be used, or selectors only some of which tell revisions apart.
    pub fn parse(
        [errors, total]: [&str; 2],
        counts: Counts,
        namespace: &str,
        namespace_label: &str,
        detection: &Detection,
    ) -> Result<Self, Vec<InvalidQuery>> {
        let look = detection.look_interval();
        let read = |field, text| {
            let read = Expression::parse(text, namespace, namespace_label, counts, look);
            let read = read.map_err(|why| InvalidQuery::Expression { field, why })?;
            let is_apart = read.tells_revisions_apart().ok_or(InvalidQuery::Mixed { field })?;
            Ok((read, is_apart))
        };
        let ((errors, one), (total, other)) = match (read(ERRORS, errors), read(TOTAL, total)) {
            (Ok(errors), Ok(total)) => (errors, total),
            (errors, total) => return Err(errors.err().into_iter().chain(total.err()).collect()),
        };
        match (one, other) {
            (true, true) => {}
            (false, false) if detection.rule == Rule::Sequential => {}
            (false, false) => return Err(vec![InvalidQuery::Threshold]),
            _ => return Err(vec![InvalidQuery::Mixed { field: BOTH }]),
        }
        Ok(Self { errors, total, counts, is_apart: one })
    }

    /// Whether it tells the new pods from the old ones. If not, both sides are what the service does as a whole.
    #[must_use]
    pub const fn tells_revisions_apart(&self) -> bool {
        self.is_apart
    }

    /// Whether it tells one Deployment from another.
    #[must_use]
    pub fn names_deployment(&self) -> bool {
        self.errors.names_deployment() && self.total.names_deployment()
    }

    /// The expression for bad requests.
    #[must_use]
    pub const fn errors(&self) -> &Expression {
        &self.errors
    }

    /// The expression for all requests.
    #[must_use]
    pub const fn total(&self) -> &Expression {
        &self.total
    }

    /// What one look asks.
    ///
    /// # Errors
    /// When a placeholder has no value in this rollout, or the same one in both revisions.
    pub(super) fn text(&self, revisions: Option<&Revisions>, look: Duration) -> Result<String, Failure> {
        let fail = |message: String| Failure::new(Missing::QueryFailed, message);
        let Some(revisions) = revisions else { return Err(fail("the revisions are not known yet".to_owned())) };
        let canary = self.parts(Side::Canary, &revisions.canary, look).map_err(fail)?;
        let mut parts = canary.clone();
        if let Some(names) = revisions.stable.as_ref().filter(|_| self.is_apart) {
            let stable = self.parts(Side::Stable, names, look).map_err(fail)?;
            if stable.iter().zip(&canary).any(|((_, stable), (_, canary))| stable == canary) {
                return Err(fail(format!(
                    "the placeholders of the query have the same values for {} and {}, so that it cannot tell them apart; \
                     give each release another label, or write {{{{replicaSet}}}} or {{{{podTemplateHash}}}}",
                    revisions.canary.replica_set, names.replica_set
                )));
            }
            parts.extend(stable);
        }
        let part =
            |(part, text): &(String, String)| format!("label_replace({text}, \"{PART}\", \"{part}\", \"\", \"\")");
        Ok(parts.iter().map(part).collect::<Vec<_>>().join(" or "))
    }

    /// What is asked of one side, with its part of the answer.
    fn parts(&self, side: Side, names: &Names, look: Duration) -> Result<Vec<(String, String)>, String> {
        let mut parts = vec![
            (Part::Errors.name(side), self.errors.of(names, look)?),
            (Part::Total.name(side), self.total.of(names, look)?),
        ];
        if self.counts == Counts::Cumulative {
            let taken = self.total.taken(names)?.into_iter().enumerate();
            parts.extend(taken.map(|(index, text)| (format!("{}{index}", Part::Taken.name(side)), text)));
        }
        Ok(parts)
    }

    /// What an answer holds, by time in milliseconds since the epoch.
    ///
    /// # Errors
    /// When errors have labels that the total has not: they would go unseen.
    pub(super) fn samples(&self, answer: &Answer) -> Result<HashMap<i64, Samples>, Failure> {
        let source = Source::Query { counts: self.counts, is_apart: self.is_apart };
        let mut by_time = HashMap::<i64, Samples>::new();
        for side in [Side::Canary, Side::Stable] {
            let of = |part: Part| answer.0.get(&part.name(side));
            let (errors, total) = (of(Part::Errors), of(Part::Total));
            let found = |labels: &str, at: i64| value(errors?.get(labels)?, at);
            let taken = |at: i64| match self.counts {
                Counts::PerWindow => Timestamp::from_millisecond(at).ok(),
                Counts::Cumulative => answer.newest(&Part::Taken.name(side), at),
            };
            for labels in errors.into_iter().flat_map(|errors| errors.keys()) {
                if total.is_none_or(|total| !total.contains_key(labels)) {
                    let message = format!(
                        "errors has a series {labels} that total has not; write the same sum by (...) around both, and let total \
                         count errors too"
                    );
                    return Err(Failure::new(Missing::QueryFailed, message));
                }
            }
            for (labels, points) in total.into_iter().flatten() {
                for point in points {
                    // A total without a time cannot be told from the one before it.
                    let Some(taken) = taken(point.at) else { continue };
                    let (pod, errors) = (Arc::clone(labels), found(labels, point.at));
                    let samples = by_time.entry(point.at).or_default();
                    samples.source = source;
                    let sample = PodSample { pod, errors, total: point.value, taken, from_zero: true };
                    match side {
                        Side::Canary => samples.canary.push(sample),
                        Side::Stable => samples.stable.push(sample),
                    }
                }
            }
        }
        Ok(by_time)
    }
}

/// What a series of the answer is.
#[derive(Debug, Clone, Copy)]
enum Part {
    Errors,
    Total,
    Taken,
}

impl Part {
    fn name(self, side: Side) -> String {
        let part = match self {
            Self::Errors => "errors",
            Self::Total => "total",
            Self::Taken => "taken",
        };
        match side {
            Side::Canary => format!("canary {part}"),
            Side::Stable => format!("stable {part}"),
        }
    }
}

/// The series of an answer, by their part and their other labels.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer(BTreeMap<String, BTreeMap<Arc<str>, Vec<Point>>>);

impl Answer {
    /// Sorts the series of an answer.
    pub(super) fn of(series: Vec<Series>) -> Self {
        let mut answer = Self::default();
        for one in series {
            let (part, labels): (Vec<_>, Vec<_>) = one.labels().partition(|(name, _)| *name == PART);
            let part = part.first().map_or_else(String::new, |(_, part)| (*part).to_owned());
            let labels = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",");
            // A series comes again in the answer for a later time.
            let key = Arc::<str>::from(format!("{{{labels}}}"));
            answer.0.entry(part).or_default().entry(key).or_default().extend(one.points);
        }
        answer
    }

    /// The newest of the times that are said in this part.
    fn newest(&self, part: &str, at: i64) -> Option<Timestamp> {
        let said = self.0.range(part.to_owned()..).take_while(|(name, _)| name.starts_with(part));
        let times = said.flat_map(|(_, series)| series.values()).filter_map(|points| value(points, at));
        let newest = times.filter(|time| time.is_finite()).reduce(f64::max)?;
        Timestamp::from_millisecond(milliseconds(newest)).ok()
    }
}

fn value(points: &[Point], at: i64) -> Option<f64> {
    let found = points.binary_search_by_key(&at, |point| point.at).ok()?;
    points.get(found).map(|point| point.value)
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
