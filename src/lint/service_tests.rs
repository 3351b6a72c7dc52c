use serde_json::json;

use super::*;

fn policy() -> Policy {
    let policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "ziegel", "namespace": "ofen-4"},
        "spec": {
            "selector": {"matchLabels": {"app": "ofen"}},
            "objectives": [{"name": "o", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
        },
    });
    Policy::parse(&serde_json::from_value(policy).expect("the shape of a policy")).expect("it is sound")
}

fn warned(scrape_interval: u64, budget: Option<Reading>) -> Vec<String> {
    let served = Served {
        rate: 10.0,
        scrape_interval: Duration::from_secs(scrape_interval),
        baseline: Baseline::unknown(),
        budget,
    };
    let service = Service { name: "ofen".to_owned(), pods: 2, objectives: vec![Some(served)] };
    let mut found = Services { deployments: vec![service], ..Services::default() };
    warn(&policy(), &mut found);
    found.warnings.into_iter().map(|Problem { field, problem }| format!("{field}: {problem}")).collect()
}

#[test]
fn a_window_below_two_scrapes_is_warned_of() {
    assert_eq!(warned(15, None), Vec::<String>::new());
    let said = warned(30, None);
    assert!(said[0].starts_with("spec.detection.window: it is 30s, and Prometheus scrapes these pods every 30s"));
    assert!(said[0].contains("write 1m or more"), "{said:?}");
}

#[test]
fn a_budget_that_is_unknown_is_warned_of_with_its_reason() {
    let said = warned(10, Some(Reading::Unknown("t has no sample in 28d".to_owned())));
    assert_eq!(said, ["spec.objectives[0]: what is left of the budget of ofen is unknown: t has no sample in 28d"]);
}

#[test]
fn of_a_deployment_the_replica_set_with_the_most_pods_is_looked_at() {
    let pods = ["ofen-7-bbbbb", "ofen-7-ccccc", "ofen-8-bbbbb", "lager-7-bbbbb", "db-0"];
    let pods = pods.map(ToOwned::to_owned).into();
    let mut found = Services::default();
    let named = |targets: Vec<Target>| -> Vec<_> {
        targets.into_iter().map(|target| (target.replica_set, target.pods)).collect()
    };
    let all = named(targets(&mut found, &pods, &BTreeSet::new()));
    assert_eq!(all, [("ofen-7".to_owned(), 2), ("lager-7".to_owned(), 1)]);
    assert_eq!(found.strays, ["db-0"]);
    let only = BTreeSet::from(["kasse".to_owned()]);
    assert!(targets(&mut found, &pods, &only).is_empty());
    assert!(found.warnings[0].problem.contains("no pod of a Deployment kasse has series"), "{:?}", found.warnings);
}
