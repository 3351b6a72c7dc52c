//! The cluster's DNS, which the program inside uses as well as the pods do.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{ADDRESS, DOMAIN, RealTools};
use crate::process::ProcessSpec;

/// Where it says whether it knows all Services.
pub(super) const READY: &str = "http://172.30.0.1:8181/ready";

/// DNS for the cluster with that folder, as its administrator.
pub(super) fn process(cluster: &Path, kubeconfig: &Path, tools: &RealTools) -> Result<ProcessSpec> {
    let configuration = cluster.join("Corefile");
    let text = format!(
        "{DOMAIN}:53 {{\n    bind {ADDRESS}\n    ready {ADDRESS}:8181\n    errors\n    kubernetes {{\n        kubeconfig \
         {}\n    }}\n}}\n",
        kubeconfig.display()
    );
    fs::write(&configuration, text).with_context(|| format!("write {}", configuration.display()))?;
    Ok(ProcessSpec::new("dns", &tools.dns, cluster).arg("-conf").arg(configuration).kill_on_drop())
}
