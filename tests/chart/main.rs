//! The Helm chart, as the real Helm renders it.

mod monitoring;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Parser;
use gatekeeper::cli::{Cli, Command};
use gatekeeper::config::OperatorConfig;
use serde_json::{Value, json};

/// What every installation has to give.
const PROMETHEUS: &str = "prometheus.default.url=http://prometheus.odd:9191/prefix";
/// A release name that does not contain the chart's, so that both name rules show.
const RELEASE: &str = "violet";
/// The name of the release's objects.
const FULL_NAME: &str = "violet-error-budget-gatekeeper";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("charts/error-budget-gatekeeper")
}

fn helm(verb: &[&str], settings: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut command = std::process::Command::new(helm_binary());
    command.env_clear().env("HOME", home.path()).args(verb);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.output().expect("helm starts")
}

fn helm_binary() -> PathBuf {
    static HELM: LazyLock<PathBuf> = LazyLock::new(|| testbed::tools::tools().expect("the tools can be built").helm);
    HELM.clone()
}

fn template(settings: &[&str]) -> Output {
    let chart = chart().display().to_string();
    helm(&["template", RELEASE, &chart, "--namespace", "ochre"], settings)
}

/// All objects of the chart under the given settings.
fn rendered(settings: &[&str]) -> Vec<Value> {
    let output = template(&[&[PROMETHEUS], settings].concat());
    assert!(output.status.success(), "{settings:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("text")
        .split("\n---\n")
        .map(|document| serde_norway::from_str::<Value>(document).expect("YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

/// What Helm says when it refuses the given settings.
fn refusal(settings: &[&str]) -> String {
    let output = template(settings);
    assert!(!output.status.success(), "{settings:?} was accepted");
    String::from_utf8(output.stderr).expect("text")
}

/// Without those that live only while the release is being uninstalled.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind && !is_hook(object)).collect()
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"] == "post-delete"
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "objects of kind {kind}");
    found[0]
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All that the operator may do in the namespaces it watches.
fn rights() -> Value {
    json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": ["errorbudget.dev"], "resources": ["errorbudgetpolicies"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["errorbudget.dev"], "resources": ["errorbudgetpolicies/status"], "verbs": ["patch"]},
    ])
}

/// All that it may do in its own namespace beyond that.
fn lease_rights() -> Value {
    json!([
        {
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "resourceNames": [FULL_NAME], "verbs": ["get", "update", "patch"],
        },
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    ])
}

#[test]
fn lint_finds_nothing_even_when_it_is_strict() {
    let chart = chart().display().to_string();
    for settings in [
        &[][..],
        &[PROMETHEUS],
        &[PROMETHEUS, "watch.namespaces={shop,search}", "crds.install=false", "podDisruptionBudget.enabled=false"],
        &[PROMETHEUS, "monitoring.podMonitor.enabled=true", "monitoring.alerts.enabled=true"],
        &[PROMETHEUS, "serviceAccount.create=false", "serviceAccount.name=present"],
        &[PROMETHEUS, "credentials[0].name=far", "credentials[0].secretName=far-token", "replicas=1"],
    ] {
        let output = helm(&["lint", "--strict", &chart], settings);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{settings:?}: {said}");
        assert!(!said.contains("[WARNING]"), "{settings:?}: {said}");
    }
}

#[test]
fn a_misspelt_value_is_refused_and_named() {
    for (setting, word) in [
        ("replicaCount=3", "replicaCount"),
        ("image.repo=registry.example.com/x", "repo"),
        ("watch.namespace={shop}", "namespace"),
        ("crds.enabled=false", "enabled"),
        ("admission.holds=false", "holds"),
        ("prometheus.default.adress=http://p", "adress"),
        ("prometheus.default.basicAuth.password=secret", "password"),
        ("prometheus.Upper.url=http://p", "Upper"),
        ("podEvidence.enable=true", "enable"),
        ("podEvidence.timeout=soon", "timeout"),
        ("log.level=loud", "level"),
        ("image.digest=latest", "digest"),
        ("podDisruptionBudget.minAvailable=1", "minAvailable"),
        ("resources.limit.cpu=1", "limit"),
        ("affinity.nodeAfinity.x=1", "nodeAfinity"),
        ("credentials[0].secret=token", "secret"),
        ("prometheus.default.concurrency=0", "concurrency"),
        ("prometheus.default.maxResponseBytes=1", "maxResponseBytes"),
        ("prometheus.default.maxQueryBytes=1", "maxQueryBytes"),
        ("prometheus.default.timeout=soon", "timeout"),
    ] {
        let said = refusal(&[PROMETHEUS, setting]);
        assert!(said.contains(word), "{setting}: {said}");
    }
}

#[test]
fn an_endpoint_without_an_address_is_refused_with_what_to_write_instead() {
    let said = refusal(&[]);
    assert!(said.contains("prometheus.default.url is empty"), "{said}");
    assert!(said.contains("--set prometheus.default.url=http://"), "{said}");

    let said = refusal(&[PROMETHEUS, "prometheus.far.timeout=2s"]);
    assert!(said.contains("url"), "{said}");
}

#[test]
fn the_rights_are_the_smallest_and_cover_all_namespaces_by_default() {
    let objects = rendered(&[]);
    assert_eq!(one(&objects, "ClusterRole")["rules"], rights());
    assert_eq!(one(&objects, "Role")["rules"], lease_rights());
    assert_eq!(one(&objects, "Role")["metadata"]["namespace"], "ochre");

    let account = json!([{"kind": "ServiceAccount", "name": FULL_NAME, "namespace": "ochre"}]);
    let cluster_binding = one(&objects, "ClusterRoleBinding");
    assert_eq!(cluster_binding["subjects"], account);
    assert_eq!(cluster_binding["roleRef"]["name"], one(&objects, "ClusterRole")["metadata"]["name"]);
    let binding = one(&objects, "RoleBinding");
    assert_eq!(binding["subjects"], account);
    assert_eq!(binding["roleRef"]["name"], one(&objects, "Role")["metadata"]["name"]);
    assert_eq!(one(&objects, "ServiceAccount")["metadata"]["name"], FULL_NAME);
}

#[test]
fn no_rule_has_a_wildcard_or_reaches_secrets() {
    for settings in [&[][..], &["watch.namespaces={shop,search}"]] {
        let objects = rendered(settings);
        for role in of_kind(&objects, "ClusterRole").into_iter().chain(of_kind(&objects, "Role")) {
            let rules = role["rules"].to_string();
            assert!(!rules.contains('*') && !rules.contains("secrets"), "{rules}");
        }
    }
}

#[test]
fn limited_to_namespaces_it_has_a_role_in_each_and_none_in_the_cluster() {
    let objects = rendered(&["watch.namespaces={shop,search,shop}"]);
    assert!(of_kind(&objects, "ClusterRole").is_empty());
    assert!(of_kind(&objects, "ClusterRoleBinding").is_empty());

    let mut roles: Vec<_> = of_kind(&objects, "Role")
        .into_iter()
        .map(|role| (role["metadata"]["namespace"].as_str().expect("a namespace"), &role["rules"]))
        .collect();
    roles.sort_by_key(|(namespace, _)| *namespace);
    let (rights, lease_rights) = (rights(), lease_rights());
    assert_eq!(roles, [("ochre", &lease_rights), ("search", &rights), ("shop", &rights)]);

    let bindings = of_kind(&objects, "RoleBinding");
    assert_eq!(bindings.len(), 3);
    assert!(bindings.iter().all(|binding| binding["subjects"][0]["namespace"] == "ochre"));

    let arguments = container(&objects)["args"].to_string();
    assert_eq!(arguments.matches("--namespace=").count(), 2, "{arguments}");
}

fn container(objects: &[Value]) -> &Value {
    &one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn the_pods_meet_the_restricted_security_standard() {
    let objects = rendered(&[]);
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(
        pod["containers"][0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    for part in ["requests", "limits"] {
        for resource in ["cpu", "memory"] {
            assert!(pod["containers"][0]["resources"][part][resource].is_string(), "{part} of {resource}");
        }
    }
}

#[test]
fn the_operator_takes_the_lease_that_its_role_names() {
    let objects = rendered(&[]);
    let arguments = container(&objects)["args"].as_array().expect("arguments").clone();
    assert!(arguments.contains(&json!(format!("--lease-name={FULL_NAME}"))), "{arguments:?}");
    assert!(arguments.contains(&json!("--lease-namespace=ochre")), "{arguments:?}");
}

#[test]
fn the_operator_understands_the_arguments_that_its_pods_give_it() {
    for (settings, namespaces) in [
        (&[][..], &[][..]),
        (&["watch.namespaces={shop,search}", "log.format=json", "log.level=debug", "replicas=1"], &["shop", "search"]),
    ] {
        let objects = rendered(settings);
        let arguments = container(&objects)["args"].as_array().expect("arguments").clone();
        let words = arguments.iter().map(|argument| argument.as_str().expect("text"));
        let understood = Cli::try_parse_from(std::iter::once("error-budget-gatekeeper").chain(words));
        let understood = understood.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let Command::Run(run) = understood.command else { panic!("{arguments:?} do not run the operator") };
        assert_eq!(run.namespaces, namespaces);
        assert_eq!((run.lease_name.as_str(), run.lease_namespace.as_deref()), (FULL_NAME, Some("ochre")));
        let ports = container(&objects)["ports"].as_array().expect("ports");
        assert!(ports.iter().any(|port| port["containerPort"] == run.listen.port()), "{ports:?}");
        assert_eq!(run.kubeconfig, None);
        let mounts = container(&objects)["volumeMounts"].as_array().expect("mounts");
        let file = run.config.to_str().expect("text");
        assert!(mounts.iter().any(|mount| mount["mountPath"] == file), "{file} in {mounts:?}");
    }
}

#[test]
fn a_release_that_shares_the_policies_with_others_has_its_admission_policies_and_its_arguments_say_the_same() {
    let settings = [
        "watch.policySelector.matchLabels.shard=north",
        "watch.policySelector.matchExpressions[0].key=tier",
        "watch.policySelector.matchExpressions[0].operator=NotIn",
        "watch.policySelector.matchExpressions[0].values={gold,silver}",
        "watch.policySelector.matchExpressions[1].key=legacy",
        "watch.policySelector.matchExpressions[1].operator=DoesNotExist",
    ];
    let objects = rendered(&settings);
    let argument = "--policy-selector=shard=north,tier notin (gold,silver),!legacy";
    let arguments = container(&objects)["args"].as_array().expect("arguments");
    assert!(arguments.contains(&json!(argument)), "{arguments:?}");
    let words = arguments.iter().map(|argument| argument.as_str().expect("text"));
    Cli::try_parse_from(std::iter::once("error-budget-gatekeeper").chain(words)).expect("the operator understands it");

    let job = objects.iter().find(|object| object["kind"] == "Job").expect("the Job of the uninstall");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert!(container["args"].as_array().is_some_and(|args| args.contains(&json!(argument))), "{container}");
    let words = container["args"].as_array().into_iter().flatten().map(|argument| argument.as_str().expect("text"));
    Cli::try_parse_from(std::iter::once("error-budget-gatekeeper").chain(words)).expect("the Job understands it");
    let list = json!({
        "apiGroups": ["errorbudget.dev"], "resources": ["errorbudgetpolicies"], "verbs": ["override", "list"],
    });
    let rights = objects.iter().filter(|object| is_hook(object) && object["kind"] == "ClusterRole");
    assert!(rights.into_iter().all(|role| role["rules"].as_array().is_some_and(|rules| rules.contains(&list))));

    let output = helm(
        &[
            "template",
            RELEASE,
            &chart().display().to_string(),
            "--api-versions",
            "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
            "--api-versions",
            "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy",
        ],
        &[&[PROMETHEUS], &settings[..]].concat(),
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let documents = text.split("\n---\n").map(|document| serde_norway::from_str::<Value>(document).expect("YAML"));
    let params: Vec<Value> =
        documents.map(|object| object["spec"]["paramRef"].clone()).filter(|it| !it.is_null()).collect();
    assert_eq!(params.len(), 3, "the hold, the refusal and the rights");
    for params in params {
        assert_eq!(params["selector"]["matchLabels"], json!({"shard": "north"}));
        assert_eq!(params["selector"]["matchExpressions"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn whatever_is_about_the_pods_selects_them() {
    let objects = rendered(&["podLabels.team=red"]);
    let deployment = &one(&objects, "Deployment")["spec"];
    let labels = deployment["template"]["metadata"]["labels"].as_object().expect("labels");
    assert_eq!(labels["team"], "red");
    for selector in [
        &deployment["selector"]["matchLabels"],
        &one(&objects, "Service")["spec"]["selector"],
        &one(&objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &one(&objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ] {
        let selector = selector.as_object().expect("a selector");
        assert!(!selector.is_empty());
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{selector:?}");
    }
}

#[test]
fn only_the_port_of_the_pages_is_reachable_from_outside_and_by_whom_can_be_said() {
    let port = json!([{"protocol": "TCP", "port": "http"}]);
    let objects = rendered(&[]);
    let policy = &one(&objects, "NetworkPolicy")["spec"];
    assert_eq!((&policy["policyTypes"], &policy["ingress"]), (&json!(["Ingress"]), &json!([{"ports": port}])));
    let named = container(&objects)["ports"].as_array().expect("ports");
    assert!(named.iter().any(|port| port["name"] == "http"), "{named:?}");

    let monitoring = "networkPolicy.from[0].namespaceSelector.matchLabels.team=watchers";
    let from = json!([{"namespaceSelector": {"matchLabels": {"team": "watchers"}}}]);
    let objects = rendered(&[monitoring]);
    assert_eq!(one(&objects, "NetworkPolicy")["spec"]["ingress"], json!([{"ports": port, "from": from}]));
    assert!(of_kind(&rendered(&["networkPolicy.enabled=false"]), "NetworkPolicy").is_empty());
}

#[test]
fn a_change_of_the_configuration_replaces_the_pods_and_nothing_else_does() {
    let checksum = |settings: &[&str]| {
        one(&rendered(settings), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    let before = checksum(&[]);
    assert_eq!(before.as_str().map(str::len), Some(64));
    assert_ne!(before, checksum(&["prometheus.default.timeout=3s"]));
    assert_eq!(before, checksum(&["service.port=9090"]));
}

#[test]
fn endpoints_and_their_credentials_reach_the_operator() {
    let objects = rendered(&[
        "prometheus.far.url=https://far.odd",
        "prometheus.far.concurrency=3",
        "prometheus.far.maxResponseBytes=33554433",
        "prometheus.far.maxQueryBytes=16Ki",
        "prometheus.far.headers.X-Scope-OrgID=shop",
        "prometheus.far.podLabel=kubernetes_pod_name",
        "prometheus.far.namespaceLabel=kubernetes_namespace",
        "prometheus.far.partialResponse=false",
        "prometheus.far.bearerTokenFile=credentials/far/token",
        "credentials[0].name=far",
        "credentials[0].secretName=far-token",
    ]);
    let file = one(&objects, "ConfigMap")["data"]["operator.yaml"].as_str().expect("a file");
    assert_eq!(
        serde_norway::from_str::<Value>(file).expect("YAML"),
        json!({"prometheus": {
            "default": {"url": "http://prometheus.odd:9191/prefix"},
            "far": {
                "url": "https://far.odd",
                "concurrency": 3,
                "maxResponseBytes": 33_554_433,
                "maxQueryBytes": "16Ki",
                "headers": {"X-Scope-OrgID": "shop"},
                "podLabel": "kubernetes_pod_name",
                "namespaceLabel": "kubernetes_namespace",
                "partialResponse": false,
                "bearerTokenFile": "credentials/far/token",
            },
        }})
    );

    OperatorConfig::parse(Path::new("operator.yaml"), file).expect("the operator accepts it");

    let mounts = container(&objects)["volumeMounts"].as_array().expect("mounts");
    let mount = mounts.iter().find(|mount| mount["name"] == "credentials-far").expect("the mount");
    assert_eq!(mount["mountPath"], "/etc/error-budget-gatekeeper/credentials/far");
    assert_eq!(mount["readOnly"], true);
    let volumes = one(&objects, "Deployment")["spec"]["template"]["spec"]["volumes"].as_array().expect("volumes");
    let volume = volumes.iter().find(|volume| volume["name"] == "credentials-far").expect("the volume");
    assert_eq!(volume["secret"]["secretName"], "far-token");
}

/// The operator's configuration file under the given settings.
fn configuration(settings: &[&str]) -> OperatorConfig {
    let objects = rendered(settings);
    let file = one(&objects, "ConfigMap")["data"]["operator.yaml"].as_str().expect("a file");
    OperatorConfig::parse(Path::new("operator.yaml"), file).expect("the operator accepts it")
}

#[test]
fn pods_are_read_only_where_that_is_switched_on_and_that_takes_no_further_right() {
    assert!(configuration(&[]).pod_evidence.is_none());
    let limits = configuration(&["podEvidence.enabled=true"]).pod_evidence.expect("it is on");
    assert_eq!((limits.timeout, limits.concurrency, limits.max_response_bytes), (Duration::from_secs(2), 32, 2 << 20));
    let limited = ["podEvidence.enabled=true", "podEvidence.timeout=700ms", "podEvidence.maxResponseBytes=1Mi"];
    let limits = configuration(&limited).pod_evidence.expect("it is on");
    assert_eq!((limits.timeout, limits.max_response_bytes), (Duration::from_millis(700), 1 << 20));
    let objects = rendered(&["podEvidence.enabled=true"]);
    assert_eq!(one(&objects, "ClusterRole")["rules"], rights());
}

#[test]
fn without_a_prometheus_there_must_be_pods_to_read() {
    let alone = "prometheus.default=null";
    let output = template(&[alone, "podEvidence.enabled=true"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(refusal(&[alone]).contains("set podEvidence.enabled=true to read pods themselves"));
    assert!(refusal(&["podEvidence.enabled=true"]).contains("prometheus.default.url is empty"));
}

#[test]
fn a_digest_goes_before_a_tag() {
    let digest = format!("sha256:{}", "5e".repeat(32));
    for (settings, image) in [
        (vec![], "error-budget-gatekeeper:0.1.0".to_owned()),
        (vec!["image.tag=odd".to_owned()], "error-budget-gatekeeper:odd".to_owned()),
        (
            vec!["image.tag=odd".to_owned(), format!("image.digest={digest}")],
            format!("error-budget-gatekeeper@{digest}"),
        ),
    ] {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        assert_eq!(container(&rendered(&settings))["image"], image);
    }
}

/// The same value with every number written one way: Helm renders 10.0 as 10.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), plain(field))).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_definition_is_the_generated_one_and_stays_when_the_release_goes() {
    let generated = read("crds/errorbudgetpolicies.yaml");
    let copy = read("charts/error-budget-gatekeeper/files/errorbudgetpolicies.yaml");
    assert!(generated == copy, "the chart's copy is stale: run `make crds`");
    let generated: Value = serde_norway::from_str(&generated).expect("YAML");

    let objects = rendered(&[]);
    let definition = one(&objects, "CustomResourceDefinition");
    assert!(plain(&definition["spec"]) == plain(&generated["spec"]), "Helm renders another definition");
    assert_eq!(definition["metadata"]["name"], generated["metadata"]["name"]);
    assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");

    assert!(of_kind(&rendered(&["crds.install=false"]), "CustomResourceDefinition").is_empty());
}

#[test]
fn the_image_is_built_with_the_toolchain_that_the_tests_ran_on() {
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).expect("a channel in quotes");
    assert!(read("Dockerfile").contains(&format!("rust:{version}-")), "the Dockerfile's BUILD_IMAGE is not {version}");
}

#[test]
fn what_goes_to_the_images_builder_is_all_that_cargo_and_the_compiler_need() {
    let given = tempfile::tempdir().expect("a folder");
    let entries = read(".dockerignore");
    for entry in entries.lines().filter_map(|line| line.strip_prefix('!')) {
        let to = given.path().join(entry);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("folders");
        let copied = std::process::Command::new("cp").arg("-R").args([root().join(entry), to]).status().expect("cp");
        assert!(copied.success(), "{entry} is not there");
    }
    let cargo = ["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"];
    let read_by = std::process::Command::new(env!("CARGO")).args(cargo).current_dir(given.path()).output();
    let read_by = read_by.expect("cargo starts");
    assert!(read_by.status.success(), "{}", String::from_utf8_lossy(&read_by.stderr));
    let dockerfile = read("Dockerfile");
    let words = dockerfile.split_whitespace().filter(|word| word.starts_with("packaging/"));
    words.for_each(|file| assert!(given.path().join(file).exists(), "{file} is not given to the builder"));
}

#[test]
fn the_chart_is_of_the_programs_version() {
    let chart: Value = serde_norway::from_str(&read("charts/error-budget-gatekeeper/Chart.yaml")).expect("YAML");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn after_an_uninstall_a_job_may_release_what_is_held_and_nothing_else() {
    for (settings, roles) in [(&[][..], 1), (&["watch.namespaces={shop,search}"], 2)] {
        let objects = rendered(settings);
        let hooks: Vec<&Value> = objects.iter().filter(|object| is_hook(object)).collect();
        let rules: Vec<&Value> = hooks.iter().map(|hook| &hook["rules"]).filter(|rules| !rules.is_null()).collect();
        let release = json!([
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch"]},
            {"apiGroups": ["errorbudget.dev"], "resources": ["errorbudgetpolicies"], "verbs": ["override"]},
        ]);
        assert_eq!(rules, vec![&release; roles]);
        let job = hooks.iter().find(|hook| hook["kind"] == "Job").expect("a Job");
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["containers"].as_array().map(Vec::len), Some(roles));
        for hook in &hooks {
            let policy = hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"].as_str().unwrap_or_default();
            assert!(policy.contains("hook-succeeded"), "{hook}");
        }
    }
    assert!(!rendered(&["uninstall.release=false"]).iter().any(is_hook));
}
