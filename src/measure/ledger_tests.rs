#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::measure::look::Look;
use crate::measure::scrape::{PodSample, Samples, Source};
use crate::policy::Counts;

/// The rollout begins at 1,000 s; looks are 10 s apart, the window is 30 s.
const SINCE: i64 = 1000;

fn second(s: i64) -> Timestamp {
    Timestamp::from_second(s).unwrap()
}

fn ledger() -> Ledger {
    counting(Counting::default())
}

fn counting(counting: Counting) -> Ledger {
    let (window, look_interval) = (Duration::from_secs(30), Duration::from_secs(10));
    Ledger::new(Terms { since: second(SINCE), window, look_interval, objectives: vec![counting] })
}

fn pod(name: &str, errors: impl Into<Option<f64>>, total: f64, taken: i64) -> PodSample {
    PodSample { pod: name.into(), errors: errors.into(), total, taken: second(taken), from_zero: true }
}

fn scrape(at: i64, read: Result<Samples, Failure>) -> Scrape {
    Scrape { at: second(at), origin: Origin::Live, objectives: vec![read], silent: vec![], scraped: None }
}

fn both(at: i64, canary: Vec<PodSample>, stable: Vec<PodSample>) -> Scrape {
    scrape(at, Ok(Samples { canary, stable, ..Samples::default() }))
}

fn canary(at: i64, pods: Vec<PodSample>) -> Scrape {
    both(at, pods, vec![])
}

fn failed(at: i64, why: Missing) -> Scrape {
    scrape(at, Err(Failure::new(why, "no")))
}

/// Enters with two Ready canary pods and gives the one objective's evidence.
fn enter(ledger: &mut Ledger, scrape: &Scrape) -> Evidence {
    ledger.enter(scrape, 2).unwrap().evidence[0]
}

fn served(errors: f64, requests: f64) -> Tally {
    Tally::new(errors, requests)
}

#[test]
fn a_canary_pod_first_seen_after_the_rollout_began_counts_from_zero() {
    let mut ledger = ledger();
    let look = enter(&mut ledger, &canary(1010, vec![pod("new", 3.0, 50.0, 1008)])).unwrap();
    assert_eq!(look, Look { canary: served(3.0, 50.0), stable: Tally::ZERO });
    let look = enter(&mut ledger, &canary(1020, vec![pod("new", 4.0, 80.0, 1018)])).unwrap();
    assert_eq!(look.canary, served(1.0, 30.0));
}

#[test]
fn a_canary_pod_that_served_before_the_rollout_began_is_not_blamed_for_then() {
    let mut ledger = ledger();
    assert_eq!(ledger.enter(&canary(1000, vec![pod("old", 90.0, 100.0, 995)]), 2), None);
    let look = enter(&mut ledger, &canary(1010, vec![pod("old", 91.0, 110.0, 1005)])).unwrap();
    assert_eq!(look.canary, served(1.0, 10.0));
    let look = enter(&mut ledger, &canary(1020, vec![pod("old too", 50.0, 50.0, 999)])).unwrap();
    assert_eq!(look.canary, Tally::ZERO, "first read after, but taken before");
}

#[test]
fn a_stable_pods_first_sample_is_its_base() {
    let mut ledger = ledger();
    let look = enter(&mut ledger, &both(1010, vec![], vec![pod("s", 7.0, 1000.0, 1008)])).unwrap();
    assert_eq!(look.stable, Tally::ZERO);
    let look = enter(&mut ledger, &both(1020, vec![], vec![pod("s", 8.0, 1100.0, 1018)])).unwrap();
    assert_eq!(look.stable, served(1.0, 100.0));
}

#[test]
fn a_sample_that_is_not_newer_yields_nothing() {
    let mut ledger = ledger();
    let _ = enter(&mut ledger, &canary(1010, vec![pod("new", 0.0, 50.0, 1008)]));
    let look = enter(&mut ledger, &canary(1020, vec![pod("new", 0.0, 50.0, 1008)])).unwrap();
    assert_eq!(look, Look::default(), "a look between two scrapes is empty, not missing");
    assert_eq!(ledger.looks_with_samples(0, Side::Canary), 1);
}

/// Of what two jobs read of a pod the later reading counts. When the one that read last reads no more, the other's earlier
/// reading is all there is until it reads again.
#[test]
fn a_reading_that_ends_takes_back_nothing_and_has_nothing_counted_twice() {
    let mut ledger = ledger();
    let mut enter =
        |at, errors, total, taken| enter(&mut ledger, &canary(at, vec![pod("new", errors, total, taken)])).unwrap();
    assert_eq!(enter(1010, 3.0, 1000.0, 1008).canary, served(3.0, 1000.0));
    assert_eq!(enter(1020, 2.0, 990.0, 1005), Look::default());
    assert_eq!(enter(1030, 5.0, 1030.0, 1025).canary, served(2.0, 30.0));
}

#[test]
fn a_counter_that_went_down_rebases_and_yields_nothing() {
    for (errors, total) in [(0.0, 20.0), (0.0, 200.0), (9.0, 90.0)] {
        let mut ledger = ledger();
        let _ = enter(&mut ledger, &canary(1010, vec![pod("new", 5.0, 100.0, 1008)]));
        let look = enter(&mut ledger, &canary(1020, vec![pod("new", errors, total, 1018)])).unwrap();
        assert_eq!(look.canary, Tally::ZERO);
        let look = enter(&mut ledger, &canary(1030, vec![pod("new", errors + 1.0, total + 10.0, 1028)])).unwrap();
        assert_eq!(look.canary, served(1.0, 10.0));
    }
}

#[test]
fn a_difference_that_sinks_while_requests_rise_is_counted_once() {
    let mut ledger = counting(Counting { errors: ErrorCount::Difference, ..Counting::default() });
    let mut enter =
        |at, errors, total| enter(&mut ledger, &canary(at, vec![pod("new", errors, total, at - 2)])).unwrap().canary;
    assert_eq!(enter(1010, 1.0, 100.0), served(1.0, 100.0), "one that was counted, and not yet put into a bucket");
    assert_eq!(enter(1020, 0.0, 200.0), served(0.0, 100.0), "the look counts all the same");
    assert_eq!(enter(1030, 1.0, 300.0), served(0.0, 100.0), "and what was counted once is not counted again");
    assert_eq!(enter(1040, 5.0, 400.0), served(4.0, 100.0));
    assert_eq!(enter(1050, 2.0, 50.0), Tally::ZERO, "when the total goes down, too, the pod began anew");
    assert_eq!(enter(1060, 3.0, 60.0), served(1.0, 10.0));
}

#[test]
fn what_a_pod_serves_while_it_warms_up_is_left_out_on_both_sides() {
    let mut ledger = counting(Counting { warmup: Duration::from_secs(20), ..Counting::default() });
    let mut enter = |at, canary: (f64, f64), stable: (f64, f64)| {
        let (canary, stable) = (pod("new", canary.0, canary.1, at - 2), pod("old", stable.0, stable.1, at - 2));
        enter(&mut ledger, &both(at, vec![canary], vec![stable])).unwrap()
    };
    assert_eq!(enter(1010, (0.0, 0.0), (0.0, 500.0)), Look::default());
    assert_eq!(enter(1020, (50.0, 50.0), (9.0, 600.0)), Look::default(), "it begins with the first request");
    let look = enter(1030, (90.0, 100.0), (9.0, 700.0));
    assert_eq!(look, Look::default(), "the stable pod was first seen serving 20 s ago");
    let look = enter(1040, (95.0, 150.0), (9.0, 800.0));
    assert_eq!(look, Look { canary: Tally::ZERO, stable: served(0.0, 100.0) }, "so it is warm before the canary");
    let look = enter(1050, (95.0, 250.0), (9.0, 900.0));
    assert_eq!(look, Look { canary: served(0.0, 100.0), stable: served(0.0, 100.0) });
}

#[test]
fn only_pods_that_are_warm_say_how_the_restored_ones_do() {
    let mut ledger = counting(Counting { warmup: Duration::from_secs(20), ..Counting::default() });
    let mut fresh = |at, total| {
        let _ = enter(&mut ledger, &canary(at, vec![pod("busy", 0.0, total, at - 2), pod("idle", 0.0, 0.0, at - 2)]));
        ledger.fresh_pods(Side::Canary, second(SINCE))
    };
    assert_eq!(fresh(1010, 10.0), 1, "nobody asks the idle one for anything, so it is not waited for");
    assert_eq!(fresh(1020, 20.0), 1);
    assert_eq!(fresh(1030, 30.0), 2);
}

#[test]
fn no_series_of_errors_is_no_error() {
    let mut ledger = ledger();
    let look = enter(&mut ledger, &canary(1010, vec![pod("new", None, 50.0, 1008)])).unwrap();
    assert_eq!(look.canary, served(0.0, 50.0));
    assert!(!ledger.errors_seen(0));
    let look = enter(&mut ledger, &canary(1020, vec![pod("new", 2.0, 60.0, 1018)])).unwrap();
    assert_eq!(look.canary, served(2.0, 10.0), "a counter that appears counts from zero");
    assert!(ledger.errors_seen(0));
}

#[test]
fn errors_never_exceed_requests() {
    let mut ledger = ledger();
    let look = enter(&mut ledger, &canary(1010, vec![pod("new", 80.0, 50.0, 1008)])).unwrap();
    assert_eq!(look.canary, served(50.0, 50.0));
}

#[test]
fn a_pod_that_is_gone_yields_nothing_and_counts_on_when_it_is_back() {
    let mut ledger = ledger();
    let two = vec![pod("a", 0.0, 50.0, 1008), pod("b", 0.0, 50.0, 1008)];
    let _ = enter(&mut ledger, &canary(1010, two));
    let look = enter(&mut ledger, &canary(1020, vec![pod("a", 0.0, 60.0, 1018)])).unwrap();
    assert_eq!(look.canary, served(0.0, 10.0));
    let look = enter(&mut ledger, &canary(1030, vec![pod("b", 1.0, 75.0, 1028)])).unwrap();
    assert_eq!(look.canary, served(1.0, 25.0));
}

#[test]
fn what_could_not_be_read_is_missing_and_comes_with_the_next_look() {
    let mut ledger = ledger();
    let _ = enter(&mut ledger, &canary(1010, vec![pod("new", 0.0, 50.0, 1008)]));
    assert_eq!(enter(&mut ledger, &failed(1020, Missing::Unreachable)), Err(Missing::Unreachable));
    assert_eq!(ledger.failure(0).unwrap().to_string(), "Unreachable: no");
    let look = enter(&mut ledger, &canary(1030, vec![pod("new", 3.0, 90.0, 1028)])).unwrap();
    assert_eq!(look.canary, served(3.0, 40.0));
    assert_eq!(ledger.failure(0), None);
}

#[test]
fn a_counter_that_is_not_a_number_is_missing_and_moves_no_base() {
    let mut ledger = ledger();
    let _ = enter(&mut ledger, &canary(1010, vec![pod("new", 0.0, 50.0, 1008)]));
    for (i, (errors, total)) in [(f64::NAN, 60.0), (0.0, f64::NAN), (f64::INFINITY, 60.0)].into_iter().enumerate() {
        let at = 1020 + 10 * i64::try_from(i).unwrap();
        let broken = canary(at, vec![pod("new", errors, total, at - 2)]);
        assert_eq!(enter(&mut ledger, &broken), Err(Missing::NotANumber));
    }
    let stable = both(1050, vec![pod("new", 0.0, 55.0, 1048)], vec![pod("s", 0.0, f64::NAN, 1048)]);
    assert_eq!(enter(&mut ledger, &stable), Err(Missing::NotANumber));
    let look = enter(&mut ledger, &canary(1060, vec![pod("new", 1.0, 70.0, 1058)])).unwrap();
    assert_eq!(look.canary, served(1.0, 20.0));
}

#[test]
fn ready_canary_pods_without_series_are_missing_after_two_scrape_intervals() {
    let mut ledger = ledger();
    for at in [1010, 1020, 1030] {
        let stable = vec![pod("s", 0.0, 50.0, at - 2)];
        assert_eq!(enter(&mut ledger, &both(at, vec![], stable)), Ok(Look::default()), "{at}");
        assert_eq!(ledger.scrape_interval(0), (at > 1010).then_some(Duration::from_secs(10)));
        if at == 1020 {
            // Seen twice, the interval is known to be 10 s: two of them end at 1,030, counted from the first look.
            break;
        }
    }
    let stable = vec![pod("s", 0.0, 50.0, 1028)];
    assert_eq!(enter(&mut ledger, &both(1030, vec![], stable)), Err(Missing::NoSeries));
    let back = canary(1040, vec![pod("new", 0.0, 9.0, 1038)]);
    assert_eq!(enter(&mut ledger, &back).unwrap().canary, served(0.0, 9.0));
    assert_eq!(enter(&mut ledger, &canary(1050, vec![])), Ok(Look::default()), "the waiting starts over");
}

#[test]
fn without_a_known_scrape_interval_missing_series_have_a_minute() {
    let mut ledger = ledger();
    for at in (1010..1070).step_by(10) {
        assert_eq!(enter(&mut ledger, &canary(at, vec![])), Ok(Look::default()), "{at}");
    }
    assert_eq!(enter(&mut ledger, &canary(1070, vec![])), Err(Missing::NoSeries));
}

#[test]
fn looks_without_evidence_do_not_make_the_scrape_interval_seem_longer() {
    let mut ledger = ledger();
    let pods = |at: i64| (0..5).map(|i| pod(&format!("new-{i}"), 0.0, 50.0, at - 2)).collect();
    for at in [1010, 1020] {
        let _ = enter(&mut ledger, &canary(at, pods(at)));
    }
    for outage in [1030, 1330, 1630] {
        let _ = enter(&mut ledger, &failed(outage, Missing::Unreachable));
        let _ = enter(&mut ledger, &canary(outage + 10, vec![]));
        let _ = enter(&mut ledger, &canary(outage + 280, pods(outage + 280)));
    }
    assert_eq!(ledger.scrape_interval(0), Some(Duration::from_secs(10)));
}

#[test]
fn canary_pods_that_are_not_ready_owe_no_series() {
    let mut ledger = ledger();
    for at in (1010..1200).step_by(10) {
        assert_eq!(ledger.enter(&canary(at, vec![]), 0).unwrap().evidence, [Ok(Look::default())]);
    }
    assert_eq!(enter(&mut ledger, &canary(1200, vec![])), Ok(Look::default()), "Ready only since now");
}

#[test]
fn a_past_without_series_is_not_held_against_pods_that_are_ready_now() {
    let mut ledger = ledger();
    for at in (1010..1200).step_by(10) {
        let past = Scrape { origin: Origin::BackFill, ..canary(at, vec![]) };
        assert_eq!(enter(&mut ledger, &past), Ok(Look::default()));
    }
}

#[test]
fn samples_older_than_window_and_three_scrape_intervals_are_stale() {
    let mut ledger = ledger();
    let mut taken = 1002;
    for at in [1010, 1020] {
        let _ = enter(&mut ledger, &canary(at, vec![pod("new", 0.0, 50.0, taken)]));
        taken += 5;
    }
    assert_eq!(ledger.scrape_interval(0), Some(Duration::from_secs(5)));
    let again = |at| canary(at, vec![pod("new", 0.0, 50.0, 1007)]);
    assert_eq!(enter(&mut ledger, &again(1030)), Ok(Look::default()));
    assert_eq!(enter(&mut ledger, &again(1037)), Ok(Look::default()), "30 s old");
    assert_eq!(enter(&mut ledger, &again(1038)), Err(Missing::Stale), "more than the window old");
    let fresh = canary(1040, vec![pod("new", 1.0, 60.0, 1039)]);
    assert_eq!(enter(&mut ledger, &fresh).unwrap().canary, served(1.0, 10.0));
}

#[test]
fn a_slow_scrape_is_not_stale() {
    let mut ledger = ledger();
    for at in (1010..1600).step_by(10) {
        let taken = SINCE + (at - SINCE) / 60 * 60;
        assert!(enter(&mut ledger, &canary(at, vec![pod("new", 0.0, 50.0, taken)])).is_ok(), "{at}");
    }
    assert_eq!(ledger.scrape_interval(0), Some(Duration::from_secs(60)));
}

#[test]
fn a_clock_that_was_put_back_does_not_pass_for_freshness() {
    let mut ledger = ledger();
    for at in [5010, 5020, 5030] {
        let _ = enter(&mut ledger, &canary(at, vec![pod("new", 0.0, 50.0, at - 2)]));
    }
    // An hour is lost: Prometheus is asked for a time long before, and has for it what was already seen.
    let past = (1430..1500).step_by(10).map(|at| enter(&mut ledger, &canary(at, vec![pod("new", 0.0, 9.0, at - 2)])));
    assert_eq!(past.last(), Some(Err(Missing::Stale)));
}

#[test]
fn the_time_before_the_rollout_is_its_baseline() {
    let mut ledger = ledger();
    for (at, errors, total, taken) in [(970, 0.0, 100.0, 968), (980, 1.0, 150.0, 978), (990, 1.0, 150.0, 978)] {
        let past = Scrape { origin: Origin::BackFill, ..both(at, vec![], vec![pod("s", errors, total, taken)]) };
        assert_eq!(ledger.enter(&past, 0), None);
    }
    assert_eq!(ledger.enter(&failed(995, Missing::TimedOut), 0), None);
    assert_eq!(ledger.enter(&both(1000, vec![], vec![pod("s", 3.0, 190.0, 998)]), 0), None);
    assert_eq!(ledger.baseline(0), [served(1.0, 50.0), served(2.0, 40.0)]);
    let look = enter(&mut ledger, &both(1010, vec![], vec![pod("s", 3.0, 200.0, 1008)])).unwrap();
    assert_eq!(look.stable, served(0.0, 10.0));
    assert_eq!(ledger.baseline(0).len(), 2, "later looks are no baseline");
    assert_eq!(ledger.looks_with_samples(0, Side::Stable), 1);
}

#[test]
fn fresh_pods_are_those_in_the_last_scrape_with_a_later_sample() {
    let mut ledger = ledger();
    let _ = enter(&mut ledger, &canary(1010, vec![pod("a", 0.0, 5.0, 1004), pod("b", 0.0, 5.0, 1009)]));
    assert_eq!(ledger.fresh_pods(Side::Canary, second(1005)), 1);
    let _ = enter(&mut ledger, &canary(1020, vec![pod("a", 0.0, 6.0, 1014), pod("b", 0.0, 5.0, 1009)]));
    assert_eq!(ledger.fresh_pods(Side::Canary, second(1005)), 2);
    assert_eq!(ledger.fresh_pods(Side::Stable, second(1005)), 0);
    let _ = enter(&mut ledger, &canary(1030, vec![pod("a", 0.0, 7.0, 1024)]));
    assert_eq!(ledger.fresh_pods(Side::Canary, second(1005)), 1, "b is gone");
    let _ = enter(&mut ledger, &failed(1040, Missing::TimedOut));
    assert_eq!(ledger.fresh_pods(Side::Canary, second(1005)), 0, "nothing is known now");
    assert_eq!(ledger.newest_sample(Side::Canary), Some(second(1024)));
}

#[test]
fn one_objective_without_evidence_leaves_the_others_alone() {
    let (window, look_interval) = (Duration::from_secs(30), Duration::from_secs(10));
    let mut ledger =
        Ledger::new(Terms { since: second(SINCE), window, look_interval, objectives: vec![Counting::default(); 2] });
    let good = Samples { canary: vec![pod("new", 1.0, 5.0, 1008)], ..Samples::default() };
    let objectives = vec![Ok(good), Err(Failure::new(Missing::Partial, "a store is down"))];
    let scrape = Scrape { at: second(1010), origin: Origin::Live, objectives, silent: vec![], scraped: None };
    let entry = ledger.enter(&scrape, 2).unwrap();
    assert_eq!(entry.evidence[0].unwrap().canary, served(1.0, 5.0));
    assert_eq!(entry.evidence[1], Err(Missing::Partial));
    assert_eq!(ledger.newest_sample(Side::Canary), None, "one objective has none");
    assert_eq!(ledger.fresh_pods(Side::Canary, second(1005)), 0);
}

/// Looks with counters that only grow: for each of two canary and two stable pods whether it was scraped since the look
/// before, and how much its counters gained.
fn growing() -> impl Strategy<Value = Vec<Scrape>> {
    let gain = (any::<bool>(), 0_u32..5, 0_u32..50);
    proptest::collection::vec(proptest::collection::vec(gain, 4), 1..30).prop_map(|looks| {
        let mut counters = [(0.0, 0.0, SINCE + 1); 4];
        let scrape_at = |(i, gains): (usize, Vec<(bool, u32, u32)>)| {
            let at = SINCE + 10 + 10 * i64::try_from(i).unwrap();
            for (counter, (fresh, errors, good)) in counters.iter_mut().zip(gains) {
                if fresh {
                    *counter = (counter.0 + f64::from(errors), counter.1 + f64::from(errors + good), at - 1);
                }
            }
            let all = counters.iter().zip(["c0", "c1", "s0", "s1"]);
            let mut all = all.map(|(c, name)| pod(name, c.0, c.1, c.2)).collect::<Vec<_>>();
            let stable = all.split_off(2);
            both(at, all, stable)
        };
        looks.into_iter().enumerate().map(scrape_at).collect()
    })
}

/// All that good looks hold. A look that a long rest made stale passes its counts on to the next one, so a last one that is
/// sure to be good is added.
fn sum<'a>(scrapes: impl Iterator<Item = &'a Scrape>) -> Look {
    let mut ledger = ledger();
    let mut sum = Look::default();
    let mut add = |scrape: &Scrape| {
        if let Some(Ok(look)) = ledger.enter(scrape, 2).map(|entry| entry.evidence[0]) {
            sum += look;
        }
    };
    let mut last = None;
    for scrape in scrapes {
        add(scrape);
        last = Some(scrape.clone());
    }
    let mut last = last.unwrap();
    last.at = last.at.checked_add(SignedDuration::from_secs(10)).unwrap();
    let taken = last.at;
    let samples = last.objectives[0].as_mut().unwrap();
    samples.canary.iter_mut().chain(&mut samples.stable).for_each(|sample| sample.taken = taken);
    add(&last);
    // What waits for the other side is in no look yet.
    sum += ledger.objectives[0].unpaired;
    sum
}

proptest! {
    #[test]
    fn reading_a_scrape_twice_changes_nothing(scrapes in growing()) {
        let twice = scrapes.iter().flat_map(|scrape| [scrape, scrape]);
        prop_assert_eq!(sum(twice), sum(scrapes.iter()));
    }

    #[test]
    fn losing_looks_between_loses_no_request(scrapes in growing(), keep in proptest::collection::vec(any::<bool>(), 30)) {
        let last = scrapes.len() - 1;
        let kept = scrapes.iter().enumerate().filter(|(i, _)| *i == 0 || *i == last || keep[*i]).map(|(_, scrape)| scrape);
        prop_assert_eq!(sum(kept), sum(scrapes.iter()));
    }

    #[test]
    fn a_restart_gives_the_same_looks_as_none(scrapes in growing(), restart in 0_usize..30) {
        let mut lasting = ledger();
        let expected = scrapes.iter().map(|scrape| lasting.enter(scrape, 2).unwrap().evidence).collect::<Vec<_>>();
        let mut restarted = ledger();
        let rebuilt = scrapes.iter().enumerate().map(|(i, scrape)| {
            let origin = if i < restart { Origin::BackFill } else { Origin::Live };
            restarted.enter(&Scrape { origin, ..scrape.clone() }, 2).unwrap().evidence
        });
        prop_assert_eq!(rebuilt.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_counters_make_a_look_that_is_negative_or_has_more_errors_than_requests(
        readings in proptest::collection::vec((any::<f64>(), any::<f64>(), 900_i64..2000, any::<bool>()), 1..20),
    ) {
        let mut ledger = ledger();
        for (i, (errors, total, taken, stable)) in readings.into_iter().enumerate() {
            let sample = vec![pod("p", errors, total, taken)];
            let (c, s) = if stable { (vec![], sample) } else { (sample, vec![]) };
            let at = SINCE + 10 + 10 * i64::try_from(i).unwrap();
            if let Some(Ok(look)) = ledger.enter(&both(at, c, s), 2).map(|entry| entry.evidence[0]) {
                for tally in [look.canary, look.stable] {
                    prop_assert!(tally.errors() >= 0.0 && tally.errors() <= tally.requests() && tally.requests().is_finite());
                }
            }
        }
    }

    #[test]
    fn more_canary_errors_never_count_less(scrapes in growing(), extra in 0_u32..9, from in 0_usize..30) {
        let mut worse = scrapes.clone();
        for scrape in worse.iter_mut().skip(from) {
            for sample in &mut scrape.objectives[0].as_mut().unwrap().canary {
                sample.errors = sample.errors.map(|errors| (errors + f64::from(extra)).min(sample.total));
            }
        }
        prop_assert!(sum(worse.iter()).canary.errors() >= sum(scrapes.iter()).canary.errors());
    }
}

fn queried(at: i64, counts: Counts, is_apart: bool, canary: Vec<PodSample>, stable: Vec<PodSample>) -> Scrape {
    scrape(at, Ok(Samples { canary, stable, source: Source::Query { counts, is_apart } }))
}

#[test]
fn what_is_counted_a_look_is_taken_as_it_is() {
    let mut ledger = ledger();
    let at = |at, canary: (f64, f64), stable: f64| {
        let (canary, stable) = (pod("{}", canary.0, canary.1, at), pod("{}", 0.0, stable, at));
        queried(at, Counts::PerWindow, true, vec![canary], vec![stable])
    };
    assert_eq!(ledger.enter(&at(990, (0.0, 0.0), 700.0), 2), None);
    assert_eq!(ledger.baseline(0), [served(0.0, 700.0)]);
    let look = enter(&mut ledger, &at(1010, (3.0, 50.0), 900.0)).unwrap();
    assert_eq!(look, Look { canary: served(3.0, 50.0), stable: served(0.0, 900.0) });
    let look = enter(&mut ledger, &at(1020, (1.0, 20.0), 800.0)).unwrap();
    assert_eq!(look, Look { canary: served(1.0, 20.0), stable: served(0.0, 800.0) }, "less than before is no restart");
}

#[test]
fn what_does_not_tell_pods_apart_is_the_same_on_both_sides() {
    let mut ledger = ledger();
    let at = |at, pods| queried(at, Counts::Cumulative, false, pods, vec![]);
    assert_eq!(ledger.enter(&at(980, vec![pod("{}", 10.0, 1000.0, 978)]), 2), None);
    assert_eq!(ledger.enter(&at(990, vec![pod("{}", 11.0, 1100.0, 988)]), 2), None);
    assert_eq!(ledger.baseline(0), [served(1.0, 100.0)], "and has a baseline");
    let look =
        enter(&mut ledger, &at(1010, vec![pod("{}", 20.0, 1300.0, 1008), pod("{new}", 9.0, 9.0, 1008)])).unwrap();
    assert_eq!(
        look,
        Look { canary: served(9.0, 200.0), stable: served(9.0, 200.0) },
        "a new gateway is no new release"
    );
    assert_eq!(ledger.looks_with_samples(0, Side::Stable), 1);
}

#[test]
fn a_fresh_answer_of_a_query_stands_for_all_pods() {
    let mut ledger = ledger();
    let at = |at, taken| queried(at, Counts::Cumulative, true, vec![pod("{}", 0.0, 10.0, taken)], vec![]);
    let _ = enter(&mut ledger, &at(1010, 1008));
    assert_eq!(ledger.fresh_pods(Side::Canary, second(1008)), 0);
    let _ = enter(&mut ledger, &at(1020, 1018));
    assert!(ledger.fresh_pods(Side::Canary, second(1008)) >= 40);
}

#[test]
fn a_pod_whose_past_is_not_known_has_its_first_sample_as_its_base() {
    let mut ledger = ledger();
    let unknown = |total, taken| PodSample { from_zero: false, ..pod("new", 50.0, total, taken) };
    assert_eq!(
        ledger.enter(&canary(1010, vec![unknown(1000.0, 1010)]), 1).unwrap().evidence[0].unwrap().canary,
        served(0.0, 0.0)
    );
    let next = ledger.enter(&canary(1020, vec![unknown(1040.0, 1020)]), 1).unwrap();
    assert_eq!(next.evidence[0].unwrap().canary, served(0.0, 40.0));
}

#[test]
fn a_canary_pod_that_is_silent_look_after_look_is_named() {
    let mut ledger = ledger();
    let silent =
        |pod: &str, side| Silent { pod: pod.into(), side, failure: Failure::new(Missing::TimedOut, "too slow") };
    let mut look = |at, silent: Vec<Silent>| {
        ledger.enter(&Scrape { silent, ..canary(at, vec![pod("new", 0.0, 5.0, at)]) }, 3);
        ledger.silence(2).map(|failure| (failure.why, failure.message.to_string()))
    };
    assert_eq!(look(1010, vec![silent("odd", Side::Canary), silent("old", Side::Stable)]), None, "once is a hiccup");
    let words = "canary pod odd could not be read in 2 looks: too slow".to_owned();
    assert_eq!(
        look(1020, vec![silent("odd", Side::Canary), silent("old", Side::Stable)]),
        Some((Missing::Silent, words))
    );
    let (_, words) = look(1030, vec![silent("odd", Side::Canary), silent("even", Side::Canary)]).unwrap();
    assert_eq!(words, "canary pod odd could not be read in 3 looks: too slow");
    let (_, words) = look(1040, vec![silent("odd", Side::Canary), silent("even", Side::Canary)]).unwrap();
    assert_eq!(words, "canary pod odd (and 1 more) could not be read in 4 looks: too slow");
    assert_eq!(
        look(1050, vec![silent("even", Side::Canary)]).unwrap().1,
        "canary pod even could not be read in 3 looks: too slow"
    );
    assert_eq!(look(1060, vec![]), None);
    assert_eq!(look(1070, vec![silent("even", Side::Canary)]), None, "it has answered in between");
}

/// What is known after looks every 10 s for two minutes at three Ready canary pods, of which these have series and Prometheus
/// says this of its scrapes.
fn part(with_series: &[&str], scraped: Option<&[&str]>) -> (Option<(u32, u32)>, bool) {
    let mut ledger = ledger();
    for at in (1010..=1130).step_by(10) {
        let pods = with_series.iter().map(|name| pod(name, 0.0, f64::from(at), i64::from(at) - 2));
        let scraped = scraped.map(|pods| pods.iter().map(|pod| Arc::from(*pod)).collect());
        let _ = ledger.enter(&Scrape { scraped, ..canary(at.into(), pods.collect()) }, 3);
    }
    (ledger.part_of_pods().map(|part| (part.measured, part.ready)), ledger.lacks_pods())
}

#[test]
fn a_ready_canary_pod_that_is_not_scraped_is_missed_and_one_without_requests_is_not() {
    assert_eq!(part(&["a", "b"], Some(&["a", "b"])), (Some((2, 3)), true));
    assert_eq!(part(&["a"], Some(&["a"])), (Some((1, 3)), true));
    assert_eq!(part(&["a", "b"], Some(&["a", "b", "c"])), (None, true), "nobody has asked it for anything yet");
    assert_eq!(part(&["a", "b"], Some(&[])), (Some((2, 3)), true), "series may come by another way than scrapes");
    assert_eq!(
        part(&["a", "b"], None),
        (None, true),
        "what says of no pod that it is scraped says of none that it is not"
    );
    assert_eq!(part(&["a", "b", "c"], None), (None, false));
    assert_eq!(part(&[], Some(&[])), (None, true), "that none has series is told by the looks");
}

/// Looks every 10 s at a canary pod and a stable one that are scraped every 60 s, half a minute apart, from before the
/// rollout on. Each serves a request a second when it serves.
fn seldom(until: i64, serving: [bool; 2]) -> Vec<Look> {
    let mut ledger = ledger();
    let sample = |name, at: i64, offset: i64, serves: bool| {
        let taken = (at - offset).div_euclid(60) * 60 + offset;
        pod(name, 0.0, if serves { taken as f64 } else { 1.0 }, taken)
    };
    let scrapes = (SINCE / 10 - 30..until / 10).map(|tick| {
        let at = tick * 10;
        let canary = (at > SINCE + 60).then(|| sample("new", at, 5, serving[0]));
        both(at, canary.into_iter().collect(), vec![sample("old", at, 35, serving[1])])
    });
    scrapes.filter_map(|scrape| ledger.enter(&scrape, 1)?.evidence[0].ok()).collect()
}

#[test]
fn pods_that_are_scraped_at_different_times_are_compared_all_the_same() {
    let looks = seldom(SINCE + 660, [true, true]);
    let paired = looks.iter().filter(|look| look.canary.requests() > 0.0 && look.stable.requests() > 0.0).count();
    assert!(paired >= 8, "{paired}: {looks:?}");
    let alone = looks.iter().skip(20).filter(|look| (look.canary.requests() > 0.0) != (look.stable.requests() > 0.0));
    assert_eq!(alone.count(), 0, "{looks:?}");
}

#[test]
fn what_one_side_serves_waits_for_one_scrape_interval_at_most() {
    let looks = seldom(SINCE + 660, [true, false]);
    let known = looks.iter().filter(|look| look.canary.requests() > 0.0).count();
    assert!(known >= 8, "{known}: {looks:?}");
}

#[test]
fn what_the_canary_serves_waits_for_no_stable_pod_when_none_is_left() {
    let mut ledger = ledger();
    for at in [880, 940, 1000] {
        ledger.enter(&both(at, vec![], vec![pod("old", 0.0, 9.0, at - 5)]), 1);
    }
    let look = enter(&mut ledger, &canary(1010, vec![pod("new", 3.0, 50.0, 1008)])).unwrap();
    assert_eq!(look.canary, served(3.0, 50.0));
}
