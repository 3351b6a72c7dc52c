//! Child processes with a log of their own that can be stopped, frozen and restarted, and never outlive us.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::guard;

/// How often a process that is expected to end is looked at.
const EXIT_POLL: Duration = Duration::from_millis(5);
/// How much of a log is shown when a process does not do what it should.
const LOG_TAIL_LINES: usize = 30;

/// The operator's program to try: that which `OPERATOR_PROGRAM` names, such as the one of an image, or else the one that was
/// built with the test or the bench.
pub fn operator_program(built: &str) -> PathBuf {
    std::env::var_os("OPERATOR_PROGRAM").unwrap_or_else(|| built.into()).into()
}

/// What to run and how to end it.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
    grace: Duration,
    kill_on_drop: bool,
}

impl ProcessSpec {
    /// A process called `name` whose output is appended to `<folder>/<name>.log`.
    pub fn new(name: &str, program: &Path, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            log: folder.join(format!("{name}.log")),
            grace: Duration::from_secs(10),
            kill_on_drop: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets one environment variable; the rest of the environment is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// How long the process may take to end after SIGTERM before it is killed, by [`Process::stop`] and when the
    /// handle is dropped. Ten seconds unless set.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Has a drop of the handle kill the process at once, for processes that leave nothing worth tidying up.
    #[must_use]
    pub fn kill_on_drop(mut self) -> Self {
        self.kill_on_drop = true;
        self
    }

    fn spawn(&self) -> Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let errors = log.try_clone()?;
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        guard::spawn(&self.program, &self.arguments, |command| {
            command.envs(environment).stdout(log).stderr(errors);
        })
        .with_context(|| format!("start {}", self.name))
    }
}

/// A running (or stopped) child process. Dropping the handle ends the process.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Running(Child),
    Ended(ExitStatus),
}

impl Process {
    /// Starts the process. That it stays up is for the caller to check, with [`Process::ensure_running`].
    pub fn spawn(spec: ProcessSpec) -> Result<Self> {
        let child = spec.spawn()?;
        Ok(Self { spec, state: Mutex::new(State::Running(child)) })
    }

    /// Starts the process again after it ended, with the same arguments and the same log.
    ///
    /// # Errors
    /// When it is still running or the log cannot be written.
    pub fn start(&self) -> Result<()> {
        let mut state = self.state();
        if matches!(*state, State::Running(_)) {
            bail!("{} is already running", self.spec.name);
        }
        *state = State::Running(self.spec.spawn()?);
        Ok(())
    }

    /// The name given in the specification.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The file that holds the process's output.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The process's id while it runs.
    pub fn pid(&self) -> Option<u32> {
        match &*self.state() {
            State::Running(child) => Some(child.id()),
            State::Ended(_) => None,
        }
    }

    /// How the process ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match &*self.state() {
            State::Running(_) => None,
            State::Ended(status) => Some(*status),
        }
    }

    /// Whether the process runs (or is frozen).
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Fails with the exit status and the end of the log when the process has ended.
    pub fn ensure_running(&self) -> Result<()> {
        let Some(status) = self.exit_status() else { return Ok(()) };
        bail!("{} is not running ({status}); the end of {}:\n{}", self.name(), self.log().display(), self.log_tail())
    }

    /// The last lines the process wrote, or a note that there are none.
    pub fn log_tail(&self) -> String {
        let text =
            fs::read(&self.spec.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return "(nothing was logged)".to_owned();
        }
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Ends the process with SIGTERM, or with SIGKILL if it does not end within its grace. Does nothing when it
    /// is not running. A frozen process is thawed to let it end.
    pub async fn stop(&self) -> Result<()> {
        self.terminate()?;
        if self.wait(self.spec.grace).await.is_err() {
            self.kill()?;
        }
        Ok(())
    }

    /// Ends the process at once with SIGKILL, as a crash or a lost machine would, and its children with it. Does
    /// nothing when it is not running.
    pub fn kill(&self) -> Result<()> {
        let mut state = self.state();
        let State::Running(child) = &mut *state else { return Ok(()) };
        // It has not been waited for, so its id cannot belong to anybody else.
        match killpg(raw(child.id()), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("kill {}", self.spec.name)),
        }
        let status = child.wait().with_context(|| format!("wait for {}", self.spec.name))?;
        guard::forget(child.id());
        *state = State::Ended(status);
        Ok(())
    }

    /// Stops the process from doing anything, with SIGSTOP: its connections stay open and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// [`Process::stop`], then [`Process::start`].
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start()
    }

    /// Asks the process to end with SIGTERM and does not wait. Does nothing when it is not running.
    pub fn terminate(&self) -> Result<()> {
        // A frozen process has to go on to notice.
        self.send(&[Signal::SIGTERM, Signal::SIGCONT]).map(drop)
    }

    /// Waits until the process has ended, and tells how.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {timeout:?}", self.spec.name);
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if !self.send(&[signal])? {
            bail!("{} is not running", self.spec.name);
        }
        Ok(())
    }

    /// Sends the signals and returns whether there was a process to send them to.
    fn send(&self, signals: &[Signal]) -> Result<bool> {
        let state = self.state();
        let State::Running(child) = &*state else { return Ok(false) };
        for signal in signals {
            // Not waited for, so the id is still its own, even if it has just ended.
            kill(raw(child.id()), *signal).with_context(|| format!("send {signal} to {}", self.spec.name))?;
        }
        Ok(true)
    }

    /// The state as it is now: a process that has ended is waited for first.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(child) = &mut *state {
            // Waiting fails only for what is no child of ours.
            if let Ok(Some(status)) = child.try_wait() {
                guard::forget(child.id());
                *state = State::Ended(status);
            }
        }
        state
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.spec.kill_on_drop && self.terminate().is_ok() {
            let deadline = Instant::now() + self.spec.grace;
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(EXIT_POLL);
            }
        }
        if let Err(error) = self.kill() {
            tracing::warn!(process = self.spec.name, %error, "could not end a process");
        }
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("process ids fit in 31 bits"))
}
