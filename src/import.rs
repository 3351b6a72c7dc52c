//! `import`: a policy from what another tool's files promise. What cannot be carried over is said, and never guessed.

mod openslo;
mod threshold;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::lint;
use openslo::{Imported, slug};

/// From what to import.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// The format.
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Format {
    /// Print a policy with the objectives of OpenSLO documents (openslo/v1): exit 0 all carried over, 1 not all
    ///
    /// SLOs become the objectives of one policy, since all of them govern the same Deployments. Their indicators are
    /// ratioMetrics with queries of Prometheus, inline or of an SLI in the same file: bad and total, or good and total where
    /// one matcher tells them apart. sum, rate and increase around a counter are taken off, which leaves the ratio as it is.
    /// A thresholdMetric of a histogram becomes a latency objective.
    /// What cannot be carried over is said on standard error, with what to write instead. The policy passes `lint`.
    Openslo(OpenSloArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct OpenSloArgs {
    /// File with OpenSLO documents, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Labels of the Deployments that the policy is to govern, which OpenSLO does not say; such as app=checkout,tier=web
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    selector: Vec<(String, String)>,
    /// Take this SLO alone
    #[arg(long, value_name = "NAME")]
    slo: Option<String>,
    /// Name of the policy; default: that of the SLOs' service
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Namespace of the policy; default: the one that the queries name, else none
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write a label and its value, for example app=checkout".to_owned()),
    }
}

/// Prints the policy, tells `errors` what could not be carried over, and returns the exit code: 0 all was, 1 not all.
///
/// # Errors
/// When the file cannot be read, holds no SLO, or it is not said which Deployments are meant.
pub fn run(args: &ImportArgs, input: impl Read, mut output: impl Write, mut errors: impl Write) -> anyhow::Result<u8> {
    let Format::Openslo(args) = &args.format;
    let objects = lint::objects(&args.file, input)?;
    let imported = openslo::import(&objects, args.slo.as_deref());
    if imported.objectives.is_empty() && imported.refused.is_empty() {
        anyhow::bail!("{}: {}", args.file.display(), nothing(args, &objects));
    }
    let mut told = |kind: &str, lines: &[String]| -> anyhow::Result<()> {
        for line in lines {
            writeln!(errors, "{kind}: {line}").context("standard error")?;
        }
        Ok(())
    };
    told("note", &imported.notes)?;
    told("error", &imported.refused)?;
    if imported.objectives.is_empty() {
        return Ok(1);
    }
    if args.selector.is_empty() {
        let app = imported.services.first().map_or("checkout", String::as_str);
        anyhow::bail!(
            "OpenSLO does not say which Deployments serve it; write for example --selector app={}",
            slug(app)
        );
    }
    let policy = policy(args, &imported)?;
    let problems = lint::problems(&policy);
    told("error", &problems)?;
    if !problems.is_empty() {
        return Ok(1);
    }
    match output.write_all(text(&policy, &imported)?.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context("standard output"),
        _ => {}
    }
    Ok(u8::from(!imported.refused.is_empty()))
}

fn nothing(args: &OpenSloArgs, objects: &[Value]) -> String {
    match &args.slo {
        Some(name) => format!("there is no SLO {name} (openslo/v1) in it"),
        None => format!("there is no SLO (openslo/v1) among its {} objects", objects.len()),
    }
}

fn policy(args: &OpenSloArgs, imported: &Imported) -> anyhow::Result<Value> {
    let named: BTreeSet<&String> = imported.namespaces.iter().collect();
    let namespace = match (&args.namespace, named.len()) {
        (Some(namespace), _) => Some(namespace),
        (None, 0 | 1) => named.first().copied(),
        (None, _) => {
            let named: Vec<&str> = named.iter().map(|name| name.as_str()).collect();
            anyhow::bail!("the queries are of several namespaces ({}); take one SLO with --slo", named.join(", "));
        }
    };
    let services: BTreeSet<&String> = imported.services.iter().collect();
    let default = match (services.len(), imported.from.first()) {
        (1, _) => services.first().map(|service| slug(service)),
        (_, first) => first.map(|name| slug(name)),
    };
    let name = args.name.clone().or(default).filter(|name| !name.is_empty());
    let name = name.context("the policy needs a name; write for example --name checkout")?;
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let labels: Map<String, Value> = args.selector.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    Ok(json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, "objectives": imported.objectives},
    }))
}

/// The policy as a person would write it: what it governs first, and of an objective its name first.
fn text(policy: &Value, imported: &Imported) -> anyhow::Result<String> {
    let mut from = imported.from.clone();
    from.dedup();
    let mut text = format!("# From OpenSLO: {}\n", from.join(", "));
    let block = |value: &Value| serde_norway::to_string(value).context("writing YAML");
    let indented = |text: &str, by: usize| {
        let lines = text.lines().map(|line| format!("{}{line}\n", " ".repeat(by)));
        lines.collect::<String>()
    };
    text += "apiVersion: errorbudget.dev/v1alpha1\nkind: ErrorBudgetPolicy\n";
    text += "metadata:\n";
    text += &indented(&block(&policy["metadata"])?, 2);
    text += "spec:\n  selector:\n";
    text += &indented(&block(&policy["spec"]["selector"])?, 4);
    text += "  objectives:\n";
    for objective in &imported.objectives {
        for (i, field) in ["name", "target", "window", "indicator"].iter().enumerate() {
            if objective[*field].is_null() {
                continue;
            }
            let lines = indented(&block(&json!({*field: objective[*field]}))?, 6);
            text += &if i == 0 { lines.replacen("      ", "    - ", 1) } else { lines };
        }
    }
    Ok(text)
}

#[cfg(test)]
#[path = "import/tests.rs"]
mod tests;
