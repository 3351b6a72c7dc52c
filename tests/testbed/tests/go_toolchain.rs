//! A machine without the right Go is told what to install.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

/// What `testbed build` says with an empty cache and only the programs in `path`.
fn build_error(path: &Path) -> Result<String> {
    let cache = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .arg("build")
        .env("PATH", path)
        .env("TESTBED_CACHE", cache.path())
        .output()?;
    assert!(!output.status.success());
    Ok(String::from_utf8(output.stderr)?)
}

#[test]
fn a_missing_go_is_said_with_what_to_install() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let error = build_error(empty.path())?;
    assert!(error.contains("there is no `go` command"), "{error}");
    assert!(error.contains("install Go 1.26 or newer"), "{error}");
    Ok(())
}

#[test]
fn a_go_that_is_too_old_is_said_with_what_to_install() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    fs::write(&go, "#!/bin/sh\necho go1.21.3\n")?;
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755))?;
    let error = build_error(folder.path())?;
    assert!(error.contains("the `go` command is go1.21.3, which is too old"), "{error}");
    assert!(error.contains("install Go 1.26 or newer"), "{error}");
    Ok(())
}
