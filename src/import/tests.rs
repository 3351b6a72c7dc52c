use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ImportArgs,
}

/// Exit code, standard output, standard error; the error's text where it cannot go on.
fn imported(flags: &str, input: &str) -> Result<(u8, String, String), String> {
    let words = ["import", "openslo", "-"].into_iter().chain(flags.split_whitespace());
    let Line { args } = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let code = run(&args, input.as_bytes(), &mut output, &mut errors).map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ok((code, text(output), text(errors)))
}

/// An SLO with this objective and this indicator.
fn slo(rest: &str) -> String {
    format!(
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: Checkout Availability}}\nspec:\n  service: checkout\n\
         \x20 timeWindow: [{{duration: 4w, isRolling: true}}]\n  budgetingMethod: Occurrences\n{rest}"
    )
}

fn ratio(parts: &[(&str, &str)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(part, query)| {
            format!("      {part}: {{metricSource: {{type: Prometheus, spec: {{query: '{query}'}}}}}}\n")
        })
        .collect();
    format!("  indicator:\n   spec:\n    ratioMetric:\n      counter: true\n{}", parts.concat())
}

const TARGET: &str = "  objectives: [{target: 0.9995}]\n";

#[test]
fn an_slo_becomes_a_policy_that_passes_lint() {
    let input = slo(&(ratio(&[
        ("good", r#"sum(rate(http_requests_total{code!~"5.."}[5m]))"#),
        ("total", "sum(rate(http_requests_total[5m]))"),
    ]) + TARGET));
    let (code, said, errors) = imported("--selector app=checkout,tier=web -n shop", &input).expect("it is imported");
    assert_eq!((code, errors.as_str()), (0, ""));
    let expected = "\
# From OpenSLO: Checkout Availability
apiVersion: errorbudget.dev/v1alpha1
kind: ErrorBudgetPolicy
metadata:
  name: checkout
  namespace: shop
spec:
  selector:
    matchLabels:
      app: checkout
      tier: web
  objectives:
    - name: checkout-availability
      target: '99.95'
      window: 28d
      indicator:
        ratio:
          errors: http_requests_total{code=~\"5..\"}
          total: http_requests_total
";
    assert_eq!(said, expected);
    let policy = serde_norway::from_str(&said).expect("YAML");
    assert_eq!(lint::problems(&policy), Vec::<String>::new());
}

#[test]
fn which_deployments_are_meant_must_be_said() {
    let input = slo(&(ratio(&[("bad", "e"), ("total", "t")]) + TARGET));
    let error = imported("", &input).expect_err("nobody knows");
    assert_eq!(error, "OpenSLO does not say which Deployments serve it; write for example --selector app=checkout");
}

#[test]
fn the_namespace_is_the_one_that_the_queries_name() {
    let input = slo(&(ratio(&[("bad", r#"e{namespace="laden"}"#), ("total", r#"t{namespace="laden"}"#)]) + TARGET));
    let (_, said, _) = imported("--selector app=a", &input).expect("it is imported");
    assert!(said.contains("  namespace: laden\n"), "{said}");
    let (code, said, errors) = imported("--selector app=a -n bank", &input).expect("it is told");
    assert!(code == 1 && said.is_empty() && errors.contains("selects namespaces by namespace=\"laden\""), "{errors}");
}

#[test]
fn what_cannot_be_carried_over_is_said_and_the_rest_is_printed() {
    let good = slo(&(ratio(&[("bad", "e"), ("total", "t")]) + TARGET));
    let bad =
        slo(&(ratio(&[("bad", "irate(e[5m])"), ("total", "t")]) + TARGET)).replace("Checkout Availability", "quick");
    let (code, said, errors) = imported("--selector app=a", &format!("{good}---\n{bad}")).expect("a part is imported");
    assert_eq!(code, 1);
    assert!(said.contains("checkout-availability") && !said.contains("quick"), "{said}");
    assert!(errors.starts_with("error: SLO quick: spec.objectives[0]: ratioMetric.bad: "), "{errors}");
    assert!(errors.contains("has the function irate") && errors.contains("write the counter"), "{errors}");
}

#[test]
fn a_file_without_slos_is_named() {
    let error = imported("--selector app=a", "{apiVersion: v1, kind: Service}").expect_err("nothing in it");
    assert_eq!(error, "-: there is no SLO (openslo/v1) among its 1 objects");
}
