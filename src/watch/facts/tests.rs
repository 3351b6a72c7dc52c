//! Deployments and ReplicaSets as a real API server prints them, with names odd enough that a mix-up shows.

use serde_json::{Value, json};

use super::super::rollout::Strategy;
use super::*;

const UID: &str = "deployment-uid-0b";

/// A template of this image.
fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "kürbis-3"}}, "spec": {"containers": [{"name": "kern", "image": image}]}})
}

/// A Deployment of three pods that is complete on image `v2`.
fn deployment(change: impl FnOnce(&mut Value)) -> DeploymentView {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "kürbis-3-web", "namespace": "garten-2", "uid": UID, "generation": 5, "resourceVersion": "77",
            "annotations": {
                "deployment.kubernetes.io/revision": "9",
                "kubectl.kubernetes.io/last-applied-configuration": "{\"kind\":\"Deployment\"}",
            },
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "spec": {
            "replicas": 3,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "selector": {"matchLabels": {"app": "kürbis-3"}},
            "template": template("v2"),
        },
        "status": {
            "observedGeneration": 5, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "conditions": [{
                "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                "lastUpdateTime": "2026-02-03T04:05:06Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
                "message": "ReplicaSet \"kürbis-3-web-7f9c\" has successfully progressed.",
            }],
        },
    });
    change(&mut object);
    serde_json::from_value(object).expect("a Deployment as the API server prints it")
}

/// A ReplicaSet of that Deployment: its name is also its uid.
fn replica_set(name: &str, image: &str, number: u64, change: impl FnOnce(&mut Value)) -> ReplicaSetView {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = json!(name);
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": "garten-2", "uid": name,
            "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z"),
            "annotations": {"deployment.kubernetes.io/revision": number.to_string()},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "kürbis-3-web", "uid": UID, "controller": true,
            }],
        },
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "kürbis-3"}}, "template": template},
        "status": {"replicas": 0},
    });
    change(&mut object);
    serde_json::from_value(object).expect("a ReplicaSet as the API server prints it")
}

/// Sets what a ReplicaSet wants and has.
fn pods(desired: i32, ready: i32) -> impl FnOnce(&mut Value) {
    move |object| {
        object["spec"]["replicas"] = json!(desired);
        object["status"] =
            json!({"replicas": desired, "readyReplicas": ready, "availableReplicas": ready, "observedGeneration": 1});
    }
}

fn names(revisions: &[Revision]) -> Vec<&str> {
    revisions.iter().map(|revision| revision.replica_set.as_str()).collect()
}

fn canary(rollout: &Rollout) -> &str {
    rollout.canary.as_ref().map_or("none", |revision| &revision.replica_set)
}

/// A Deployment in mid-rollout, of which Kubernetes says this.
fn rolling(reason: &str, message: &str) -> DeploymentView {
    deployment(|object| {
        object["status"]["updatedReplicas"] = json!(1);
        object["status"]["replicas"] = json!(4);
        object["status"]["conditions"][0]["reason"] = json!(reason);
        object["status"]["conditions"][0]["message"] = json!(message);
    })
}

#[test]
fn the_canary_is_the_replica_set_with_the_newest_template() {
    let sets =
        [replica_set("kürbis-3-web-55d1", "v1", 8, |_| {}), replica_set("kürbis-3-web-7f9c", "v2", 9, pods(3, 2))];
    let rollout = rollout(&deployment(|_| {}), &sets);
    let canary = rollout.canary.expect("it is there");
    assert_eq!(
        (canary.replica_set.as_str(), canary.number, canary.desired, canary.ready),
        ("kürbis-3-web-7f9c", 9, 3, 2)
    );
    assert_eq!(canary.template, rollout.template);
    assert_eq!(names(&rollout.others), ["kürbis-3-web-55d1"]);
}

#[test]
fn of_several_replica_sets_with_the_newest_template_the_oldest_is_the_canary() {
    let sets = [replica_set("jung", "v2", 9, |_| {}), replica_set("alt", "v2", 4, |_| {})];
    let rollout = rollout(&deployment(|_| {}), &sets);
    assert_eq!((canary(&rollout), names(&rollout.others)), ("alt", vec!["jung"]));
}

#[test]
fn several_revisions_in_flight_are_all_seen_the_newest_first() {
    let sets = [
        replica_set("eins", "v1", 7, pods(2, 2)),
        replica_set("drei", "v2", 9, pods(1, 0)),
        replica_set("zwei", "v1-defekt", 8, pods(1, 1)),
    ];
    let rollout = rollout(&rolling("ReplicaSetUpdated", "ReplicaSet \"drei\" is progressing."), &sets);
    assert_eq!((canary(&rollout), names(&rollout.others)), ("drei", vec!["zwei", "eins"]));
}

#[test]
fn a_replica_set_that_a_rollback_reused_is_the_newest_although_it_is_the_oldest() {
    // Its number moved up; its age did not.
    let sets = [
        replica_set("gut", "v2", 12, |object| object["metadata"]["creationTimestamp"] = json!("2025-05-05T05:05:05Z")),
        replica_set("schlecht", "v3", 11, |_| {}),
    ];
    let rollout = rollout(&deployment(|_| {}), &sets);
    assert_eq!(canary(&rollout), "gut");
    assert_eq!(rollout.canary.map(|revision| revision.number), Some(12));
}

#[test]
fn before_kubernetes_made_the_new_replica_set_there_is_no_canary() {
    let sets = [replica_set("eins", "v1", 8, pods(3, 3))];
    let rollout = rollout(&deployment(|_| {}), &sets);
    assert_eq!((canary(&rollout), names(&rollout.others)), ("none", vec!["eins"]));
    assert!(!rollout.complete);
}

#[test]
fn replica_sets_of_another_deployment_are_left_out() {
    let foreign = replica_set("fremd", "v2", 1, |object| {
        object["metadata"]["ownerReferences"][0]["uid"] = json!("deployment-uid-0c");
    });
    let orphan = replica_set("waise", "v1", 2, |object| object["metadata"]["ownerReferences"] = json!([]));
    let not_controlled = replica_set("mündel", "v1", 3, |object| {
        object["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    });
    let rollout = rollout(&deployment(|_| {}), &[foreign, orphan, not_controlled]);
    assert_eq!((canary(&rollout), names(&rollout.others)), ("none", vec![]));
}

#[test]
fn with_no_history_there_is_nothing_to_go_back_to() {
    let deployment = deployment(|object| object["spec"]["revisionHistoryLimit"] = json!(0));
    let rollout = rollout(&deployment, &[replica_set("einzig", "v2", 9, pods(3, 3))]);
    assert_eq!(rollout.history_limit, 0);
    assert_eq!((rollout.others.len(), rollout.stable(None)), (0, None));
}

#[test]
fn a_rollout_is_complete_when_kubectl_says_so() {
    let sets = [replica_set("kürbis-3-web-7f9c", "v2", 9, pods(3, 3))];
    let complete = |change: fn(&mut Value)| rollout(&deployment(change), &sets).complete;
    assert!(complete(|_| {}));
    assert!(!complete(|object| object["status"]["observedGeneration"] = json!(4)), "an older generation");
    assert!(!complete(|object| object["status"]["updatedReplicas"] = json!(2)), "a pod is not updated");
    assert!(!complete(|object| object["status"]["replicas"] = json!(4)), "an old pod is left");
    assert!(!complete(|object| object["status"]["availableReplicas"] = json!(2)), "a pod is not available");
}

#[test]
fn a_rollout_without_pods_is_complete() {
    let deployment = deployment(|object| {
        object["spec"]["replicas"] = json!(0);
        object["status"] = json!({"observedGeneration": 5});
    });
    let rollout = rollout(&deployment, &[replica_set("leer", "v2", 9, |_| {})]);
    assert!(rollout.complete);
    assert_eq!(rollout.replicas, 0);
}

#[test]
fn a_paused_deployment_without_pods_is_not_complete_before_its_replica_set_exists() {
    let deployment = deployment(|object| {
        object["spec"]["replicas"] = json!(0);
        object["spec"]["paused"] = json!(true);
        object["status"] = json!({"observedGeneration": 5});
    });
    assert!(!rollout(&deployment, &[replica_set("eins", "v1", 8, |_| {})]).complete);
}

#[test]
fn scaling_down_is_complete_while_surplus_pods_are_still_counted_as_updated() {
    let deployment = deployment(|object| {
        object["spec"]["replicas"] = json!(1);
        object["status"]["observedGeneration"] = json!(5);
    });
    assert!(rollout(&deployment, &[replica_set("x", "v2", 9, pods(3, 3))]).complete);
}

#[test]
fn the_time_of_completion_is_kubernetes_when_it_means_the_canary() {
    let sets = [replica_set("kürbis-3-web-7f9c", "v2", 9, pods(3, 3))];
    let at = rollout(&deployment(|_| {}), &sets).completed_at;
    assert_eq!(at.map(|at| at.to_string()), Some("2026-02-03T04:05:06Z".to_owned()));
}

#[test]
fn the_time_of_completion_of_an_older_replica_set_is_not_the_canarys() {
    // The older one's name begins like the canary's.
    let sets = [replica_set("kürbis-3-web-7f9", "v2", 9, pods(3, 3))];
    assert_eq!(rollout(&deployment(|_| {}), &sets).completed_at, None);
}

#[test]
fn a_pause_without_our_annotation_is_the_users() {
    let deployment = deployment(|object| object["spec"]["paused"] = json!(true));
    assert_eq!(rollout(&deployment, &[]).pause, Pause::User);
}

#[test]
fn a_pause_with_our_annotation_is_ours() {
    let deployment = deployment(|object| {
        object["spec"]["paused"] = json!(true);
        object["metadata"]["annotations"]["errorbudget.dev/hold"] = json!("{\"policy\":\"kürbis\"}");
    });
    let rollout = rollout(&deployment, &[]);
    assert_eq!((rollout.pause, rollout.hold.map(|hold| hold.policy)), (Pause::Ours, Some("kürbis".to_owned())));
}

#[test]
fn a_rollback_is_asked_for_with_who_wants_it_and_why() {
    let asked = deployment(|object| {
        object["metadata"]["annotations"] = json!({
            "errorbudget.dev/rollback": "b0b0",
            "errorbudget.dev/rollback-by": "ada",
            "errorbudget.dev/rollback-reason": "Kunden rufen an",
        });
    });
    let asks = rollout(&asked, &[]).asks;
    let ask = Ask { value: "b0b0".to_owned(), by: Some("ada".to_owned()) };
    assert_eq!((asks.rollback, asks.rollback_reason.as_deref()), (Some(ask), Some("Kunden rufen an")));
}

#[test]
fn a_hold_that_somebody_unpaused_is_no_pause_and_still_seen() {
    let deployment = deployment(|object| object["metadata"]["annotations"]["errorbudget.dev/hold"] = json!("x"));
    let rollout = rollout(&deployment, &[]);
    assert_eq!((rollout.pause, rollout.hold.map(|hold| hold.policy)), (Pause::None, Some(String::new())));
}

#[test]
fn the_deadline_counts_when_the_message_names_the_canary() {
    let sets = [replica_set("drei", "v2", 9, pods(1, 0))];
    let message = "ReplicaSet \"drei\" has timed out progressing.";
    let progress = rollout(&rolling("ProgressDeadlineExceeded", message), &sets).progress;
    assert_eq!(progress, Progress::DeadlineExceeded(message.to_owned()));
}

#[test]
fn the_deadline_of_an_older_replica_set_is_not_the_canarys() {
    let sets = [replica_set("drei", "v2", 9, pods(1, 0)), replica_set("drei-", "v1", 8, pods(3, 3))];
    let deployment = rolling("ProgressDeadlineExceeded", "ReplicaSet \"drei-\" has timed out progressing.");
    assert_eq!(rollout(&deployment, &sets).progress, Progress::Going);
}

#[test]
fn the_deadline_is_not_the_canarys_fault_while_all_its_pods_are_ready() {
    let sets = [replica_set("drei", "v2", 9, pods(2, 2))];
    let deployment = rolling("ProgressDeadlineExceeded", "ReplicaSet \"drei\" has timed out progressing.");
    assert_eq!(rollout(&deployment, &sets).progress, Progress::Going);
}

/// Makes a ReplicaSet say that its pods cannot be created.
fn quota(object: &mut Value) {
    pods(3, 0)(object);
    object["status"]["conditions"] = json!([{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"drei-\" is forbidden: exceeded quota: beet",
    }]);
}

#[test]
fn pods_that_cannot_be_created_go_before_the_deadline() {
    let sets = [replica_set("drei", "v2", 9, quota)];
    let deployment = rolling("ProgressDeadlineExceeded", "ReplicaSet \"drei\" has timed out progressing.");
    let why = "FailedCreate: pods \"drei-\" is forbidden: exceeded quota: beet".to_owned();
    assert_eq!(rollout(&deployment, &sets).progress, Progress::CannotRun(why));
}

#[test]
fn a_quota_that_hits_an_older_replica_set_is_not_the_canarys() {
    let sets = [replica_set("drei", "v2", 9, pods(1, 1)), replica_set("zwei", "v1", 8, quota)];
    let deployment = rolling("ReplicaSetUpdated", "ReplicaSet \"drei\" is progressing.");
    assert_eq!(rollout(&deployment, &sets).progress, Progress::Going);
}

#[test]
fn a_replica_set_that_cannot_be_created_is_reported() {
    let message = "Failed to create new replica set \"drei\": denied";
    let progress = rollout(&rolling("ReplicaSetCreateError", message), &[]).progress;
    assert_eq!(progress, Progress::CannotRun(format!("ReplicaSetCreateError: {message}")));
}

#[test]
fn recreate_is_recognised_and_a_missing_strategy_rolls() {
    let strategy = |change: fn(&mut Value)| rollout(&deployment(change), &[]).strategy;
    assert_eq!(strategy(|object| object["spec"]["strategy"] = json!({"type": "Recreate"})), Strategy::Recreate);
    assert_eq!(strategy(|object| object["spec"]["strategy"] = json!({})), Strategy::RollingUpdate);
}

#[test]
fn a_condemned_mark_counts_on_its_own_replica_set_only() {
    let mark =
        |uid: &str| json!({"uid": uid, "reason": "14.2x", "at": "2026-02-03T04:05:06Z", "policy": "k"}).to_string();
    let marked = |name: &'static str, uid: &str| {
        let mark = mark(uid);
        replica_set(name, name, 3, |object| {
            object["metadata"]["annotations"]["errorbudget.dev/condemned"] = json!(mark)
        })
    };
    let rollout = rollout(&deployment(|_| {}), &[marked("schuldig", "schuldig"), marked("kopie", "schuldig")]);
    let condemned: Vec<_> = rollout
        .others
        .iter()
        .map(|set| (set.replica_set.as_str(), set.condemned.as_ref().map(|mark| mark.reason.as_str())))
        .collect();
    assert_eq!(condemned, [("kopie", None), ("schuldig", Some("14.2x"))]);
}

#[test]
fn a_restart_of_a_template_is_a_new_one_that_is_known_by_the_old() {
    let restarted = replica_set("neu", "v1", 9, |object| {
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/restartedAt": "2026-02-03T04:05:06+01:00"});
    });
    let rollout = rollout(&deployment(|_| {}), &[restarted, replica_set("alt", "v1", 8, |_| {})]);
    let [neu, alt] = rollout.others.as_slice() else { panic!("two others: {:?}", rollout.others) };
    assert_ne!(neu.template, alt.template);
    assert_eq!(neu.template_without_restart, alt.template_without_restart);
}

#[test]
fn a_deployment_is_kept_without_what_nobody_looks_at() {
    let deployment = deployment(|_| {});
    assert_eq!(deployment.metadata.managed_fields, None);
    assert_eq!(deployment.metadata.annotations, None);
    assert_eq!(deployment.revision(), 9);
}

#[test]
fn a_complete_deployment_on_the_template_it_settled_on_is_idle() {
    let view = deployment(|_| {});
    let settled_on = view.spec.template.id.clone();
    assert!(is_idle(&view, Some(&settled_on)));
    assert!(is_idle(&view, None), "nothing is recorded of it");
    assert!(!is_idle(&view, Some(&TemplateId("another".to_owned()))));
}

#[test]
fn a_deployment_that_is_rolling_or_held_is_not_idle() {
    let held = deployment(|object| object["metadata"]["annotations"]["errorbudget.dev/hold"] = json!("x"));
    assert!(!is_idle(&held, None));
    assert!(!is_idle(&rolling("ReplicaSetUpdated", ""), None));
}

#[test]
fn scaling_and_labels_are_no_new_template() {
    let scaled = deployment(|object| {
        object["spec"]["replicas"] = json!(7);
        object["metadata"]["labels"] = json!({"team": "beet"});
    });
    assert_eq!(scaled.spec.template, deployment(|_| {}).spec.template);
}
