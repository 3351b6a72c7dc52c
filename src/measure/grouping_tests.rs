#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::PodLabels;
use crate::measure::look::Missing;
use crate::measure::subject::ReadFrom;
use crate::policy::{HistogramType, Latency};
use crate::watch::rollout::DeploymentKey;

fn indicator(errors: &str, total: &str) -> Indicator {
    Indicator::Ratio {
        errors: Selector::parse(errors, "any", &PodLabels::default()).unwrap(),
        total: Selector::parse(total, "any", &PodLabels::default()).unwrap(),
    }
}

fn subject(namespace: &str, deployment: &str) -> Subject {
    Subject {
        key: DeploymentKey { namespace: namespace.to_owned(), name: deployment.to_owned() },
        from: ReadFrom::Prometheus("default".to_owned()),
        look_interval: Duration::from_secs(10),
        objectives: vec![indicator("requests_total{code=~\"5..\"}", "requests_total")],
        canary: PodGroup::of_replica_set(&format!("{deployment}-new")),
        stable: Some(PodGroup::of_replica_set(&format!("{deployment}-old"))),
        pods: 20,
        asks_scraped: false,
        revisions: None,
        since: Timestamp::from_second(1000).unwrap(),
    }
}

/// A sum of series, each request once.
fn once_of(series: &str) -> String {
    format!(
        "sum by (namespace, pod) (max by (namespace, pod, instance) \
         (sum by (namespace, pod, instance, job, prometheus, prometheus_replica) ({series})))"
    )
}

fn series(namespace: &str, pod: &str, value: f64) -> Series {
    let points = vec![Point { at: 5000, value }];
    Series { namespace: namespace.to_owned(), pod: pod.to_owned(), points, ..Series::default() }
}

fn all_answered(
    subjects: &[Arc<Subject>],
    errors: Vec<Series>,
    total: Vec<Series>,
    taken: Vec<Series>,
) -> Vec<Answers> {
    let mut answers = vec![Answers::default(); subjects.len()];
    for batch in plan(subjects, AMPLE) {
        let series = match &batch.question {
            Question::Taken(_) => &taken,
            Question::Count(selector) if selector.as_str().contains('{') => &errors,
            _ => &total,
        };
        let mut given = distribute(series.clone(), subjects, &batch.subjects);
        for i in batch.subjects {
            answers[i].answered(&batch.question, given.remove(&i).unwrap_or_default());
        }
    }
    answers
}

/// More than anything here needs.
const AMPLE: Limits = Limits { query_bytes: 512 << 10, series: 131_072 };

const AT: [(i64, Origin); 1] = [(5000, Origin::Live)];

fn samples(answers: &Answers, subject: &Subject) -> Samples {
    answers.scrapes(subject, &AT).remove(0).objectives.remove(0).unwrap()
}

/// So many rollouts of one family, in seven namespaces.
fn family(rollouts: usize) -> Vec<Arc<Subject>> {
    (0..rollouts).map(|i| Arc::new(subject(&format!("team-{}", i % 7), &format!("web{i}")))).collect()
}

#[test]
fn rollouts_of_one_family_share_three_queries_however_many_they_are() {
    for rollouts in [1, 300, 1000] {
        let batches = plan(&family(rollouts), AMPLE);
        assert_eq!(batches.len(), 3, "{rollouts} rollouts");
        assert!(batches.iter().all(|batch| batch.subjects.len() == rollouts));
    }
    let batches = plan(&family(300), AMPLE);
    let first = batches[0].query.as_deref().unwrap();
    let once = once_of("requests_total{namespace=~\"team-0|team-1|");
    assert!(first.starts_with(once.trim_end_matches(')')), "{first}");
    assert!(first.contains("web0-new-|web0-old-|"), "{first}");
    let last = batches[2].query.as_deref().unwrap();
    assert!(last.starts_with("max by (namespace, pod) (timestamp(requests_total{"), "{last}");
}

#[test]
fn no_query_is_longer_than_the_endpoint_takes() {
    let subjects = family(1000);
    let mut limits = Limits { query_bytes: 16 << 10, ..AMPLE };
    let batches = plan(&subjects, limits);
    let lengths = batches.iter().map(|batch| batch.query.as_ref().unwrap().len()).collect::<Vec<_>>();
    assert!(lengths.iter().all(|length| *length <= 16 << 10), "{lengths:?}");
    assert!(batches.len() <= 3 * 3, "some 28,000 bytes need no more than three queries each: {lengths:?}");
    limits.query_bytes = 1;
    assert_eq!(plan(&subjects, limits).len(), 3 * 1000, "one that is too long alone is asked all the same");
}

#[test]
fn no_answer_has_more_series_than_the_endpoint_may_send() {
    let batches = plan(&family(100), Limits { series: 999, ..AMPLE });
    // Twenty pods each: 49 of them fit.
    assert_eq!(batches.iter().map(|batch| batch.subjects.len()).collect::<Vec<_>>(), [49, 49, 2].repeat(3));
}

proptest! {
    #[test]
    fn limits_hold_for_every_question_and_nobody_is_left_out(
        names in prop::collection::vec(("[a-z]{1,63}", "[a-z.-]{1,80}", 0_u32..500), 1..40),
        errors in "[a-z]{1,40}\\{code=\"[0-9\\\\.]{0,200}\"\\}",
        query_bytes in 2_000_usize..20_000,
        series in 1_usize..1000,
        kind in prop::sample::select(vec![None, Some(HistogramType::Classic), Some(HistogramType::Native)]),
    ) {
        let Ok(errors) = Selector::parse(&errors, "any", &PodLabels::default()) else { return Ok(()) };
        let total = Selector::parse("requests_total", "any", &PodLabels::default()).unwrap();
        let indicator = kind.map_or(Indicator::Ratio { errors, total }, latency);
        let subjects = names.iter().map(|(namespace, name, pods)| {
            Arc::new(Subject { objectives: vec![indicator.clone()], pods: *pods, ..subject(namespace, name) })
        });
        let subjects = subjects.collect::<Vec<_>>();
        let mut asked = HashMap::<Question, Vec<usize>>::new();
        for batch in plan(&subjects, Limits { query_bytes, series }) {
            if batch.subjects.len() > 1 {
                let length = batch.query.as_ref().unwrap().len();
                prop_assert!(length <= query_bytes, "{length} bytes");
                let pods = batch.subjects.iter().map(|i| subjects[*i].pods as usize).sum::<usize>();
                prop_assert!(pods <= series, "{pods} pods");
            }
            asked.entry(batch.question).or_default().extend(batch.subjects);
        }
        prop_assert_eq!(asked.len(), 3);
        prop_assert!(asked.values().all(|askers| askers.iter().copied().eq(0..subjects.len())));
    }
}

#[test]
fn a_selector_of_several_objectives_is_asked_for_once() {
    let mut two = subject("shop", "web");
    two.objectives.push(indicator("requests_total{code=\"503\"}", "requests_total"));
    two.objectives.push(indicator("requests_total{code=\"503\"}", "requests_total{code=~\"5..\"}"));
    let batches = plan(&[Arc::new(two)], AMPLE);
    let count = |text| Question::Count(Selector::parse(text, "any", &PodLabels::default()).unwrap());
    let taken = |text| Question::Taken(Selector::parse(text, "any", &PodLabels::default()).unwrap());
    let questions = batches.iter().map(|batch| batch.question.clone());
    assert_eq!(
        questions.collect::<Vec<_>>(),
        [
            count("requests_total"),
            count("requests_total{code=\"503\"}"),
            count("requests_total{code=~\"5..\"}"),
            taken("requests_total"),
            taken("requests_total{code=~\"5..\"}"),
        ]
    );
    assert!(batches.iter().all(|batch| batch.subjects == [0]));
}

#[test]
fn nobody_sees_another_namespaces_pods() {
    let subjects = [subject("shop", "web"), subject("bank", "web"), subject("bank", "api")].map(Arc::new);
    let total = vec![
        series("shop", "web-new-x2b4z", 1.0),
        series("bank", "web-new-x2b4z", 2.0),
        series("bank", "web-old-x2b4z", 3.0),
        series("shop", "api-new-x2b4z", 4.0),
        series("", "web-new-x2b4z", 5.0),
        series("bank", "web-new-x2b4z-x2b4z", 6.0),
        series("bank", "", 7.0),
    ];
    let answers = all_answered(&subjects, vec![], total.clone(), total);
    let totals = |i: usize| {
        let Samples { canary, stable, .. } = samples(&answers[i], &subjects[i]);
        let total = |pods: Vec<PodSample>| pods.into_iter().map(|sample| sample.total).collect::<Vec<_>>();
        (total(canary), total(stable))
    };
    assert_eq!(totals(0), (vec![1.0], vec![]));
    assert_eq!(totals(1), (vec![2.0], vec![3.0]));
    assert_eq!(totals(2), (vec![], vec![]));
}

#[test]
fn a_sample_needs_a_total_and_its_time_but_no_errors() {
    let subjects = [Arc::new(subject("shop", "web"))];
    let errors = vec![series("shop", "web-new-bbbbb", 1.0), series("shop", "web-new-ddddd", 9.0)];
    let total = ["bbbbb", "ccccc", "fffff"].map(|pod| series("shop", &format!("web-new-{pod}"), 10.0)).to_vec();
    let taken = ["bbbbb", "ccccc"].map(|pod| series("shop", &format!("web-new-{pod}"), 4.5)).to_vec();
    let answers = all_answered(&subjects, errors, total, taken);
    let mut canary = samples(&answers[0], &subjects[0]).canary;
    canary.sort_by(|a, b| a.pod.cmp(&b.pod));
    let taken = Timestamp::from_millisecond(4500).unwrap();
    let sample = |pod: &str, errors| PodSample { pod: pod.into(), errors, total: 10.0, taken, from_zero: true };
    assert_eq!(canary, [sample("web-new-bbbbb", Some(1.0)), sample("web-new-ccccc", None)]);
}

#[test]
fn named_pods_are_asked_for_and_told_apart_by_name() {
    let mut named = subject("shop", "web");
    let group = |pod: &str| PodGroup::Names(BTreeSet::from([pod.to_owned()]));
    (named.canary, named.stable) = (group("long-bbbbb"), Some(group("long-ccccc")));
    let subjects = [Arc::new(named)];
    assert!(plan(&subjects, AMPLE)[0].query.as_deref().unwrap().contains("pod=~\"long-bbbbb|long-ccccc\""));
    let total =
        vec![series("shop", "long-bbbbb", 1.0), series("shop", "long-ccccc", 2.0), series("shop", "long-ddddd", 3.0)];
    let answers = all_answered(&subjects, vec![], total.clone(), total);
    let Samples { canary, stable, .. } = samples(&answers[0], &subjects[0]);
    assert_eq!((canary.len(), canary[0].total, stable.len(), stable[0].total), (1, 1.0, 1, 2.0));
}

#[test]
fn a_failed_question_is_missing_only_in_the_objectives_that_ask_it() {
    let mut two = subject("shop", "web");
    two.objectives.push(indicator("other_errors_total", "requests_total"));
    let subjects = [Arc::new(two)];
    let mut answers = all_answered(&subjects, vec![], vec![], vec![]).remove(0);
    let failure = Failure::new(Missing::Partial, "a store is down");
    let batches = plan(&subjects, AMPLE);
    let is_other = |question: &Question| matches!(question, Question::Count(s) if s.as_str() == "other_errors_total");
    let other = batches.iter().find(|batch| is_other(&batch.question)).unwrap();
    answers.failed(&other.question, failure.clone());
    let objectives = answers.scrapes(&subjects[0], &AT).remove(0).objectives;
    assert_eq!(objectives, [Ok(Samples::default()), Err(failure)]);
    assert!(!answers.all_failed(&subjects[0]) && answers.any_failure(&subjects[0]).is_some());
}

#[test]
fn points_of_several_times_become_a_scrape_each() {
    let subjects = [Arc::new(subject("shop", "web"))];
    let at = |points: &[(i64, f64)]| Series {
        points: points.iter().map(|(at, value)| Point { at: *at, value: *value }).collect(),
        ..series("shop", "web-new-bbbbb", 0.0)
    };
    // The same pod twice: the answer came in two parts.
    let total = vec![at(&[(1000, 1.0), (2000, 2.0)]), at(&[(4000, 4.0)])];
    let answers = all_answered(&subjects, vec![at(&[(2000, 1.0)])], total.clone(), total);
    let times = [1000, 2000, 3000, 4000].map(|at| (at, Origin::BackFill));
    let scrapes = answers[0].scrapes(&subjects[0], &times);
    let read = scrapes.iter().map(|scrape| {
        let samples = scrape.objectives[0].as_ref().unwrap();
        samples.canary.first().map(|sample| (sample.errors, sample.total))
    });
    assert_eq!(read.collect::<Vec<_>>(), [Some((None, 1.0)), Some((Some(1.0), 2.0)), None, Some((None, 4.0))]);
}

/// The canary pods that are scraped, where Prometheus has this value of `up` for each of these pods.
fn scraped(answer: Result<Vec<(&str, f64)>, Failure>) -> Option<Vec<String>> {
    let subject = Arc::new(Subject { asks_scraped: true, ..subject("shop", "web") });
    let mut answers = Answers::default();
    for batch in plan(std::slice::from_ref(&subject), AMPLE) {
        if !matches!(batch.question, Question::Scraped(_)) {
            answers.answered(&batch.question, Pods::new());
            continue;
        }
        let query = batch.query.unwrap();
        assert!(
            query.starts_with("max by (namespace, pod) (up{namespace=\"shop\",pod=~\"(web-new-|web-old-)"),
            "{query}"
        );
        match &answer {
            Ok(up) => {
                let up = up.iter().map(|(pod, value)| series("shop", pod, *value)).collect();
                let mut given = distribute(up, std::slice::from_ref(&subject), &batch.subjects);
                answers.answered(&batch.question, given.remove(&0).unwrap_or_default());
            }
            Err(failure) => answers.failed(&batch.question, failure.clone()),
        }
    }
    let scrape = answers.scrapes(&subject, &AT).remove(0);
    assert!(scrape.objectives[0].is_ok(), "what is counted does not depend on it");
    Some(scrape.scraped?.iter().map(ToString::to_string).collect())
}

#[test]
fn canary_pods_that_prometheus_says_it_scrapes_are_known_where_it_says_such_things() {
    let up = vec![("web-new-bcdfg", 1.0), ("web-new-ccccc", 0.0), ("web-old-bcdfg", 1.0)];
    assert_eq!(scraped(Ok(up)), Some(vec!["web-new-bcdfg".to_owned()]));
    assert_eq!(scraped(Ok(vec![("web-old-bcdfg", 1.0)])), Some(vec![]), "those of the canary would be known, too");
    assert_eq!(scraped(Ok(vec![])), None, "their counters come another way");
    assert_eq!(scraped(Err(Failure::new(Missing::TimedOut, "late"))), None);
    assert_eq!(plan(&[Arc::new(subject("shop", "web"))], AMPLE).len(), 3, "where nothing is amiss, it is not asked");
}

fn latency(kind: HistogramType) -> Indicator {
    let latency =
        Latency { histogram: "latency_seconds".to_owned(), threshold: Duration::from_millis(250), kind, unit: None };
    let histogram = Histogram::parse(&latency, "any", &PodLabels::default()).unwrap();
    match kind {
        HistogramType::Classic => Indicator::Classic(histogram),
        HistogramType::Native => Indicator::Native(histogram),
    }
}

/// What two questions about one pod come to, the third being the time.
fn sampled(kind: HistogramType, first: Option<f64>, second: f64) -> Vec<PodSample> {
    let subject = Arc::new(Subject { objectives: vec![latency(kind)], ..subject("shop", "web") });
    let mut answers = Answers::default();
    for batch in plan(std::slice::from_ref(&subject), AMPLE) {
        let value = match &batch.question {
            Question::Slow(_) | Question::Fast(_) => first,
            Question::Count(_) | Question::Observed(_) => Some(second),
            Question::Taken(_) => Some(4.5),
            Question::Scraped(_) => None,
        };
        let series = value.map(|value| series("shop", "web-new-bcdfg", value)).into_iter().collect();
        let mut given = distribute(series, std::slice::from_ref(&subject), &batch.subjects);
        answers.answered(&batch.question, given.remove(&0).unwrap_or_default());
    }
    samples(&answers, &subject).canary
}

#[test]
fn a_classic_histogram_is_asked_for_what_is_above_and_below_its_threshold() {
    let subject = Arc::new(Subject { objectives: vec![latency(HistogramType::Classic)], ..subject("shop", "web") });
    let queries = plan(&[subject], AMPLE).into_iter().filter_map(|batch| batch.query).collect::<Vec<_>>();
    let pods = r#"namespace="shop",pod=~"(web-new-|web-old-)[bcdfghjklmnpqrstvwxz2456789]{5}""#;
    let bounds = r#"le=~"\\+?0*\\.250*|\\+?2\\.50*[eE]-0*1""#;
    let (count, bucket) =
        (format!("latency_seconds_count{{{pods}}}"), format!("latency_seconds_bucket{{{bounds},{pods}}}"));
    assert_eq!(
        queries,
        [
            once_of(&bucket),
            format!("max by (namespace, pod) (timestamp({bucket}))"),
            format!(
                "{} unless on (namespace, pod) (timestamp({count}) != max without (le) (timestamp({bucket})))",
                once_of(&format!("{count} - max without (le) ({bucket})"))
            ),
        ]
    );
}

#[test]
fn slow_requests_are_errors_and_those_that_a_race_makes_negative_are_none() {
    let counted = |first, second| {
        let samples = sampled(HistogramType::Classic, first, second);
        samples.first().map(|sample| (sample.errors, sample.total))
    };
    assert_eq!(counted(Some(3.0), 97.0), Some((Some(3.0), 100.0)));
    assert_eq!(counted(Some(-1.0), 97.0), Some((Some(0.0), 97.0)));
    assert_eq!(counted(None, 97.0), None, "count and bucket are of two moments, so the pod is left out of this look");
    assert!(counted(Some(f64::NAN), 97.0).unwrap().1.is_nan(), "what is no number is not taken for none");
}

#[test]
fn the_share_of_a_native_histogram_above_its_threshold_is_errors() {
    let counted = |first, second| {
        let samples = sampled(HistogramType::Native, first, second);
        samples.first().map(|sample| (sample.errors, sample.total))
    };
    assert_eq!(counted(Some(0.75), 200.0), Some((Some(50.0), 200.0)));
    assert_eq!(counted(Some(f64::NAN), 0.0), Some((Some(0.0), 0.0)), "there is no share of no requests");
    assert_eq!(counted(None, 200.0), None);
    let subject = Arc::new(Subject { objectives: vec![latency(HistogramType::Native)], ..subject("shop", "web") });
    let queries = plan(&[subject], AMPLE).into_iter().filter_map(|batch| batch.query).collect::<Vec<_>>();
    let pods = r#"namespace="shop",pod=~"(web-new-|web-old-)[bcdfghjklmnpqrstvwxz2456789]{5}""#;
    assert_eq!(
        queries,
        [
            format!("max by (namespace, pod) (timestamp(latency_seconds{{{pods}}}))"),
            format!(
                "sum by (namespace, pod) (max by (namespace, pod, instance) (histogram_count(\
                 sum by (namespace, pod, instance, job, prometheus, prometheus_replica) (latency_seconds{{{pods}}}))))"
            ),
            format!("histogram_fraction(-Inf, 0.25, sum by (namespace, pod) (latency_seconds{{{pods}}}))"),
        ]
    );
}
