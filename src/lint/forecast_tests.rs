use serde_json::{Value, json};

use super::*;

fn policy(change: impl FnOnce(&mut Value)) -> Policy {
    let mut policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "ziegel", "namespace": "ofen-4"},
        "spec": {
            "selector": {"matchLabels": {"app": "ofen"}},
            "objectives": [{"name": "o", "target": "99.9", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
        },
    });
    change(&mut policy["spec"]);
    Policy::parse(&serde_json::from_value(policy).expect("the shape of a policy")).expect("it is sound")
}

fn service(policy: &Policy, rate: f64) -> Service<'_> {
    Service {
        policy,
        objective: &policy.objectives[0],
        // Ten minutes at half the budget.
        baseline: Baseline::of_looks(&[Tally::new(rate * 0.005, rate * 10.0); 60]),
        rate,
        replicas: 9,
        scrape_interval: Duration::from_secs(10),
    }
}

fn seconds(found: Option<Moment>) -> u64 {
    found.expect("it is seen").after.as_secs()
}

#[test]
fn the_worse_a_release_the_sooner_it_is_seen_and_so_with_the_traffic() {
    let policy = policy(|_| {});
    let seen = |rate: f64, burn: f64| seconds(forecast(&service(&policy, rate), burn).seen);
    assert!(seen(100.0, 100.0) <= seen(100.0, 14.4) && seen(100.0, 14.4) < seen(100.0, 2.3));
    assert!(seen(1000.0, 14.4) < seen(10.0, 14.4));
    // One look alone never convicts.
    assert!(seen(1_000_000.0, 100.0) > 10);
}

/// What the benchmark of the decision measured of thousands of releases, in seconds.
#[test]
fn a_forecast_is_near_what_thousands_of_simulated_releases_took() {
    let policy = policy(|_| {});
    for (rate, burn, measured) in [(1000.0, 2.3, 110), (100.0, 14.4, 40), (10.0, 14.4, 210)] {
        let seen = seconds(forecast(&service(&policy, rate), burn).seen);
        assert!((measured / 2..=measured * 2).contains(&seen), "{burn}x at {rate}/s: {seen} s, not {measured} s");
    }
}

#[test]
fn the_same_question_has_the_same_answer() {
    let policy = policy(|_| {});
    assert_eq!(forecast(&service(&policy, 30.0), 14.4), forecast(&service(&policy, 30.0), 14.4));
}

#[test]
fn a_release_that_is_taken_as_good_before_anything_is_seen_is_said_to_be() {
    let short = policy(|spec| spec["monitor"] = json!({"timeout": "1m"}));
    let found = forecast(&service(&short, 1.0), 2.3);
    // Two minutes of canary, one of monitoring.
    assert_eq!(found.taken_as_good, Some(Duration::from_secs(180)), "{found:?}");
    assert!(found.missed > 0.5, "{found:?}");
    let long = policy(|spec| spec["monitor"] = json!({"timeout": "24h"}));
    assert_eq!(forecast(&service(&long, 100.0), 14.4).missed, 0.0);
}

#[test]
fn what_is_within_the_budget_is_never_seen() {
    let policy = policy(|_| {});
    let found = forecast(&service(&policy, 100.0), 0.5);
    assert_eq!((found.halted, found.seen, found.missed), (None, None, 1.0));
}

#[test]
fn with_few_scrapes_a_release_is_seen_later() {
    let policy = policy(|_| {});
    let often = forecast(&service(&policy, 100.0), 14.4);
    let seldom = Service { scrape_interval: Duration::from_secs(60), ..service(&policy, 100.0) };
    assert!(seconds(forecast(&seldom, 14.4).seen) > seconds(often.seen));
}

#[test]
fn a_larger_canary_sees_sooner() {
    let half = policy(|spec| spec["canary"] = json!({"traffic": "50%", "hold": "24h", "maximumHold": "24h"}));
    let tenth = policy(|spec| spec["canary"] = json!({"traffic": "10%", "hold": "24h", "maximumHold": "24h"}));
    let seen = |policy: &Policy| seconds(forecast(&service(policy, 50.0), 2.3).seen);
    assert!(seen(&half) < seen(&tenth));
}

#[test]
fn what_new_pods_serve_while_they_warm_up_shows_nothing() {
    let cold = policy(|_| {});
    let warmed = policy(|spec| spec["detection"] = json!({"warmup": "2m"}));
    let seen = |policy: &Policy| seconds(forecast(&service(policy, 1000.0), 100.0).seen);
    assert!(seen(&cold) < 120 && seen(&warmed) > 120, "{} s and {} s", seen(&cold), seen(&warmed));
}
