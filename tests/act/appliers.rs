//! After a rollback the tools that people release with go on as if the bad release had never been.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::shop::{NAME, Shop, bad, fix, good, manifest, simple};

/// `managedFields` tell who wrote last by the second.
const NEXT_SECOND: Duration = Duration::from_millis(1100);

async fn assert_as_written(shop: &Shop, manifest: &Value) {
    assert_eq!(shop.template().await, shop.template_as_written(manifest).await);
}

#[tokio::test]
async fn applied_again_from_the_clients_side_a_bad_manifest_is_the_condemned_revision() {
    let shop = Shop::open("client-side-again").await;
    shop.apply(&good()).await;
    let stable = shop.until_complete().await;
    shop.apply(&bad()).await;
    let condemned = shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    assert_eq!(shop.until_taken_up().await.uid, stable.uid, "Kubernetes takes the stable ReplicaSet up again");
    assert_as_written(&shop, &good()).await;

    shop.apply(&bad()).await;
    let again = shop.until_taken_up().await;
    assert_eq!(again.uid, condemned.uid);
    assert_eq!(again.condemned.as_ref().map(|mark| mark.reason.as_str()), Some(crate::shop::REASON));
    shop.apply(&fix()).await;
    assert_as_written(&shop, &fix()).await;
}

#[tokio::test]
async fn applied_from_the_clients_side_a_fix_comes_out_as_written() {
    let shop = Shop::open("client-side-fix").await;
    shop.apply(&good()).await;
    let stable = shop.until_complete().await;
    shop.apply(&bad()).await;
    shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.apply(&fix()).await;
    assert_as_written(&shop, &fix()).await;
}

#[tokio::test]
async fn what_others_have_set_outlives_rollback_and_apply() {
    let shop = Shop::open("client-side-others").await;
    shop.apply(&good()).await;
    shop.until_complete().await;
    shop.kubectl(&["set", "env", "deployment", NAME, "--containers=web", "INJECTED=yes"]).await;
    shop.kubectl(&["rollout", "restart", "deployment", NAME]).await;
    let stable = shop.until_complete().await;
    shop.apply(&bad()).await;
    let condemned = shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.apply(&bad()).await;
    assert_eq!(shop.until_taken_up().await.uid, condemned.uid, "with the injected variable and the restart");
}

#[tokio::test]
async fn applied_again_from_the_servers_side_a_bad_manifest_is_the_condemned_revision() {
    let shop = Shop::open("server-side-again").await;
    shop.apply_as("gitops", &good()).await;
    let stable = shop.until_complete().await;
    shop.apply_as("gitops", &bad()).await;
    let condemned = shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    assert_as_written(&shop, &good()).await;
    assert_eq!(shop.owners_of_template().await, ["gitops (Apply)"]);

    shop.apply_as("gitops", &bad()).await;
    assert_eq!(shop.until_taken_up().await.uid, condemned.uid);
    shop.apply_as("gitops", &fix()).await;
    assert_as_written(&shop, &fix()).await;
}

#[tokio::test]
async fn applied_from_the_servers_side_a_fix_comes_out_as_written() {
    let shop = Shop::open("server-side-fix").await;
    shop.apply_as("gitops", &good()).await;
    let stable = shop.until_complete().await;
    shop.apply_as("gitops", &bad()).await;
    shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.apply_as("gitops", &fix()).await;
    assert_as_written(&shop, &fix()).await;
}

#[tokio::test]
async fn a_move_from_the_clients_to_the_servers_side_after_a_rollback_comes_out_as_written() {
    let shop = Shop::open("client-to-server").await;
    shop.apply(&good()).await;
    let stable = shop.until_complete().await;
    shop.apply(&bad()).await;
    shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    // Changing a volume's kind in the same step is more than kubectl's move can do, rollback or not.
    let mut fix = fix();
    fix["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "changed", "configMap": {"name": "tea", "optional": true}}]);
    shop.apply_as("kubectl", &fix).await;
    assert_as_written(&shop, &fix).await;
}

/// What a second team sets of the same Deployment.
fn sidecar(image: &str, variables: &[&str]) -> Value {
    let env: Vec<_> = variables.iter().map(|name| json!({"name": name, "value": "on"})).collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
        "spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": image, "env": env}]}}},
    })
}

#[tokio::test]
async fn two_appliers_each_get_back_what_is_theirs() {
    let shop = Shop::open("two-appliers").await;
    shop.apply_as("gitops", &good()).await;
    shop.apply_as("mesh", &sidecar("mesh:1", &["KEPT", "DROPPED"])).await;
    let stable = shop.until_complete().await;
    let template = shop.template().await;

    // The first one's release is bad.
    sleep(NEXT_SECOND).await;
    shop.apply_as("gitops", &bad()).await;
    let condemned = shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.apply_as("gitops", &bad()).await;
    assert_eq!(shop.until_taken_up().await.uid, condemned.uid);
    shop.roll_back(&stable).await;
    shop.apply_as("gitops", &good()).await;
    assert_eq!(shop.template().await, template);
    let stable = shop.until_complete().await;

    // The second one's is.
    sleep(NEXT_SECOND).await;
    shop.apply_as("mesh", &sidecar("mesh:2", &["KEPT"])).await;
    let condemned = shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.apply_as("gitops", &good()).await;
    assert_eq!(shop.template().await, template, "the first one's manifest changes nothing");
    shop.apply_as("mesh", &sidecar("mesh:2", &["KEPT"])).await;
    assert_eq!(shop.until_taken_up().await.uid, condemned.uid);
}

#[tokio::test]
async fn an_applier_finds_no_conflict_after_somebody_elses_edit_was_rolled_back() {
    let shop = Shop::open("edited").await;
    shop.apply_as("gitops", &simple("web:1")).await;
    let stable = shop.until_complete().await;
    shop.kubectl(&["set", "env", "deployment", NAME, "BAD=yes"]).await;
    shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    shop.apply_as("gitops", &simple("web:3")).await;
    assert_as_written(&shop, &simple("web:3")).await;
}

/// A chart whose one value is the Deployment.
pub(crate) fn chart(folder: &Path) {
    std::fs::create_dir_all(folder.join("templates")).expect("a folder");
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: kettle\nversion: 0.1.0\n").expect("a file");
    let template = "{{ .Values.deployment | toYaml }}\n";
    std::fs::write(folder.join("templates/deployment.yaml"), template).expect("a file");
}

/// Installs or upgrades the release with this Deployment.
pub(crate) async fn helm(shop: &Shop, chart: &Path, manifest: &Value, flags: &[&str]) {
    let values = chart.join(format!("{}.json", shop.namespace));
    std::fs::write(&values, json!({"deployment": manifest}).to_string()).expect("a file");
    let (chart, values) = (chart.to_string_lossy(), values.to_string_lossy());
    let release = ["upgrade", "kettle", &chart, "--install", "--namespace", shop.namespace, "--values", &values];
    shop.cluster.helm(&[&release[..], flags].concat()).await.expect("helm succeeds");
}

#[tokio::test]
async fn upgraded_by_helm_a_bad_release_is_the_condemned_revision_and_a_fix_comes_out_as_written() {
    let shop = Shop::open("helm").await;
    let folder = tempfile::tempdir().expect("a folder");
    chart(folder.path());
    helm(&shop, folder.path(), &good(), &[]).await;
    let stable = shop.until_complete().await;
    helm(&shop, folder.path(), &bad(), &[]).await;
    let condemned = shop.until_taken_up().await;
    shop.roll_back(&stable).await;
    helm(&shop, folder.path(), &bad(), &[]).await;
    assert_eq!(shop.until_taken_up().await.uid, condemned.uid);

    shop.roll_back(&stable).await;
    helm(&shop, folder.path(), &fix(), &[]).await;
    assert_as_written(&shop, &fix()).await;
}

#[tokio::test]
async fn the_change_cause_and_the_record_of_the_rollback_tell_what_happened() {
    let shop = Shop::open("told").await;
    let cause = |text: &str| {
        let mut manifest = manifest(json!({"containers": [{"name": "web", "image": format!("web:{text}")}]}));
        manifest["metadata"]["annotations"] = json!({"kubernetes.io/change-cause": text});
        manifest
    };
    shop.apply(&cause("first")).await;
    let stable = shop.until_complete().await;
    shop.apply(&cause("second")).await;
    shop.until_taken_up().await;
    let rolled_back = shop.roll_back(&stable).await;
    assert_eq!(shop.annotation("kubernetes.io/change-cause").await.as_deref(), Some("first"));
    let record = shop.annotation("errorbudget.dev/rolled-back").await.expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["from"]["revision"], 2);
    assert_eq!(record["to"], json!({"replicaSet": stable.replica_set, "revision": 1}));
    assert_eq!(record["reason"], crate::shop::REASON);
    assert_eq!(rolled_back.record.to.replica_set, stable.replica_set);
    let restored = shop.until_complete().await;
    assert_eq!((restored.uid, restored.ready), (stable.uid, 3));
}
