//! What people read: Events, status, metrics.

pub mod events;
pub mod log;
pub mod metrics;
pub mod status;
