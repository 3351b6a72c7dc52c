//! What one sampling of the counters showed. Pure values, handed from measuring to deciding.

/// Requests served and how many of them were bad.
///
/// Both are finite and not negative, and there are never more errors than requests. They need not be whole: a counter
/// may be a sum of recorded rates.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    errors: f64,
    requests: f64,
}

impl Tally {
    /// Nothing served.
    pub const ZERO: Self = Self { errors: 0.0, requests: 0.0 };

    /// More than this between two looks is no traffic; it keeps every sum of tallies finite.
    const MOST: f64 = 1e18;

    /// A tally of `errors` among `requests`. Negative and non-finite numbers count as 0, errors beyond the requests as
    /// the requests, so that a broken exporter cannot make a ratio above 1. More than 10^18 counts as that.
    #[must_use]
    pub fn new(errors: f64, requests: f64) -> Self {
        let sane = |x: f64| if x.is_finite() && x > 0.0 { x.min(Self::MOST) } else { 0.0 };
        let requests = sane(requests);
        Self { errors: sane(errors).min(requests), requests }
    }

    /// How many of the requests were bad.
    #[must_use]
    pub fn errors(self) -> f64 {
        self.errors
    }

    /// How many requests were served.
    #[must_use]
    pub fn requests(self) -> f64 {
        self.requests
    }

    /// Errors over requests, 0..=1; `None` when nothing was served.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.errors / self.requests)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.errors += other.errors;
        self.requests += other.requests;
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |mut sum, tally| {
            sum += tally;
            sum
        })
    }
}

/// What the canary and the stable pods served between two looks. Both zero when no counter moved.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Look {
    /// Pods of the new ReplicaSet.
    pub canary: Tally,
    /// Pods of the ReplicaSet to go back to.
    pub stable: Tally,
}

impl std::ops::AddAssign for Look {
    fn add_assign(&mut self, other: Self) {
        self.canary += other.canary;
        self.stable += other.stable;
    }
}

/// Why a look brought no evidence. Nothing is not zero: missing evidence may hold a rollout, it never rolls one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// Prometheus, or a pod that is read directly, could not be reached.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It answered with an error (4xx, 5xx, a refused query, or something that is neither its API nor metrics).
    QueryFailed,
    /// Prometheus answered with warnings or with a part of the data only.
    Partial,
    /// A counter is not a number.
    NotANumber,
    /// Canary pods are Ready, and none of them has the series of the total.
    NoSeries,
    /// The newest sample of the canary pods is too old.
    Stale,
    /// Canary pods are Ready and cannot be read, while others can.
    Silent,
}

impl Missing {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::QueryFailed,
        Self::Partial,
        Self::NotANumber,
        Self::NoSeries,
        Self::Stale,
        Self::Silent,
    ];

    /// The reason as people and programs read it: in status, Events, metrics and `evaluate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::TimedOut => "TimedOut",
            Self::QueryFailed => "QueryFailed",
            Self::Partial => "Partial",
            Self::NotANumber => "NotANumber",
            Self::NoSeries => "NoSeries",
            Self::Stale => "Stale",
            Self::Silent => "Silent",
        }
    }
}

impl std::str::FromStr for Missing {
    type Err = UnknownMissing;

    fn from_str(word: &str) -> Result<Self, UnknownMissing> {
        Self::ALL
            .into_iter()
            .find(|missing| missing.as_str() == word)
            .ok_or_else(|| UnknownMissing { word: word.to_owned() })
    }
}

/// A word that is no reason for missing evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no reason for missing evidence; write one of {}", Missing::ALL.map(Missing::as_str).join(", "))]
pub struct UnknownMissing {
    word: String,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one look says of one objective.
pub type Evidence = Result<Look, Missing>;
