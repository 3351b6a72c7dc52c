//! Asks Prometheus for SLOs: one list of rules for all policies that name any, and remembers what it said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use promql_parser::util::escape_string;
use tokio::time::Instant;

use super::rules::{Rule, Rules};
use super::{Unread, slo};
use crate::measure::client::PrometheusClient;
use crate::measure::promql::literal;
use crate::measure::scrape::Failure;
use crate::policy::{Slo, SloName};

/// A name that nobody asked for before is not waited for longer than this, however often the others are asked for.
const SOONEST: Duration = Duration::from_secs(2);

/// Where Prometheus did not tell, it is asked again after this.
const RETRY: Duration = Duration::from_secs(10);

/// How long the names in one request may be together: lists of rules can only be asked for in an address.
const LONGEST: usize = 1500;

/// What is known of an SLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: it is going to be asked.
    NotAsked,
    /// What it says.
    Known(Result<Slo, Unread>),
}

/// The SLOs of other tools, as each endpoint has them.
pub struct Slos<Q = PrometheusClient> {
    endpoints: BTreeMap<String, Arc<Q>>,
    known: Mutex<HashMap<String, Known>>,
}

/// What an endpoint said.
struct Known {
    asked: Instant,
    answers: BTreeMap<SloName, Result<Slo, Unread>>,
}

impl<Q: Rules> Slos<Q> {
    /// Asks these endpoints, when it is told to.
    #[must_use]
    pub fn new(endpoints: BTreeMap<String, Arc<Q>>) -> Self {
        Self { endpoints, known: Mutex::default() }
    }

    /// What is known of an SLO at this endpoint.
    #[must_use]
    pub fn of(&self, endpoint: &str, name: &SloName) -> Answer {
        let known = self.known();
        known
            .get(endpoint)
            .and_then(|known| known.answers.get(name))
            .map_or(Answer::NotAsked, |answer| Answer::Known(answer.clone()))
    }

    /// Whether an endpoint is to be asked for these: once in `every`, soon for a name that is new, and sooner than usual for
    /// one of which nothing could be told.
    #[must_use]
    pub fn is_due(&self, endpoint: &str, names: &BTreeSet<SloName>, every: Duration) -> bool {
        let known = self.known();
        let Some(known) = known.get(endpoint) else { return !names.is_empty() };
        let pause_of = |name: &SloName| match known.answers.get(name) {
            None => SOONEST,
            Some(Err(Unread::Unanswered(_))) => RETRY,
            Some(_) => every,
        };
        let pause = names.iter().map(pause_of).min().unwrap_or(every).min(every);
        !names.is_empty() && known.asked + pause <= Instant::now()
    }

    /// Asks an endpoint for these, and answers of which something else is known now. Names that are not among them are
    /// forgotten. Where it does not tell, what was known before still counts.
    pub async fn ask(&self, endpoint: &str, names: &BTreeSet<SloName>) -> BTreeSet<SloName> {
        let rules = self.rules(endpoint, names).await;
        let mut known = self.known();
        let before = known.remove(endpoint).map(|known| known.answers).unwrap_or_default();
        let answer = |name: &SloName| match (&rules, before.get(name)) {
            (Ok(rules), _) => slo(rules, name),
            (Err(_), Some(Ok(slo))) => Ok(slo.clone()),
            (Err(failure), _) => Err(Unread::Unanswered(format!("{name} is not known: {failure}"))),
        };
        let answers: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), answer(name))).collect();
        let changed = answers.iter().filter(|(name, answer)| before.get(name) != Some(answer));
        let changed = changed.map(|(name, _)| name.clone()).collect();
        known.insert(endpoint.to_owned(), Known { asked: Instant::now(), answers });
        changed
    }

    async fn rules(&self, endpoint: &str, names: &BTreeSet<SloName>) -> Result<Vec<Rule>, Failure> {
        let Some(client) = self.endpoints.get(endpoint) else {
            let message = format!("there is no Prometheus endpoint named {endpoint:?}");
            return Err(Failure::new(crate::measure::look::Missing::QueryFailed, message));
        };
        let mut all = Vec::new();
        for selectors in requests(names) {
            all.extend(client.rules(&selectors).await?);
        }
        Ok(all)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The selectors of rules' labels that find these SLOs, and perhaps some others, request by request.
fn requests(names: &BTreeSet<SloName>) -> Vec<Vec<String>> {
    let mut requests: Vec<(usize, BTreeMap<&str, Vec<String>>)> = Vec::new();
    for name in names {
        let (label, value) = match name {
            SloName::Sloth { slo, .. } => ("sloth_slo", slo),
            SloName::Pyrra { name } => ("slo", name),
        };
        let value = literal(value);
        match requests.last_mut() {
            Some((length, request)) if *length + value.len() <= LONGEST => {
                *length += value.len();
                request.entry(label).or_default().push(value);
            }
            _ => requests.push((value.len(), BTreeMap::from([(label, vec![value])]))),
        }
    }
    let selector = |(label, mut values): (&str, Vec<String>)| {
        values.dedup();
        format!("{{{label}=~\"{}\"}}", escape_string(&values.join("|")))
    };
    requests.into_iter().map(|(_, request)| request.into_iter().map(selector).collect()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "resolver_tests.rs"]
mod tests;
