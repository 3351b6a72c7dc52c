#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::super::super::ledger::{Counting, Ledger, Terms};
use super::super::super::look::Tally;
use super::super::counts::Counts;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn read(side: Side, pod: &str, counts: Result<(f64, f64), Missing>) -> Read {
    let failed = |why| Failure::new(why, "no");
    let counts = counts.map(|(errors, total)| vec![Ok(Counts { errors: Some(errors), total: Some(total) })]);
    Read { side, pod: pod.into(), from_zero: false, counts: counts.map_err(failed), taken: at(1010) }
}

fn pods(samples: &[PodSample]) -> Vec<&str> {
    samples.iter().map(|sample| &*sample.pod).collect()
}

#[test]
fn what_can_be_read_is_evidence_and_what_cannot_is_named() {
    let scrape = together(
        &[
            read(Side::Canary, "new-1", Ok((1.0, 10.0))),
            read(Side::Canary, "new-2", Err(Missing::TimedOut)),
            read(Side::Stable, "old-1", Err(Missing::Unreachable)),
            read(Side::Stable, "old-2", Ok((0.0, 90.0))),
        ],
        1,
        None,
        at(1010),
    );
    let samples = scrape.objectives[0].as_ref().unwrap();
    assert_eq!((pods(&samples.canary), pods(&samples.stable)), (vec!["new-1"], vec!["old-2"]));
    let silent = scrape.silent.iter().map(|silent| (&*silent.pod, silent.side, silent.failure.why)).collect::<Vec<_>>();
    assert_eq!(silent, [("new-2", Side::Canary, Missing::TimedOut), ("old-1", Side::Stable, Missing::Unreachable)]);
}

#[test]
fn a_side_of_which_nothing_can_be_read_leaves_no_evidence() {
    let good = |side| read(side, "good", Ok((0.0, 1.0)));
    for (side, words) in [(Side::Canary, "canary"), (Side::Stable, "stable")] {
        let other = if side == Side::Canary { Side::Stable } else { Side::Canary };
        let reads =
            [read(side, "odd", Err(Missing::TimedOut)), read(side, "even", Err(Missing::TimedOut)), good(other)];
        let failure = together(&reads, 1, None, at(1010)).objectives[0].clone().unwrap_err();
        assert_eq!(failure.why, Missing::TimedOut);
        assert_eq!(&*failure.message, format!("none of 2 {words} pods could be read: odd: no"));
    }
    // Where nothing serves there is nothing to miss.
    assert!(together(&[good(Side::Canary)], 1, None, at(1010)).objectives[0].is_ok());
    assert!(together(&[], 1, None, at(1010)).objectives[0].is_ok());
}

#[test]
fn where_nobody_knows_which_pods_there_are_there_is_no_evidence() {
    let why = Arc::from("the API server did not list the pods");
    let failure = together(&[], 1, Some(&why), at(1010)).objectives[0].clone().unwrap_err();
    assert_eq!((failure.why, failure.message), (Missing::QueryFailed, Arc::clone(&why)));
    // Those that were known before still are.
    assert!(together(&[read(Side::Canary, "new", Ok((0.0, 1.0)))], 1, Some(&why), at(1010)).objectives[0].is_ok());
}

#[test]
fn a_pod_without_the_series_is_no_failure_and_no_sample() {
    let mut empty = read(Side::Canary, "new", Ok((0.0, 0.0)));
    empty.counts = Ok(vec![Ok(Counts { errors: Some(1.0), total: None })]);
    let scrape = together(&[empty], 1, None, at(1010));
    assert!(scrape.objectives[0].as_ref().unwrap().canary.is_empty() && scrape.silent.is_empty());
}

#[test]
fn a_page_that_cannot_have_an_objective_leaves_that_one_without_evidence() {
    let mut odd = read(Side::Canary, "new", Ok((0.0, 10.0)));
    odd.counts = Ok(vec![Err("no such bound".into()), Ok(Counts { errors: None, total: Some(7.0) })]);
    let scrape = together(&[odd], 2, None, at(1010));
    let failure = scrape.objectives[0].as_ref().unwrap_err();
    assert_eq!((failure.why, &*failure.message), (Missing::NoSeries, "pod new: no such bound"));
    assert_eq!(scrape.objectives[1].as_ref().unwrap().canary.len(), 1);
}

#[test]
fn a_release_that_begins_to_expose_what_is_read_is_measured() {
    let mut old = read(Side::Stable, "old", Ok((0.0, 90.0)));
    old.counts = Ok(vec![Err("no such bound".into())]);
    let scrape = together(&[read(Side::Canary, "new", Ok((1.0, 10.0))), old], 1, None, at(1010));
    let samples = scrape.objectives[0].as_ref().unwrap();
    assert_eq!((pods(&samples.canary), pods(&samples.stable)), (vec!["new"], vec![]));
}

#[test]
fn a_container_that_restarts_loses_one_look_and_invents_nothing() {
    let (window, look_interval) = (Duration::from_secs(30), Duration::from_secs(10));
    let mut ledger =
        Ledger::new(Terms { since: at(1000), window, look_interval, objectives: vec![Counting::default()] });
    let mut look = |second, errors, total| {
        let read = Read { taken: at(second), ..read(Side::Canary, "new", Ok((errors, total))) };
        ledger.enter(&together(&[read], 1, None, at(second)), 1).unwrap().evidence[0].unwrap().canary
    };
    assert_eq!(look(1010, 7.0, 1000.0), Tally::ZERO, "what it counted before is not known");
    assert_eq!(look(1020, 8.0, 1100.0), Tally::new(1.0, 100.0));
    assert_eq!(look(1030, 2.0, 40.0), Tally::ZERO);
    assert_eq!(look(1040, 3.0, 90.0), Tally::new(1.0, 50.0));
}
