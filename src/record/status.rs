//! Writes the status of policies. One writer a policy.
//!
//! All Deployments of a policy share one object. Were each to patch its own part, sixteen of them would wait ten seconds
//! for each other (measured, p99); so their changes are gathered and written together, in one merge patch of only what
//! changed, at most one a second for each policy. The patch carries the `resourceVersion` it was made for: when someone
//! else has written, it is made anew.

mod changes;
mod convert;
mod patch;
mod summary;
#[cfg(test)]
mod tests;
mod writer;

pub use changes::ROLLOUTS_KEPT;
pub use convert::{EntryError, SENTENCE_BYTES, entry_of, state_of, to_the_second};
pub use writer::{Change, PolicyRef, StatusWriter, Urgency};
