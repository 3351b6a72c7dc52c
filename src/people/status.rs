//! `status`: all rollouts at a glance.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::access::{Cluster, call};
use super::governed::{Governed, gate};
use super::words::{ago, burn};
use super::{Access, Exit, Problem, Target, print};
use crate::api::status::{ErrorBudgetPolicyStatus, RolloutStatus};
use crate::watch::PolicyView;

/// How to list rollouts.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show this Deployment only, written deployment/NAME
    #[arg(value_name = "DEPLOYMENT")]
    pub target: Option<Target>,
    /// Of all namespaces
    #[arg(long, short = 'A', conflicts_with_all = ["target", "namespace"])]
    pub all_namespaces: bool,
    /// Form of the list
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub access: Access,
}

/// Form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs: a list of objects, each with the whole entry of the policy's status.
    Json,
}

/// One rollout.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    deployment: String,
    policy: String,
    /// Open, Closed or Unknown.
    gate: Option<String>,
    /// Why the gate is closed.
    closed: Option<String>,
    /// Of the policy's objective and Deployment that have the least.
    budget_remaining: Option<String>,
    rollout: RolloutStatus,
}

/// Lists rollouts.
pub(super) async fn run(args: &StatusArgs) -> Result<Exit, Problem> {
    let cluster = args.access.open().await?;
    let rows = match &args.target {
        Some(target) => {
            let governed = Governed::find(&cluster, target).await?;
            let policy = &governed.policy.key;
            let rows = rows_of(&policy.namespace, &policy.name, &governed.status);
            rows.into_iter().filter(|row| row.deployment == target.name()).collect()
        }
        None => all(&cluster, args.all_namespaces).await?,
    };
    match args.output {
        OutputFormat::Json => print(&format!("{:#}\n", serde_json::json!(rows)))?,
        OutputFormat::Table if rows.is_empty() => print("No rollouts: the operator has not taken notice of any.\n")?,
        OutputFormat::Table => print(&table(&rows, Timestamp::now()))?,
    }
    Ok(Exit::Well)
}

async fn all(cluster: &Cluster, everywhere: bool) -> Result<Vec<Row>, Problem> {
    let (policies, doing): (Api<PolicyView>, _) = match everywhere {
        true => (Api::all(cluster.client.clone()), "reading the policies of all namespaces".to_owned()),
        false => (
            Api::namespaced(cluster.client.clone(), &cluster.namespace),
            format!("reading the policies of namespace {}", cluster.namespace),
        ),
    };
    let policies = call(&doing, policies.list(&ListParams::default())).await?;
    let mut rows: Vec<Row> = policies
        .iter()
        .flat_map(|view| {
            let key = view.key();
            rows_of(&key.namespace, &key.name, &view.status)
        })
        .collect();
    rows.sort_by(|a, b| (&a.namespace, &a.deployment).cmp(&(&b.namespace, &b.deployment)));
    Ok(rows)
}

fn rows_of(namespace: &str, policy: &str, status: &ErrorBudgetPolicyStatus) -> Vec<Row> {
    let row = |(deployment, rollout): (&String, &RolloutStatus)| Row {
        namespace: namespace.to_owned(),
        deployment: deployment.clone(),
        policy: policy.to_owned(),
        gate: gate(status, deployment).map(str::to_owned),
        closed: status.closed.get(deployment).cloned(),
        budget_remaining: status.budget_remaining.clone(),
        rollout: rollout.clone(),
    };
    status.rollouts.iter().map(row).collect()
}

fn table(rows: &[Row], now: Timestamp) -> String {
    let titles = ["NAMESPACE", "DEPLOYMENT", "POLICY", "PHASE", "SINCE", "BURN (STABLE)", "BUDGET", "GATE", "NEXT"];
    let mut lines = vec![titles.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| cells(row, now)));
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn cells(row: &Row, now: Timestamp) -> [String; 9] {
    let rollout = &row.rollout;
    let unknown = || "-".to_owned();
    let burns = match (&rollout.burn_rate, &rollout.stable_burn_rate) {
        (None, None) => unknown(),
        (canary, stable) => format!("{} ({})", burn(canary.as_ref()), burn(stable.as_ref())),
    };
    [
        row.namespace.clone(),
        row.deployment.clone(),
        row.policy.clone(),
        rollout.phase.clone(),
        rollout.since.as_ref().map_or_else(unknown, |since| ago(since, now)),
        burns,
        row.budget_remaining.clone().unwrap_or_else(unknown),
        row.gate.clone().unwrap_or_else(unknown),
        rollout.next.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples;
    use super::*;

    fn rows() -> Vec<Row> {
        let status: ErrorBudgetPolicyStatus = serde_json::from_value(json!({
            "gate": "Closed",
            "budgetRemaining": "3.2%",
            "closed": {"kürbis": "3.2% left, 20% needed"},
            "rollouts": {
                "kasse-web": {
                    "phase": "Canary", "since": "2026-03-04T05:14:37Z", "burnRate": "0.3", "stableBurnRate": "0.2",
                    "next": "goes on at 05:16:40",
                },
                "kürbis": {"phase": "Validating"},
            },
        }))
        .expect("a status");
        rows_of("laden", "kasse", &status)
    }

    #[test]
    fn each_rollout_is_a_line_and_columns_stand_below_each_other() {
        let expected = "\
NAMESPACE   DEPLOYMENT   POLICY   PHASE        SINCE   BURN (STABLE)   BUDGET   GATE     NEXT
laden       kasse-web    kasse    Canary       2m      0.3x (0.2x)     3.2%     Open     goes on at 05:16:40
laden       kürbis       kasse    Validating   -       -               3.2%     Closed
";
        assert_eq!(table(&rows(), samples::now()), expected);
    }

    #[test]
    fn programs_get_the_whole_entry_and_why_the_gate_is_closed() {
        let text = json!(rows());
        assert_eq!(text[0]["rollout"]["burnRate"], "0.3");
        assert_eq!((&text[1]["gate"], &text[1]["closed"]), (&json!("Closed"), &json!("3.2% left, 20% needed")));
        assert_eq!(text[1]["budgetRemaining"], "3.2%");
    }
}
