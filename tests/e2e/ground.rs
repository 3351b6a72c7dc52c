//! The cluster that all scenarios share: a real node, Prometheus in a pod, the operator in pods.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use testbed::real::{RealCluster, RealOptions};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::images::{Images, OPERATOR_REPOSITORY};
use crate::measured::Measured;
use crate::metrics_api;

/// How long anything may take that takes seconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);
/// The operator's namespace, and its release's name.
pub(crate) const OPERATOR: &str = "error-budget-gatekeeper";
/// The project's folder, in which the commands of its documents are run.
const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) struct Ground {
    cluster: RealCluster,
    measured: Mutex<Measured>,
    metrics_api: OnceCell<()>,
    /// Programs by the names that people call them.
    programs: PathBuf,
}

impl Ground {
    /// Starts the node, brings the images to it, and runs Prometheus. The operator is not there yet: scenarios install it.
    pub(crate) async fn start(images: &Images) -> Result<Self> {
        let cluster = RealCluster::start(RealOptions { nodes: 2, ..RealOptions::default() }).await?;
        for archive in &images.archives {
            cluster.import_image(archive).await?;
        }
        let programs = cluster.dir().join("programs");
        fs::create_dir(&programs)?;
        let tools = cluster.tools();
        for (name, program) in [
            ("kubectl", &tools.kubectl),
            ("helm", &tools.helm),
            ("error-budget-gatekeeper", &images.operator_program),
            ("kubectl-errorbudget", &images.operator_program),
        ] {
            symlink(program, programs.join(name)).with_context(|| format!("link {name}"))?;
        }
        Ok(Self { cluster, measured: Mutex::default(), metrics_api: OnceCell::new(), programs })
    }

    /// A client with all rights.
    pub(crate) fn client(&self) -> Client {
        self.cluster.client()
    }

    /// Tells autoscalers request rates from now on.
    pub(crate) async fn metrics_api(&self) -> Result<()> {
        self.metrics_api.get_or_try_init(|| metrics_api::start(self)).await.context("the metrics API")?;
        Ok(())
    }

    /// Notes something for the end.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Measured)) {
        note(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Everything that was measured.
    pub(crate) fn measured(&self) -> String {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).to_string()
    }

    /// Runs commands as a person would, in the project's folder, as the cluster's administrator.
    ///
    /// # Errors
    /// When the last of them fails, with what they printed.
    pub(crate) async fn shell(&self, commands: &str) -> Result<String> {
        let (code, text) = self.exit_of(commands, "").await?;
        ensure!(code == 0, "`{commands}` ended with {code}: {text}");
        Ok(text)
    }

    /// `kubectl apply` of an object.
    pub(crate) async fn apply(&self, manifest: &str) -> Result<()> {
        let (code, text) = self.exit_of("kubectl apply --filename -", manifest).await?;
        ensure!(code == 0, "kubectl apply: {text}");
        Ok(())
    }

    /// The exit code of commands, and what they printed.
    pub(crate) async fn exit_of(&self, commands: &str, input: &str) -> Result<(i32, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(PROJECT)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("HOME", self.cluster.dir())
            .env("IMAGE", OPERATOR_REPOSITORY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run bash")?;
        let mut pipe = child.stdin.take().context("bash has no input")?;
        tokio::io::AsyncWriteExt::write_all(&mut pipe, input.as_bytes()).await?;
        drop(pipe);
        let output = child.wait_with_output().await.context("wait for bash")?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code().unwrap_or(-1), text))
    }

    /// Waits until the condition holds. An error while looking counts as "not yet": components may be down on purpose.
    ///
    /// # Errors
    /// When it does not, in time.
    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match holds().await {
                Ok(true) => return Ok(()),
                Ok(false) => "it is not so".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= deadline {
                bail!("waited {PATIENCE:?} until {what}; at last: {last}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The address at which a Service is asked.
    pub(crate) async fn address(&self, namespace: &str, service: &str) -> Result<SocketAddr> {
        let services: Api<Service> = Api::namespaced(self.client(), namespace);
        let spec = services.get(service).await?.spec.context("a Service without a spec")?;
        let address = spec.cluster_ip.context("a Service without an address")?;
        let port = spec.ports.unwrap_or_default().first().context("a Service without a port")?.port;
        Ok(SocketAddr::new(address.parse()?, u16::try_from(port)?))
    }

    /// What a person would look at who wants to know what went wrong.
    pub(crate) async fn story(&self) -> String {
        let questions = [
            "kubectl get pods -A -o wide",
            "kubectl get ebp -A",
            "kubectl get hpa -A",
            "kubectl errorbudget status -A",
            "kubectl get events -A --sort-by=.metadata.creationTimestamp | tail -n 150",
            "kubectl logs -n error-budget-gatekeeper -l app.kubernetes.io/name=error-budget-gatekeeper --tail=100 --prefix",
        ];
        let mut story = String::new();
        for question in questions {
            let answer = self.shell(question).await.unwrap_or_else(|error| format!("{error:#}"));
            story += &format!("--- {question}\n{answer}\n");
        }
        story
    }
}

/// A file of the project.
pub(crate) fn project_file(path: &str) -> Result<String> {
    fs::read_to_string(Path::new(PROJECT).join(path)).with_context(|| format!("read {path}"))
}
