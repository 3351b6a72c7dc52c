//! Leadership on a real API server. Leases are as short as a busy machine can renew them; how they behave in length is
//! tested in paused time beside the code.

use std::time::Duration;

use gatekeeper::leader::{Candidate, LeaderError, Leadership, Timing};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use testbed::cluster::{Cluster, ClusterOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(12);
const RENEWAL: Duration = Duration::from_secs(4);
const WRITE: Duration = Duration::from_secs(2);
/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

struct Running {
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), LeaderError>>,
}

fn candidate(cluster: &Cluster, lease: &str, identity: &str) -> Running {
    let timing = Timing::new(LEASE, RENEWAL, WRITE).expect("the lease is long enough");
    let api = Api::namespaced(cluster.client(), "default");
    let (candidate, leadership) = Candidate::new(api, lease, identity.to_owned(), timing);
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(candidate.run(async move {
        let _ = stopped.await;
    }));
    Running { leadership, stop, task }
}

/// Two candidates of which the first leads and the second knows it.
async fn leader_and_standby(cluster: &Cluster, lease: &str) -> (Running, Running) {
    let mut leader = candidate(cluster, lease, "dorothy");
    timeout(PATIENCE, leader.leadership.gained()).await.expect("the first candidate leads");
    let mut standby = candidate(cluster, lease, "toto");
    timeout(PATIENCE, standby.leadership.observed()).await.expect("the second candidate sees the Lease");
    (leader, standby)
}

async fn holder(cluster: &Cluster, lease: &str) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(cluster.client(), "default");
    api.get(lease).await.expect("the Lease is there").spec.and_then(|spec| spec.holder_identity)
}

async fn one_leads_and_keeps_leading(cluster: &Cluster) {
    let (leader, standby) = leader_and_standby(cluster, "steady").await;
    sleep(2 * LEASE).await;
    assert!(leader.leadership.may_write());
    assert!(!standby.leadership.may_write());
    assert_eq!(holder(cluster, "steady").await.as_deref(), Some("dorothy"));
    leader.task.abort();
    standby.task.abort();
}

async fn a_crashed_leader_is_replaced_within_its_lease_and_a_margin(cluster: &Cluster) {
    let (leader, mut standby) = leader_and_standby(cluster, "crash").await;
    leader.task.abort();
    let crashed = Instant::now();
    timeout(PATIENCE, standby.leadership.gained()).await.expect("the standby takes over");
    let margin = Duration::from_secs(15);
    assert!(crashed.elapsed() < LEASE + margin, "{:?}", crashed.elapsed());
    assert_eq!(holder(cluster, "crash").await.as_deref(), Some("toto"));
    standby.task.abort();
}

async fn a_leader_that_shuts_down_is_replaced_at_once(cluster: &Cluster) {
    let (leader, mut standby) = leader_and_standby(cluster, "handover").await;
    leader.stop.send(()).expect("the leader runs");
    leader.task.await.expect("no panic").expect("a shutdown is no error");
    let stopped = Instant::now();
    timeout(PATIENCE, standby.leadership.gained()).await.expect("the standby takes over");
    assert!(stopped.elapsed() < LEASE / 2, "{:?}", stopped.elapsed());
    standby.task.abort();
}

async fn a_frozen_api_server_stops_writes_before_the_lease_runs_out(cluster: &Cluster) {
    let (leader, standby) = leader_and_standby(cluster, "frozen").await;
    cluster.apiserver.freeze().expect("freeze the API server");
    // It was renewed before that, if only just. A write that began now would end within its timeout, when it is over.
    sleep(LEASE.saturating_sub(WRITE)).await;
    assert!(!leader.leadership.may_write());
    let ended = timeout(PATIENCE, leader.task).await.expect("the leader ends").expect("no panic");
    cluster.apiserver.thaw().expect("thaw the API server");
    assert!(matches!(ended, Err(LeaderError::Expired { .. })), "{ended:?}");

    let mut standby = standby;
    timeout(PATIENCE, standby.leadership.gained()).await.expect("the standby outlives it and takes over");
    standby.task.abort();
}

/// One control plane for all: starting it takes longer than what is tested.
#[tokio::test(flavor = "multi_thread")]
async fn leadership_on_a_real_api_server() {
    let cluster = Cluster::start(ClusterOptions::default()).await.expect("a control plane");
    tokio::join!(
        one_leads_and_keeps_leading(&cluster),
        a_crashed_leader_is_replaced_within_its_lease_and_a_margin(&cluster),
        a_leader_that_shuts_down_is_replaced_at_once(&cluster),
    );
    a_frozen_api_server_stops_writes_before_the_lease_runs_out(&cluster).await;
}
