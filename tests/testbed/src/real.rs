//! Real nodes: containerd, a kubelet and kube-proxy each, real containers, cluster DNS.
//!
//! All of it lives in namespaces of its own, the *machine*, together with the program that uses it: the program calls
//! [`enter`] first of all, which starts the program again in there. Inside, the control plane, the program itself and
//! all pods reach each other by their addresses, one kill ends everything, and the machine outside stays as it was,
//! which is checked at the end.

mod cgroups;
mod cluster;
mod configuration;
mod dns;
mod entrance;
mod node;
mod outside;
mod support;
mod tools;

pub use cluster::{RealCluster, RealOptions};
pub use entrance::{Entered, enter, how_to_join, is_inside, unsupported};
pub use tools::{RealTools, tools};

/// Where the API server and DNS are reached, and whatever else the program listens with in there.
pub const ADDRESS: &str = "172.30.0.1";
/// The addresses of Services.
pub const SERVICES: &str = "10.96.0.0/16";
/// The API server's address as a Service, the first of [`SERVICES`].
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// The addresses of pods, of which node number n has those that begin with `10.244.n`.
pub const PODS: &str = "10.244.0.0/16";
/// The domain of the names of Services and pods.
const DOMAIN: &str = "cluster.local";
