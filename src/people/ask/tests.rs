use super::super::samples;
use super::*;

fn sense(ask: &Ask, entry: Value) -> Sense {
    ask.sense(&samples::governed(entry))
}

/// The id of the template that the samples' Deployment has.
fn template() -> String {
    samples::deployment().spec.template.id.0
}

fn rollback() -> Ask {
    Ask::Rollback { template: None, reason: None }
}

fn rollback_of(template: &str) -> Ask {
    Ask::Rollback { template: Some(template.to_owned()), reason: None }
}

fn overriding() -> Ask {
    Ask::Override { reason: "fixes the outage".to_owned(), until: None }
}

#[test]
fn an_approval_is_for_a_rollout_that_stands_still_or_waits_for_it() {
    for (phase, reason) in [("Halted", "SharedCause"), ("Rejected", "RevisionRejected"), ("Canary", "ApprovalRequired")]
    {
        assert_eq!(sense(&Ask::Approve, json!({"phase": phase, "reason": reason})), Sense::Ask(template()), "{phase}");
    }
    let stopped = json!({"phase": "Monitoring", "reason": "EvidenceMissing", "clockStopped": "2026-03-04T05:16:00Z"});
    assert_eq!(sense(&Ask::Approve, stopped), Sense::Ask(template()));
    let going = json!({"phase": "Canary", "reason": "NotConvicted", "next": "goes on at 05:16:40"});
    let no = "nothing to approve: laden/kasse-web is Canary (NotConvicted); goes on at 05:16:40";
    assert_eq!(sense(&Ask::Approve, going), Sense::No(no.to_owned()));
}

#[test]
fn an_override_is_for_a_rollout_that_the_gate_could_hold() {
    assert_eq!(sense(&overriding(), json!({"phase": "Validating"})), Sense::Ask(template()));
    assert_eq!(sense(&overriding(), json!({"phase": "Halted", "reason": "BudgetSpent"})), Sense::Ask(template()));
    let Sense::No(no) = sense(&overriding(), json!({"phase": "Succeeded"})) else { panic!("nothing is rolled out") };
    assert!(no.starts_with("nothing to override: laden/kasse-web is Succeeded; "), "{no}");
    assert!(no.ends_with("errorbudget.dev/override: REASON"), "{no}");
}

#[test]
fn a_rollback_of_the_newest_template_is_asked_for_wherever_it_runs() {
    for phase in ["Validating", "Canary", "Promoting", "Monitoring", "Halted", "Succeeded"] {
        assert_eq!(sense(&rollback(), json!({"phase": phase})), Sense::Ask(template()), "{phase}");
        assert_eq!(sense(&rollback_of(&template()), json!({"phase": phase})), Sense::Ask(template()), "{phase}");
    }
}

#[test]
fn a_rollback_asked_for_twice_never_reaches_the_revision_that_came_back() {
    let incident = json!({"condemned": {"revision": 7, "template": "b0b0"}, "outcome": "Recovered"});
    for phase in ["Recovering", "RolledBack"] {
        let entry = json!({"phase": phase, "incident": incident});
        let words = "nothing to do: laden/kasse-web: revision 7 (template b0b0) was rolled back: Recovered";
        assert_eq!(sense(&rollback(), entry.clone()), Sense::Already(words.to_owned()));
        assert_eq!(sense(&rollback_of("b0b0"), entry), Sense::Already(words.to_owned()));
    }
    for phase in ["RollingBack", "Rejected"] {
        let sense = sense(&rollback(), json!({"phase": phase}));
        assert!(matches!(sense, Sense::Already(_)), "{sense:?}");
    }
}

#[test]
fn a_rollback_that_names_its_template_is_answered_long_after_it_was_made() {
    let later = json!({"phase": "Monitoring", "condemned": ["a0a0", "b0b0"]});
    let words = "nothing to do: laden/kasse-web: template b0b0 was rolled back";
    assert_eq!(sense(&rollback_of("b0b0"), later.clone()), Sense::Already(words.to_owned()));
    let Sense::No(no) = sense(&rollback_of("c0c0"), later) else { panic!("it does not run") };
    assert!(no.starts_with("template c0c0 is not the one that laden/kasse-web runs: that is template "), "{no}");
}

#[test]
fn nothing_is_asked_while_the_operator_speaks_of_the_template_before() {
    let stale = json!({"phase": "Halted", "newest": {"template": "vorher"}});
    for ask in [Ask::Approve, overriding(), rollback()] {
        assert_eq!(sense(&ask, stale.clone()), Sense::NotYet, "{ask:?}");
    }
    let mut unseen = samples::governed(stale);
    unseen.status.rollouts.clear();
    assert_eq!(Ask::Approve.sense(&unseen), Sense::NotYet);
    let problem = not_noticed(Program::Plugin, &unseen).to_string();
    assert!(problem.contains("its status says nothing of it"), "{problem}");
    assert!(problem.ends_with("kubectl errorbudget release deployment/kasse-web --namespace laden --reason TEXT"));
}

#[test]
fn an_ask_names_its_template_and_touches_nothing_else() {
    let patch = |ask: &Ask| ask.patch("b0b0");
    assert_eq!(patch(&Ask::Approve), json!({"metadata": {"annotations": {"errorbudget.dev/approve": "b0b0"}}}));
    let annotations = |reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        patch(&Ask::Rollback { template: None, reason })["metadata"]["annotations"].clone()
    };
    let words = "customers call";
    assert_eq!(
        annotations(Some(words)),
        json!({"errorbudget.dev/rollback": "b0b0", "errorbudget.dev/rollback-reason": words})
    );
    assert_eq!(annotations(None)["errorbudget.dev/rollback-reason"], Value::Null, "an earlier one is not this one's");
}

#[test]
fn an_override_names_its_template_and_ends_when_it_was_said_to_and_not_when_an_earlier_one_was() {
    let annotations = |ask: Ask| ask.patch("b0b0")["metadata"]["annotations"].clone();
    let until = Some(samples::now());
    assert_eq!(
        annotations(Ask::Override { reason: "x".to_owned(), until }),
        json!({
            "errorbudget.dev/override": "x",
            "errorbudget.dev/override-until": "2026-03-04T05:16:37Z",
            "errorbudget.dev/override-template": "b0b0",
        })
    );
    assert_eq!(annotations(overriding())["errorbudget.dev/override-until"], Value::Null);
}

#[test]
fn a_reason_must_say_something() {
    assert_eq!(reason(" fixes the outage "), Ok("fixes the outage".to_owned()));
    assert!(reason("  ").is_err());
}

#[test]
fn the_answer_is_told_as_the_operator_said_it() {
    let governed = samples::governed(json!({}));
    let told = |reply: &Reply| told(reply, Program::Plugin, &governed);
    let events = vec![("Approved".to_owned(), "step 2 of 3 begins".to_owned())];
    assert_eq!(told(&Reply::Told { events, is_refused: false }), "Approved: step 2 of 3 begins\n");
    let explain = "`kubectl errorbudget explain deployment/kasse-web --namespace laden`";
    assert!(told(&Reply::Taken).contains(explain) && told(&Reply::None).contains(explain));
}
