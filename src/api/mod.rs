//! The wire types of `errorbudget.dev/v1alpha1`, nothing else.
//!
//! What people write is in [`policy`], what the operator answers in [`status`]. Both are only shapes: meaning is given
//! to them by [`crate::policy`], which parses, and by [`crate::record`], which writes.

mod cel;
pub mod policy;
mod schema;
pub mod status;

pub use policy::{ErrorBudgetPolicy, ErrorBudgetPolicySpec};
pub use schema::{crds, custom_resource_definition};
pub use status::ErrorBudgetPolicyStatus;
