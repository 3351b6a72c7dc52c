#![allow(clippy::unwrap_used)]

use super::*;
use crate::policy::{BurnRate, Confidence, OnMissingEvidence};

const LOOK: Duration = Duration::from_secs(10);

fn parse(errors: &str, total: &str, counts: Counts) -> Result<Query, String> {
    parse_for([errors, total], counts, Rule::Sequential)
}

fn parse_for(texts: [&str; 2], counts: Counts, rule: Rule) -> Result<Query, String> {
    let detection = Detection {
        window: LOOK * 3,
        looks: 3,
        violation: BurnRate::parse("1").unwrap(),
        warning: BurnRate::parse("0.5").unwrap(),
        confidence: Confidence::parse_percent("99").unwrap(),
        rule,
        on_missing_evidence: OnMissingEvidence::Hold,
    };
    let told = |errors: Vec<InvalidQuery>| {
        errors.iter().map(|error| format!("{}: {error}", error.field())).collect::<Vec<_>>()
    };
    Query::parse(texts, counts, "shop", "namespace", &detection).map_err(|errors| told(errors).join(" | "))
}

fn names(hash: &str) -> Names {
    Names {
        namespace: "shop".to_owned(),
        deployment: "web".to_owned(),
        replica_set: format!("web-{hash}"),
        revision: 3,
        labels: BTreeMap::from([("version".to_owned(), "v1".to_owned())]),
    }
}

fn revisions() -> Revisions {
    Revisions { canary: names("new4"), stable: Some(names("old5")) }
}

fn told_apart() -> Query {
    let errors = r#"e{namespace="{{namespace}}",rs="{{replicaSet}}"}"#;
    parse(errors, &errors.replacen('e', "t", 1), Counts::Cumulative).unwrap()
}

fn series(part: &str, client: &str, points: &[(i64, f64)]) -> Series {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let points = points.iter().map(|(at, value)| Point { at: *at, value: *value }).collect();
    Series {
        pod: client.to_owned(),
        others: vec![label("errorbudget_part", part), label("zone", "a")],
        points,
        ..Series::default()
    }
}

#[test]
fn one_query_asks_all_of_both_revisions() {
    assert_eq!(
        told_apart().text(Some(&revisions()), LOOK).unwrap(),
        "label_replace(e{namespace=\"shop\",rs=\"web-new4\"}, \"errorbudget_part\", \"canary errors\", \"\", \"\") \
         or label_replace(t{namespace=\"shop\",rs=\"web-new4\"}, \"errorbudget_part\", \"canary total\", \"\", \"\") \
         or label_replace(max(timestamp(t{namespace=\"shop\",rs=\"web-new4\"})), \"errorbudget_part\", \"canary taken0\", \"\", \"\") \
         or label_replace(e{namespace=\"shop\",rs=\"web-old5\"}, \"errorbudget_part\", \"stable errors\", \"\", \"\") \
         or label_replace(t{namespace=\"shop\",rs=\"web-old5\"}, \"errorbudget_part\", \"stable total\", \"\", \"\") \
         or label_replace(max(timestamp(t{namespace=\"shop\",rs=\"web-old5\"})), \"errorbudget_part\", \"stable taken0\", \"\", \"\")"
    );
}

#[test]
fn what_cannot_be_told_apart_is_asked_once() {
    let query = parse(r#"e{namespace="shop"}"#, r#"t{namespace="shop"}"#, Counts::Cumulative).unwrap();
    assert!(!query.tells_revisions_apart());
    let text = query.text(Some(&revisions()), LOOK).unwrap();
    assert!(!text.contains("stable") && text.contains("canary total"), "{text}");
}

#[test]
fn revisions_with_the_same_label_are_missing_and_not_mixed_up() {
    let text = |label: &str| format!("{label}{{namespace=\"shop\",v=\"{{{{podLabel.version}}}}\"}}");
    let query = parse(&text("e"), &text("t"), Counts::Cumulative).unwrap();
    let failure = query.text(Some(&revisions()), LOOK).unwrap_err();
    assert!(failure.message.contains("the same values for web-new4 and web-old5"), "{failure}");
    let first = Revisions { stable: None, ..revisions() };
    assert!(query.text(Some(&first), LOOK).is_ok(), "there is nothing to mix it up with");
    let query = parse(&text("e").replace("version", "tier"), &text("t"), Counts::Cumulative).unwrap();
    let failure = query.text(Some(&revisions()), LOOK).unwrap_err();
    assert!(failure.message.contains("the pods of web-new4 have no label tier"), "{failure}");
}

#[test]
fn all_selectors_tell_revisions_apart_or_none_does() {
    let (apart, whole) = (r#"a{namespace="shop",rs="{{replicaSet}}"}"#, r#"b{namespace="shop"}"#);
    let error = parse(apart, whole, Counts::Cumulative).unwrap_err();
    assert!(error.starts_with("indicator.query: some selectors tell revisions apart by {{replicaSet}}"), "{error}");
    let error = parse(&format!("{apart} - {whole}"), apart, Counts::Cumulative).unwrap_err();
    assert!(error.starts_with("indicator.query.errors: some selectors"), "{error}");
    let error = parse("a", "b", Counts::Cumulative).unwrap_err();
    assert!(error.starts_with("indicator.query.errors: a is not bound to the policy's namespace"), "{error}");
    assert!(error.contains(" | indicator.query.total: b is not bound"), "all that is wrong is told: {error}");
}

#[test]
fn what_is_not_told_apart_is_never_left_to_a_rule_that_rolls_back_without_comparing() {
    let (errors, total) = (r#"e{namespace="shop"}"#, r#"t{namespace="shop"}"#);
    let error = parse_for([errors, total], Counts::Cumulative, Rule::Threshold).unwrap_err();
    assert!(error.contains("write rule: Sequential, which then halts"), "{error}");
}

#[test]
fn errors_and_totals_of_a_series_are_put_together_by_their_labels() {
    let answer = Answer::of(vec![
        series("canary total", "gate-1", &[(10_000, 100.0), (20_000, 150.0)]),
        series("canary total", "gate-2", &[(20_000, 7.0)]),
        series("canary errors", "gate-1", &[(20_000, 3.0)]),
        series("canary taken0", "", &[(10_000, 9.0), (20_000, 18.5)]),
        series("canary taken1", "", &[(20_000, 19.0)]),
        series("stable total", "gate-1", &[(20_000, 1000.0)]),
        series("stable taken0", "", &[(20_000, 17.0)]),
    ]);
    let samples = told_apart().samples(&answer).unwrap();
    let of = |side, at: i64| {
        let samples = samples[&at].of(side).iter();
        samples.map(|one| (one.pod.to_string(), one.errors, one.total, one.taken.as_millisecond())).collect::<Vec<_>>()
    };
    let key = |client: &str| format!("{{pod=\"{client}\",zone=\"a\"}}");
    assert_eq!(of(Side::Canary, 10_000), [(key("gate-1"), None, 100.0, 9_000)]);
    assert_eq!(
        of(Side::Canary, 20_000),
        [(key("gate-1"), Some(3.0), 150.0, 19_000), (key("gate-2"), None, 7.0, 19_000)]
    );
    assert_eq!(of(Side::Stable, 20_000), [(key("gate-1"), None, 1000.0, 17_000)]);
    assert_eq!(samples[&20_000].source, Source::Query { counts: Counts::Cumulative, is_apart: true });
}

#[test]
fn errors_that_no_total_counts_do_not_go_unseen() {
    let answer = Answer::of(vec![
        series("canary total", "gate-1", &[(10_000, 100.0)]),
        series("canary errors", "gate-2", &[(10_000, 3.0)]),
        series("canary taken0", "", &[(10_000, 9.0)]),
    ]);
    let failure = told_apart().samples(&answer).unwrap_err();
    assert!(
        failure.message.contains("errors has a series {pod=\"gate-2\",zone=\"a\"} that total has not"),
        "{failure}"
    );
}

#[test]
fn a_count_of_a_look_is_as_new_as_the_look() {
    let text =
        |metric: &str| format!("sum(increase({metric}{{namespace=\"shop\",rs=\"{{{{replicaSet}}}}\"}}[{{{{look}}}}]))");
    let query = parse(&text("e"), &text("t"), Counts::PerWindow).unwrap();
    let asked = query.text(Some(&revisions()), LOOK).unwrap();
    assert!(asked.contains("t{namespace=\"shop\",rs=\"web-new4\"}[10s]") && !asked.contains("timestamp"), "{asked}");
    let answer = Answer::of(vec![series("canary total", "", &[(10_000, 0.0)])]);
    let samples = query.samples(&answer).unwrap();
    assert_eq!(samples[&10_000].canary[0].taken.as_millisecond(), 10_000);
}
