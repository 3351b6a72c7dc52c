//! Everything that one look at some rollouts has to ask, whether of many rollouts' pods at once or by one rollout's query.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::client::{Limits, Series};
use super::grouping::{Answers, Batch, distribute, plan};
use super::query::{Answer, Query};
use super::scrape::Failure;
use super::subject::{Indicator, Subject};

/// One query to Prometheus, and who waits for its answer.
#[derive(Debug)]
pub(super) enum Request {
    /// One thing of many rollouts' pods.
    Pods(Batch),
    /// All that an objective of one rollout needs.
    Query {
        query: Arc<Query>,
        /// Whose, as the index of the subject.
        subject: [usize; 1],
        /// The text, or why there can be none.
        text: Result<String, Failure>,
    },
}

impl Request {
    /// All that is to be asked for these rollouts.
    pub(super) fn all(subjects: &[Arc<Subject>], limits: Limits) -> Vec<Self> {
        let queries = subjects.iter().enumerate().flat_map(|(index, subject)| {
            let queries = subject.objectives.iter().filter_map(|indicator| match indicator {
                Indicator::Query(query) => Some(query),
                Indicator::Ratio { .. } | Indicator::Classic(_) | Indicator::Native(_) => None,
            });
            // Two objectives may ask the same.
            queries.collect::<BTreeSet<_>>().into_iter().map(move |query| Self::Query {
                query: Arc::clone(query),
                subject: [index],
                text: query.text(subject.revisions.as_deref(), subject.look_interval),
            })
        });
        plan(subjects, limits).into_iter().map(Self::Pods).chain(queries).collect()
    }

    /// Who waits for the answer, as indices of the subjects.
    pub(super) fn subjects(&self) -> &[usize] {
        match self {
            Self::Pods(batch) => &batch.subjects,
            Self::Query { subject, .. } => subject,
        }
    }

    /// What to ask; `None` when the answer is known to be empty.
    ///
    /// # Errors
    /// When there is nothing that could be asked.
    pub(super) fn text(&self) -> Result<Option<&str>, Failure> {
        match self {
            Self::Pods(batch) => Ok(batch.query.as_deref()),
            Self::Query { text, .. } => text.as_deref().map(Some).map_err(Clone::clone),
        }
    }

    /// Gives an answer to all who asked.
    pub(super) fn settle(
        &self,
        answer: Result<Vec<Series>, Failure>,
        subjects: &[Arc<Subject>],
        answers: &mut [Answers],
    ) {
        match (self, answer) {
            (Self::Query { query, subject: [index], .. }, answer) => {
                answers[*index].query_answered(query, answer.map(Answer::of));
            }
            (Self::Pods(batch), Ok(series)) => {
                let mut given = distribute(series, subjects, &batch.subjects);
                for i in &batch.subjects {
                    answers[*i].answered(&batch.question, given.remove(i).unwrap_or_default());
                }
            }
            (Self::Pods(batch), Err(failure)) => {
                batch.subjects.iter().for_each(|i| answers[*i].failed(&batch.question, failure.clone()));
            }
        }
    }
}
