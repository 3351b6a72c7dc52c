//! A root file system: few files, owned by root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tar::{EntryType, Header};

/// The files of an image. All belong to root and nobody else can write them.
#[derive(Debug, Clone, Default)]
pub struct Root {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone)]
struct File {
    content: Vec<u8>,
    mode: u32,
}

impl Root {
    /// Adds a file that can be read. `path` is relative to the root: `etc/hosts`.
    #[must_use]
    pub fn with_file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.with(path, content.into(), 0o644)
    }

    /// Adds a file that can be run.
    #[must_use]
    pub fn with_program(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.with(path, content.into(), 0o755)
    }

    fn with(mut self, path: &str, content: Vec<u8>, mode: u32) -> Self {
        self.files.insert(path.to_owned(), File { content, mode });
        self
    }

    /// Writes the files below `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        for (path, file) in &self.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            }
            fs::write(&path, &file.content).with_context(|| format!("write {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        }
        Ok(())
    }

    /// The files as a layer, which is a tar archive. `time` (seconds since 1970) is that of every file and folder.
    pub(crate) fn layer<W: Write>(&self, output: W, time: u64) -> Result<W> {
        let mut archive = tar::Builder::new(output);
        for folder in self.folders() {
            let header = header(EntryType::Directory, 0o755, 0, time);
            append(&mut archive, header, &format!("{folder}/"), &[])?;
        }
        for (path, file) in &self.files {
            let header = header(EntryType::Regular, file.mode, file.content.len(), time);
            append(&mut archive, header, path, &file.content)?;
        }
        archive.into_inner().context("end the layer")
    }

    /// Every folder above a file, a parent before its children.
    fn folders(&self) -> BTreeSet<&str> {
        self.files.keys().flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).collect()
    }
}

pub(crate) fn header(kind: EntryType, mode: u32, size: usize, time: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(u64::try_from(size).expect("sizes fit in 64 bits"));
    header.set_mtime(time);
    header
}

pub(crate) fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    mut header: Header,
    path: &str,
    content: &[u8],
) -> Result<()> {
    archive.append_data(&mut header, path, content).with_context(|| format!("put {path} into the archive"))
}
