//! Keys, certificates, tokens and kubeconfig files of one control plane.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::Rng;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;

/// The files that the components are pointed at. All keys are made anew for each control plane.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The certificate authority that signed the API server's certificate.
    pub(super) ca: PathBuf,
    /// The API server's certificate, for the addresses and names that it has with simulated and with real nodes.
    pub(super) serving_certificate: PathBuf,
    pub(super) serving_key: PathBuf,
    /// Signs and checks service account tokens.
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_public_key: PathBuf,
    /// The API server's list of fixed tokens: of the administrator, a member of `system:masters`, and of the accounts.
    pub(super) tokens: PathBuf,
    /// The administrator's kubeconfig.
    pub(super) kubeconfig: PathBuf,
}

/// Somebody besides the administrator who is known to the API server, with a kubeconfig of its own in the control
/// plane's folder, `<name>.kubeconfig`.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// What the API server calls it.
    pub(crate) user: String,
    pub(crate) group: &'static str,
}

impl Credentials {
    /// Writes all files into `folder`, for an API server at `server`.
    pub(super) fn create(folder: &Path, server: &str, accounts: &[Account]) -> Result<Self> {
        let file = |name: &str| folder.join(name);
        let credentials = Self {
            ca: file("ca.crt"),
            serving_certificate: file("apiserver.crt"),
            serving_key: file("apiserver.key"),
            service_account_key: file("service-account.key"),
            service_account_public_key: file("service-account.pub"),
            tokens: file("tokens.csv"),
            kubeconfig: file("admin.kubeconfig"),
        };
        credentials.write_certificates().context("make the API server's certificate")?;

        let signer = KeyPair::generate()?;
        write_private(&credentials.service_account_key, &signer.serialize_pem())?;
        write_private(&credentials.service_account_public_key, &signer.public_key_pem())?;

        let token = random_token();
        let mut tokens = format!("{token},admin,admin,\"system:masters\"\n");
        write_kubeconfig(&credentials.kubeconfig, server, &credentials.ca, "admin", &token, "default")?;
        for Account { name, user, group } in accounts {
            let token = random_token();
            tokens += &format!("{token},{user},{name},\"{group}\"\n");
            write_kubeconfig(&file(&format!("{name}.kubeconfig")), server, &credentials.ca, name, &token, "default")?;
        }
        write_private(&credentials.tokens, &tokens)?;
        Ok(credentials)
    }

    fn write_certificates(&self) -> Result<()> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "testbed");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let names =
            ["127.0.0.1", "localhost", "kubernetes.default.svc", crate::real::ADDRESS, crate::real::API_SERVICE]
                .map(str::to_owned);
        let mut serving = CertificateParams::new(names)?;
        serving.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let serving_key = KeyPair::generate()?;
        let serving_certificate = serving.signed_by(&serving_key, &issuer)?;

        write_private(&self.ca, &authority_certificate.pem())?;
        write_private(&self.serving_certificate, &serving_certificate.pem())?;
        write_private(&self.serving_key, &serving_key.serialize_pem())
    }
}

/// Writes a kubeconfig with one cluster, one user with a token, and a default namespace. It is JSON, which every
/// reader of kubeconfig files takes, YAML being a superset of it.
pub(super) fn write_kubeconfig(
    path: &Path,
    server: &str,
    ca: &Path,
    user: &str,
    token: &str,
    namespace: &str,
) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user, "namespace": namespace}}],
        "current-context": "testbed",
    });
    write_private(path, &serde_json::to_string_pretty(&config)?)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    // A file that exists keeps its mode, so one that is written again is removed first.
    if path.exists() {
        fs::remove_file(path)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

fn random_token() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
