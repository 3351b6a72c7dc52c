//! `status` and `explain`.

use serde_json::{Value, json};

use super::shop::{NAME, POLICY, Running, Shop};

fn halted() -> Value {
    json!({
        "phase": "Halted", "reason": "SharedCause", "since": "2026-02-03T04:05:06Z", "burnRate": "14.2",
        "stableBurnRate": "13.0", "errors": 38, "requests": 2671, "message": "burn rate 14.2x, stable pods 13.0x",
        "next": "goes on after two windows without a violation",
    })
}

#[tokio::test]
async fn kubectl_runs_the_plugin_and_lists_the_rollouts_of_its_namespace() {
    let shop = Shop::open("looking-plugin").await;
    shop.say(halted()).await;
    shop.say_in_policy(json!({"gate": "Open", "budgetRemaining": "63.2%"})).await;
    let mut kubectl = shop.command("kubectl".as_ref());
    kubectl.args(["errorbudget", "status", "--namespace", shop.namespace]);
    let ended = Running::start(kubectl).end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<Vec<&str>> = ended.output.lines().map(|line| line.split("   ").collect()).collect();
    assert_eq!(lines.len(), 2, "{ended:?}");
    let cells: Vec<&str> = lines[1].iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[..4], [shop.namespace, NAME, POLICY, "Halted"]);
    assert_eq!(cells[5..], ["14.2x (13.0x)", "63.2%", "Open", "goes on after two windows without a violation"]);
}

#[tokio::test]
async fn programs_read_all_namespaces_as_json() {
    let shop = Shop::open("looking-json").await;
    shop.say(halted()).await;
    let mut all = shop.command(env!("CARGO_BIN_EXE_error-budget-gatekeeper").as_ref());
    all.args(["status", "--all-namespaces", "--output", "json"]);
    let ended = Running::start(all).end().await;
    let rows: Vec<Value> = serde_json::from_str(&ended.output).expect("a list");
    let row = rows.iter().find(|row| row["namespace"] == shop.namespace).expect("this namespace is among them");
    assert_eq!((&row["deployment"], &row["policy"]), (&json!(NAME), &json!(POLICY)));
    assert_eq!((&row["rollout"]["errors"], &row["rollout"]["reason"]), (&json!(38), &json!("SharedCause")));
}

#[tokio::test]
async fn the_namespace_is_that_of_the_context_that_is_asked_for() {
    let shop = Shop::open("looking-context").await;
    shop.say(halted()).await;
    let text = std::fs::read_to_string(shop.kubeconfig()).expect("a kubeconfig");
    let mut kubeconfig: Value = serde_json::from_str(&text).expect("JSON");
    let mut other = kubeconfig["contexts"][0].clone();
    (other["name"], other["context"]["namespace"]) = (json!("other"), json!(shop.namespace));
    kubeconfig["contexts"].as_array_mut().expect("contexts").push(other);
    let path = shop.folder().join("two-contexts.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).expect("a file");

    let status = async |context: &str| {
        let mut command = shop.command(env!("CARGO_BIN_EXE_error-budget-gatekeeper").as_ref());
        command.args(["status", "--context", context]).env("KUBECONFIG", &path);
        Running::start(command).end().await
    };
    assert!(status("other").await.output.contains(shop.namespace));
    assert!(!status("testbed").await.output.contains(shop.namespace));
    let nowhere = status("nowhere").await;
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(nowhere.errors.contains("--context nowhere: "), "{nowhere:?}");
}

#[tokio::test]
async fn a_rollout_is_explained_with_what_one_can_do_now() {
    let shop = Shop::open("looking-explain").await;
    shop.say(halted()).await;
    let ended = shop.run(&["explain", "deployment/kettle"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for words in [
        "Phase          Halted (SharedCause), since 2026-02-03T04:05:06Z",
        "new pods 14.2x (38 errors in 2671 requests, 30s), stable pods 13.0x",
        "error-budget-gatekeeper approve deployment/kettle --namespace looking-explain",
    ] {
        assert!(ended.output.contains(words), "{words} in {}", ended.output);
    }
}

#[tokio::test]
async fn what_nothing_governs_or_is_not_there_is_an_error_that_says_so() {
    let shop = Shop::ungoverned("looking-ungoverned").await;
    for command in ["explain", "status", "approve", "rollback", "wait"] {
        let ended = shop.run(&[command, "deployment/kettle"]).await;
        assert_eq!(ended.code, 2, "{command}: {ended:?}");
        let words = "error: no policy governs Deployment looking-ungoverned/kettle";
        assert!(ended.errors.starts_with(words), "{command}: {ended:?}");
    }
    let ended = shop.run(&["explain", "deployment/kessel"]).await;
    assert_eq!((ended.code, ended.errors.as_str()), (2, "error: there is no Deployment looking-ungoverned/kessel\n"));
}
