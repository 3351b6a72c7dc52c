//! `docs/in-a-cluster.md`, whose commands are run as they stand there.

use anyhow::{Context, Result, ensure};

use crate::ground::{Ground, OPERATOR, project_file};

const DOCUMENT: &str = "docs/in-a-cluster.md";

/// A part of the document, by its heading. What stands in `sh` blocks of it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Prometheus,
    Operator,
    Service,
    Policy,
    Release,
    Uninstall,
}

impl Section {
    fn heading(self) -> &'static str {
        match self {
            Self::Prometheus => "## Prometheus",
            Self::Operator => "## The operator",
            Self::Service => "## A service",
            Self::Policy => "## A policy for it",
            Self::Release => "## A bad release, and its fix",
            Self::Uninstall => "## Taking it away",
        }
    }
}

/// Runs the commands of a section, block by block, and returns what they printed.
pub(super) async fn run(ground: &Ground, section: Section) -> Result<String> {
    let mut printed = String::new();
    let document = project_file(DOCUMENT)?;
    let blocks = blocks(&document, section.heading())?;
    for block in blocks {
        printed += &ground.shell(&block).await.with_context(|| format!("{DOCUMENT}, {}", section.heading()))?;
    }
    Ok(printed)
}

/// The `sh` blocks between this heading and the next one.
fn blocks(document: &str, heading: &str) -> Result<Vec<String>> {
    let mut lines =
        document.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let mut blocks = Vec::new();
    while lines.any(|line| line == "```sh") {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n"));
    }
    ensure!(!blocks.is_empty(), "{DOCUMENT} has no commands under {heading:?}");
    Ok(blocks)
}

pub(super) async fn the_documented_commands_install_two_ready_pods_under_restricted_pod_security(
    ground: &Ground,
) -> Result<()> {
    run(ground, Section::Prometheus).await?;
    run(ground, Section::Operator).await?;

    let standard = "kubectl get namespace error-budget-gatekeeper \
                    -o jsonpath='{.metadata.labels.pod-security\\.kubernetes\\.io/enforce}'";
    let standard = ground.shell(standard).await?;
    ensure!(standard == "restricted", "the standard is {standard:?}");
    let ready = "jsonpath={.status.readyReplicas}";
    let ready = ground.shell(&format!("kubectl get deployment {OPERATOR} -n {OPERATOR} -o {ready}")).await?;
    ensure!(ready == "2", "{ready} pods are Ready");
    let account = format!("system:serviceaccount:{OPERATOR}:{OPERATOR}");
    let (refused, answer) = ground.exit_of(&format!("kubectl auth can-i get secrets --as {account} -A"), "").await?;
    ensure!(refused == 1 && answer.starts_with("no"), "may it read Secrets? {answer}");
    // That it is there: the pod network of this cluster does not enforce it.
    ground.shell(&format!("kubectl get networkpolicy {OPERATOR} -n {OPERATOR}")).await?;
    let user = "jsonpath={.items[*].spec.containers[*].securityContext.readOnlyRootFilesystem}";
    let user = ground.shell(&format!("kubectl get pods -n {OPERATOR} -o {user}")).await?;
    ensure!(user == "true true", "its file system can be written to: {user}");
    Ok(())
}

pub(super) async fn the_documented_commands_roll_a_bad_release_back_and_promote_its_fix(ground: &Ground) -> Result<()> {
    run(ground, Section::Service).await?;
    run(ground, Section::Policy).await?;
    let printed = run(ground, Section::Release).await?;
    ensure!(printed.contains("rolled back"), "{printed}");
    Ok(())
}
