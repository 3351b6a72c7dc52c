//! Somebody pushes while what was pushed before has all pods and is still monitored.

use anyhow::Result;
use gatekeeper::api::status::RolloutStatus;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy as Admission, ValidatingAdmissionPolicyBinding as Binding,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::world::{PATIENCE, Policy, Release, Service, World, WorldOptions};

/// v2 has all pods and is monitored for longer than anybody waits, v1 is stable, and the gate has closed since.
async fn v2_in_bake(name: &str) -> Result<World> {
    let world = World::start(WorldOptions::named(name)).await?;
    let service = Service::new("checkout").replicas(4).traffic(10_000.0).with("progressDeadlineSeconds", 20);
    let policy = Policy::of("checkout").monitoring("30m");
    world.governed(service, Release::new("v1").burning(0.3), policy).await?;
    world.release("checkout", Release::new("v2").burning(0.3)).await?;
    world.reaches("checkout", "Monitoring").await?;
    world.patch_policy("checkout", json!({"spec": {"validate": {"threshold": "0.001"}}})).await?;
    world.gate_is("checkout", "Closed").await?;
    Ok(world)
}

/// From when this returns, no pod of v1 can be created: its image is gone, as it were.
async fn refuse_v1(world: &World) -> Result<()> {
    let name = world.namespace.as_str();
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let expression = "object.spec.containers.all(container, container.image != 'checkout:v1')";
    let policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": expression, "message": "there is no such image any more"}],
    }});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    let create = PostParams::default();
    Api::<Admission>::all(world.client()).create(&create, &serde_json::from_value(policy)?).await?;
    Api::<Binding>::all(world.client()).create(&create, &serde_json::from_value(binding)?).await?;
    let container = json!({"name": "app", "image": "checkout:v1"});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "v1"}, "spec": {"containers": [container]}}))?;
    let attempt = PostParams { dry_run: true, ..PostParams::default() };
    world
        .eventually("no pod of v1 is accepted", PATIENCE, async || {
            Ok(Api::<Pod>::namespaced(world.client(), name).create(&attempt, &pod).await.is_err())
        })
        .await
}

async fn accept_v1(world: &World) -> Result<()> {
    let delete = DeleteParams::default();
    Api::<Binding>::all(world.client()).delete(&world.namespace, &delete).await?;
    Api::<Admission>::all(world.client()).delete(&world.namespace, &delete).await?;
    Ok(())
}

#[tokio::test]
async fn a_push_that_the_gate_holds_in_anothers_bake_says_that_the_stable_pods_come_back() -> Result<()> {
    let world = v2_in_bake("push-in-bake").await?;
    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    let held = world.is_because("checkout", "BudgetSpent").await?;
    assert_eq!((held.phase.as_str(), held.stable.and_then(|stable| stable.revision)), ("Validating", Some(1)));
    world.pods_are("checkout", "v1: 4/4, v2: 0/0").await?;

    let told = world.event("checkout", "RolloutHeld").await?;
    let words = "; the 4 pods of revision 2 serve until revision 1, the last one that succeeded, is back, of which 0 of 4 pods \
                 are Ready";
    assert!(told.len() == 1 && told[0].ends_with(words), "{told:?}");
    let returns = world.event("checkout", "StableReturns").await?;
    let note = "revision 1, the last one that succeeded, comes back in place of revision 2: 4 pods of it are brought up; the 4 \
                pods of revision 2 serve until they are Ready";
    assert_eq!(returns, [note]);
    world
        .eventually("the status speaks of v2 no more", PATIENCE, async || {
            Ok(world.rollout("checkout").await?.message.is_some_and(|said| !said.contains("revision")))
        })
        .await?;
    assert_eq!(world.history.most_pods_of("checkout", "v3"), 0);
    assert_eq!(world.history.rollbacks("checkout"), 0);
    Ok(())
}

#[tokio::test]
async fn stable_pods_that_cannot_come_back_are_given_up_in_a_hold_and_halt_a_canary() -> Result<()> {
    let world = v2_in_bake("push-no-way-back").await?;
    refuse_v1(&world).await?;
    world.release("checkout", Release::new("v3").burning(0.3)).await?;
    let given_up = world.event("checkout", "StableNotReady").await?;
    let note = "revision 1, the last one that succeeded, has no Ready pod after 20 s and is given up; the 4 pods of revision 2 \
                serve on, not measured any more, until another template is let in";
    assert_eq!(given_up, [note]);
    world.pods_are("checkout", "v1: 0/0, v2: 4/4").await?;
    let says_so = |held: &RolloutStatus| held.message.as_deref().is_some_and(|said| said.ends_with(note));
    let held = world.is_told("checkout", "has its stable pods given up", PATIENCE, says_so).await?;
    assert_eq!((held.phase.as_str(), held.reason.as_deref()), ("Validating", Some("BudgetSpent")));

    let canary = json!({"traffic": "20%", "hold": "10s"});
    let opened = json!({"spec": {"validate": {"threshold": "1000"}, "canary": canary, "monitor": {"timeout": "6s"}}});
    world.patch_policy("checkout", opened).await?;
    world.halts_for("checkout", "StableNotReady").await?;
    let halted = world.event("checkout", "Halted").await?;
    let note = "the canary has no stable pods to be compared with: 0 of 4 pods of revision 1 are Ready after 20 s; the 4 pods \
                of revision 2 serve meanwhile; paused with 0 new pods: goes on when the stable pods are Ready; or approve it without \
                a canary, or push another template";
    assert_eq!(halted, [note]);
    assert_eq!(world.events("checkout", "StableReturns").await?.len(), 2, "once in the hold, and for the canary");
    assert_eq!(world.history.most_pods_of("checkout", "v3"), 0);
    world.pods_are("checkout", "v1: 0/4, v2: 4/4").await?;

    accept_v1(&world).await?;
    world.reaches("checkout", "Succeeded").await?;
    world.pods_are("checkout", "v1: 0/0, v2: 0/0, v3: 4/4").await?;
    let resumed = world.events("checkout", "Resumed").await?;
    assert!(resumed.iter().any(|note| note.starts_with("goes on after StableNotReady: ")), "{resumed:?}");
    assert_eq!(world.event("checkout", "CanaryPassed").await?.len(), 1);
    Ok(())
}
