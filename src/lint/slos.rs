//! What other tools say of the objectives that a policy names: read as the operator reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::definition::Problem;
use crate::config::PodLabels;
use crate::measure::client::PrometheusClient;
use crate::measure::reads::Reads;
use crate::measure::slos::{Answer, Slos, Unread};
use crate::policy::{Policy, PolicyKey, SloName};

/// Why nothing more can be said of a policy.
pub(super) struct Lacking {
    pub(super) key: PolicyKey,
    /// What is wrong with the names, or with what they stand for.
    pub(super) problems: Vec<Problem>,
    /// What could not be asked.
    pub(super) failures: Vec<String>,
}

/// The policy with what its names stand for, and what all its objectives read.
pub(super) async fn read(
    endpoint: &Arc<PrometheusClient>,
    policy: Policy,
    reads: Vec<Reads>,
    labels: &PodLabels,
) -> Result<(Policy, Vec<Reads>), Lacking> {
    if policy.named.is_empty() {
        return Ok((policy, reads));
    }
    let mut lacking = Lacking { key: policy.key.clone(), problems: Vec::new(), failures: Vec::new() };
    let slos = Slos::new(BTreeMap::from([(policy.prometheus.clone(), Arc::clone(endpoint))]));
    let names: BTreeSet<SloName> = policy.named.iter().map(|named| named.slo.clone()).collect();
    slos.ask(&policy.prometheus, &names).await;
    let field = |place: usize, slo: &SloName| format!("spec.objectives[{place}].{}", slo.field());
    let mut found = Vec::new();
    for named in &policy.named {
        match slos.of(&policy.prometheus, &named.slo) {
            Answer::Known(Ok(slo)) => found.push(slo),
            Answer::Known(Err(Unread::Unanswered(why))) => lacking.failures.push(why),
            Answer::Known(Err(unread)) => {
                lacking.problems.push(Problem::new(field(named.place, &named.slo), unread.to_string()));
            }
            Answer::NotAsked => {}
        }
    }
    if found.len() < policy.named.len() {
        return Err(lacking);
    }
    let whole = match policy.with_slos(&found) {
        Ok(whole) => whole,
        Err(errors) => {
            lacking.problems = errors.into_iter().map(|error| Problem::new(error.field, error.problem)).collect();
            return Err(lacking);
        }
    };
    let mut reads = Vec::new();
    for objective in &whole.objectives {
        match Reads::of(objective, &whole, labels) {
            Ok(read) => reads.push(read),
            Err(invalid) => {
                let named = policy.named.iter().find(|named| named.name == objective.name);
                let field = named.map_or_else(String::new, |named| field(named.place, &named.slo));
                lacking.problems.extend(invalid.into_iter().map(|invalid| Problem::new(&*field, invalid.problem)));
            }
        }
    }
    if lacking.problems.is_empty() { Ok((whole, reads)) } else { Err(lacking) }
}
