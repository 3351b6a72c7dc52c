//! The operator's image: its program, certificate authorities, its licence.

use std::collections::BTreeMap;

use crate::archive::Image;
use crate::certificates::{CERTIFICATES_PATH, certificates};
use crate::root::Root;

/// The program's place in the image.
pub const OPERATOR_PATH: &str = "usr/local/bin/error-budget-gatekeeper";
/// A user that no system knows; the chart's pods run as the same.
const USER: u32 = 65_532;
/// Where the operator serves its health and its metrics.
const PORT: u16 = 8080;

/// Its files. There is no shell, no C library and nothing that could be written to.
pub fn operator_root(program: Vec<u8>, licence: Vec<u8>) -> Root {
    Root::default()
        .with_program(OPERATOR_PATH, program)
        .with_file(CERTIFICATES_PATH, certificates())
        .with_file("usr/share/doc/error-budget-gatekeeper/LICENSE", licence)
}

/// The image of that name (with its tag), built from the given revision of the source, at `time`.
pub fn operator_image(root: Root, name: &str, version: &str, revision: &str, time: u64) -> Image {
    let labels = [
        ("title", "error-budget-gatekeeper"),
        ("description", "A Kubernetes operator that rolls back the release that burns the error budget"),
        ("licenses", "Apache-2.0"),
        ("version", version),
        ("revision", revision),
    ];
    let labels: BTreeMap<String, String> =
        labels.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned())).into();
    Image {
        name: name.to_owned(),
        root,
        entrypoint: vec![format!("/{OPERATOR_PATH}")],
        user: (USER, USER),
        ports: vec![PORT],
        labels,
        time,
    }
}
