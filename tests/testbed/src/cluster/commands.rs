//! kubectl, Helm and kubeconfig files for one control plane.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Cluster, credentials};

/// A token outlives every testbed.
const TOKEN_SECONDS: u32 = 30 * 24 * 60 * 60;

impl Cluster {
    /// Runs the real kubectl as administrator and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed to standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run(&self.tools.kubectl, arguments, "").await
    }

    /// Like [`Cluster::kubectl`], with `input` on its standard input, for `apply -f -`.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.run(&self.tools.kubectl, arguments, input).await
    }

    /// Runs the real Helm as administrator and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed to standard error.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run(&self.tools.helm, arguments, "").await
    }

    /// Writes a kubeconfig with a token of the given service account, which has to exist, and returns its path.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": TOKEN_SECONDS}}))?;
        let issued = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("request a token for service account {namespace}/{name}"))?;
        let token = issued.status.context("the API server answered a token request without a token")?.token;
        let path = self.dir().join(format!("{namespace}-{name}.kubeconfig"));
        credentials::write_kubeconfig(&path, self.server(), &self.credentials.ca, name, &token, namespace)?;
        Ok(path)
    }

    async fn run(&self, program: &Path, arguments: &[&str], input: &str) -> Result<String> {
        let title = || {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            format!("{name} {}", arguments.join(" "))
        };
        let mut child = Command::new(program)
            .args(arguments)
            .envs(self.command_environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(title)?;
        if let Some(mut pipe) = child.stdin.take() {
            let input = input.as_bytes().to_vec();
            // Beside the reading of the output, so that neither side waits for the other. A program that does
            // not read its input closes it, which is no error.
            tokio::spawn(async move { pipe.write_all(&input).await });
        }
        let output = child.wait_with_output().await.with_context(title)?;
        if !output.status.success() {
            bail!("`{}` failed: {}", title(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The environment in which kubectl and Helm talk to this cluster and leave no traces in the user's home.
    pub fn command_environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("KUBECONFIG", self.kubeconfig().to_owned()),
            ("KUBECACHEDIR", self.dir().join("kubectl-cache")),
            ("HELM_CACHE_HOME", self.dir().join("helm/cache")),
            ("HELM_CONFIG_HOME", self.dir().join("helm/config")),
            ("HELM_DATA_HOME", self.dir().join("helm/data")),
        ]
    }
}
