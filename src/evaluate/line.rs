//! A line in and a line out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::measure::look::{Evidence, Look, Missing, Tally};

/// What a line may look like.
pub(super) const EXAMPLE: &str = r#"{"rollout":"r1","canary":{"errors":3,"requests":1000},"stable":{"errors":1,"requests":9000}} or {"rollout":"r1","missing":"NoSeries"}"#;

/// Beyond this a count in JSON is not exact any more: 2^53.
const MOST: f64 = 9_007_199_254_740_992.0;

/// One look of one rollout.
pub(super) struct Question<'a> {
    pub(super) rollout: Cow<'a, str>,
    pub(super) evidence: Evidence,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    rollout: Cow<'a, str>,
    canary: Option<Counts>,
    stable: Option<Counts>,
    #[serde(borrow)]
    missing: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    errors: f64,
    requests: f64,
}

impl<'a> Question<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, String> {
        let line: Line<'a> = serde_json::from_slice(line).map_err(|error| {
            let text = error.to_string();
            // It counts lines within this one.
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            format!("{what} at column {}", error.column())
        })?;
        let evidence = match (line.canary, line.stable, line.missing) {
            (None, None, Some(why)) => Err(why.parse::<Missing>().map_err(|error| error.to_string())?),
            (_, _, Some(_)) => return Err("\"missing\" stands beside counts that are not missing".to_owned()),
            (None, _, None) => return Err("there is neither \"canary\" nor \"missing\"".to_owned()),
            (Some(canary), stable, None) => Ok(Look {
                canary: canary.tally("canary")?,
                stable: stable.map_or(Ok(Tally::ZERO), |stable| stable.tally("stable"))?,
            }),
        };
        Ok(Self { rollout: line.rollout, evidence })
    }
}

impl Counts {
    fn tally(&self, whose: &str) -> Result<Tally, String> {
        let Self { errors, requests } = *self;
        for (name, count) in [("errors", errors), ("requests", requests)] {
            if !(0.0..=MOST).contains(&count) {
                return Err(format!("{name} of {whose} are {count}, which no counter counts"));
            }
        }
        if errors > requests {
            return Err(format!("{whose} has more errors ({errors}) than requests ({requests})"));
        }
        Ok(Tally::new(errors, requests))
    }
}

/// What all looks of one rollout so far come to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    pub(super) rollout: &'a str,
    pub(super) look: u64,
    pub(super) burn_rate: Option<f64>,
    pub(super) stable_burn_rate: Option<f64>,
    pub(super) log_evidence: Option<f64>,
    pub(super) log_evidence_vs_stable: Option<f64>,
    pub(super) verdict: &'static str,
    pub(super) reason: String,
}

impl Answer<'_> {
    /// Appends it as a line.
    pub(super) fn write(&self, answers: &mut Vec<u8>) {
        serde_json::to_writer(&mut *answers, self).expect("writing to memory cannot fail, and all keys are strings");
        answers.push(b'\n');
    }
}
