//! The examples under `config/`, run where their tool can be had: the shell of the pipelines with the rights they ask for,
//! the patches of the others with the real kubectl.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::shop::{Ended, NAME, POLICY, Running, Shop, deployment};

const ROLLBACK: &str = "errorbudget.dev/rollback";

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_norway::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A pipeline as its system runs it: the shell of each job.
struct Pipeline {
    shell: &'static [&'static str],
    jobs: fn(&Value, &str) -> String,
    file: Value,
    variables: &'static str,
}

impl Pipeline {
    fn github() -> Self {
        let jobs = |file: &Value, job: &str| {
            let steps = file["jobs"][job]["steps"].as_array().expect("steps");
            steps.iter().map(|step| step["run"].as_str().expect("shell")).collect::<Vec<_>>().join("\n")
        };
        let shell = &["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"];
        Self { shell, jobs, file: yaml("ci/github-actions.yaml"), variables: "env" }
    }

    fn gitlab() -> Self {
        let jobs = |file: &Value, job: &str| texts(&file[job]["script"]).join("\n");
        Self { shell: &["sh", "-ec"], jobs, file: yaml("ci/gitlab-ci.yaml"), variables: "variables" }
    }

    /// Starts a job in this namespace, with the rights that the example's Role gives.
    async fn start(&self, shop: &Shop, job: &str) -> Running {
        let mut command = shop.command(self.shell[0].as_ref());
        command.args(&self.shell[1..]).arg((self.jobs)(&self.file, job));
        let values = [
            ("NAMESPACE", shop.namespace),
            ("POLICY", POLICY),
            ("DEPLOYMENT", NAME),
            ("CONTAINER", NAME),
            ("IMAGE", "kettle:2"),
        ];
        let declared: BTreeSet<&str> =
            self.file[self.variables].as_object().expect("variables").keys().map(String::as_str).collect();
        assert_eq!(declared, values.iter().map(|(name, _)| *name).collect(), "each job gets what the file declares");
        let programs = Path::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper")).parent().expect("a folder");
        let path = format!("{}:{}/plugins:{}", programs.display(), shop.folder().display(), env!("PATH"));
        command.envs(values).env("PATH", path).env("KUBECONFIG", shop.kubeconfig_of_default_account().await);
        Running::start(command)
    }

    async fn run(&self, shop: &Shop, job: &str) -> Ended {
        self.start(shop, job).await.end().await
    }
}

/// What the operator says of the gate.
async fn gate_is(shop: &Shop, gate: &str) {
    let condition = |of: &str, status: &str| {
        let since = "2026-01-01T00:00:00Z";
        json!({"type": of, "status": status, "reason": "Told", "message": "as told", "lastTransitionTime": since})
    };
    shop.say_in_policy(json!({"conditions": [condition("Ready", "True"), condition("GateOpen", gate)]})).await;
}

/// The Role of the example, for the namespace's default account.
async fn grant(shop: &Shop) {
    shop.grant(yaml("ci/role.yaml")["rules"].clone()).await;
}

/// A release from the gate to its end, and one that is rolled back.
async fn runs_from_the_gate_to_the_end(pipeline: Pipeline, shop: &Shop, cannot_tell: i32) {
    grant(shop).await;
    shop.say(json!({"phase": "Succeeded"})).await;
    for (gate, code) in [("Unknown", cannot_tell), ("False", 1), ("True", 0)] {
        gate_is(shop, gate).await;
        let ended = pipeline.run(shop, "validate").await;
        assert_eq!(ended.code, code, "gate {gate}: {ended:?}");
    }

    let mut canary = pipeline.start(shop, "canary").await;
    canary.until_shown("waiting").await;
    shop.say(json!({"phase": "Canary"})).await;
    shop.say(json!({"phase": "Promoting"})).await;
    let ended = canary.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let image = shop.deployment().await["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, "kettle:2");

    let monitor = pipeline.start(shop, "monitor").await;
    shop.say(json!({"phase": "Monitoring"})).await;
    shop.say(json!({"phase": "Succeeded"})).await;
    let ended = monitor.end().await;
    assert!(ended.code == 0 && ended.output.contains("promoted: "), "{ended:?}");
    shop.say(json!({"phase": "RolledBack"})).await;
    assert_eq!(pipeline.run(shop, "monitor").await.code, 3);
}

#[tokio::test]
async fn the_github_workflow_runs_from_the_gate_to_the_end_of_a_rollout() {
    let shop = Shop::open("examples-github").await;
    runs_from_the_gate_to_the_end(Pipeline::github(), &shop, 0).await;
}

#[tokio::test]
async fn the_gitlab_pipeline_runs_from_the_gate_to_the_end_of_a_rollout() {
    let shop = Shop::open("examples-gitlab").await;
    let pipeline = Pipeline::gitlab();
    let allowed = pipeline.file["validate"]["allow_failure"]["exit_codes"].as_i64().expect("a code");
    assert_eq!(allowed, 2, "that nobody can tell does not stop it");
    runs_from_the_gate_to_the_end(pipeline, &shop, 2).await;
    // What was rolled back once is not rolled back twice by its button.
    let ended = Pipeline::gitlab().run(&shop, "rollback").await;
    assert!(ended.code == 0 && ended.output.contains("nothing to do: "), "{ended:?}");
}

#[tokio::test]
async fn argo_cd_ignores_what_a_held_canary_changes_of_the_spec_and_nothing_else() {
    let shop = Shop::open("examples-gitops").await;
    let before = shop.deployment().await;
    shop.hold().await;
    let after = shop.deployment().await;
    let fields = |deployment: &Value| deployment["spec"].as_object().expect("a spec").clone();
    let (before, after) = (fields(&before), fields(&after));
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = all.into_iter().filter(|field| before.get(*field) != after.get(*field));
    let changed: BTreeSet<String> = changed.map(|field| format!("/spec/{field}")).collect();

    let application = yaml("gitops/argocd-application.yaml");
    let ignored = texts(&application["spec"]["ignoreDifferences"][0]["jsonPointers"]);
    assert_eq!(ignored.iter().map(|pointer| (*pointer).to_owned()).collect::<BTreeSet<_>>(), changed);
    assert_eq!(yaml("gitops/flux-kustomization.yaml")["kind"], "Kustomization");
}

/// Between two markers, without the indentation of the first line.
fn heredoc(text: &str) -> String {
    let body = text.split_once("<<-EOT\n").and_then(|(_, rest)| rest.split_once("EOT\n")).expect("a heredoc").0;
    body.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

#[tokio::test]
async fn terraform_asks_for_a_rollback_and_succeeds_when_it_was_made() {
    let file = text("terraform/rollback.tf");
    assert!(file.contains(&format!("\"{ROLLBACK}\" = var.template")), "the annotation it sets");
    let shop = Shop::open("examples-terraform").await;
    shop.say(json!({"phase": "Monitoring"})).await;
    let bad = shop.template().await;
    let start = || {
        let mut command = shop.command("sh".as_ref());
        command.args(["-c", &heredoc(&file)]);
        command.envs([("NAMESPACE", shop.namespace), ("DEPLOYMENT", NAME), ("TEMPLATE", bad.as_str())]);
        Running::start(command)
    };
    // What the resource does, and the operator after it.
    shop.kubectl(&["annotate", "deployment", NAME, &format!("{ROLLBACK}={bad}")]).await;
    assert_eq!(shop.annotation(ROLLBACK).await.as_ref(), Some(&bad));
    shop.kubectl(&["annotate", "deployment", NAME, &format!("{ROLLBACK}-")]).await;
    let outcome = start();
    assert_eq!(shop.until_asked(ROLLBACK).await, bad);
    shop.apply(&deployment("kettle:0")).await;
    let incident = json!({"condemned": {"template": bad}, "outcome": "Recovered"});
    shop.say(json!({"phase": "RolledBack", "incident": incident})).await;
    shop.answer(ROLLBACK, "RolledBack", "rolled back revision 2 to 1").await;
    let ended = outcome.end().await;
    assert!(ended.code == 0 && ended.output.contains("rolled back revision 2 to 1"), "{ended:?}");
    let again = start().end().await;
    assert!(again.code == 0 && again.output.contains("nothing to do: "), "{again:?}");
}

#[tokio::test]
async fn ansible_asks_by_a_patch_and_reads_the_outcome_where_the_operator_writes_it() {
    let tasks = yaml("ansible/rollback.yaml");
    let task = |module: &str| {
        let mut tasks = tasks.as_array().expect("tasks").iter();
        tasks.find(|task| task.get(module).is_some()).unwrap_or_else(|| panic!("a task of {module}")).clone()
    };
    let shop = Shop::open("examples-ansible").await;
    let patch = task("kubernetes.core.k8s")["kubernetes.core.k8s"]["definition"].to_string();
    let patch = patch.replace("{{ template }}", "b0b0");
    shop.kubectl(&["patch", "deployment", NAME, "-p", &patch]).await;
    assert_eq!(shop.annotation(ROLLBACK).await.as_deref(), Some("b0b0"));

    let incident = json!({"condemned": {"template": "b0b0"}, "outcome": "Recovered"});
    shop.say(json!({"phase": "RolledBack", "incident": incident})).await;
    let policy: Value = serde_json::from_str(&shop.kubectl(&["get", "ebp", POLICY, "-o", "json"]).await).expect("JSON");
    let file = text("ansible/rollback.yaml");
    let mut read = BTreeSet::new();
    for expression in file.split("known.resources[0].").skip(1) {
        let end = expression.find(|c: char| !(c.is_alphanumeric() || "._[]".contains(c))).expect("an end");
        let pointer = format!("/{}", expression[..end].replace("[deployment]", &format!(".{NAME}")).replace('.', "/"));
        assert!(policy.pointer(&pointer).is_some(), "{pointer} in {policy}");
        read.insert(pointer.rsplit('/').next().unwrap_or_default().to_owned());
    }
    assert_eq!(read, BTreeSet::from(["incident", "outcome", "template"].map(str::to_owned)));
}
