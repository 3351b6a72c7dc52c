//! A large cluster fits. Alone in its process, because what is measured is the process.
#![cfg(target_os = "linux")]

use gatekeeper::watch::DeploymentView;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

const DEPLOYMENTS: usize = 20_000;
const MEBIBYTE: u64 = 1 << 20;

/// Memory of this process that is in use, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages = pages.split_whitespace().nth(1).expect("the second number is resident pages");
    pages.parse::<u64>().expect("a number") * 4096
}

/// A Deployment as Helm and kubectl leave it: most of it is nothing to us. `NUMBER` stands where they differ.
fn deployment() -> Value {
    let variables: Vec<_> = (0..8).map(|n| json!({"name": format!("OPTION_{n}"), "value": "value"})).collect();
    let labels = json!({
        "app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "shop-web", "helm.sh/chart": "shop-1.2.3",
    });
    let condition = |type_: &str, reason: &str, message: String| {
        json!({
            "type": type_, "status": "True", "reason": reason, "message": message,
            "lastUpdateTime": "2026-02-03T04:05:06Z", "lastTransitionTime": "2026-02-03T04:05:06Z",
        })
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "service-NUMBER-web", "namespace": "team-NUMBER",
            "uid": "5c1f0f2e-7a33-4f6e-9a53-0000000NUMBER", "generation": 5,
            "resourceVersion": "10NUMBER", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "annotations": {
                "deployment.kubernetes.io/revision": "9", "meta.helm.sh/release-name": "shop",
                "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(500),
            },
            "managedFields": [{
                "manager": "helm", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {}}}},
            }],
        },
        "spec": {
            "replicas": 3, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": {"app.kubernetes.io/name": "shop"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "shop:NUMBER", "env": variables}]},
            },
        },
        "status": {
            "observedGeneration": 5, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "conditions": [
                condition("Available", "MinimumReplicasAvailable", "Deployment has minimum availability.".to_owned()),
                condition(
                    "Progressing",
                    "NewReplicaSetAvailable",
                    "ReplicaSet \"service-NUMBER-web-7f9c8d\" has successfully progressed.".to_owned(),
                ),
            ],
        },
    })
}

#[test]
fn twenty_thousand_deployments_take_less_than_fifty_mebibytes() {
    let (store, mut writer) = reflector::store::<DeploymentView>();
    // Read from text, as the API server sends it.
    let text = deployment().to_string();
    let before = resident();
    writer.apply_watcher_event(&Event::Init);
    for number in 0..DEPLOYMENTS {
        let view = serde_json::from_str(&text.replace("NUMBER", &number.to_string()))
            .expect("a Deployment as the API server prints it");
        writer.apply_watcher_event(&Event::InitApply(view));
    }
    writer.apply_watcher_event(&Event::InitDone);
    let taken = (resident() - before) / MEBIBYTE;
    println!("{} Deployments take {taken} MiB", store.len());
    assert_eq!(store.len(), DEPLOYMENTS);
    assert!(taken < 50, "{taken} MiB");
}
