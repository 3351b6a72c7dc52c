//! The machine outside, before and after: what a node would change if it were let.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cgroups::{Hierarchy, children};

/// Values that are counters or change by themselves, by the end of their path.
const COUNTERS: [&str; 12] = [
    "fs/aio-nr",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "kernel/ns_last_pid",
    "kernel/perf_event_max_sample_rate",
    "kernel/pty/nr",
    "kernel/random/entropy_avail",
    "kernel/random/uuid",
    "net/netfilter/nf_conntrack_count",
    "vm/stat_refresh",
];

/// Folders that a node makes where it finds none.
const FOLDERS: [&str; 12] = [
    "/etc/cni",
    "/etc/containerd",
    "/opt/cni",
    "/opt/containerd",
    "/run/containerd",
    "/run/netns",
    "/run/xtables.lock",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/pods",
];

/// How the cgroups of all machines of this kind are called, so that one does not look at another's.
pub(super) const CGROUP_PREFIX: &str = "testbed-machine-";

/// What of a machine is to be the same before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outside {
    sysctls: BTreeMap<String, String>,
    cgroups: BTreeSet<String>,
    links: BTreeSet<String>,
    routes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Outside {
    /// Looks at the machine.
    pub(super) fn look(hierarchies: &[Hierarchy]) -> Result<Self> {
        let mut outside = Self {
            links: names(Path::new("/sys/class/net"))?,
            routes: routes(&read("/proc/net/route")?),
            mounts: mounts(&read("/proc/self/mountinfo")?),
            folders: FOLDERS
                .iter()
                .filter(|folder| Path::new(folder).exists())
                .map(|&folder| folder.to_owned())
                .collect(),
            ..Self::default()
        };
        for tree in ["fs", "kernel", "net", "vm"] {
            read_sysctls(&Path::new("/proc/sys").join(tree), &mut outside.sysctls);
        }
        for hierarchy in hierarchies {
            list_cgroups(&hierarchy.folder, &mut outside.cgroups);
        }
        Ok(outside)
    }

    /// What is different later, each in words. What is gone that was there counts only where somebody might miss it.
    pub(super) fn differences(&self, later: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in &self.sysctls {
            if let Some(now) = later.sysctls.get(name).filter(|now| *now != value) {
                found.push(format!("{name} was {value:?} and is {now:?}"));
            }
        }
        for (what, before, after) in [
            ("network link", &self.links, &later.links),
            ("route", &self.routes, &later.routes),
            ("mount", &self.mounts, &later.mounts),
            ("folder", &self.folders, &later.folders),
        ] {
            found.extend(after.difference(before).map(|name| format!("the {what} {name} is new")));
            found.extend(before.difference(after).map(|name| format!("the {what} {name} is gone")));
        }
        found.extend(later.cgroups.difference(&self.cgroups).map(|name| format!("the cgroup {name} is new")));
        found
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Link, target, gateway and mask of each route: what stands between them counts packets.
fn routes(table: &str) -> BTreeSet<String> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        [0, 1, 2, 7].map(|column| columns.get(column).copied().unwrap_or_default()).join(" ")
    };
    table.lines().skip(1).map(route).collect()
}

/// Where something is mounted, and what kind of file system.
fn mounts(table: &str) -> BTreeSet<String> {
    let mount = |line: &str| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        format!("{point} ({kind})")
    };
    table.lines().map(mount).collect()
}

/// What cannot be read, as some values of the kernel cannot even by root, is left out, and so are counters.
fn read_sysctls(path: &Path, into: &mut BTreeMap<String, String>) {
    if path.ends_with("fs/quota") {
        return;
    }
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| read_sysctls(&entry.path(), into));
    } else if !COUNTERS.iter().any(|counter| path.ends_with(counter))
        && let Ok(value) = fs::read_to_string(path)
    {
        into.insert(path.display().to_string(), value.trim().to_owned());
    }
}

fn list_cgroups(folder: &Path, into: &mut BTreeSet<String>) {
    // One that is gone by now was somebody else's.
    for child in children(folder).unwrap_or_default() {
        if child.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(CGROUP_PREFIX)) {
            into.insert(child.display().to_string());
            list_cgroups(&child, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn outside() -> Outside {
        Outside {
            sysctls: BTreeMap::from([("/proc/sys/vm/overcommit_memory".to_owned(), "0".to_owned())]),
            cgroups: set(&["/sys/fs/cgroup/memory/odd"]),
            links: set(&["lo", "eth7"]),
            routes: set(&["eth7 00000000 0101A8C0 00000000"]),
            mounts: set(&["/ (ext4)"]),
            folders: set(&[]),
        }
    }

    #[test]
    fn a_machine_that_is_as_it_was_has_no_differences() {
        let mut later = outside();
        later.sysctls.insert("/proc/sys/net/new_module".to_owned(), "1".to_owned());
        later.cgroups.clear();
        assert!(outside().differences(&later).is_empty(), "a module was loaded, and somebody else left");
    }

    #[test]
    fn whatever_a_node_leaves_behind_is_told() {
        let mut later = outside();
        later.sysctls.insert("/proc/sys/vm/overcommit_memory".to_owned(), "1".to_owned());
        later.cgroups.insert("/sys/fs/cgroup/memory/kubepods".to_owned());
        later.links.insert("cni0".to_owned());
        later.routes.clear();
        later.mounts.insert("/run/netns (tmpfs)".to_owned());
        later.folders.insert("/var/lib/kubelet".to_owned());
        let told = outside().differences(&later);
        for part in [
            "overcommit_memory was \"0\" and is \"1\"",
            "kubepods",
            "link cni0",
            "is gone",
            "/run/netns",
            "/var/lib/kubelet",
        ] {
            assert!(told.iter().any(|line| line.contains(part)), "{part} in {told:?}");
        }
        assert_eq!(told.len(), 6, "{told:?}");
    }

    #[test]
    fn a_route_is_the_same_when_only_its_counters_differ() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
        let first = routes(&format!("{head}eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n"));
        assert_eq!(first, routes(&format!("{head}eth0\t00000000\t0101A8C0\t0003\t4\t9\t0\t00000000\n")));
        assert_eq!(first.len(), 1);
    }
}
