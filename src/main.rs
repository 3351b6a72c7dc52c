//! Starts one subcommand.

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use gatekeeper::cli::{Cli, Command, OfPolicies, in_full};
use gatekeeper::people::{self, Program};
use gatekeeper::{api, check, evaluate, import, lint, run};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let program = Program::of(arguments.first().map(OsString::as_os_str));
    let cli = Cli::read(program, arguments).unwrap_or_else(|help| help.exit());
    let result = match cli.command {
        Command::Run(args) => run::run(&args).map(|()| ExitCode::SUCCESS),
        Command::OfPolicies(OfPolicies::Check(args)) => check::run(&args).map(ExitCode::from),
        Command::OfPolicies(OfPolicies::Lint(args)) => {
            lint::run(&args, io::stdin().lock(), io::stdout().lock(), io::stderr()).map(ExitCode::from)
        }
        Command::Import(args) => {
            import::run(&args, io::stdin().lock(), io::stdout().lock(), io::stderr()).map(ExitCode::from)
        }
        Command::Evaluate(args) => {
            let judged = evaluate::run(&args, io::stdin().lock(), io::stdout().lock());
            judged.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Crds => {
            print!("{}", api::crds());
            Ok(ExitCode::SUCCESS)
        }
        Command::People(command) => people::run(&command, program).map(Into::into).map_err(Into::into),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", in_full(&error));
        ExitCode::from(2)
    })
}
