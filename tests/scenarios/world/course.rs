//! Every status that a rollout had, so that a phase of a few seconds is seen however busy the machine is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::api::status::RolloutStatus;
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinSet;

use super::history::{follow, order};

/// What is kept of one Deployment.
#[derive(Debug, Default)]
struct Told {
    /// In the order in which the API server made them.
    entries: BTreeMap<u64, RolloutStatus>,
    /// What is older than this was waited for already.
    from: u64,
    /// What was so when another release was brought: it is over as soon as anything else is told.
    over: Option<RolloutStatus>,
}

impl Told {
    fn find(&mut self, is_it: impl Fn(&RolloutStatus) -> bool) -> Option<RolloutStatus> {
        let is_over = |entry: &RolloutStatus| self.over.as_ref().is_some_and(|over| is_same(over, entry));
        let mut news = self.entries.range(self.from..).skip_while(|(_, entry)| is_over(entry));
        let first = news.find(|(_, entry)| is_it(entry))?;
        // Numbers go on while it is so: the last word counts.
        let (at, entry) = news.take_while(|(_, entry)| is_it(entry)).last().unwrap_or(first);
        let (at, entry) = (*at, entry.clone());
        self.from = at;
        self.over = None;
        Some(entry)
    }
}

/// The same stay in the same phase.
fn is_same(one: &RolloutStatus, other: &RolloutStatus) -> bool {
    let template = |entry: &RolloutStatus| entry.newest.as_ref().map(|newest| newest.template.clone());
    (&one.phase, &one.since, template(one)) == (&other.phase, &other.since, template(other))
}

/// The statuses of the rollouts of a namespace, of each Deployment that has a policy of its name.
pub(crate) struct Course {
    told: Arc<Mutex<BTreeMap<String, Told>>>,
    _watch: JoinSet<()>,
}

impl Course {
    pub(super) fn watch(client: &Client, namespace: &str) -> Self {
        let told = Arc::default();
        let kept = Arc::clone(&told);
        let mut watch = JoinSet::new();
        watch.spawn(follow(Api::namespaced(client.clone(), namespace), move |policy| note(&kept, &policy)));
        Self { told, _watch: watch }
    }

    /// Takes in what was read otherwise: a watch may be late.
    pub(super) fn note(&self, policy: &ErrorBudgetPolicy) {
        note(&self.told, policy);
    }

    /// Whatever is known of the service until now is of the release before.
    pub(super) fn is_over(&self, service: &str) {
        if let Some(told) = locked(&self.told).get_mut(service)
            && let Some((at, last)) = told.entries.last_key_value()
        {
            (told.from, told.over) = (*at, Some(last.clone()));
        }
    }

    /// The first status that is so, of those that were not waited for yet; while it went on, the last of them. The next
    /// search begins with it.
    pub(super) fn find(&self, service: &str, is_it: impl Fn(&RolloutStatus) -> bool) -> Option<RolloutStatus> {
        locked(&self.told).get_mut(service)?.find(is_it)
    }
}

/// One line a stay.
impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (service, told) in locked(&self.told).iter() {
            let mut entries: Vec<_> = told.entries.values().collect();
            entries.dedup_by(|later, earlier| is_same(later, earlier) && later.reason == earlier.reason);
            for entry in entries {
                let since = entry.since.as_ref().map(|since| since.0.to_string()).unwrap_or_default();
                let (phase, reason) = (&entry.phase, entry.reason.as_deref().unwrap_or_default());
                writeln!(f, "{service}: {since} {phase} ({reason})")?;
            }
        }
        Ok(())
    }
}

type Kept = Mutex<BTreeMap<String, Told>>;

fn note(kept: &Kept, policy: &ErrorBudgetPolicy) {
    let name = policy.name_any();
    let entry = policy.status.as_ref().and_then(|status| status.rollouts.get(&name)).cloned().unwrap_or_default();
    locked(kept).entry(name).or_default().entries.insert(order(&policy.metadata), entry);
}

/// A test that panicked with the lock held must not hide its message behind a second panic.
fn locked(kept: &Kept) -> MutexGuard<'_, BTreeMap<String, Told>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use gatekeeper::api::status::RevisionStatus;

    use super::*;

    fn entry(phase: &str, template: &str) -> RolloutStatus {
        let newest = RevisionStatus { template: template.to_owned(), ..RevisionStatus::default() };
        RolloutStatus { phase: phase.to_owned(), newest: Some(newest), ..RolloutStatus::default() }
    }

    #[test]
    fn what_was_told_before_a_release_is_not_taken_for_its_end_and_what_passed_is_found() {
        let mut told = Told { from: 2, over: Some(entry("Succeeded", "a")), ..Told::default() };
        told.entries.extend([(2, entry("Succeeded", "a")), (3, entry("Succeeded", "a"))]);
        assert_eq!(told.find(|entry| entry.phase == "Succeeded"), None);
        told.entries.extend([
            (5, entry("Promoting", "b")),
            (6, entry("Monitoring", "b")),
            (8, entry("Succeeded", "b")),
        ]);
        for phase in ["Promoting", "Monitoring", "Succeeded"] {
            assert_eq!(told.find(|entry| entry.phase == phase), Some(entry(phase, "b")));
        }
        assert_eq!(told.find(|entry| entry.phase == "Promoting"), None, "it is past");
    }
}
