#![allow(clippy::unwrap_used)]

use super::*;

fn parse(text: &str) -> Result<OperatorConfig, String> {
    OperatorConfig::parse(Path::new("operator.yaml"), text).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text)
}

#[test]
fn the_example_file_is_valid_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/operator.yaml");
    let config = OperatorConfig::load(&path).unwrap();
    let endpoint = config.endpoint("default").unwrap();
    assert_eq!(endpoint.timeout, default_timeout());
    assert_eq!(endpoint.concurrency, default_concurrency());
    assert_eq!(endpoint.max_response_bytes, default_max_response_bytes());
}

#[test]
fn what_the_example_file_has_commented_out_is_valid_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/operator.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let uncomment = |line: &str| match line.strip_prefix("  # ") {
        Some(rest) => format!("  {rest}\n"),
        None => format!("{line}\n"),
    };
    let uncommented = text.lines().map(uncomment);
    let config = parse(&uncommented.collect::<String>()).unwrap();
    assert_eq!(config.prometheus.keys().collect::<Vec<_>>(), ["default", "shared"]);
    let shared = config.endpoint("shared").unwrap();
    assert_eq!(shared.headers["x-scope-orgid"], "payments");
    assert!(shared.basic_auth.is_some() && shared.ca_file.is_some());
}

#[test]
fn series_may_name_pods_and_namespaces_by_other_labels() {
    let labels = |more: &str| {
        parse(&format!("prometheus: {{default: {{url: 'http://x', {more}}}}}"))
            .map(|config| config.endpoint("default").unwrap().labels())
    };
    assert_eq!(labels("").unwrap(), PodLabels::default());
    let set = labels("podLabel: kubernetes_pod_name, namespaceLabel: kubernetes_namespace").unwrap();
    assert_eq!((&*set.namespace, &*set.pod), ("kubernetes_namespace", "kubernetes_pod_name"));
    let copies = labels("podLabel: instance, replicaLabel: replica").unwrap();
    assert_eq!(copies.address(), "namespace, instance");
    assert_eq!(copies.copy(), "namespace, instance, job, prometheus, replica");
    for bad in ["podLabel: ''", "podLabel: k8s.pod", "namespaceLabel: __name__", "podLabel: le", "podLabel: 1pod"] {
        assert!(labels(bad).unwrap_err().contains("write the name of a label"), "{bad}");
    }
    assert!(labels("podLabel: namespace").unwrap_err().contains("has one label as both"));
}

#[test]
fn an_endpoint_needs_only_its_address() {
    let config = parse("prometheus: {default: {url: 'http://localhost:9090'}}").unwrap();
    let endpoint = config.endpoint("default").unwrap();
    assert_eq!(endpoint.url.as_str(), "http://localhost:9090/");
    assert_eq!(endpoint.timeout, Duration::from_secs(5));
    assert_eq!(endpoint.max_response_bytes, 32 * 1024 * 1024);
}

#[test]
fn an_unknown_endpoint_lists_the_known_ones() {
    let config = parse("prometheus: {b: {url: 'http://b'}, a: {url: 'http://a'}}").unwrap();
    let error = config.endpoint("c").unwrap_err().to_string();
    assert_eq!(error, "there is no Prometheus endpoint named \"c\"; the operator's configuration has a, b");
}

#[test]
fn an_error_names_file_field_and_line_and_says_what_to_write() {
    let error = refused("prometheus:\n  default:\n    url: http://localhost\n    timeout: soon\n");
    assert!(error.starts_with("operator.yaml: prometheus.default.timeout: \"soon\" is no duration"), "{error}");
    assert!(error.contains("write a duration from 100ms to 5m, like 5s or 250ms at line 4"), "{error}");
    let error = refused("prometheus:\n  default:\n    url: http://localhost\n    timout: 5s\n");
    assert!(error.contains("unknown field `timout`, expected one of") && error.contains("line 4"), "{error}");
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let with = |field: &str| refused(&format!("prometheus: {{default: {{url: 'http://localhost', {field}}}}}"));
    for (field, says) in [
        ("timeout: 5", "write a duration"),
        ("timeout: 0s", "out of range"),
        ("timeout: -5s", "is no duration"),
        ("concurrency: 0", "from 1 to 256"),
        ("concurrency: many", "from 1 to 256"),
        ("maxResponseBytes: 32MB", "like 32Mi"),
        ("maxResponseBytes: 1", "out of range"),
        ("maxQueryBytes: 9Mi", "like 512Ki"),
        ("maxQueryBytes: 1Ki", "out of range"),
        ("headers: {Authorization: x}", "basicAuth"),
        ("headers: {'a b': x}", "is no name of a header"),
        ("headers: {a: \"x\\ny\"}", "cannot be sent"),
        ("headers: {a: x, A: y}", "is there twice"),
        ("bearerTokenFile: t, basicAuth: {username: u, passwordFile: p}", "only one of them"),
        ("basicAuth: {username: 'a:b', passwordFile: p}", "has a colon in it"),
        ("caFile: ca.crt", "write https"),
        ("basicAuth: {username: u, password: p}", "unknown field `password`"),
        ("url: http://again", "duplicate field"),
    ] {
        let error = with(field);
        assert!(error.contains(says), "{field}: {error}");
    }
}

#[test]
fn addresses_that_cannot_be_meant_are_refused() {
    for (address, says) in [
        ("localhost:9090", "neither http nor https"),
        ("/prometheus", "is no URL"),
        ("http://user:secret@localhost", "belong in basicAuth"),
        ("http://localhost?x=y", "query or fragment"),
    ] {
        let error = refused(&format!("prometheus: {{default: {{url: '{address}'}}}}"));
        assert!(error.contains(says) && error.contains("write an address like"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn names_that_no_policy_could_write_are_refused() {
    for name in ["Default", "-a", "a-", "a.b", "''", "ä"] {
        let error = refused(&format!("prometheus: {{{name}: {{url: 'http://a'}}}}"));
        assert!(error.contains("cannot be the name of an endpoint"), "{error}");
    }
    assert!(refused("prometheus: {a: {url: 'http://a'}, a: {url: 'http://b'}}").contains("is there twice"));
    assert!(refused("prometheus: {}").contains("there is no Prometheus endpoint"));
    assert!(refused("{}").contains("or podEvidence: {} to read pods themselves"));
}

#[test]
fn where_pods_are_read_there_may_be_no_prometheus() {
    let config = parse("podEvidence: {}").unwrap();
    assert_eq!(config.prometheus.len(), 0);
    let limits = config.pod_evidence.unwrap();
    assert_eq!((limits.timeout, limits.concurrency), (Duration::from_secs(2), 32));
    assert_eq!(limits.max_response_bytes, 2 * 1024 * 1024);
    assert!(parse("prometheus: {a: {url: 'http://a'}}").unwrap().pod_evidence.is_none());
    assert!(refused("podEvidence: {concurrency: 0}").contains("from 1 to 256"));
    assert!(refused("podEvidence: {retries: 3}").contains("unknown field `retries`"));
    let unknown = parse("podEvidence: {}").unwrap().endpoint("c").unwrap_err().to_string();
    assert!(unknown.ends_with("the operator's configuration has none; write one under prometheus"), "{unknown}");
}

#[test]
fn files_are_read_at_the_start_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.yaml");
    let load = |content: &str| {
        std::fs::write(&path, format!("prometheus: {{default: {{url: 'http://a', {content}}}}}")).unwrap();
        OperatorConfig::load(&path).map_err(|error| error.to_string())
    };
    let error = load("bearerTokenFile: token").unwrap_err();
    assert!(error.contains("operator.yaml: prometheus.default.bearerTokenFile: cannot read"), "{error}");
    std::fs::write(folder.path().join("token"), "\n").unwrap();
    assert!(load("bearerTokenFile: token").unwrap_err().contains("is empty"));
    std::fs::write(folder.path().join("token"), "a\nb").unwrap();
    assert!(load("bearerTokenFile: token").unwrap_err().contains("on one line"));
    std::fs::write(folder.path().join("token"), "secret\n").unwrap();
    let config = load("bearerTokenFile: token").unwrap();
    let file = config.endpoint("default").unwrap().bearer_token_file.clone().unwrap();
    assert_eq!(file.read().unwrap(), "secret");
    std::fs::write(folder.path().join("token"), "rotated\n").unwrap();
    assert_eq!(file.read().unwrap(), "rotated");

    let basic = load("basicAuth: {username: u, passwordFile: absent}").unwrap_err();
    assert!(basic.contains("prometheus.default.basicAuth.passwordFile"), "{basic}");
    std::fs::write(&path, "prometheus: {default: {url: 'https://a', caFile: token}}").unwrap();
    let error = OperatorConfig::load(&path).unwrap_err().to_string();
    assert!(error.contains("prometheus.default.caFile") && error.contains("no usable certificate"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = OperatorConfig::load(Path::new("/nowhere/operator.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration file /nowhere/operator.yaml"), "{error}");
}
