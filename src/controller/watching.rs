//! Watch: the facts of one Deployment, and what keeps the pods of a held canary.

use jiff::{SignedDuration, Timestamp};

use super::Context;
use super::error::ReconcileError;
use super::policies::InForce;
use super::tracked::Tracked;
use crate::decide::service::{Awaited, awaited};
use crate::decide::state::{Control, Phase, State};
use crate::watch::rollout::{Progress, Rollout};
use crate::watch::view::DeploymentView;
use crate::watch::{Hindrance, facts};

impl Context {
    /// Watch: the facts, made anew when the Deployment is another than the last time.
    pub(super) async fn watch(&self, view: &DeploymentView, tracked: &mut Tracked) -> Result<Rollout, ReconcileError> {
        let version = view.metadata.resource_version.clone().unwrap_or_default();
        if let Some((known, facts)) = &tracked.facts
            && *known == version
        {
            return Ok(facts.clone());
        }
        let replica_sets = crate::watch::list_replica_sets(&self.client, view).await?;
        let mut facts = facts::rollout(view, &replica_sets);
        if let (Progress::DeadlineExceeded(_), Some(canary)) = (&facts.progress, &facts.canary)
            && let Some(Hindrance::Environment(why)) =
                crate::watch::pods_now(&self.client, view, &canary.uid).await?.hindrance
        {
            facts.progress = Progress::CannotRun(why);
        }
        tracked.facts = Some((version, facts.clone()));
        Ok(facts)
    }

    /// Watch, too: Kubernetes does not time the new pods while the rollout is held with our settings, so what keeps them is
    /// asked for here.
    pub(super) async fn await_canary(
        &self,
        view: &DeploymentView,
        facts: &mut Rollout,
        tracked: &Tracked,
        policy: &InForce,
        now: Timestamp,
    ) -> Result<(), ReconcileError> {
        let state = tracked.state.as_ref().filter(|state| state.newest.template == facts.template);
        if let (Progress::DeadlineExceeded(_), Some(state)) = (&facts.progress, state)
            && is_said_of_before(view, state)
        {
            facts.progress = match awaited(facts, state.since, &tracked.stability, now) {
                Awaited::Overdue(deadline) if !view.spec.paused => overdue("the new", deadline, ""),
                _ => Progress::Going,
            };
        }
        let (Some(began), Some(canary)) = (state.and_then(awaited_since), &facts.canary) else {
            return Ok(());
        };
        let awaited = awaited(facts, began, &tracked.stability, now);
        let window = SignedDuration::try_from(policy.policy.detection.window).unwrap_or(SignedDuration::MAX);
        if matches!(awaited, Awaited::No) || matches!(awaited, Awaited::For(waited) if waited < window) {
            return Ok(());
        }
        let hindrance = match &facts.progress {
            Progress::CannotRun(why) => Some(Hindrance::Environment(why.clone())),
            _ => {
                let pods = crate::watch::pods_now(&self.client, view, &canary.uid).await?;
                if pods.ready >= canary.desired {
                    // They have become Ready, and their ReplicaSet does not say so yet.
                    return Ok(());
                }
                pods.hindrance
            }
        };
        facts.progress = match (awaited, hindrance) {
            (Awaited::Overdue(deadline), hindrance) => {
                let why = match hindrance {
                    Some(Hindrance::Environment(why) | Hindrance::Crash(why)) => format!(": {why}"),
                    None => String::new(),
                };
                let whose = if state.is_some_and(|state| state.canary.is_some()) { "the canary's" } else { "the new" };
                overdue(whose, deadline, &why)
            }
            (_, Some(Hindrance::Environment(why))) => Progress::CannotRun(why),
            (_, Some(Hindrance::Crash(why))) => Progress::Crashing(why),
            (_, None) => return Ok(()),
        };
        Ok(())
    }
}

/// Since when the pods of a held rollout are waited for: those of a canary's step, or those that are to be there before it
/// is monitored beside its control pods. One that is lost later is not the release's fault.
fn awaited_since(state: &State) -> Option<Timestamp> {
    match (state.canary, state.control, state.phase) {
        (Some(canary), ..) => Some(canary.began),
        (None, Some(Control::Kept { since, .. }), Phase::Promoting | Phase::Halted) => Some(since),
        _ => None,
    }
}

fn overdue(whose: &str, deadline: u32, why: &str) -> Progress {
    Progress::DeadlineExceeded(format!("{whose} pods are not Ready after {deadline} s{why}"))
}

/// Whether Kubernetes gave up waiting before the rollout came to where it is now. It says so until a pod makes progress, also
/// while the Deployment is paused and after that, when what kept the pods has passed.
fn is_said_of_before(view: &DeploymentView, state: &State) -> bool {
    let said = view.status.progressing.as_ref().and_then(|condition| condition.last_update_time);
    view.spec.paused || said.is_none_or(|at| at <= state.since)
}
