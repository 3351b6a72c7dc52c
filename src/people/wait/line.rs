//! What is seen of a rollout, in one line; and how it ended, in a few. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::super::advice::advice;
use super::super::governed::Governed;
use super::super::words::{burn, phase, place, revision};
use super::super::{Problem, Program};
use super::course::{Course, End};
use crate::api::status::RolloutStatus;
use crate::decide::state::Phase;
use crate::policy::{Policy, humane};

/// One line, and what of it is news when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where the rollout is: a change of this is told at once.
    pub(super) place: String,
    /// Numbers and time left: they change all the time.
    pub(super) details: String,
}

impl Line {
    /// The API server does not answer.
    pub(super) fn away(problem: &Problem) -> Self {
        Self { place: "no answer".to_owned(), details: format!("{problem}; trying on") }
    }

    /// What the operator says of the rollout.
    pub(super) fn of(governed: &Governed, course: &Course, now: Timestamp) -> Self {
        let Some(entry) = governed.current() else {
            let details = format!("until the operator notices template {}", governed.template());
            return Self { place: "waiting".to_owned(), details };
        };
        let mut details = Vec::new();
        if course.wanted() != Some(governed.template()) && phase(entry).is_some_and(is_rolled_out) {
            details.push(format!("a newer template: {}", governed.template()));
        }
        if entry.burn_rate.is_some() || entry.stable_burn_rate.is_some() {
            let (canary, stable) = (burn(entry.burn_rate.as_ref()), burn(entry.stable_burn_rate.as_ref()));
            details.push(format!("burn rate {canary}, stable {stable}"));
        }
        if let Some(canary) = &entry.canary {
            let steps = canary.steps.map(|steps| format!(" of {steps}")).unwrap_or_default();
            let share = canary.share.as_ref().map(|share| format!(" at {share}")).unwrap_or_default();
            details.push(format!("step {}{steps}{share}", canary.step));
        }
        match (time_left(entry, &governed.policy, now), &entry.next) {
            (Some(left), _) => details.push(format!("{} left", humane(left))),
            (None, Some(next)) => details.push(next.clone()),
            (None, None) => {}
        }
        Self { place: place(entry), details: details.join("; ") }
    }
}

/// Whether a template is on its way in this phase, and not one that comes back.
const fn is_rolled_out(phase: Phase) -> bool {
    !matches!(phase, Phase::RollingBack | Phase::Recovering | Phase::RolledBack)
}

/// How long the phase lasts yet, if nothing comes in between.
fn time_left(entry: &RolloutStatus, policy: &Policy, now: Timestamp) -> Option<Duration> {
    let until = match phase(entry)? {
        Phase::Monitoring if entry.clock_stopped.is_none() => entry.monitor_until.as_ref()?.0,
        Phase::Canary => {
            let canary = entry.canary.as_ref()?;
            let step = usize::try_from(canary.step).ok()?.checked_sub(1)?;
            canary.held_since.as_ref()?.0 + policy.canary.as_ref()?.steps.get(step)?.hold
        }
        _ => return None,
    };
    // Past it, something else is waited for, and `next` says what.
    Duration::try_from(until.duration_since(now)).ok().filter(|left| *left >= Duration::from_secs(1))
}

/// How it ended, and what one can do about it.
pub(super) fn ending(program: Program, governed: &Governed, course: &Course, end: End) -> String {
    let key = governed.key();
    let entry = governed.current();
    let place = entry.map_or_else(|| "not noticed by the operator".to_owned(), place);
    let message = entry.and_then(|entry| entry.message.as_ref()).map(|text| format!(": {text}")).unwrap_or_default();
    let newest = entry.and_then(|entry| entry.newest.as_ref()).map_or_else(|| "it".to_owned(), revision);
    let mut text = match end {
        End::Promoted if course.wanted() != Some(governed.template()) => {
            format!("{key}: promoted: {newest}, which came after the template that was waited for{message}")
        }
        End::Promoted => format!("{key}: promoted: {newest}{message}"),
        End::CanaryPassed => format!("{key}: the canary has passed: {newest}: {place}"),
        End::RolledBack => format!("{key}: rolled back: {}", rolled_back(entry, &newest)),
        End::Halted => format!("{key}: halted: {newest}: {place}{message}"),
        End::Rejected => format!("{key}: rejected: {newest}{message}"),
        End::TimedOut => format!("{key}: timed out: {place}{message}"),
    };
    if matches!(end, End::Halted | End::Rejected | End::TimedOut) {
        for advice in advice(program, governed) {
            text.push_str(&format!("\n  {}   ({})", advice.what, advice.leads_to));
        }
    }
    text
}

fn rolled_back(entry: Option<&RolloutStatus>, newest: &str) -> String {
    let Some(incident) = entry.and_then(|entry| entry.incident.as_ref()) else {
        return format!("{newest} is back");
    };
    let what = incident.condemned.as_ref().map_or_else(|| "it".to_owned(), revision);
    let why = incident.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let outcome = incident.outcome.as_deref().unwrap_or("how the service is afterwards is not known yet");
    format!("{what}{why}; {outcome}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::samples;
    use super::*;
    use crate::watch::rollout::TemplateId;

    fn followed(governed: &Governed) -> Course {
        let mut course = Course::new(false, Duration::from_secs(300));
        course.advance(governed, samples::now());
        course
    }

    fn line(entry: Value) -> String {
        let governed = samples::governed(entry);
        let Line { place, details } = Line::of(&governed, &followed(&governed), samples::now());
        format!("{place}: {details}")
    }

    #[test]
    fn a_canary_is_shown_with_its_numbers_its_share_and_the_time_left_of_its_step() {
        let canary = json!({"step": 1, "steps": 2, "share": "16.7%", "heldSince": "2026-03-04T05:15:47Z"});
        let entry = json!({
            "phase": "Canary", "reason": "NotConvicted", "burnRate": "0.3", "stableBurnRate": "0.2", "canary": canary,
            "next": "goes on when it was held long enough",
        });
        let shown = "Canary (NotConvicted): burn rate 0.3x, stable 0.2x; step 1 of 2 at 16.7%; 1m10s left";
        assert_eq!(line(entry.clone()), shown);
        let mut second = entry;
        second["canary"]["step"] = json!(2);
        assert!(line(second.clone()).ends_with("4m10s left"));
        second["canary"]["heldSince"] = json!("2026-03-04T05:10:00Z");
        assert!(line(second).ends_with("goes on when it was held long enough"), "the time is over, and it is not on");
    }

    #[test]
    fn monitoring_shows_the_time_left_unless_its_clock_is_stopped() {
        let running = json!({"phase": "Monitoring", "monitorUntil": "2026-03-04T05:20:00Z", "next": "stops"});
        assert_eq!(line(running.clone()), "Monitoring: 3m23s left");
        let mut stopped = running;
        stopped["clockStopped"] = json!("2026-03-04T05:16:00Z");
        assert_eq!(line(stopped), "Monitoring: stops");
    }

    #[test]
    fn until_the_operator_has_noticed_the_template_it_says_so() {
        let shown = line(json!({"phase": "Succeeded", "newest": {"template": "vorher"}}));
        assert!(shown.starts_with("waiting: until the operator notices template "), "{shown}");
    }

    #[test]
    fn a_newer_template_is_told() {
        let first = samples::governed(json!({"phase": "Promoting"}));
        let course = followed(&first);
        let mut newer = samples::governed(json!({"phase": "Canary", "newest": {"template": "neu"}}));
        newer.deployment.spec.template.id = TemplateId("neu".to_owned());
        assert_eq!(Line::of(&newer, &course, samples::now()).details, "a newer template: neu");
        let told = ending(Program::Plugin, &newer, &course, End::Promoted);
        assert!(told.contains("template neu, which came after the template that was waited for"), "{told}");
    }

    #[test]
    fn each_end_says_why_and_a_standstill_also_what_to_do() {
        let told = |entry: Value, end: End| {
            let governed = samples::governed(entry);
            ending(Program::Plugin, &governed, &followed(&governed), end)
        };
        let incident = json!({"condemned": {"revision": 7, "template": "b0b0"}, "reason": "burn rate 15.4x", "outcome": "Recovered"});
        assert_eq!(
            told(json!({"phase": "RolledBack", "incident": incident}), End::RolledBack),
            "laden/kasse-web: rolled back: revision 7 (template b0b0): burn rate 15.4x; Recovered"
        );
        let halted = json!({"phase": "Halted", "reason": "WorseThanStable", "message": "0.8x, stable 0.1x"});
        let halted = told(halted, End::Halted);
        assert!(
            halted.contains("Halted (WorseThanStable): 0.8x, stable 0.1x\n  kubectl errorbudget approve "),
            "{halted}"
        );
        let promoted = told(json!({"phase": "Succeeded", "message": "nothing against it"}), End::Promoted);
        assert!(promoted.starts_with("laden/kasse-web: promoted: template "), "{promoted}");
        assert!(promoted.ends_with(": nothing against it"), "{promoted}");
    }
}
