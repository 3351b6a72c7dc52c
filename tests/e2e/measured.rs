//! What the scenarios measured, as the README has it.

use std::fmt::{Display, Formatter, Result};
use std::fs;

use crate::responses::Loss;

/// Everything that is printed at the end.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    releases: Vec<Release>,
    facts: Vec<String>,
}

/// One bad release, with the operator and without.
#[derive(Debug)]
struct Release {
    what: &'static str,
    governed: Loss,
    plain: Loss,
    end: String,
}

impl Measured {
    pub(crate) fn release(&mut self, what: &'static str, governed: Loss, plain: Loss, end: String) {
        self.releases.push(Release { what, governed, plain, end });
        self.releases.sort_by_key(|release| release.what);
    }

    pub(crate) fn fact(&mut self, fact: String) {
        self.facts.push(fact);
    }
}

impl Display for Measured {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        if self.releases.is_empty() && self.facts.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nMeasured on {}:", machine())?;
        for fact in &self.facts {
            writeln!(out, "- {fact}")?;
        }
        if self.releases.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n| release | lost with the operator | first to last | lost without | first to last | the operator |"
        )?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
        for Release { what, governed, plain, end } in &self.releases {
            writeln!(out, "| {what} | {} | {} | {end} |", governed.cells(), plain.cells())?;
        }
        Ok(())
    }
}

/// What this machine is, in the words of its kernel.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':')).map(|(_, value)| value.trim());
        line.unwrap_or("unknown").to_owned()
    };
    let kibibytes = line("/proc/meminfo", "MemTotal");
    let gibibytes = kibibytes.split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1_048_576.0;
    format!("{cores} cores of {}, {gibibytes:.0} GiB, for everything", line("/proc/cpuinfo", "model name"))
}
