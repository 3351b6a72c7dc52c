//! Images of one program: for the services and tools of tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive::{Image, Packing};
use crate::root::Root;

/// Nobody, as most systems number it.
const USER: u32 = 65_534;

/// The image of that name (with its tag) in which there is nothing but this program, linked statically, as `/bin/<its name>`.
///
/// # Errors
/// When the program cannot be read.
pub fn program_image(program: &Path, name: &str) -> Result<Image> {
    let content = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let file_name = program.file_name().context("a program has a name")?.to_string_lossy();
    let path = format!("bin/{file_name}");
    Ok(Image {
        name: name.to_owned(),
        entrypoint: vec![format!("/{path}")],
        root: Root::default().with_program(&path, content),
        user: (USER, USER),
        ports: Vec::new(),
        labels: BTreeMap::new(),
        time: 0,
        packing: Packing::Fast,
    })
}
