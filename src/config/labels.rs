//! By which labels a server's series say whose they are.

use std::sync::Arc;

/// The labels that name the namespace and the pod of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodLabels {
    /// Holds the namespace of the pod.
    pub namespace: Arc<str>,
    /// Holds the pod's name.
    pub pod: Arc<str>,
}

impl Default for PodLabels {
    /// What Prometheus' Kubernetes discovery is usually relabelled to.
    fn default() -> Self {
        Self { namespace: "namespace".into(), pod: "pod".into() }
    }
}

impl PodLabels {
    /// Both, as `by (...)` lists them.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}, {}", self.namespace, self.pod)
    }
}
