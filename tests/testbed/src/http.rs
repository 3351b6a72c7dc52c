//! The HTTP client of the testbed and of tests that use it.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Client;

/// A client that asks servers of this machine directly, and waits for an answer for 30 s at most.
///
/// # Errors
/// When it cannot be made.
pub fn client() -> Result<Client> {
    // In a build together with the operator the client has TLS without a provider of its own, and panics without one,
    // although all it is asked for here is plain HTTP. That there is one already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().context("no HTTP client can be made")
}
