//! What our annotations on a Deployment say. People and tools read them; the operator itself goes by the facts.

use jiff::Timestamp;
use serde::Serialize;

/// Kubernetes' own: the reason people give for a revision.
pub(super) const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
/// kubectl's own: the manifest as it was last applied from the client's side.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A ReplicaSet as the record of a rollback names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionName {
    /// Its name.
    pub replica_set: String,
    /// `deployment.kubernetes.io/revision` at that time.
    pub revision: u64,
}

/// What the rolled-back annotation says: the Deployment's last rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollbackRecord {
    /// What was rolled back.
    pub from: RevisionName,
    /// What runs instead.
    pub to: RevisionName,
    /// When it was decided: the time of the condemned mark.
    pub at: Timestamp,
    /// Why, with the numbers.
    pub reason: String,
    /// The policy that decided it.
    pub policy: String,
}

impl RollbackRecord {
    /// The annotation's text.
    pub(super) fn text(&self) -> String {
        json(self)
    }
}

/// JSON text of an annotation.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a struct of strings, numbers and timestamps is always JSON")
}
