//! The operator as a process, with the rights, the configuration and the arguments that the chart gives it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::json;
use testbed::port::free_port;
use testbed::process::{Process, ProcessSpec, operator_program};
use tokio::process::Command;

use super::platform::Ground;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");
/// The binary under test.
pub(crate) static PROGRAM: LazyLock<PathBuf> =
    LazyLock::new(|| operator_program(env!("CARGO_BIN_EXE_error-budget-gatekeeper")));
/// What the release's name begins with; all its objects have it too.
const RELEASE: &str = "error-budget-gatekeeper";
/// The label by which policies are given to one of several installations.
pub(crate) const SHARD: &str = "shard";
/// A port that was free may be taken by somebody else before the operator listens on it.
const MOST_STARTS: u32 = 5;
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What the chart can switch.
#[derive(Debug, Clone)]
pub(crate) struct Switches {
    pub(super) admission: bool,
    pub(super) pod_evidence: bool,
    pub(super) shard: Option<String>,
}

/// An installation of the chart: what its own pods would start the operator with.
pub(crate) struct Installation {
    arguments: Vec<String>,
    folder: PathBuf,
    release: String,
    namespace: String,
}

impl Installation {
    /// Installs the chart with the real Helm, without pods of its own, and notes what those would run. `watched` is
    /// the only namespace it may work in; `None`: the whole cluster, and the CRD comes with the chart. A `shard` enforces
    /// the policies with its label only.
    pub(crate) async fn install(
        ground: &Ground,
        client: &Client,
        folder: &Path,
        namespace: &str,
        watched: Option<&str>,
        prometheus: &str,
        switches: Switches,
    ) -> Result<Self> {
        let Switches { admission, pod_evidence, shard } = switches;
        let release = shard.as_ref().map_or(RELEASE.to_owned(), |shard| format!("{RELEASE}-{shard}"));
        let policy_selector = shard.map_or(json!({}), |shard| json!({"matchLabels": {SHARD: shard}}));
        let values = json!({
            "prometheus": {"default": {"url": prometheus}},
            "replicas": 0,
            "watch": {"namespaces": watched.into_iter().collect::<Vec<_>>(), "policySelector": policy_selector},
            "crds": {"install": watched.is_none()},
            "log": {"format": "text"},
            "admission": {"hold": admission, "deny": admission, "rights": admission},
            "podEvidence": {"enabled": pod_evidence},
        });
        let file = folder.join("values.json");
        std::fs::write(&file, values.to_string())?;
        let file = file.display().to_string();
        let install = ["install", &release, CHART, "--namespace", namespace, "--create-namespace", "--values", &file];
        ground.cluster.helm(&install).await?;

        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let data = config_maps.get(&release).await?.data.unwrap_or_default();
        let configuration = data.get("operator.yaml").context("the chart's ConfigMap has no operator.yaml")?;
        std::fs::write(folder.join("operator.yaml"), configuration)?;
        let kubeconfig = ground.kubeconfig_of(namespace, &release).await?;

        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let deployment = serde_json::to_value(deployments.get(&release).await?)?;
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let mut arguments: Vec<String> =
            serde_json::from_value(arguments.clone()).context("the operator's arguments")?;
        // What only a pod has is replaced: the mounted file, the mounted token, the port of its own.
        arguments.retain(|argument| !argument.starts_with("--config=") && !argument.starts_with("--listen="));
        arguments.push(format!("--config={}", folder.join("operator.yaml").display()));
        arguments.push(format!("--kubeconfig={}", kubeconfig.display()));
        // In place of a minute.
        arguments.push("--budget-interval=2s".to_owned());
        Ok(Self { arguments, folder: folder.to_owned(), release, namespace: namespace.to_owned() })
    }

    /// Uninstalls the chart. kwok does not run what is in a Job's pod, so the Job that Helm would start at the end is run
    /// here, with the Job's own arguments and its account's rights. Returns what it printed.
    pub(crate) async fn uninstall(&self, ground: &Ground, client: &Client) -> Result<String> {
        let namespace = format!("--namespace={}", self.namespace);
        let hooks = ground.cluster.helm(&["get", "hooks", &self.release, &namespace]).await?;
        ground.cluster.helm(&["uninstall", &self.release, &namespace, "--no-hooks"]).await?;
        ground.cluster.kubectl_with_input(&["apply", "--filename=-"], &hooks).await?;

        let jobs: Api<Job> = Api::namespaced(client.clone(), &self.namespace);
        let name = format!("{}-uninstall", self.release);
        let pod = jobs.get(&name).await?.spec.and_then(|spec| spec.template.spec).context("the Job has no pod")?;
        let account = pod.service_account_name.context("the Job has no account of its own")?;
        let kubeconfig = ground.kubeconfig_of(&self.namespace, &account).await?;
        let mut told = String::new();
        for container in pod.containers {
            let mut command = Command::new(&*PROGRAM);
            command.args(container.args.unwrap_or_default()).arg("--kubeconfig").arg(&kubeconfig);
            let output = command.output().await?;
            ensure!(output.status.success(), "the Job fails: {output:?}");
            told.push_str(&String::from_utf8(output.stdout)?);
        }
        Ok(told)
    }

    /// Gives replicas started from now on one more argument.
    pub(crate) fn add(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Has replicas started from now on use this URL for the API server.
    pub(crate) fn reach_api_server_by(&self, url: &str) -> Result<()> {
        let mut files = self.arguments.iter().filter_map(|argument| argument.strip_prefix("--kubeconfig="));
        let file = files.next().context("the operator has no kubeconfig")?;
        let mut kubeconfig: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        kubeconfig["clusters"][0]["cluster"]["server"] = json!(url);
        Ok(std::fs::write(file, kubeconfig.to_string())?)
    }

    /// Starts one replica and waits until it says that it is ready.
    pub(crate) async fn start(&self, name: &str) -> Result<Operator> {
        for _ in 0..MOST_STARTS {
            let address = format!("127.0.0.1:{}", free_port()?);
            let process = ProcessSpec::new(name, &PROGRAM, &self.folder)
                .args(self.arguments.clone())
                .arg(format!("--listen={address}"))
                .env("NO_COLOR", "1")
                .env("RUST_BACKTRACE", "1")
                .kill_on_drop();
            let client = testbed::http::client()?;
            let operator = Operator { process: Process::spawn(process)?, address, client };
            match operator.wait_until_ready().await {
                Err(_) if operator.process.log_tail().contains("already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(operator),
            }
        }
        bail!("found no port for the operator in {MOST_STARTS} attempts")
    }
}

/// One running (or stopped) replica.
pub(crate) struct Operator {
    /// To kill, freeze, stop and start it.
    pub(crate) process: Process,
    address: String,
    client: reqwest::Client,
}

impl Operator {
    /// Waits until `/readyz` answers 200.
    pub(crate) async fn wait_until_ready(&self) -> Result<()> {
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

    /// The text of one of its pages, if it answers 200.
    pub(crate) async fn page(&self, path: &str) -> Result<String> {
        let answer = self.client.get(format!("http://{}/{path}", self.address)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "/{path} answers {status}: {text}");
        Ok(text)
    }

    /// The sum of a metric's series, of those that have all these labels; 0 when there is none. The name is that in
    /// `/metrics` without `errorbudget_gatekeeper_`.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let page = self.page("metrics").await?;
        let name = format!("errorbudget_gatekeeper_{name}");
        Ok(page.lines().filter_map(|line| value(line, &name, labels)).sum())
    }

    /// Whether it holds the Lease.
    pub(crate) async fn leads(&self) -> Result<bool> {
        Ok(self.metric("leader", &[]).await? == 1.0)
    }
}

/// The value in a line of the Prometheus text format, if it is of that metric and has these labels.
fn value(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (found, number) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?,
        None => ("", rest),
    };
    let found: BTreeMap<&str, &str> = found
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(label, value)| (label, value.trim_matches('"')))
        .collect();
    let wanted = labels.iter().all(|(label, value)| found.get(label) == Some(value));
    number.strip_prefix(' ').filter(|_| wanted)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_name_and_labels() {
        let line = r#"looks_total{evidence="Seen",x="y"} 12"#;
        assert_eq!(value(line, "looks_total", &[("evidence", "Seen")]), Some(12.0));
        assert_eq!(value(line, "looks_total", &[]), Some(12.0));
        assert_eq!(value(line, "looks_total", &[("evidence", "Stale")]), None);
        assert_eq!(value(line, "looks", &[]), None);
        assert_eq!(value("leader 1", "leader", &[]), Some(1.0));
    }
}
