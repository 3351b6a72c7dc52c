//! What people read, written to a real API server.

use std::sync::Arc;
use std::time::Duration;

use gatekeeper::api::ErrorBudgetPolicy;
use gatekeeper::api::status::{ObjectiveStatus, RolloutStatus};
use gatekeeper::decide::announcement::{Announcement, EventReason};
use gatekeeper::decide::state::{Cause, Incident, Outcome, Phase, Remembered, State};
use gatekeeper::record::events::{self, Subject};
use gatekeeper::record::metrics::Metrics;
use gatekeeper::record::status::{Change, PolicyRef, ROLLOUTS_KEPT, StatusWriter, Urgency, entry_of, state_of};
use gatekeeper::watch::rollout::TemplateId;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::cluster::{Cluster, ClusterOptions};
use tokio::time::{sleep, timeout};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

fn policies(cluster: &Cluster) -> Api<ErrorBudgetPolicy> {
    Api::namespaced(cluster.client(), "default")
}

async fn create_policy(cluster: &Cluster, name: &str) -> PolicyRef {
    let policy = json!({
        "apiVersion": "errorbudget.dev/v1alpha1",
        "kind": "ErrorBudgetPolicy",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "objectives": [{"name": "availability", "target": "99.9", "window": "28d", "indicator": {"ratio": {
                "errors": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total",
            }}}],
        },
    });
    let policy = serde_json::from_value(policy).expect("a policy");
    let created = policies(cluster).create(&PostParams::default(), &policy).await.expect("the policy is accepted");
    PolicyRef {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: created.metadata.uid.expect("objects have a uid"),
    }
}

fn writer(cluster: &Cluster) -> StatusWriter {
    StatusWriter::new(cluster.client(), || true, Arc::new(Metrics::new(|| true)))
}

async fn drained(writer: &StatusWriter) {
    timeout(PATIENCE, writer.drain()).await.expect("the status is written");
}

fn revision(number: u64) -> Remembered {
    Remembered { template: TemplateId(format!("template-{number}")), revision: number }
}

fn state(phase: Phase) -> State {
    let now = Timestamp::from_second(2_000_000_000).expect("a time");
    State {
        canary: None,
        control: None,
        overridden: None,
        approved: Vec::new(),
        heard: None,
        succeeded: Vec::new(),
        uid: "5c1f0f2e-7a33-4f6e-9a53-0b2f8f0f6a11".to_owned(),
        phase,
        since: now,
        newest: revision(7),
        stable: Some(revision(6)),
        started: now - SignedDuration::from_secs(90),
        evidence_since: now - SignedDuration::from_secs(30),
        cause: Cause::Violation,
        message: "burn rate 14.2x (38 errors in 2,671 requests, 30 s) exceeds 1.0x".to_owned(),
        monitor_until: Some(now + SignedDuration::from_secs(300)),
        clock_stopped: Some(now),
        incident: Some(Incident {
            condemned: revision(7),
            decided: now,
            reason: "burn rate 14.2x".to_owned(),
            outcome: Some(Outcome::RecoveredUnproven),
            ended: Some(now),
        }),
        condemned: vec![TemplateId("template-5".to_owned()), TemplateId("template-7".to_owned())],
    }
}

async fn what_was_known_is_read_back(cluster: &Cluster) {
    let policy = create_policy(cluster, "memory").await;
    let writer = writer(cluster);
    for phase in Phase::ALL {
        let name = phase.as_str().to_lowercase();
        writer.submit(&policy, Change::new().rollout(&name, Some(&entry_of(&state(phase)))), Urgency::Transition);
    }
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: "Valid".to_owned(),
        message: "in force".to_owned(),
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::now()),
    };
    let availability = ObjectiveStatus {
        name: "availability".to_owned(),
        burn_rate: Some("14.2".to_owned()),
        ..ObjectiveStatus::default()
    };
    let change = Change::new().condition(condition).field("targets", &8).numbers("halted", vec![availability]);
    writer.submit(&policy, change, Urgency::Transition);
    drained(&writer).await;

    let status = policies(cluster).get("memory").await.expect("the policy").status.expect("a status");
    for phase in Phase::ALL {
        let entry = &status.rollouts[&phase.as_str().to_lowercase()];
        assert_eq!(state_of(entry), Ok(state(phase)));
    }
    assert_eq!((status.targets, status.running_rollouts), (Some(8), Some(8)));
    assert_eq!(status.objectives[0].deployment.as_deref(), Some("halted"));
    assert_eq!(status.conditions[0].reason, "Valid");
}

/// Of more rollouts than a status may hold the API server never sees too many, and running ones are kept.
async fn there_is_room_for_every_running_rollout(cluster: &Cluster) {
    let policy = create_policy(cluster, "crowd").await;
    let writer = writer(cluster);
    for i in 0..ROLLOUTS_KEPT + 50 {
        let phase = if i < 30 { Phase::Promoting } else { Phase::Succeeded };
        writer.submit(
            &policy,
            Change::new().rollout(&format!("d-{i:03}"), Some(&entry_of(&state(phase)))),
            Urgency::Transition,
        );
    }
    drained(&writer).await;
    let status = policies(cluster).get("crowd").await.expect("the policy").status.expect("a status");
    assert_eq!(status.rollouts.len(), ROLLOUTS_KEPT);
    assert!((0..30).all(|i| status.rollouts.contains_key(&format!("d-{i:03}"))));
}

async fn a_write_beside_ours_survives_and_ours_comes_through(cluster: &Cluster) {
    let policy = create_policy(cluster, "contended").await;
    let writer = writer(cluster);
    let entry = RolloutStatus { phase: "Promoting".to_owned(), ..RolloutStatus::default() };
    writer.submit(&policy, Change::new().rollout("first", Some(&entry)), Urgency::Transition);
    // Long enough for the first write to be done: the next one starts from what it was answered.
    while policies(cluster).get("contended").await.expect("the policy").status.is_none() {
        sleep(Duration::from_millis(50)).await;
    }
    let beside = json!({"status": {"rollouts": {"beside": {"phase": "Halted"}}}});
    policies(cluster)
        .patch_status("contended", &PatchParams::default(), &Patch::Merge(beside))
        .await
        .expect("a write beside ours");
    writer.submit(&policy, Change::new().rollout("second", Some(&entry)), Urgency::Transition);
    drained(&writer).await;
    let status = policies(cluster).get("contended").await.expect("the policy").status.expect("a status");
    let names: Vec<_> = status.rollouts.keys().map(String::as_str).collect();
    assert_eq!(names, ["beside", "first", "second"]);
}

async fn a_policy_created_anew_starts_with_nothing(cluster: &Cluster) {
    let policy = create_policy(cluster, "phoenix").await;
    let writer = writer(cluster);
    policies(cluster).delete("phoenix", &DeleteParams::default()).await.expect("the policy is deleted");
    create_policy(cluster, "phoenix").await;
    let entry = RolloutStatus { phase: "Halted".to_owned(), ..RolloutStatus::default() };
    writer.submit(&policy, Change::new().rollout("old", Some(&entry)), Urgency::Transition);
    drained(&writer).await;
    let status = policies(cluster).get("phoenix").await.expect("the policy").status;
    assert!(status.is_none_or(|status| status.rollouts.is_empty()));
}

async fn people_find_events_on_both_objects(cluster: &Cluster) {
    let policy = create_policy(cluster, "telling").await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    let deployment = json!({
        "metadata": {"name": "checkout"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "telling"}},
            "template": {
                "metadata": {"labels": {"app": "telling"}},
                "spec": {"containers": [{"name": "none", "image": "none"}]},
            },
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a Deployment");
    let deployment = deployments.create(&PostParams::default(), &deployment).await.expect("the Deployment is accepted");
    let policy = policies(cluster).get(&policy.name).await.expect("the policy");
    let subject = Subject { deployment: deployment.object_ref(&()), policy: policy.object_ref(&()) };

    let metrics = Arc::new(Metrics::new(|| true));
    let (events, publisher) = events::channel(cluster.client(), "gate-0_1", Arc::clone(&metrics));
    let long = "é".repeat(2000);
    for note in ["burn rate 2.0x", "burn rate 3.0x", &long] {
        let announcement = Announcement::new(EventReason::BudgetViolation, note.to_owned());
        events.announce(&subject, &announcement);
    }
    drop(events);
    timeout(PATIENCE, publisher.run()).await.expect("all events are published");
    let page = metrics.encode().expect("the metrics page");
    assert!(page.contains("errorbudget_gatekeeper_events_total{outcome=\"published\"} 6"), "{page}");

    let described = cluster.kubectl(&["describe", "deployment", "checkout"]).await.expect("kubectl describe");
    assert!(described.contains("Warning") && described.contains("errorbudget.dev/gatekeeper"), "{described}");
    assert!(described.contains("burn rate 2.0x") && described.contains("burn rate 3.0x"), "{described}");
    let described = cluster.kubectl(&["describe", "ebp", "telling"]).await.expect("kubectl describe");
    assert!(described.contains("checkout: burn rate 2.0x"), "{described}");
}

/// One control plane for all: starting it takes longer than what is tested.
#[tokio::test(flavor = "multi_thread")]
async fn what_people_read_on_a_real_api_server() {
    let cluster = Cluster::start(ClusterOptions::default()).await.expect("a control plane");
    cluster
        .kubectl_with_input(&["apply", "--server-side", "-f", "-"], &gatekeeper::api::crds())
        .await
        .expect("the CRD is accepted");
    let established = ["wait", "--for=condition=Established", "crd/errorbudgetpolicies.errorbudget.dev"];
    cluster.kubectl(&established).await.expect("the CRD is established");
    tokio::join!(
        what_was_known_is_read_back(&cluster),
        there_is_room_for_every_running_rollout(&cluster),
        a_write_beside_ours_survives_and_ours_comes_through(&cluster),
        a_policy_created_anew_starts_with_nothing(&cluster),
        people_find_events_on_both_objects(&cluster),
    );
}
