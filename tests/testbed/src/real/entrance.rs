//! Starts the program again in namespaces of its own, and afterwards checks that nothing is left of them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::cgroups::{self, Hierarchy};
use super::outside::{CGROUP_PREFIX, Outside};
use super::{ADDRESS, DOMAIN, SERVICES, support};
use crate::cluster::is_kept;
use crate::guard;

const JOIN: &str = include_str!("join.sh");
const MACHINE: &str = concat!(include_str!("mounts.sh"), include_str!("machine.sh"));
const PROBE: &str = concat!(include_str!("mounts.sh"), include_str!("probe.sh"));
/// Private in everything that pods, nodes and their rules could change outside. The first process in there ends when
/// `unshare` does, and everything in there with it.
const UNSHARE: [&str; 11] = [
    "unshare",
    "--mount",
    "--net",
    "--cgroup",
    "--pid",
    "--uts",
    "--ipc",
    "--fork",
    "--kill-child",
    "--propagation=private",
    "--mount-proc",
];
/// Set for the program inside to the machine's folder.
const INSIDE: &str = "TESTBED_MACHINE";
/// The id outside of the process whose namespaces are the machine's.
const OUTER_PID: &str = "TESTBED_MACHINE_PID";
const POLL: Duration = Duration::from_millis(20);
/// How many machines this process has started, for names of their own.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Where the program finds itself after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// In the machine: [`super::RealCluster`] can be started.
    Inside,
    /// Where it was, since this machine cannot have real nodes. One sentence says why.
    Unsupported(String),
}

/// Whether this process is inside the machine already.
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs this program again, with its arguments, in a machine of its own. It is to be the first call of a program, before
/// any thread is started.
///
/// Inside, and where there cannot be a machine, it returns. Otherwise it first builds all [`super::tools`] and those
/// of the control plane, runs the program inside, removes whatever is left of the machine, and ends this process with
/// the program's exit code: it does not return. SIGINT and SIGTERM end the program inside, too. In there the environment's
/// `TMPDIR` is a folder that is removed at the end, unless `TESTBED_KEEP` is set.
///
/// # Errors
/// When the tools cannot be built, the machine cannot be made or removed, or the machine outside is not as it was: the
/// error names each difference.
pub fn enter() -> Result<Entered> {
    if is_inside() {
        return Ok(Entered::Inside);
    }
    let hierarchies = match usable()? {
        Ok(hierarchies) => hierarchies,
        Err(why) => return Ok(Entered::Unsupported(why)),
    };
    crate::tools::tools()?;
    super::tools()?;
    let program = env::current_exe().context("find this program")?.into_os_string();
    let command: Vec<OsString> = [program].into_iter().chain(env::args_os().skip(1)).collect();
    let before = Outside::look(&hierarchies)?;
    let code = Machine::start(&hierarchies, &command, is_kept(), Stdio::inherit(), Stdio::inherit())?.run()?;
    let differences = before.differences(&Outside::look(&hierarchies)?);
    if !differences.is_empty() {
        bail!("the machine is not as it was before: {}", differences.join("; "));
    }
    std::process::exit(code)
}

/// The command by which a shell outside, as root, gets into the machine; a command to run may follow it.
///
/// # Errors
/// When this process is not inside.
pub fn how_to_join() -> Result<String> {
    let pid = env::var(OUTER_PID).context("this process is not in the machine")?;
    Ok(format!("nsenter --target {pid} --mount --net --cgroup --uts --ipc --pid=/proc/{pid}/ns/pid_for_children"))
}

/// Why this machine cannot have real nodes, in one sentence, or nothing when it can.
///
/// # Errors
/// When that cannot be found out.
pub fn unsupported() -> Result<Option<String>> {
    Ok(usable()?.err())
}

/// The cgroup hierarchies to use, or why there cannot be a machine: something is missing, or a machine that does what a
/// node will do failed.
fn usable() -> Result<Result<Vec<Hierarchy>, String>> {
    let hierarchies = match support::check()? {
        Ok(hierarchies) => hierarchies,
        Err(why) => return Ok(Err(why)),
    };
    let log = tempfile::NamedTempFile::new().context("create a temporary file")?;
    let command = ["sh", "-euc", PROBE, "probe"].map(OsString::from);
    let machine = match Machine::start(&hierarchies, &command, false, Stdio::null(), log.reopen()?.into()) {
        Ok(machine) => machine,
        Err(error) => return Ok(Err(support::refusal(&format!("{error:#}")))),
    };
    if machine.run()? != 0 {
        return Ok(Err(support::refusal(&fs::read_to_string(log.path()).unwrap_or_default())));
    }
    Ok(Ok(hierarchies))
}

/// Namespaces, cgroups and a folder for one run of a program.
struct Machine {
    child: Child,
    cgroups: Vec<PathBuf>,
    folder: tempfile::TempDir,
    /// Whether the folder stays.
    keep: bool,
}

impl Machine {
    fn start(
        hierarchies: &[Hierarchy],
        command: &[OsString],
        keep: bool,
        output: Stdio,
        errors: Stdio,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("testbed-machine-")
            .disable_cleanup(keep)
            .tempdir()
            .context("create a temporary folder")?;
        if !keep {
            guard::remove_at_exit(folder.path())?;
        }
        fs::write(folder.path().join("resolv.conf"), resolver())?;

        let name = format!("{CGROUP_PREFIX}{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        for hierarchy in hierarchies {
            guard::remove_cgroup_at_exit(&hierarchy.folder.join(&name))?;
        }
        let cgroups = cgroups::create(hierarchies, &name)?;
        let arguments = arguments(folder.path(), &cgroups, hierarchies, command);
        let child = guard::spawn(Path::new("sh"), arguments, |inner| {
            inner.env(INSIDE, folder.path()).env("TMPDIR", folder.path()).stdout(output).stderr(errors);
        })
        .context("start the machine")?;
        Ok(Self { child, cgroups, folder, keep })
    }

    /// Waits until the program ends, or ends it on a signal, and removes the machine. Returns the exit code for this
    /// process.
    fn run(mut self) -> Result<i32> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let code = runtime.block_on(wait(&mut self.child));
        self.end()?;
        let Self { cgroups, folder, keep, .. } = self;
        cgroups::remove(&cgroups).context("a process is left of the machine")?;
        if !keep {
            folder.close().context("remove the machine's folder")?;
        }
        code
    }

    fn end(&mut self) -> Result<()> {
        let group = Pid::from_raw(i32::try_from(self.child.id())?);
        match killpg(group, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("end the machine"),
        }
        self.child.wait().context("wait for the machine")?;
        guard::forget(self.child.id());
        Ok(())
    }
}

async fn wait(child: &mut Child) -> Result<i32> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(exit_code(status));
        }
        // As a shell says that a signal ended a program.
        tokio::select! {
            _ = interrupt.recv() => return Ok(130),
            _ = terminate.recv() => return Ok(143),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn arguments(folder: &Path, cgroups: &[PathBuf], hierarchies: &[Hierarchy], command: &[OsString]) -> Vec<OsString> {
    let lists: Vec<&str> = hierarchies.iter().map(|hierarchy| hierarchy.controllers.as_str()).collect();
    let mut arguments: Vec<OsString> = ["-c", JOIN, "join"].map(OsString::from).into();
    arguments.extend(cgroups.iter().map(OsString::from));
    arguments.push("--".into());
    arguments.extend(UNSHARE.map(OsString::from));
    arguments.extend(["sh", "-c", MACHINE, "machine"].map(OsString::from));
    arguments.push(folder.into());
    arguments.extend([lists.join(" "), ADDRESS.to_owned(), SERVICES.to_owned()].map(OsString::from));
    arguments.extend(command.iter().cloned());
    arguments
}

/// How the program inside looks names up: in the cluster's DNS.
fn resolver() -> String {
    format!("nameserver {ADDRESS}\nsearch svc.{DOMAIN} {DOMAIN}\n")
}
