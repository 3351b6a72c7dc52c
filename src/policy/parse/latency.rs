//! Latency indicators, and the warmup that they come with.

use std::time::Duration;

use super::super::duration::down_to_microseconds;
use super::super::{Canary, Detection, HistogramType, Latency, Monitor, Objective, TimeUnit, humane};
use super::{Errors, wire};

pub(super) fn latency(latency: &wire::Latency, field: &str, errors: &mut Errors) -> Option<Latency> {
    if latency.histogram.trim().is_empty() {
        errors.add(format!("{field}.latency.histogram"), "write a PromQL vector selector");
    }
    let bounds = Duration::from_micros(1)..=Duration::from_secs(3600);
    let threshold = down_to_microseconds(&latency.threshold).filter(|threshold| bounds.contains(threshold));
    if threshold.is_none() {
        errors.add(format!("{field}.latency.threshold"), "write a duration from 1us to 1h, for example \"250ms\"");
    }
    Some(Latency {
        histogram: latency.histogram.clone(),
        threshold: threshold?,
        kind: match latency.kind {
            wire::HistogramType::Classic => HistogramType::Classic,
            wire::HistogramType::Native => HistogramType::Native,
        },
        unit: latency.unit.map(|unit| match unit {
            wire::TimeUnit::Seconds => TimeUnit::Seconds,
            wire::TimeUnit::Milliseconds => TimeUnit::Milliseconds,
        }),
    })
}

/// After a pod's first time enough must be left to look at it.
pub(in crate::policy) fn warmup_fits(
    objectives: &[Objective],
    monitor: Option<&Monitor>,
    canary: Option<&Canary>,
    detection: Option<&Detection>,
    errors: &mut Errors,
) {
    let longest = objectives.iter().map(|objective| objective.warmup).max().unwrap_or_default();
    let (Some(detection), false) = (detection, longest.is_zero()) else { return };
    let words = humane(longest);
    if monitor.is_some_and(|monitor| monitor.timeout < detection.window + longest) {
        let problem =
            format!("it is shorter than a warmup of {words} and detection.window; write more, or a shorter warmup");
        errors.add("spec.monitor.timeout", problem);
    }
    if canary.is_some_and(|canary| canary.maximum_hold <= longest) {
        let problem = format!("it is not longer than the warmup of {words}; write more, or a shorter warmup");
        errors.add("spec.canary.maximumHold", problem);
    }
}
