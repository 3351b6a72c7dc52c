//! `wait`: follows a rollout to its end.
//!
//! [`course`] says when it has ended, [`line`] words what is seen, [`screen`] says when to show it. Here they are given what
//! the API server says, once a second.

mod course;
mod line;
mod screen;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use self::course::{Course, End};
use self::line::Line;
use self::screen::Screen;
use super::access::Cluster;
use super::governed::Governed;
use super::{Access, Exit, Problem, Program, Target};
use crate::cli::duration;

const POLL: Duration = Duration::from_secs(1);
/// An API server that is away for longer than a restart takes is a problem of its own.
const UNREACHABLE: Duration = Duration::from_secs(30);

/// What to follow, and for how long.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The Deployment, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT")]
    pub target: Target,
    /// End well as soon as the canary has passed and Kubernetes rolls on
    #[arg(long)]
    pub canary: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub timeout: Duration,
    /// How long a halt that may pass is waited for
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub halted_for: Duration,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// Follows a rollout.
pub(super) async fn run(args: &WaitArgs, program: Program) -> Result<Exit, Problem> {
    let cluster = args.access.open().await?;
    let output = std::io::stdout();
    let mut screen = Screen::new(output.lock(), output.is_terminal(), Timestamp::now());
    let mut watching = Watching { cluster: &cluster, target: &args.target, last: None, silent_since: None };
    let mut course = Course::new(args.canary, args.halted_for);
    let deadline = Instant::now() + args.timeout;
    loop {
        let now = Timestamp::now();
        match watching.look().await? {
            Err(problem) => screen.show(&Line::away(&problem), now)?,
            Ok(governed) => {
                let end = course.advance(governed, now);
                screen.show(&Line::of(governed, &course, now), now)?;
                if let Some(end) = end {
                    return finish(&mut screen, program, governed, &course, end);
                }
            }
        }
        if Instant::now() >= deadline {
            // What is known of a rollback does not change any more; only how the service is afterwards is not known.
            let end = course.end_in_time();
            return match &watching.last {
                Some(governed) => finish(&mut screen, program, governed, &course, end),
                None => screen.end(&format!("timed out: {} was not seen", args.target)).map(|()| Exit::TimedOut),
            };
        }
        sleep(POLL.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

fn finish<W: std::io::Write>(
    screen: &mut Screen<W>,
    program: Program,
    governed: &Governed,
    course: &Course,
    end: End,
) -> Result<Exit, Problem> {
    screen.end(&line::ending(program, governed, course, end))?;
    Ok(match end {
        End::Promoted | End::CanaryPassed => Exit::Well,
        End::RolledBack => Exit::RolledBack,
        End::Halted | End::Rejected => Exit::Halted,
        End::TimedOut => Exit::TimedOut,
    })
}

/// The Deployment, looked at again and again.
struct Watching<'a> {
    cluster: &'a Cluster,
    target: &'a Target,
    last: Option<Governed>,
    /// Since when the API server does not answer.
    silent_since: Option<Instant>,
}

impl Watching<'_> {
    /// What is so now; a problem that may pass, within; one that does not pass, or has not, without.
    async fn look(&mut self) -> Result<Result<&Governed, Problem>, Problem> {
        let seen = match &self.last {
            Some(last) => last.again(self.cluster, self.target).await,
            None => Governed::find(self.cluster, self.target).await,
        };
        match seen {
            Ok(governed) => {
                self.silent_since = None;
                Ok(Ok(self.last.insert(governed)))
            }
            Err(problem) => {
                let since = *self.silent_since.get_or_insert_with(Instant::now);
                if problem.may_pass() && since.elapsed() < UNREACHABLE { Ok(Err(problem)) } else { Err(problem) }
            }
        }
    }
}
