//! What was found, as people and as programs read it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::definition::Problem;
use super::document::Unreadable;
use super::forecast::{Forecast, Moment, Service as Forecasted, forecast};
use super::service::{Served, Service, Services};
use crate::decide::action::Room;
use crate::decide::budget::Reading;
use crate::decide::holding;
use crate::policy::{BurnRate, Mode, Objective, Policy, humane};

/// The burn rates of releases whose end is told: a slow burn, one that spends 2 % of 28 days in an hour, and a failure.
const BURN_RATES: [f64; 3] = [2.3, 14.4, 100.0];

/// Of how many Deployments it is told: those with the most traffic.
const MOST_FORECASTS: usize = 3;

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) policies: Vec<OfPolicy>,
    /// Objects of other kinds.
    pub(super) skipped: usize,
    pub(super) unreadable: Vec<Unreadable>,
    /// Why Prometheus could not be asked, or not for all.
    pub(super) unanswered: Vec<String>,
}

/// What was found of one policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfPolicy {
    /// As it was named.
    pub(super) file: String,
    /// Which document of it, from 1.
    pub(super) document: usize,
    /// Namespace and name; `None` when it is not one that would be in force.
    pub(super) policy: Option<String>,
    pub(super) findings: Vec<Finding>,
    /// What Prometheus has of it, by objective; empty when it was not asked.
    pub(super) objectives: Vec<OfObjective>,
    /// Deployments that were not looked at further.
    pub(super) other_deployments: Vec<String>,
    /// Pods whose names do not tell a Deployment.
    pub(super) other_pods: Vec<String>,
}

/// One thing that is wrong, or may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) field: String,
    pub(super) problem: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Severity {
    /// It would be refused, or could not be measured.
    Problem,
    /// It may not do what is meant.
    Warning,
}

/// What Prometheus has of an objective.
#[derive(Debug, Serialize)]
pub(super) struct OfObjective {
    name: String,
    selectors: Vec<OfSelector>,
    deployments: Vec<OfDeployment>,
}

#[derive(Debug, Serialize)]
struct OfSelector {
    field: &'static str,
    series: u64,
    pods: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfDeployment {
    name: String,
    pods: u32,
    /// Percent of the pods that are the canary's at its first step; `None` when nothing is held.
    canary_percent: Option<f64>,
    canary_pods: Option<u32>,
    requests_per_second: f64,
    requests_per_look: f64,
    scrape_interval_seconds: f64,
    /// Over the last ten minutes.
    burn_rate: f64,
    /// As a ratio; `None` when it is unknown or was not asked for.
    budget_remaining: Option<f64>,
    /// What the budget was read over, where that is less than the objective's window.
    budget_seconds: Option<u64>,
    releases: Vec<OfRelease>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfRelease {
    burn_rate: f64,
    halted: Option<When>,
    seen: Option<When>,
    /// The share of such releases that is taken as good before it is seen.
    missed: f64,
    taken_as_good_after_seconds: Option<u64>,
    #[serde(skip)]
    until: Duration,
}

#[derive(Debug, Serialize)]
struct When {
    seconds: u64,
    requests: f64,
}

impl From<Moment> for When {
    fn from(moment: Moment) -> Self {
        Self { seconds: moment.after.as_secs(), requests: moment.requests }
    }
}

impl Report {
    /// How many problems and warnings there are.
    pub(super) fn count(&self, severity: Severity) -> usize {
        let all = self.policies.iter().flat_map(|policy| &policy.findings);
        all.filter(|finding| finding.severity == severity).count()
    }

    /// As people read it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for policy in &self.policies {
            policy.write(&mut text);
        }
        let (problems, warnings) = (self.count(Severity::Problem), self.count(Severity::Warning));
        let _ = write!(
            text,
            "{}: {}",
            plural(self.policies.len(), "policy", "policies"),
            if problems == 0 { "no problem".to_owned() } else { plural(problems, "problem", "problems") }
        );
        if warnings > 0 {
            let _ = write!(text, ", {}", plural(warnings, "warning", "warnings"));
        }
        if self.skipped > 0 {
            let _ =
                write!(text, "; {} skipped", plural(self.skipped, "object of another kind", "objects of other kinds"));
        }
        if !self.unreadable.is_empty() {
            let unread = plural(self.unreadable.len(), "file or document", "files or documents");
            let _ = write!(text, "; {unread} could not be read");
        }
        text.push('\n');
        text
    }
}

impl OfPolicy {
    pub(super) fn add(&mut self, severity: Severity, problems: Vec<Problem>) {
        let finding = |Problem { field, problem }| Finding { severity, field, problem };
        self.findings.extend(problems.into_iter().map(finding));
    }

    /// Takes in what Prometheus has.
    pub(super) fn measured(&mut self, policy: &Policy, services: Services) {
        self.objectives = policy
            .objectives
            .iter()
            .zip(services.selectors)
            .enumerate()
            .map(|(i, (objective, matched))| {
                let selector =
                    |of: super::service::Matched| OfSelector { field: of.field, series: of.series, pods: of.pods };
                let of_deployment = |(rank, service): (usize, &Service)| {
                    let served = service.objectives.get(i)?.as_ref()?;
                    Some(OfDeployment::of(policy, objective, service, served, rank < MOST_FORECASTS))
                };
                OfObjective {
                    name: objective.name.clone(),
                    selectors: matched.into_iter().map(selector).collect(),
                    deployments: services.deployments.iter().enumerate().filter_map(of_deployment).collect(),
                }
            })
            .collect();
        (self.other_deployments, self.other_pods) = (services.others, services.strays);
        self.add(Severity::Problem, services.problems);
        self.add(Severity::Warning, services.warnings);
    }

    fn write(&self, text: &mut String) {
        let place = format!("{}:{}", self.file, self.document);
        for Finding { severity, field, problem } in &self.findings {
            let severity = if *severity == Severity::Warning { "warning: " } else { "" };
            let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
            let _ = writeln!(text, "{place}: {severity}{field}{problem}");
        }
        for objective in &self.objectives {
            let _ = writeln!(
                text,
                "{place}: {}, objective {}:",
                self.policy.as_deref().unwrap_or_default(),
                objective.name
            );
            objective.write(text);
        }
        for (what, all) in [
            ("Deployments that were not looked at further", &self.other_deployments),
            ("pods whose names do not tell a Deployment", &self.other_pods),
        ] {
            if !all.is_empty() {
                let more = if all.len() > 5 { format!(" and {} more", all.len() - 5) } else { String::new() };
                let _ = writeln!(text, "  {what}: {}{more}", all[..all.len().min(5)].join(", "));
            }
        }
    }
}

impl OfObjective {
    fn write(&self, text: &mut String) {
        for OfSelector { field, series, pods } in &self.selectors {
            let _ = writeln!(text, "  {field}: {series} series of {}", plural(*pods, "pod", "pods"));
        }
        self.deployments.iter().for_each(|deployment| deployment.write(text));
    }
}

impl OfDeployment {
    fn of(policy: &Policy, objective: &Objective, service: &Service, served: &Served, with_releases: bool) -> Self {
        let canary = policy.canary.as_ref().filter(|_| policy.mode == Mode::Enforce);
        let room =
            canary.and_then(|canary| canary.steps.first()).map(|step| holding::beside(step.traffic, service.pods));
        let (remaining, span) = match &served.budget {
            Some(Reading::Known { remaining, span }) => (Some(remaining.ratio()), *span),
            _ => (None, None),
        };
        let most = 1.0 / objective.budget.ratio();
        let mut burns: Vec<f64> = BURN_RATES.iter().map(|burn| burn.min(most)).collect();
        burns.dedup();
        let release = |burn| {
            let service = Forecasted {
                policy,
                objective,
                baseline: served.baseline.clone(),
                rate: served.rate,
                replicas: service.pods,
                scrape_interval: served.scrape_interval,
            };
            let Forecast { halted, seen, missed, taken_as_good, until } = forecast(&service, burn);
            OfRelease {
                burn_rate: burn,
                halted: halted.map(When::from),
                seen: seen.map(When::from),
                missed,
                taken_as_good_after_seconds: taken_as_good.map(|after| after.as_secs()),
                until,
            }
        };
        Self {
            name: service.name.clone(),
            pods: service.pods,
            canary_percent: room.map(|room| room.share(service.pods)),
            canary_pods: room.map(Room::pods),
            requests_per_second: served.rate,
            requests_per_look: served.rate * policy.detection.look_interval().as_secs_f64(),
            scrape_interval_seconds: served.scrape_interval.as_secs_f64(),
            burn_rate: served.baseline.burn(objective.budget).map_or(0.0, BurnRate::factor),
            budget_remaining: remaining,
            budget_seconds: span.map(|span| span.as_secs()),
            releases: if with_releases { burns.into_iter().map(release).collect() } else { Vec::new() },
        }
    }

    fn write(&self, text: &mut String) {
        let Self { name, requests_per_second: rate, .. } = self;
        let pods = plural(self.pods as usize, "pod", "pods");
        let budget = match (self.budget_remaining, self.budget_seconds) {
            (Some(left), None) => format!("; {:.1} % of the budget is left", left * 100.0),
            (Some(left), Some(over)) => {
                let over = humane(Duration::from_secs(over));
                format!("; {:.1} % of the budget is left (over {over}: older samples are not there)", left * 100.0)
            }
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "  {name}: {pods}, {} requests/s, {} a look; scraped every {}; burns {:.2}x (last 10 minutes){budget}",
            number(*rate),
            number(self.requests_per_look),
            humane(Duration::from_secs_f64(self.scrape_interval_seconds.max(0.0).round())),
            self.burn_rate,
        );
        if self.releases.is_empty() {
            return;
        }
        let held = match (self.canary_pods, self.canary_percent) {
            (Some(canary), Some(percent)) => {
                format!(", with {} ({percent:.1} %) as canary", plural(canary as usize, "pod", "pods"))
            }
            _ => ", with no canary".to_owned(),
        };
        let _ = writeln!(text, "    a release{held}, that burns");
        for release in &self.releases {
            let _ = writeln!(
                text,
                "    {:>6}: {}",
                format!("{:.4}", release.burn_rate).trim_end_matches('0').trim_end_matches('.').to_owned() + "x",
                release.words(*rate)
            );
        }
    }
}

impl OfRelease {
    fn words(&self, rate: f64) -> String {
        let after = |seconds| humane(Duration::from_secs(seconds));
        let mut words = match &self.seen {
            Some(seen) => {
                let (requests, rate) = (number(seen.requests), number(rate));
                format!("about {requests} requests, {} at your {rate} requests/s", after(seen.seconds))
            }
            None => format!("is not seen within {}", humane(self.until)),
        };
        // Writing to a String cannot fail.
        if let (Some(halted), Some(seen)) = (&self.halted, &self.seen)
            && halted.seconds < seen.seconds
        {
            let _ = write!(words, "; halted after {}", after(halted.seconds));
        }
        if let (Some(good), true) = (self.taken_as_good_after_seconds, self.missed > 0.0) {
            let _ = write!(
                words,
                "; {:.0} % of them would be taken as good before, after {}: a longer monitor.timeout or a larger \
                 canary.traffic sees more",
                self.missed * 100.0,
                after(good)
            );
        }
        words
    }
}

fn plural(count: usize, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {more}"),
    }
}

/// A number as people say it: two digits that count, groups of three.
fn number(value: f64) -> String {
    if value < 0.095 {
        return format!("{value:.3}");
    }
    if value < 9.95 {
        return format!("{value:.1}");
    }
    let scale = 10_f64.powi((value.log10().floor() as i32 - 1).max(0));
    let digits = format!("{:.0}", (value / scale).round() * scale);
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_with_two_digits_that_count() {
        let said: Vec<String> = [0.004, 0.25, 3.0, 10.4, 128.0, 9_047.0, 1_234_567.0].into_iter().map(number).collect();
        assert_eq!(said, ["0.004", "0.2", "3.0", "10", "130", "9,000", "1,200,000"]);
    }

    fn release(halted: Option<u64>, seen: Option<u64>, good: Option<u64>) -> OfRelease {
        let when = |seconds| When { seconds, requests: seconds as f64 * 10.0 };
        OfRelease {
            burn_rate: 2.3,
            halted: halted.map(when),
            seen: seen.map(when),
            missed: if good.is_some() { 0.6 } else { 0.0 },
            taken_as_good_after_seconds: good,
            until: Duration::from_secs(30_000),
        }
    }

    #[test]
    fn a_forecast_says_requests_time_and_whether_anybody_still_looks() {
        assert_eq!(release(None, Some(900), None).words(10.0), "about 9,000 requests, 15m at your 10 requests/s");
        assert_eq!(
            release(Some(60), Some(900), None).words(10.0),
            "about 9,000 requests, 15m at your 10 requests/s; halted after 1m"
        );
        let missed = release(None, Some(900), Some(420)).words(10.0);
        assert!(missed.contains("; 60 % of them would be taken as good before, after 7m: "), "{missed}");
        assert!(release(None, None, Some(420)).words(10.0).starts_with("is not seen within 8h20m; 60 % of them"));
    }
}
