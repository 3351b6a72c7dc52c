//! An HTTP service that can go wrong in the ways that releases do, and a load generator that records what its users see.
//!
//! [`serve`] is what the pods of real clusters run, [`load`] what asks them.

mod duration;
pub mod load;
pub mod metrics;
pub mod serve;

pub use duration::parse_duration;
