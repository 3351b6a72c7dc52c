//! The process itself, as every Prometheus client library names it. Read from `/proc` at the scrape.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// `/proc` counts CPU time in units of 1/100 s on every architecture we build for, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory, CPU time, start time. Where there is no `/proc`, only the start time.
#[derive(Debug)]
pub(super) struct Process {
    started: Timestamp,
}

impl Process {
    pub(super) fn started_now() -> Self {
        Self { started: Timestamp::now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let cpu = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat));
        if let Some(seconds) = cpu {
            let counter = ConstCounter::new(seconds);
            let help = "CPU time spent, user and system";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)?;
        }
        let resident = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status));
        if let Some(bytes) = resident {
            gauge(&mut encoder, "process_resident_memory_bytes", "Memory in use", bytes)?;
        }
        let started = self.started.as_millisecond() as f64 / 1000.0;
        gauge(&mut encoder, "process_start_time_seconds", "When the process started, since 1970", started)
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: f64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// User and system time of a `/proc/<pid>/stat` line. The second field is the program's name in parentheses and may
/// itself hold spaces and parentheses, so fields are counted from the last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // Fields 14 and 15 of the line; the first one after the name is field 3.
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let user = times.next()?.ok()?;
    let system = times.next()?.ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// `VmRSS` of `/proc/<pid>/status`, which gives it in kibibytes.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kibibytes * 1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 900 0 3 0 150 50 0 0 20 0 4 0 12345 1000 200";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident_bytes("Name:\tgate\nVmRSS:\t   2048 kB\nThreads:\t4\n"), Some(2_097_152.0));
        assert_eq!(resident_bytes("Name:\tgate\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_both() {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        assert!(cpu_seconds(&read("/proc/self/stat")).is_some());
        assert!(resident_bytes(&read("/proc/self/status")).is_some_and(|bytes| bytes > 1e5));
    }
}
