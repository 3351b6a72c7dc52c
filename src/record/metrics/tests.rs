use super::*;

fn metrics() -> Metrics {
    Metrics::new(|| true)
}

/// Whether the page has this line, the prefix left out.
fn has(metrics: &Metrics, line: &str) -> bool {
    metrics.encode().unwrap().lines().any(|have| have.strip_prefix("errorbudget_gatekeeper_") == Some(line))
}

fn key(name: &str) -> DeploymentKey {
    DeploymentKey { namespace: "oz".to_owned(), name: name.to_owned() }
}

#[test]
fn a_rollout_is_counted_in_one_phase_however_often_that_is_said() {
    let metrics = metrics();
    for phase in [Phase::Promoting, Phase::Promoting, Phase::Monitoring, Phase::Monitoring] {
        metrics.phase(&key("tin"), Some(phase));
    }
    metrics.phase(&key("straw"), Some(Phase::Monitoring));
    assert!(has(&metrics, "rollouts{phase=\"Promoting\"} 0"));
    assert!(has(&metrics, "rollouts{phase=\"Monitoring\"} 2"));
    metrics.phase(&key("tin"), None);
    metrics.phase(&key("tin"), None);
    assert!(has(&metrics, "rollouts{phase=\"Monitoring\"} 1"));
}

#[test]
fn what_never_happened_reads_zero() {
    let metrics = metrics();
    assert!(has(&metrics, "events_total{outcome=\"dropped\"} 0"));
    assert!(has(&metrics, "rollbacks_total{outcome=\"NotRecovered\"} 0"));
    assert!(has(&metrics, "looks_total{evidence=\"NoSeries\"} 0"));
    assert!(has(&metrics, "rollouts{phase=\"Halted\"} 0"));
}

#[test]
fn not_recovering_is_counted_and_is_no_recovery_time() {
    let metrics = metrics();
    metrics.recovery(Outcome::NotRecovered, Duration::from_secs(600));
    metrics.recovery(Outcome::Recovered, Duration::from_secs(40));
    assert!(has(&metrics, "rollbacks_total{outcome=\"NotRecovered\"} 1"));
    assert!(has(&metrics, "recovery_seconds_sum{outcome=\"Recovered\"} 40.0"));
    assert!(!metrics.encode().unwrap().contains("recovery_seconds_count{outcome=\"NotRecovered\"}"));
}

#[test]
fn a_failed_query_is_timed_and_counted_with_its_reason() {
    let metrics = metrics();
    metrics.query("default", QueryKind::Instant, Duration::from_secs(5), Some(Missing::TimedOut));
    assert!(has(&metrics, "prometheus_query_duration_seconds_count{endpoint=\"default\",kind=\"instant\"} 1"));
    let failures = "prometheus_query_failures_total{endpoint=\"default\",kind=\"instant\",reason=\"TimedOut\"} 1";
    assert!(has(&metrics, failures));
}

#[test]
fn a_look_without_evidence_has_no_age() {
    let metrics = metrics();
    metrics.look(Err(Missing::Stale));
    metrics.look(Ok(Duration::from_secs(4)));
    assert!(has(&metrics, "looks_total{evidence=\"Stale\"} 1"));
    assert!(has(&metrics, "looks_total{evidence=\"Seen\"} 1"));
    assert!(has(&metrics, "evidence_age_seconds_count 1"));
}

#[test]
fn how_late_decisions_are_can_be_told_below_a_second() {
    let metrics = metrics();
    metrics.decided(Duration::from_millis(350));
    metrics.decided(Duration::from_millis(900));
    assert!(has(&metrics, "decision_lag_seconds_bucket{le=\"0.4\"} 1"));
    assert!(has(&metrics, "decision_lag_seconds_bucket{le=\"1.0\"} 2"));
}

#[test]
fn what_is_left_of_a_budget_is_told_until_it_is_unknown_or_the_policy_goes() {
    let metrics = metrics();
    let policy = PolicyKey { namespace: "oz".to_owned(), name: "tin".to_owned() };
    let other = PolicyKey { namespace: "oz".to_owned(), name: "straw".to_owned() };
    let of = |policy: &str, objective: &str, ratio: &str| {
        format!("budget_remaining_ratio{{namespace=\"oz\",policy=\"{policy}\",objective=\"{objective}\"}} {ratio}")
    };
    metrics.budgets(&policy, &[("quick".to_owned(), 0.5), ("right".to_owned(), -1.25)]);
    metrics.budgets(&other, &[("right".to_owned(), 1.0)]);
    assert!(has(&metrics, &of("tin", "quick", "0.5")) && has(&metrics, &of("tin", "right", "-1.25")));
    metrics.budgets(&policy, &[("right".to_owned(), 0.75)]);
    assert!(has(&metrics, &of("tin", "right", "0.75")) && has(&metrics, &of("straw", "right", "1.0")));
    assert!(!metrics.encode().unwrap().contains("objective=\"quick\""));
    metrics.budgets(&policy, &[]);
    assert!(!metrics.encode().unwrap().contains("policy=\"tin\""));
}

#[test]
fn leadership_is_asked_at_the_scrape() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let leads = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&leads);
    let metrics = Metrics::new(move || asked.load(Ordering::Relaxed));
    assert!(has(&metrics, "leader 1"));
    leads.store(false, Ordering::Relaxed);
    assert!(has(&metrics, "leader 0"));
}

#[test]
fn every_metric_has_a_help_text_and_an_allowed_name() {
    let page = {
        let metrics = metrics();
        metrics.verdict(Verdict::Rollback, Cause::Violation);
        metrics.action(Change::RollBack, WriteOutcome::Applied);
        metrics.reconciled(Duration::from_millis(3), Some("measure"));
        metrics.rollback_decided(Duration::from_secs(12));
        metrics.rollback_accepted(Duration::from_millis(30));
        metrics.status_write(StatusWrite::Written);
        metrics.event(EventFate::Published);
        metrics.query("default", QueryKind::Range, Duration::from_millis(3), Some(Missing::Partial));
        metrics.recovery(Outcome::Recovered, Duration::from_secs(40));
        let policy = PolicyKey { namespace: "oz".to_owned(), name: "tin".to_owned() };
        metrics.budgets(&policy, &[("right".to_owned(), 0.75)]);
        metrics.encode().unwrap()
    };
    let types: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(types.len(), 23, "{types:?}");
    for name in types.iter().filter_map(|line| line.split(' ').next()) {
        assert!(page.contains(&format!("# HELP {name} ")), "{name}");
        assert!(name.starts_with(PREFIX) || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
    }
    assert!(
        page.contains(&format!("errorbudget_gatekeeper_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")))
    );
    assert!(page.ends_with("# EOF\n"));
}
