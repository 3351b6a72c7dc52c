//! Lease-based leadership, checked by expiry at each write.
//!
//! Of several replicas one acts. Which one is agreed on through a `coordination.k8s.io/v1` Lease, and three rules keep
//! two from acting at once, whatever the network, the clocks and the scheduler do:
//!
//! 1. A leader believes in itself only until the instant *before* its last accepted renewal was sent, plus the lease's
//!    duration, by its own monotonic clock. Nobody else can have seen that renewal earlier, so nobody counts from earlier.
//! 2. Each write asks [`Leadership::may_write`] first, which is true only while a write that takes its whole timeout
//!    would still end before that expiry.
//! 3. Another's Lease is judged by how long *we* have seen it unchanged, never by the times written in it: those are of
//!    a clock that may be wrong. It is taken over with its `resourceVersion`, so a renewal in between wins.
//!
//! The monotonic clock stands still while a whole machine is suspended; the API server's `test` on the generation, which
//! every patch of a Deployment carries, is what then keeps an old decision from being carried out.

mod lease;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use lease::{Claim, Observer};

/// Why leadership, once gained, is over. The process ends with it.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// Someone else holds the Lease.
    #[error("leadership was lost: {holder} holds the Lease now")]
    Taken {
        /// The other's identity.
        holder: String,
    },
    /// No renewal was accepted in time.
    #[error("leadership was lost: the Lease could not be renewed for {} s; the last attempt: {last}", .after.as_secs())]
    Expired {
        /// The lease's duration.
        after: Duration,
        /// What the last attempt said.
        last: String,
    },
}

/// Lengths of time that cannot be used together. The message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a lease of {duration:?} is too short: it must be longer than {needed:?}, which is one renewal interval, one failed \
     renewal with its pause, and one write"
)]
pub struct TimingError {
    duration: Duration,
    needed: Duration,
}

/// How long leadership lasts and how often it is renewed.
///
/// The defaults and why: a write may take 5 s, so in a lease of 15 s it may begin during the first 10 s. Renewed every
/// 5 s, with 2 s for a renewal and 1 s until the next try, one renewal may go missing altogether without a moment in
/// which a rollback would have to wait. A crashed leader is replaced after 15 s and one poll of the standby (2 s).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew_every: Duration,
    write_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_every: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// A lease of `duration` (rounded up to whole seconds, as the Lease states it), renewed every `renew_every`, under
    /// which no single write takes longer than `write_timeout`.
    ///
    /// # Errors
    /// When a single failed renewal would already stop writes.
    pub fn new(duration: Duration, renew_every: Duration, write_timeout: Duration) -> Result<Self, TimingError> {
        let duration = Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0));
        let timing = Self { duration, renew_every, write_timeout };
        let needed = renew_every + timing.request_timeout() + timing.retry_every() + write_timeout;
        if duration <= needed { Err(TimingError { duration, needed }) } else { Ok(timing) }
    }

    /// What one request for the Lease may take.
    fn request_timeout(self) -> Duration {
        self.renew_every * 2 / 5
    }

    /// How soon a failed renewal is tried again.
    fn retry_every(self) -> Duration {
        self.renew_every / 5
    }

    /// How often a standby looks at the Lease. It is how soon it takes over what was given back.
    fn poll_every(self) -> Duration {
        self.renew_every * 2 / 5
    }
}

/// What this replica knows of its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The Lease was not seen yet.
    Unknown,
    /// Someone else leads, or may still.
    Standby,
    /// We lead, and nobody else does before that instant.
    Leading { until: Instant },
    /// Given back or lost; it does not come again in this process.
    Over,
}

/// Whether this replica leads. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Leadership {
    standing: watch::Receiver<Standing>,
    write_timeout: Duration,
}

impl Leadership {
    /// Whether a write that begins now and takes its whole timeout ends while nobody else can lead.
    #[must_use]
    pub fn may_write(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Leading { until } if Instant::now() + self.write_timeout < until)
    }

    /// Returns once the Lease was seen, held by whomever: the replica knows its place and is ready to take it.
    pub async fn observed(&mut self) {
        self.reached(|standing| !matches!(standing, Standing::Unknown)).await;
    }

    /// Returns once this replica leads.
    pub async fn gained(&mut self) {
        self.reached(|standing| matches!(standing, Standing::Leading { .. })).await;
    }

    async fn reached(&mut self, wanted: impl Fn(&Standing) -> bool) {
        if self.standing.wait_for(wanted).await.is_err() {
            // The candidate is gone, and with it every chance: whoever waits here is stopped by its end.
            std::future::pending::<()>().await;
        }
    }
}

/// Takes part in the election. [`Candidate::run`] is to run beside everything else for the life of the process.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    standing: watch::Sender<Standing>,
    /// Our own Lease as the API server last gave it, with the `resourceVersion` the next write needs.
    held: Option<Lease>,
}

/// What came of one attempt to write or read the Lease.
#[derive(Debug, thiserror::Error)]
enum Attempt {
    #[error("no answer in {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error(transparent)]
    Refused(#[from] kube::Error),
    #[error("{0} holds it")]
    Taken(String),
    #[error("it was changed at the same time")]
    Contended,
}

impl Candidate {
    /// A candidate under `identity` (see [`identity`]) for the Lease `name`, with the handle that everything which
    /// writes asks.
    #[must_use]
    pub fn new(api: Api<Lease>, name: &str, identity: String, timing: Timing) -> (Self, Leadership) {
        let (standing, receiver) = watch::channel(Standing::Unknown);
        let leadership = Leadership { standing: receiver, write_timeout: timing.write_timeout };
        (Self { api, name: name.to_owned(), identity, timing, standing, held: None }, leadership)
    }

    /// Waits for the Lease, then keeps it, until `shutdown`; then gives it back, so that a standby takes over at once.
    ///
    /// `shutdown` must not complete before the last write of this process has ended: giving the Lease back invites
    /// another to write.
    ///
    /// # Errors
    /// When leadership was gained and lost. The process should then end: what it remembers of the rollouts was true for
    /// a leader, another one may have acted since, and to start anew is the one way of forgetting that cannot be
    /// incomplete. While standing by nothing is an error; it waits as long as it takes.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), LeaderError> {
        let lost = tokio::select! {
            () = shutdown => None,
            lost = self.campaign_and_hold() => Some(lost),
        };
        self.standing.send_replace(Standing::Over);
        match lost {
            Some(lost) => Err(lost),
            None => {
                self.give_back().await;
                Ok(())
            }
        }
    }

    async fn campaign_and_hold(&mut self) -> LeaderError {
        let until = self.campaign().await;
        info!(identity = %self.identity, lease = %self.name, "leading");
        self.hold(until).await
    }

    /// Stands by until the Lease is ours. Returns when it expires.
    async fn campaign(&mut self) -> Instant {
        let mut observer = Observer::default();
        loop {
            match self.try_to_take(&mut observer).await {
                Ok(Some(until)) => {
                    self.standing.send_replace(Standing::Leading { until });
                    return until;
                }
                Ok(None) => {
                    self.standing.send_replace(Standing::Standby);
                }
                Err(Attempt::Contended) => continue,
                Err(error) => warn!(lease = %self.name, %error, "the Lease cannot be read or taken; trying again"),
            }
            sleep(self.timing.poll_every()).await;
        }
    }

    /// One look at the Lease and, if it is free, one attempt to take it. `None` while it is another's.
    async fn try_to_take(&mut self, observer: &mut Observer) -> Result<Option<Instant>, Attempt> {
        let found = self.read().await?;
        if let Some(lease) = &found
            && let Claim::Wait = observer.judge(lease, &self.identity, Instant::now(), self.timing.duration)
        {
            return Ok(None);
        }
        self.write(found).await.map(Some)
    }

    /// Renews until leadership is lost.
    async fn hold(&mut self, mut until: Instant) -> LeaderError {
        let mut next = until - self.timing.duration + self.timing.renew_every;
        loop {
            sleep_until(next.min(until)).await;
            match self.renew().await {
                Ok(renewed) => {
                    until = renewed;
                    next = until - self.timing.duration + self.timing.renew_every;
                    self.standing.send_replace(Standing::Leading { until });
                }
                Err(Attempt::Taken(holder)) => return LeaderError::Taken { holder },
                Err(error) if Instant::now() >= until => {
                    return LeaderError::Expired { after: self.timing.duration, last: error.to_string() };
                }
                Err(error) => {
                    warn!(lease = %self.name, %error, "the Lease was not renewed; trying again");
                    next = Instant::now() + self.timing.retry_every();
                }
            }
        }
    }

    /// One renewal. An own earlier renewal that was accepted although its answer never came shows as a conflict with
    /// ourselves, so a conflict is looked into once before it counts.
    async fn renew(&mut self) -> Result<Instant, Attempt> {
        match self.write(self.held.clone()).await {
            Err(Attempt::Contended) => {}
            other => return other,
        }
        let found = self.read().await?;
        if let Some(holder) = found.as_ref().and_then(lease::holder).filter(|holder| *holder != self.identity) {
            return Err(Attempt::Taken(holder.to_owned()));
        }
        self.write(found).await
    }

    /// Writes our claim over `found` (or a new Lease), and returns when it expires.
    async fn write(&mut self, found: Option<Lease>) -> Result<Instant, Attempt> {
        let claim = lease::claimed(found, &self.name, &self.identity, self.timing.duration, Timestamp::now());
        let before = Instant::now();
        self.held = Some(self.put(&claim).await?);
        Ok(before + self.timing.duration)
    }

    /// Creates or replaces the Lease, guarded by the `resourceVersion` in it.
    async fn put(&self, wanted: &Lease) -> Result<Lease, Attempt> {
        let params = PostParams::default();
        let written = if wanted.metadata.resource_version.is_some() {
            self.in_time(self.api.replace(&self.name, &params, wanted)).await
        } else {
            self.in_time(self.api.create(&params, wanted)).await
        };
        match written {
            // Deleted meanwhile counts as changed: the next look finds nothing and creates it.
            Err(Attempt::Refused(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Err(Attempt::Contended)
            }
            other => other,
        }
    }

    async fn read(&self) -> Result<Option<Lease>, Attempt> {
        self.in_time(self.api.get_opt(&self.name)).await
    }

    /// The client itself waits for answers without limit.
    async fn in_time<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Attempt> {
        let limit = self.timing.request_timeout();
        timeout(limit, request).await.map_err(|_| Attempt::TimedOut(limit))?.map_err(Attempt::Refused)
    }

    /// Clears the holder. Failing is no harm: the standby then waits for the lease to run out.
    async fn give_back(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut given_back = self.put(&lease::released(held, Timestamp::now())).await;
        if let Err(Attempt::Contended) = given_back {
            // A renewal was cut off by the shutdown and accepted all the same.
            given_back = match self.read().await {
                Ok(Some(found)) if lease::holder(&found) == Some(&self.identity) => {
                    self.put(&lease::released(found, Timestamp::now())).await
                }
                Ok(_) => return,
                Err(error) => Err(error),
            };
        }
        match given_back {
            Ok(_) => info!(lease = %self.name, "gave the Lease back"),
            Err(error) => warn!(lease = %self.name, %error, "the Lease could not be given back; it runs out by itself"),
        }
    }
}

/// An identity no other candidate has: the pod's name (or the host's, when there is none) and a random suffix, so that
/// a container restarted in the same pod is not taken for the one that wrote the Lease before it.
#[must_use]
pub fn identity(pod_name: Option<&str>) -> String {
    use std::hash::{BuildHasher, Hasher};
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = pod_name.map(str::to_owned).or_else(host).unwrap_or_default();
    let name = if name.trim().is_empty() { "gatekeeper" } else { name.trim() };
    // The standard library seeds its hash maps from the operating system's randomness; that is all that is needed.
    let suffix = std::hash::RandomState::new().build_hasher().finish();
    format!("{name}_{suffix:016x}")
}
