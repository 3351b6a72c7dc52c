//! An image as one file: an OCI layout, with the index that `docker load` looks for beside it.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::root::{Root, append, header};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Image {
    /// Name with its tag: `registry.example.com/shop/checkout:v1`.
    pub name: String,
    /// Its files.
    pub root: Root,
    /// What is run: a program and its first arguments.
    pub entrypoint: Vec<String>,
    /// User and group, by number: Kubernetes cannot tell of a name whether it is root's.
    pub user: (u32, u32),
    /// Ports it listens on. They are for people to read.
    pub ports: Vec<u16>,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Time of the image and of all its files, in seconds since 1970.
    pub time: u64,
    /// How hard its layer is compressed.
    pub packing: Packing,
}

/// How hard a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As small as it gets: for what many nodes fetch.
    Small,
    /// Without taking long: for what is used once, on this machine.
    Fast,
}

impl Packing {
    fn compression(self) -> Compression {
        match self {
            Self::Small => Compression::best(),
            Self::Fast => Compression::fast(),
        }
    }
}

/// An image in one file.
#[derive(Debug)]
pub struct Archive {
    /// The file, a tar archive.
    pub file: Vec<u8>,
    /// The digest by which the image can be named: `sha256:...`.
    pub digest: String,
    /// Bytes of the compressed layer, which is what a node fetches.
    pub layer_size: usize,
}

impl Image {
    /// Makes the archive.
    ///
    /// # Errors
    /// When the name has no tag, or a time or path cannot be written down.
    pub fn archive(&self) -> Result<Archive> {
        let tag = self.name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
        let tag = tag.with_context(|| {
            format!("the image's name {:?} has no tag: write {:?}", self.name, self.name.clone() + ":v1")
        })?;
        ensure!(self.user.0 != 0, "the image would run as root");

        let plain = self.root.layer(Vec::new(), self.time)?;
        // Neither a name nor a time nor an operating system in the head of the compressed file.
        let packed = GzBuilder::new().mtime(0).operating_system(255);
        let mut packed = packed.write(Vec::new(), self.packing.compression());
        packed.write_all(&plain)?;
        let layer = packed.finish().context("compress the layer")?;

        let config = self.config(&digest(&plain))?.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
        })
        .to_string()
        .into_bytes();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
        // The first is for containerd, the second for what follows the layout's specification to the letter.
        entry["annotations"] = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        let docker = json!([{"Config": blob(&config), "RepoTags": [self.name], "Layers": [blob(&layer)]}]);

        let mut archive = tar::Builder::new(Vec::new());
        for folder in ["blobs/", "blobs/sha256/"] {
            append(&mut archive, header(EntryType::Directory, 0o755, 0, self.time), folder, &[])?;
        }
        for (path, content) in [
            (blob(&config), &config),
            (blob(&layer), &layer),
            (blob(&manifest), &manifest),
            ("index.json".to_owned(), &index.to_string().into_bytes()),
            ("manifest.json".to_owned(), &docker.to_string().into_bytes()),
            ("oci-layout".to_owned(), &json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes()),
        ] {
            append(&mut archive, header(EntryType::Regular, 0o644, content.len(), self.time), &path, content)?;
        }
        let file = archive.into_inner().context("end the archive")?;
        Ok(Archive { file, digest: digest(&manifest), layer_size: layer.len() })
    }

    fn config(&self, layer: &str) -> Result<Value> {
        let time = i64::try_from(self.time).context("no such time")?;
        let created = Timestamp::from_second(time).context("no such time")?.to_string();
        let ports: BTreeMap<String, Value> = self.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
        Ok(json!({
            "architecture": architecture(),
            "os": "linux",
            "created": created,
            "config": {
                "User": format!("{}:{}", self.user.0, self.user.1),
                "Entrypoint": self.entrypoint,
                "ExposedPorts": ports,
                "Labels": self.labels,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": created, "created_by": "error-budget-gatekeeper packaging"}],
        }))
    }
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(content))
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hexadecimal(content))
}

fn hexadecimal(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// This machine's architecture, by the name that images use. Programs for another one cannot be here: they are built
/// for this one.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            name: "localhost/odd:v1".to_owned(),
            root: Root::default().with_program("bin/odd", "program").with_file("etc/deep/er/odd.conf", "settings"),
            entrypoint: vec!["/bin/odd".to_owned()],
            user: (4711, 4712),
            ports: vec![8080],
            labels: BTreeMap::from([("colour".to_owned(), "ochre".to_owned())]),
            time: 1_700_000_000,
            packing: Packing::Small,
        }
    }

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        archive
            .entries()
            .expect("a tar archive")
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let path = entry.path().expect("a path").display().to_string();
                let mut content = Vec::new();
                std::io::copy(&mut entry, &mut content).expect("content");
                (path, content)
            })
            .collect()
    }

    fn json_of(entries: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&entries[path]).expect("JSON")
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let (first, second) = (image().archive().expect("an archive"), image().archive().expect("an archive"));
        assert_eq!(first.digest, second.digest);
        assert!(first.file == second.file);
    }

    #[test]
    fn every_digest_is_that_of_the_file_it_names() {
        let archive = image().archive().expect("an archive");
        let entries = entries(&archive.file);
        for (path, content) in entries.iter().filter(|(path, _)| path.starts_with("blobs/sha256/") && path.len() > 20) {
            assert_eq!(*path, blob(content));
        }
        let index = json_of(&entries, "index.json");
        assert_eq!(index["manifests"][0]["digest"], archive.digest);
        let docker = json_of(&entries, "manifest.json");
        assert!(entries.contains_key(docker[0]["Config"].as_str().expect("a path")));
        assert!(entries.contains_key(docker[0]["Layers"][0].as_str().expect("a path")));
    }

    #[test]
    fn the_layer_has_every_file_with_its_folders_owned_by_root() {
        let layer = image().root.layer(Vec::new(), 12).expect("a layer");
        let mut archive = tar::Archive::new(&layer[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().expect("a tar archive") {
            let entry = entry.expect("an entry");
            let head = entry.header();
            assert_eq!((head.uid().ok(), head.gid().ok(), head.mtime().ok()), (Some(0), Some(0), Some(12)));
            seen.push((entry.path().expect("a path").display().to_string(), head.mode().expect("a mode")));
        }
        let seen: Vec<(&str, u32)> = seen.iter().map(|(path, mode)| (path.as_str(), *mode)).collect();
        let folders = [("bin/", 0o755), ("etc/", 0o755), ("etc/deep/", 0o755), ("etc/deep/er/", 0o755)];
        assert_eq!(seen[..4], folders);
        assert_eq!(seen[4..], [("bin/odd", 0o755), ("etc/deep/er/odd.conf", 0o644)]);
    }

    #[test]
    fn the_configuration_says_who_runs_what() {
        let entries = entries(&image().archive().expect("an archive").file);
        let docker = json_of(&entries, "manifest.json");
        let config = json_of(&entries, docker[0]["Config"].as_str().expect("a path"));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["config"]["User"], "4711:4712");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/odd"]));
        assert_eq!(config["config"]["Labels"]["colour"], "ochre");
    }

    #[test]
    fn a_name_without_a_tag_is_refused_with_what_to_write() {
        let image = Image { name: "localhost:5000/odd".to_owned(), ..image() };
        let error = image.archive().expect_err("no tag").to_string();
        assert!(error.contains("localhost:5000/odd:v1"), "{error}");
    }
}
