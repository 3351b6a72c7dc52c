//! How much of the traffic a canary really gets.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde_json::json;

use crate::ground::Ground;
use crate::policy::Policy;
use crate::shop::{End, Release, Service, Shop};

pub(super) async fn a_canary_of_a_tenth_of_the_pods_gets_a_tenth_of_the_requests(ground: &Ground) -> Result<()> {
    let service = Service { replicas: 9, rate: 100.0, ..Service::small() };
    let shop = Shop::open(ground, "share", service).await?;
    shop.govern(&Policy::quick().with("canary", json!({"traffic": "10%", "hold": "30s"}))).await?;

    shop.release(&Release::new("v2")).await?;
    let held = shop.is_so("the canary is held", |rollout| {
        rollout.canary.as_ref().is_some_and(|canary| canary.held_since.is_some())
    });
    let canary = held.await?.canary.unwrap_or_default();
    ensure!((canary.pods, canary.share.as_deref()) == (Some(1), Some("10.0%")), "the canary is {canary:?}");
    let began = Timestamp::now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let ended = Timestamp::now();
    let responses = shop.responses();
    let held: Vec<_> = responses.iter().filter(|response| (began..ended).contains(&response.at)).collect();
    let new = held.iter().filter(|response| response.version.as_deref() == Some("v2")).count();
    shop.ends(End::Promoted).await?;

    // Each request is sent to any of the ten pods: of 2,000, some 200, with a standard deviation of 13.
    ensure!(held.len() > 1500, "only {} requests in 20 s", held.len());
    let percent = 100.0 * new as f64 / held.len() as f64;
    ensure!((6.0..=14.0).contains(&percent), "{new} of {} requests", held.len());
    ground.note(|measured| {
        measured.fact(format!("a canary of 1 of 10 pods got {new} of {} requests ({percent:.1} %)", held.len()));
    });
    shop.close().await
}
