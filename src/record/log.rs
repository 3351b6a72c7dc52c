//! One line a decision, with everything it depended on, as fields: enough to decide it again by hand.

use serde_json::{Value, json};
use tracing::{Level, enabled, info};

use crate::decide::action::Action;
use crate::decide::analysis::{Assessment, Seen, Verdict};
use crate::decide::lifecycle::{Decision, Input, Judgement};
use crate::decide::objective::Finding;
use crate::decide::state::State;
use crate::measure::look::Look;
use crate::policy::Mode;

/// Logs a decision at level `info`. `assessment` is what the judgement in `input` was made of, in the order of
/// `objectives`, the names in the policy; `None` when there was no look to judge by.
pub fn decision(
    before: Option<&State>,
    input: &Input<'_>,
    objectives: &[String],
    assessment: Option<&Assessment>,
    decision: &Decision,
) {
    // Making the fields costs more than asking.
    if !enabled!(Level::INFO) {
        return;
    }
    let Input { facts, judgement, .. } = input;
    let canary = facts.canary.as_ref();
    let stable = facts.stable(decision.state.stable.as_ref().map(|stable| &stable.template));
    info!(
        deployment = %facts.key,
        policy = input.policy,
        observe = input.mode == Mode::Observe,
        generation = facts.generation,
        template = %facts.template,
        revision = canary.map(|revision| revision.number),
        canary_ready = canary.map(|revision| revision.ready),
        canary_desired = canary.map(|revision| revision.desired),
        stable_revision = stable.map(|revision| revision.number),
        stable_ready = stable.map(|revision| revision.ready),
        replicas = facts.replicas,
        complete = facts.complete,
        pause = ?facts.pause,
        progress = ?facts.progress,
        trouble = input.trouble.map(tracing::field::debug),
        recovered = input.recovered.map(crate::decide::state::Outcome::as_str),
        now = %input.now,
        evidence_since = before.map(|state| tracing::field::display(state.evidence_since)),
        objectives = %findings(objectives, assessment),
        seen = %seen(judgement),
        gate = ?input.gate,
        asks = (!facts.asks.is_empty()).then(|| tracing::field::debug(&facts.asks)),
        canary = before.and_then(|state| state.canary).map(tracing::field::debug),
        verdict = judgement.verdict.as_str(),
        cause = judgement.cause.as_str(),
        phase_before = before.map(|state| state.phase.as_str()),
        phase = decision.state.phase.as_str(),
        reason = decision.state.cause.as_str(),
        action = action_name(&decision.action),
        restart_evidence = decision.restart_evidence,
        text = %judgement.text,
        "decision"
    );
}

/// How much the looks have seen, as one JSON object.
fn seen(judgement: &Judgement) -> Value {
    let Seen { requests, stable_requests, looks, canary_looks, paired_looks } = judgement.seen;
    json!({
        "requests": requests,
        "stableRequests": stable_requests,
        "looks": looks,
        "canaryLooks": canary_looks,
        "pairedLooks": paired_looks,
        "calm": judgement.calm,
        "calmIsProven": judgement.calm_is_proven,
        "blind": judgement.blind,
        "unread": judgement.unread,
        "lookedAt": judgement.looked_at,
    })
}

/// One word for an action, for logs and metrics.
#[must_use]
pub fn action_name(action: &Action) -> &'static str {
    match action {
        Action::None => "None",
        Action::Pause(_) => "Pause",
        Action::Release => "Release",
        Action::HoldCanary(hold) if hold.paused => "LatchCanary",
        Action::HoldCanary(_) => "ArmCanary",
        Action::Resize(_) => "Resize",
        Action::Answer => "Answer",
        Action::Pardon { .. } => "Pardon",
        Action::RollBack { .. } => "RollBack",
    }
}

/// The numbers of every objective as one JSON list: their number varies, and a log line's fields do not.
fn findings(objectives: &[String], assessment: Option<&Assessment>) -> Value {
    let findings = assessment.map(|assessment| assessment.findings.as_slice()).unwrap_or_default();
    objectives.iter().zip(findings).map(|(name, finding)| finding_json(name, finding)).collect()
}

fn finding_json(name: &str, finding: &Finding) -> Value {
    let Finding { verdict, reason, numbers, .. } = finding;
    json!({
        "name": name,
        "verdict": Verdict::as_str(*verdict),
        "reason": reason.as_str(),
        "burnRate": numbers.burn(numbers.window.canary).map(|burn| burn.factor()),
        "stableBurnRate": numbers.burn(numbers.window.stable).map(|burn| burn.factor()),
        "window": look(&numbers.window),
        "total": look(&numbers.total),
        "logEvidence": numbers.log_evidence,
        "logEvidenceVsStable": numbers.log_evidence_vs_stable,
    })
}

/// Errors and requests of the canary, then of the stable pods.
fn look(look: &Look) -> Value {
    json!([look.canary.errors(), look.canary.requests(), look.stable.errors(), look.stable.requests()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::decide::analysis::Analysis;
    use crate::decide::budget::Gate;
    use crate::decide::lifecycle;
    use crate::decide::state::Cause;
    use crate::measure::look::Tally;
    use crate::policy::{
        Approval, BurnRate, Confidence, Detection, ErrorBudget, Monitor, OnMissingEvidence, OnUnknownBudget, Rule,
    };
    use crate::watch::rollout::{Asks, DeploymentKey, Pause, Progress, Rollout, Settings, Strategy, TemplateId};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn facts() -> Rollout {
        Rollout {
            key: DeploymentKey { namespace: "oz".to_owned(), name: "tin".to_owned() },
            uid: "u".to_owned(),
            generation: 17,
            replicas: 5,
            template: TemplateId("t9".to_owned()),
            template_without_restart: TemplateId("t9".to_owned()),
            observed: true,
            complete: false,
            completed_at: None,
            pause: Pause::User,
            hold: None,
            requested_by: None,
            asks: Asks::default(),
            strategy: Strategy::RollingUpdate,
            settings: Settings::DEFAULT,
            progress: Progress::Going,
            history_limit: 10,
            canary: None,
            others: Vec::new(),
        }
    }

    fn assessment() -> Assessment {
        let detection = Detection {
            window: Duration::from_secs(30),
            looks: 3,
            violation: BurnRate::parse("1.0").unwrap(),
            warning: BurnRate::parse("0.5").unwrap(),
            confidence: Confidence::parse_percent("99").unwrap(),
            rule: Rule::Sequential,
            on_missing_evidence: OnMissingEvidence::Hold,
        };
        let mut analysis = Analysis::new(&detection, &[ErrorBudget::of_target("99").unwrap()], Vec::new());
        analysis.observe(&[Ok(Look { canary: Tally::new(3.0, 100.0), stable: Tally::new(1.0, 900.0) })]);
        analysis.assess()
    }

    #[test]
    fn a_decision_is_one_line_with_every_input_and_what_came_of_it() {
        let (facts, assessment) = (facts(), assessment());
        let judgement = Judgement {
            verdict: Verdict::Proceed,
            cause: Cause::NotConvicted,
            text: "3 errors in 100 requests".to_owned(),
            calm: true,
            calm_is_proven: false,
            blind: false,
            unread: false,
            looked_at: Some(Timestamp::UNIX_EPOCH),
            seen: Seen::default(),
        };
        let monitor = Monitor { timeout: Duration::from_secs(300), auto_rollback: true, control_pods: 0 };
        let input = Input {
            policy: "emerald",
            mode: Mode::Enforce,
            monitor: &monitor,
            canary: None,
            approval: Approval::Automatic,
            gate: &Gate::Open("all of it left".to_owned()),
            on_unknown_budget: OnUnknownBudget::Hold,
            facts: &facts,
            judgement: &judgement,
            trouble: None,
            recovered: None,
            now: Timestamp::UNIX_EPOCH,
        };
        let made = lifecycle::decide(None, &input);
        let page = Page::default();
        let writer = page.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            decision(None, &input, &["availability".to_owned()], Some(&assessment), &made);
        });

        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["deployment"], "oz/tin");
        assert_eq!((&line["generation"], &line["pause"]), (&json!(17), &json!("User")));
        assert_eq!(
            (&line["verdict"], &line["phase"], &line["action"]),
            (&json!("Proceed"), &json!("Promoting"), &json!("None"))
        );
        let objectives: Value = serde_json::from_str(line["objectives"].as_str().unwrap()).unwrap();
        assert_eq!(objectives[0]["name"], "availability");
        assert_eq!(objectives[0]["window"], json!([3.0, 100.0, 1.0, 900.0]));
        assert_eq!(objectives[0]["burnRate"], 3.0);
        assert!(objectives[0]["logEvidence"].is_number());
        let seen: Value = serde_json::from_str(line["seen"].as_str().unwrap()).unwrap();
        assert_eq!((&seen["unread"], &seen["lookedAt"]), (&json!(false), &json!("1970-01-01T00:00:00Z")));
        assert!(line.get("phase_before").is_none());
    }
}
