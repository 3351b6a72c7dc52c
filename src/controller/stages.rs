//! One Deployment, one pass: watch, measure, decide, act, record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action as Requeue;
use tracing::warn;

use super::Context;
use super::error::ReconcileError;
use super::judgement::judgement;
use super::measured::Measured;
use super::policies::InForce;
use super::telling::Sight;
use super::tracked::Tracked;
use crate::act::apply::Condemnation;
use crate::act::{ActError, Applied, WriteOutcome};
use crate::decide::action::Action;
use crate::decide::announcement::{Announcement, EventReason};
use crate::decide::lifecycle::{self, Decision, Input};
use crate::decide::state::{Outcome, Phase, State};
use crate::measure::expression::Names;
use crate::measure::pods::{PodGroup, told_apart};
use crate::measure::query::Revisions;
use crate::measure::scrape::Origin;
use crate::measure::subject::{Indicator, ReadFrom, Subject};
use crate::policy::EvidenceFrom;
use crate::record::log;
use crate::record::metrics::Change;
use crate::record::status::to_the_second;
use crate::watch::facts;
use crate::watch::rollout::{DeploymentKey, Revision, Rollout};
use crate::watch::view::DeploymentView;

/// When nothing else wakes a rollout that is looked at, it is passed over again after this.
const FALLBACK: Duration = Duration::from_secs(30);

/// How soon a pass is repeated whose facts are older than our own last write.
const STALE_VIEW: Duration = Duration::from_secs(2);

impl Context {
    /// One pass over one Deployment.
    ///
    /// # Errors
    /// When facts could not be read or a change could not be made; the pass is repeated after a pause.
    pub(super) async fn pass(&self, view: &DeploymentView) -> Result<Requeue, ReconcileError> {
        let begun = Instant::now();
        let key = view.key();
        let mut tracked = self.memory.take(&key);
        if tracked.uid != view.uid() {
            self.stop_measuring(&key, &mut tracked);
            tracked = Tracked { uid: view.uid().to_owned(), policy: tracked.policy, ..Tracked::default() };
        }
        let result = self.stages(&key, view, &mut tracked).await;
        if result.is_err() {
            // Of ReplicaSets that come and go the Deployment need not tell: the next pass asks for them anew.
            tracked.facts = None;
        }
        tracked.failures = if result.is_ok() { 0 } else { tracked.failures.saturating_add(1) };
        let saw_news = self.keeper.saw(&key, Sight::of(&tracked));
        if let Some(policy) = tracked.policy.as_ref().filter(|_| saw_news) {
            self.keeper.look_at(&policy.key);
        }
        self.memory.put(key, tracked);
        self.metrics.reconciled(begun.elapsed(), result.as_ref().err().map(ReconcileError::stage));
        result
    }

    async fn stages(
        &self,
        key: &DeploymentKey,
        view: &DeploymentView,
        tracked: &mut Tracked,
    ) -> Result<Requeue, ReconcileError> {
        let (governing, _) = self.policies.governing(key, view.labels());
        let Some(policy) = governing.filter(|_| !view.is_going()) else {
            return self.let_go(key, view, tracked).await;
        };
        if !policy.is_ours {
            self.leave_to(&policy.policy.key, key, tracked);
            return Ok(Requeue::await_change());
        }
        if view.metadata.generation.unwrap_or_default() < tracked.written {
            // Our own write is on its way back to us; deciding on what was before it could only conflict.
            return Ok(Requeue::requeue(STALE_VIEW));
        }
        self.take_over(key, view, tracked, &policy);
        tracked.newest = Some(view.spec.template.clone());
        let now = to_the_second(Timestamp::now());
        if tracked.state.is_none() && facts::is_idle(view, None) {
            // A cluster has thousands of these when the operator starts; their ReplicaSets need not be listed.
            tracked.state = Some(lifecycle::adopted(view.uid(), view.spec.template.id.clone(), view.revision(), now));
        }
        if is_at_rest(view, tracked.state.as_ref()) {
            self.stop_measuring(key, tracked);
            self.tell(key, tracked, &policy, None);
            return Ok(Requeue::await_change());
        }

        let mut facts = self.watch(view, tracked).await?;
        tracked.stability.observe(&facts, now);
        self.await_canary(view, &mut facts, tracked, &policy, now).await?;

        let looked_at = self.measure(key, view, &facts, tracked, &policy).await?;
        let lacking = policy.why_lacking().map(|why| why.message.clone());
        let unbounded = || self.keeper.bounds_problem(&policy.policy.key, policy.policy.generation);
        let judgement = judgement(tracked.measured.as_ref(), &policy.policy, lacking.or_else(unbounded));

        let gate = self.gate_of(&policy, key);
        let trouble = tracked.stability.trouble(&facts, now);
        let input = Input {
            policy: &policy.policy.key.name,
            mode: policy.policy.mode,
            monitor: &policy.policy.monitor,
            canary: policy.policy.canary.as_ref(),
            approval: policy.policy.approval,
            gate: &gate,
            on_unknown_budget: policy.policy.gate.on_unknown,
            facts: &facts,
            judgement: &judgement,
            trouble: trouble.as_ref(),
            recovered: tracked.measured.as_ref().and_then(Measured::recovered),
            now,
        };
        let decided = Instant::now();
        let decision = lifecycle::decide(tracked.state.as_ref(), &input);
        let assessed = tracked.measured.as_ref().and_then(Measured::assess);
        let assessment = assessed.as_ref().map(|(assessment, ..)| assessment);
        log::decision(tracked.state.as_ref(), &input, &policy.objectives, assessment, &decision);
        if let Some(at) = looked_at {
            // A clock that was set back makes it none.
            self.metrics.decided(Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default());
        }

        if tracked.hand_back_due && matches!(tracked.state.as_ref().map(|state| state.phase), Some(Phase::Recovering)) {
            let again = self.counted(Change::HandBack, self.applier.hand_back_again(&facts)).await;
            tracked.hand_back_due =
                again.inspect_err(|error| warn!(deployment = %key, %error, "fields are not handed back yet")).is_err();
        }
        let moved = self.act_and_record(key, tracked, &policy, &input, decision, decided).await?;
        Ok(Requeue::requeue(if moved { Duration::ZERO } else { FALLBACK }))
    }

    /// Measure: takes what the sampler read, and sees to it that it goes on reading. Answers the time of the newest look, when
    /// there is a new one.
    async fn measure(
        &self,
        key: &DeploymentKey,
        view: &DeploymentView,
        facts: &Rollout,
        tracked: &mut Tracked,
        policy: &InForce,
    ) -> Result<Option<Timestamp>, ReconcileError> {
        let is_measured = |state: &&State| is_measured(state) && state.newest.template == facts.template;
        let known = tracked.state.clone().filter(|_| policy.lacking.is_none());
        let subject = match known.filter(|state| is_measured(&state)) {
            Some(state) => self.subject(view, facts, &state, tracked, policy).await?,
            None => None,
        };
        let (Some(subject), Some(state)) = (subject, tracked.state.as_ref()) else {
            self.stop_measuring(key, tracked);
            return Ok(None);
        };
        let anew = self.sampler.register(subject).is_ok_and(|registered| registered.is_anew());
        if anew || tracked.measured.is_none() {
            let measured = tracked.measured.insert(Measured::new(state, policy));
            let now = to_the_second(Timestamp::now());
            let soon = SignedDuration::try_from(policy.policy.detection.window).unwrap_or(SignedDuration::MAX);
            if policy.policy.evidence != EvidenceFrom::Prometheus && now.duration_since(state.evidence_since) > soon {
                measured.begins_late(now);
            }
        }
        let scrapes = self.sampler.take(key);
        if let Some(measured) = &mut tracked.measured {
            for look in measured.enter(&scrapes, state, facts, &policy.policy) {
                self.metrics.look(look);
            }
            let is_of_release =
                matches!(state.phase, Phase::Canary | Phase::Promoting | Phase::Monitoring | Phase::Halted);
            if is_of_release && let Some(part) = measured.part_to_tell(&policy.policy) {
                self.announce(facts, policy, &[Announcement::new(EventReason::EvidenceMissing, part)]);
            }
        }
        Ok(scrapes.iter().rev().find(|scrape| scrape.origin == Origin::Live).map(|scrape| scrape.at))
    }

    /// Whose counters are to be read; `None` before Kubernetes made the new ReplicaSet.
    async fn subject(
        &self,
        view: &DeploymentView,
        facts: &Rollout,
        state: &State,
        tracked: &mut Tracked,
        policy: &InForce,
    ) -> Result<Option<Subject>, ReconcileError> {
        let Some(canary) = &facts.canary else { return Ok(None) };
        let stable = state.stable.as_ref().filter(|stable| stable.template != canary.template);
        let stable = stable.and_then(|stable| facts.others.iter().find(|other| other.template == stable.template));
        let from = match &policy.policy.evidence {
            EvidenceFrom::Prometheus => ReadFrom::Prometheus(policy.policy.prometheus.clone()),
            EvidenceFrom::Pods(pages) => ReadFrom::Pods(self.pods_to_read(view, tracked, canary, stable, pages).await),
        };
        // Where names do not tell whose a pod is, pods are listed, and listed again with each pass.
        let alike = facts.others.iter().any(|other| !told_apart(&canary.replica_set, &other.replica_set));
        let mut pods = if alike { crate::watch::list_pods(&self.client, view).await? } else { BTreeMap::new() };
        let mut group = |revision: &Revision| match alike {
            true => PodGroup::Names(pods.remove(&revision.uid).unwrap_or_default().into_iter().collect()),
            false => PodGroup::of_replica_set(&revision.replica_set),
        };
        let names = |revision: &Revision| Names {
            namespace: facts.key.namespace.clone(),
            deployment: facts.key.name.clone(),
            replica_set: revision.replica_set.clone(),
            revision: revision.number,
            labels: revision.labels.clone(),
        };
        let asks_queries = policy.indicators.iter().any(|indicator| matches!(indicator, Indicator::Query(_)));
        let revisions = asks_queries.then(|| Arc::new(Revisions { canary: names(canary), stable: stable.map(names) }));
        Ok(Some(Subject {
            key: facts.key.clone(),
            from,
            look_interval: policy.policy.detection.look_interval(),
            objectives: policy.indicators.clone(),
            canary: group(canary),
            stable: stable.map(group),
            pods: [Some(canary), stable].into_iter().flatten().map(Revision::most_pods).sum(),
            asks_scraped: tracked.measured.as_ref().is_some_and(Measured::lacks_pods),
            revisions,
            since: state.started,
        }))
    }

    pub(super) fn stop_measuring(&self, key: &DeploymentKey, tracked: &mut Tracked) {
        tracked.reading = None;
        if tracked.measured.take().is_some() {
            self.sampler.remove(key);
        }
    }

    /// Act, then record. True when the rollout is somewhere else now and is to be passed over again at once.
    async fn act_and_record(
        &self,
        key: &DeploymentKey,
        tracked: &mut Tracked,
        policy: &InForce,
        input: &Input<'_>,
        mut decision: Decision,
        decided: Instant,
    ) -> Result<bool, ReconcileError> {
        let before = tracked.state.as_ref().map(|state| (state.phase, state.started));
        let result = self.act(tracked, policy, input, &decision, decided).await;
        match (&decision.action, result) {
            (Action::RollBack { .. }, Ok(())) => {
                let took = SignedDuration::try_from(decided.elapsed()).unwrap_or_default();
                let done = lifecycle::rolled_back(&decision.state, input, took);
                decision.announcements.extend(done.announcements);
                decision = Decision { announcements: decision.announcements, ..done };
            }
            // Decided is decided: it is tried again until the facts say otherwise, as they do in a conflict.
            (Action::RollBack { .. }, Err(error)) if !error.is_conflict() => {
                self.tell_refused(policy, input, &error);
                self.commit(key, tracked, policy, input, decision);
                return Err(error.into());
            }
            (_, Ok(())) => {}
            // Not done, so not so: read and decide again.
            (_, Err(error)) => {
                self.tell_refused(policy, input, &error);
                return Err(error.into());
            }
        }
        let after = (decision.state.phase, decision.state.started);
        self.commit(key, tracked, policy, input, decision);
        Ok(before != Some(after))
    }

    /// A change that is refused will be refused again until a person changes something else, so a person is told.
    fn tell_refused(&self, policy: &InForce, input: &Input<'_>, error: &ActError) {
        if let ActError::Denied { source, .. } = error {
            let note = format!("{error}: {source}");
            self.announce(input.facts, policy, &[Announcement::new(EventReason::ActionFailed, note)]);
        }
    }

    /// Act: at most one change of the Deployment.
    async fn act(
        &self,
        tracked: &mut Tracked,
        policy: &InForce,
        input: &Input<'_>,
        decision: &Decision,
        decided: Instant,
    ) -> Result<(), ActError> {
        let facts = input.facts;
        let applied = match &decision.action {
            Action::None => return Ok(()),
            Action::Pause(hold) => self.counted(Change::Pause, self.applier.pause(facts, hold)).await?,
            Action::Release => self.counted(Change::Release, self.applier.release(facts)).await?,
            Action::HoldCanary(hold) => self.counted(Change::HoldCanary, self.applier.hold_canary(facts, hold)).await?,
            Action::Answer => self.counted(Change::Answer, self.applier.answer(facts)).await?,
            Action::Resize(sizes) => {
                self.counted(Change::Resize, self.applier.resize(facts, sizes)).await?;
                // It is the ReplicaSets that have changed, of which the Deployment does not tell.
                if let Some((version, _)) = &mut tracked.facts {
                    version.clear();
                }
                return Ok(());
            }
            Action::Pardon { replica_set } => {
                let Some(canary) = facts.canary.as_ref().filter(|canary| canary.replica_set == *replica_set) else {
                    return Ok(());
                };
                self.counted(Change::Pardon, self.applier.pardon(facts, canary)).await?;
                // It is the ReplicaSet that has changed, of which the Deployment does not tell.
                tracked.facts = None;
                return Ok(());
            }
            Action::RollBack { to_replica_set, why } => {
                let stable = facts.others.iter().find(|revision| revision.replica_set == *to_replica_set);
                let (Some(stable), Some(bad)) = (stable, facts.canary.as_ref()) else {
                    let detail = "a ReplicaSet that the rollback needs is not there".to_owned();
                    return Err(ActError::Conflict { object: format!("Deployment {}", facts.key), detail });
                };
                let at = decision.state.incident.as_ref().map_or(input.now, |incident| incident.decided);
                let what = Condemnation { bad, stable, policy: &policy.policy.key.name, reason: why, at };
                let intended = self.counted(Change::Condemn, self.applier.condemn(facts, &what)).await?;
                let done = self.counted(Change::RollBack, self.applier.roll_back(intended)).await?;
                self.metrics.rollback_accepted(decided.elapsed());
                tracked.written = done.generation;
                // The service is safe by now. That its appliers find their fields again can be made good later.
                tracked.hand_back_due = self.counted(Change::HandBack, self.applier.hand_back(&done)).await.is_err();
                return Ok(());
            }
        };
        if let Applied::Written { generation } = applied {
            tracked.written = generation;
        }
        Ok(())
    }

    /// Record: what was decided is remembered, told and counted.
    fn commit(
        &self,
        key: &DeploymentKey,
        tracked: &mut Tracked,
        policy: &InForce,
        input: &Input<'_>,
        decision: Decision,
    ) {
        let Decision { state, announcements, restart_evidence, .. } = decision;
        let burning_since = tracked.measured.as_ref().and_then(Measured::burning_since);
        if restart_evidence && let Some(measured) = &mut tracked.measured {
            measured.restart();
        }
        self.announce(input.facts, policy, &announcements);
        self.count_transition(tracked.state.as_ref(), &state, input, burning_since);
        tracked.state = Some(state);
        self.tell(key, tracked, policy, Some(input.judgement));
    }

    fn count_transition(
        &self,
        before: Option<&State>,
        after: &State,
        input: &Input<'_>,
        burning_since: Option<Timestamp>,
    ) {
        let was = before.map(|state| state.phase);
        let decides = matches!(was, Some(Phase::Canary | Phase::Promoting | Phase::Monitoring | Phase::Halted))
            && matches!(after.phase, Phase::RollingBack | Phase::Recovering);
        if let Some(since) = burning_since.filter(|_| decides) {
            let latency = Timestamp::now().duration_since(since);
            self.metrics.rollback_decided(Duration::try_from(latency).unwrap_or_default());
        }
        let outcome = |state: &State| state.incident.as_ref().and_then(|incident| incident.outcome);
        if let Some(outcome) = outcome(after).filter(|now| before.and_then(outcome) != Some(*now))
            && let Some(incident) = &after.incident
        {
            let took = input.now.duration_since(incident.decided);
            self.metrics.recovery(outcome, Duration::try_from(took).unwrap_or_default());
        }
    }

    pub(super) async fn counted<T>(
        &self,
        change: Change,
        write: impl Future<Output = Result<T, ActError>>,
    ) -> Result<T, ActError> {
        let result = write.await;
        if let Some(outcome) = WriteOutcome::of(&result) {
            self.metrics.action(change, outcome);
        }
        result
    }
}

/// Looks are taken in these phases.
fn is_measured(state: &State) -> bool {
    match state.phase {
        Phase::Canary
        | Phase::Promoting
        | Phase::Monitoring
        | Phase::Halted
        | Phase::RollingBack
        | Phase::Recovering => true,
        Phase::RolledBack => is_unsettled(state),
        Phase::Validating | Phase::Succeeded | Phase::Rejected => false,
    }
}

fn is_unsettled(state: &State) -> bool {
    let outcome = state.incident.as_ref().and_then(|incident| incident.outcome);
    matches!(outcome, None | Some(Outcome::NotRecovered))
}

/// Nothing to read, decide or do before the Deployment itself changes.
fn is_at_rest(view: &DeploymentView, state: Option<&State>) -> bool {
    state.is_some_and(|state| {
        let over = state.phase == Phase::Succeeded || (state.phase == Phase::RolledBack && !is_unsettled(state));
        over && !view.is_held() && !view.is_asked() && view.spec.template.id == state.newest.template
    })
}
