//! How often healthy rollouts are stopped, and how soon bad ones are, by each rule: `cargo bench --bench simulation`.
//!
//! An objective of 99.9 % with the defaults of a policy: a look every 10 s, windows of 30 s. A rollout is two minutes of
//! canary with a tenth of the traffic, a ramp of 90 s, and five minutes alone (longer where the trouble comes late). The
//! only argument is a factor on the number of rollouts: `cargo bench --bench simulation -- 10`.

mod cold;
mod rollout;
mod traffic;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gatekeeper::policy::Rule;

use crate::rollout::{ALONE, CANARY, Outcome, RAMP, Scenario, Trouble, detection, run};
use crate::traffic::{Errors, LOOK_SECONDS};

const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
const ERRORS: [Errors; 2] = [Errors::Independent, Errors::Bursts(5)];
/// What the stable pods burn beside a bad release.
const NORMAL: f64 = 0.5;
/// Looks that a rollout goes on for after late trouble began.
const AFTER_TROUBLE: u32 = 27;

/// A line of a table: what is simulated, and how often.
struct Cell {
    name: String,
    scenario: Scenario,
    rollouts: usize,
}

fn main() {
    // `cargo bench` adds flags of its own.
    let factor = std::env::args().skip(1).find_map(|word| word.parse::<f64>().ok()).unwrap_or(1.0);
    let times = |rollouts: f64| (rollouts * factor).ceil().max(1.0) as usize;
    let begun = Instant::now();
    println!("Objective 99.9 %, a look every 10 s, window 30 s, violation 1.0x, warning 0.5x, confidence 99 %.");
    println!("Rollout: 2 min canary at 10 %, 90 s ramp, 5 min alone. Shares are percent of all rollouts; times are");
    println!("seconds from the beginning of the trouble to the decision. \"before\": rolled back before it began.");

    print_healthy(&healthy(times(4000.0)));
    print_bad(&format!("A bad release (stable pods burn {NORMAL}x)"), &bad(times(600.0)));
    print_bad("Every request fails in every second or third look", &intermittent(times(600.0)));
    print_bad("An outage of three minutes at 14.4x that all pods share", &shared(times(2000.0)));
    print_cold(times(300.0));
    println!("\n{:.0} s", begun.elapsed().as_secs_f64());
}

fn healthy(rollouts: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for errors in ERRORS {
        for rate in RATES {
            for normal in [0.3, 0.5, 0.9] {
                let scenario = Scenario { rate, errors, normal, trouble: Trouble::None, alone: ALONE };
                cells.push(Cell { name: name(&scenario, &format!("{normal}x")), scenario, rollouts });
            }
        }
    }
    cells
}

fn bad(rollouts: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for errors in ERRORS {
        for (when, from) in [("from the start", 0), ("after 4 min", 24), ("after 25 min", 150)] {
            for rate in RATES {
                for burn in [2.3, 14.4, 100.0] {
                    let alone = ALONE.max((from + AFTER_TROUBLE).saturating_sub(CANARY + RAMP));
                    let trouble = Trouble::Release { from, burn };
                    let scenario = Scenario { rate, errors, normal: NORMAL, trouble, alone };
                    cells.push(Cell { name: name(&scenario, &format!("{burn}x {when}")), scenario, rollouts });
                }
            }
        }
    }
    cells
}

fn intermittent(rollouts: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for every in [2, 3] {
        for rate in RATES {
            let (errors, trouble) = (Errors::Independent, Trouble::Intermittent { every });
            let scenario = Scenario { rate, errors, normal: NORMAL, trouble, alone: ALONE };
            cells.push(Cell { name: name(&scenario, &format!("1 look of {every}")), scenario, rollouts });
        }
    }
    cells
}

fn shared(rollouts: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for errors in ERRORS {
        for (stage, from) in [("canary", 3), ("ramp", CANARY + 2), ("alone", CANARY + RAMP + 3)] {
            for rate in RATES {
                let trouble = Trouble::Shared { from, looks: 18, burn: 14.4 };
                let scenario = Scenario { rate, errors, normal: NORMAL, trouble, alone: ALONE };
                cells.push(Cell { name: name(&scenario, &format!("in {stage}")), scenario, rollouts });
            }
        }
    }
    cells
}

fn name(scenario: &Scenario, what: &str) -> String {
    let errors = match scenario.errors {
        Errors::Independent => "single".to_owned(),
        Errors::Bursts(size) => format!("bursts of {size}"),
    };
    format!("{errors:<12} {what:<21} {:>5}/s", scenario.rate)
}

fn print_healthy(cells: &[Cell]) {
    println!("\nA healthy release ({} rollouts a line)", cells[0].rollouts);
    println!("{:41} | Sequential          | Threshold", "");
    println!("errors       burn rate             requests | rolled back  halted | rolled back  halted");
    for (cell, results) in cells.iter().zip(simulate(cells)) {
        let [sequential, threshold] = results.map(|outcomes| {
            let share =
                |is: fn(&Outcome) -> bool| percent(outcomes.iter().filter(|outcome| is(outcome)).count(), &outcomes);
            let rolled_back = share(|outcome| outcome.rolled_back.is_some());
            format!("{rolled_back:>11}  {:>6}", share(|outcome| outcome.halted.is_some()))
        });
        println!("{:<41} | {sequential} | {threshold}", cell.name);
    }
}

fn print_bad(title: &str, cells: &[Cell]) {
    println!("\n{title} ({} rollouts a line)", cells[0].rollouts);
    let columns = "before rolled back  median  p95 | halted  median to a stop";
    println!("{:41} | Sequential{:46} | Threshold", "", "");
    println!("errors       trouble               requests | {columns} | {columns}");
    for (cell, results) in cells.iter().zip(simulate(cells)) {
        let [sequential, threshold] =
            results.map(|outcomes| detection_columns(&outcomes, cell.scenario.trouble.begins()));
        println!("{:<41} | {sequential} | {threshold}", cell.name);
    }
}

/// How soon rollouts with trouble from look `begins` on were rolled back, and stopped in any way.
fn detection_columns(outcomes: &[Outcome], begins: u32) -> String {
    let seconds = |look: u32| f64::from(look + 1 - begins) * LOOK_SECONDS;
    let sorted = |looks: Vec<u32>| {
        let mut times: Vec<f64> = looks.into_iter().map(seconds).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let since = |look: Option<u32>| look.filter(|look| *look >= begins);
    let before = outcomes.iter().filter(|outcome| outcome.rolled_back.is_some_and(|look| look < begins)).count();
    let rolled_back = sorted(outcomes.iter().filter_map(|outcome| since(outcome.rolled_back)).collect());
    let halted = outcomes.iter().filter(|outcome| since(outcome.halted).is_some()).count();
    let first = |outcome: &Outcome| outcome.halted.into_iter().chain(outcome.rolled_back).min();
    let stopped = sorted(outcomes.iter().filter_map(|outcome| since(first(outcome))).collect());
    format!(
        "{:>6} {:>11} {:>7} {:>4} | {:>6} {:>17}",
        percent(before, outcomes),
        percent(rolled_back.len(), outcomes),
        quantile(&rolled_back, 0.5),
        quantile(&rolled_back, 0.95),
        percent(halted, outcomes),
        quantile(&stopped, 0.5),
    )
}

/// Releases under a latency objective, by whether their pods are slow for their first 20 s only, or for ever.
fn print_cold(rollouts: usize) {
    println!("\nA latency objective of 99 %, pods ten times as slow ({rollouts} rollouts a line)");
    println!("slow           requests   warmup | rolled back  halted  median");
    for (name, cold, slow) in [("for 20 s", 20, false), ("for ever", 0, true)] {
        for rate in [10.0, 100.0, 1000.0] {
            for warmup in [0, 30] {
                let release = cold::Release { rate, cold, slow };
                let run = |seed| cold::run(&release, Duration::from_secs(warmup), seed as u64);
                let outcomes: Vec<cold::Outcome> = (0..rollouts).map(run).collect();
                let mut seconds: Vec<f64> =
                    outcomes.iter().filter_map(|outcome| outcome.rolled_back).map(|seconds| seconds as f64).collect();
                seconds.sort_by(f64::total_cmp);
                let share = |count: usize| format!("{:.1}", 100.0 * count as f64 / rollouts as f64);
                println!(
                    "{name:<12} {rate:>8}/s {warmup:>7}s | {:>11} {:>7} {:>7}",
                    share(seconds.len()),
                    share(outcomes.iter().filter(|outcome| outcome.halted).count()),
                    quantile(&seconds, 0.5),
                );
            }
        }
    }
}

fn percent(count: usize, of: &[Outcome]) -> String {
    format!("{:.1}", 100.0 * count as f64 / of.len() as f64)
}

/// A quantile of sorted values, or a dash.
fn quantile(sorted: &[f64], share: f64) -> String {
    let index = (share * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

/// The outcomes of all rollouts of every cell under both rules, computed on all processors. The seeds are fixed: the
/// same code prints the same table.
fn simulate(cells: &[Cell]) -> Vec<[Vec<Outcome>; 2]> {
    let rules = [Rule::Sequential, Rule::Threshold].map(detection);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = cells.get(i) else { return done };
            let outcomes = rules.each_ref().map(|detection| {
                let seed = |rollout: usize| (i * 1_000_000 + rollout) as u64;
                (0..cell.rollouts).map(|rollout| run(&cell.scenario, detection, seed(rollout))).collect()
            });
            done.push((i, outcomes));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<(usize, [Vec<Outcome>; 2])> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, outcomes)| outcomes).collect()
}
