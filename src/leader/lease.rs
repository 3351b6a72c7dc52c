//! What a Lease says and what to write into it. Pure; the clocks are arguments.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// Who holds it; `None` when nobody does.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Whether a Lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody holds it, we do, or its holder has been silent for its whole duration.
    Take,
    /// Its holder may still lead.
    Wait,
}

/// Remembers since when we have seen the Lease as it is.
#[derive(Debug, Default)]
pub(super) struct Observer {
    seen: Option<(Option<String>, Instant)>,
}

impl Observer {
    /// Judges a Lease that was read just before `now`. A Lease without a usable duration is given `fallback`.
    pub(super) fn judge(&mut self, lease: &Lease, me: &str, now: Instant, fallback: Duration) -> Claim {
        let version = &lease.metadata.resource_version;
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.seen = Some((version.clone(), now));
                now
            }
        };
        match holder(lease) {
            Some(other) if other != me && now < since + duration(lease).unwrap_or(fallback) => Claim::Wait,
            _ => Claim::Take,
        }
    }
}

fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = u64::try_from(lease.spec.as_ref()?.lease_duration_seconds?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The Lease with us as its holder: `found` taken or renewed, or a new one. Everything else in it is kept.
pub(super) fn claimed(found: Option<Lease>, name: &str, me: &str, duration: Duration, now: Timestamp) -> Lease {
    let mut lease = found.unwrap_or_default();
    lease.metadata.name = Some(name.to_owned());
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(me) {
        spec.holder_identity = Some(me.to_owned());
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1));
    lease
}

/// The Lease with nobody as its holder.
pub(super) fn released(held: Lease, now: Timestamp) -> Lease {
    let spec = LeaseSpec {
        holder_identity: None,
        acquire_time: None,
        renew_time: Some(MicroTime(now)),
        ..held.spec.unwrap_or_default()
    };
    Lease { spec: Some(spec), ..held }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn lease(version: &str, holder: Option<&str>) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        });
        lease
    }

    #[test]
    fn another_lease_is_waited_for_from_when_we_first_saw_it_however_old_its_own_times_are() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let others = lease("1", Some("dorothy"));
        for (after, claim) in [(0, Claim::Wait), (9, Claim::Wait), (10, Claim::Take)] {
            let now = start + Duration::from_secs(after);
            assert_eq!(observer.judge(&others, "toto", now, DURATION), claim, "after {after} s");
        }
    }

    #[test]
    fn each_renewal_starts_the_wait_anew() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        observer.judge(&lease("1", Some("dorothy")), "toto", start, DURATION);
        let renewed = lease("2", Some("dorothy"));
        let later = start + Duration::from_secs(9);
        assert_eq!(observer.judge(&renewed, "toto", later, DURATION), Claim::Wait);
        assert_eq!(observer.judge(&renewed, "toto", later + Duration::from_secs(9), DURATION), Claim::Wait);
        assert_eq!(observer.judge(&renewed, "toto", later + Duration::from_secs(10), DURATION), Claim::Take);
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken_at_once() {
        let now = Instant::now();
        for free in [lease("1", None), lease("1", Some("")), lease("1", Some("toto")), Lease::default()] {
            assert_eq!(Observer::default().judge(&free, "toto", now, DURATION), Claim::Take);
        }
    }

    #[test]
    fn a_lease_without_a_usable_duration_is_given_our_own() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let mut odd = lease("1", Some("dorothy"));
        odd.spec.get_or_insert_default().lease_duration_seconds = Some(-3);
        observer.judge(&odd, "toto", start, DURATION);
        assert_eq!(observer.judge(&odd, "toto", start + Duration::from_secs(14), DURATION), Claim::Wait);
        assert_eq!(observer.judge(&odd, "toto", start + DURATION, DURATION), Claim::Take);
    }

    #[test]
    fn taking_over_counts_a_transition_and_renewing_does_not() {
        let taken = claimed(Some(lease("7", Some("dorothy"))), "gate", "toto", DURATION, Timestamp::UNIX_EPOCH);
        let spec = taken.spec.clone().unwrap_or_default();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("toto"), Some(0)));
        assert_eq!((spec.lease_duration_seconds, taken.metadata.resource_version.as_deref()), (Some(15), Some("7")));

        let renewed = claimed(Some(taken), "gate", "toto", DURATION, Timestamp::UNIX_EPOCH).spec.unwrap_or_default();
        assert_eq!((renewed.acquire_time, renewed.lease_transitions), (spec.acquire_time, Some(0)));
    }
}
