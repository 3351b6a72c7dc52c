use std::path::Path;
use std::time::Duration;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::measure::slos::Unread;
use crate::policy::Indicator as Told;

pub(crate) fn sloth(name: &str) -> Value {
    json!({"name": name, "indicator": {"sloth": {"service": "ofen", "slo": name}}})
}

fn ratio(name: &str) -> Value {
    json!({"name": name, "target": "99.5", "indicator": {"ratio": {"errors": "e", "total": "t"}}})
}

pub(crate) fn slo(target: &str, total: &str) -> Answer {
    Answer::Known(Ok(Slo {
        target: target.to_owned(),
        window: Duration::from_secs(30 * 86_400),
        indicator: Told::Ratio { errors: "fehler".to_owned(), total: total.to_owned() },
        budget_from: None,
    }))
}

pub(crate) fn view(objectives: Value) -> PolicyView {
    let object = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "ofen", "namespace": "laden", "uid": "uid-ofen", "generation": 4},
        "spec": {
            "selector": {"matchLabels": {"app": "ofen"}},
            "objectives": objectives,
            "detection": {"violation": "3"},
        },
    });
    serde_json::from_value(object).expect("a view can always be read")
}

pub(crate) fn config() -> OperatorConfig {
    OperatorConfig::parse(Path::new("test"), "prometheus: {default: {url: 'http://here'}}").expect("sound")
}

/// What a policy with these objectives comes to, when this is known of the SLOs that it names.
fn taken_in(objectives: Value, answer: impl Fn(&SloName) -> Answer) -> Result<InForce, NotInForce> {
    in_force(&view(objectives), &config(), |_, name| answer(name), true)
}

fn why(in_force: &InForce) -> (&'static str, String) {
    let why = in_force.why_lacking().expect("something is lacking");
    (why.reason, why.message.clone())
}

#[test]
fn what_is_named_stands_where_it_was_named_with_all_that_was_read() {
    let objectives = json!([sloth("a"), ratio("b"), sloth("c")]);
    let found = taken_in(objectives, |_| slo("99.9", "alle")).expect("it is in force");
    assert_eq!((found.lacking, found.objectives), (None, vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
    let told = found.policy.objectives.iter().map(|objective| (objective.target.as_str(), objective.window.as_secs()));
    assert_eq!(told.collect::<Vec<_>>(), [("99.9", 2_592_000), ("99.5", 2_419_200), ("99.9", 2_592_000)]);
    assert_eq!(found.indicators.iter().map(Indicator::total).collect::<Vec<_>>(), ["alle", "t", "alle"]);
    assert!(found.policy.named.is_empty() && found.slos.len() == 2);
    assert!(found.read.starts_with("a: 99.9 % over 30d, of Sloth's SLO \"a\" of \"ofen\"; c: "), "{}", found.read);
}

#[test]
fn a_policy_of_which_an_slo_is_not_known_governs_all_the_same_and_says_why() {
    let found = taken_in(json!([sloth("a")]), |_| Answer::NotAsked).expect("it governs");
    assert_eq!((found.lacking, found.slos.len()), (Some(Lacking::NotAsked), 0));
    let gone = |_: &SloName| Answer::Known(Err(Unread::NotFound("it is not there".to_owned())));
    let found = taken_in(json!([ratio("b"), sloth("a")]), gone).expect("it governs");
    assert_eq!(why(&found), ("SloNotFound", "objective a: it is not there".to_owned()));
}

#[test]
fn that_prometheus_does_not_tell_is_another_thing_than_that_there_is_no_slo() {
    let known = |unread: Unread| {
        let (mut watched, view) = (Watched::new(), view(json!([sloth("a")])));
        watched.is(&view);
        let policies = Policies::default();
        policies.take_in(&view.key(), &watched.store, &config(), |_, _| Answer::Known(Err(unread.clone())));
        policies.get(&view.key()).expect("it is known")
    };
    let silent = known(Unread::Unanswered("nobody there".to_owned()));
    assert_eq!(silent.unanswered(), Some("objective a: nobody there"));
    assert_eq!(why(silent.outcome.as_ref().expect("it governs")).0, "SloUnanswered");
    assert_eq!(known(Unread::NotFound("it is not there".to_owned())).unanswered(), None);
}

#[test]
fn an_slo_of_another_namespaces_counters_is_not_measured() {
    let foreign = |_: &SloName| slo("99.9", r#"alle{namespace="bank"}"#);
    let (reason, message) = why(&taken_in(json!([sloth("a")]), foreign).expect("it governs"));
    assert_eq!(reason, "SloNotUsable");
    assert!(message.contains("a policy reads its own namespace only") && message.contains("Sloth's SLO"), "{message}");
    let own = taken_in(json!([sloth("a")]), |_| slo("99.9", r#"alle{namespace="laden"}"#)).expect("it governs");
    assert_eq!(own.lacking, None);
}

#[test]
fn a_target_that_cannot_be_violated_so_fast_is_found_once_it_is_read() {
    let (reason, message) = why(&taken_in(json!([sloth("a")]), |_| slo("50", "alle")).expect("it governs"));
    assert_eq!(reason, "SloNotUsable");
    assert!(message.contains("spec.detection.violation: objective a cannot burn faster than 2x"), "{message}");
}

#[test]
fn what_is_wrong_in_its_own_words_is_its_own_fault() {
    let mut broken = ratio("b");
    broken["indicator"]["ratio"]["total"] = json!("rate(t[5m])");
    let refused = taken_in(json!([sloth("a"), broken]), |_| slo("99.9", "alle")).expect_err("a selector is none");
    assert_eq!(refused.reason, "InvalidIndicator");
}

/// Policies as a watch brings them.
pub(crate) struct Watched {
    pub(crate) store: Store<PolicyView>,
    writer: kube::runtime::reflector::store::Writer<PolicyView>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        let (store, writer) = kube::runtime::reflector::store();
        Self { store, writer }
    }

    pub(crate) fn is(&mut self, view: &PolicyView) {
        self.writer.apply_watcher_event(&Event::Apply(view.clone()));
    }

    pub(crate) fn is_gone(&mut self, view: &PolicyView) {
        self.writer.apply_watcher_event(&Event::Delete(view.clone()));
    }
}

fn lacking(policies: &Policies, key: &PolicyKey) -> Option<Lacking> {
    policies.get(key).expect("it is known").outcome.expect("it governs").lacking.clone()
}

#[test]
fn a_policy_that_is_gone_is_not_taken_in_again_by_who_saw_it_before() {
    let (mut watched, view) = (Watched::new(), view(json!([sloth("a")])));
    let (policies, key, config) = (Policies::default(), view.key(), config());
    watched.is(&view);
    assert!(policies.take_in(&key, &watched.store, &config, |_, _| slo("99.9", "alle")));
    assert!(policies.get(&key).is_some());
    watched.is_gone(&view);
    for _ in 0..2 {
        assert!(!policies.take_in(&key, &watched.store, &config, |_, _| slo("99.9", "alle")));
        assert!(policies.get(&key).is_none());
    }
}

#[test]
fn what_was_read_of_an_slo_is_not_replaced_by_what_was_known_before() {
    let (mut watched, view) = (Watched::new(), view(json!([sloth("a")])));
    let (policies, key, config) = (Policies::default(), view.key(), config());
    watched.is(&view);
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        let (policies, key, config, store) = (&policies, &key, &config, &watched.store);
        let ended = std::sync::Mutex::new(Some(ended));
        policies.take_in(key, store, config, |_, _| {
            // After this one has read that nothing is known, and before it has taken that in, another one knows more.
            if let Some(ended) = ended.lock().expect("sound").take() {
                threads.spawn(move || {
                    policies.take_in(key, store, config, |_, _| slo("99.9", "alle"));
                    let _ = ended.send(());
                });
                let _ = end.recv_timeout(Duration::from_millis(100));
            }
            Answer::NotAsked
        });
    });
    assert_eq!(lacking(&policies, &key), None);
}

#[test]
fn what_was_asked_for_an_slo_says_nothing_once_the_slo_is_another() {
    let (mut watched, view) = (Watched::new(), view(json!([sloth("a")])));
    let (policies, key, config) = (Policies::default(), view.key(), config());
    watched.is(&view);
    policies.take_in(&key, &watched.store, &config, |_, _| slo("99.9", "alle"));
    let asked = policies.get(&key).expect("it is known").outcome.expect("it is in force");
    assert!(policies.still_says(&asked));
    policies.take_in(&key, &watched.store, &config, |_, _| slo("99.5", "alle"));
    assert!(!policies.still_says(&asked));
    watched.is_gone(&view);
    policies.take_in(&key, &watched.store, &config, |_, _| Answer::NotAsked);
    assert!(!policies.still_says(&asked));
}
