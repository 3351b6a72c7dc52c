//! The API server goes away in the middle of a rollout.

use std::time::Duration;

use anyhow::Result;
use testbed::cluster::Ending;

use crate::world::{Policy, Release, Service, World, WorldOptions};

#[tokio::test]
async fn the_api_server_may_restart_or_crash_in_mid_rollout() -> Result<()> {
    // Restarted on a busy machine it may be away for longer than the operator's own Lease lasts by default.
    let options = WorldOptions::named("api-server").own_cluster().lease(Duration::from_secs(60));
    let world = World::start(options).await?;
    let service = Service::new("checkout").replicas(6);
    let policy = Policy::of("checkout").monitoring("6s");
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;

    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Promoting").await?;
    world.cluster().restart_apiserver(Ending::Graceful).await?;
    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(2));
    world.pods_are("checkout", "v1: 0/0, v2: 6/6").await?;
    assert_eq!((world.history.pauses("checkout"), world.history.rollbacks("checkout")), (0, 0));
    assert_eq!(world.event("checkout", "Promoted").await?.len(), 1);

    world.release("checkout", Release::new("v3").burning(100.0)).await?;
    world.reaches("checkout", "Promoting").await?;
    world.cluster().restart_apiserver(Ending::Killed).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 6/6, v3: 0/0").await?;
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v3", "v2"]);
    assert_eq!(world.history.rollbacks("checkout"), 1);
    let told = world.event("checkout", "RolledBack").await?;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("rolled back revision 3 to 2"), "{told:?}");
    world.operator().process.ensure_running()
}
