//! `explain`: the last decision on a rollout, as a person would tell it.

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::advice::advice;
use super::governed::{Governed, gate};
use super::words::{ago, burn, phase, place, revision};
use super::{Access, Exit, Problem, Program, Target, print};
use crate::api::status::{CanaryStatus, ControlStatus, IncidentStatus, OverrideStatus, RolloutStatus};
use crate::decide::state::{Cause, Phase};
use crate::policy::{Approval, Mode, humane};

/// Which rollout to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The Deployment, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT")]
    pub target: Target,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// Explains a rollout.
pub(super) async fn run(args: &ExplainArgs, program: Program) -> Result<Exit, Problem> {
    let cluster = args.access.open().await?;
    let governed = Governed::find(&cluster, &args.target).await?;
    print(&explanation(program, &governed, Timestamp::now()))?;
    Ok(Exit::Well)
}

/// Why a rollout is rolled back that a person wanted back.
const ASKED: &str = Cause::RollbackAsked.as_str();

/// The width of the words that say what follows.
const LABEL: usize = 15;

/// Lines of a label and what it says.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        self.0.push_str(format!("{label:LABEL$}{text}").trim_end());
        self.0.push('\n');
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }
}

fn explanation(program: Program, governed: &Governed, now: Timestamp) -> String {
    let key = governed.key();
    let mut page = Page::default();
    page.line("Deployment", &key.to_string());
    page.line("Policy", &policy(governed));
    match governed.entry() {
        None => page.line("Phase", "none: the operator has not said anything of it; is it running?"),
        Some(entry) => rollout(&mut page, governed, entry, now),
    }
    budget(&mut page, governed);
    if let Some(incident) = governed.entry().and_then(|entry| entry.incident.as_ref()) {
        page.gap();
        tell_incident(&mut page, incident, now);
    }
    let advice = advice(program, governed);
    if !advice.is_empty() {
        page.gap();
        page.line("What you can do now:", "");
        for advice in advice {
            page.0.push_str(&format!("  {}\n      {}\n", advice.what, advice.leads_to));
        }
    }
    page.0
}

fn policy(governed: &Governed) -> String {
    let mut text = governed.policy.key.name.clone();
    if governed.policy.mode == Mode::Observe {
        text.push_str(" (mode Observe: it says everything and touches nothing)");
    }
    if governed.policy.approval == Approval::Manual {
        text.push_str(" (each step of a canary waits for a person's approval)");
    }
    let not_ready = governed.status.conditions.iter().find(|known| known.type_ == "Ready" && known.status != "True");
    if let Some(condition) = not_ready {
        text.push_str(&format!("; not in force: {}: {}", condition.reason, condition.message));
    }
    text
}

/// Where the rollout is, why, and what comes next.
fn rollout(page: &mut Page, governed: &Governed, entry: &RolloutStatus, now: Timestamp) {
    let since = entry.since.as_ref().map(|since| format!(", since {} ({} ago)", moment(since), ago(since, now)));
    page.line("Phase", &format!("{}{}", place(entry), since.unwrap_or_default()));
    if let Some(phase) = phase(entry) {
        page.line("", meaning(phase));
    }
    if governed.current().is_none() {
        let template = governed.template();
        page.line("", &format!("this is said of an earlier template: the Deployment has template {template} now"));
    }
    if let Some(message) = &entry.message {
        page.line("Why", message);
    }
    if let Some(next) = &entry.next {
        page.line("Next", next);
    }
    page.gap();
    if let Some(newest) = &entry.newest {
        let started = entry.started.as_ref().map(|time| format!(", since {}", moment(time)));
        page.line("Newest", &format!("{}{}", revision(newest), started.unwrap_or_default()));
    }
    let nothing = || "nothing: no other revision has succeeded yet".to_owned();
    page.line("Goes back to", &entry.stable.as_ref().map_or_else(nothing, revision));
    if let Some(canary) = &entry.canary {
        page.line("Canary", &tell_canary(canary));
    }
    if let Some(control) = &entry.control {
        page.line("Control pods", &tell_control(control));
    }
    if let Some(overridden) = &entry.overridden {
        page.line("Override", &tell_override(overridden));
    }
    // A rollback that was asked for is remembered beside them, and told as one.
    let approved: Vec<&str> = entry.approved.iter().map(String::as_str).filter(|cause| *cause != ASKED).collect();
    if !approved.is_empty() {
        page.line("Approved", &format!("goes on in spite of {}", approved.join(", ")));
    }
    page.line("Burn rate", &numbers(governed, entry));
}

/// What is true in each phase.
const fn meaning(phase: Phase) -> &'static str {
    match phase {
        Phase::Validating => "the new template is held without pods until the gate lets it pass",
        Phase::Canary => "the new revision is held at its share of the pods while it is measured",
        Phase::Promoting => "Kubernetes rolls on with the Deployment's own strategy while it is measured",
        Phase::Monitoring => "the rollout is complete, or all but its control pods, and is measured on",
        Phase::Succeeded => "the revision is the stable one",
        Phase::Halted => "the rollout stands still; looks go on",
        Phase::RollingBack => "the stable template is being put back",
        Phase::Recovering => "the stable template is back; its pods are watched until the service is green",
        Phase::RolledBack => "the stable template is back",
        Phase::Rejected => "a template that was rolled back came again; it is held without pods",
    }
}

fn tell_canary(canary: &CanaryStatus) -> String {
    let mut text = format!("step {}", canary.step);
    if let Some(steps) = canary.steps {
        text.push_str(&format!(" of {steps}"));
    }
    if let Some(pods) = canary.pods {
        text.push_str(&format!(", {pods} {}", if pods == 1 { "pod" } else { "pods" }));
    }
    if let Some(share) = &canary.share {
        text.push_str(&format!(", {share} of all"));
    }
    match &canary.held_since {
        Some(since) => text.push_str(&format!(", held since {}", moment(since))),
        None => text.push_str(", its pods are not all Ready yet"),
    }
    text
}

fn tell_control(control: &ControlStatus) -> String {
    let since = control.since.as_ref().map(|since| format!(", held since {}", moment(since))).unwrap_or_default();
    match control.pods {
        0 => "none: no stable pod is left to compare with".to_owned(),
        1 => format!("1 stable pod stays to compare with{since}"),
        pods => format!("{pods} stable pods stay to compare with{since}"),
    }
}

fn tell_override(overridden: &OverrideStatus) -> String {
    let by = overridden.by.as_ref().map(|by| format!("by {by}: ")).unwrap_or_default();
    let until = overridden.until.as_ref().map(|until| format!(", until {}", moment(until))).unwrap_or_default();
    format!("{by}{}{until}", overridden.reason)
}

fn numbers(governed: &Governed, entry: &RolloutStatus) -> String {
    if entry.burn_rate.is_none() && entry.stable_burn_rate.is_none() {
        return "not measured now".to_owned();
    }
    let counts = match (entry.errors, entry.requests) {
        (Some(errors), Some(requests)) => {
            format!(" ({errors} errors in {requests} requests, {})", humane(governed.policy.detection.window))
        }
        _ => String::new(),
    };
    let (canary, stable) = (burn(entry.burn_rate.as_ref()), burn(entry.stable_burn_rate.as_ref()));
    let limit = governed.policy.detection.violation.factor();
    format!("new pods {canary}{counts}, stable pods {stable}; the policy allows {limit:?}x")
}

fn budget(page: &mut Page, governed: &Governed) {
    let status = &governed.status;
    let name = governed.key().name;
    if let Some(left) = &status.budget_remaining {
        page.line("Budget", &format!("{left} left"));
    }
    for objective in &status.objectives {
        let Some(left) = &objective.budget_remaining else { continue };
        let window = objective.window.as_ref().map(|window| format!(" of {window}")).unwrap_or_default();
        let span = objective.budget_span.as_ref().map(|span| format!(", seen over {span} only")).unwrap_or_default();
        page.line("", &format!("{}: {left}{window}{span}", objective.name));
    }
    let why = status.closed.get(&name).map(|why| format!(": {why}")).unwrap_or_default();
    if let Some(gate) = gate(status, &name) {
        page.line("Gate", &format!("{gate}{why}"));
    }
}

fn tell_incident(page: &mut Page, incident: &IncidentStatus, now: Timestamp) {
    let what = incident.condemned.as_ref().map_or_else(|| "a revision".to_owned(), revision);
    let when = incident.decided.as_ref().map(|at| format!(" at {} ({} ago)", moment(at), ago(at, now)));
    page.line("Last incident", &format!("{what} was rolled back{}", when.unwrap_or_default()));
    if let Some(reason) = &incident.reason {
        page.line("", reason);
    }
    let outcome = match (&incident.outcome, &incident.ended) {
        (None, _) => "how the service is afterwards is not known yet".to_owned(),
        (Some(outcome), None) => outcome.clone(),
        (Some(outcome), Some(ended)) => format!("{outcome} at {}", moment(ended)),
    };
    page.line("", &outcome);
}

fn moment(time: &Time) -> String {
    format!("{:.0}", time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples;
    use super::*;

    fn explained(governed: &Governed) -> String {
        explanation(Program::Plugin, governed, samples::now())
    }

    #[test]
    fn a_halted_rollout_is_told_with_its_numbers_and_the_ways_out() {
        let mut governed = samples::governed(json!({
            "phase": "Halted", "reason": "SharedCause", "since": "2026-03-04T05:14:07Z",
            "message": "burn rate 14.2x, and the stable pods burn 13.0x",
            "next": "goes on after two windows without a violation",
            "newest": {"revision": 7, "template": ""}, "stable": {"revision": 6, "template": "e4fc1fb97de19cc1"},
            "started": "2026-03-04T05:13:00Z",
            "burnRate": "14.2", "stableBurnRate": "13.0", "errors": 38, "requests": 2671,
        }));
        governed.deployment.spec.template.id.0 = "a94e2e9ba52888d9".to_owned();
        let newest = &mut governed.status.rollouts.get_mut("kasse-web").expect("its entry").newest;
        newest.as_mut().expect("a revision").template = "a94e2e9ba52888d9".to_owned();
        let expected = "\
Deployment     laden/kasse-web
Policy         kasse
Phase          Halted (SharedCause), since 2026-03-04T05:14:07Z (2m30s ago)
               the rollout stands still; looks go on
Why            burn rate 14.2x, and the stable pods burn 13.0x
Next           goes on after two windows without a violation

Newest         revision 7 (template a94e2e9ba52888d9), since 2026-03-04T05:13:00Z
Goes back to   revision 6 (template e4fc1fb97de19cc1)
Burn rate      new pods 14.2x (38 errors in 2671 requests, 30s), stable pods 13.0x; the policy allows 1.0x
Budget         63.2% left
Gate           Open

What you can do now:
  kubectl errorbudget approve deployment/kasse-web --namespace laden
      it goes on in spite of the reason above
  kubectl errorbudget rollback deployment/kasse-web --namespace laden
      the last good revision comes back now
  push another template
      it starts over with that one
";
        assert_eq!(explained(&governed), expected);
    }

    #[test]
    fn the_last_incident_is_told_with_its_outcome() {
        let mut governed = samples::governed(json!({
            "phase": "RolledBack", "reason": "Violation",
            "incident": {
                "condemned": {"revision": 7, "template": "b0b0"}, "decided": "2026-03-04T05:06:37Z",
                "reason": "burn rate 15.4x exceeds 1.0x", "outcome": "Recovered", "ended": "2026-03-04T05:07:17Z",
            },
        }));
        let text = explained(&governed);
        let incident = "\
Last incident  revision 7 (template b0b0) was rolled back at 2026-03-04T05:06:37Z (10m ago)
               burn rate 15.4x exceeds 1.0x
               Recovered at 2026-03-04T05:07:17Z
";
        assert!(text.contains(incident), "{text}");
        let entry = governed.status.rollouts.get_mut("kasse-web").expect("its entry");
        let known = entry.incident.as_mut().expect("an incident");
        (known.outcome, known.ended) = (None, None);
        assert!(explained(&governed).contains("not known yet"));
    }

    #[test]
    fn a_canary_is_told_with_its_real_share_and_an_override_with_who_gave_it() {
        let governed = samples::governed(json!({
            "phase": "Canary", "reason": "NotConvicted",
            "canary": {"step": 1, "steps": 2, "pods": 1, "share": "16.7%", "heldSince": "2026-03-04T05:15:37Z"},
            "override": {"reason": "fixes the outage", "by": "eva", "until": "2026-03-04T07:00:00Z"},
            "approved": ["EvidenceMissing", "RollbackAsked", "CannotRun"],
        }));
        let text = explained(&governed);
        for line in [
            "Canary         step 1 of 2, 1 pod, 16.7% of all, held since 2026-03-04T05:15:37Z\n",
            "Override       by eva: fixes the outage, until 2026-03-04T07:00:00Z\n",
            "Approved       goes on in spite of EvidenceMissing, CannotRun\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn control_pods_are_told_and_that_none_are_left() {
        let told = |control: serde_json::Value| {
            explained(&samples::governed(json!({"phase": "Monitoring", "control": control})))
        };
        let kept = told(json!({"pods": 2, "since": "2026-03-04T05:15:37Z"}));
        assert!(
            kept.contains("Control pods   2 stable pods stay to compare with, held since 2026-03-04T05:15:37Z\n"),
            "{kept}"
        );
        let gone = told(json!({"pods": 0}));
        assert!(gone.contains("Control pods   none: no stable pod is left to compare with\n"), "{gone}");
    }

    #[test]
    fn a_closed_gate_says_why_and_each_objective_what_is_left() {
        let mut governed = samples::governed(json!({"phase": "Validating", "reason": "BudgetSpent"}));
        governed.status.gate = Some("Closed".to_owned());
        governed.status.closed.insert("kasse-web".to_owned(), "3.2% left, 20% needed".to_owned());
        governed.status.objectives = serde_json::from_value(json!([
            {"name": "verfuegbar", "window": "28d", "budgetRemaining": "3.2%", "budgetSpan": "9d"},
            {"name": "schnell"},
        ]))
        .expect("objectives");
        let text = explained(&governed);
        assert!(text.contains("Gate           Closed: 3.2% left, 20% needed\n"), "{text}");
        assert!(text.contains("               verfuegbar: 3.2% of 28d, seen over 9d only\n"), "{text}");
        assert!(!text.contains("schnell"), "{text}");
    }

    #[test]
    fn it_says_when_the_operator_has_not_seen_the_newest_template_or_nothing_at_all() {
        let stale = samples::governed(json!({"phase": "Succeeded", "newest": {"template": "vorher"}}));
        assert!(explained(&stale).contains("this is said of an earlier template"));
        let mut unseen = stale;
        unseen.status.rollouts.clear();
        assert!(explained(&unseen).contains("the operator has not said anything of it"));
    }
}
