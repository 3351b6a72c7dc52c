use serde_json::{Value, json};

use super::*;
use crate::policy::{HistogramType, Latency};

/// A policy with these objectives, changed like this.
fn parsed(objectives: Value, change: impl FnOnce(&mut Value)) -> Result<Policy, Vec<PolicyError>> {
    let mut policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "ziegel", "namespace": "ofen-4"},
        "spec": {"selector": {"matchLabels": {"app": "ofen"}}, "objectives": objectives},
    });
    change(&mut policy["spec"]);
    Policy::parse(&serde_json::from_value(policy).expect("it has the shape of a policy"))
}

fn named() -> Value {
    json!([{"name": "schnell", "indicator": {"pyrra": {"name": "ofen-schnell"}}}])
}

fn slo(days: u64, indicator: Indicator) -> Slo {
    let window = Duration::from_secs(days * 86_400);
    Slo { target: "99".to_owned(), window, indicator, budget_from: None }
}

fn ratio() -> Indicator {
    Indicator::Ratio { errors: "fehler".to_owned(), total: "alle".to_owned() }
}

fn latency(kind: HistogramType) -> Indicator {
    let threshold = Duration::from_millis(250);
    Indicator::Latency(Latency { histogram: "dauer_seconds".to_owned(), threshold, kind, unit: None })
}

fn fields(errors: Vec<PolicyError>) -> Vec<String> {
    errors.into_iter().map(|error| error.field).collect()
}

#[test]
fn an_slo_is_named_and_nothing_of_it_is_said_twice() {
    let policy = parsed(named(), |_| {}).expect("it is sound");
    let slo = SloName::Pyrra { name: "ofen-schnell".to_owned() };
    assert_eq!(policy.named, [Named { place: 0, name: "schnell".to_owned(), slo, warmup: None }]);
    assert!(policy.objectives.is_empty());
    for (field, value) in [("target", json!("99")), ("window", json!("28d")), ("budgetFrom", json!({"remaining": "r"}))]
    {
        let errors = parsed(named(), |spec| spec["objectives"][0][field] = value).expect_err(field);
        assert_eq!(errors[0].problem, "Pyrra says it; leave it out, or write another indicator");
        assert_eq!(fields(errors), [format!("spec.objectives[0].{field}")]);
    }
    let both = json!({"pyrra": {"name": "a"}, "sloth": {"service": "a", "slo": "b"}});
    let errors = parsed(named(), |spec| spec["objectives"][0]["indicator"] = both).expect_err("which one?");
    assert!(fields(errors).contains(&"spec.objectives[0].indicator".to_owned()));
    let both = json!({"sloth": {"service": "a", "slo": "b"}, "ratio": {"errors": "e", "total": "t"}});
    let errors = parsed(named(), |spec| spec["objectives"][0]["indicator"] = both).expect_err("which one?");
    assert!(fields(errors).contains(&"spec.objectives[0].indicator".to_owned()));
    let empty = json!({"sloth": {"service": "", "slo": "a\nb"}});
    let errors = parsed(named(), |spec| spec["objectives"][0]["indicator"] = empty).expect_err("no names");
    let expected = ["spec.objectives[0].indicator.sloth.service", "spec.objectives[0].indicator.sloth.slo"];
    assert_eq!(fields(errors), expected);
}

#[test]
fn what_is_read_is_checked_like_what_is_written() {
    let policy = parsed(named(), |_| {}).expect("it is sound");
    let whole = policy.with_slos(&[slo(28, latency(HistogramType::Native))]).expect("it goes with the policy");
    assert_eq!((whole.objectives[0].warmup, whole.objectives[0].budget.ratio()), (Duration::from_secs(30), 0.01));
    let errors = policy.with_slos(&[slo(91, ratio())]).expect_err("longer than any window");
    assert_eq!(fields(errors), ["spec.objectives[0].indicator.pyrra"]);
    let odd = Slo { target: "100".to_owned(), ..slo(28, ratio()) };
    assert_eq!(fields(policy.with_slos(&[odd]).expect_err("no budget")), ["spec.objectives[0].indicator.pyrra"]);

    let steep = parsed(named(), |spec| spec["detection"] = json!({"violation": "100"})).expect("it is sound");
    assert_eq!(fields(steep.with_slos(&[slo(28, ratio())]).expect_err("1 % burns 100x")), ["spec.detection.violation"]);
    let short = parsed(named(), |spec| spec["monitor"] = json!({"timeout": "40s"})).expect("it is sound");
    assert!(short.with_slos(&[slo(28, ratio())]).is_ok());
    let errors = short.with_slos(&[slo(28, latency(HistogramType::Classic))]).expect_err("a warmup of 30 s");
    assert_eq!(fields(errors), ["spec.monitor.timeout"]);
    let pods = parsed(named(), |spec| spec["evidence"] = json!("Pods")).expect("it is sound");
    assert!(pods.with_slos(&[slo(28, latency(HistogramType::Classic))]).is_ok());
    let errors = pods.with_slos(&[slo(28, latency(HistogramType::Native))]).expect_err("no text has it");
    assert!(errors[0].problem.contains("native histogram") && errors[0].problem.contains("evidence: Prometheus"));
}
