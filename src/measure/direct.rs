//! Pods in: the operator itself reads the counters of pods, for clusters whose Prometheus is slow, overloaded or not there.
//!
//! [`choice`] says which pods are read and keeps to them, [`target`] where each of them exposes its metrics, [`page`] reads one,
//! within bounds, [`exposition`] and [`counts`] make numbers of it. [`look`] puts one look together, and its samples go where
//! those of Prometheus go. What was before the first look is not known: pods keep no past.

pub mod choice;
mod counts;
mod exposition;
pub(super) mod look;
pub mod page;
pub mod target;
