use serde_json::{Value, json};

use super::*;

const SOUND: &str = "\
apiVersion: errorbudget.dev/v1alpha1
kind: ErrorBudgetPolicy
metadata: {name: checkout, namespace: shop}
spec:
  selector: {matchLabels: {app: checkout}}
  objectives:
    - name: availability
      target: \"99.9\"
      indicator: {ratio: {errors: 'http_requests_total{code=~\"5..\"}', total: http_requests_total}}
";

fn args(change: impl FnOnce(&mut LintArgs)) -> LintArgs {
    let mut args = LintArgs {
        files: vec!["-".into()],
        namespace: "default".to_owned(),
        prometheus: None,
        config: None,
        deployments: Vec::new(),
        output: Output::Text,
    };
    change(&mut args);
    args
}

/// Exit code, standard output, standard error.
fn linted(args: &LintArgs, input: &str) -> (u8, String, String) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let code = run(args, input.as_bytes(), &mut output, &mut errors).expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (code, text(output), text(errors))
}

#[test]
fn a_sound_policy_among_other_objects_is_exit_code_0() {
    let input = format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}}}\n---\n{SOUND}");
    let (code, said, errors) = linted(&args(|_| {}), &input);
    assert_eq!(
        (code, said.as_str(), errors.as_str()),
        (0, "1 policy: no problem; 1 object of another kind skipped\n", "")
    );
}

#[test]
fn every_finding_names_file_document_and_field_and_the_exit_code_is_1() {
    let bad = SOUND.replace("target:", "traget:").replace("app: checkout}", "app: on}");
    let (code, said, _) = linted(&args(|_| {}), &format!("{SOUND}---\n{bad}"));
    assert_eq!(code, 1);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines.iter().all(|line| line.starts_with("stdin:2: spec.") || line.starts_with("2 policies: 2 problems")),
        "{said}"
    );
    assert!(
        said.contains("stdin:2: spec.objectives[0].traget: there is no such field; did you mean target?"),
        "{said}"
    );
    assert!(said.contains("stdin:2: spec.selector.matchLabels.app: it is the boolean true"), "{said}");
}

#[test]
fn what_cannot_be_read_is_exit_code_2_and_the_rest_is_said() {
    let (code, said, errors) = linted(&args(|_| {}), &format!("a: [\n---\n{SOUND}"));
    assert_eq!(code, 2);
    assert!(errors.starts_with("error: stdin:1: line "), "{errors}");
    assert_eq!(said, "1 policy: no problem; 1 file or document could not be read\n");
    let (code, said, errors) = linted(&args(|args| args.files = vec!["nowhere.yaml".into()]), "");
    assert!(code == 2 && errors.starts_with("error: nowhere.yaml: cannot be read"), "{errors}");
    assert_eq!(said, "0 policies: no problem; 1 file or document could not be read\n");
}

#[test]
fn files_without_any_policy_are_not_clean() {
    let (code, _, errors) = linted(&args(|_| {}), "{apiVersion: v1, kind: Service}");
    assert_eq!(
        (code, errors.as_str()),
        (2, "error: there is no ErrorBudgetPolicy in what was named with --filename\n")
    );
}

#[test]
fn a_program_gets_the_same_as_one_object() {
    let (code, said, _) = linted(&args(|args| args.output = Output::Json), &SOUND.replace("99.9", "100"));
    let object: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &object["policies"][0]["file"], &object["policies"][0]["document"]),
        (1, &json!("stdin"), &json!(1))
    );
    let finding = &object["policies"][0]["findings"][0];
    assert_eq!((&finding["severity"], &finding["field"]), (&json!("Problem"), &json!("spec.objectives[0].target")));
}

#[test]
fn an_endpoint_that_the_operator_does_not_have_is_a_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("operator.yaml");
    std::fs::write(&path, "prometheus: {default: {url: 'http://a', bearerTokenFile: /not/here}}").expect("written");
    let with = |name: &str| {
        let policy = format!("{SOUND}  prometheus: {name}\n");
        linted(&args(|args| args.config = Some(path.clone())), &policy)
    };
    assert_eq!(with("default").0, 0, "files of credentials need not be here when nobody is asked");
    let (code, said, _) = with("other");
    assert!(code == 1 && said.contains("spec.prometheus: there is no Prometheus endpoint named \"other\""), "{said}");
}

#[test]
fn the_endpoint_is_that_of_the_configuration_at_the_address_that_is_given() {
    let config = OperatorConfig::parse(
        Path::new("x"),
        "prometheus: {default: {url: 'http://a', timeout: 7s, headers: {X-Scope-OrgID: team}}}",
    );
    let config = config.expect("it is sound");
    let both = endpoint("default", Some("http://b:9090"), Some(&config)).expect("an endpoint");
    assert_eq!((both.url.as_str(), both.timeout), ("http://b:9090/", Duration::from_secs(7)));
    assert_eq!(both.headers["x-scope-orgid"], "team");
    assert_eq!(endpoint("default", None, Some(&config)).expect("an endpoint").url.as_str(), "http://a/");
    let error = endpoint("default", Some("localhost:9090"), None).expect_err("no address").to_string();
    assert!(error.contains("write an address like"), "{error}");
}

#[test]
fn a_prometheus_that_is_not_there_is_exit_code_2_and_what_was_found_offline_is_said() {
    // Nobody listens on the port of a listener that is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port").port();
    let url = format!("http://127.0.0.1:{port}");
    let bad = SOUND.replace("99.9", "100");
    let (code, said, errors) = linted(&args(|args| args.prometheus = Some(Some(url))), &format!("{SOUND}---\n{bad}"));
    assert_eq!(code, 2);
    assert!(errors.starts_with("error: shop/checkout: Prometheus endpoint default: cannot connect"), "{errors}");
    assert!(said.contains("stdin:2: spec.objectives[0].target: write a percentage above 0"), "{said}");
}
