//! The way to the cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Problem;

/// How long one request may take. A person waits for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster and namespace is meant, as kubectl takes it.
#[derive(Debug, Clone, Default, Args)]
pub struct Access {
    /// Namespace; default: that of the kubeconfig's context
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Kubeconfig to use; default: $KUBECONFIG, ~/.kube/config, or the service account when in a cluster
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use; default: its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// A cluster that can be talked to.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// The namespace that is meant where none is named.
    pub(super) namespace: String,
}

impl Access {
    /// Reads the configuration. Nothing is asked of the cluster yet.
    pub(super) async fn open(&self) -> Result<Cluster, Problem> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Problem::Configuration(error.to_string()))?;
        Ok(Cluster { client, namespace })
    }

    async fn config(&self) -> Result<Config, Problem> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let unusable = |error| Problem::Configuration(format!("--kubeconfig {}: {error}", path.display()));
            let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
            return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable);
        }
        if let Some(context) = &self.context {
            let unusable = |error| Problem::Configuration(format!("--context {context}: {error}"));
            return Config::from_kubeconfig(&options).await.map_err(unusable);
        }
        Config::infer().await.map_err(|error| Problem::Configuration(format!("{error}; give --kubeconfig FILE")))
    }
}

/// Makes one request, and says what was being done if it fails.
pub(super) async fn call<T>(doing: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| Problem::of(doing, error)),
        Err(_) => {
            let reason = format!("the API server did not answer in {} s", REQUEST_TIMEOUT.as_secs());
            Err(Problem::Unreachable { doing: doing.to_owned(), reason })
        }
    }
}
