//! Error budgets in charge of releases.
//!
//! Data flows one way, and the modules stand in that order:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`] | reads the arguments and starts one subcommand |
//! | [`api`] | the wire types of `errorbudget.dev/v1alpha1`, nothing else |
//! | [`policy`] | the validated policy that all later stages trust |
//! | [`config`] | the operator's own configuration file: Prometheus endpoints |
//! | [`watch`] | Kubernetes in: Deployments, policies, ReplicaSets -> facts of a rollout |
//! | [`measure`] | Prometheus in: raw counters -> looks |
//! | [`decide`] | pure: looks -> evidence -> verdict -> next phase |
//! | [`act`] | Kubernetes out: at most one change of a Deployment |
//! | [`record`] | what people read: Events, status, metrics |
//! | [`evaluate`] | the verdict on looks from a file or a pipe, by the same code |
//! | [`people`] | what people look at and ask for, from the command line |
//! | [`check`] | whether a policy's error budget lets a release start, for pipelines |
//! | [`lint`] | what would be refused of a policy, and what Prometheus has of its services, before it is applied |
//! | [`import`] | a policy from what another tool's files promise |
//! | [`controller`] | runs the five stages in order for one Deployment at a time |
//! | [`leader`], [`server`], [`telemetry`] | leadership, health and metrics pages, logs |

pub mod act;
pub mod api;
pub mod check;
pub mod cli;
pub mod config;
pub mod controller;
pub mod decide;
pub mod evaluate;
pub mod import;
pub mod leader;
pub mod lint;
pub mod measure;
pub mod people;
pub mod policy;
pub mod record;
pub mod run;
pub mod server;
pub mod telemetry;
pub mod watch;
