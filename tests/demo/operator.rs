//! The operator as a process, with the rights, the configuration and the arguments that an installed chart gives it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use testbed::cluster::Cluster;
use testbed::port::free_port;
use testbed::process::{Process, ProcessSpec};

/// The name of the chart's release, and of all its objects.
pub(crate) const RELEASE: &str = "error-budget-gatekeeper";
/// A port that was free may be taken by somebody else before the operator listens on it.
const MOST_STARTS: u32 = 5;
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One running replica. Dropping it ends it.
pub(crate) struct Operator {
    process: Process,
    address: String,
    client: reqwest::Client,
}

impl Operator {
    /// Starts `program` as the chart that is installed in `namespace` would, and waits until it says that it is ready.
    /// Its log is written to `folder`.
    pub(crate) async fn start(
        cluster: &Cluster,
        namespace: &str,
        program: &Path,
        folder: &Path,
        more_arguments: &[&str],
    ) -> Result<Self> {
        let mut arguments = arguments(cluster, namespace, folder).await?;
        arguments.extend(more_arguments.iter().map(|argument| (*argument).to_owned()));
        for _ in 0..MOST_STARTS {
            let address = format!("127.0.0.1:{}", free_port()?);
            let process = ProcessSpec::new("operator", program, folder)
                .args(&arguments)
                .arg(format!("--listen={address}"))
                .env("NO_COLOR", "1");
            let client = testbed::http::client()?;
            let operator = Self { process: Process::spawn(process)?, address, client };
            match operator.wait_until_ready().await {
                Err(_) if operator.process.log_tail().contains("already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(operator),
            }
        }
        bail!("found no port for the operator in {MOST_STARTS} attempts")
    }

    /// The process, to look at and to end.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// The text of one of its pages, if it answers 200.
    pub(crate) async fn page(&self, path: &str) -> Result<String> {
        let answer = self.client.get(format!("http://{}/{path}", self.address)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "/{path} answers {status}: {text}");
        Ok(text)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.process.ensure_running()?;
            let page = self.page("readyz").await;
            if page.is_ok() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not ready in time: {page:?}\n{}", self.process.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What the chart's own pods would be started with. Only what a pod alone has is replaced: the mounted configuration, the
/// mounted token of the service account, the port of its own.
async fn arguments(cluster: &Cluster, namespace: &str, folder: &Path) -> Result<Vec<String>> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client(), namespace);
    let data = config_maps.get(RELEASE).await?.data.unwrap_or_default();
    let configuration = data.get("operator.yaml").context("the chart's ConfigMap has no operator.yaml")?;
    let file: PathBuf = folder.join("operator.yaml");
    std::fs::write(&file, configuration)?;
    let kubeconfig = cluster.kubeconfig_for_service_account(namespace, RELEASE).await?;

    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), namespace);
    let deployment = serde_json::to_value(deployments.get(RELEASE).await?)?;
    let given = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut arguments: Vec<String> = serde_json::from_value(given.clone()).context("the operator's arguments")?;
    arguments.retain(|argument| !argument.starts_with("--config=") && !argument.starts_with("--listen="));
    arguments.push(format!("--config={}", file.display()));
    arguments.push(format!("--kubeconfig={}", kubeconfig.display()));
    Ok(arguments)
}
