//! What becomes of ReplicaSets, change by change: a look now and then would miss a pod too many.

use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt};
use gatekeeper::watch::view::ReplicaSetView;
use kube::api::{Api, WatchEvent, WatchParams};
use tokio::task::JoinHandle;

/// One ReplicaSet at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) uid: String,
    /// Pods asked for.
    pub(crate) desired: i32,
    /// Pods that exist.
    pub(crate) existing: i32,
}

/// Every change of a namespace's ReplicaSets, from what is there at its beginning.
pub(crate) struct Watching {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Watching {
    pub(crate) async fn begin(api: Api<ReplicaSetView>) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let events = api.watch(&WatchParams::default(), "0").await.expect("ReplicaSets are watched").boxed();
        let record = events.try_for_each(move |event| {
            if let WatchEvent::Added(set) | WatchEvent::Modified(set) = event {
                let now = Seen { uid: set.uid().to_owned(), desired: set.spec.replicas, existing: set.status.replicas };
                let mut seen = sink.lock().expect("no test fails while it writes");
                if seen.iter().rev().find(|before| before.uid == now.uid) != Some(&now) {
                    seen.push(now);
                }
            }
            std::future::ready(Ok(()))
        });
        let task = tokio::spawn(async move { record.await.expect("the watch goes on") });
        Self { seen, task }
    }

    /// What was seen up to now, or since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<Seen> {
        assert!(!self.task.is_finished(), "the watch has ended");
        std::mem::take(&mut self.seen.lock().expect("no test fails while it writes"))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}
