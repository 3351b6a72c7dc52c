//! No process and no folder outlives the testbed, however it ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::cluster::{Cluster, ClusterOptions};
use testbed::process::{Process, ProcessSpec};

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a process with this id exists and is more than an entry that its parent has not collected yet.
fn exists(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    state.and_then(|text| text.rsplit(')').next().map(|rest| !rest.trim_start().starts_with('Z'))).unwrap_or(false)
}

fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The ids of all processes whose command line names the folder, as those of a control plane do.
fn processes_of(folder: &Path) -> Vec<u32> {
    let name = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&name)
        })
        .collect()
}

/// `testbed up`, running, with the folder it told. Killed if a test fails half-way.
struct Up {
    child: Child,
    folder: PathBuf,
}

impl Up {
    fn start() -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_testbed"))
            .args(["up", "--nodes=1", "--pod-ready-delay=100ms", "--pod-ready-jitter=0ms"])
            .env_remove("TESTBED_KEEP")
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines();
        let mut folder = None;
        for line in lines {
            let line = line?;
            if let Some(kubeconfig) = line.strip_prefix("export KUBECONFIG='").and_then(|rest| rest.strip_suffix('\''))
            {
                folder = Path::new(kubeconfig).parent().map(Path::to_owned);
            }
            if line.contains("Ctrl-C") {
                let folder = folder.context("`testbed up` named no kubeconfig")?;
                return Ok(Self { child, folder });
            }
        }
        bail!("`testbed up` ended: {}", child.wait()?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_dropped_control_plane_leaves_no_process_and_no_folder() -> Result<()> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let pids: Vec<u32> = cluster.processes().iter().filter_map(|process| process.pid()).collect();
    let folder = cluster.dir().to_owned();
    assert_eq!(pids.len(), 5);
    assert!(pids.iter().all(|pid| exists(*pid)));
    cluster.kwok.as_ref().context("kwok plays the pods")?.freeze()?;
    drop(cluster);
    assert!(!pids.iter().any(|pid| exists(*pid)), "one of {pids:?} is left");
    assert!(!folder.exists());
    Ok(())
}

#[test]
fn a_killed_testbed_takes_everything_with_it() -> Result<()> {
    let up = Up::start()?;
    assert_eq!(processes_of(&up.folder).len(), 5);
    up.signal(Signal::SIGKILL)?;
    until("no process is left", || processes_of(&up.folder).is_empty())?;
    until("the folder is gone", || !up.folder.exists())
}

#[test]
fn an_interrupted_testbed_ends_well() -> Result<()> {
    let mut up = Up::start()?;
    up.signal(Signal::SIGINT)?;
    assert!(up.child.wait()?.success());
    assert!(!up.folder.exists());
    // The guard may still be busy with the folder it is told to remove.
    until("no process is left", || processes_of(&up.folder).is_empty())
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_its_grace() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stubborn = ProcessSpec::new("stubborn", Path::new("sh"), folder.path())
        .args(["-c", "trap '' TERM; echo started; while :; do sleep 0.05; done"])
        .grace(Duration::from_millis(300));
    let process = Process::spawn(stubborn)?;
    until("it has set its trap", || process.log_tail() == "started")?;
    let pid = process.pid().context("it runs")?;
    process.stop().await?;
    assert!(!process.is_running());
    assert!(!exists(pid));
    Ok(())
}

#[tokio::test]
async fn a_process_can_be_started_again_and_goes_on_in_the_same_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = ProcessSpec::new("speaker", Path::new("sh"), folder.path())
        .args(["-c", r#"echo "$WORD"; exec sleep 600"#])
        .env("WORD", "hello");
    let process = Process::spawn(spec)?;
    until("it has spoken", || process.log_tail() == "hello")?;
    assert!(process.start().is_err(), "it cannot be started twice");
    process.restart().await?;
    until("it has spoken again", || process.log_tail() == "hello\nhello")?;
    process.kill()?;
    assert!(process.freeze().is_err(), "nothing is left to freeze");
    assert!(process.ensure_running().is_err());
    Ok(())
}
