//! How a Deployment is held: without new pods, with exactly a canary's, or with a few of the stable ones. Pure.
//!
//! Kubernetes knows no such state. It is made of what it has: with `minReadySeconds` beyond reach the new pods never count
//! as available, so that no stable pod may leave for them, and `maxSurge` alone says how many there can be. *Armed*, not
//! paused, Kubernetes creates them and can go no further, also when nobody looks after it. *Latched*, paused, it stays so
//! whatever is scaled. [`with_canary`], [`without_pods`] and [`with_control`] ask for one change at a time until the facts are
//! as they should be.

use super::action::{Action, CanaryHold, Hold, Resize, Room};
use crate::watch::rollout::{Amount, Pause, Revision, Rollout, Settings};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// This.
    Do(Action),
    /// Nothing of ours: Kubernetes is at it.
    Wait,
    /// Nothing: it is as it should be.
    Reached,
}

impl Room {
    /// The canary's pods.
    #[must_use]
    pub const fn pods(self) -> u32 {
        match self {
            Self::Beside(pods) | Self::InPlaceOf(pods) => pods,
        }
    }

    /// The pods that the stable ReplicaSet has beside them.
    #[must_use]
    pub const fn stable_pods(self, replicas: u32) -> u32 {
        match self {
            Self::Beside(_) => replicas,
            Self::InPlaceOf(pods) => replicas.saturating_sub(pods),
        }
    }

    /// Which share of all pods the canary's really are, in percent.
    #[must_use]
    pub fn share(self, replicas: u32) -> f64 {
        let all = self.stable_pods(replicas) + self.pods();
        if all == 0 { 0.0 } else { 100.0 * f64::from(self.pods()) / f64::from(all) }
    }
}

/// The room of a canary with this share of the traffic in percent: the smallest number of pods that has it, at least 1 and
/// at most as many as there are replicas, where Kubernetes caps a new ReplicaSet. Where the owner leaves no room for one
/// more pod, the canary's come in place of stable ones.
#[must_use]
pub fn room(traffic: u32, facts: &Rollout) -> Room {
    if facts.own_settings().max_surge.rounded_up(facts.replicas) > 0 {
        return beside(traffic, facts.replicas);
    }
    Room::InPlaceOf(pods_of(u64::from(traffic.min(100)) * u64::from(facts.replicas), 100, facts.replicas))
}

/// The room of a canary with this share of the traffic in percent beside so many stable pods.
#[must_use]
pub fn beside(traffic: u32, replicas: u32) -> Room {
    let traffic = u64::from(traffic.min(100));
    Room::Beside(match 100 - traffic {
        0 => replicas.max(1),
        rest => pods_of(traffic * u64::from(replicas), rest, replicas),
    })
}

/// Whole pods, at least 1 and at most as many as there are replicas.
fn pods_of(share: u64, of: u64, replicas: u32) -> u32 {
    u32::try_from(share.div_ceil(of)).unwrap_or(u32::MAX).clamp(1, replicas.max(1))
}

/// The stable revision is to have pods again, and those of other revisions serve until these are Ready.
#[derive(Debug)]
pub struct Return<'a> {
    /// The stable revision.
    pub stable: &'a Revision,
    /// The pods that it is to have.
    pub pods: u32,
    /// The others, newest first.
    pub others: Vec<&'a Revision>,
}

/// What serves in place of stable pods that are wanted and not Ready; `None` when nothing does, or all of them are.
#[must_use]
pub fn returning<'a>(facts: &'a Rollout, stable: &'a Revision, pods: u32) -> Option<Return<'a>> {
    let others: Vec<_> = facts.others.iter().filter(|other| other.uid != stable.uid && other.desired > 0).collect();
    (!others.is_empty() && stable.ready < pods).then_some(Return { stable, pods, others })
}

impl Return<'_> {
    /// Pods of the others that are Ready.
    #[must_use]
    pub fn serving(&self) -> u32 {
        self.others.iter().map(|other| other.ready).sum()
    }

    /// Nothing of the stable revision is Ready, and the others can do without it. Once it was given up, it is wanted again
    /// only when nothing else serves.
    #[must_use]
    pub fn is_hopeless(&self, replicas: u32) -> bool {
        let enough = if self.stable.desired == 0 { 1 } else { replicas };
        self.stable.ready == 0 && self.serving() >= enough.max(1)
    }
}

/// Whether stable pods that are to come back are still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// They are.
    Lasts,
    /// Not if none of them is Ready, and others serve.
    IsOver,
}

/// Holds the rollout without pods of the new template, which is how it waits to be let in. What has pods already loses
/// them: the new ones at once, those of other revisions when the stable ones can do without them.
#[must_use]
pub fn without_pods(facts: &Rollout, stable: Option<&Revision>, patience: Patience, hold: Hold) -> Next {
    let Some(stable) = stable else {
        return if facts.pause == Pause::Ours { Next::Reached } else { Next::Do(Action::Pause(hold)) };
    };
    let is_given_up = patience == Patience::IsOver
        && returning(facts, stable, facts.replicas).is_some_and(|returning| returning.is_hopeless(facts.replicas));
    let mut sizes = sizes(facts, stable, facts.replicas, 0);
    if is_given_up {
        sizes.iter_mut().filter(|size| size.uid == stable.uid).for_each(|size| size.pods = 0);
    }
    let strays_stay = sizes.iter().any(|size| size.pods > 0 && size.replica_set != stable.replica_set);
    if strays_stay {
        return resized(facts, sizes, Room::Beside(1), hold);
    }
    match (&facts.pause, is_resized(facts, &sizes)) {
        (Pause::Ours, true) => Next::Reached,
        (Pause::Ours, false) => Next::Do(Action::Resize(sizes)),
        _ => Next::Do(Action::Pause(hold)),
    }
}

/// Holds the rollout with the canary's pods.
#[must_use]
pub fn with_canary(facts: &Rollout, stable: &Revision, room: Room, hold: Hold) -> Next {
    let has = facts.canary.as_ref().map_or(0, |canary| canary.desired);
    let wanted = room.stable_pods(facts.replicas);
    let sizes = sizes(facts, stable, wanted, room.pods());
    // Once armed, Kubernetes makes room before it creates the canary's pods.
    let makes_room = has < room.pods() && (wanted..=facts.replicas).contains(&stable.desired);
    let strays = sizes.iter().any(|size| is_stray(facts, stable, size));
    if strays || has > room.pods() || (stable.desired != wanted && !makes_room) {
        return resized(facts, sizes, room, hold);
    }
    if has < room.pods() {
        return match facts.pause == Pause::None && is_held(facts, room) {
            true => Next::Wait,
            false => Next::Do(Action::HoldCanary(CanaryHold { hold, paused: false, room })),
        };
    }
    latched(facts, room, hold)
}

/// Keeps a halted canary as it is: no pod more.
#[must_use]
pub fn as_it_is(facts: &Rollout, stable: &Revision, room: Room, hold: Hold) -> Next {
    let has = facts.canary.as_ref().map_or(0, |canary| canary.desired);
    if has >= room.pods() {
        return with_canary(facts, stable, room, hold);
    }
    if facts.pause == Pause::Ours { Next::Reached } else { Next::Do(Action::Pause(hold)) }
}

/// How many stable pods can be kept of those that are wanted: never more than there are replicas, and one less where the
/// owner leaves no room for a pod beside them.
#[must_use]
pub fn control_pods(wanted: u32, facts: &Rollout) -> u32 {
    let most = match limits(facts).surge {
        0 => facts.replicas.saturating_sub(1),
        _ => facts.replicas,
    };
    wanted.min(most)
}

/// Whether Kubernetes, once all new pods that are there are available, may leave no more than `kept` stable ones. From then
/// on it could take them away between two looks of ours.
#[must_use]
pub fn is_near_control(facts: &Rollout, stable: &Revision, kept: u32) -> bool {
    let Some(canary) = &facts.canary else { return false };
    let all: u32 = canary.desired + facts.others.iter().map(|other| other.desired).sum::<u32>();
    // In the middle of one of its steps, or with pods of a third revision, its next step is not known.
    let is_between_steps = all >= facts.replicas && all == canary.desired + stable.desired;
    is_between_steps && stable.desired > 0 && will_spare(facts, kept)
}

/// Whether so many new pods are Ready that of the stable ones no more than `kept` are needed, as the owner sees it.
#[must_use]
pub fn can_spare(facts: &Rollout, kept: u32) -> bool {
    let ready = facts.canary.as_ref().map_or(0, |canary| canary.ready.min(canary.desired));
    are_enough_with(facts, ready, kept)
}

/// Whether so many new pods are there, Ready or not, that of the stable ones no more than `kept` will be needed.
#[must_use]
pub fn will_spare(facts: &Rollout, kept: u32) -> bool {
    are_enough_with(facts, facts.canary.as_ref().map_or(0, |canary| canary.desired), kept)
}

fn are_enough_with(facts: &Rollout, new_pods: u32, stable_pods: u32) -> bool {
    new_pods.saturating_add(stable_pods).saturating_add(limits(facts).unavailable) >= facts.replicas
}

/// The room of the new pods beside so many stable ones, at most [`control_pods`], and how many they are.
fn beside_control(facts: &Rollout, kept: u32) -> (Room, u32) {
    let beside = limits(facts).surge.min(kept);
    let room = match beside {
        0 => Room::InPlaceOf(facts.replicas.saturating_sub(kept)),
        _ => Room::Beside(beside),
    };
    (room, (facts.replicas + beside).saturating_sub(kept))
}

/// What becomes of stable pods beyond those that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surplus {
    /// They serve until the new ones can spare them.
    Stays,
    /// Kubernetes takes them away.
    Goes,
    /// They came by scaling, and go at once.
    GoesAtOnce,
}

/// Holds the rollout with `kept` stable pods beside the new ones, at most [`control_pods`].
///
/// A pause alone would not do: Kubernetes takes all stable pods away, although paused, once there are as many available new
/// ones as replicas.
#[must_use]
pub fn with_control(facts: &Rollout, stable: &Revision, kept: u32, surplus: Surplus, hold: Hold) -> Next {
    let has = facts.canary.as_ref().map_or(0, |canary| canary.desired);
    let (room, new_pods) = beside_control(facts, kept);
    let sizes = sizes(facts, stable, kept, new_pods);
    if is_resized(facts, &sizes) {
        return latched(facts, room, hold);
    }
    if stable.desired < kept || has > new_pods || (stable.desired > kept && surplus == Surplus::GoesAtOnce) {
        return resized(facts, sizes, room, hold);
    }
    if stable.desired == kept {
        // As with a canary, Kubernetes creates what is missing and takes nothing away.
        return armed(facts, stable, room, hold);
    }
    // Of pods that are available, and only stable ones count as that, this leaves `kept`.
    let leaving = match facts.replicas.saturating_sub(kept) {
        0 => room,
        others => Room::InPlaceOf(others),
    };
    match surplus {
        Surplus::Stays if are_new_pods_discounted(facts) => Next::Wait,
        _ => armed(facts, stable, leaving, hold),
    }
}

/// Lets Kubernetes go on within this room, once it has taken note that no new pod counts as available: with those counted it
/// would take all stable pods away. Until then it is latched as it is, or the difference would be spread over all
/// ReplicaSets.
fn armed(facts: &Rollout, stable: &Revision, room: Room, hold: Hold) -> Next {
    if facts.pause == Pause::None && is_held(facts, room) {
        return Next::Wait;
    }
    if are_new_pods_discounted(facts) {
        let is_noticed = facts.canary.as_ref().is_none_or(|canary| canary.available == 0);
        return match is_noticed {
            true => Next::Do(Action::HoldCanary(CanaryHold { hold, paused: false, room })),
            false => Next::Wait,
        };
    }
    let has = facts.canary.as_ref().map_or(0, |canary| canary.desired);
    let as_it_is = match (has + stable.desired).saturating_sub(facts.replicas) {
        0 => Room::InPlaceOf(has.max(1)),
        more => Room::Beside(more),
    };
    Next::Do(Action::HoldCanary(CanaryHold { hold, paused: true, room: as_it_is }))
}

/// Our settings are in force under which no new pod counts as available, with whatever room.
fn are_new_pods_discounted(facts: &Rollout) -> bool {
    facts.hold.as_ref().is_some_and(|hold| hold.own.is_some())
        && facts.settings.min_ready_seconds == Settings::HELD_MIN_READY_SECONDS
}

/// What the owner allows Kubernetes at a time.
struct Limits {
    /// Pods more than replicas.
    surge: u32,
    /// Pods less than replicas.
    unavailable: u32,
}

/// As Kubernetes resolves them: of no room at all it makes one pod that may be missing.
fn limits(facts: &Rollout) -> Limits {
    let own = facts.own_settings();
    let surge = own.max_surge.rounded_up(facts.replicas);
    match (surge, own.max_unavailable.rounded_down(facts.replicas)) {
        (0, 0) => Limits { surge, unavailable: 1 },
        (_, unavailable) => Limits { surge, unavailable },
    }
}

fn latched(facts: &Rollout, room: Room, hold: Hold) -> Next {
    match facts.pause == Pause::Ours && is_held(facts, room) {
        true => Next::Reached,
        false => Next::Do(Action::HoldCanary(CanaryHold { hold, paused: true, room })),
    }
}

/// Latches with room for just the pods that are wanted, or Kubernetes would spread the difference over all ReplicaSets,
/// then gives each its own. Where one alone is to have pods there is nothing to spread, and less room at first would take
/// pods from it.
fn resized(facts: &Rollout, sizes: Vec<Resize>, room: Room, hold: Hold) -> Next {
    if sizes.iter().filter(|size| size.pods > 0).count() <= 1 {
        return match (facts.pause == Pause::Ours, is_resized(facts, &sizes)) {
            (false, _) => Next::Do(Action::Pause(hold)),
            (true, false) => Next::Do(Action::Resize(sizes)),
            (true, true) => Next::Wait,
        };
    }
    let total: u32 = sizes.iter().map(|size| size.pods).sum();
    let room = match total.saturating_sub(facts.replicas) {
        0 => room,
        more => Room::Beside(more),
    };
    if facts.pause == Pause::Ours && is_held(facts, room) {
        return if is_resized(facts, &sizes) { Next::Wait } else { Next::Do(Action::Resize(sizes)) };
    }
    Next::Do(Action::HoldCanary(CanaryHold { hold, paused: true, room }))
}

/// The pods that every ReplicaSet with pods is to have. Those of other revisions leave when the stable ones are Ready.
fn sizes(facts: &Rollout, stable: &Revision, stable_pods: u32, canary_pods: u32) -> Vec<Resize> {
    let size = |revision: &Revision, pods| Resize {
        replica_set: revision.replica_set.clone(),
        uid: revision.uid.clone(),
        pods,
    };
    let stable_is_whole = stable.ready >= stable_pods;
    let strays = facts.others.iter().filter(|other| other.uid != stable.uid && other.desired > 0);
    let canary = facts.canary.iter().map(|canary| size(canary, canary_pods));
    canary
        .chain([size(stable, stable_pods)])
        .chain(strays.map(|stray| size(stray, if stable_is_whole { 0 } else { stray.desired })))
        .collect()
}

fn is_stray(facts: &Rollout, stable: &Revision, size: &Resize) -> bool {
    size.uid != stable.uid && facts.canary.as_ref().is_none_or(|canary| canary.uid != size.uid)
}

fn is_resized(facts: &Rollout, sizes: &[Resize]) -> bool {
    let all = || facts.canary.iter().chain(&facts.others);
    sizes.iter().all(|size| all().find(|revision| revision.uid == size.uid).is_none_or(|set| set.desired == size.pods))
}

/// Our settings are in force, with this room.
fn is_held(facts: &Rollout, room: Room) -> bool {
    let (max_surge, max_unavailable) = match room {
        Room::Beside(pods) => (pods, 0),
        Room::InPlaceOf(pods) => (0, pods),
    };
    facts.hold.as_ref().is_some_and(|hold| hold.own.is_some())
        && facts.settings
            == Settings {
                max_surge: Amount::Pods(max_surge),
                max_unavailable: Amount::Pods(max_unavailable),
                min_ready_seconds: Settings::HELD_MIN_READY_SECONDS,
                progress_deadline_seconds: Settings::NO_PROGRESS_DEADLINE,
            }
}
