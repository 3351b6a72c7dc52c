//! The command line: what can be asked of the binary, and with which arguments.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::check::CheckArgs;
use crate::evaluate::EvaluateArgs;
use crate::import::ImportArgs;
use crate::lint::LintArgs;
use crate::people::{self, Program};
use crate::policy::Selector;
use crate::telemetry::LogFormat;

/// Rolls back the release that burns the error budget.
#[derive(Debug, Parser)]
#[command(name = "error-budget-gatekeeper", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Looks at rollouts and policies, has them explained, and asks for what only people can decide.
#[derive(Debug, Parser)]
#[command(name = "kubectl-errorbudget", bin_name = Program::Plugin.as_str(), version)]
struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    #[command(flatten)]
    People(people::Command),
    #[command(flatten)]
    OfPolicies(OfPolicies),
}

impl From<PluginCommand> for Command {
    fn from(command: PluginCommand) -> Self {
        match command {
            PluginCommand::People(command) => Self::People(command),
            PluginCommand::OfPolicies(command) => Self::OfPolicies(command),
        }
    }
}

impl Cli {
    /// Reads the arguments as the program of that name takes them: the plugin of kubectl knows the commands for people and
    /// those about policies, and no others.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for.
    pub fn read(program: Program, arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        match program {
            Program::Gatekeeper => Self::try_parse_from(arguments),
            Program::Plugin => Plugin::try_parse_from(arguments).map(|plugin| Self { command: plugin.command.into() }),
        }
    }
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(RunArgs),
    /// What is asked about policies.
    #[command(flatten)]
    OfPolicies(OfPolicies),
    /// Make a policy of what another tool's files promise
    Import(ImportArgs),
    /// Judge looks read as JSON lines: one look of one rollout a line in, its verdict a line out
    ///
    /// In:  {"rollout":"r1","canary":{"errors":3,"requests":1000},"stable":{"errors":1,"requests":9000}}
    ///      {"rollout":"r1","missing":"NoSeries"}
    ///
    /// Out: {"rollout":"r1","look":1,"burnRate":3.0,...,"verdict":"Proceed","reason":"..."}
    ///
    /// "stable" may be left out. Lines of several rollouts may be mixed. "burnRate" is that of the last window, null without
    /// canary requests; "logEvidence" is the natural logarithm of the evidence that the canary burns more than --violation,
    /// "logEvidenceVsStable" of the evidence that it fails more often than the stable pods, null before the first look that
    /// says anything of it. --looks-per-window looks are one window. The decision is that of the operator's own code.
    #[command(verbatim_doc_comment)]
    Evaluate(EvaluateArgs),
    /// Print the CustomResourceDefinition
    Crds,
    /// What people do with rollouts.
    #[command(flatten)]
    People(people::Command),
}

/// What pipelines and people ask about policies.
#[derive(Debug, Subcommand)]
pub enum OfPolicies {
    /// Say whether a policy's error budget lets a release start: exit code 0 yes, 1 no, 2 cannot tell
    ///
    /// It reads what the operator has written to the policy's status, and asks Prometheus nothing. It cannot tell when the
    /// policy is not there or not in force, when the operator has not looked at its latest version yet, when what is left
    /// of the budget is unknown, and when the API server does not answer. While the budget is unknown, a policy with
    /// validate.onUnknownBudget: Allow lets releases start all the same; the line says so, and the exit code is still 2.
    Check(CheckArgs),
    /// Say what would be refused of policies in files, before they are applied: exit code 0 nothing, 1 something, 2 cannot tell
    ///
    /// Everything is said that the API server and the operator would refuse, without asking either: fields that do not
    /// exist, bounds, rules, selectors that are no PromQL, each with its place and what to write instead.
    ///
    /// With --prometheus it also says, of each objective, whether its selectors match, how many series and which pods, how
    /// many requests a look sees, how often Prometheus scrapes, what burns now and what is left of the budget; and how long
    /// a release that burns 2.3, 14.4 or 100 times its budget would go unseen at this traffic, by the code that decides.
    Lint(LintArgs),
}

/// How to run the operator.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The operator's configuration file: where Prometheus is
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Kubeconfig to use; default: $KUBECONFIG, ~/.kube/config, or the service account when in a cluster
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace to watch; may be given several times; default: all
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// Enforce only policies with these labels, as for kubectl --selector; others are left to other operators; default: all
    ///
    /// All policies are still watched: the oldest that selects a Deployment governs it, whichever operator enforces it. Give
    /// each operator a selector that no other one's policies meet, and a --lease-name of its own.
    #[arg(long, value_name = "SELECTOR", value_parser = Selector::parse)]
    pub policy_selector: Option<Selector>,
    /// Address of /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Namespace of the Lease by which one of several replicas leads; default: the one the operator runs in
    #[arg(long, value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of that Lease; operators with different names act independently of each other
    #[arg(long, value_name = "NAME", default_value = "error-budget-gatekeeper")]
    pub lease_name: String,
    /// How long a leader that stopped renewing still counts as leader
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,
    /// How many Deployments are worked on at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// How often Prometheus is asked what is left of a policy's error budget, 1s to 4m
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = budget_interval)]
    pub budget_interval: Duration,
    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to log: a level, or directives such as `info,gatekeeper::measure=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
}

/// An error with what led to it, without what its own words say already.
#[must_use]
pub fn in_full(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// Reads a duration as people write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|_| "write for example 15s".to_owned())?;
    Duration::try_from(duration).map_err(|_| "write a positive duration, for example 15s".to_owned())
}

/// An answer counts for five minutes, so that it must be asked for more often.
fn budget_interval(text: &str) -> Result<Duration, String> {
    let within = Duration::from_secs(1)..=Duration::from_secs(240);
    let interval = duration(text)?;
    if within.contains(&interval) { Ok(interval) } else { Err("write 1s to 4m, for example 1m".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
        Plugin::command().debug_assert();
    }

    fn read(program: Program, words: &str) -> Result<Cli, clap::Error> {
        Cli::read(program, words.split(' ').map(OsString::from))
    }

    #[test]
    fn the_plugin_has_the_commands_for_people_and_about_policies_at_the_top_and_no_others() {
        let status =
            read(Program::Plugin, "kubectl-errorbudget status deployment/kasse -n laden").map(|cli| cli.command);
        assert!(matches!(status, Ok(Command::People(people::Command::Status(_)))), "{status:?}");
        assert!(read(Program::Plugin, "kubectl-errorbudget crds").is_err());
        for words in
            ["check --policy laden/kasse", "lint -f kasse.yaml --prometheus", "lint -f a -f - --prometheus http://p"]
        {
            for (program, name) in
                [(Program::Plugin, "kubectl-errorbudget"), (Program::Gatekeeper, "error-budget-gatekeeper")]
            {
                let command = read(program, &format!("{name} {words}")).map(|cli| cli.command);
                assert!(matches!(command, Ok(Command::OfPolicies(_))), "{command:?}");
            }
        }
        let own = read(Program::Gatekeeper, "error-budget-gatekeeper wait deploy/kasse").map(|cli| cli.command);
        assert!(matches!(own, Ok(Command::People(people::Command::Wait(_)))), "{own:?}");
        assert!(read(Program::Gatekeeper, "error-budget-gatekeeper crds").is_ok());
    }

    #[test]
    fn the_plugin_shows_how_kubectl_calls_it() {
        let help =
            read(Program::Plugin, "kubectl-errorbudget wait --help").expect_err("help is no command").to_string();
        assert!(help.contains("Usage: kubectl errorbudget wait [OPTIONS] <DEPLOYMENT>"), "{help}");
    }

    #[test]
    fn a_release_is_of_one_deployment_or_of_all_and_says_why() {
        let fits = |words: &str| read(Program::Plugin, &format!("kubectl-errorbudget release {words}")).is_ok();
        assert!(fits("deployment/kasse --reason weg"));
        assert!(fits("--all --reason weg") && fits("--all -A --reason weg"));
        for refused in ["--reason weg", "deployment/kasse", "deployment/kasse --all --reason weg", "-A --reason weg"] {
            assert!(!fits(refused), "{refused}");
        }
    }

    #[test]
    fn a_duration_is_read_as_people_write_it() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert!(duration("soon").is_err());
        assert!(duration("-3s").is_err());
    }

    #[test]
    fn budgets_are_asked_for_before_what_is_known_of_them_is_too_old() {
        assert_eq!(budget_interval("1m"), Ok(Duration::from_secs(60)));
        assert!(budget_interval("0s").is_err() && budget_interval("500ms").is_err() && budget_interval("5m").is_err());
    }
}
