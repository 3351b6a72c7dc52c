#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, advance, sleep};

use super::super::client::{Limits, Point, Series};
use super::super::ledger::{Counting, Ledger, Terms};
use super::super::look::Missing;
use super::super::pods::PodGroup;
use super::super::promql::Selector;
use super::*;
use crate::config::PodLabels;

/// The fake clock starts here; a multiple of every interval used.
const START: i64 = 1_700_000_000_000;

/// How long a query may take, if anyone asks; the fake itself answers later, too.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A Prometheus whose pod of every asked rollout serves 10 requests a second, 1 of them bad, since `born`, scraped each second.
struct Fake {
    asked: Mutex<Vec<Asked>>,
    /// How long an answer takes.
    delay: Mutex<Duration>,
    /// What fails: queries with this text in them.
    failing: Mutex<Option<&'static str>>,
    born: AtomicI64,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

#[derive(Debug, Clone, PartialEq)]
struct Asked {
    query: String,
    /// First, last and how many points.
    times: (i64, i64, i64),
}

impl Fake {
    fn new() -> Arc<Self> {
        let (asked, delay, failing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (at_once, most_at_once) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { asked, delay, failing, born: AtomicI64::new(START + 3000), at_once, most_at_once })
    }

    fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    fn fail(&self, what: Option<&'static str>) {
        *self.failing.lock().unwrap() = what;
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    async fn answer(&self, query: &str, start: i64, end: i64, step: i64) -> Result<Vec<Series>, Failure> {
        let asked = Asked { query: query.to_owned(), times: (start, end, (end - start) / step + 1) };
        self.asked.lock().unwrap().push(asked);
        let delay = *self.delay.lock().unwrap();
        self.most_at_once.fetch_max(1 + self.at_once.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        sleep(delay).await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        if self.failing.lock().unwrap().is_some_and(|what| query.contains(what)) {
            return Err(Failure::new(Missing::Unreachable, "down"));
        }
        let born = self.born.load(Ordering::Relaxed);
        let times = (0..).map(|i| start + i * step).take_while(|at| *at <= end).filter(|at| *at >= born);
        let seconds = |ms: i64| f64::from(i32::try_from(ms / 1000).unwrap());
        let value = |at: i64| match query {
            _ if query.starts_with("max") => seconds(at),
            _ if query.contains("code") => seconds(at - born),
            _ => 10.0 * seconds(at - born),
        };
        let points = times.map(|at| Point { at, value: value(at) }).collect::<Vec<_>>();
        let pod = |namespace: &str| {
            let (namespace, pod) = (namespace.to_owned(), "web-new-bbbbb".to_owned());
            Series { namespace, pod, points: points.clone(), ..Series::default() }
        };
        Ok(if points.is_empty() { vec![] } else { vec![pod("shop"), pod("bank")] })
    }
}

impl Queries for Fake {
    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn limits(&self) -> Limits {
        Limits { query_bytes: 100_000, series: 10_000 }
    }

    async fn instant(&self, query: &str, at: Timestamp) -> Result<Vec<Series>, Failure> {
        self.answer(query, at.as_millisecond(), at.as_millisecond(), 1).await
    }

    async fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Vec<Series>, Failure> {
        let step = i64::try_from(step.as_millis()).unwrap();
        self.answer(query, start.as_millisecond(), end.as_millisecond(), step).await
    }
}

type Started = (Arc<Sampler<Fake>>, UnboundedReceiver<DeploymentKey>, JoinSet<()>);

/// A running sampler with a clock that follows the paused one of the runtime, just too late for the look at the start.
fn start(endpoints: &[(&str, &Arc<Fake>)]) -> Started {
    let began = Instant::now();
    let clock: Clock = Arc::new(move || {
        let elapsed = i64::try_from(began.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(START + 250 + elapsed).unwrap()
    });
    let endpoints = endpoints.iter().map(|(name, fake)| ((*name).to_owned(), Arc::clone(fake))).collect();
    let (sampler, woken) = Sampler::new(endpoints, clock);
    let mut task = JoinSet::new();
    task.spawn(Arc::clone(&sampler).run());
    (sampler, woken, task)
}

fn key(deployment: &str) -> DeploymentKey {
    DeploymentKey { namespace: "shop".to_owned(), name: deployment.to_owned() }
}

fn subject(deployment: &str) -> Subject {
    let selector = |text| Selector::parse(text, "shop", &PodLabels::default()).unwrap();
    Subject {
        key: key(deployment),
        from: ReadFrom::Prometheus("default".to_owned()),
        look_interval: Duration::from_secs(10),
        objectives: vec![Indicator::Ratio { errors: selector("requests{code=~\"5..\"}"), total: selector("requests") }],
        canary: PodGroup::of_replica_set(&format!("{deployment}-new")),
        stable: Some(PodGroup::of_replica_set(&format!("{deployment}-old"))),
        pods: 2,
        asks_scraped: false,
        revisions: None,
        since: Timestamp::from_millisecond(START).unwrap(),
    }
}

fn seconds(scrape: &Scrape) -> i64 {
    (scrape.at.as_millisecond() - START) / 1000
}

/// Seconds since the start, and what the look said.
fn outcomes(scrapes: &[Scrape]) -> Vec<(i64, Result<(), Missing>)> {
    let outcome = |scrape: &Scrape| scrape.objectives[0].as_ref().map(|_| ()).map_err(|failure| failure.why);
    scrapes.iter().map(|scrape| (seconds(scrape), outcome(scrape))).collect()
}

async fn run_for(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_rollout_nothing_is_asked() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    run_for(100).await;
    assert_eq!(fake.asked(), []);
    sampler.register(subject("web")).unwrap();
    run_for(25).await;
    assert_ne!(fake.asked(), []);
    sampler.remove(&key("web"));
    run_for(100).await;
    assert_eq!(fake.asked(), []);
    sampler.register(subject("web")).unwrap();
    run_for(11).await;
    assert_ne!(fake.asked(), [], "a track that ended begins again");
}

#[tokio::test(start_paused = true)]
async fn a_new_rollout_is_read_back_and_then_looked_at_on_the_grid() {
    let fake = Fake::new();
    let (sampler, mut woken, _task) = start(&[("default", &fake)]);
    advance(Duration::from_millis(4321)).await;
    assert_eq!(sampler.register(subject("web")), Ok(Registered::Anew));
    run_for(30).await;
    let scrapes = sampler.take(&key("web"));
    let times = scrapes.iter().map(seconds).collect::<Vec<_>>();
    assert_eq!(times, (-600..=30).step_by(10).collect::<Vec<_>>());
    let live = scrapes.iter().filter(|scrape| scrape.origin == Origin::Live).map(seconds);
    assert_eq!(live.collect::<Vec<_>>(), [10, 20, 30]);
    let asked = fake.asked();
    assert_eq!(asked.len(), 9, "three questions: once as a range and at two looks");
    assert!(asked[..3].iter().all(|asked| asked.times == (START - 600_000, START + 10_000, 62)), "{asked:?}");
    assert!(asked[3..].iter().all(|asked| asked.times.2 == 1));
    for _ in 0..3 {
        assert_eq!(woken.next().await, Some(key("web")));
    }
    assert!(sampler.take(&key("web")).is_empty(), "taken is taken");
}

#[tokio::test(start_paused = true)]
async fn a_look_waits_until_its_samples_are_stored() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    sleep(Duration::from_millis(9_949)).await;
    assert_eq!(fake.asked(), []);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn looks_are_whole_seconds_apart_and_at_least_one() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    for (name, millis, expected) in [("web", 2900, 2000), ("api", 300, 1000)] {
        sampler.register(Subject { look_interval: Duration::from_millis(millis), ..subject(name) }).unwrap();
        run_for(11).await;
        let scrapes = sampler.take(&key(name));
        let times = scrapes.iter().map(|scrape| scrape.at.as_millisecond()).collect::<Vec<_>>();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == expected), "{times:?}");
        assert!(times.iter().all(|at| at % expected == 0), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_hundred_rollouts_of_a_family_cost_three_queries_a_look() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    for i in 0..300 {
        sampler.register(subject(&format!("web{i}"))).unwrap();
    }
    run_for(11).await;
    assert_eq!(fake.asked().len(), 9, "read back");
    for _ in 0..3 {
        run_for(10).await;
        assert_eq!(fake.asked().len(), 3);
    }
    assert_eq!(sampler.take(&key("web299")).len(), 61 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rollouts_at_once_are_read_back_two_hundred_at_a_time() {
    let fake = Fake::new();
    fake.set_delay(Duration::from_secs(1));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    for i in 0..1000 {
        sampler.register(subject(&format!("web{i}"))).unwrap();
    }
    run_for(15).await;
    assert_eq!(fake.asked().len(), 30);
    assert_eq!(fake.most_at_once.load(Ordering::Relaxed), 6, "three questions each");
    let outcomes = outcomes(&sampler.take(&key("web999")));
    assert_eq!(outcomes.len(), 62);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "the last ones have not been missing");
}

#[tokio::test(start_paused = true)]
async fn the_same_evidence_comes_out_after_a_restart() {
    let fake = Fake::new();
    let evidence = |scrapes: &[Scrape]| {
        let (window, look_interval) = (Duration::from_secs(30), Duration::from_secs(10));
        let since = Timestamp::from_millisecond(START).unwrap();
        let mut ledger = Ledger::new(Terms { since, window, look_interval, objectives: vec![Counting::default()] });
        let entries = scrapes.iter().filter_map(|scrape| ledger.enter(scrape, 1));
        entries.map(|entry| (entry.at, entry.evidence)).collect::<Vec<_>>()
    };
    let (sampler, _woken, mut task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    run_for(101).await;
    let lasting = evidence(&sampler.take(&key("web")));
    assert_eq!(lasting.len(), 10);
    let look = lasting[1].1[0].unwrap();
    assert_eq!((look.canary.errors(), look.canary.requests()), (10.0, 100.0));

    task.shutdown().await;
    sampler.remove(&key("web"));
    let mut task = JoinSet::new();
    task.spawn(Arc::clone(&sampler).run());
    sampler.register(subject("web")).unwrap();
    run_for(10).await;
    let rebuilt = evidence(&sampler.take(&key("web")));
    assert_eq!(rebuilt[..10], lasting);
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_times_out_and_delays_no_other() {
    let (slow, quick) = (Fake::new(), Fake::new());
    let (sampler, _woken, _task) = start(&[("default", &quick), ("slow", &slow)]);
    sampler.register(subject("web")).unwrap();
    sampler.register(Subject { from: ReadFrom::Prometheus("slow".to_owned()), ..subject("api") }).unwrap();
    run_for(11).await;
    assert!(!sampler.take(&key("web")).is_empty() && !sampler.take(&key("api")).is_empty());
    slow.set_delay(Duration::from_secs(3600));
    let _ = slow.asked();
    run_for(40).await;
    assert_eq!(outcomes(&sampler.take(&key("web"))), [20, 30, 40, 50].map(|at| (at, Ok(()))));
    assert_eq!(outcomes(&sampler.take(&key("api"))), [20, 30, 40].map(|at| (at, Err(Missing::TimedOut))));
    assert_eq!(slow.asked().len(), 4 * 3, "each look asks once, and nothing piles up");
    slow.set_delay(Duration::ZERO);
    run_for(20).await;
    assert_eq!(outcomes(&sampler.take(&key("api"))).last(), Some(&(70, Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn reading_back_is_tried_at_each_look_until_it_works() {
    let fake = Fake::new();
    fake.fail(Some("requests"));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    run_for(31).await;
    let expected = [10, 20, 30].map(|at| (at, Err(Missing::Unreachable)));
    assert_eq!(outcomes(&sampler.take(&key("web"))), expected);
    fake.fail(None);
    run_for(10).await;
    let scrapes = sampler.take(&key("web"));
    assert_eq!((seconds(&scrapes[0]), seconds(scrapes.last().unwrap()), scrapes.len()), (-600, 40, 65));
}

#[tokio::test(start_paused = true)]
async fn the_first_reading_back_may_take_as_long_as_a_query_before_looks_are_missing() {
    let fake = Fake::new();
    fake.set_delay(Duration::from_secs(25));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    run_for(21).await;
    assert_eq!(sampler.take(&key("web")), [], "not missing before the timeout");
    run_for(10).await;
    assert_eq!(outcomes(&sampler.take(&key("web"))), [(30, Err(Missing::TimedOut))]);
    assert_eq!(fake.asked().len(), 3, "it is not asked for twice");
    fake.set_delay(Duration::ZERO);
    run_for(10).await;
    let scrapes = sampler.take(&key("web"));
    assert_eq!(outcomes(&scrapes)[61..], [(10, Ok(())), (40, Ok(()))]);
}

#[tokio::test(start_paused = true)]
async fn looks_are_taken_in_the_order_of_their_times_also_when_reading_back_was_slow() {
    let fake = Fake::new();
    fake.fail(Some("requests"));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    run_for(11).await;
    fake.set_delay(Duration::from_secs(25));
    run_for(10).await;
    fake.fail(None);
    run_for(30).await;
    let scrapes = sampler.take(&key("web"));
    let expected = [(20, Ok(())), (30, Err(Missing::TimedOut)), (40, Err(Missing::TimedOut))];
    assert_eq!(outcomes(&scrapes)[62..65], expected, "the look at 10 that was missing is read back");
    assert!(scrapes.is_sorted_by_key(|scrape| scrape.at));
    assert_eq!(scrapes.iter().filter(|scrape| seconds(scrape) == 10).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_read_back_is_not_told_after_later_looks() {
    let fake = Fake::new();
    fake.fail(Some("requests"));
    fake.set_delay(Duration::from_secs(25));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    run_for(36).await;
    assert_eq!(outcomes(&sampler.take(&key("web"))), [(30, Err(Missing::TimedOut))]);
}

#[tokio::test(start_paused = true)]
async fn one_objective_that_cannot_be_read_does_not_stop_the_others_for_good() {
    let fake = Fake::new();
    fake.fail(Some("broken"));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    let broken = Selector::parse("broken", "shop", &PodLabels::default()).unwrap();
    let mut two = subject("web");
    two.objectives.push(Indicator::Ratio { errors: broken.clone(), total: broken });
    sampler.register(two).unwrap();
    run_for(41).await;
    let scrapes = sampler.take(&key("web"));
    let last = scrapes.last().unwrap();
    assert_eq!((seconds(last), last.objectives[0].is_ok(), last.objectives[1].is_ok()), (40, true, false));
    assert!(scrapes.iter().any(|scrape| seconds(scrape) == -600), "its past came, too");
}

#[tokio::test(start_paused = true)]
async fn an_old_rollout_is_read_back_in_parts_and_not_for_ever() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    let since = Timestamp::from_millisecond(START - 40 * 3_600_000).unwrap();
    sampler.register(Subject { since, ..subject("web") }).unwrap();
    run_for(11).await;
    let asked = fake.asked();
    assert_eq!(asked.len(), 6, "two parts of three questions");
    assert!(asked.iter().all(|asked| asked.times.2 <= 10_000));
    let scrapes = sampler.take(&key("web"));
    assert_eq!((scrapes.len(), seconds(scrapes.last().unwrap())), (10_001, 10));
}

#[tokio::test(start_paused = true)]
async fn registering_again_as_it_is_changes_nothing_and_otherwise_starts_over() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    assert_eq!(sampler.register(subject("web")), Ok(Registered::Anew));
    run_for(11).await;
    assert!(!sampler.register(subject("web")).unwrap().is_anew());
    assert_eq!(sampler.take(&key("web")).len(), 62);
    run_for(10).await;
    let later = Subject { since: Timestamp::from_millisecond(START + 15_000).unwrap(), ..subject("web") };
    assert!(sampler.register(later).unwrap().is_anew());
    assert!(sampler.take(&key("web")).is_empty(), "what was read for the earlier rollout is dropped");
    run_for(10).await;
    assert_eq!(seconds(&sampler.take(&key("web"))[0]), -580, "the first look within ten minutes before");
    assert_eq!(sampler.registered(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_rollout_that_is_over_is_not_the_next_ones() {
    let fake = Fake::new();
    fake.set_delay(Duration::from_secs(5));
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    sampler.register(subject("web")).unwrap();
    run_for(12).await;
    sampler.remove(&key("web"));
    sampler.register(Subject { canary: PodGroup::of_replica_set("web-newer"), ..subject("web") }).unwrap();
    run_for(5).await;
    assert!(sampler.take(&key("web")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_named_anew_continue_a_rollout() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    let named = |pods: &[&str]| {
        let canary = PodGroup::Names(pods.iter().map(|pod| (*pod).to_owned()).collect());
        Subject { canary, stable: None, ..subject("web") }
    };
    sampler.register(named(&["a"])).unwrap();
    run_for(11).await;
    assert_eq!(sampler.register(named(&["a", "b"])), Ok(Registered::Continued));
    let _ = fake.asked();
    run_for(10).await;
    assert!(fake.asked().iter().all(|asked| asked.query.contains("pod=~\"a|b\"") && asked.times.2 == 1));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_does_not_grow_for_ever() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    let since = Timestamp::from_millisecond(START - 4 * 3_600_000).unwrap();
    sampler.register(Subject { since, look_interval: Duration::from_secs(1), ..subject("web") }).unwrap();
    run_for(2500).await;
    assert_eq!(sampler.take(&key("web")).len(), INBOX);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_not_configured_is_refused() {
    let fake = Fake::new();
    let (sampler, _woken, _task) = start(&[("default", &fake)]);
    let error =
        sampler.register(Subject { from: ReadFrom::Prometheus("eu".to_owned()), ..subject("web") }).unwrap_err();
    assert!(error.to_string().contains("\"eu\"") && error.to_string().contains("default"));
    assert_eq!(sampler.registered(), 0);
}
