//! Fix and retry: what happens to a team between a bad release and the next good one.

use anyhow::{Result, ensure};

use crate::ground::Ground;
use crate::policy::Policy;
use crate::shop::{End, Release, Service, Shop};

pub(super) async fn a_bad_release_is_rejected_when_it_comes_again_and_its_fix_is_promoted(
    ground: &Ground,
) -> Result<()> {
    let shop = Shop::open(ground, "retry", Service::small()).await?;
    shop.govern(&Policy::quick()).await?;
    let bad = Release::new("v2").with("ERROR_RATIO", "0.5");

    let began = shop.release(&bad).await?;
    shop.ends(End::RolledBack).await?;
    let lost = shop.lost_since(began);

    let again = shop.release(&bad).await?;
    let told = shop.ends(End::Stopped).await?;
    ensure!(told.contains("ejected"), "{told}");
    let lost_again = shop.lost_since(again);
    ensure!(lost_again.bad == 0, "users met it again: {}", lost_again.cells());

    let fixed = shop.release(&Release::new("v3")).await?;
    shop.ends(End::Promoted).await?;
    let lost_by_fix = shop.lost_since(fixed);
    let responses = shop.responses();
    let last = responses.last().and_then(|response| response.version.clone());
    ensure!(last.as_deref() == Some("v3"), "users are answered by {last:?}");
    ground.note(|measured| {
        measured.fact(format!(
            "fix and retry: a release that fails half of its requests cost {} of {} requests, applied again none, its \
             fix {} of {}",
            lost.bad, lost.requests, lost_by_fix.bad, lost_by_fix.requests
        ));
    });
    shop.close().await
}
