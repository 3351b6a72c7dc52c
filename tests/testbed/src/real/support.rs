//! Whether this machine can have real nodes, and if not, why.

use std::env;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::cgroups::{Hierarchy, hierarchies};
use super::tools::SET;

/// Programs that nodes need of the machine, and Debian's packages that have them.
const PROGRAMS: [(&str, &str); 6] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
];

/// Programs that building runc needs.
const BUILD_PROGRAMS: [(&str, &str); 2] = [("gcc", "gcc"), ("pkg-config", "pkg-config")];

/// The cgroup hierarchies to use, or one sentence that says what this machine lacks.
pub(super) fn check() -> Result<Result<Vec<Hierarchy>, String>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Err("real nodes need root".to_owned()));
    }
    let missing = missing_packages()?;
    if !missing.is_empty() {
        return Ok(Err(install(&missing)));
    }
    Ok(hierarchies())
}

/// What to do about missing packages.
pub(super) fn install(missing: &[&str]) -> String {
    format!("real nodes need what is not installed: apt-get install {}", missing.join(" "))
}

fn missing_packages() -> Result<Vec<&'static str>> {
    let mut missing = packages_without(&PROGRAMS);
    missing.extend(missing_to_build()?);
    missing.dedup();
    Ok(missing)
}

/// Debian's packages that are missing to build runc, if it is to be built.
pub(super) fn missing_to_build() -> Result<Vec<&'static str>> {
    if SET.is_built("runc")? {
        return Ok(Vec::new());
    }
    let mut missing = packages_without(&BUILD_PROGRAMS);
    if !has_seccomp() {
        missing.push("libseccomp-dev");
    }
    Ok(missing)
}

fn packages_without(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs.iter().filter(|(program, _)| !is_on_path(program)).map(|&(_, package)| package).collect()
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn has_seccomp() -> bool {
    let asked = Command::new("pkg-config").args(["--exists", "libseccomp"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// What a trial of the machine said when it failed: the last line, which is that of the command that failed.
pub(super) fn refusal(output: &str) -> String {
    let reason = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason was given");
    format!("this machine refuses what real nodes need: {}", reason.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_with_what_the_command_said_last() {
        let said = refusal("first\nunshare: unshare failed: Operation not permitted\n\n");
        assert!(said.ends_with("unshare: unshare failed: Operation not permitted"), "{said}");
    }
}
