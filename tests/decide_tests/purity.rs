//! Deciding is a function of values: whoever reads it need not think of networks or clocks.

use std::fs;
use std::path::{Path, PathBuf};

/// What the code of deciding may name, by the first part of the path.
const ROOTS: [&str; 6] = ["std", "super", "self", "crate", "jiff", "thiserror"];

/// Which modules of ours it may name.
const OURS: [&str; 4] = ["decide", "measure::look", "policy", "watch::rollout"];

/// What it must not name even so.
const IMPURE: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::sync",
    "std::thread",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "static mut",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    found.sort();
    found
}

/// The code without comments and without tests, which stand last in a file or in a file of their own.
fn code(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
    if name == "tests.rs" || name == "samples.rs" || name.ends_with("_tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(path).expect("readable");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path in `code` that begins at a crate: what follows `use`, and whatever stands in the middle of the code.
fn paths(code: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("::")
        .filter_map(|(at, _)| {
            let before = &code[..at];
            let begins = before.rfind(|c| !is_name(c)).map_or(0, |last| last + 1);
            // Neither the middle of a path nor a method with its type.
            let whole = !before[..begins].ends_with("::") && !before[..begins].ends_with('.');
            let root = &before[begins..];
            // Types and enums are no crates.
            (whole && root.starts_with(|c: char| c.is_lowercase())).then(|| {
                let rest = &code[begins..];
                &rest[..rest.find(|c| !is_name(c) && c != ':').unwrap_or(rest.len())]
            })
        })
        .collect()
}

#[test]
fn deciding_names_no_cluster_network_or_clock() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide");
    let files = sources(&folder);
    assert!(files.len() > 10, "{files:?}");
    for file in &files {
        let code = code(file);
        let modules: Vec<String> =
            files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
        for path in paths(&code) {
            let root = path.split("::").next().unwrap_or_default();
            let known = ROOTS.contains(&root)
                || modules.iter().any(|module| module == root)
                // Associated functions of primitive types.
                || ["f64", "u64", "u32", "usize", "i64", "str", "char"].contains(&root);
            assert!(known, "{} names {path}", file.display());
            if let Some(ours) = path.strip_prefix("crate::") {
                assert!(OURS.iter().any(|module| ours.starts_with(module)), "{} names {path}", file.display());
            }
        }
        for word in IMPURE {
            assert!(!code.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn the_check_sees_what_it_must() {
    assert_eq!(
        paths("use kube::Client;\nlet now = jiff::Timestamp::now(); Verdict::Halt; f64::MAX"),
        ["kube::Client", "jiff::Timestamp::now", "f64::MAX"]
    );
}
