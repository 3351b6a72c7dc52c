//! A pod that serves, as far as reading its metrics needs to know it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// The annotations that most installations of Prometheus go by.
const ANNOTATIONS: &str = "prometheus.io/";

/// A pod that is Ready and has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingPod {
    /// Its name.
    pub name: String,
    /// Its uid: another pod of the same name is another one.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its address.
    pub ip: IpAddr,
    /// It has no address of its own, but that of its node.
    pub on_host_network: bool,
    /// Its annotations that begin with `prometheus.io/`, without that.
    pub annotations: BTreeMap<String, String>,
    /// Ports of its containers that have a name.
    pub ports: BTreeMap<String, u16>,
}

impl ServingPod {
    /// What is to be known of a pod; `None` when it does not serve, or is about to go.
    #[must_use]
    pub fn of(pod: Pod) -> Option<Self> {
        let (metadata, spec, status) = (pod.metadata, pod.spec?, pod.status?);
        let mut conditions = status.conditions.iter().flatten();
        let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if !is_ready || metadata.deletion_timestamp.is_some() {
            return None;
        }
        let annotations = metadata.annotations.unwrap_or_default().into_iter();
        let annotations =
            annotations.filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATIONS)?.to_owned(), value)));
        // A sidecar is an init container that goes on.
        let containers = spec.containers.into_iter().chain(spec.init_containers.unwrap_or_default());
        let ports = containers.flat_map(|container| container.ports.unwrap_or_default());
        let ports = ports.filter_map(|port| Some((port.name?, u16::try_from(port.container_port).ok()?)));
        Some(Self {
            name: metadata.name?,
            uid: metadata.uid?,
            created: metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            ip: status.pod_ip?.parse().ok()?,
            on_host_network: spec.host_network.unwrap_or_default(),
            annotations: annotations.collect(),
            ports: ports.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Option<ServingPod> {
        let mut pod = json!({
            "metadata": {
                "name": "rübe-x7", "uid": "u9", "creationTimestamp": "2026-03-04T05:06:07Z",
                "annotations": {"prometheus.io/port": "9102", "prometheus.io/path": "/m", "owner": "odd"},
            },
            "spec": {"containers": [
                {"name": "kern", "ports": [{"containerPort": 8080}, {"name": "metrics", "containerPort": 9102}]},
                {"name": "schale"},
            ]},
            "status": {"podIP": "10.1.2.3", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        change(&mut pod);
        ServingPod::of(serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn a_pod_that_serves_says_where_its_metrics_may_be() {
        let pod = pod(|_| {}).expect("it serves");
        assert_eq!((pod.name.as_str(), pod.uid.as_str(), pod.ip.to_string().as_str()), ("rübe-x7", "u9", "10.1.2.3"));
        assert_eq!(
            pod.annotations.into_iter().collect::<Vec<_>>(),
            [("path".to_owned(), "/m".to_owned()), ("port".to_owned(), "9102".to_owned())]
        );
        assert_eq!(pod.ports, BTreeMap::from([("metrics".to_owned(), 9102)]));
        assert!(!pod.on_host_network);
    }

    #[test]
    fn a_pod_that_is_not_ready_or_going_or_nowhere_does_not_serve() {
        assert_eq!(pod(|pod| pod["status"]["conditions"][0]["status"] = json!("False")), None);
        assert_eq!(pod(|pod| pod["status"]["conditions"] = json!([])), None);
        assert_eq!(pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-03-04T05:06:08Z")), None);
        assert_eq!(pod(|pod| pod["status"]["podIP"] = json!("")), None);
        assert!(pod(|pod| pod["spec"]["hostNetwork"] = json!(true)).is_some_and(|pod| pod.on_host_network));
    }
}
