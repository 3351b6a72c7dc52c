//! Releases that serve well. What users lose while pods are replaced is no fault of theirs.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::ground::Ground;
use crate::policy::Policy;
use crate::shop::{End, Release, Service, Shop, Users};

/// How often each is rolled out: one roll loses few requests or none, by chance.
const ROLLS: [&str; 2] = ["v2", "v3"];

pub(super) async fn what_a_roll_costs_without_a_pre_stop_hook_is_not_blamed_on_the_release(
    ground: &Ground,
) -> Result<()> {
    rolls(ground, "rolled", Service { pre_stop: false, ..Service::small() }).await
}

pub(super) async fn a_good_release_with_a_pre_stop_hook_is_promoted(ground: &Ground) -> Result<()> {
    rolls(ground, "rolled-with-hook", Service::small()).await
}

async fn rolls(ground: &Ground, namespace: &str, service: Service) -> Result<()> {
    let hook = if service.pre_stop { "with a preStop hook" } else { "without a preStop hook" };
    let shop = Shop::open(ground, namespace, service).await?;
    shop.govern(&Policy::quick()).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let began = jiff::Timestamp::now();
    for version in ROLLS {
        shop.release(&Release::new(version)).await?;
        shop.ends(End::Promoted).await?;
    }
    let events = shop.events().await?;
    for never in ["Halted", "BudgetViolation", "RolledBack"] {
        ensure!(!events.contains(never), "{never} of a good release:\n{events}");
    }
    // What the operator saw of it: the errors that pods counted.
    let seen = shop.rollout().await?.message.unwrap_or_default();
    ensure!(seen.contains("0 errors in "), "pods counted errors of their own: {seen}");
    let lost = shop.lost_since(began);
    ground.note(|measured| {
        measured.fact(format!(
            "{} good releases {hook}: users lost {} of {} requests, pods counted no error, each was promoted",
            ROLLS.len(),
            lost.bad,
            lost.requests
        ));
    });
    shop.close().await
}

/// What the users count, in place of what the pods count: it has no pod in it, so that it can hold a release and never blame it.
pub(super) async fn what_users_count_of_a_roll_may_hold_a_good_release_and_never_rolls_it_back(
    ground: &Ground,
) -> Result<()> {
    let shop = Shop::open(ground, "seen-by-users", Service { pre_stop: false, ..Service::small() }).await?;
    let users = Users { target: shop.target(), rate: 50 };
    ground.apply(&users.manifest(&shop.namespace).to_string()).await?;
    ground.shell(&format!("kubectl rollout status deployment/users -n {} --timeout 4m", shop.namespace)).await?;
    let seen = |matcher: &str| format!("client_requests_total{{namespace=\"{{{{namespace}}}}\"{matcher}}}");
    let query = json!({"errors": seen(",outcome!=\"200\""), "total": seen(""), "counts": "Cumulative"});
    let objective = json!([{"name": "seen", "target": "99.9", "indicator": {"query": query}}]);
    shop.govern(&Policy::quick().with("objectives", objective)).await?;

    let began = shop.release(&Release::new("v2")).await?;
    let rolled_out = format!("kubectl rollout status deployment/checkout -n {} --timeout 4m", shop.namespace);
    shop.is_so("v2 is let in everywhere", |rollout| ["Monitoring", "Succeeded"].contains(&rollout.phase.as_str()))
        .await?;
    ground.shell(&rolled_out).await?;
    // It is known what became of it: promoted, or its clock stands still until users are served well again.
    let seen = shop.is_so("it was promoted or held", |rollout| {
        rollout.phase == "Succeeded" || rollout.reason.as_deref() == Some("SharedCause")
    });
    let seen = seen.await?;
    let events = shop.events().await?;
    ensure!(!events.contains("RolledBack"), "a good release was rolled back:\n{events}");
    let lost = shop.lost_since(began);
    let end = if seen.phase == "Succeeded" { "promoted" } else { "not promoted before users are served well" };
    ground.note(|measured| {
        measured.fact(format!(
            "a good release without a preStop hook, judged by what users count: users lost {} of {} requests, {end}",
            lost.bad, lost.requests
        ));
    });
    shop.close().await
}
