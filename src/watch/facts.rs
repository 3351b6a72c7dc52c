//! From a Deployment and its ReplicaSets to the facts of a rollout. Pure.

use std::cmp::Reverse;

use serde::Deserialize;

use super::annotations::{
    APPROVE, APPROVE_BY, CONDEMNED, Condemned, EARLIER_TEMPLATE, HoldMark, OVERRIDE, OVERRIDE_BY, OVERRIDE_TEMPLATE,
    OVERRIDE_UNTIL, REQUESTED_BY, ROLLBACK, ROLLBACK_BY, ROLLBACK_REASON,
};
use super::rollout::{self, Ask, Asks, Held, MeantFor, Pause, Progress, Revision, Rollout, TemplateId};
use super::view::{ConditionView, DeploymentView, ReplicaSetView, StrategyView, settings};

/// What Kubernetes keeps when `spec.revisionHistoryLimit` is absent.
const DEFAULT_HISTORY_LIMIT: u32 = 10;

/// The facts of one Deployment. `replica_sets` may hold more than its own: what another one controls is left out.
#[must_use]
pub fn rollout(deployment: &DeploymentView, replica_sets: &[ReplicaSetView]) -> Rollout {
    let template = &deployment.spec.template;
    let mut own: Vec<_> = replica_sets.iter().filter(|set| set.is_controlled_by(deployment.uid())).collect();
    // Several may have the newest template, after an upgrade of the cluster: Kubernetes goes on with the oldest.
    own.sort_by_key(|set| (set.created(), set.name().to_owned()));
    let newest = own.iter().position(|set| set.spec.template.id == template.id).map(|index| own.remove(index));
    let mut others: Vec<_> = own.into_iter().map(revision).collect();
    others.sort_by_key(|revision| Reverse((revision.number, revision.created)));

    Rollout {
        key: deployment.key(),
        uid: deployment.uid().to_owned(),
        generation: deployment.metadata.generation.unwrap_or_default(),
        replicas: count(deployment.spec.replicas),
        template: template.id.clone(),
        template_without_restart: template.without_restart.clone(),
        observed: deployment.is_observed(),
        // A paused Deployment without pods is complete for kubectl also before its newest ReplicaSet exists.
        complete: newest.is_some() && deployment.is_complete(),
        completed_at: newest.and_then(|set| said_of(deployment, set, "NewReplicaSetAvailable")?.last_update_time),
        pause: pause(deployment),
        hold: deployment.hold().map(held),
        requested_by: deployment.asked(REQUESTED_BY).map(ToOwned::to_owned),
        asks: asks(deployment),
        strategy: deployment.spec.strategy.kind,
        settings: deployment.spec.settings(),
        progress: progress(deployment, newest),
        history_limit: deployment.spec.revision_history_limit.map_or(DEFAULT_HISTORY_LIMIT, count),
        canary: newest.map(revision),
        others,
    }
}

/// Whether nothing of the Deployment needs a look, so that its ReplicaSets need not be listed: it is complete, not held
/// by us, and on the template that its record is done with. `settled_on` is that template; `None` when nothing is
/// recorded, for what is complete and was never seen otherwise is taken as good. Everything that changes this changes
/// the Deployment. With a record that is not done with, do not ask.
#[must_use]
pub fn is_idle(deployment: &DeploymentView, settled_on: Option<&TemplateId>) -> bool {
    deployment.is_complete()
        && !deployment.is_held()
        && !deployment.is_asked()
        && settled_on.is_none_or(|template| *template == deployment.spec.template.id)
}

fn revision(set: &ReplicaSetView) -> Revision {
    let mark = set.annotation(CONDEMNED).and_then(|mark| Condemned::of(set.uid(), mark));
    Revision {
        replica_set: set.name().to_owned(),
        uid: set.uid().to_owned(),
        number: set.revision(),
        template: set.spec.template.id.clone(),
        template_without_restart: set.spec.template.without_restart.clone(),
        images: set.spec.template.images.clone(),
        labels: set.metadata.labels.clone().unwrap_or_default(),
        desired: count(set.spec.replicas),
        existing: count(set.status.replicas),
        ready: count(set.status.ready_replicas),
        available: count(set.status.available_replicas),
        created: set.created(),
        condemned: mark.map(|mark| rollout::Condemned { reason: mark.reason, at: mark.at }),
    }
}

fn held(mark: &HoldMark) -> Held {
    let own = mark.own.as_ref().map(|own| {
        let strategy: StrategyView =
            own.strategy.as_ref().and_then(|raw| StrategyView::deserialize(raw).ok()).unwrap_or_default();
        settings(&strategy, own.min_ready_seconds.unwrap_or_default(), own.progress_deadline_seconds)
    });
    Held { policy: mark.policy.clone(), reason: mark.reason.clone(), own }
}

fn asks(deployment: &DeploymentView) -> Asks {
    let ask = |what, by| {
        let value = deployment.asked(what)?.to_owned();
        Some(Ask { value, by: deployment.asked(by).map(ToOwned::to_owned) })
    };
    Asks {
        overriding: ask(OVERRIDE, OVERRIDE_BY),
        override_until: deployment.asked(OVERRIDE_UNTIL).map(ToOwned::to_owned),
        override_template: deployment.asked(OVERRIDE_TEMPLATE).map(|named| match named {
            EARLIER_TEMPLATE => MeantFor::Earlier,
            template => MeantFor::Template(template.to_owned()),
        }),
        approve: ask(APPROVE, APPROVE_BY),
        rollback: ask(ROLLBACK, ROLLBACK_BY),
        rollback_reason: deployment.asked(ROLLBACK_REASON).map(ToOwned::to_owned),
    }
}

fn pause(deployment: &DeploymentView) -> Pause {
    match (deployment.spec.paused, deployment.hold()) {
        (false, _) => Pause::None,
        (true, None) => Pause::User,
        (true, Some(_)) => Pause::Ours,
    }
}

fn progress(deployment: &DeploymentView, newest: Option<&ReplicaSetView>) -> Progress {
    let creation_failed = newest.map_or_else(
        || deployment.status.progressing.as_ref().filter(|said| said.reason == "ReplicaSetCreateError"),
        |set| set.status.conditions.iter().find(|said| said.type_ == "ReplicaFailure" && said.reason == "FailedCreate"),
    );
    if let Some(failure) = creation_failed {
        return Progress::CannotRun(format!("{}: {}", failure.reason, failure.message));
    }
    let exceeded = newest
        .filter(|set| set.status.ready_replicas < set.spec.replicas)
        .and_then(|set| said_of(deployment, set, "ProgressDeadlineExceeded"));
    exceeded.map_or(Progress::Going, |condition| Progress::DeadlineExceeded(condition.message.clone()))
}

/// The Deployment's Progressing condition, if it gives this reason and its message names this ReplicaSet. The condition
/// stays from one rollout to the next until Kubernetes has something new to say.
fn said_of<'a>(deployment: &'a DeploymentView, set: &ReplicaSetView, reason: &str) -> Option<&'a ConditionView> {
    let quoted = format!("\"{}\"", set.name());
    deployment.status.progressing.as_ref().filter(|said| said.reason == reason && said.message.contains(&quoted))
}

/// Kubernetes' counts are never negative.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;
