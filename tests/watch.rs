//! What is watched of real Deployments, and the facts it becomes.

use std::time::Duration;

use futures::StreamExt;
use gatekeeper::watch::rollout::{Pause, Progress, Rollout, Strategy};
use gatekeeper::watch::{self, DeploymentView, PolicyView, Scope, facts};
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, ClusterOptions};
use tokio::time::{sleep, timeout};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watched {
    cluster: Cluster,
    client: Client,
    deployments: Store<DeploymentView>,
    policies: Store<PolicyView>,
}

impl Watched {
    async fn start() -> Self {
        let options = ClusterOptions {
            pod_ready_delay: Duration::from_millis(200)..=Duration::from_millis(400),
            ..Default::default()
        };
        let cluster = Cluster::start(options).await.expect("a control plane starts");
        let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/errorbudgetpolicies.yaml");
        cluster.kubectl(&["apply", "--filename", definition]).await.expect("the definition is accepted");
        let established = ["wait", "--for=condition=Established", "crd/errorbudgetpolicies.errorbudget.dev"];
        cluster.kubectl(&established).await.expect("the definition is served");

        let client = cluster.client();
        let scope = Scope::of(["default".to_owned()]);
        let (deployments, mut touched) = watch::deployments(&client, &scope);
        tokio::spawn(async move { while touched.next().await.is_some() {} });
        let (policies, mut touched) = watch::policies(&client, &scope);
        tokio::spawn(async move { while touched.next().await.is_some() {} });
        Self { cluster, client, deployments, policies }
    }

    async fn apply(&self, object: &Value) {
        self.cluster
            .kubectl_with_input(&["apply", "--filename", "-"], &object.to_string())
            .await
            .expect("it is accepted");
    }

    async fn kubectl(&self, command: &str) -> String {
        let arguments: Vec<_> = command.split_whitespace().collect();
        self.cluster.kubectl(&arguments).await.expect("kubectl succeeds")
    }

    /// The facts now; `None` before the Deployment is seen.
    async fn facts(&self, name: &str) -> Option<Rollout> {
        let deployment = self.deployments.get(&ObjectRef::new(name).within("default"))?;
        let sets = watch::list_replica_sets(&self.client, &deployment).await.expect("ReplicaSets are listed");
        Some(facts::rollout(&deployment, &sets))
    }

    /// The facts once they are as expected.
    async fn until(&self, name: &str, what: &str, expected: impl Fn(&Rollout) -> bool) -> Rollout {
        let wait = async {
            loop {
                match self.facts(name).await {
                    Some(rollout) if expected(&rollout) => return rollout,
                    _ => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name}: {what} did not come true"))
    }
}

fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "kern", "image": image, "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
                }]},
            },
        },
    })
}

fn complete(rollout: &Rollout) -> bool {
    rollout.complete && rollout.completed_at.is_some()
}

#[tokio::test]
async fn real_rollouts_become_the_facts_that_kubernetes_means() {
    let watched = Watched::start().await;
    follows_releases_and_rollbacks(&watched).await;
    knows_a_restart_by_its_template(&watched).await;
    tells_whose_a_pause_is(&watched).await;
    blames_the_deadline_on_the_replica_set_it_is_about(&watched).await;
    says_that_a_quota_keeps_pods_away(&watched).await;
    keeps_nothing_to_go_back_to_without_history(&watched).await;
    names_pods_by_their_replica_set(&watched).await;
    forgets_a_policy_that_is_gone(&watched).await;
}

/// v1, v2, back to v1, and none at all.
async fn follows_releases_and_rollbacks(watched: &Watched) {
    let name = "kuerbis";
    watched.apply(&deployment(name, "v1", 2)).await;
    let first = watched.until(name, "v1 is complete", complete).await;
    let v1 = first.canary.expect("it exists");
    assert_eq!((v1.number, v1.ready, first.others.len()), (1, 2, 0));
    assert_eq!((&v1.template, first.pause, first.progress), (&first.template, Pause::None, Progress::Going));

    watched.kubectl("set image deployment/kuerbis kern=v2").await;
    let second = watched.until(name, "v2 is complete", |now| complete(now) && now.template != first.template).await;
    let v2 = second.canary.as_ref().expect("it exists");
    assert_eq!((v2.number, &second.others[0].replica_set), (2, &v1.replica_set));

    watched.kubectl("rollout undo deployment/kuerbis").await;
    let third = watched.until(name, "v1 is back", |now| complete(now) && now.template == first.template).await;
    let back = third.canary.as_ref().expect("it exists");
    assert_eq!((&back.uid, back.number), (&v1.uid, 3), "the ReplicaSet of v1 is reused under a new number");
    assert_eq!(third.others[0].uid, v2.uid);

    watched.kubectl("scale deployment/kuerbis --replicas=0").await;
    let none = watched.until(name, "no pod is left", |now| now.complete && now.replicas == 0).await;
    assert_eq!(none.template, first.template, "scaling is no rollout");
}

async fn knows_a_restart_by_its_template(watched: &Watched) {
    let name = "lauch";
    watched.apply(&deployment(name, "v1", 1)).await;
    let before = watched.until(name, "v1 is complete", complete).await;
    watched.kubectl("rollout restart deployment/lauch").await;
    let after = watched.until(name, "it is restarted", |now| complete(now) && now.template != before.template).await;
    assert_eq!(after.template_without_restart, before.template);
}

async fn tells_whose_a_pause_is(watched: &Watched) {
    let name = "lauch";
    watched.kubectl("rollout pause deployment/lauch").await;
    watched.until(name, "it is paused by its owner", |now| now.pause == Pause::User).await;
    watched.kubectl("annotate deployment/lauch errorbudget.dev/hold={}").await;
    let held = watched.until(name, "it is held by us", |now| now.pause == Pause::Ours).await;
    assert!(held.hold.is_some());
}

async fn blames_the_deadline_on_the_replica_set_it_is_about(watched: &Watched) {
    let name = "spinat";
    let release = |image: &str, never_ready: bool| {
        let mut object = deployment(name, image, 1);
        object["spec"]["progressDeadlineSeconds"] = json!(1);
        object["spec"]["template"]["metadata"]["annotations"] = json!({"testbed/never-ready": never_ready.to_string()});
        object
    };
    watched.apply(&release("stuck", true)).await;
    let late = |now: &Rollout| matches!(now.progress, Progress::DeadlineExceeded(_));
    let stuck = watched.until(name, "the deadline is exceeded", late).await;
    watched.kubectl("rollout pause deployment/spinat").await;
    watched.apply(&release("other", true)).await;
    // Paused, Kubernetes makes no ReplicaSet for the new template and leaves its old message standing.
    let fresh = |now: &Rollout| now.observed && now.template != stuck.template;
    let next = watched.until(name, "the next template is seen", fresh).await;
    assert_eq!((next.progress, next.canary), (Progress::Going, None));
}

async fn says_that_a_quota_keeps_pods_away(watched: &Watched) {
    let name = "rettich";
    watched.kubectl("create quota beet --hard=requests.memory=1Gi").await;
    watched.apply(&deployment(name, "v1", 2)).await;
    let stopped = |now: &Rollout| matches!(now.progress, Progress::CannotRun(_));
    let stopped = watched.until(name, "the quota is reported", stopped).await;
    let Progress::CannotRun(why) = stopped.progress else { panic!("{stopped:?}") };
    assert!(why.starts_with("FailedCreate: ") && why.contains("exceeded quota: beet"), "{why}");
    watched.kubectl("delete quota beet").await;
}

async fn keeps_nothing_to_go_back_to_without_history(watched: &Watched) {
    let name = "mangold";
    let release = |image: &str| {
        let mut object = deployment(name, image, 1);
        object["spec"]["revisionHistoryLimit"] = json!(0);
        object["spec"]["strategy"] = json!({"type": "Recreate"});
        object
    };
    watched.apply(&release("v1")).await;
    let first = watched.until(name, "v1 is complete", complete).await;
    watched.apply(&release("v2")).await;
    let gone = |now: &Rollout| complete(now) && now.template != first.template && now.others.is_empty();
    let second = watched.until(name, "v1 is cleaned up", gone).await;
    assert_eq!((second.history_limit, second.strategy), (0, Strategy::Recreate));
}

async fn names_pods_by_their_replica_set(watched: &Watched) {
    let name = "pastinake";
    watched.apply(&deployment(name, "v1", 3)).await;
    let canary = watched.until(name, "v1 is complete", complete).await.canary.expect("it exists");
    let view = watched.deployments.get(&ObjectRef::new(name).within("default")).expect("it is watched");
    let pods = watch::list_pods(&watched.client, &view).await.expect("pods are listed");
    assert_eq!(pods.keys().collect::<Vec<_>>(), [&canary.uid]);
    assert!(pods[&canary.uid].len() == 3 && pods[&canary.uid][0].starts_with(&canary.replica_set), "{pods:?}");
}

async fn forgets_a_policy_that_is_gone(watched: &Watched) {
    let policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": "gemuese", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "lauch"}},
            "objectives": [{"name": "a", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
        },
    });
    watched.apply(&policy).await;
    let known = || watched.policies.get(&ObjectRef::new("gemuese").within("default"));
    eventually("the policy is known", || known().is_some_and(|view| view.policy.is_ok())).await;
    watched.kubectl("delete ebp gemuese").await;
    eventually("the policy is forgotten", || known().is_none()).await;
}

async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let wait = async {
        while !is_true() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: did not come true"));
}
