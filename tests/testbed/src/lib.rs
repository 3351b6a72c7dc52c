//! A real Kubernetes control plane, Prometheus and simulated traffic in a temporary folder.
//!
//! Everything is built from Go modules by the machine's own Go toolchain and cached, so there is nothing to
//! install besides Rust and Go. See [`cluster::Cluster`] for the control plane and [`tools::tools`] for the
//! programs it consists of.

pub mod cluster;
pub mod fault_proxy;
mod guard;
pub mod http;
pub mod port;
pub mod process;
pub mod prometheus;
pub mod real;
pub mod tools;
pub mod traffic;
