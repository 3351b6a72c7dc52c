//! The annotations we write and read, and the few of Kubernetes' that matter to us.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything of ours begins with this.
pub const PREFIX: &str = "errorbudget.dev/";

/// On a Deployment: we pause it. The value is a [`HoldMark`] as JSON. Without it a pause is somebody else's.
pub const HOLD: &str = "errorbudget.dev/hold";

/// On a Deployment: who brought the template that is held, as the admission policy saw it.
pub const REQUESTED_BY: &str = "errorbudget.dev/requested-by";

/// On a Deployment, set by people: let this template pass a closed gate. The value is the reason.
pub const OVERRIDE: &str = "errorbudget.dev/override";

/// On a Deployment, set by people: until when [`OVERRIDE`] counts, as RFC 3339.
pub const OVERRIDE_UNTIL: &str = "errorbudget.dev/override-until";

/// On a Deployment, set by whoever knows it: the id of the template that [`OVERRIDE`] is meant for. Without it that is the
/// newest template when the operator comes to read it.
pub const OVERRIDE_TEMPLATE: &str = "errorbudget.dev/override-template";

/// What the admission policy writes to [`OVERRIDE_TEMPLATE`] when another template comes while an override stands that names
/// none: it cannot compute an id.
pub const EARLIER_TEMPLATE: &str = "earlier";

/// On a Deployment: who set [`OVERRIDE`], as the admission policy saw it.
pub const OVERRIDE_BY: &str = "errorbudget.dev/override-by";

/// On a Deployment, set by people: the template of this id may take its next step.
pub const APPROVE: &str = "errorbudget.dev/approve";

/// On a Deployment: who set [`APPROVE`], as the admission policy saw it.
pub const APPROVE_BY: &str = "errorbudget.dev/approve-by";

/// On a Deployment, set by people: roll the template of this id back.
pub const ROLLBACK: &str = "errorbudget.dev/rollback";

/// On a Deployment, set by people: why they set [`ROLLBACK`].
pub const ROLLBACK_REASON: &str = "errorbudget.dev/rollback-reason";

/// On a Deployment: who set [`ROLLBACK`], as the admission policy saw it.
pub const ROLLBACK_BY: &str = "errorbudget.dev/rollback-by";

/// On a Deployment, set by people with the verb `override`: the admission policies stand aside for the write that sets it,
/// which takes the hold away. The value is the reason.
pub const RELEASE: &str = "errorbudget.dev/release";

/// On a Deployment that is held as a canary: `spec.strategy` as its owner wrote it meanwhile, as JSON. The admission policy
/// keeps ours in its place and notes the owner's here.
pub const OWN_STRATEGY: &str = "errorbudget.dev/own-strategy";

/// The same of `spec.minReadySeconds`.
pub const OWN_MIN_READY_SECONDS: &str = "errorbudget.dev/own-min-ready-seconds";

/// The same of `spec.progressDeadlineSeconds`.
pub const OWN_PROGRESS_DEADLINE_SECONDS: &str = "errorbudget.dev/own-progress-deadline-seconds";

/// What people may ask of us, and who did: all of it is taken away once it is answered.
pub const ASKS: [&str; 9] = [
    OVERRIDE,
    OVERRIDE_UNTIL,
    OVERRIDE_TEMPLATE,
    OVERRIDE_BY,
    APPROVE,
    APPROVE_BY,
    ROLLBACK,
    ROLLBACK_REASON,
    ROLLBACK_BY,
];

/// On a ReplicaSet: it was rolled back; a [`Condemned`] as JSON.
pub const CONDEMNED: &str = "errorbudget.dev/condemned";

/// On a Deployment: what the last rollback did and why, for people who look at the Deployment alone.
pub const ROLLED_BACK: &str = "errorbudget.dev/rolled-back";

/// On Deployments and ReplicaSets: the number of the revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// On a pod template: when `kubectl rollout restart` last wanted it anew.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A label that Kubernetes adds to the template of a ReplicaSet that a Deployment made.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// What our hold annotation says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldMark {
    /// The policy that holds.
    pub policy: String,
    /// Why: a cause, or what the admission policy writes.
    pub reason: String,
    /// What the Deployment's owner had set, while our settings stand in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnSettings>,
    /// The room that we made for the canary: it tells our strategy from one that the owner wrote meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<HeldRoom>,
}

/// `spec.strategy.rollingUpdate` of a held canary, as numbers of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRoom {
    /// `maxSurge`.
    pub max_surge: u32,
    /// `maxUnavailable`.
    pub max_unavailable: u32,
}

/// The settings that a held canary needs otherwise, as the owner has them, to be put back to the byte. `None` is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnSettings {
    /// `spec.strategy`, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Value>,
    /// `spec.minReadySeconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// `spec.progressDeadlineSeconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
}

impl HoldMark {
    /// Reads the annotation. What is not of our making holds for no policy.
    #[must_use]
    pub fn read(annotation: &str) -> Self {
        serde_json::from_str(annotation).unwrap_or_default()
    }
}

/// The condemned mark of a ReplicaSet.
///
/// Kubernetes copies annotations of a Deployment to its ReplicaSets, and `kubectl rollout undo` copies them back.
/// Therefore the mark names the ReplicaSet it was made for, and on any other one it is a copy that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The uid of the ReplicaSet that is condemned.
    pub uid: String,
    /// Why, with the numbers.
    pub reason: String,
    /// When that was decided.
    pub at: Timestamp,
    /// The policy that condemned it.
    pub policy: String,
}

impl Condemned {
    /// Reads the mark of the ReplicaSet with this uid. `None` when it is a copy or nothing of ours.
    #[must_use]
    pub fn of(replica_set_uid: &str, annotation: &str) -> Option<Self> {
        serde_json::from_str::<Self>(annotation).ok().filter(|mark| mark.uid == replica_set_uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = r#"{"uid":"rs-uid-3","reason":"burn rate 14.2x","at":"2026-02-03T04:05:06Z","policy":"kasse"}"#;

    #[test]
    fn a_mark_that_names_another_uid_is_a_copy_and_ignored() {
        assert_eq!(Condemned::of("rs-uid-4", MARK), None);
    }

    #[test]
    fn a_mark_that_names_its_own_replica_set_counts() {
        let mark = Condemned::of("rs-uid-3", MARK).expect("it is its own");
        assert_eq!((mark.reason.as_str(), mark.policy.as_str()), ("burn rate 14.2x", "kasse"));
    }

    #[test]
    fn what_is_no_mark_is_ignored() {
        for text in ["", "true", "{}", r#"{"uid":"rs-uid-3"}"#] {
            assert_eq!(Condemned::of("rs-uid-3", text), None, "{text:?}");
        }
    }
}
