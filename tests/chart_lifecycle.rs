//! The chart on a real control plane: installed, upgraded, uninstalled and installed again.

use std::process::Command;

use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/error-budget-gatekeeper");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/policies/availability.yaml");
const PROMETHEUS: &str = "--set=prometheus.default.url=http://prometheus.odd";
const ACCOUNT: &str = "--as=system:serviceaccount:ochre:error-budget-gatekeeper";

struct Bed(Cluster);

impl Bed {
    async fn kubectl(&self, arguments: &str) -> String {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        self.0.kubectl(&arguments).await.expect("kubectl succeeds").trim().to_owned()
    }

    async fn helm(&self, verb: &str, settings: &[&str]) -> String {
        let arguments = [&[verb, "error-budget-gatekeeper", "--namespace=ochre"], settings].concat();
        self.0.helm(&arguments).await.expect("helm succeeds")
    }

    async fn may(&self, what: &str) -> bool {
        let arguments: Vec<&str> = ["auth", "can-i", ACCOUNT].into_iter().chain(what.split(' ')).collect();
        // The command fails when the answer is no.
        self.0.kubectl(&arguments).await.is_ok_and(|answer| answer.trim() == "yes")
    }
}

/// The pods of kwok become ready without the operator in them: this is about what Helm leaves in the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_comes_changes_and_goes_without_touching_policies_and_deployments() {
    let bed = Bed(Cluster::start(ClusterOptions::default()).await.expect("a control plane"));
    for namespace in ["ochre", "shop", "search"] {
        bed.kubectl(&format!("create namespace {namespace}")).await;
    }
    // The API server itself says whether the pods meet the restricted standard: otherwise they never come up.
    bed.kubectl("label namespace ochre pod-security.kubernetes.io/enforce=restricted").await;
    bed.kubectl("create deployment checkout --namespace=shop --image=checkout --replicas=2").await;

    let notes = bed.helm("install", &[CHART, PROMETHEUS, "--wait", "--timeout=2m"]).await;
    assert!(notes.contains("kubectl describe ebp"), "{notes}");
    assert!(notes.contains("held by the API server"), "{notes}");
    bed.kubectl(&format!("apply --filename={EXAMPLE}")).await;
    assert!(bed.may("patch deployments.apps --namespace=search").await);
    assert!(bed.may("patch errorbudgetpolicies.errorbudget.dev --subresource=status --namespace=shop").await);
    assert!(bed.may("update leases.coordination.k8s.io/error-budget-gatekeeper --namespace=ochre").await);
    assert!(!bed.may("get secrets --namespace=shop").await);
    assert!(!bed.may("update leases.coordination.k8s.io/another --namespace=ochre").await);

    let namespaces = "--set=watch.namespaces={shop}";
    bed.helm("upgrade", &[CHART, PROMETHEUS, namespaces, "--wait", "--timeout=2m"]).await;
    assert!(bed.may("patch deployments.apps --namespace=shop").await);
    assert!(!bed.may("patch deployments.apps --namespace=search").await);
    let generation = "get deployment checkout --namespace=shop --output=jsonpath={.metadata.generation}";
    assert_eq!(bed.kubectl(generation).await, "1");

    bed.helm("uninstall", &["--wait"]).await;
    assert_eq!(
        bed.kubectl("get configmaps,roles,deployments --namespace=ochre --output=name").await,
        "configmap/kube-root-ca.crt"
    );
    let admission = "get mutatingadmissionpolicies,mutatingadmissionpolicybindings,validatingadmissionpolicies,\
        validatingadmissionpolicybindings --output=name";
    assert_eq!(bed.kubectl(admission).await, "");
    assert_eq!(
        bed.kubectl("get ebp --namespace=shop --output=name").await,
        "errorbudgetpolicy.errorbudget.dev/checkout"
    );
    assert_eq!(bed.kubectl(generation).await, "1");

    bed.helm("install", &[CHART, PROMETHEUS]).await;
}

/// A Deployment that is held as a canary, its owner's settings remembered.
fn held() -> Value {
    let own = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%", "maxUnavailable": 1}},
        "minReadySeconds": 7, "progressDeadlineSeconds": 123});
    let hold = json!({"policy": "checkout", "reason": "NotConvicted", "own": own, "room": {"maxSurge": 1, "maxUnavailable": 0}});
    json!({
        "metadata": {"annotations": {"errorbudget.dev/hold": hold.to_string()}},
        "spec": {
            "paused": true, "minReadySeconds": 2_147_483_646, "progressDeadlineSeconds": 2_147_483_647,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        },
    })
}

/// kwok does not run what is in a Job's pod: the test does, with the Job's own arguments and its account's rights.
#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_an_uninstall_gives_every_held_deployment_back_to_its_owner() {
    let bed = Bed(Cluster::start(ClusterOptions::default()).await.expect("a control plane"));
    for namespace in ["ochre", "shop", "search"] {
        bed.kubectl(&format!("create namespace {namespace}")).await;
    }
    for namespace in ["shop", "search"] {
        bed.kubectl(&format!("create deployment checkout --namespace={namespace} --image=checkout")).await;
        let patch = held().to_string();
        let namespace = format!("--namespace={namespace}");
        let arguments = ["patch", "deployment", "checkout", &namespace, "--type=merge", "--patch", &patch];
        bed.0.kubectl(&arguments).await.expect("it is held");
    }
    for settings in [&["--set=watch.namespaces={shop}"][..], &[]] {
        let show = [CHART, PROMETHEUS, "--show-only=templates/uninstall.yaml"];
        let rendered = bed.helm("template", &[&show[..], settings].concat()).await;
        bed.0.kubectl_with_input(&["apply", "--filename=-"], &rendered).await.expect("the hook's objects are valid");
        let account = "error-budget-gatekeeper-uninstall";
        let kubeconfig = bed.0.kubeconfig_for_service_account("ochre", account).await.expect("a token");
        let job = bed.kubectl("get job error-budget-gatekeeper-uninstall --namespace=ochre --output=json").await;
        let job: Value = serde_json::from_str(&job).expect("JSON");
        for container in job["spec"]["template"]["spec"]["containers"].as_array().expect("containers") {
            let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).expect("arguments");
            let mut command = Command::new(env!("CARGO_BIN_EXE_error-budget-gatekeeper"));
            let output = command.args(arguments).arg("--kubeconfig").arg(&kubeconfig).output().expect("it runs");
            assert!(output.status.success(), "{output:?}");
        }
        let released = if settings.is_empty() { ["shop", "search"].as_slice() } else { &["shop"] };
        for namespace in released {
            let deployment =
                bed.kubectl(&format!("get deployment checkout --namespace={namespace} --output=json")).await;
            let deployment: Value = serde_json::from_str(&deployment).expect("JSON");
            let spec = &deployment["spec"];
            let rolling = json!({"maxSurge": "30%", "maxUnavailable": 1});
            assert_eq!(spec["strategy"]["rollingUpdate"], rolling);
            assert_eq!((&spec["minReadySeconds"], &spec["progressDeadlineSeconds"]), (&json!(7), &json!(123)));
            assert_eq!(spec.get("paused"), None);
            assert_eq!(deployment["metadata"]["annotations"].get("errorbudget.dev/hold"), None);
        }
        bed.kubectl("delete job error-budget-gatekeeper-uninstall --namespace=ochre").await;
    }
}
