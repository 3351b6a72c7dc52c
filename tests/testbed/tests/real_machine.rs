//! Nothing outlives a machine with real nodes, however it ends, and the machine around it stays as it was.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::real;

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the tests can run here. Says why not, if so.
fn can_run() -> Result<bool> {
    let why = real::unsupported()?;
    if let Some(why) = &why {
        eprintln!("skipped: {why}");
    }
    Ok(why.is_none())
}

fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The ids of all processes that were started with the machine's folder as `TESTBED_MACHINE`, which is everything in it
/// but containers.
fn processes_of(machine: &Path) -> Vec<u32> {
    let wanted = format!("TESTBED_MACHINE={}", machine.display());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect()
}

/// What is to be the same afterwards: the values that a kubelet would set for the whole machine, its network links and
/// its mounts.
fn outside() -> Result<Vec<String>> {
    let sysctls =
        ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"]
            .map(|name| Ok(format!("{name} {}", std::fs::read_to_string(format!("/proc/sys/{name}"))?)));
    let links = std::fs::read_dir("/sys/class/net")?.map(|link| Ok(link?.path().display().to_string()));
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    sysctls.into_iter().chain(links).chain(mounts.lines().map(|mount| Ok(mount.to_owned()))).collect()
}

/// `testbed up --real` with a pod that runs. Killed if a test fails half-way.
struct Up {
    child: Child,
    machine: PathBuf,
    cgroups: Vec<PathBuf>,
    before: Vec<String>,
}

impl Up {
    /// Starts it in the mounts of this test, or in a copy of them.
    fn start(own_mounts: bool) -> Result<Self> {
        let before = outside()?;
        let program = env!("CARGO_BIN_EXE_testbed");
        let mut command = Command::new(if own_mounts { "unshare" } else { program });
        if own_mounts {
            command.args(["--mount", program]);
        }
        let mut child = command
            .args(["up", "--real", "--nodes=1"])
            .env_remove("TESTBED_KEEP")
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut join = None;
        for line in BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines() {
            let line = line?;
            join = join.or_else(|| line.strip_suffix(" bash").map(str::to_owned));
            if line.contains("Ctrl-C") {
                let join = join.context("`testbed up` did not say how to join")?;
                let machine = join.split("KUBECONFIG='").nth(1).and_then(|rest| rest.split('\'').next());
                let machine = machine.and_then(|path| Path::new(path).ancestors().nth(2)).context("no kubeconfig")?;
                let up = Self { cgroups: cgroups_of(child.id())?, machine: machine.to_owned(), child, before };
                up.run_a_pod(&join)?;
                return Ok(up);
            }
        }
        let mut said = String::new();
        child.stderr.take().context("standard error is a pipe")?.read_to_string(&mut said)?;
        bail!("`testbed up --real` ended: {}: {said}", child.wait()?)
    }

    fn run_a_pod(&self, join: &str) -> Result<()> {
        for command in [
            "kubectl create deployment idle --image=localhost/pause:1",
            "kubectl wait deployment/idle --for=condition=Available --timeout=60s",
        ] {
            let output = Command::new("sh").args(["-c", &format!("{join} {command}")]).output()?;
            ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(self.child.id(), signal)
    }

    /// Fails when anything is left or changed.
    fn is_gone(&self) -> Result<()> {
        until("no process is left", || processes_of(&self.machine).is_empty())?;
        until("no cgroup is left", || !self.cgroups.iter().any(|folder| folder.exists()))?;
        until("the folder is gone", || !self.machine.exists())?;
        let now = outside()?;
        ensure!(now == self.before, "the machine is {now:#?} and was {:#?}", self.before);
        Ok(())
    }

    fn wait(&mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait()?;
        let mut said = String::new();
        self.child.stderr.take().context("standard error is a pipe")?.read_to_string(&mut said)?;
        Ok((status, said))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_to(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

/// All cgroups of the machine that the process `outer` made, with those of its node and its pods.
fn cgroups_of(outer: u32) -> Result<Vec<PathBuf>> {
    let name = format!("testbed-machine-{outer}-");
    let output =
        Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &format!("*/{name}*")]).output()?;
    let found: Vec<PathBuf> = String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect();
    ensure!(found.iter().any(|folder| folder.ends_with("node-1")), "the node has a cgroup: {found:?}");
    Ok(found)
}

#[test]
fn an_interrupted_machine_leaves_nothing_behind() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut up = Up::start(false)?;
    up.signal(Signal::SIGINT)?;
    let (status, said) = up.wait()?;
    assert_eq!(status.code(), Some(130), "{said}");
    up.is_gone()
}

#[test]
fn a_program_that_is_killed_inside_takes_its_machine_with_it() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut up = Up::start(false)?;
    let inside = processes_of(&up.machine).into_iter().find(|pid| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|path| path == Path::new(env!("CARGO_BIN_EXE_testbed")))
    });
    signal_to(inside.context("the program runs inside")?, Signal::SIGKILL)?;
    let (status, said) = up.wait()?;
    assert_eq!(status.code(), Some(137), "{said}");
    up.is_gone()
}

#[test]
fn a_program_that_is_killed_outside_takes_its_machine_with_it() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let up = Up::start(false)?;
    up.signal(Signal::SIGKILL)?;
    up.is_gone()
}

#[test]
fn a_change_of_the_machine_outside_does_not_pass_unsaid() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut up = Up::start(true)?;
    let place = tempfile::tempdir()?;
    let mounted = Command::new("nsenter")
        .args(["--target", &up.child.id().to_string(), "--mount", "mount", "-t", "tmpfs", "odd"])
        .arg(place.path())
        .status()?;
    assert!(mounted.success());
    up.signal(Signal::SIGINT)?;
    let (status, said) = up.wait()?;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the mount {} (tmpfs) is new", place.path().display())), "{said}");
    up.is_gone()
}

#[test]
fn what_is_not_installed_is_told_by_the_names_of_packages() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_testbed")).args(["up", "--real"]).env("PATH", "/none").output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success());
    assert!(said.contains("apt-get install util-linux mount iproute2 nftables"), "{said}");
    Ok(())
}
