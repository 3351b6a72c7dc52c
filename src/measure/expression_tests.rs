#![allow(clippy::unwrap_used)]

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, VectorSelector};

use super::*;
use proptest::prelude::*;

const LOOK: Duration = Duration::from_secs(10);

const ISTIO: &str = r#"sum by (pod) (istio_requests_total{reporter="waypoint",destination_workload_namespace="{{namespace}}",destination_workload="{{deployment}}",destination_version="{{podLabel.version}}",response_code=~"5.."})"#;

fn parse(text: &str, counts: Counts) -> Result<Expression, String> {
    Expression::parse(text, "shop", "namespace", counts, LOOK).map_err(|error| error.to_string())
}

fn cumulative(text: &str) -> Result<Expression, String> {
    parse(text, Counts::Cumulative)
}

fn names() -> Names {
    Names {
        namespace: "shop".to_owned(),
        deployment: "web".to_owned(),
        replica_set: "web-7d9f8b6c5d".to_owned(),
        revision: 12,
        labels: BTreeMap::from([("version".to_owned(), "v2\"} or secret{a=\"".to_owned())]),
    }
}

/// Every selector of a text, with its matchers.
fn selectors(tree: &Expr) -> Vec<VectorSelector> {
    match tree {
        Expr::VectorSelector(selector) => vec![selector.clone()],
        Expr::MatrixSelector(matrix) => vec![matrix.vs.clone()],
        Expr::Subquery(subquery) => selectors(&subquery.expr),
        Expr::Aggregate(aggregate) => selectors(&aggregate.expr),
        Expr::Paren(paren) => selectors(&paren.expr),
        Expr::Binary(binary) => [selectors(&binary.lhs), selectors(&binary.rhs)].concat(),
        Expr::Call(call) => call.args.args.iter().flat_map(|argument| selectors(argument)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn placeholders_become_the_values_of_labels_and_nothing_else() {
    let text = cumulative(ISTIO).unwrap().of(&names(), LOOK).unwrap();
    assert_eq!(
        text,
        r#"sum by (pod) (istio_requests_total{reporter="waypoint",destination_workload_namespace="shop",destination_workload="web",destination_version="v2\"} or secret{a=\"",response_code=~"5.."})"#
    );
    let tree = promql_parser::parser::parse(&text).unwrap();
    assert_eq!(selectors(&tree).len(), 1, "the label's value did not become a selector");
}

#[test]
fn in_a_regular_expression_a_value_is_taken_literally() {
    let of = |text| cumulative(text).unwrap().of(&names(), LOOK).unwrap();
    assert_eq!(
        of(r#"requests_total{namespace="{{ namespace }}",pod=~"{{replicaSet}}-.+",version=~"{{podLabel.version}}"}"#),
        r#"requests_total{namespace="shop",pod=~"web-7d9f8b6c5d-.+",version=~"v2\\\"\\}\\ or\\ secret\\{a\\=\\\""}"#
    );
    assert_eq!(
        of(r#"r{namespace="shop",hash="{{podTemplateHash}}",n="r{{revision}}"}"#),
        r#"r{namespace="shop",hash="7d9f8b6c5d",n="r12"}"#
    );
}

#[test]
fn a_revision_without_a_value_says_which() {
    let of = |text: &str, names: &Names| cumulative(text).unwrap().of(names, LOOK).unwrap_err();
    let young = Names { revision: 0, replica_set: "odd".to_owned(), ..names() };
    assert_eq!(of(r#"r{namespace="shop",n="{{revision}}"}"#, &young), "odd has no revision yet");
    assert_eq!(of(r#"r{namespace="shop",n="{{podTemplateHash}}"}"#, &young), "the name odd tells no template hash");
    assert_eq!(
        of(r#"r{namespace="shop",n="{{podLabel.app.kubernetes.io/version}}"}"#, &young),
        "the pods of odd have no label app.kubernetes.io/version"
    );
}

#[test]
fn every_selector_is_bound_to_the_namespace() {
    for unbound in [
        "requests_total",
        r#"requests_total{namespace="bank"}"#,
        r#"requests_total{namespace=~"{{namespace}}"}"#,
        r#"requests_total{namespace=~"shop|.+"}"#,
        r#"requests_total{namespace!="shop"}"#,
        r#"requests_total{namespace="{{namespace}}-2"}"#,
        r#"requests_total{team="{{namespace}}"}"#,
        r#"requests_total{namespace="{{deployment}}"}"#,
        r#"a{namespace="shop"} + b"#,
        r#"sum(a{namespace="shop"} or on () b{namespace="bank"})"#,
        r#"label_replace(secrets, "namespace", "shop", "", "")"#,
    ] {
        let error = cumulative(unbound).unwrap_err();
        assert!(error.contains("is not bound to the policy's namespace; write namespace=\"{{namespace}}\""), "{error}");
    }
    for label in NAMESPACE_LABELS {
        assert!(cumulative(&format!("r{{{label}=\"{{{{namespace}}}}\"}}")).is_ok(), "{label}");
        assert!(cumulative(&format!("r{{{label}='shop',namespace=\"ingress-nginx\"}}")).is_ok(), "{label}");
    }
    assert!(
        Expression::parse("r{ns=\"{{namespace}}\"}", "shop", "ns", Counts::Cumulative, LOOK).is_ok(),
        "the endpoint's own"
    );
}

#[test]
fn what_could_read_more_than_its_selectors_is_refused() {
    let ours = r#"a{namespace="shop"}"#;
    for (text, why) in [
        (format!("info({ours})"), "the function info"),
        (format!("topk(scalar(b), {ours})"), "the aggregation topk"),
        (format!("quantile(0.9, {ours})"), "the aggregation quantile"),
        (format!("absent({ours})"), "the function absent"),
        (format!("{ours} and on () b"), "the operator and"),
        (format!("{ours} > 0"), "the operator >"),
        (format!("{ours} offset 1w"), "moved in time"),
        (format!("{ours} @ 0"), "moved in time"),
        (format!("max_over_time({ours}[1h:1m])"), "the function max_over_time"),
        ("{namespace=\"shop\",__name__=~\".+\"}".to_owned(), "metric name"),
        ("a{namespace=\"shop\",__name__=~\".+\"}".to_owned(), "__name__"),
        ("a{namespace=\"shop\" or team=\"bank\"}".to_owned(), "an \"or\" between its matchers"),
        ("vector(1)".to_owned(), "0 selectors"),
        ("1".to_owned(), "no series"),
        (format!("-{ours}"), "a sign"),
        ([ours; 9].join(" + "), "9 selectors"),
        (format!("a{{namespace=\"shop\",b=\"{}\"}}", "x".repeat(5000)), "characters"),
    ] {
        let error = cumulative(&text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_counter_is_not_a_rate() {
    let rate = r#"sum(rate(a{namespace="shop"}[1m]))"#;
    let error = cumulative(rate).unwrap_err();
    assert!(error.contains("the function rate; it is a count that is needed, not a rate"), "{error}");
    let error = cumulative("increase(a{namespace=\"shop\"}[{{look}}])").unwrap_err();
    assert!(error.contains("counts: Cumulative takes counters as they are"), "{error}");
}

#[test]
fn a_count_of_each_look_needs_the_look_in_every_selector() {
    let per_window = |text| parse(text, Counts::PerWindow);
    let good = per_window(r#"sum(increase(a{namespace="shop"}[{{look}}]))"#).unwrap();
    assert_eq!(good.of(&names(), LOOK).unwrap(), r#"sum(increase(a{namespace="shop"}[10s]))"#);
    for (text, why) in [
        (r#"a{namespace="shop"}"#, "needs the range of a look; write increase(a{namespace=\"shop\"}[{{look}}])"),
        (r#"increase(a{namespace="shop"}[5m])"#, "not that of a look; write [{{look}}]"),
        (r#"increase(a{namespace="shop",l="{{look}}"}[{{look}}])"#, "write it in brackets"),
        (r#"increase(a{namespace="shop"}[{{look}}:1s])"#, "write it in brackets"),
        (r#"rate(a{namespace="shop"}[{{look}}])"#, "it is a count that is needed, not a rate"),
    ] {
        let error = per_window(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_placeholder_that_cannot_be_meant_is_named() {
    for (text, why) in [
        (r#"a{namespace="{{ns}}"}"#, "there is no placeholder {{ns}}; write {{namespace}}, {{deployment}}"),
        (r#"a{namespace="{{namespace}"}"#, "does not end with }}"),
        (r#"{{deployment}}_total{namespace="shop"}"#, "it is not PromQL"),
        (r#"label_replace(a{namespace="shop"}, "x", "{{deployment}}", "", "")"#, "a placeholder stands in a string"),
        (r#"a{namespace="shop",pod!="{{replicaSet}}"}"#, "write = or =~"),
        (r#"a{namespace="shop",pod!~"{{replicaSet}}.*"}"#, "write = or =~"),
        ("a{namespace=\"shop\",b=\"\u{e000}\"}", "private use"),
    ] {
        let error = cumulative(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_character_that_only_looks_like_a_mark_gives_no_other_namespace() {
    // Written as an escape, it is read as the first placeholder, or refused when there is none.
    assert!(cumulative("a{namespace=\"shop\",b=\"\\uf000\"}").is_err());
    let read = cumulative("a{namespace=\"\\ue000\",b=\"{{namespace}}\"}").unwrap();
    assert_eq!(read.of(&names(), LOOK).unwrap(), r#"a{namespace="shop",b="shop"}"#);
}

#[test]
fn it_is_known_whether_revisions_are_told_apart() {
    let apart = |text| cumulative(text).unwrap().tells_revisions_apart();
    assert_eq!(apart(ISTIO), Some(true));
    assert_eq!(apart(r#"a{exported_namespace="{{namespace}}",service="{{deployment}}"}"#), Some(false));
    assert_eq!(apart(r#"a{namespace="shop",rs="{{replicaSet}}"} - b{namespace="shop"}"#), None);
}

#[test]
fn budgets_are_of_all_revisions_of_the_deployments() {
    let expression = cumulative(ISTIO).unwrap();
    let day = Duration::from_secs(86_400);
    assert_eq!(
        expression.over(day, "shop", &["web"]),
        r#"sum(sum by (pod) (increase(istio_requests_total{reporter="waypoint",destination_workload_namespace="shop",destination_workload="web",destination_version=~".*",response_code=~"5.."}[86400s])))"#
    );
    let by_set = cumulative(r#"a{namespace="shop",rs="x-{{replicaSet}}",h="{{podTemplateHash}}"}"#).unwrap();
    assert_eq!(
        by_set.over(day, "shop", &["web", "a.b"]),
        r#"sum(increase(a{namespace="shop",rs=~"x-(web|a\\.b)-[456789bcdf]{1,10}",h=~"[456789bcdf]{1,10}"}[86400s]))"#
    );
    let per_window = parse(r#"increase(a{namespace="shop"}[{{look}}])"#, Counts::PerWindow).unwrap();
    assert_eq!(per_window.over(day, "shop", &["web"]), r#"sum(increase(a{namespace="shop"}[86400s]))"#);
}

proptest! {
    #[test]
    fn no_text_reads_another_namespace(
        text in "[a-z]{1,3}|\\PC{0,30}",
        wrap in prop::sample::select(vec!["X", "sum(X)", "X or a{namespace=\"shop\"}", "a{namespace=\"shop\",l=\"X\"}", "a{X}", "a{namespace=\"shop\"} X"]),
        value in "\\PC{0,20}",
    ) {
        let text = wrap.replace('X', &text);
        if let Ok(expression) = cumulative(&text) {
            let names = Names { labels: BTreeMap::from([("version".to_owned(), value)]), ..names() };
            let printed = expression.of(&names, LOOK).unwrap();
            let tree = promql_parser::parser::parse(&printed).unwrap();
            for selector in selectors(&tree) {
                let own = selector.matchers.matchers.iter().any(|m| m.op == MatchOp::Equal && NAMESPACE_LABELS.contains(&m.name.as_str()) && m.value == "shop");
                prop_assert!(own, "{text}: {printed}");
            }
        }
    }

    #[test]
    fn the_value_of_a_label_stays_one(value in "\\PC{0,30}|[\"\\\\{}=,`'\n]{0,10}") {
        let names = Names { labels: BTreeMap::from([("version".to_owned(), value.clone())]), ..names() };
        let expression = cumulative(r#"a{namespace="shop",v="{{podLabel.version}}"}"#).unwrap();
        let tree = promql_parser::parser::parse(&expression.of(&names, LOOK).unwrap()).unwrap();
        prop_assert_eq!(&selectors(&tree)[0].matchers.matchers[1].value, &value);
    }
}
