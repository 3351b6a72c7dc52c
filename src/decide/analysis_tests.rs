use super::super::samples::{budget, detection, look};
use super::*;
use crate::measure::look::{Look, Missing};

fn two() -> Analysis {
    Analysis::new(&detection(), &[budget("99"), budget("99.9")], vec![])
}

fn fine() -> Evidence {
    Ok(look((0.0, 1000.0), (0.0, 9000.0)))
}

fn bad() -> Evidence {
    Ok(look((200.0, 1000.0), (0.0, 9000.0)))
}

fn shared() -> Evidence {
    Ok(look((200.0, 1000.0), (1800.0, 9000.0)))
}

#[test]
fn the_worst_objective_decides() {
    let mut analysis = two();
    for _ in 0..4 {
        analysis.observe(&[shared(), bad()]);
    }
    let found = analysis.assess();
    assert_eq!((found.verdict, found.reason, found.objective), (Verdict::Rollback, Reason::Violation, 1));
    assert_eq!(found.findings[0].reason, Reason::SharedCause);
    assert_eq!(found.deciding(), &found.findings[1]);
}

#[test]
fn what_was_seen_is_said_before_what_is_missing() {
    let mut analysis = two();
    for _ in 0..4 {
        analysis.observe(&[Err(Missing::Stale), shared()]);
    }
    let found = analysis.assess();
    assert_eq!((found.verdict, found.reason, found.objective), (Verdict::Halt, Reason::SharedCause, 1));
}

#[test]
fn of_equal_objectives_the_one_with_more_evidence_is_named() {
    let mut analysis = two();
    let burning = Ok(look((40.0, 1000.0), (0.0, 9000.0)));
    for _ in 0..4 {
        analysis.observe(&[burning, burning]);
    }
    assert_eq!(analysis.assess().objective, 1, "the smaller budget is violated more clearly");
    assert_eq!(two().assess().objective, 0);
}

#[test]
fn several_objectives_share_the_confidence() {
    let looks_to_convict = |objectives: usize| {
        let mut analysis = Analysis::new(&detection(), &vec![budget("99"); objectives], vec![]);
        let mut evidence = vec![fine(); objectives];
        evidence[0] = Ok(look((19.0, 1000.0), (0.0, 9000.0)));
        let convicts = |_: &usize| {
            analysis.observe(&evidence);
            analysis.assess().verdict == Verdict::Rollback
        };
        (1..100).find(convicts)
    };
    let (one, eight) = (looks_to_convict(1), looks_to_convict(8));
    assert!(one.is_some() && one < eight, "{one:?} and {eight:?}");
}

#[test]
fn a_resume_forgets() {
    let mut analysis = two();
    let fresh = analysis.assess();
    for _ in 0..10 {
        analysis.observe(&[shared(), Err(Missing::Stale)]);
    }
    analysis.restart();
    assert_eq!(analysis.assess(), fresh);
    assert!(analysis.is_blind());
    for _ in 0..6 {
        analysis.observe(&[fine(), fine()]);
    }
    assert_eq!(analysis.assess().verdict, Verdict::Proceed);
}

#[test]
fn calm_is_that_of_the_least_calm_objective() {
    let calm_after = |looks: &[[Evidence; 2]]| {
        let mut analysis = two();
        looks.iter().for_each(|look| analysis.observe(look));
        analysis.calm()
    };
    let rare = Ok(look((0.0, 10.0), (0.0, 90.0)));
    assert_eq!(calm_after(&[[fine(), fine()]; 5]), Calm::Unknown);
    assert_eq!(calm_after(&[[fine(), fine()]; 6]), Calm::Proven);
    assert_eq!(calm_after(&[[rare, rare]; 6]), Calm::Unproven, "600 requests are enough for 99 % only");
    assert_eq!(calm_after(&[[fine(), bad()]; 6]), Calm::No);
    let mut looks = vec![[fine(), fine()]; 6];
    looks.push([fine(), Err(Missing::Stale)]);
    assert_eq!(calm_after(&looks), Calm::Unknown, "nobody knows without evidence");
}

#[test]
fn blind_is_whoever_saw_nothing_of_an_objective() {
    let mut analysis = two();
    assert!(analysis.is_blind());
    analysis.observe(&[fine(), Err(Missing::NoSeries)]);
    assert!(analysis.is_blind());
    analysis.observe(&[fine(), Ok(Look::default())]);
    assert!(!analysis.is_blind());
}

#[test]
fn a_silent_canary_pod_holds_a_release_that_looks_good_and_hides_nothing_of_one_that_does_not() {
    let mut analysis = two();
    for _ in 0..8 {
        analysis.observe(&[fine(), fine()]);
    }
    assert_eq!(analysis.calm(), Calm::Proven);
    analysis.note_silence(true);
    let found = analysis.assess();
    assert_eq!((found.verdict, found.reason), (Verdict::Halt, Reason::EvidenceMissing(Missing::Silent)));
    assert_eq!(analysis.calm(), Calm::Unknown);
    for _ in 0..4 {
        analysis.observe(&[fine(), bad()]);
    }
    assert_eq!(analysis.assess().verdict, Verdict::Rollback);
    analysis.restart();
    analysis.note_silence(false);
    assert_eq!(analysis.assess().reason, Reason::NotConvicted);
}

#[test]
fn where_the_policy_goes_on_without_evidence_a_silent_pod_is_said_only() {
    let goes_on = Detection { on_missing_evidence: OnMissingEvidence::Proceed, ..detection() };
    let mut analysis = Analysis::new(&goes_on, &[budget("99")], vec![]);
    analysis.observe(&[fine()]);
    analysis.note_silence(true);
    let found = analysis.assess();
    assert_eq!((found.verdict, found.reason), (Verdict::Proceed, Reason::EvidenceMissing(Missing::Silent)));
}
