//! `check`: may a release start now? One line and an exit code for pipelines, from what the policy's status says.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use serde_json::json;
use tokio::time::timeout;

use crate::api::ErrorBudgetPolicy;
use crate::api::policy::OnUnknownBudget;
use crate::cli::in_full;
use crate::policy::{Policy, PolicyKey};
use crate::run;

/// How long the API server may take for all that is asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to check, and how to say it.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// The policy
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = policy_key)]
    pub policy: PolicyKey,
    /// Ask for this Deployment alone; default: all that the policy governs
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Kubeconfig to use; default: $KUBECONFIG, ~/.kube/config, or the service account when in a cluster
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// One line for people
    Text,
    /// One JSON object
    Json,
}

fn policy_key(text: &str) -> Result<PolicyKey, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(PolicyKey { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err("write the policy's namespace and name, for example shop/checkout".to_owned()),
    }
}

/// Whether a release may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// It would be held.
    Closed,
    /// Nobody can tell.
    Unknown,
}

impl Gate {
    /// As it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Closed => "Closed",
            Self::Unknown => "Unknown",
        }
    }

    /// What pipelines go by.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Closed => 1,
            Self::Unknown => 2,
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether a release may start.
    pub gate: Gate,
    /// What is left of the budget, of the objective and Deployment that have the least: "63.2%".
    pub budget_remaining: Option<String>,
    /// Why, in a sentence.
    pub message: String,
}

impl Answer {
    fn unknown(message: impl Into<String>) -> Self {
        Self { gate: Gate::Unknown, budget_remaining: None, message: message.into() }
    }
}

/// Asks, prints one line, and returns the exit code.
///
/// # Errors
/// When there is no runtime, or the line cannot be printed.
pub fn run(args: &CheckArgs) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let answer = runtime.block_on(async {
        match timeout(PATIENCE, ask(args)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::unknown(in_full(&error)),
            Err(_) => Answer::unknown(format!("the API server did not answer within {} s", PATIENCE.as_secs())),
        }
    });
    writeln!(io::stdout(), "{}", print(args, &answer)).context("standard output")?;
    Ok(answer.gate.exit_code())
}

fn print(args: &CheckArgs, answer: &Answer) -> String {
    let Answer { gate, budget_remaining, message } = answer;
    let (policy, gate) = (&args.policy, gate.as_str());
    match args.output {
        Output::Text => format!("{policy}: {gate}: {message}"),
        Output::Json => json!({
            "policy": policy.to_string(),
            "deployment": args.deployment,
            "gate": gate,
            "budgetRemaining": budget_remaining,
            "message": message,
        })
        .to_string(),
    }
}

async fn ask(args: &CheckArgs) -> anyhow::Result<Answer> {
    let client = run::client(args.kubeconfig.as_deref()).await?;
    let PolicyKey { namespace, name } = &args.policy;
    let policies: Api<ErrorBudgetPolicy> = Api::namespaced(client.clone(), namespace);
    let policy = policies.get_opt(name).await.with_context(|| format!("reading ErrorBudgetPolicy {}", args.policy))?;
    let Some(policy) = policy else {
        return Ok(Answer::unknown(format!("there is no ErrorBudgetPolicy {name} in namespace {namespace}")));
    };
    let Some(deployment) = &args.deployment else { return Ok(answer(&policy, None)) };
    let deployments: Api<Deployment> = Api::namespaced(client, namespace);
    let found = deployments.get_opt(deployment).await.with_context(|| format!("reading Deployment {deployment}"))?;
    let Some(found) = found else {
        return Ok(Answer::unknown(format!("there is no Deployment {deployment} in namespace {namespace}")));
    };
    let labels = found.metadata.labels.unwrap_or_default();
    let selects = Policy::parse(&policy).is_ok_and(|policy| policy.selector.matches(&labels));
    Ok(if selects {
        answer(&policy, Some(deployment))
    } else {
        Answer::unknown(format!("the policy does not select the Deployment {deployment}"))
    })
}

/// What the policy's status says of one Deployment, or of all.
#[must_use]
pub fn answer(policy: &ErrorBudgetPolicy, deployment: Option<&str>) -> Answer {
    let generation = policy.metadata.generation.unwrap_or_default();
    let status = policy.status.clone().unwrap_or_default();
    let condition = |of: &str| status.conditions.iter().find(|condition| condition.type_ == of);
    let is_current = |condition: &&Condition| condition.observed_generation.is_none_or(|seen| seen >= generation);
    let not_seen = "the operator has not looked at this version of the policy yet";
    let Some(ready) = condition("Ready").filter(is_current) else {
        return Answer::unknown(format!("{not_seen}; does it run?"));
    };
    if ready.status != "True" {
        return Answer::unknown(format!("the policy is not in force: {}", ready.message));
    }
    let Some(open) = condition("GateOpen").filter(is_current) else { return Answer::unknown(not_seen) };
    let known = |map: &BTreeMap<String, String>| deployment.and_then(|name| map.get(name).cloned());
    let (gate, message) = if let Some(message) = known(&status.closed) {
        (Gate::Closed, message)
    } else if let Some(message) = known(&status.unknown) {
        (Gate::Unknown, message)
    } else {
        match (open.status.as_str(), deployment) {
            ("True", _) => (Gate::Open, open.message.clone()),
            // The policy is closed, or unknown, for others alone; those are all named unless they are too many.
            (_, Some(name)) if is_named(&status.closed, &status.unknown) => {
                (Gate::Open, format!("enough of the error budget of {name} is left"))
            }
            ("False", None) => (Gate::Closed, open.message.clone()),
            (_, None) => (Gate::Unknown, open.message.clone()),
            (_, Some(name)) => {
                (Gate::Unknown, format!("status does not say how it is with {name}; of the policy: {}", open.message))
            }
        }
    };
    let allowed = gate == Gate::Unknown && policy.spec.validate.on_unknown_budget == OnUnknownBudget::Allow;
    let allowed =
        if allowed { " (the operator lets releases start meanwhile: validate.onUnknownBudget is Allow)" } else { "" };
    Answer { gate, budget_remaining: status.budget_remaining, message: format!("{message}{allowed}") }
}

/// Whether every Deployment whose gate is not open is named: there are some, and not as many as status can hold.
fn is_named(closed: &BTreeMap<String, String>, unknown: &BTreeMap<String, String>) -> bool {
    let within = |named: usize| named < crate::record::status::ROLLOUTS_KEPT;
    closed.len() + unknown.len() > 0 && within(closed.len()) && within(unknown.len())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
