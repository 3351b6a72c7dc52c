//! What a decision asks for: at most one change of the Deployment or of its ReplicaSets.

use super::state::Cause;

/// The one change that a decision asks of the Deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing.
    None,
    /// Pause it, with our annotation. The text says why.
    Pause(Hold),
    /// Hold it as a canary: our settings in place of the owner's, which the annotation remembers.
    HoldCanary(CanaryHold),
    /// Give ReplicaSets so many pods while the Deployment is paused by us, all at once.
    Resize(Vec<Resize>),
    /// Take our pause, settings and annotation away.
    Release,
    /// Take the annotations away by which people asked for what is answered now.
    Answer,
    /// Take the condemned mark away from the newest ReplicaSet: a person has approved its template.
    Pardon {
        /// Its name.
        replica_set: String,
    },
    /// Put the stable ReplicaSet's template back, and mark the newest one condemned.
    RollBack {
        /// Name of the ReplicaSet to go back to.
        to_replica_set: String,
        /// Why, as it is written into the condemned mark and the Deployment's annotation.
        why: String,
    },
}

/// What our pause annotation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The policy that holds.
    pub policy: String,
    /// Why.
    pub cause: Cause,
}

/// How a Deployment is held as a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryHold {
    /// What the annotation says.
    pub hold: Hold,
    /// False lets Kubernetes create the canary's pods; true keeps what is there.
    pub paused: bool,
    /// Pods beyond the replicas, `maxSurge`, with `maxUnavailable: 0`; or, where the owner leaves no room for more pods,
    /// `maxUnavailable`, with `maxSurge: 0`.
    pub room: Room,
}

/// Where the canary's pods find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Beside the stable ones: so many more than replicas.
    Beside(u32),
    /// In place of so many stable ones.
    InPlaceOf(u32),
}

/// The pods that one ReplicaSet is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    /// Its name.
    pub replica_set: String,
    /// Its uid.
    pub uid: String,
    /// How many.
    pub pods: u32,
}
