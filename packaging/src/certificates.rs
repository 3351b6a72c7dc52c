//! The certificate authorities that an image trusts.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Where programs look for them, in every image of Debian's layout.
pub const CERTIFICATES_PATH: &str = "etc/ssl/certs/ca-certificates.crt";
/// Characters of a line, by the PEM format.
const LINE: usize = 64;

/// Mozilla's certificate authorities, in one PEM file.
pub fn certificates() -> String {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().fold(String::new(), |mut file, certificate| {
        let text = BASE64_STANDARD.encode(certificate);
        file.push_str("-----BEGIN CERTIFICATE-----\n");
        for start in (0..text.len()).step_by(LINE) {
            writeln!(file, "{}", &text[start..text.len().min(start + LINE)]).expect("a string takes every line");
        }
        file.push_str("-----END CERTIFICATE-----\n");
        file
    })
}
