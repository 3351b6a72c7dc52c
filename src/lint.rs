//! `lint`: says of a policy, before it is applied, what the API server and the operator would refuse, and, where
//! Prometheus may be asked, what they would see.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`document`] | files as kubectl reads them |
//! | [`definition`], [`suggest`] | what the CustomResourceDefinition refuses, and what may have been meant |
//! | [`offline`] | all that can be said without asking anybody |
//! | [`slos`] | what other tools say of the objectives that it names |
//! | [`service`] | what Prometheus has of the policy's services |
//! | [`copies`] | whether it reads them several times over |
//! | [`forecast`] | how long a release that burns the budget would go unseen |
//! | [`report`] | all of it, for people and programs |

mod copies;
mod definition;
mod document;
mod forecast;
mod offline;
mod report;
mod service;
mod slos;
mod suggest;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout;

use crate::check::Output;
use crate::config::{Endpoint, NotServed, OperatorConfig};
use crate::measure::client::PrometheusClient;
use crate::measure::reads::Reads;
use crate::policy::Policy;
use definition::{Definition, Problem};
use offline::Object;
use report::{OfPolicy, Report, Severity};

/// How long Prometheus may take for all that is asked of one policy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to look at, and whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct LintArgs {
    /// A file with policies, or - for standard input; may be given several times. Other kinds in it are skipped
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Namespace of the policies that name none
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Ask Prometheus too: the one at this address, or else the endpoint of --config that the policy names
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    pub prometheus: Option<Option<String>>,
    /// The operator's configuration file: a policy must name an endpoint that is there; its credentials and headers are sent
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Look at this Deployment alone in Prometheus; may be given several times; default: those with the most pods
    #[arg(long = "deployment", value_name = "NAME", requires = "prometheus")]
    pub deployments: Vec<String>,
    /// Form of the answer
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// A policy that would be in force, and where it stands in the report.
struct Sound {
    index: usize,
    policy: Policy,
    reads: Vec<Reads>,
}

/// Looks at the files, prints what was found, and returns the exit code: 0 nothing, 1 problems, 2 not all could be read or
/// asked. Why not goes to `errors`; what was found is printed all the same.
///
/// # Errors
/// When the configuration cannot be used, there is no runtime, or nothing can be printed.
pub fn run(args: &LintArgs, input: impl Read, mut output: impl Write, mut errors: impl Write) -> anyhow::Result<u8> {
    // Without Prometheus only the names of endpoints matter, and files that are mounted elsewhere need not be here.
    let config = match (&args.config, &args.prometheus) {
        (Some(path), Some(_)) => Some(OperatorConfig::load(path)?),
        (Some(path), None) => {
            let text = std::fs::read_to_string(path);
            Some(OperatorConfig::parse(path, &text.with_context(|| path.display().to_string())?)?)
        }
        (None, Some(None)) => anyhow::bail!("--prometheus needs an address, or --config with the operator's endpoints"),
        (None, _) => None,
    };
    let (mut report, sound) = offline(args, input, config.as_ref());
    if args.prometheus.is_some() && !sound.is_empty() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        runtime.block_on(ask(args, config.as_ref(), sound, &mut report));
    }
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => serde_json::to_string_pretty(&report).context("writing JSON")? + "\n",
    };
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context("standard output"),
        _ => {}
    }
    let mut incomplete: Vec<String> = report.unreadable.iter().map(ToString::to_string).collect();
    incomplete.extend(report.unanswered.iter().cloned());
    if report.policies.is_empty() && incomplete.is_empty() {
        incomplete.push("there is no ErrorBudgetPolicy in what was named with --filename".to_owned());
    }
    for line in &incomplete {
        writeln!(errors, "error: {line}").context("standard error")?;
    }
    Ok(match (incomplete.is_empty(), report.count(Severity::Problem)) {
        (false, _) => 2,
        (true, 0) => 0,
        (true, _) => 1,
    })
}

/// All that can be said without asking anybody.
fn offline(args: &LintArgs, input: impl Read, config: Option<&OperatorConfig>) -> (Report, Vec<Sound>) {
    let definition = Definition::built_in();
    let (documents, unreadable) = document::read(&args.files, input);
    let (mut report, mut sound) = (Report { unreadable, ..Report::default() }, Vec::new());
    for document in documents {
        if offline::kind(&document.object) == Object::Other {
            report.skipped += 1;
            continue;
        }
        let mut checked = offline::check(&definition, &document.object, &args.namespace, config);
        if let (Some((policy, _)), Some(config)) = (&checked.policy, config)
            && let Err(error) = config.serves(policy)
        {
            checked.problems.push(match error {
                NotServed::Endpoint(unknown) => {
                    Problem::new("spec.prometheus", format!("{unknown}; write one of these"))
                }
                off @ NotServed::PodEvidence => Problem::new("spec.evidence", off.to_string()),
            });
            checked.policy = None;
        }
        for problem in &mut checked.problems {
            problem.field = within(&document.within, &problem.field);
        }
        let mut of_policy = OfPolicy {
            file: document.file,
            document: document.number,
            policy: checked.policy.as_ref().map(|(policy, _)| policy.key.to_string()),
            findings: Vec::new(),
            objectives: Vec::new(),
            other_deployments: Vec::new(),
            other_pods: Vec::new(),
        };
        of_policy.add(Severity::Problem, checked.problems);
        if let Some((policy, reads)) = checked.policy {
            sound.push(Sound { index: report.policies.len(), policy, reads });
        }
        report.policies.push(of_policy);
    }
    (report, sound)
}

/// The objects of a file with manifests, or of `input` for `-`.
///
/// # Errors
/// At the first thing that cannot be read.
pub(crate) fn objects(path: &Path, input: impl Read) -> anyhow::Result<Vec<serde_json::Value>> {
    let (documents, unreadable) = document::read(&[path.to_owned()], input);
    match unreadable.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(documents.into_iter().map(|document| document.object).collect()),
    }
}

/// What would be refused of a policy, a line each: the field and what is wrong with it.
#[must_use]
pub fn problems(policy: &serde_json::Value) -> Vec<String> {
    let checked = offline::check(&Definition::built_in(), policy, "default", None);
    checked.problems.into_iter().map(|Problem { field, problem }| format!("{field}: {problem}")).collect()
}

/// The path of a field from the top of its document.
fn within(list: &str, field: &str) -> String {
    match (list.is_empty(), field.is_empty()) {
        (true, _) => field.to_owned(),
        (false, true) => list.to_owned(),
        (false, false) => format!("{list}.{field}"),
    }
}

/// Asks Prometheus for each policy, one after another. Where it does not answer, it is not asked again.
async fn ask(args: &LintArgs, config: Option<&OperatorConfig>, sound: Vec<Sound>, report: &mut Report) {
    let only: BTreeSet<String> = args.deployments.iter().cloned().collect();
    let url = args.prometheus.as_ref().and_then(Option::as_deref);
    let mut clients: BTreeMap<String, Option<Arc<PrometheusClient>>> = BTreeMap::new();
    for Sound { index, policy, reads } in sound {
        let name = policy.prometheus.clone();
        let client = clients.entry(name.clone()).or_insert_with(|| {
            let client = endpoint(&name, url, config)
                .and_then(|endpoint| Ok(PrometheusClient::new(&name, endpoint, Arc::new(()))?));
            client.map(Arc::new).map_err(|error| report.unanswered.push(crate::cli::in_full(&error))).ok()
        });
        let Some(asked) = client.clone() else { continue };
        let (policy, reads) = match slos::read(&asked, policy, reads, &offline::labels(config, &name)).await {
            Ok(whole) => whole,
            Err(slos::Lacking { key, problems, failures }) => {
                report.policies[index].add(Severity::Problem, problems);
                if !failures.is_empty() {
                    report.unanswered.extend(failures.iter().map(|failure| format!("{key}: {failure}")));
                    *client = None;
                }
                continue;
            }
        };
        let asking = service::ask(&asked, &policy, &reads, &only, Timestamp::now());
        let found = timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
            let words =
                format!("Prometheus endpoint {name}: no answer to all questions within {} s", PATIENCE.as_secs());
            service::Services { failures: vec![words], ..service::Services::default() }
        });
        if !found.failures.is_empty() {
            let of = |failure: &String| format!("{}: {failure}", policy.key);
            report.unanswered.extend(found.failures.iter().map(of));
            *client = None;
        }
        report.policies[index].measured(&policy, found);
    }
}

/// The endpoint that a policy names, at this address if one is given.
fn endpoint(name: &str, url: Option<&str>, config: Option<&OperatorConfig>) -> anyhow::Result<Endpoint> {
    let given = url.map(|url| {
        let text = json!({"prometheus": {name: {"url": url}}}).to_string();
        let parsed = OperatorConfig::parse(Path::new("--prometheus"), &text)?;
        Ok::<_, anyhow::Error>(parsed.endpoint(name)?.clone())
    });
    match (given.transpose()?, config) {
        (Some(given), None) => Ok(given),
        (Some(given), Some(config)) => Ok(Endpoint { url: given.url, ..config.endpoint(name)?.clone() }),
        (None, Some(config)) => Ok(config.endpoint(name)?.clone()),
        (None, None) => anyhow::bail!("no address of Prometheus endpoint {name}"),
    }
}

#[cfg(test)]
#[path = "lint/tests.rs"]
mod tests;
