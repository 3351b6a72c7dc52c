//! The nodes, which exist only in the API, and the life of the pods on them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

const STAGES: &str = include_str!("stages.yaml");

/// Writes the pods' life for kwok, with the range from which each pod's time to become Ready is drawn.
pub(super) fn write_stages(path: &Path, ready_delay: &RangeInclusive<Duration>) -> Result<()> {
    let text = STAGES
        .replace("@READY_DELAY@", &ready_delay.start().as_millis().to_string())
        .replace("@READY_DELAY_MAX@", &ready_delay.end().as_millis().to_string());
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Creates `count` nodes that are big enough for every test. kwok makes them Ready.
pub(super) async fn create(client: &Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=count {
        let name = format!("node-{number}");
        let labels =
            json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        nodes.create(&PostParams::default(), &node).await.with_context(|| format!("create {name}"))?;
        let resources = json!({"cpu": "10k", "memory": "100Ti", "pods": "10000"});
        let status = json!({
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": format!("192.0.2.{number}")},
                {"type": "Hostname", "address": name},
            ],
        });
        let patch = Patch::Merge(json!({"status": status}));
        let written = nodes.patch_status(&name, &PatchParams::default(), &patch).await;
        written.with_context(|| format!("give {name} its size"))?;
    }
    Ok(())
}
