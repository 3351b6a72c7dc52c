#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::answer::Point;
use super::super::client::Limits;
use super::super::promql::Selector;
use super::*;
use crate::config::PodLabels;

const DAY: u64 = 86_400;
const NOW: i64 = 1_900_000_000;

/// Answers by what a query contains, and counts.
#[derive(Default)]
struct Fake {
    answers: Vec<(&'static str, Result<Vec<Series>, Failure>)>,
    asked: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Queries for Fake {
    fn timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn limits(&self) -> Limits {
        panic!("budgets have bounds of their own")
    }

    async fn instant(&self, query: &str, _: Timestamp) -> Result<Vec<Series>, Failure> {
        self.asked.lock().unwrap().push(query.to_owned());
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let answer = self.answers.iter().find(|(part, _)| query.contains(part));
        answer.map_or(Ok(Vec::new()), |(_, answer)| answer.clone())
    }

    async fn range(&self, _: &str, _: Timestamp, _: Timestamp, _: Duration) -> Result<Vec<Series>, Failure> {
        panic!("budgets are asked at one time")
    }
}

fn of(deployment: &str, value: f64) -> Series {
    let points = vec![Point { at: NOW * 1000, value }];
    Series { deployment: deployment.to_owned(), points, ..Series::default() }
}

/// So many seconds ago, as Prometheus says it.
fn ago(seconds: u64) -> f64 {
    NOW as f64 - seconds as f64
}

fn ask(source: Source, deployments: &[&str]) -> Ask {
    Ask {
        endpoint: "default".to_owned(),
        namespace: "shop".to_owned(),
        window: Duration::from_secs(28 * DAY),
        source,
        deployments: deployments.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn counters() -> Indicator {
    let parse = |text| Selector::parse(text, "shop", &PodLabels::default()).unwrap();
    Indicator::Ratio { errors: parse("bad_total"), total: parse("all_total") }
}

fn budgets(answers: Vec<(&'static str, Result<Vec<Series>, Failure>)>) -> (Budgets<Fake>, Arc<Fake>) {
    let fake = Arc::new(Fake { answers, ..Fake::default() });
    let endpoints = BTreeMap::from([("default".to_owned(), Endpoint::new(Arc::clone(&fake), 4))]);
    (Budgets::new(endpoints, Arc::new(|| Timestamp::from_second(NOW).unwrap())), fake)
}

async fn found(
    source: Source,
    deployments: &[&str],
    answers: Vec<(&'static str, Result<Vec<Series>, Failure>)>,
) -> Found {
    let (budgets, _) = budgets(answers);
    budgets.ask(&[ask(source, deployments)]).await.remove(0).unwrap()
}

fn nothing(found: &Found, deployment: &str) -> String {
    match found.of(deployment) {
        Some(Spent::Nothing(why)) => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_deployment_has_its_own_counts() {
    let found = found(
        Source::Each(counters()),
        &["cart", "cart-api", "new"],
        vec![
            ("timestamp", Ok(vec![of("cart", ago(28 * DAY)), of("cart-api", ago(3 * DAY + 4 * 3600 + 1000))])),
            ("bad_total", Ok(vec![of("cart", 5.0)])),
            ("all_total", Ok(vec![of("cart", 1000.0), of("cart-api", 70.0), of("other", 1.0)])),
        ],
    )
    .await;
    assert_eq!(found.of("cart"), Some(&Spent::Counts { errors: 5.0, total: 1000.0, span: None }));
    let span = Some(Duration::from_secs(3 * DAY + 4 * 3600));
    assert_eq!(found.of("cart-api"), Some(&Spent::Counts { errors: 0.0, total: 70.0, span }));
    assert_eq!(nothing(&found, "new"), "all_total has no sample in 28d");
    assert_eq!(found.of("other"), None);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_cut_is_not_told_by_its_pods_and_says_what_to_write() {
    let long = "a".repeat(47);
    let why = nothing(&found(Source::Each(counters()), &[&long], vec![]).await, &long);
    assert!(why.contains("longer than 46 characters") && why.contains("budgetFrom") && why.contains("Shared"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_shared_budget_is_the_same_for_all() {
    let answers = vec![
        ("timestamp", Ok(vec![of("", ago(27 * DAY + DAY / 2))])),
        ("bad_total", Ok(vec![of("", 5.0)])),
        ("all_total", Ok(vec![of("", 1000.0)])),
    ];
    let found = found(Source::Together(counters()), &["cart", "cart-api"], answers).await;
    assert_eq!(
        found,
        Found::All(Spent::Counts { errors: 5.0, total: 1000.0, span: None }),
        "two percent less is no less"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_budget_is_nothing_and_says_why() {
    let recorded = |text| Recorded::parse(text, "shop", &PodLabels::default()).unwrap();
    let left = async |series| {
        nothing(&found(Source::Remaining(recorded("left")), &["cart"], vec![("left", Ok(series))]).await, "cart")
    };
    assert_eq!(left(vec![]).await, "left gives no number; is the rule that records it loaded?");
    let three = vec![of("", 1.0), of("", 0.5), of("", 0.2)];
    assert_eq!(left(three).await, "left gives 3 numbers; write a selector that gives one");
    assert_eq!(left(vec![of("", f64::NAN)]).await, "left gives no number but NaN or infinity");

    let counts = async |bad: f64, all: f64| {
        let answers = vec![("bad", Ok(vec![of("", bad)])), ("all", Ok(vec![of("", all)]))];
        let source = Source::Increase { errors: recorded("bad"), total: recorded("all") };
        nothing(&found(source, &["cart"], answers).await, "cart")
    };
    assert_eq!(counts(0.0, 0.0).await, "all counted no request in 28d");
    assert_eq!(counts(f64::NAN, 1.0).await, "all gives no number but NaN or infinity");
}

#[tokio::test(start_paused = true)]
async fn what_is_recorded_counts_as_it_is() {
    let recorded = |text| Recorded::parse(text, "shop", &PodLabels::default()).unwrap();
    let left = found(Source::Remaining(recorded("left")), &["cart"], vec![("left", Ok(vec![of("", -0.25)]))]).await;
    assert_eq!(left, Found::All(Spent::Left(-0.25)));
    let source = Source::Increase { errors: recorded("bad"), total: recorded("all") };
    let counted = found(source, &["cart"], vec![("all", Ok(vec![of("", 100.0)]))]).await;
    assert_eq!(counted, Found::All(Spent::Counts { errors: 0.0, total: 100.0, span: None }), "no error was recorded");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_fails_those_who_asked_it_alone() {
    let failure = Failure::new(Missing::TimedOut, "too slow");
    let (budgets, _) = budgets(vec![("bad_total", Err(failure.clone())), ("left", Ok(vec![of("", 0.5)]))]);
    let left = Source::Remaining(Recorded::parse("left", "shop", &PodLabels::default()).unwrap());
    let answers = budgets.ask(&[ask(Source::Each(counters()), &["cart"]), ask(left, &["cart"])]).await;
    assert_eq!(answers, [Err(failure), Ok(Found::All(Spent::Left(0.5)))]);
}

#[tokio::test(start_paused = true)]
async fn how_far_samples_reach_is_asked_once_an_hour_and_for_new_deployments() {
    let (budgets, fake) = budgets(vec![("all_total", Ok(vec![of("cart", 100.0)]))]);
    let reaches = || fake.asked.lock().unwrap().iter().filter(|query| query.contains("timestamp")).count();
    for _ in 0..3 {
        let _ = budgets.ask(&[ask(Source::Each(counters()), &["cart"])]).await;
    }
    assert_eq!(reaches(), 1);
    let _ = budgets.ask(&[ask(Source::Each(counters()), &["cart", "new"])]).await;
    assert_eq!(reaches(), 2);
    tokio::time::advance(Duration::from_secs(3601)).await;
    let _ = budgets.ask(&[ask(Source::Each(counters()), &["cart"])]).await;
    assert_eq!(reaches(), 3);
}

#[tokio::test(start_paused = true)]
async fn that_a_reach_cannot_be_asked_hides_no_budget() {
    let counted = || ("all_total", Ok(vec![of("cart", 100.0)]));
    let failure = Failure::new(Missing::TimedOut, "too slow");
    let (budgets, fake) = budgets(vec![("timestamp", Err(failure)), counted()]);
    for _ in 0..2 {
        let answers = budgets.ask(&[ask(Source::Each(counters()), &["cart"])]).await;
        let spent = Spent::Counts { errors: 0.0, total: 100.0, span: None };
        assert_eq!(answers[0].as_ref().unwrap().of("cart"), Some(&spent));
    }
    assert_eq!(fake.asked.lock().unwrap().iter().filter(|query| query.contains("timestamp")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_younger_than_a_step_is_not_taken_for_an_old_one() {
    let answers = vec![("timestamp", Ok(vec![])), ("all_total", Ok(vec![of("cart", 100.0)]))];
    let found = found(Source::Each(counters()), &["cart"], answers).await;
    let span = Some(Duration::from_secs(4020));
    assert_eq!(found.of("cart"), Some(&Spent::Counts { errors: 0.0, total: 100.0, span }));
}

#[tokio::test(start_paused = true)]
async fn budgets_leave_half_of_an_endpoints_turns_to_looks() {
    let (budgets, fake) = budgets(vec![]);
    let windows = 1..=20;
    let asks: Vec<Ask> = windows
        .map(|days| Ask { window: Duration::from_secs(days * DAY), ..ask(Source::Each(counters()), &["cart"]) })
        .collect();
    let _ = budgets.ask(&asks).await;
    assert_eq!(fake.asked.lock().unwrap().len(), 60);
    assert_eq!(fake.most_at_once.load(Ordering::SeqCst), 2);
}
