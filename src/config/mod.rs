//! The operator's own configuration file: which Prometheus servers there are and how to reach them. A policy only names one,
//! so that whoever writes policies can neither choose an address nor see a credential.
//!
//! All of it is read and checked when the operator starts; what it says of files is read again whenever it is needed, so
//! that a rotated credential needs no restart.

mod labels;
mod secret;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::policy::{EvidenceFrom, Policy};

pub use labels::PodLabels;
pub use secret::{SecretError, SecretFile};
use values::{bytes, concurrency, duration, endpoints, headers, label, query_bytes, url};

/// Why the operator cannot start with its configuration. The message names the file and the place in it, and says what to
/// write instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not YAML, has a field that does not exist, or a value that cannot be meant.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where in it, and what to write instead.
        source: serde_norway::Error,
    },
    /// A file that it names cannot be used.
    #[error("{}: prometheus.{endpoint}.{field}: {source}", path.display())]
    File {
        /// The configuration file.
        path: PathBuf,
        /// Name of the endpoint.
        endpoint: String,
        /// The field that names the file.
        field: &'static str,
        /// What is wrong with the file it names.
        source: SecretError,
    },
}

/// A policy names an endpoint that the configuration does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no Prometheus endpoint named {name:?}; the operator's configuration has {}", known_in_words(known))]
pub struct UnknownEndpoint {
    /// What the policy asks for.
    pub name: String,
    /// What there is, sorted.
    pub known: Vec<String>,
}

/// A policy wants something that the configuration does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// An endpoint.
    #[error(transparent)]
    Endpoint(#[from] UnknownEndpoint),
    /// Pods to be read.
    #[error(
        "evidence: Pods is switched off in this installation of the operator; whoever installed it can switch it on with the \
         chart's value podEvidence.enabled=true, or write evidence: Prometheus"
    )]
    PodEvidence,
}

fn known_in_words(known: &[String]) -> String {
    if known.is_empty() { "none; write one under prometheus".to_owned() } else { known.join(", ") }
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorConfig {
    /// Prometheus servers by name. There may be none only where pods are read.
    #[serde(default, deserialize_with = "endpoints")]
    pub prometheus: BTreeMap<String, Endpoint>,
    /// How pods are read for policies with `evidence: Pods`; `None`: they are not, and such policies are refused.
    pub pod_evidence: Option<PodEvidence>,
}

/// Bounds of reading the metrics of pods themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodEvidence {
    /// How long one pod may take. 100 ms to 5 min; a look ends before the next one is due, whatever this says.
    #[serde(default = "default_pod_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// How many pods may be read at once, of all rollouts together. 1 to 256.
    #[serde(default = "default_pod_concurrency", deserialize_with = "concurrency")]
    pub concurrency: usize,
    /// How large a page may be, after which it is cut off and counts as failed. 64Ki to 1Gi. So many times the concurrency
    /// is the memory that pages can take.
    #[serde(default = "default_page_bytes", deserialize_with = "bytes")]
    pub max_response_bytes: usize,
}

const fn default_pod_timeout() -> Duration {
    Duration::from_secs(2)
}

const fn default_pod_concurrency() -> usize {
    32
}

const fn default_page_bytes() -> usize {
    2 << 20
}

/// One Prometheus server, or anything that speaks its query API.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Where its API begins; `/api/v1/query` is added to the path.
    #[serde(deserialize_with = "url")]
    pub url: Url,
    /// A file with the token to send as `Authorization: Bearer`. Not together with `basic_auth`.
    pub bearer_token_file: Option<SecretFile>,
    /// The user to log in as. Not together with `bearer_token_file`.
    pub basic_auth: Option<BasicAuth>,
    /// A file with the certificates, in PEM, that the server's must be signed by, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Sent with each request, for example the tenant of a shared server.
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// How long one query may take, here and on the server. 100 ms to 5 min.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// How many queries may be under way at once. 1 to 256.
    #[serde(default = "default_concurrency", deserialize_with = "concurrency")]
    pub concurrency: usize,
    /// How large an answer may be, after which it is cut off and counts as failed. 64Ki to 1Gi.
    #[serde(default = "default_max_response_bytes", deserialize_with = "bytes")]
    pub max_response_bytes: usize,
    /// How long a query for many rollouts may grow before it is cut in two. 4Ki to 8Mi; Prometheus itself takes 10 MiB.
    #[serde(default = "default_max_query_bytes", deserialize_with = "query_bytes")]
    pub max_query_bytes: usize,
    /// The label in which its series name their pod, for example `kubernetes_pod_name`.
    #[serde(default = "default_pod_label", deserialize_with = "label")]
    pub pod_label: Arc<str>,
    /// The label in which its series name the pod's namespace.
    #[serde(default = "default_namespace_label", deserialize_with = "label")]
    pub namespace_label: Arc<str>,
    /// The label that tells apart the copies of a Prometheus that scrape the same, where a server has the series of all of them.
    #[serde(default = "default_replica_label", deserialize_with = "label")]
    pub replica_label: Arc<str>,
    /// False: a server that asks several stores is to fail when one of them does not answer. True leaves that to the server;
    /// an answer that it calls partial is missing evidence in either case.
    #[serde(default = "default_partial_response")]
    pub partial_response: bool,
}

/// A user name, and a file with the password.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// A file with the password.
    pub password_file: SecretFile,
}

const fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

const fn default_concurrency() -> usize {
    8
}

const fn default_max_response_bytes() -> usize {
    32 << 20
}

/// Some 8,000 rollouts with names of thirty characters. What stands before servers often takes bodies of 1 MiB,
/// in which this has room, encoded.
const fn default_max_query_bytes() -> usize {
    512 << 10
}

fn default_pod_label() -> Arc<str> {
    PodLabels::default().pod
}

fn default_namespace_label() -> Arc<str> {
    PodLabels::default().namespace
}

fn default_replica_label() -> Arc<str> {
    PodLabels::default().replica
}

const fn default_partial_response() -> bool {
    true
}

impl OperatorConfig {
    /// Reads and checks a configuration file and every file it names. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// At the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(path, &text)?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        for (name, endpoint) in &mut config.prometheus {
            endpoint.resolve(folder);
            endpoint.check_files().map_err(|(field, source)| {
                let (path, endpoint) = (path.to_owned(), name.clone());
                ConfigError::File { path, endpoint, field, source }
            })?;
        }
        Ok(config)
    }

    /// Checks the content of a configuration file, and leaves alone the files it names. `path` is for messages.
    ///
    /// # Errors
    /// At the first thing that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let content = |source| ConfigError::Content { path: path.to_owned(), source };
        let config: Self = serde_norway::from_str(text).map_err(content)?;
        if config.prometheus.is_empty() && config.pod_evidence.is_none() {
            return Err(content(serde::de::Error::custom(
                "there is no Prometheus endpoint; write prometheus: {default: {url: 'http://prometheus.monitoring.svc:9090'}}, \
                 or podEvidence: {} to read pods themselves",
            )));
        }
        Ok(config)
    }

    /// Whether there is what a policy wants to be measured with.
    ///
    /// # Errors
    /// When there is not; the message says what to write.
    pub fn serves(&self, policy: &Policy) -> Result<(), NotServed> {
        let reads_pods = policy.evidence != EvidenceFrom::Prometheus;
        if reads_pods && self.pod_evidence.is_none() {
            return Err(NotServed::PodEvidence);
        }
        // Without any, the budget is not known, and that is said where it matters.
        if !(reads_pods && self.prometheus.is_empty()) {
            self.endpoint(&policy.prometheus)?;
        }
        Ok(())
    }

    /// The endpoint that a policy names.
    ///
    /// # Errors
    /// When there is none of that name; the message lists those there are.
    pub fn endpoint(&self, name: &str) -> Result<&Endpoint, UnknownEndpoint> {
        self.prometheus.get(name).ok_or_else(|| {
            let known = self.prometheus.keys().cloned().collect();
            UnknownEndpoint { name: name.to_owned(), known }
        })
    }
}

impl Endpoint {
    /// By which labels its series say whose they are.
    #[must_use]
    pub fn labels(&self) -> PodLabels {
        PodLabels {
            namespace: Arc::clone(&self.namespace_label),
            pod: Arc::clone(&self.pod_label),
            replica: Arc::clone(&self.replica_label),
        }
    }

    fn resolve(&mut self, folder: &Path) {
        for file in [self.bearer_token_file.as_mut(), self.basic_auth.as_mut().map(|auth| &mut auth.password_file)] {
            file.into_iter().for_each(|file| file.resolve(folder));
        }
        self.ca_file = self.ca_file.take().map(|file| folder.join(file));
    }

    fn check_files(&self) -> Result<(), (&'static str, SecretError)> {
        if let Some(file) = &self.bearer_token_file {
            file.read().map_err(|error| ("bearerTokenFile", error))?;
        }
        if let Some(auth) = &self.basic_auth {
            auth.password_file.read().map_err(|error| ("basicAuth.passwordFile", error))?;
        }
        self.ca_pem().map_err(|error| ("caFile", error))?;
        Ok(())
    }

    /// What is in `ca_file`, sure to be certificates; `None` without one.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate in PEM.
    pub fn ca_pem(&self) -> Result<Option<Vec<u8>>, SecretError> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        let pem = std::fs::read(path).map_err(|source| SecretError::Read { path: path.clone(), source })?;
        match reqwest::Certificate::from_pem_bundle(&pem) {
            Ok(certificates) if !certificates.is_empty() => Ok(Some(pem)),
            _ => Err(SecretError::NoCertificate { path: path.clone() }),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
