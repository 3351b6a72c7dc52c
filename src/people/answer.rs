//! What the operator answers to an ask: it takes the annotation away, and says in an Event what came of it.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use tokio::time::{Instant, sleep};

use super::access::{Cluster, call};
use super::{Problem, Target};
use crate::decide::announcement::EventReason;
use crate::record::events::REPORTING_CONTROLLER;
use crate::watch::DeploymentView;

/// Events follow the change they tell of, and may be dropped: they are waited for at least so long.
const EVENTS_FOLLOW_WITHIN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(250);

/// What the operator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// In Events, as reason and note, oldest first.
    Told {
        events: Vec<(String, String)>,
        /// One of them says that it will not be done.
        is_refused: bool,
    },
    /// It took the ask away and its Events cannot be seen.
    Taken,
    /// The ask still stands.
    None,
}

/// The Events of one Deployment from some moment on.
pub(super) struct Answers {
    uid: String,
    /// Names of those before. Clocks differ; names do not.
    before: BTreeSet<String>,
}

impl Answers {
    /// Notes which Events there are, so that later ones are told from them.
    pub(super) async fn from_now_on(cluster: &Cluster, uid: &str) -> Self {
        let mut answers = Self { uid: uid.to_owned(), before: BTreeSet::new() };
        answers.before = answers.events(cluster).await.into_iter().filter_map(|event| event.metadata.name).collect();
        answers
    }

    /// Waits until the annotation is gone and an Event says why, or for as long as is said.
    pub(super) async fn await_reply(
        &self,
        cluster: &Cluster,
        target: &Target,
        annotation: &str,
        done: EventReason,
        patience: Duration,
    ) -> Result<Reply, Problem> {
        let deployments: Api<DeploymentView> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let doing = format!("waiting for the operator's answer on Deployment {}/{}", cluster.namespace, target.name());
        let deadline = Instant::now() + patience;
        let mut gone_since = None;
        loop {
            let deployment = call(&doing, deployments.get(target.name())).await?;
            if deployment.asked(annotation).is_none() {
                let gone_since = *gone_since.get_or_insert_with(Instant::now);
                let told = reply(&self.later(self.events(cluster).await), done);
                let in_vain = Instant::now() >= deadline && gone_since.elapsed() >= EVENTS_FOLLOW_WITHIN;
                if told.is_some() || in_vain {
                    return Ok(told.unwrap_or(Reply::Taken));
                }
            } else if Instant::now() >= deadline {
                return Ok(Reply::None);
            }
            sleep(POLL).await;
        }
    }

    /// The operator's own that were not there before: Kubernetes tells of the Deployment too.
    fn later(&self, events: Vec<Event>) -> Vec<Event> {
        let is_ours = |event: &Event| event.reporting_controller.as_deref() == Some(REPORTING_CONTROLLER);
        let is_new = |event: &Event| event.metadata.name.as_ref().is_some_and(|name| !self.before.contains(name));
        events.into_iter().filter(|event| is_ours(event) && is_new(event)).collect()
    }

    /// What cannot be listed, for want of a right or of an answer, is as good as none.
    async fn events(&self, cluster: &Cluster) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let selector = ListParams::default().fields(&format!("regarding.uid={}", self.uid));
        call("reading Events", events.list(&selector)).await.map(|list| list.items).unwrap_or_default()
    }
}

/// What these Events answer; `None` when none of them says how it ended.
fn reply(events: &[Event], done: EventReason) -> Option<Reply> {
    let reason = |event: &Event| event.reason.clone().unwrap_or_default();
    let is_refused = events.iter().any(|event| reason(event) == EventReason::AskRefused.as_str());
    if !is_refused && !events.iter().any(|event| reason(event) == done.as_str()) {
        return None;
    }
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    let told = |event: &&Event| (reason(event), event.note.clone().unwrap_or_default());
    Some(Reply::Told { events: events.iter().map(told).collect(), is_refused })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, reason: &str, second: u32) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "reason": reason, "note": format!("{reason} of {name}"),
            "reportingController": "errorbudget.dev/gatekeeper",
            "eventTime": format!("2026-03-04T05:06:{second:02}.000000Z"),
        }))
        .expect("an Event")
    }

    #[test]
    fn an_answer_is_what_is_new_in_the_order_it_happened() {
        let answers = Answers { uid: "uid-1".to_owned(), before: BTreeSet::from(["old".to_owned()]) };
        let kubernetes =
            Event { reporting_controller: Some("deployment-controller".to_owned()), ..event("k", "Scaled", 7) };
        let ours = [event("b", "RolledBack", 9), event("old", "RolledBack", 1), event("a", "BudgetViolation", 8)];
        let events = ours.into_iter().chain([kubernetes]).collect();
        let Some(Reply::Told { events, is_refused }) = reply(&answers.later(events), EventReason::RolledBack) else {
            panic!("it is answered")
        };
        let told: Vec<_> = events.iter().map(|(reason, note)| format!("{reason}: {note}")).collect();
        assert_eq!(told, ["BudgetViolation: BudgetViolation of a", "RolledBack: RolledBack of b"]);
        assert!(!is_refused);
    }

    #[test]
    fn an_event_about_something_else_is_no_answer() {
        assert_eq!(reply(&[event("a", "Halted", 1)], EventReason::Approved), None);
    }

    #[test]
    fn a_refusal_is_an_answer_to_everything() {
        let refused = reply(&[event("a", "AskRefused", 1)], EventReason::Approved);
        assert!(matches!(refused, Some(Reply::Told { is_refused: true, .. })), "{refused:?}");
    }
}
