//! Pure: looks become evidence, evidence a verdict, a verdict the next phase. No Kubernetes, runtime, network or clock.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`process`] | one evidence process: how much speaks against one null hypothesis, however often one looks |
//! | [`baseline`] | what the stable pods did before the rollout: the dispersion of their errors, what they burnt |
//! | [`window`] | the last looks of canary and stable pods, for the burn rates that people read |
//! | [`objective`] | the processes of one objective, and who is to blame |
//! | [`verdict`] | verdicts, their reasons and their order |
//! | [`analysis`] | all objectives of a rollout: the worst verdict |
//! | [`explain`] | a verdict as a sentence with the numbers |
//! | [`recovery`] | whether the restored pods are well after a rollback |
//! | [`service`] | what speaks against the new pods without any counter |
//! | [`budget`] | what is left of the error budget, and whether that is enough to release |
//! | [`holding`] | how a Deployment is held without new pods, or with a canary's |
//! | [`state`] | what is remembered between two decisions |
//! | [`action`], [`announcement`] | what a decision asks for, and what it tells people |
//! | [`lifecycle`] | from phase to phase |
//! | [`outlook`] | what is needed next, in words |

pub mod action;
pub mod analysis;
pub mod announcement;
pub mod baseline;
pub mod budget;
pub mod explain;
pub mod holding;
pub mod lifecycle;
pub mod objective;
pub mod outlook;
pub mod process;
pub mod recovery;
#[cfg(test)]
pub(crate) mod samples;
pub mod service;
pub mod state;
pub mod verdict;
pub mod window;
