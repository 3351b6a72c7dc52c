//! The list of what is in the operator's program, for those who have to answer whether they are affected by something.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Lists every crate that is linked into `package` for `target`, as CycloneDX 1.6. What only builds it, macros included,
/// is not in it. Run it in the project's folder, with Cargo's registry at hand.
///
/// # Errors
/// When Cargo cannot tell.
pub fn contents(package: &str, target: &str, time: u64) -> Result<Value> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package",
        package,
        "--target",
        target,
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}|{l}|{r}",
    ])?;
    let checksums = checksums(&fs::read_to_string("Cargo.lock").context("read Cargo.lock")?);
    let mut components: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut version_of_package = String::new();
    for line in tree.lines() {
        let Crate { name, version, licence } = parse(line).with_context(|| format!("`cargo tree` printed {line:?}"))?;
        if name == package {
            version_of_package = version;
            continue;
        }
        let reference = format!("pkg:cargo/{name}@{version}");
        let mut component = json!({
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "purl": reference,
            "licenses": [{"expression": licence}],
        });
        let key = (name, version);
        if let Some(checksum) = checksums.get(&key) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        components.insert(key, component);
    }
    ensure!(!version_of_package.is_empty(), "`cargo tree` does not name {package}");
    let created = Timestamp::from_second(i64::try_from(time)?).context("no such time")?.to_string();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": {
                "type": "application",
                "bom-ref": package,
                "name": package,
                "version": version_of_package,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components.into_values().collect::<Vec<_>>(),
    }))
}

struct Crate {
    name: String,
    version: String,
    licence: String,
}

/// Reads `name v1.2.3 (/where/it/is)|MIT|https://...`.
fn parse(line: &str) -> Option<Crate> {
    let mut parts = line.split('|');
    let mut words = parts.next()?.split(' ');
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    // The form of before there were expressions.
    let licence = parts.next()?.replace('/', " OR ");
    Some(Crate { name, version, licence })
}

/// The checksum of every crate of the registry, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) = (field("name"), field("version"), field("checksum")) {
            checksums.insert((name, version), checksum);
        }
    }
    checksums
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).output().context("run cargo")?;
    ensure!(output.status.success(), "cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("cargo printed something else than text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_name_version_and_licence() {
        let read = parse("odd-crate v1.2.3 (/somewhere)|MIT/Apache-2.0|").expect("a crate");
        assert_eq!((read.name.as_str(), read.version.as_str()), ("odd-crate", "1.2.3"));
        assert_eq!(read.licence, "MIT OR Apache-2.0");
    }

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"c0ffee\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let read = checksums(lock);
        assert_eq!(read.len(), 1);
        assert_eq!(read[&("a".to_owned(), "1.0.0".to_owned())], "c0ffee");
    }
}
