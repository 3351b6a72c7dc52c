#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Selector, InvalidSelector> {
    Selector::parse(text, "shop", &PodLabels::default())
}

fn narrowed(selector: &Selector, namespace: &str) -> String {
    selector.narrowed([(namespace, &PodGroup::of_replica_set("web-7d9f8b6c5d"))]).unwrap()
}

/// The matchers that Prometheus would see in a printed selector.
fn matchers(printed: &str) -> Vec<(String, String, String)> {
    match promql_parser::parser::parse(printed) {
        Ok(Expr::VectorSelector(tree)) => {
            assert!(tree.matchers.or_matchers.is_empty() && tree.offset.is_none() && tree.at.is_none(), "{printed}");
            tree.matchers.matchers.into_iter().map(|m| (m.name, m.op.to_string(), m.value)).collect()
        }
        other => panic!("{printed} is not a selector: {other:?}"),
    }
}

fn assert_confined(printed: &str, namespace: &str) {
    let matchers = matchers(printed);
    let namespaces = matchers.iter().filter(|(name, ..)| name == "namespace").collect::<Vec<_>>();
    assert_eq!(namespaces, [&("namespace".to_owned(), "=".to_owned(), namespace.to_owned())], "{printed}");
    assert!(matchers.iter().any(|(name, op, value)| name == "pod" && op == "=~" && value.contains("web-7d9f8b6c5d-")));
}

#[test]
fn a_bare_selector_is_narrowed_to_namespace_and_pods() {
    let selector = parse(r#"http_requests_total{code=~"5.."}"#).unwrap();
    assert_eq!(selector.as_str(), r#"http_requests_total{code=~"5.."}"#);
    assert_eq!(
        narrowed(&selector, "shop"),
        r#"http_requests_total{code=~"5..",namespace="shop",pod=~"(web-7d9f8b6c5d-)[bcdfghjklmnpqrstvwxz2456789]{5}"}"#
    );
}

#[test]
fn several_rollouts_are_asked_for_at_once() {
    let selector = parse("http_requests_total").unwrap();
    let (web, api) = (PodGroup::of_replica_set("web-7d9f8b6c5d"), PodGroup::of_replica_set("api.v2-5f6b7c8d9f"));
    let named = PodGroup::Names(BTreeSet::from(["odd-pod".to_owned()]));
    assert_eq!(
        selector.narrowed([("shop", &web), ("bank", &api), ("shop", &named)]).unwrap(),
        "http_requests_total{namespace=~\"bank|shop\",\
         pod=~\"odd-pod|(api\\\\.v2-5f6b7c8d9f-|web-7d9f8b6c5d-)[bcdfghjklmnpqrstvwxz2456789]{5}\"}"
    );
}

#[test]
fn with_no_pod_to_ask_for_there_is_no_query() {
    let selector = parse("http_requests_total").unwrap();
    assert_eq!(selector.narrowed([("shop", &PodGroup::Names(BTreeSet::new()))]), None);
    assert_eq!(selector.narrowed([]), None);
}

#[test]
fn the_same_matchers_in_another_order_and_other_quotes_are_the_same_family() {
    let one = parse(r#"http_requests_total{code=~"5..", method!='GET', namespace="shop"}"#).unwrap();
    let other = parse("http_requests_total{method!=`GET`,code=~'5..',method!=\"GET\",}").unwrap();
    assert_eq!(one, other);
    assert_ne!(one, parse("http_requests_total{code=~\"5..\"}").unwrap());
}

#[test]
fn the_policys_own_namespace_may_be_written_and_belongs_to_no_family() {
    let written = parse(r#"up{namespace="shop"}"#).unwrap();
    assert_eq!(written, Selector::parse("up", "bank", &PodLabels::default()).unwrap());
    assert_eq!(written.as_str(), "up");
    assert_eq!(parse(r#"up{namespace="shop",namespace="shop"}"#).unwrap(), written);
}

#[test]
fn another_namespace_is_refused_in_every_spelling() {
    for escape in [
        r#"up{namespace="bank"}"#,
        r#"up{namespace=~".*"}"#,
        r#"up{namespace=~"shop"}"#,
        r#"up{namespace!="bank"}"#,
        r#"up{namespace!~"x"}"#,
        r#"up{namespace=""}"#,
        r#"up{namespace="shop",namespace="bank"}"#,
        r#"up{namespace="shop",namespace=~"shop|bank"}"#,
        r#"up{"namespace"="bank"}"#,
        r#"up{"\x6eamespace"="bank"}"#,
        r#"up{namespace="\x62ank"}"#,
    ] {
        match parse(escape) {
            Err(InvalidSelector::Namespace { own, .. }) => assert_eq!(own, "shop", "{escape}"),
            // The parser may know no quoted label names; refused is refused.
            Err(InvalidSelector::Syntax { .. }) if escape.contains("{\"") => {}
            other => panic!("{escape}: {other:?}"),
        }
    }
}

#[test]
fn whatever_is_more_than_a_selector_is_refused_and_named() {
    for (text, what) in [
        ("rate(http_requests_total[5m])", "a function"),
        ("http_requests_total[5m]", "a range"),
        ("http_requests_total[5m:1m]", "a subquery"),
        ("http_requests_total offset 5m", "an offset"),
        ("http_requests_total @ 1700000000", "an @ modifier"),
        ("sum(http_requests_total)", "an aggregation"),
        ("http_requests_total + up", "an operator"),
        (r#"http_requests_total{namespace="shop"} or up"#, "an operator"),
        (r#"http_requests_total{a="b" or namespace="bank"}"#, "an \"or\""),
        ("-http_requests_total", "a sign"),
        ("(http_requests_total)", "parentheses"),
        ("1", "a number"),
        ("\"up\"", "a string"),
        (r#"up{__name__=~".+"}"#, "a second name"),
    ] {
        let error = parse(text).unwrap_err();
        match &error {
            InvalidSelector::NotBare { found, .. } => assert!(found.starts_with(what), "{text}: {found}"),
            InvalidSelector::Syntax { .. } => {}
            other => panic!("{text}: {other:?}"),
        }
        assert!(error.to_string().contains("http_requests_total{code=~\"5..\"}"), "says what to write: {error}");
    }
}

#[test]
fn a_selector_without_a_metric_name_is_refused() {
    for text in [r#"{__name__="up"}"#, r#"{__name__=~".+"}"#, r#"{code="500"}"#, r#"{"up"}"#] {
        assert!(matches!(parse(text), Err(InvalidSelector::NoMetricName { .. })), "{text}");
    }
    for text in ["", " ", "{}", "# nothing"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_syntax_error_says_where() {
    let error = parse("up{a=~\"(\"}").unwrap_err();
    assert!(error.to_string().starts_with("illegal regex for ( in \"up{"), "no made-up column: {error}");
    let error = parse("http_requests_total{code=5}").unwrap_err();
    assert!(matches!(error, InvalidSelector::Syntax { column: Some(26), .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("expected a value in quotes, at column 26"), "{text}");
}

#[test]
fn a_users_own_pod_matcher_narrows_further() {
    let selector = parse(r#"up{pod!="web-7d9f8b6c5d-x2b4z"}"#).unwrap();
    let printed = narrowed(&selector, "shop");
    assert_confined(&printed, "shop");
    assert!(printed.contains(r#"pod!="web-7d9f8b6c5d-x2b4z""#));
}

#[test]
fn a_comment_hides_nothing_of_what_is_added() {
    for text in ["up # ,namespace=\"bank\"}", "up{a=\"b\" # }\n}", "up{a=\"# not a comment\"}"] {
        assert_confined(&narrowed(&parse(text).unwrap(), "shop"), "shop");
    }
}

#[test]
fn quotes_and_backslashes_in_values_stay_values() {
    for text in [
        r#"up{a="\",namespace=\"bank"}"#,
        r#"up{a="\\"}"#,
        r#"up{a='",namespace="bank'}"#,
        r#"up{a=`",namespace="bank\\`}"#,
        "up{a=`line\nbreak\"}`}",
        r#"up{a=~"\\\"}.*|(x)"}"#,
        r#"up{a="\u0022,namespace=\u0022bank"}"#,
        "up{a=\"ünïcode \u{202e}\"}",
    ] {
        let selector = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_confined(&narrowed(&selector, "shop"), "shop");
    }
}

#[test]
fn a_selector_as_long_as_a_book_is_refused() {
    let long = format!("up{{a=\"{}\"}}", "x".repeat(5000));
    assert!(matches!(parse(&long), Err(InvalidSelector::TooLong { .. })));
}

proptest! {
    #[test]
    fn no_text_reads_another_namespace(
        text in "up\\{[a-z_]{1,9}(=|!=|=~|!~)[\"'`]([a-z\"'`\\\\{}, =#|.*()]|namespace=\"bank\"){0,30}[\"'`],?\\}( or up| # x)?",
    ) {
        if let Ok(selector) = parse(&text) {
            assert_confined(&narrowed(&selector, "shop"), "shop");
        }
    }

    #[test]
    fn any_value_survives_printing(value in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
        let text = format!("up{{a=\"{}\"}}", escape_string(&value));
        let selector = parse(&text).unwrap();
        let printed = narrowed(&selector, "shop");
        assert_confined(&printed, "shop");
        prop_assert!(matchers(&printed).contains(&("a".to_owned(), "=".to_owned(), value)));
    }

    #[test]
    fn parsing_what_was_printed_changes_nothing(text in "[a-z]{1,5}\\{(a|pod|namespace)(=|=~)\"(shop|[a-z.]{0,4})\"\\}") {
        if let Ok(selector) = parse(&text) {
            prop_assert_eq!(parse(selector.as_str()).unwrap(), selector);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }
}

#[test]
fn all_revisions_of_deployments_are_asked_for_at_once() {
    let selector = parse(r#"http_requests_total{code=~"5..",namespace="shop"}"#).unwrap();
    let pods = "-[456789bcdf]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}";
    assert_eq!(
        selector.of_deployments("shop", ["checkout", "checkout-api.v2"]).unwrap(),
        format!(
            "http_requests_total{{code=~\"5..\",namespace=\"shop\",pod=~\"(checkout|checkout-api\\\\.v2){pods}\"}}"
        )
    );
    assert_eq!(selector.of_deployments("shop", []), None);
    let long = "a".repeat(57);
    assert_eq!(
        selector.of_deployments("shop", [long.as_str(), "web"]).unwrap(),
        format!(
            "http_requests_total{{code=~\"5..\",namespace=\"shop\",\
             pod=~\"(web){pods}|{long}-[bcdfghjklmnpqrstvwxz2456789]{{5}}\"}}"
        )
    );
}

#[test]
fn an_endpoint_may_have_other_labels_for_namespace_and_pod() {
    let labels = PodLabels {
        namespace: "kubernetes_namespace".into(),
        pod: "kubernetes_pod_name".into(),
        ..PodLabels::default()
    };
    let parse = |text| Selector::parse(text, "shop", &labels);
    let selector = parse(r#"up{kubernetes_namespace="shop",namespace="of the exporter"}"#).unwrap();
    assert_eq!(selector.as_str(), r#"up{namespace="of the exporter"}"#);
    assert_eq!(
        narrowed(&selector, "shop"),
        r#"up{namespace="of the exporter",kubernetes_namespace="shop",kubernetes_pod_name=~"(web-7d9f8b6c5d-)[bcdfghjklmnpqrstvwxz2456789]{5}"}"#
    );
    let of_deployments = selector.of_deployments("shop", ["web"]).unwrap();
    assert!(
        of_deployments.contains(r#",kubernetes_namespace="shop",kubernetes_pod_name=~"(web)-"#),
        "{of_deployments}"
    );
    for other in [r#"up{kubernetes_namespace="bank"}"#, r#"up{kubernetes_namespace=~"shop|bank"}"#] {
        let message = parse(other).unwrap_err().to_string();
        assert!(message.contains(r#"write kubernetes_namespace="shop""#), "{message}");
        assert!(Recorded::parse(other, "shop", &labels).is_err());
    }
}

#[test]
fn a_histogram_is_named_by_its_own_name_and_without_its_bounds() {
    let parse = |text| Selector::parse_histogram(text, "shop", &PodLabels::default());
    let histogram = parse(r#"latency_seconds{length="le",path!="/health"}"#).unwrap();
    assert_eq!(
        histogram.histogram_series("_bucket", Some("1|1.0")).as_str(),
        r#"latency_seconds_bucket{le=~"1|1.0",length="le",path!="/health"}"#
    );
    assert_eq!(
        parse("latency_seconds_bucket").unwrap_err().to_string(),
        "\"latency_seconds_bucket\" names the series _bucket of a histogram; write the histogram's own name, \
         latency_seconds"
    );
    assert!(matches!(parse("latency_seconds{le='1'}"), Err(InvalidSelector::Bound { .. })));
    assert!(matches!(parse("latency_seconds{le!~'1'}"), Err(InvalidSelector::Bound { .. })));
}

#[test]
fn a_recorded_series_is_asked_for_as_it_is_written() {
    let recorded =
        |text: &str| Recorded::parse(text, "shop", &PodLabels::default()).map(|recorded| recorded.as_str().to_owned());
    let sloth = r#"slo:period_error_budget_remaining:ratio{sloth_slo="availability",sloth_service="shop"}"#;
    assert_eq!(
        recorded(sloth).unwrap(),
        r#"slo:period_error_budget_remaining:ratio{sloth_service="shop",sloth_slo="availability"}"#
    );
    assert_eq!(recorded("x{namespace='shop',a='b'}").unwrap(), r#"x{a="b",namespace="shop"}"#);
    assert!(matches!(recorded("x{namespace='bank'}"), Err(InvalidSelector::Namespace { .. })));
    assert!(matches!(recorded("x{namespace=~'shop'}"), Err(InvalidSelector::Namespace { .. })));
    assert!(matches!(recorded("sum(x)"), Err(InvalidSelector::NotBare { .. })));
    assert!(recorded("x{a='b'} or vector(1)").is_err());
}

#[test]
fn what_only_prometheus_adds_pods_do_not_expose() {
    let exposed = |text: &str| parse(text).unwrap().exposed().map_err(|error| error.to_string());
    let error = exposed("requests_total{job=\"checkout\",code=\"500\"}").unwrap_err();
    assert!(error.contains("needs the label job") && error.contains("leave its matcher out"), "{error}");
    for text in ["requests_total{job!=\"batch\"}", "requests_total{instance=~\".*\",service=\"a\"}"] {
        assert!(exposed(text).is_ok(), "{text}");
    }
}
