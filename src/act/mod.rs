//! Kubernetes out: what to write, and writing it under preconditions.
//!
//! [`patch`], [`standing`], [`last_applied`] and [`ownership`] are pure: objects in, JSON patch out. [`apply`] sends them, each under a
//! timeout, only while this replica leads, and only onto the object that was decided on: every patch of a Deployment
//! tests its uid and its generation. A failed test is a [`ActError::Conflict`]: read again, decide again, never force.
//!
//! # A hold, and what its owner writes meanwhile
//!
//! A canary is held by settings that belong to the Deployment's owner, so each of our patches says in the annotation
//! `errorbudget.dev/hold` what the owner has ([`standing`]), in one write with the settings themselves: whoever comes
//! later finds both or neither. [`Applier::release`] and [`Applier::roll_back`] put it back to the byte, with everything
//! that the owner has written since. In the hold and after it the fields belong to those who apply them ([`ownership`]).
//!
//! # A rollback, and what a crash leaves behind
//!
//! | step | written to | what a successor finds if the process dies right after it, and does |
//! | --- | --- | --- |
//! | 1. [`Applier::condemn`] | the bad ReplicaSet: `errorbudget.dev/condemned` | the newest ReplicaSet bears a mark of its own and its rollout is not over by what the policy's status remembers: the rollback was meant and not made. It makes it, with the reason of the mark |
//! | 2. [`Applier::roll_back`] | the Deployment: template, pause, annotations, in one patch | the newest template is the stable one, and the bad one's ReplicaSet bears the mark: it was made. Nothing is repeated but step 3 |
//! | 3. [`Applier::hand_back`] | the Deployment: `metadata.managedFields` | our entry there owns nothing of the template: nothing is left to do |
//!
//! Each step may be made twice: a mark that is there is kept with its time and reason; a Deployment whose template is
//! back has another generation, so a second patch fails its test; ownership that was handed back is not ours to hand
//! back. The types keep the order: step 2 takes what only step 1 returns, and step 3 what only step 2 returns, or
//! nothing ([`Applier::hand_back_again`]) for a successor that has only the facts.

mod annotations;
pub mod apply;
pub mod error;
pub mod last_applied;
pub mod object;
pub mod ownership;
pub mod patch;
mod standing;

pub use annotations::{RevisionName, RollbackRecord};
pub use apply::{Applied, Applier, Condemnation, Intended, RolledBack, WRITE_TIMEOUT};
pub use error::{ActError, WriteOutcome};
