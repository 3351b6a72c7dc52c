//! Makes sure that nothing outlives the process that started it, however that process ends.
//!
//! Destructors do not run when a process is killed. So a small shell script, the guard, holds the reading end of
//! a pipe whose writing end only this process has. It is told about every child and every temporary folder; when
//! the pipe closes, because this process ended in whatever way, it kills what is left and removes the folders.
//! One guard serves the whole process. It is a script because a fresh machine has a shell, and because it must
//! not be part of the process it outlives.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads `+ GROUP`, `- GROUP`, `folder PATH` and `cgroup PATH` lines; at the end of input kills the process groups that
/// were added and not taken away, and removes the folders, of cgroups those below them too. It ignores the signals a terminal sends, since those are
/// what ends the process it guards. Killed processes may still be writing for a moment, so the removal is
/// tried again.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
groups=
folders=
cgroups=
while IFS= read -r line; do
    case $line in
    "+ "*) groups="$groups ${line#+ }" ;;
    "- "*)
        left=
        for group in $groups; do
            [ "$group" = "${line#- }" ] || left="$left $group"
        done
        groups=$left
        ;;
    "folder "*)
        folders="$folders${line#folder }
"
        ;;
    "cgroup "*)
        cgroups="$cgroups${line#cgroup }
"
        ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
printf %s "$folders" | while IFS= read -r folder; do
    for _ in 1 2 3 4 5; do
        rm -rf -- "$folder" && break
        sleep 0.2
    done
done
printf %s "$cgroups" | while IFS= read -r folder; do
    tries=50
    while [ -d "$folder" ] && [ $tries -gt 0 ]; do
        find "$folder" -depth -type d -exec rmdir {} + && break
        tries=$((tries - 1))
        sleep 0.2
    done
done
"#;

/// Waits for a line on its standard input before it becomes the given program. The parent sends that line once
/// the guard knows the child, so there is no moment in which a child could be left behind: a parent that dies
/// earlier closes the pipe, and the program never starts.
const GATE: &str = r#"read -r _ && exec "$@" </dev/null"#;

static GUARD: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Starts `program` with `arguments` as the leader of a new process group which the guard ends when this process
/// ends. `prepare` sets environment and output.
///
/// The caller passes the child's id to [`forget`] after waiting for it, so that the guard never kills a
/// stranger that was given the same id.
pub(crate) fn spawn<I, S>(program: &Path, arguments: I, prepare: impl FnOnce(&mut Command)) -> io::Result<Child>
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new("sh");
    command.args(["-c", GATE, "gate"]).arg(program).args(arguments);
    prepare(&mut command);
    let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
    if let Err(error) = tell(&format!("+ {}", child.id())) {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    if let Some(mut gate) = child.stdin.take() {
        // A failure means that the child has ended already; whoever waits for it will see that.
        let _ = gate.write_all(b"go\n");
    }
    Ok(child)
}

/// Tells the guard that the child with this id has been waited for.
pub(crate) fn forget(id: u32) {
    // A guard that is gone has nothing left to kill, so there is nothing to report.
    let _ = tell(&format!("- {id}"));
}

/// Has the guard remove `folder` when this process ends. A folder that is gone by then is no error.
pub(crate) fn remove_at_exit(folder: &Path) -> io::Result<()> {
    tell(&format!("folder {}", folder.display()))
}

/// Has the guard remove the cgroup `folder` and all below it when this process ends.
pub(crate) fn remove_cgroup_at_exit(folder: &Path) -> io::Result<()> {
    tell(&format!("cgroup {}", folder.display()))
}

fn tell(line: &str) -> io::Result<()> {
    let guard = match GUARD.get() {
        Some(guard) => guard,
        None => {
            let started = start()?;
            // When two threads start one at the same time, the pipe of the second closes here and its script ends.
            GUARD.get_or_init(|| started)
        }
    };
    let mut input = guard.lock().unwrap_or_else(PoisonError::into_inner);
    input.write_all(format!("{line}\n").as_bytes())
}

fn start() -> io::Result<Mutex<ChildStdin>> {
    let mut guard = Command::new("sh")
        .args(["-c", SCRIPT, "testbed-guard"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    match guard.stdin.take() {
        Some(input) => Ok(Mutex::new(input)),
        None => Err(io::Error::other("the guard has no standard input")),
    }
}
