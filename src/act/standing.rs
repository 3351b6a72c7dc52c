//! What of a hold stands on a Deployment, and which of its settings are its owner's. Pure.
//!
//! A held canary needs three settings otherwise than their owner has them, and the hold annotation remembers those. But
//! the owner does not stop writing meanwhile: a tool that applies its manifest in the hold means what it writes. So each
//! setting is judged by itself: where it is as we set it, the owner's is the one that the annotation remembers; any other
//! value is the owner's own.
//!
//! Where the admission policy keeps our settings in place, it notes the owner's word in annotations of their own instead.
//!
//! The annotation alone proves nothing. Kubernetes copies annotations of a Deployment to its ReplicaSets, and
//! `kubectl rollout undo` brings them back long after the hold they tell of; or somebody takes it away and leaves our
//! settings. `minReadySeconds` of a hold is a number that nobody else has a use for, and proves it; of the other signs
//! two are needed.

use serde_json::{Value, json};

use super::object::Object;
use crate::decide::action::Room;
use crate::watch::annotations::{
    HOLD, HeldRoom, HoldMark, OWN_MIN_READY_SECONDS, OWN_PROGRESS_DEADLINE_SECONDS, OWN_STRATEGY, OwnSettings,
};
use crate::watch::rollout::Settings;

/// Values of `strategy`, `minReadySeconds` and `progressDeadlineSeconds` of a Deployment's `spec`. `None` is absent.
pub(super) type Values = [(&'static str, Option<Value>); 3];

/// What the admission policy notes of the owner's word in a hold.
pub(super) const NOTES: [&str; 3] = [OWN_STRATEGY, OWN_MIN_READY_SECONDS, OWN_PROGRESS_DEADLINE_SECONDS];

/// What of a hold stands on a Deployment.
#[derive(Debug)]
pub(super) struct Standing {
    /// The hold annotation.
    pub(super) mark: Option<HoldMark>,
    /// Our settings, or what is left of them, stand in place of the owner's.
    pub(super) is_in_force: bool,
    /// The settings as the owner has them. Where the annotation that remembered them is gone, all that can be ours is
    /// absent here, so that Kubernetes fills in its defaults.
    pub(super) own: OwnSettings,
}

impl Standing {
    pub(super) fn on(deployment: &Object) -> Self {
        let mark = deployment.annotation(HOLD).map(HoldMark::read);
        let live = live(deployment);
        let remembered = mark.as_ref().and_then(|mark| mark.own.clone());
        let room = mark.as_ref().and_then(|mark| mark.room);

        let min_ready_is_ours = live.min_ready_seconds == Some(HELD_MIN_READY_SECONDS);
        let deadline_is_ours = live.progress_deadline_seconds == Some(NO_PROGRESS_DEADLINE);
        let strategy_is_ours = live.strategy.as_ref().is_some_and(|strategy| match room {
            Some(room) => *strategy == strategy_with(room),
            None => looks_like_ours(strategy),
        });
        let other_signs = [deadline_is_ours, strategy_is_ours, deployment.is_paused()];
        let is_in_force =
            min_ready_is_ours || (remembered.is_some() && other_signs.into_iter().filter(|sign| *sign).count() >= 2);

        let own = if is_in_force {
            let remembered = remembered.unwrap_or_default();
            let noted = noted(deployment);
            let (min_ready, deadline) = (remembered.min_ready_seconds, remembered.progress_deadline_seconds);
            let own = OwnSettings {
                strategy: if strategy_is_ours { noted.strategy.or(remembered.strategy) } else { live.strategy },
                min_ready_seconds: if min_ready_is_ours {
                    noted.min_ready_seconds.or(min_ready)
                } else {
                    live.min_ready_seconds
                },
                progress_deadline_seconds: if deadline_is_ours {
                    noted.progress_deadline_seconds.or(deadline)
                } else {
                    live.progress_deadline_seconds
                },
            };
            // Only the hold let it be written: with what else is the owner's it would have been refused.
            match is_accepted(&own) {
                true => own,
                false => OwnSettings { min_ready_seconds: min_ready, progress_deadline_seconds: deadline, ..own },
            }
        } else {
            live
        };
        Self { mark, is_in_force, own }
    }

    /// There is something of ours to take away.
    pub(super) const fn is_held(&self) -> bool {
        self.mark.is_some() || self.is_in_force
    }
}

const HELD_MIN_READY_SECONDS: i32 = Settings::HELD_MIN_READY_SECONDS.cast_signed();
const NO_PROGRESS_DEADLINE: i32 = Settings::NO_PROGRESS_DEADLINE.cast_signed();

/// The settings as they are.
fn live(deployment: &Object) -> OwnSettings {
    let seconds = |key| deployment.spec(key)?.as_i64().and_then(|seconds| i32::try_from(seconds).ok());
    OwnSettings {
        strategy: deployment.spec("strategy").cloned(),
        min_ready_seconds: seconds("minReadySeconds"),
        progress_deadline_seconds: seconds("progressDeadlineSeconds"),
    }
}

/// The settings that the admission policy has noted.
fn noted(deployment: &Object) -> OwnSettings {
    let seconds = |key| deployment.annotation(key)?.parse().ok();
    let strategy = deployment.annotation(OWN_STRATEGY).and_then(|text| serde_json::from_str(text).ok());
    OwnSettings {
        strategy: strategy.filter(Value::is_object),
        min_ready_seconds: seconds(OWN_MIN_READY_SECONDS),
        progress_deadline_seconds: seconds(OWN_PROGRESS_DEADLINE_SECONDS),
    }
}

/// The API server wants the deadline to be the larger one.
fn is_accepted(own: &OwnSettings) -> bool {
    let deadline = own.progress_deadline_seconds.unwrap_or(Settings::DEFAULT.progress_deadline_seconds.cast_signed());
    own.min_ready_seconds.unwrap_or_default() < deadline
}

/// What the hold annotation calls this room.
pub(super) const fn held_room(room: Room) -> HeldRoom {
    match room {
        Room::Beside(pods) => HeldRoom { max_surge: pods, max_unavailable: 0 },
        Room::InPlaceOf(pods) => HeldRoom { max_surge: 0, max_unavailable: pods },
    }
}

/// The settings of a canary held with this room.
pub(super) fn values_held(room: HeldRoom) -> Values {
    values(OwnSettings {
        strategy: Some(strategy_with(room)),
        min_ready_seconds: Some(HELD_MIN_READY_SECONDS),
        progress_deadline_seconds: Some(NO_PROGRESS_DEADLINE),
    })
}

/// The settings as a Deployment's `spec` has them.
pub(super) fn values(own: OwnSettings) -> Values {
    [
        ("strategy", own.strategy),
        ("minReadySeconds", own.min_ready_seconds.map(Value::from)),
        ("progressDeadlineSeconds", own.progress_deadline_seconds.map(Value::from)),
    ]
}

fn strategy_with(room: HeldRoom) -> Value {
    json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": room.max_surge, "maxUnavailable": room.max_unavailable},
    })
}

/// A strategy that a hold may have set: numbers of pods, and one of them is none. The other one cannot be.
fn looks_like_ours(strategy: &Value) -> bool {
    let rolling = &strategy["rollingUpdate"];
    matches!(
        (rolling["maxSurge"].as_u64(), rolling["maxUnavailable"].as_u64()),
        (Some(0), Some(1..)) | (Some(1..), Some(0))
    )
}

#[cfg(test)]
mod tests;
