//! What to write, as JSON patches. Pure.
//!
//! Every patch of a Deployment begins with tests of its uid and generation, so that it changes what was decided on or
//! nothing. `None` means that there is nothing to change.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::Value;

use super::annotations::{CHANGE_CAUSE, LAST_APPLIED, RollbackRecord, json};
use super::last_applied;
use super::object::{Object, empty_map};
use super::standing::{NOTES, Standing, held_room, values, values_held};
use crate::decide::action::{CanaryHold, Hold};
use crate::watch::annotations::{
    ASKS, CONDEMNED, Condemned, HOLD, HeldRoom, HoldMark, OwnSettings, REQUESTED_BY, ROLLED_BACK,
};

/// What tells of a hold.
const MARKS: [&str; 2] = [HOLD, REQUESTED_BY];

/// Pauses a Deployment in our name. `None` when its owner has paused it, or the same hold is there.
///
/// What a held canary has of our settings stays, and the owner's stay remembered.
#[must_use]
pub fn pause(deployment: &Object, hold: &Hold) -> Option<Patch> {
    let standing = Standing::on(deployment);
    let room = standing.mark.as_ref().and_then(|mark| mark.room).filter(|_| standing.is_in_force);
    let own = standing.is_in_force.then(|| standing.own.clone());
    hold_with(deployment, &standing, true, mark(hold, own, room), &[])
}

/// Holds a Deployment as a canary: our settings in place of the owner's, which the annotation remembers. `None` when its
/// owner has paused it, or the same hold is there.
#[must_use]
pub fn hold_canary(deployment: &Object, canary: &CanaryHold) -> Option<Patch> {
    let standing = Standing::on(deployment);
    let room = held_room(canary.room);
    let mark = mark(&canary.hold, Some(standing.own.clone()), Some(room));
    hold_with(deployment, &standing, canary.paused, mark, &values_held(room))
}

fn mark(hold: &Hold, own: Option<OwnSettings>, room: Option<HeldRoom>) -> HoldMark {
    HoldMark { policy: hold.policy.clone(), reason: hold.cause.as_str().to_owned(), own, room }
}

fn hold_with(
    deployment: &Object,
    standing: &Standing,
    paused: bool,
    mark: HoldMark,
    settings: &[(&str, Option<Value>)],
) -> Option<Patch> {
    if deployment.is_paused() && standing.mark.is_none() {
        return None;
    }
    let mut steps = set(deployment, settings);
    match (deployment.is_paused(), paused) {
        (false, true) => steps.push(add(&["spec", "paused"], Value::Bool(true))),
        (true, false) => steps.extend(unpause(deployment)),
        _ => {}
    }
    let text = deployment.annotation(HOLD).filter(|_| standing.mark.as_ref() == Some(&mark));
    let text = text.map_or_else(|| json(&mark), ToOwned::to_owned);
    steps.extend(annotate(deployment, [(HOLD, Some(text))].into_iter().chain(NOTES.map(gone))));
    change(deployment, steps)
}

/// Takes our pause, settings and annotations away, or what somebody has left of them, and puts the owner's settings back.
/// `None` when nothing of it is ours.
#[must_use]
pub fn release(deployment: &Object) -> Option<Patch> {
    let mut steps = let_go(deployment)?;
    steps.extend(annotate(deployment, MARKS.map(gone).into_iter().chain(NOTES.map(gone))));
    change(deployment, steps)
}

/// Takes the annotations away by which people asked for what is answered. `None` when nothing is asked.
///
/// The API server moves the generation of a Deployment with its annotations too: what is asked since is not taken for it.
#[must_use]
pub fn answer(deployment: &Object) -> Option<Patch> {
    change(deployment, annotate(deployment, ASKS.map(gone)))
}

/// Marks a ReplicaSet as rolled back. `None` when it bears a mark of its own: what was said first stands.
#[must_use]
pub fn condemn(replica_set: &Object, mark: &Condemned) -> Option<Patch> {
    if existing_mark(replica_set).is_some() {
        return None;
    }
    let mut steps = vec![test(&["metadata", "uid"], replica_set.uid().into())];
    steps.extend(annotate(replica_set, [(CONDEMNED, Some(json(mark)))]));
    Some(Patch(steps))
}

/// The condemned mark of a ReplicaSet, if it bears one of its own.
#[must_use]
pub fn existing_mark(replica_set: &Object) -> Option<Condemned> {
    Condemned::of(replica_set.uid(), replica_set.annotation(CONDEMNED)?)
}

/// Takes the condemned mark off a ReplicaSet. `None` when it bears none.
#[must_use]
pub fn pardon(replica_set: &Object) -> Option<Patch> {
    let steps = annotate(replica_set, [(CONDEMNED, None)]);
    (!steps.is_empty()).then(|| Patch([vec![test(&["metadata", "uid"], replica_set.uid().into())], steps].concat()))
}

/// Takes a copy of that ReplicaSet's condemned mark off the Deployment: `kubectl rollout undo` brings it there, and
/// Kubernetes would put it onto the ReplicaSet again. `None` when there is none.
#[must_use]
pub fn pardon_copy(deployment: &Object, replica_set_uid: &str) -> Option<Patch> {
    Condemned::of(replica_set_uid, deployment.annotation(CONDEMNED)?)?;
    change(deployment, annotate(deployment, [(CONDEMNED, None)]))
}

/// Puts the stable ReplicaSet's template back, so that Kubernetes takes that ReplicaSet up again, takes away what we hold,
/// and what people asked for: the rollout that they asked it of is over.
///
/// A pause that is the owner's own stays. The change cause becomes the stable revision's, as it would stick to every
/// later release otherwise, and kubectl's record of the last manifest is told what came back
/// ([`last_applied::restored`]).
#[must_use]
pub fn roll_back(deployment: &Object, stable: &Object, record: &RollbackRecord) -> Patch {
    let template = stable.template_without_hash();
    let last_applied = deployment
        .annotation(LAST_APPLIED)
        .and_then(|text| last_applied::restored(text, deployment.template(), &template))
        .map(|text| (LAST_APPLIED, Some(text)));
    let cause = stable.annotation(CHANGE_CAUSE).map(str::to_owned);
    let told = [(ROLLED_BACK, Some(record.text())), (CHANGE_CAUSE, cause)];
    let ours = MARKS.into_iter().chain(NOTES).chain(ASKS).map(gone);

    let mut steps = tests(deployment);
    steps.push(replace(&["spec", "template"], template));
    steps.extend(let_go(deployment).unwrap_or_default());
    steps.extend(annotate(deployment, told.into_iter().chain(ours).chain(last_applied)));
    Patch(steps)
}

/// Gives the ReplicaSet with that uid so many pods. The Deployment's controller undoes it unless the Deployment is
/// paused.
#[must_use]
pub fn scale(uid: &str, replicas: u32) -> Patch {
    Patch(vec![test(&["metadata", "uid"], uid.into()), replace(&["spec", "replicas"], replicas.into())])
}

/// The tests that a patch of a Deployment begins with.
pub(super) fn tests(object: &Object) -> Vec<PatchOperation> {
    vec![test(&["metadata", "uid"], object.uid().into()), test(&["metadata", "generation"], object.generation().into())]
}

/// The tests and the steps, if there are any.
fn change(deployment: &Object, steps: Vec<PatchOperation>) -> Option<Patch> {
    (!steps.is_empty()).then(|| Patch([tests(deployment), steps].concat()))
}

/// Takes our pause away and puts the owner's settings back. `None` when nothing is held.
fn let_go(deployment: &Object) -> Option<Vec<PatchOperation>> {
    let standing = Standing::on(deployment);
    if !standing.is_held() {
        return None;
    }
    let mut steps = set(deployment, &values(standing.own));
    steps.extend(unpause(deployment));
    Some(steps)
}

/// Gives fields of `spec` these values, where they have others.
fn set(deployment: &Object, values: &[(&str, Option<Value>)]) -> Vec<PatchOperation> {
    let step = |(key, wanted): &(&str, Option<Value>)| match (deployment.spec(key), wanted) {
        (found, wanted) if found == wanted.as_ref() => None,
        (_, Some(wanted)) => Some(add(&["spec", key], wanted.clone())),
        (_, None) => Some(remove(&["spec", key])),
    };
    values.iter().filter_map(step).collect()
}

fn unpause(deployment: &Object) -> Option<PatchOperation> {
    deployment.is_paused().then(|| remove(&["spec", "paused"]))
}

/// An annotation that is to go.
const fn gone(key: &str) -> (&str, Option<String>) {
    (key, None)
}

/// Sets annotations, or removes them, where that changes anything.
fn annotate<'a>(
    object: &Object,
    annotations: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> Vec<PatchOperation> {
    let mut steps = Vec::new();
    for (key, wanted) in annotations {
        let path = ["metadata", "annotations", key];
        match (object.annotation(key), wanted) {
            (Some(found), Some(wanted)) if found == wanted => {}
            (_, Some(wanted)) => steps.push(add(&path, Value::String(wanted))),
            (Some(_), None) => steps.push(remove(&path)),
            (None, None) => {}
        }
    }
    if !steps.is_empty() && !object.has_annotations() {
        steps.insert(0, add(&["metadata", "annotations"], empty_map()));
    }
    steps
}

pub(super) fn test(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

pub(super) fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

pub(super) fn replace(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

pub(super) fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(path.iter().copied()) })
}

#[cfg(test)]
mod tests;
