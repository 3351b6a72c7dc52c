#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Every series of a page, as text, and its value.
fn all(text: &str, format: Format) -> Result<Vec<(String, f64)>, Malformed> {
    let mut all = Vec::new();
    samples(text, format, |sample| {
        let labels = sample.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>();
        all.push((format!("{}{{{}}}", sample.name, labels.join(",")), sample.value));
    })?;
    Ok(all)
}

fn refused(text: &str) -> (usize, &'static str) {
    let malformed = all(text, Format::Prometheus).unwrap_err();
    (malformed.line, malformed.expected)
}

#[test]
fn every_series_of_a_page_is_read_with_its_labels_and_its_value() {
    let page = "# HELP violets_total Counted.\n# TYPE violets_total counter\n\
        violets_total{bed=\"north\",code=\"500\"} 3\n\
        violets_total{ bed = \"south\" , code=\"200\", } 1.5e3 1700000000000\n\
        violets_total 7\n\n\tup\t{} +Inf\nempty{a=\"\"} NaN\n";
    let read = all(page, Format::Prometheus).unwrap();
    assert_eq!(
        read[..4],
        [
            ("violets_total{bed=\"north\",code=\"500\"}".to_owned(), 3.0),
            ("violets_total{bed=\"south\",code=\"200\"}".to_owned(), 1500.0),
            ("violets_total{}".to_owned(), 7.0),
            ("up{}".to_owned(), f64::INFINITY),
        ]
    );
    assert!(read[4].1.is_nan());
}

#[test]
fn examples_of_single_requests_and_times_in_seconds_are_read_over() {
    let page = "# TYPE violets counter\nviolets_total{code=\"200\"} 17 1520879607.789 # {trace=\"a # b\"} 0.67 1.5\n\
        violets_bucket{le=\"0.1\"} 8 # {} 0.054\n# EOF\n";
    let read = all(page, Format::OpenMetrics).unwrap();
    assert_eq!(
        read,
        [("violets_total{code=\"200\"}".to_owned(), 17.0), ("violets_bucket{le=\"0.1\"}".to_owned(), 8.0)]
    );
}

#[test]
fn a_page_that_was_cut_off_before_its_mark_is_no_page() {
    let cut = all("violets_total 17\n", Format::OpenMetrics).unwrap_err();
    assert_eq!(cut.expected, "# EOF at the end of the page");
    let more = all("# EOF\nviolets_total 17\n", Format::OpenMetrics).unwrap_err();
    assert_eq!((more.line, more.expected), (2, "nothing after # EOF"));
    // In the other format it is a remark.
    assert_eq!(all("# EOF\nviolets_total 17", Format::Prometheus).unwrap().len(), 1);
}

#[test]
fn what_is_escaped_in_a_value_is_put_in_place() {
    let read = all(r#"a{path="C:\\new\"\n\q",b="}"} 1"#, Format::Prometheus).unwrap();
    assert_eq!(read[0].0, format!("a{{path={:?},b=\"}}\"}}", "C:\\new\"\n\\q"));
}

#[test]
fn names_in_quotes_are_names() {
    let read = all(r#"{"violets.total","bed.no"="7"} 2"#, Format::Prometheus).unwrap();
    assert_eq!(read, [("violets.total{bed.no=\"7\"}".to_owned(), 2.0)]);
}

#[test]
fn one_line_that_is_no_metric_spoils_the_page_and_is_named() {
    assert_eq!(refused("a 1\n<html>login</html>\n"), (2, "the name of a metric"));
    assert_eq!(refused("a one"), (1, "a number"));
    assert_eq!(refused("a"), (1, "a number"));
    assert_eq!(refused("a{b} 1"), (1, "= after the name of a label"));
    assert_eq!(refused("a{b=1} 1"), (1, "a value in quotes"));
    assert_eq!(refused("a{b=\"1} 1"), (1, "a value in quotes"));
    assert_eq!(refused("a{b=\"1\" c=\"2\"} 1"), (1, "a comma or a closing brace"));
    assert_eq!(refused("a{b=\"1\""), (1, "a comma or a closing brace"));
    assert_eq!(refused("a 1 2 3"), (1, "the end of the line"));
    assert_eq!(refused("a 1 soon"), (1, "a time"));
    assert_eq!(refused("a{\"b\"} 1"), (1, "one name only"));
    assert_eq!(refused("9a 1"), (1, "the name of a metric"));
}

#[test]
fn the_format_is_the_one_that_the_content_type_names() {
    let format = Format::of_content_type;
    assert_eq!(format("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8"), Format::OpenMetrics);
    assert_eq!(format("text/plain; version=0.0.4"), Format::Prometheus);
    assert_eq!(format(""), Format::Prometheus);
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

proptest! {
    #[test]
    fn what_an_exporter_writes_is_what_is_read(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
        labels in proptest::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", "[\\PC\n\\\\\"]{0,12}"), 0..4),
        value in proptest::num::f64::NORMAL | proptest::num::f64::ZERO,
    ) {
        let written = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect::<Vec<_>>();
        let page = format!("{name}{{{}}} {value}\n# EOF\n", written.join(","));
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let mut read = 0;
            samples(&page, format, |sample| {
                read += 1;
                assert_eq!((sample.name.as_ref(), sample.value), (name.as_str(), value));
                let found = sample.labels.iter().map(|(label, value)| (label.to_string(), value.to_string()));
                assert_eq!(found.collect::<Vec<_>>(), labels);
            }).unwrap();
            prop_assert_eq!(read, 1);
        }
    }

    #[test]
    fn no_page_panics(page in "\\PC{0,80}|[a-b{}=\",\\\\# \t\n0-9.+NaIf]{0,80}") {
        let _ = all(&page, Format::Prometheus);
        let _ = all(&page, Format::OpenMetrics);
    }

    #[test]
    fn a_page_cut_anywhere_is_refused_or_gives_no_more_than_its_beginning(cut in 0_usize..60) {
        let page = "aa{b=\"c\",d=\"e\"} 123456\nff 42 # {t=\"x\"} 1\ngg 7\n# EOF\n";
        let whole = all(page, Format::OpenMetrics).unwrap();
        if let Ok(part) = all(&page[..cut.min(page.len())], Format::OpenMetrics) {
            prop_assert_eq!(part, whole);
        }
    }
}
