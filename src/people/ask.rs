//! `approve`, `override`, `rollback`: what a person asks of the operator, by annotations on the Deployment.
//!
//! An ask names the template that it is meant for, as the operator knows it, so that it can never reach another one that
//! was pushed in between. Asking again for what is so already changes nothing.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::access::{Cluster, call};
use super::advice::{can_be_overridden, wants_approval};
use super::answer::{Answers, Reply};
use super::governed::Governed;
use super::words::{phase, place, revision};
use super::{Access, Exit, Problem, Program, Target, print};
use crate::api::status::{RevisionStatus, RolloutStatus};
use crate::cli::duration;
use crate::decide::announcement::EventReason;
use crate::decide::state::Phase;
use crate::watch::DeploymentView;
use crate::watch::annotations::{APPROVE, OVERRIDE, OVERRIDE_TEMPLATE, OVERRIDE_UNTIL, ROLLBACK, ROLLBACK_REASON};

/// Who the API server notes as the one who set our annotations.
pub(super) const FIELD_MANAGER: &str = "kubectl-errorbudget";
const POLL: Duration = Duration::from_millis(250);

/// How long to wait for the operator.
#[derive(Debug, Args)]
pub struct Patience {
    /// How long the operator's answer is waited for; the ask stands also after that
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// What to approve.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The Deployment, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT")]
    pub target: Target,
    /// How long to wait.
    #[command(flatten)]
    pub patience: Patience,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// What to let pass the gate.
#[derive(Debug, Args)]
pub struct OverrideArgs {
    /// The Deployment, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT")]
    pub target: Target,
    /// Why: it is kept in status, Events and logs
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// For how long it counts, such as 2h; default: for as long as this template is rolled out
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasting: Option<Duration>,
    /// How long to wait.
    #[command(flatten)]
    pub patience: Patience,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// What to roll back.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The Deployment, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT")]
    pub target: Target,
    /// Roll back this template and no other, by the id that status and explain show; default: the newest one
    #[arg(long, value_name = "ID")]
    pub template: Option<String>,
    /// Why: it is kept in status, Events and logs
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// How long to wait.
    #[command(flatten)]
    pub patience: Patience,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// A reason that says something.
pub(super) fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why, in a few words".to_owned()),
        said => Ok(said.to_owned()),
    }
}

/// Lets a rollout take its next step.
pub(super) async fn approve(args: &ApproveArgs, program: Program) -> Result<Exit, Problem> {
    ask(&args.access, &args.target, program, &args.patience, &Ask::Approve).await
}

/// Lets a template pass a closed gate.
pub(super) async fn override_gate(args: &OverrideArgs, program: Program) -> Result<Exit, Problem> {
    let until = args.lasting.map(|lasting| Timestamp::now() + lasting);
    let wanted = Ask::Override { reason: args.reason.clone(), until };
    ask(&args.access, &args.target, program, &args.patience, &wanted).await
}

/// Has a template rolled back.
pub(super) async fn rollback(args: &RollbackArgs, program: Program) -> Result<Exit, Problem> {
    let wanted = Ask::Rollback { template: args.template.clone(), reason: args.reason.clone() };
    ask(&args.access, &args.target, program, &args.patience, &wanted).await
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    Approve,
    Override { reason: String, until: Option<Timestamp> },
    Rollback { template: Option<String>, reason: Option<String> },
}

/// What an ask comes to, by what the operator says of the rollout.
#[derive(Debug, PartialEq, Eq)]
enum Sense {
    /// It is to be asked, for the template of this id.
    Ask(String),
    /// It is so already.
    Already(String),
    /// The operator has not noticed the Deployment's template yet.
    NotYet,
    /// It makes no sense.
    No(String),
}

impl Ask {
    /// The annotation that asks.
    const fn annotation(&self) -> &'static str {
        match self {
            Self::Approve => APPROVE,
            Self::Override { .. } => OVERRIDE,
            Self::Rollback { .. } => ROLLBACK,
        }
    }

    /// The Event that says that it was done.
    const fn done(&self) -> EventReason {
        match self {
            Self::Approve => EventReason::Approved,
            Self::Override { .. } => EventReason::Overridden,
            Self::Rollback { .. } => EventReason::RolledBack,
        }
    }

    fn sense(&self, governed: &Governed) -> Sense {
        let name = governed.key();
        let Some(entry) = governed.entry() else { return Sense::NotYet };
        if let Self::Rollback { template, .. } = self
            && let Some(already) = rolled_back_already(entry, template.as_deref())
        {
            return Sense::Already(format!("nothing to do: {name}: {already}"));
        }
        let Some(newest) = governed.current().and_then(|entry| entry.newest.as_ref()) else { return Sense::NotYet };
        let phase = phase(entry);
        let next = entry.next.as_ref().map(|next| format!("; {next}")).unwrap_or_default();
        let no = |what: &str| format!("nothing to {what}: {name} is {}{next}", place(entry));
        match self {
            Self::Approve if !wants_approval(entry) => Sense::No(no("approve")),
            Self::Override { .. } if !can_be_overridden(phase) => {
                let hint = "to bring the next template past a closed gate, set the annotation in the same write";
                Sense::No(format!("{}; {hint}: {OVERRIDE}: REASON", no("override")))
            }
            Self::Rollback { template: Some(template), .. } if *template != newest.template => Sense::No(format!(
                "template {template} is not the one that {name} runs: that is {}; nothing was asked for",
                revision(newest)
            )),
            _ => Sense::Ask(newest.template.clone()),
        }
    }

    /// The JSON merge patch that asks.
    fn patch(&self, template: &str) -> Value {
        let annotations = match self {
            Self::Approve => json!({APPROVE: template}),
            // What an earlier ask left behind must not be taken for this one's: a reason, an end.
            Self::Rollback { reason, .. } => json!({ROLLBACK: template, ROLLBACK_REASON: reason}),
            Self::Override { reason, until } => {
                let until = until.map(|until| format!("{until:.0}"));
                json!({OVERRIDE: reason, OVERRIDE_UNTIL: until, OVERRIDE_TEMPLATE: template})
            }
        };
        json!({"metadata": {"annotations": annotations}})
    }
}

/// Says so if the template, or the newest one, has been rolled back or is being rolled back.
fn rolled_back_already(entry: &RolloutStatus, template: Option<&str>) -> Option<String> {
    let incident = entry.incident.as_ref();
    let condemned = incident.and_then(|incident| incident.condemned.as_ref());
    let newest = entry.newest.as_ref();
    let is_newest = template.is_none_or(|template| newest.is_some_and(|newest| newest.template == template));
    let is_last = template.is_none_or(|template| condemned.is_some_and(|condemned| condemned.template == template));
    let name = |known: Option<&RevisionStatus>| known.map_or_else(|| "it".to_owned(), revision);
    match phase(entry) {
        Some(Phase::RollingBack) if is_newest => Some(format!("{} is being rolled back", name(newest))),
        Some(Phase::Rejected) if is_newest => {
            Some(format!("{} was rolled back before, and is held without pods", name(newest)))
        }
        Some(Phase::Recovering | Phase::RolledBack) if is_last => {
            let outcome = incident.and_then(|incident| incident.outcome.as_ref());
            let outcome = outcome.map(|outcome| format!(": {outcome}")).unwrap_or_default();
            Some(format!("{} was rolled back{outcome}", name(condemned)))
        }
        _ => {
            let template = template.filter(|_| !is_newest)?;
            let known = is_last || entry.condemned.iter().any(|condemned| condemned == template);
            known.then(|| format!("template {template} was rolled back"))
        }
    }
}

async fn ask(
    access: &Access,
    target: &Target,
    program: Program,
    patience: &Patience,
    ask: &Ask,
) -> Result<Exit, Problem> {
    let cluster = access.open().await?;
    let (governed, template) = match settled(&cluster, target, patience, ask).await? {
        (governed, Sense::Ask(template)) => (governed, template),
        (_, Sense::Already(text)) => {
            print(&format!("{text}\n"))?;
            return Ok(Exit::Well);
        }
        (_, Sense::No(text)) => return Err(Problem::Impossible(text)),
        (governed, Sense::NotYet) => return Err(not_noticed(program, &governed)),
    };
    let answers = Answers::from_now_on(&cluster, governed.deployment.uid()).await;
    let deployments: Api<DeploymentView> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let patch = Patch::Merge(ask.patch(&template));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let doing = format!("asking by annotation {} on Deployment {}", ask.annotation(), governed.key());
    call(&doing, deployments.patch(target.name(), &parameters, &patch)).await?;

    let reply = answers.await_reply(&cluster, target, ask.annotation(), ask.done(), patience.timeout).await?;
    print(&told(&reply, program, &governed))?;
    Ok(match reply {
        Reply::Told { is_refused: true, .. } => Exit::Refused,
        Reply::Told { .. } | Reply::Taken => Exit::Well,
        Reply::None => Exit::TimedOut,
    })
}

/// What the ask comes to, once the operator has noticed the newest template or should have.
async fn settled(
    cluster: &Cluster,
    target: &Target,
    patience: &Patience,
    ask: &Ask,
) -> Result<(Governed, Sense), Problem> {
    let deadline = tokio::time::Instant::now() + patience.timeout;
    let mut governed = Governed::find(cluster, target).await?;
    loop {
        let sense = ask.sense(&governed);
        if sense != Sense::NotYet || tokio::time::Instant::now() >= deadline {
            return Ok((governed, sense));
        }
        tokio::time::sleep(POLL).await;
        governed = governed.again(cluster, target).await?;
    }
}

fn not_noticed(program: Program, governed: &Governed) -> Problem {
    let (key, template) = (governed.key(), governed.template());
    let known = match governed.entry().and_then(|entry| entry.newest.as_ref()) {
        Some(newest) => format!("its status is of {}", revision(newest)),
        None => "its status says nothing of it".to_owned(),
    };
    Problem::Impossible(format!(
        "the operator has not noticed template {template} of {key} yet: {known}. Is it running? To take its hold away \
         without it: {} release deployment/{} --namespace {} --reason TEXT",
        program.as_str(),
        key.name,
        key.namespace
    ))
}

fn told(reply: &Reply, program: Program, governed: &Governed) -> String {
    let key = governed.key();
    let see = format!("{} explain deployment/{} --namespace {}", program.as_str(), key.name, key.namespace);
    match reply {
        Reply::Told { events, .. } => events.iter().map(|(reason, note)| format!("{reason}: {note}\n")).collect(),
        Reply::Taken => format!("{key}: the operator has answered; `{see}` tells what came of it\n"),
        Reply::None => {
            format!("{key}: asked; the operator has not answered yet. It will when it runs: `{see}` tells\n")
        }
    }
}

#[cfg(test)]
mod tests;
