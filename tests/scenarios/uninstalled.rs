//! In whatever phase a rollout is when the chart is uninstalled: nothing stays held, and the owner's settings are back to
//! the byte.

use anyhow::Result;

use crate::phases::{ALL, HELD, RECOVERING, brought, is_as_its_owner_has_it};
use crate::world::{World, WorldOptions};

#[tokio::test]
async fn whatever_phase_a_rollout_is_in_an_uninstall_leaves_nothing_held() -> Result<()> {
    let world = World::start(WorldOptions::named("uninstalled")).await?;
    brought(&world).await?;
    let told = world.uninstall().await?;
    for name in HELD {
        assert!(told.contains(&format!("uninstalled/{name}: released: ")), "{told}");
    }
    assert_eq!(told.lines().count(), HELD.len(), "{told}");
    for name in ALL {
        is_as_its_owner_has_it(&world, name).await?;
        // Kubernetes goes on with what their owners have written last. What was rolled back stays where it was brought.
        let pods = if name == RECOVERING { "v1: 2/2, v2: 0/0" } else { "v1: 0/0, v2: 2/2" };
        world.pods_are(name, pods).await?;
    }
    Ok(())
}
