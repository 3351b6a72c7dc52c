//! What people do: look at rollouts, have one explained, approve, override, roll back, release, wait for the end of one.
//!
//! These commands talk to the API server alone, with the rights of whoever runs them. They read what the operator wrote
//! into the policies' status and ask by annotations; only `release` changes a Deployment itself, because it must work
//! when there is no operator. What is printed is made by pure functions of what was read.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`access`], [`problem`] | the cluster, each request under a timeout; what went wrong, as a person reads it |
//! | [`target`], [`governed`] | which Deployment is meant, and the policy that governs it |
//! | [`status`], [`explain`], [`advice`] | what is true, why, and what one can do about it |
//! | [`ask`], [`answer`] | approve, override, rollback; what the operator answers |
//! | [`release`] | takes every hold of ours away, without the operator |
//! | [`wait`] | follows a rollout to its end |

mod access;
mod advice;
mod answer;
mod ask;
mod explain;
mod governed;
mod problem;
mod release;
#[cfg(test)]
mod samples;
mod status;
mod target;
mod wait;
mod words;

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

pub use access::Access;
pub use ask::{ApproveArgs, OverrideArgs, RollbackArgs};
pub use explain::ExplainArgs;
pub use problem::Problem;
pub use release::ReleaseArgs;
pub use status::{OutputFormat, StatusArgs};
pub use target::Target;
pub use wait::WaitArgs;

/// The name under which the binary is a plugin of kubectl: `kubectl errorbudget` runs it.
const PLUGIN: &str = "kubectl-errorbudget";

/// The name that the binary was started by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Its own.
    Gatekeeper,
    /// That of a plugin of kubectl.
    Plugin,
}

impl Program {
    /// Reads it off the first argument. Any name but the plugin's is the binary's own.
    #[must_use]
    pub fn of(first_argument: Option<&OsStr>) -> Self {
        let name = first_argument.map(Path::new).and_then(Path::file_stem);
        if name == Some(OsStr::new(PLUGIN)) { Self::Plugin } else { Self::Gatekeeper }
    }

    /// What one types before a subcommand.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gatekeeper => "error-budget-gatekeeper",
            Self::Plugin => "kubectl errorbudget",
        }
    }
}

/// What people can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List rollouts: phase, burn rate, budget, gate, and what is needed next
    Status(StatusArgs),
    /// Tell where a rollout is, why, with the numbers, and what you can do now
    Explain(ExplainArgs),
    /// Let a rollout that waits for it, is halted or was rejected take its next step
    Approve(ApproveArgs),
    /// Let the template that is being rolled out pass a closed gate
    Override(OverrideArgs),
    /// Have the operator roll a release back; asking twice changes nothing
    Rollback(RollbackArgs),
    /// Take the operator's holds away and restore the owner's settings, also when the operator is down
    Release(ReleaseArgs),
    /// Follow a rollout to its end: exit 0 promoted, 3 rolled back, 4 halted or rejected, 5 timed out
    ///
    /// It has ended when the Deployment's newest template is the stable one (exit 0), when it was rolled back (3), when it
    /// is rejected, or halted and does not go on by itself (4), or when --timeout is over (5). Errors exit with 2: no
    /// policy governs the Deployment, or the API server is away for 30 s.
    ///
    /// Started right after `kubectl apply`, it waits until the operator has noticed the new template. A rollout that waits
    /// for the gate or for an approval is waited for. One that is halted for a cause that may pass (an outage that others
    /// share, missing evidence, pods that cannot run, a closed gate) is followed on until it has been halted for
    /// --halted-for; one that only a person lets go on (WorseThanStable, AutoRollbackOff, NoRollbackTarget, ObserveOnly,
    /// PausedByOwner) is at its end. While the rollout is followed a newer template may come: then that one is.
    Wait(WaitArgs),
}

/// How a command ended that could do its work. What could not is a [`Problem`], and exits with 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As wished: 0.
    Well,
    /// The operator said no, or a Deployment could not be released: 1.
    Refused,
    /// The rollout was rolled back: 3.
    RolledBack,
    /// The rollout stands still and does not go on by itself: 4.
    Halted,
    /// The time was over before it was known: 5.
    TimedOut,
}

impl Exit {
    /// The number that a shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Refused => 1,
            Self::RolledBack => 3,
            Self::Halted => 4,
            Self::TimedOut => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Runs one command. What it has to tell goes to standard output.
///
/// # Errors
/// When it could not do its work: nothing governs the Deployment, the API server refuses or does not answer.
pub fn run(command: &Command, program: Program) -> Result<Exit, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Problem::Runtime)?;
    runtime.block_on(async {
        match command {
            Command::Status(args) => status::run(args).await,
            Command::Explain(args) => explain::run(args, program).await,
            Command::Approve(args) => ask::approve(args, program).await,
            Command::Override(args) => ask::override_gate(args, program).await,
            Command::Rollback(args) => ask::rollback(args, program).await,
            Command::Release(args) => release::run(args, program).await,
            Command::Wait(args) => wait::run(args, program).await,
        }
    })
}

/// Prints text. That its reader went away is no error.
fn print(text: &str) -> Result<(), Problem> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Problem::Output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_knows_by_which_name_it_was_started() {
        let of = |first: &str| Program::of(Some(OsStr::new(first)));
        assert_eq!(of("kubectl-errorbudget"), Program::Plugin);
        assert_eq!(of("/usr/local/bin/kubectl-errorbudget"), Program::Plugin);
        assert_eq!(of("kubectl-errorbudget.exe"), Program::Plugin);
        assert_eq!(of("./error-budget-gatekeeper"), Program::Gatekeeper);
        assert_eq!(of("/opt/kubectl-errorbudget/gatekeeper"), Program::Gatekeeper);
        assert_eq!(Program::of(None), Program::Gatekeeper);
    }

    #[test]
    fn no_two_ends_look_alike_to_a_shell() {
        let ends = [Exit::Well, Exit::Refused, Exit::RolledBack, Exit::Halted, Exit::TimedOut];
        assert_eq!(ends.map(Exit::code), [0, 1, 3, 4, 5], "2 is an error's");
    }
}
