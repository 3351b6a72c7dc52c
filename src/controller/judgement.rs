//! What the looks say, as the lifecycle wants to know it and as people read it.

use super::measured::Measured;
use crate::api::status::ObjectiveStatus;
use crate::decide::analysis::{Assessment, Calm, Reason, Seen, Verdict};
use crate::decide::explain::explain;
use crate::decide::lifecycle::Judgement;
use crate::decide::objective::Finding;
use crate::decide::state::Cause;
use crate::measure::look::Tally;
use crate::policy::{BurnRate, OnMissingEvidence, Policy, humane};

/// What the looks at a rollout come to. `unreadable` is why an objective of the policy cannot be read, which looks cannot tell
/// from a service that nobody asks for anything: it is missing evidence, whatever the other objectives say in its favour.
pub(super) fn judgement(measured: Option<&Measured>, policy: &Policy, unreadable: Option<String>) -> Judgement {
    let judged = of_looks(measured, policy);
    let holds = policy.detection.on_missing_evidence == OnMissingEvidence::Hold;
    let Some(text) = unreadable else { return judged };
    // There is nothing to be read, so that no first look is to be waited for.
    let judged = Judgement { unread: false, ..judged };
    match holds && judged.verdict == Verdict::Proceed {
        true => Judgement { verdict: Verdict::Halt, cause: Cause::EvidenceMissing, text, calm: false, ..judged },
        false => judged,
    }
}

/// Before the first look, nothing.
fn of_looks(measured: Option<&Measured>, policy: &Policy) -> Judgement {
    let Some((assessment, calm, blind)) = measured.and_then(Measured::assess) else {
        return Judgement {
            verdict: Verdict::Proceed,
            cause: Cause::NotConvicted,
            text: "no look yet".to_owned(),
            calm: false,
            calm_is_proven: false,
            blind: true,
            unread: true,
            looked_at: None,
            seen: Seen::default(),
        };
    };
    let mut text = explain(&assessment, &policy.detection);
    if let Some(failure) =
        measured.and_then(Measured::failure).filter(|_| cause(assessment.reason) == Cause::EvidenceMissing)
    {
        text = format!("{text}: {failure}");
    }
    if let Some(part) = measured.and_then(Measured::part) {
        text = format!("{text}; {part}");
    }
    if let Some(late) = measured.and_then(Measured::late) {
        text = format!("{text}; what pods served before {late:.0} is not known");
    }
    Judgement {
        verdict: assessment.verdict,
        cause: cause(assessment.reason),
        text,
        calm: matches!(calm, Calm::Unproven | Calm::Proven),
        calm_is_proven: calm == Calm::Proven,
        blind,
        unread: false,
        looked_at: measured.and_then(Measured::looked_at),
        seen: measured.map(Measured::seen).unwrap_or_default(),
    }
}

fn cause(reason: Reason) -> Cause {
    match reason {
        Reason::NotConvicted => Cause::NotConvicted,
        Reason::EvidenceMissing(_) => Cause::EvidenceMissing,
        Reason::AboveWarning => Cause::AboveWarning,
        Reason::WorseThanStable => Cause::WorseThanStable,
        Reason::SharedCause => Cause::SharedCause,
        Reason::CauseUnclear => Cause::CauseUnclear,
        Reason::Violation => Cause::Violation,
    }
}

/// Every objective's numbers over the last window.
pub(super) fn objectives(assessment: &Assessment, policy: &Policy) -> Vec<ObjectiveStatus> {
    let one = |(objective, finding): (&crate::policy::Objective, &Finding)| {
        let (canary, stable) = burns(finding);
        let exhausted = canary.filter(|burn| burn.factor() >= 1.0).and_then(|burn| objective.exhausted_in(burn));
        ObjectiveStatus {
            name: objective.name.clone(),
            deployment: None,
            burn_rate: canary.map(rate),
            stable_burn_rate: stable.map(rate),
            errors: Some(whole(finding.numbers.window.canary.errors())),
            requests: Some(whole(finding.numbers.window.canary.requests())),
            window: Some(humane(objective.window)),
            exhausted_in: exhausted.map(humane),
            ..ObjectiveStatus::default()
        }
    };
    policy.objectives.iter().zip(&assessment.findings).map(one).collect()
}

/// Burn rates over the last window, of canary and stable pods where these are told apart.
pub(super) fn burns(finding: &Finding) -> (Option<BurnRate>, Option<BurnRate>) {
    let numbers = &finding.numbers;
    let stable = numbers.burn(numbers.window.stable).filter(|_| !finding.is_whole);
    (numbers.burn(numbers.window.canary), stable)
}

/// "14.2": one digit, as people compare them.
pub(super) fn rate(burn: BurnRate) -> String {
    format!("{:.1}", burn.factor())
}

/// A counter's increase as a whole number.
pub(super) fn whole(count: f64) -> i64 {
    count.round() as i64
}

/// Errors and requests of the canary in the last window of the objective that decided.
pub(super) fn window(assessment: &Assessment) -> Tally {
    assessment.deciding().numbers.window.canary
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::policies::tests::view;

    #[test]
    fn what_cannot_be_read_is_missing_evidence_and_no_look_that_is_yet_to_come() {
        let ratio = json!({"name": "a", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}});
        let holding = view(json!([ratio])).policy.expect("it is sound");
        let mut going_on = Policy::clone(&holding);
        going_on.detection.on_missing_evidence = OnMissingEvidence::Proceed;
        let judged = |policy: &Policy, why: Option<&str>| {
            let judged = judgement(None, policy, why.map(ToOwned::to_owned));
            (judged.verdict, judged.cause, judged.unread)
        };
        let why = Some("nobody knows the SLO");
        assert_eq!(judged(&holding, None), (Verdict::Proceed, Cause::NotConvicted, true));
        assert_eq!(judged(&holding, why), (Verdict::Halt, Cause::EvidenceMissing, false));
        assert_eq!(judged(&going_on, why), (Verdict::Proceed, Cause::NotConvicted, false));
    }
}
