//! `wait`.

use serde_json::json;

use super::shop::{NAME, Shop, deployment};

const WAIT: [&str; 2] = ["wait", "deployment/kettle"];

#[tokio::test]
async fn right_after_an_apply_the_success_of_the_template_before_is_no_answer() {
    let shop = Shop::open("waiting-race").await;
    shop.say(json!({"phase": "Succeeded", "reason": "NotConvicted"})).await;
    assert_eq!(shop.run(&WAIT).await.code, 0, "nothing is rolled out");

    shop.apply(&deployment("kettle:2")).await;
    let mut wait = shop.start(&WAIT);
    wait.until_shown("waiting").await;
    shop.say(json!({"phase": "Promoting", "reason": "NotConvicted", "burnRate": "0.3", "stableBurnRate": "0.2"})).await;
    wait.until_shown("Promoting").await;
    shop.say(json!({"phase": "Succeeded", "reason": "NotConvicted", "message": "nothing speaks against it"})).await;
    let ended = wait.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.output.lines().collect();
    assert!(lines[0].contains("waiting ") && lines[0].contains("until the operator notices template"), "{ended:?}");
    assert!(
        lines[1].contains("Promoting (NotConvicted) ") && lines[1].ends_with("burn rate 0.3x, stable 0.2x"),
        "{ended:?}"
    );
    assert!(lines[2].contains("Succeeded"), "{ended:?}");
    assert!(lines[3].starts_with("waiting-race/kettle: promoted: revision 2 (template "), "{ended:?}");
    assert_eq!(lines.len(), 4, "{ended:?}");
    assert!(!ended.output.contains('\u{1b}'), "there is no terminal: {ended:?}");
}

#[tokio::test]
async fn a_rollback_is_followed_until_the_stable_template_is_back() {
    let shop = Shop::open("waiting-rollback").await;
    let bad = shop.template().await;
    shop.say(json!({"phase": "RollingBack", "reason": "Violation"})).await;
    let mut wait = shop.start(&WAIT);
    wait.until_shown("RollingBack").await;
    shop.apply(&deployment("kettle:0")).await;
    let mut incident = json!({"condemned": {"revision": 2, "template": bad}, "reason": "burn rate 15.4x"});
    shop.say(json!({"phase": "Recovering", "reason": "Violation", "incident": incident})).await;
    wait.until_shown("Recovering").await;
    incident["outcome"] = json!("Recovered");
    shop.say(json!({"phase": "RolledBack", "reason": "Violation", "incident": incident})).await;
    let ended = wait.end().await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let last = format!("waiting-rollback/kettle: rolled back: revision 2 (template {bad}): burn rate 15.4x; Recovered");
    assert_eq!(ended.output.lines().last(), Some(last.as_str()), "{ended:?}");
}

#[tokio::test]
async fn a_standstill_ends_it_at_once_or_when_it_lasts() {
    let shop = Shop::open("waiting-halted").await;
    shop.say(json!({"phase": "Halted", "reason": "WorseThanStable", "message": "0.8x, stable 0.1x"})).await;
    let ended = shop.run(&WAIT).await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.output.contains("halted: ") && ended.output.contains("approve deployment/kettle"), "{ended:?}");

    shop.say(json!({"phase": "Rejected", "reason": "RevisionRejected"})).await;
    assert_eq!(shop.run(&WAIT).await.code, 4);

    let since = jiff::Timestamp::now();
    shop.say(json!({"phase": "Halted", "reason": "EvidenceMissing", "since": format!("{since:.0}")})).await;
    assert_eq!(shop.run(&[&WAIT[..], &["--halted-for", "4s"]].concat()).await.code, 4);
    assert!(jiff::Timestamp::now().duration_since(since).as_secs() >= 3, "a halt that may pass is waited for");
}

#[tokio::test]
async fn the_time_is_over_and_it_says_where_the_rollout_is_and_what_can_be_done() {
    let shop = Shop::open("waiting-timeout").await;
    shop.say(json!({"phase": "Canary", "reason": "ApprovalRequired"})).await;
    let ended = shop.run(&[&WAIT[..], &["--timeout", "2s"]].concat()).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.output.contains("timed out: Canary (ApprovalRequired)"), "{ended:?}");
    assert!(ended.output.contains("approve deployment/kettle --namespace waiting-timeout"), "{ended:?}");
}

#[tokio::test]
async fn an_api_server_that_stays_away_is_an_error_after_half_a_minute() {
    let shop = Shop::ungoverned("waiting-away").await;
    let mut kubeconfig: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(shop.kubeconfig()).expect("a kubeconfig")).expect("JSON");
    let nobody = testbed::port::free_port().expect("a port");
    kubeconfig["clusters"][0]["cluster"]["server"] = json!(format!("https://127.0.0.1:{nobody}"));
    let path = shop.folder().join("away.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).expect("a file");
    let began = std::time::Instant::now();
    let ended = shop.run_with(&path, &WAIT).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(began.elapsed().as_secs() >= 30, "{:?}", began.elapsed());
    assert!(ended.output.contains("no answer") && ended.output.contains("trying on"), "{ended:?}");
    assert!(ended.errors.contains("reading Deployment waiting-away/kettle: "), "{ended:?}");
}

#[tokio::test]
async fn a_policy_that_goes_away_meanwhile_is_an_error() {
    let shop = Shop::open("waiting-deleted").await;
    shop.say(json!({"phase": "Monitoring", "reason": "NotConvicted"})).await;
    let mut wait = shop.start(&WAIT);
    wait.until_shown("Monitoring").await;
    shop.kubectl(&["delete", "ebp", "--all"]).await;
    let ended = wait.end().await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.errors.contains(&format!("no policy governs Deployment waiting-deleted/{NAME}")), "{ended:?}");
}
