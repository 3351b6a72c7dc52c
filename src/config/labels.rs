//! By which labels a server's series say whose they are.

use std::sync::Arc;

/// The label of what a job reads at one address, which Prometheus gives to all series of it.
const ADDRESS: &str = "instance";

/// Labels by which several copies of what is read at one address differ: who reads it, and the Prometheus that does.
const READERS: [&str; 2] = ["job", "prometheus"];

/// The labels that name the namespace and the pod of a series, and the copy of a Prometheus that scraped it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodLabels {
    /// Holds the namespace of the pod.
    pub namespace: Arc<str>,
    /// Holds the pod's name.
    pub pod: Arc<str>,
    /// Tells the copies of a Prometheus apart that scrape the same.
    pub replica: Arc<str>,
}

impl Default for PodLabels {
    /// What Prometheus' Kubernetes discovery is usually relabelled to, and what the Prometheus Operator calls its copies.
    fn default() -> Self {
        Self { namespace: "namespace".into(), pod: "pod".into(), replica: "prometheus_replica".into() }
    }
}

impl PodLabels {
    /// Namespace and pod, as `by (...)` lists them.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}, {}", self.namespace, self.pod)
    }

    /// The same with the address at which a pod is read: a pod has several where several of its containers are.
    #[must_use]
    pub fn address(&self) -> String {
        self.and([ADDRESS])
    }

    /// The same with who reads it there.
    #[must_use]
    pub fn copy(&self) -> String {
        self.and([ADDRESS].into_iter().chain(READERS).chain([&*self.replica]))
    }

    fn and<'a>(&'a self, more: impl IntoIterator<Item = &'a str>) -> String {
        let more = more.into_iter().filter(|label| ![&*self.namespace, &*self.pod].contains(label));
        [self.both()].into_iter().chain(more.map(str::to_owned)).collect::<Vec<_>>().join(", ")
    }
}
