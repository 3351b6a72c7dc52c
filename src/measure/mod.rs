//! Prometheus in: raw counters become looks.
//!
//! [`sampler`] asks, through a [`client`], what [`promql`] printed for the pods that [`pods`] names, or reads the pods
//! themselves ([`direct`]); [`ledger`] turns what it brings into the [`look`]s that the decision is made from, and [`coverage`]
//! counts of how many pods these are. [`past`]
//! reads what was before any rollout. [`reads`] parses what a policy's objectives name. [`slos`] reads what other tools keep of
//! the objectives that a policy names. [`budget`] asks what is left of error budgets. Text and
//! sums are pure; only client, sampler and what reads pods wait.

mod answer;
mod bounds;
pub mod budget;
mod budget_plan;
pub mod client;
pub(crate) mod counter;
pub mod coverage;
pub mod direct;
pub mod expression;
mod grouping;
pub mod histogram;
pub mod ledger;
pub mod look;
pub mod past;
mod placeholder;
pub mod pods;
pub mod promql;
pub mod query;
pub mod reads;
mod request;
pub mod sampler;
pub mod scrape;
pub mod slos;
pub mod subject;
mod syntax;
mod track;
