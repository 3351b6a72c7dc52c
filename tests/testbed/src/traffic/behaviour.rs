//! How a pod answers: what the annotations of its template say.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// Common beginning of every annotation the simulator reads.
const PREFIX: &str = "traffic.testbed/";

/// Annotation: share of the requests that fail, 0 to 1. Default 0.
pub const ERROR_RATIO: &str = "traffic.testbed/error-ratio";
/// Annotation: mean number of consecutive requests that share one fate, 1 or more. Default 1: independent errors.
pub const BURST: &str = "traffic.testbed/burst";
/// Annotation: seconds after the pod became Ready from which [`BAD_ERROR_RATIO`] holds. Default: never.
pub const BAD_AFTER: &str = "traffic.testbed/bad-after";
/// Annotation: share of the requests that fail once the pod has turned bad, 0 to 1. Goes with [`BAD_AFTER`].
pub const BAD_ERROR_RATIO: &str = "traffic.testbed/bad-error-ratio";
/// Annotation: median latency in milliseconds, above 0. Default 40.
pub const LATENCY_MS: &str = "traffic.testbed/latency-ms";
/// Annotation: standard deviation of the logarithm of the latency, 0 or more. Default 0.5.
pub const LATENCY_SIGMA: &str = "traffic.testbed/latency-sigma";

/// What one pod does with the requests it gets, settled when it becomes Ready for the first time.
///
/// The default is a pod without errors and with a median latency of 40 ms.
#[derive(Debug, Clone, PartialEq)]
pub struct PodBehaviour {
    /// Share of the requests that fail, 0 to 1.
    pub error_ratio: f64,
    /// Mean number of consecutive requests that share one fate, 1 or more; 1 makes errors independent.
    pub burst: f64,
    /// When and how the pod gets worse, if it ever does.
    pub turns_bad: Option<TurnsBad>,
    /// How long answers take.
    pub latency: Latency,
}

/// The moment from which a pod fails more often.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnsBad {
    /// Time since the pod became Ready.
    pub after: Duration,
    /// Share of the requests that fail from then on, 0 to 1.
    pub error_ratio: f64,
}

/// A log-normal distribution of latencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// Median in milliseconds, above 0.
    pub median_ms: f64,
    /// Standard deviation of the natural logarithm, 0 or more.
    pub sigma: f64,
}

impl Default for PodBehaviour {
    fn default() -> Self {
        Self { error_ratio: 0.0, burst: 1.0, turns_bad: None, latency: Latency { median_ms: 40.0, sigma: 0.5 } }
    }
}

impl PodBehaviour {
    /// A pod that fails this share of its requests, independently of each other, and is otherwise the default.
    pub fn failing(error_ratio: f64) -> Self {
        Self { error_ratio, ..Self::default() }
    }

    /// Reads the annotations of a pod; those that are not the simulator's are ignored.
    ///
    /// # Errors
    /// A value that is no number or out of range, [`BAD_AFTER`] without [`BAD_ERROR_RATIO`] or the other way
    /// round, and a name of ours that does not exist: a typo would otherwise make a bad release a good one.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut behaviour = Self::default();
        let (mut bad_after, mut bad_error_ratio) = (None, None);
        for (name, text) in annotations.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let value = text
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite() && *value >= 0.0)
                .with_context(|| format!("annotation {name}: {text:?} is no number of 0 or more"))?;
            match name.as_str() {
                ERROR_RATIO => behaviour.error_ratio = ratio(name, value)?,
                BURST => {
                    ensure!(value >= 1.0, "annotation {name}: {value} is less than 1");
                    behaviour.burst = value;
                }
                BAD_AFTER => {
                    let after = Duration::try_from_secs_f64(value)
                        .with_context(|| format!("annotation {name}: {value} is too long"))?;
                    bad_after = Some(after);
                }
                BAD_ERROR_RATIO => bad_error_ratio = Some(ratio(name, value)?),
                LATENCY_MS => {
                    ensure!(value > 0.0, "annotation {name}: a latency must be above 0");
                    behaviour.latency.median_ms = value;
                }
                LATENCY_SIGMA => behaviour.latency.sigma = value,
                unknown => bail!("annotation {unknown} is not known to the traffic simulator"),
            }
        }
        behaviour.turns_bad = match (bad_after, bad_error_ratio) {
            (Some(after), Some(error_ratio)) => Some(TurnsBad { after, error_ratio }),
            (None, None) => None,
            _ => bail!("annotations {BAD_AFTER} and {BAD_ERROR_RATIO} only make sense together"),
        };
        Ok(behaviour)
    }

    /// The annotations that say this, ready for a pod template.
    pub fn to_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::from([
            (ERROR_RATIO, self.error_ratio.to_string()),
            (BURST, self.burst.to_string()),
            (LATENCY_MS, self.latency.median_ms.to_string()),
            (LATENCY_SIGMA, self.latency.sigma.to_string()),
        ]);
        if let Some(bad) = &self.turns_bad {
            annotations.insert(BAD_AFTER, bad.after.as_secs_f64().to_string());
            annotations.insert(BAD_ERROR_RATIO, bad.error_ratio.to_string());
        }
        annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Share of the requests that fail at this age of the pod (time since it became Ready).
    pub(super) fn error_ratio_at(&self, age: Duration) -> f64 {
        match &self.turns_bad {
            Some(bad) if age >= bad.after => bad.error_ratio,
            _ => self.error_ratio,
        }
    }
}

fn ratio(name: &str, value: f64) -> anyhow::Result<f64> {
    ensure!(value <= 1.0, "annotation {name}: {value} is more than 1");
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        PodBehaviour::from_annotations(&annotations(pairs)).expect_err("should be refused").to_string()
    }

    #[test]
    fn a_pod_without_annotations_has_no_errors() {
        let read = PodBehaviour::from_annotations(&annotations(&[("team", "shop")])).expect("valid");
        assert_eq!(read, PodBehaviour::default());
        assert_eq!(read.error_ratio, 0.0);
    }

    #[test]
    fn what_is_written_to_a_template_is_read_back_the_same() {
        let behaviour = PodBehaviour {
            error_ratio: 0.0003,
            burst: 5.0,
            turns_bad: Some(TurnsBad { after: Duration::from_millis(12_500), error_ratio: 0.25 }),
            latency: Latency { median_ms: 120.0, sigma: 0.8 },
        };
        let read = PodBehaviour::from_annotations(&behaviour.to_annotations()).expect("valid");
        assert_eq!(read, behaviour);
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_name_of_the_annotation() {
        assert!(refusal(&[(ERROR_RATIO, "1.5")]).contains(ERROR_RATIO));
        assert!(refusal(&[(ERROR_RATIO, "-0.1")]).contains(ERROR_RATIO));
        assert!(refusal(&[(ERROR_RATIO, "NaN")]).contains(ERROR_RATIO));
        assert!(refusal(&[(BURST, "0.5")]).contains(BURST));
        assert!(refusal(&[(LATENCY_MS, "0")]).contains(LATENCY_MS));
        assert!(refusal(&[(BAD_AFTER, "1e300"), (BAD_ERROR_RATIO, "1")]).contains(BAD_AFTER));
    }

    #[test]
    fn a_misspelt_annotation_is_refused() {
        assert!(refusal(&[("traffic.testbed/error-rate", "0.5")]).contains("error-rate"));
    }

    #[test]
    fn turning_bad_needs_both_the_moment_and_the_ratio() {
        assert!(refusal(&[(BAD_AFTER, "30")]).contains(BAD_ERROR_RATIO));
        assert!(refusal(&[(BAD_ERROR_RATIO, "0.5")]).contains(BAD_AFTER));
    }

    #[test]
    fn a_pod_turns_bad_exactly_at_the_given_age() {
        let behaviour = PodBehaviour {
            turns_bad: Some(TurnsBad { after: Duration::from_secs(30), error_ratio: 0.5 }),
            ..PodBehaviour::failing(0.01)
        };
        assert_eq!(behaviour.error_ratio_at(Duration::from_millis(29_999)), 0.01);
        assert_eq!(behaviour.error_ratio_at(Duration::from_secs(30)), 0.5);
    }
}
