//! A few stable pods stay beside the new ones while these are monitored, so that what befalls both is not blamed on the
//! release.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// A bake that no scenario sees the end of by itself.
const EVER: &str = "1h";

/// A successor waits for its end, and a machine that is busy needs time to renew it.
const LEASE: Duration = Duration::from_secs(30);

fn service(name: &str) -> Service {
    Service::new(name).traffic(20_000.0)
}

fn keeping_two(name: &str) -> Policy {
    Policy::of(name).with("/monitor/controlPods", 2)
}

async fn governed(options: WorldOptions, service: Service, policy: Policy) -> Result<World> {
    let world = World::start(options).await?;
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    Ok(world)
}

#[tokio::test]
async fn a_good_release_is_completed_after_its_bake_and_its_owners_settings_are_as_they_were() -> Result<()> {
    let service = service("checkout").rolling("25%", "25%").with("minReadySeconds", 1);
    let world = governed(WorldOptions::named("control-good"), service, keeping_two("checkout")).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    let monitored = world.reaches("checkout", "Monitoring").await?;
    assert_eq!(monitored.control.as_ref().map(|control| control.pods), Some(2), "{monitored:?}");
    assert!(monitored.next.clone().unwrap_or_default().ends_with("; 2 stable pods stay until then"), "{monitored:?}");
    world.pods_were("checkout", "v1: 2/2, v2: 10/10").await?;

    let succeeded = world.reaches("checkout", "Succeeded").await?;
    assert_eq!(succeeded.stable.and_then(|stable| stable.revision), Some(2));
    assert_eq!(succeeded.control, None);
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    assert_eq!(world.history.fewest_until_released("checkout", "v1"), 2, "{}", world.history);
    assert_eq!(world.settings("checkout").await?, before);
    assert_eq!(world.deployment("checkout").await?.hold, None);
    let kept = world.event("checkout", "ControlPodsKept").await?;
    assert!(kept.len() == 1 && kept[0].starts_with("2 of 12 pods stay on revision 1 until "), "{kept:?}");
    let promoted = world.event("checkout", "Promoted").await?;
    assert!(promoted[0].ends_with("; the 2 pods of revision 1 that stayed are replaced now"), "{promoted:?}");
    for reason in ["ControlPodsGone", "Halted", "BudgetViolation", "RolledBack"] {
        assert_eq!(world.events("checkout", reason).await?, [""; 0], "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn an_outage_in_the_bake_that_control_pods_share_stops_its_clock_and_without_them_it_is_blamed_on_the_release()
-> Result<()> {
    let world = World::start(WorldOptions::named("control-outage")).await?;
    let stable = || Release::new("v1").burning(0.3);
    let bare = Policy::of("bare").monitoring("20s");
    let policies = [("checkout", keeping_two("checkout").monitoring("20s")), ("bare", bare)];
    try_join_all(policies.map(|(name, policy)| world.governed(service(name), stable(), policy))).await?;
    for name in ["checkout", "bare"] {
        world.release(name, Release::new("v2").burning(0.3)).await?;
    }
    try_join_all(["checkout", "bare"].map(|name| begins_its_outage_in_the_bake(&world, name))).await?;

    world.reaches("bare", "Recovering").await?;
    world.is_because("checkout", "SharedCause").await?;
    world.looks_go_by(8).await?;
    let halted = world.rollout("checkout").await?;
    let said = (halted.phase.as_str(), halted.verdict.as_deref(), halted.reason.as_deref());
    assert_eq!(said, ("Monitoring", Some("Halt"), Some("SharedCause")));
    assert!(halted.clock_stopped.is_some() && halted.next.unwrap_or_default().starts_with("its clock stands still"));
    assert_eq!(world.pods("checkout").await?, "v1: 2/2, v2: 9/9");
    let told = world.event("checkout", "Halted").await?;
    assert!(told.iter().all(|note| note.contains(" exceeds 1.0x; ")), "{told:?}");

    world.outage("checkout", None);
    let resumed = world.event("checkout", "Resumed").await?;
    assert!(resumed[0].starts_with("goes on after SharedCause: "), "{resumed:?}");
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 10/10").await?;
    assert_eq!(world.events("checkout", "BudgetViolation").await?, [""; 0]);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2"]);
    Ok(())
}

/// All pods of it burn as soon as it is monitored, whatever their version.
async fn begins_its_outage_in_the_bake(world: &World, name: &str) -> Result<()> {
    world.reaches(name, "Monitoring").await?;
    world.outage(name, Some(20.0));
    Ok(())
}

#[tokio::test]
async fn a_release_that_turns_bad_alone_in_the_bake_is_rolled_back_to_the_pods_that_stayed() -> Result<()> {
    let service = service("checkout").rolling("50%", 0);
    let world =
        governed(WorldOptions::named("control-late"), service, keeping_two("checkout").monitoring(EVER)).await?;
    let before = world.settings("checkout").await?;
    let late = Release::new("v2").burning(0.3).turning_bad(Duration::from_secs(45), 30.0);
    world.release("checkout", late).await?;
    world.reaches("checkout", "Monitoring").await?;
    let rolled_back = world.reaches("checkout", "RolledBack").await?;
    assert_eq!(rolled_back.incident.and_then(|incident| incident.outcome).as_deref(), Some("Recovered"));
    world.pods_are("checkout", "v1: 10/10, v2: 0/0").await?;
    assert_eq!(world.history.fewest_until_released("checkout", "v1"), 2, "{}", world.history);
    let violation = world.event("checkout", "BudgetViolation").await?;
    assert!(violation.len() == 1 && violation[0].contains("; stable pods 0."), "{violation:?}");
    assert_eq!(world.settings("checkout").await?, before);
    assert_eq!(world.history.versions("checkout"), ["v1", "v2", "v1"]);
    Ok(())
}

#[tokio::test]
async fn kubernetes_that_was_faster_leaves_none_which_is_said_and_the_bake_goes_on_without() -> Result<()> {
    let options = WorldOptions::named("control-faster").lease(LEASE);
    let world = governed(options, service("checkout").replicas(4), keeping_two("checkout")).await?;
    world.release("checkout", Release::new("v2").burning(0.3).ready_after(Duration::from_secs(4))).await?;
    world.reaches("checkout", "Promoting").await?;
    world.at_the_moment("a pod of v2 is wanted", |history| history.most_pods_of("checkout", "v2") > 0).await?;
    world.operator().process.kill()?;
    world.complete("checkout").await?;
    world.operator().process.start()?;
    world.operator().wait_until_ready().await?;
    let monitored = world.reaches("checkout", "Monitoring").await?;
    assert_eq!(monitored.control.map(|control| control.pods), Some(0));
    assert!(monitored.next.unwrap_or_default().ends_with("; no stable pod is left to compare with"));
    world.reaches("checkout", "Succeeded").await?;
    let gone = world.event("checkout", "ControlPodsGone").await?;
    assert!(gone.len() == 1 && gone[0].starts_with("no pod of revision 1 is left to compare with: "), "{gone:?}");
    assert_eq!(world.events("checkout", "ControlPodsKept").await?, [""; 0]);
    assert_eq!(world.history.pauses("checkout"), 0);
    Ok(())
}

#[tokio::test]
async fn a_newer_template_in_the_bake_starts_over_and_a_deleted_policy_leaves_nothing_held() -> Result<()> {
    let canary = json!({"traffic": "10%", "hold": "10s"});
    let policy = keeping_two("checkout").monitoring(EVER).with("/canary", canary);
    let world = governed(WorldOptions::named("control-newer"), service("checkout").replicas(6), policy).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Monitoring").await?;
    world.pods_are("checkout", "v1: 2/2, v2: 5/5").await?;

    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    world.reaches("checkout", "Canary").await?;
    world.pods_were("checkout", "v1: 6/6, v2: 0/0, v3: 1/1").await?;
    let monitored = world.reaches("checkout", "Monitoring").await?;
    assert_eq!(monitored.stable.and_then(|stable| stable.revision), Some(1), "v2 never succeeded");
    world.pods_are("checkout", "v1: 2/2, v2: 0/0, v3: 5/5").await?;

    world.kubectl(&["delete", "ebp", "checkout"]).await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 6/6").await?;
    assert_eq!(world.settings("checkout").await?, before);
    let deployment = world.deployment("checkout").await?;
    assert_eq!((deployment.paused, deployment.hold), (false, None));
    assert_eq!(world.event("checkout", "Resumed").await?, ["goes on: no policy governs it any more"]);
    Ok(())
}

#[tokio::test]
async fn what_is_applied_and_scaled_in_the_bake_moves_no_control_pod_and_a_person_may_have_it_rolled_back() -> Result<()>
{
    let service = service("checkout").replicas(6).applied_server_side();
    let policy = keeping_two("checkout").monitoring(EVER);
    let world = governed(WorldOptions::named("control-applied"), service, policy).await?;
    let v2 = Release::new("v2").burning(0.3);
    world.release("checkout", v2.clone()).await?;
    world.reaches("checkout", "Monitoring").await?;
    for _ in 0..3 {
        world.apply_server_side(&world.manifest("checkout", &v2)).await?;
        world.looks_go_by(1).await?;
    }
    world.is_observed("checkout").await?;
    assert_eq!(world.pods("checkout").await?, "v1: 2/2, v2: 5/5");
    assert_eq!(world.history.fewest_until_released("checkout", "v1"), 2, "{}", world.history);
    for (replicas, pods) in [("--replicas=10", "v1: 2/2, v2: 9/9"), ("--replicas=4", "v1: 2/2, v2: 3/3")] {
        world.kubectl(&["scale", "deployment/checkout", replicas]).await?;
        world.pods_are("checkout", pods).await?;
    }

    let newest = world.rollout("checkout").await?.newest.unwrap_or_default();
    let ask = format!("errorbudget.dev/rollback={}", newest.template);
    world.kubectl(&["annotate", "deployment/checkout", &ask]).await?;
    world.reaches("checkout", "RolledBack").await?;
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;
    let told = world.event("checkout", "RolledBack").await?;
    assert!(told.len() == 1 && told[0].contains(" asked for the rollback; rolled back revision 2 to 1"), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn new_pods_that_are_never_ready_on_the_way_are_rolled_back_when_their_owners_deadline_has_passed() -> Result<()>
{
    let service = service("checkout").replicas(2).with("progressDeadlineSeconds", 15);
    let policy = Policy::of("checkout").with("/monitor/controlPods", 1);
    let world = governed(WorldOptions::named("control-never-ready"), service, policy).await?;
    world.release("checkout", Release::new("v2").never_ready()).await?;
    let rolled_back = world.reaches("checkout", "Recovering").await?;
    let reason = rolled_back.incident.and_then(|incident| incident.reason).unwrap_or_default();
    assert!(reason.contains("the new pods are not Ready after 15 s"), "{reason}");
    world.pods_are("checkout", "v1: 2/2, v2: 0/0").await?;
    assert_eq!(world.history.fewest_until_released("checkout", "v1"), 2, "no stable pod left for them");
    Ok(())
}

#[tokio::test]
async fn the_operator_killed_on_the_way_there_and_in_the_bake_goes_on_where_it_was() -> Result<()> {
    let options = WorldOptions::named("control-killed").lease(LEASE);
    let world = governed(options, service("checkout").replicas(6), keeping_two("checkout")).await?;
    let before = world.settings("checkout").await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world
        .at_the_moment("the rollout is held for its control pods", |history| {
            let now = history.of("checkout").pop().and_then(|deployment| deployment.hold);
            now.is_some_and(|hold| hold.contains(r#""own""#))
        })
        .await?;
    start_again(&world).await?;
    let monitored = world.reaches("checkout", "Monitoring").await?;
    world.pods_are("checkout", "v1: 2/2, v2: 5/5").await?;
    world.event("checkout", "ControlPodsKept").await?;
    start_again(&world).await?;
    let succeeded = world.reaches_within("checkout", "Succeeded", PATIENCE * 2).await?;
    assert_eq!(succeeded.started, monitored.started);
    world.pods_are("checkout", "v1: 0/0, v2: 6/6").await?;
    assert_eq!(world.history.fewest_until_released("checkout", "v1"), 2, "{}", world.history);
    assert_eq!(world.settings("checkout").await?, before);
    assert_eq!(world.event("checkout", "Promoted").await?.len(), 1);
    assert_eq!(world.events("checkout", "ControlPodsKept").await?.len(), 1);
    assert_eq!(world.events("checkout", "ControlPodsGone").await?, [""; 0]);
    Ok(())
}

async fn start_again(world: &World) -> Result<()> {
    world.operator().process.kill()?;
    world.operator().process.start()?;
    world.operator().wait_until_ready().await
}
