//! What users saw, counted.

use std::time::Duration;

use jiff::Timestamp;
use workload::load::{Outcome, Response};

/// A user who waits longer than this for an answer has no use for it. Healthy ones take some milliseconds.
const TOO_SLOW: Duration = Duration::from_secs(1);

/// Whether the user was served.
pub(crate) fn is_bad(response: &Response) -> bool {
    let Outcome::Status(status) = response.outcome else { return true };
    status >= 500 || response.took > TOO_SLOW
}

/// What a release cost its users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Loss {
    pub(crate) requests: usize,
    pub(crate) bad: usize,
    /// From the first bad response to the last one; `None` without any.
    pub(crate) lasted: Option<Duration>,
}

impl Loss {
    /// Counts what was asked from `began` on and before `ended`.
    pub(crate) fn of(responses: &[Response], began: Timestamp, ended: Timestamp) -> Self {
        let asked: Vec<&Response> = responses.iter().filter(|response| (began..ended).contains(&response.at)).collect();
        let bad: Vec<Timestamp> =
            asked.iter().filter(|response| is_bad(response)).map(|response| response.at).collect();
        let lasted = bad.iter().min().zip(bad.iter().max());
        Self {
            requests: asked.len(),
            bad: bad.len(),
            lasted: lasted.and_then(|(first, last)| last.duration_since(*first).try_into().ok()),
        }
    }

    /// Share of the requests, in percent.
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    pub(crate) fn percent(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { 100.0 * self.bad as f64 / self.requests as f64 }
    }

    /// Two cells of a table.
    pub(crate) fn cells(&self) -> String {
        let lasted = self.lasted.map_or("-".to_owned(), |lasted| format!("{} s", lasted.as_secs()));
        format!("{} of {} ({:.1} %) | {lasted}", self.bad, self.requests, self.percent())
    }
}
