//! Cgroups of the first version: a folder of one's own in each hierarchy, and its removal.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a kubelet needs.
const CONTROLLERS: [&str; 8] = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"];
/// How long processes that were killed may take to be gone, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// One tree of cgroups, with one controller or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Names with commas between them, as the option of a mount has them: `cpu,cpuacct`.
    pub(super) controllers: String,
    /// This process's own cgroup in it.
    pub(super) folder: PathBuf,
}

/// The hierarchies of all the controllers that a kubelet needs, or what is missing of them.
pub(super) fn hierarchies() -> Result<Vec<Hierarchy>, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    find(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

fn find(memberships: &str, mounts: &str) -> Result<Vec<Hierarchy>, String> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for controller in CONTROLLERS {
        let has = |list: &str| list.split(',').any(|name| name == controller);
        if found.iter().any(|hierarchy| has(&hierarchy.controllers)) {
            continue;
        }
        let membership = memberships.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            has(controllers).then_some((controllers, path))
        });
        let mount = mounts.lines().filter_map(mount_point).find(|(_, _, options)| has(options));
        let (Some((controllers, path)), Some((root, point, _))) = (membership, mount) else {
            return Err(format!(
                "no cgroup hierarchy of the first version with the controller `{controller}` is mounted here, and the \
                 nodes were never tried with the second version"
            ));
        };
        // Of a part of the tree that is mounted, as in a container, the path begins with where that part hangs.
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path).trim_start_matches('/');
        found.push(Hierarchy { controllers: controllers.to_owned(), folder: Path::new(point).join(below) });
    }
    Ok(found)
}

/// Root, mount point and options of the file system, when it is of cgroups of the first version.
fn mount_point(line: &str) -> Option<(&str, &str, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    (filesystem.next()? == "cgroup").then_some((root, point, filesystem.nth(1)?))
}

/// Creates the cgroup `name` below this process's own in each hierarchy, ready to take processes.
///
/// # Errors
/// When one cannot be created, such as without the right to.
pub(super) fn create(hierarchies: &[Hierarchy], name: &str) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for hierarchy in hierarchies {
        let folder = hierarchy.folder.join(name);
        if !folder.is_dir() {
            fs::create_dir(&folder).with_context(|| format!("create the cgroup {}", folder.display()))?;
        }
        // A new cgroup has no processors and no memory, and takes no process.
        for file in ["cpuset.cpus", "cpuset.mems"].map(|file| (hierarchy.folder.join(file), folder.join(file))) {
            if file.1.exists() {
                let value = fs::read_to_string(&file.0)?;
                fs::write(&file.1, value.trim()).with_context(|| format!("write {}", file.1.display()))?;
            }
        }
        folders.push(folder);
    }
    Ok(folders)
}

/// Removes the cgroups and all below them, as soon as no process is left in them.
///
/// # Errors
/// When one cannot be removed, which means that a process is left in it.
pub(super) fn remove(folders: &[PathBuf]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for folder in folders {
        while let Err(error) = remove_tree(folder) {
            if Instant::now() >= deadline {
                bail!("the cgroup {} cannot be removed: {error}", folder.display());
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for child in children(folder)? {
        remove_tree(&child)?;
    }
    fs::remove_dir(folder)
}

/// The cgroups directly below one.
pub(super) fn children(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERSHIPS: &str = "\
7:memory:/odd/place
6:cpu,cpuacct:/odd
5:cpuset:/
4:blkio:/
3:devices:/odd
2:freezer:/
1:pids:/odd
0::/
";

    fn mounts() -> String {
        let mount = |point: &str, options: &str| {
            format!("30 25 0:26 / /sys/fs/cgroup/{point} rw,relatime shared:4 - cgroup cgroup rw,{options}\n")
        };
        let plain: String =
            ["cpuset", "blkio", "devices", "freezer", "pids", "memory"].map(|name| mount(name, name)).concat();
        format!("{plain}{}", mount("both", "cpu,cpuacct"))
    }

    #[test]
    fn a_cgroup_is_found_at_its_hierarchys_mount_point() {
        let found = find(MEMBERSHIPS, &mounts()).expect("all are there");
        let folder = |list: &str| {
            let hierarchy = found.iter().find(|hierarchy| hierarchy.controllers == list);
            hierarchy.map(|hierarchy| hierarchy.folder.display().to_string())
        };
        assert_eq!(folder("memory").as_deref(), Some("/sys/fs/cgroup/memory/odd/place"));
        assert_eq!(folder("cpu,cpuacct").as_deref(), Some("/sys/fs/cgroup/both/odd"));
        assert_eq!(found.len(), 7, "two controllers share one: {found:?}");
    }

    #[test]
    fn where_a_part_of_the_tree_is_mounted_the_path_is_within_it() {
        let mounts = mounts().replace("0:26 / /sys/fs/cgroup/memory", "0:26 /odd /sys/fs/cgroup/memory");
        let found = find(MEMBERSHIPS, &mounts).expect("all are there");
        assert!(
            found.iter().any(|hierarchy| hierarchy.folder == Path::new("/sys/fs/cgroup/memory/place")),
            "{found:?}"
        );
    }

    #[test]
    fn a_missing_controller_is_named() {
        let error = find(&MEMBERSHIPS.replace("pids", "misc"), &mounts()).expect_err("no pids");
        assert!(error.contains("`pids`"), "{error}");
        let unified = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(find("0::/user.slice\n", unified).is_err());
    }
}
