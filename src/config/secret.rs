//! Files with something to keep secret, read whenever it is needed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why a file that the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{} is empty; write the secret into it, and nothing else", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It has something that cannot be sent in a header.
    #[error("{} has a line break or another control character in it; write the secret on one line", path.display())]
    NotOneLine {
        /// The file.
        path: PathBuf,
    },
    /// It has no certificate.
    #[error("{} has no usable certificate; write one or more in PEM (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// The path of a file with a secret on one line. What is in it is never kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    pub(super) fn resolve(&mut self, folder: &Path) {
        self.0 = folder.join(&self.0);
    }

    /// The secret, without white space around it.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or has more than one line.
    pub fn read(&self) -> Result<String, SecretError> {
        let path = self.0.clone();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(SecretError::Read { path, source }),
        };
        let secret = text.trim();
        if secret.is_empty() {
            Err(SecretError::Empty { path })
        } else if secret.chars().any(char::is_control) {
            Err(SecretError::NotOneLine { path })
        } else {
            Ok(secret.to_owned())
        }
    }
}
