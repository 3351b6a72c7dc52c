//! Whole stories on a real control plane, with the real Prometheus and simulated traffic.
//!
//! Each scenario is a test that begins with [`World::start`] and reads as the story it tells:
//!
//! ```ignore
//! let world = World::start(WorldOptions::named("bad-release")).await?;
//! world.governed(Service::new("checkout"), Release::new("v1").burning(0.3), Policy::of("checkout")).await?;
//! world.release("checkout", Release::new("v2").burning(100.0)).await?;
//! world.reaches("checkout", "RolledBack").await?;
//! assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
//! ```
//!
//! - Scenarios share one control plane, one traffic simulator and one Prometheus, started by the first of them and ended
//!   with the process. Each has two namespaces: `<name>` for what is governed, `<name>-system` for its own installation
//!   of the chart. The operator runs as a process with exactly the rights, the configuration file and the arguments that
//!   this installation gives its pods, so every scenario proves the chart's RBAC.
//! - A scenario that breaks a component asks for its own: [`WorldOptions::own_cluster`], [`WorldOptions::own_prometheus`].
//!   Answers of Prometheus can be spoilt without that: each scenario has its own proxy before it ([`World::proxy`]).
//! - Looks come every 2 seconds and Prometheus scrapes every second; pods take 1 to 2 seconds to become Ready, so
//!   replacing ten of them one by one takes some 15 to 20 seconds.
//! - What is burnt is written as a burn rate of a 99.9 % objective: `Release::burning(100.0)` fails every tenth request.
//! - Nothing sleeps: everything waits on a condition ([`World::eventually`] and what is built on it), and "nothing
//!   happens" is asserted over a number of looks ([`World::looks_go_by`]) and over the whole [`World::history`].
//! - A condition that does not come tells the whole story: describe, Events, ReplicaSets, history, the operator's log.
//!   `TESTBED_KEEP=1` keeps the control plane's own logs.

mod phases;
mod world;

mod api_server_restarts;
mod asked;
mod bad_release;
mod broken_policy;
mod canary;
mod canary_history;
mod cannot_run;
mod command_line;
mod control_pods;
mod cycle;
mod down_phases;
mod gate;
mod gitops;
mod good_release;
mod halted_release;
mod killed;
mod latency;
mod let_go;
mod let_go_phases;
mod missing_evidence;
mod newer_push;
mod no_target;
mod no_traffic;
mod people_in_charge;
mod pod_evidence;
mod policy_deleted;
mod push_in_bake;
mod query;
mod quick_rollout;
mod reactive;
mod rejected;
mod scaling;
mod shards;
mod slos;
mod story;
mod threshold;
mod two_policies;
mod two_replicas;
mod uninstalled;
mod unscraped;
