//! The operator's image: its program, certificate authorities, its licence.

use std::collections::BTreeMap;

use crate::archive::{Image, Packing};
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
        packing: Packing::Small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let root = operator_root(b"program".to_vec(), b"licence".to_vec());
        operator_image(root, "registry.example.com/odd:v7", "7.8.9", "c0ffee", 1_700_000_000)
    }

    #[test]
    fn nobody_in_the_image_is_root_and_its_user_is_a_number() {
        assert_eq!(image().user, (65_532, 65_532));
    }

    #[test]
    fn labels_say_which_version_of_which_source_under_which_licence_it_is() {
        let labels = image().labels;
        let label = |name: &str| labels[&format!("org.opencontainers.image.{name}")].clone();
        assert_eq!((label("version"), label("revision")), ("7.8.9".to_owned(), "c0ffee".to_owned()));
        assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    }

    #[test]
    fn the_files_are_the_program_the_licence_and_certificate_authorities() {
        let folder = tempfile::tempdir().expect("a folder");
        image().root.write_to(folder.path()).expect("it is written");
        let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).expect(path);
        assert_eq!(read(OPERATOR_PATH), "program");
        assert_eq!(read("usr/share/doc/error-budget-gatekeeper/LICENSE"), "licence");
        let authorities = read(CERTIFICATES_PATH);
        let begins = authorities.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert!(begins > 100, "{begins} certificate authorities");
        assert_eq!(begins, authorities.matches("-----END CERTIFICATE-----\n").count());
        assert!(authorities.lines().all(|line| line.len() <= 64));
    }
}
