//! The evidence on one objective: does the canary violate it, and is the release to blame?

use super::analysis::Seen;
use super::baseline::{Baseline, Dispersion};
use super::process::{Allowed, Process};
use super::verdict::{Reason, Verdict};
use super::window::{StableWindow, Windows};
use crate::measure::look::{Evidence, Look, Missing, Tally};
use crate::policy::{BurnRate, Detection, ErrorBudget, OnMissingEvidence, Rule};

/// A shared trouble is the release's fault only if its pods fail more than this many times as often as the stable ones.
const CLEARLY_WORSE: f64 = 3.0;

/// A window with fewer errors than this is clean, whatever its burn rate.
const FEWEST_ERRORS: f64 = 3.0;

/// Looks in a row without evidence that are more than a hiccup.
pub const MISSING_LOOKS: u32 = 2;

/// How many of the last looks that brought a request say whether the stable pods still serve.
const SERVING_LOOKS: u32 = 2;

/// Comparing two computed burn rates, rounding must not make equal ones differ.
const ROUNDING: f64 = 1.0 + 1e-12;

/// Whether what was served burnt the budget faster than `limit`. Nothing served burns nothing.
pub(super) fn exceeds(seen: Tally, limit: BurnRate, budget: ErrorBudget) -> bool {
    seen.ratio().is_some_and(|ratio| BurnRate::of_ratio(ratio, budget).factor() > limit.factor() * ROUNDING)
}

/// What one objective comes to, with everything that it follows from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// What is to be done if this objective were the only one.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The numbers behind it.
    pub numbers: Numbers,
    /// What was measured does not tell the new pods from the old ones: both sides are the service as a whole.
    pub is_whole: bool,
}

/// The numbers of one objective that people read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// The objective's budget.
    pub budget: ErrorBudget,
    /// What was served in the last window.
    pub window: Look,
    /// What was served since the rollout began, or since it was last resumed.
    pub total: Look,
    /// `ln E` of "the canary burns at most `violation`"; `None` before the first look that counts.
    pub log_evidence: Option<f64>,
    /// `ln E` of "the canary fails at most as often as the stable pods"; `None` before the first look that counts.
    pub log_evidence_vs_stable: Option<f64>,
}

impl Numbers {
    /// What `seen` burns of this objective's budget; `None` when it holds no request.
    #[must_use]
    pub fn burn(&self, seen: Tally) -> Option<BurnRate> {
        seen.ratio().map(|ratio| BurnRate::of_ratio(ratio, self.budget))
    }
}

/// How calm it was over the last two windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stretch {
    /// There are no two windows of looks yet.
    TooShort,
    /// Canary or stable pods burnt more than `violation` in one of them.
    Burning,
    /// Neither did.
    Calm {
        /// Both windows hold enough requests to say so.
        proven: bool,
    },
}

/// One objective of one rollout.
#[derive(Debug, Clone)]
pub struct Objective {
    rule: Rule,
    on_missing_evidence: OnMissingEvidence,
    violation: BurnRate,
    warning: BurnRate,
    budget: ErrorBudget,
    baseline: Baseline,
    looks: usize,
    /// `ln(m / alpha)`: from here on a process convicts.
    conviction: f64,
    allowed_violation: Allowed,
    allowed_warning: Allowed,
    since_start: SinceStart,
}

/// Everything that the looks since the start or the last resume have left behind.
#[derive(Debug, Clone)]
struct SinceStart {
    /// V: against "the canary burns at most `violation`".
    violates: Process,
    /// W: against "the canary burns at most `warning`".
    warns: Process,
    /// S: against "the stable pods burn at most `violation`".
    stable_violates: Process,
    /// S convicted at some look.
    stable_violated: bool,
    /// T: against "the canary fails at most as often as the stable pods".
    worse: Process,
    /// T3: against "the canary fails at most three times as often as the stable pods".
    clearly_worse: Process,
    /// C: against "the canary burns at most `violation`, or three times what the stable pods last burnt".
    worse_than_before: Process,
    /// What C allows, kept because it rarely changes.
    allowed_before: Allowed,
    windows: Windows,
    stable_window: StableWindow,
    total: Look,
    /// Looks with an answer, those in which the canary served, and those in which stable pods did, too.
    looks: [u32; 3],
    /// Looks that brought requests, since the stable pods last served in one of them.
    looks_without_stable: u32,
    /// The last look, and those right before it, brought no evidence.
    missing: Option<(Missing, u32)>,
    /// Any look brought evidence.
    seen: bool,
    /// What the rule `Threshold` comes to.
    threshold: Verdict,
}

impl Objective {
    /// Nothing seen yet. `objectives` is how many there are: that many chances to err share the policy's confidence.
    #[must_use]
    pub fn new(detection: &Detection, budget: ErrorBudget, baseline: Baseline, objectives: usize) -> Self {
        let looks = detection.looks.max(1) as usize;
        let allowed_violation = Allowed::new(detection.violation.factor() * budget.ratio());
        let since_start = SinceStart::new(looks, &baseline, allowed_violation);
        Self {
            rule: detection.rule,
            on_missing_evidence: detection.on_missing_evidence,
            violation: detection.violation,
            warning: detection.warning,
            budget,
            baseline,
            looks,
            conviction: (objectives.max(1) as f64).ln() - detection.confidence.alpha().ln(),
            allowed_violation,
            allowed_warning: Allowed::new(detection.warning.factor() * budget.ratio()),
            since_start,
        }
    }

    /// Forgets all looks. The baseline stays.
    pub fn restart(&mut self) {
        self.since_start = SinceStart::new(self.looks, &self.baseline, self.allowed_violation);
    }

    /// The next look.
    pub fn observe(&mut self, evidence: &Evidence) {
        match evidence {
            Ok(look) => self.see(look),
            Err(why) => self.miss(*why),
        }
    }

    fn see(&mut self, look: &Look) {
        let dispersion = self.baseline.dispersion();
        let now = &mut self.since_start;
        now.missing = None;
        now.seen = true;
        now.windows.push(*look);
        now.stable_window.push(look.stable);
        now.total += *look;
        let served = look.canary.requests() > 0.0;
        for (count, counts) in now.looks.iter_mut().zip([true, served, served && look.stable.requests() > 0.0]) {
            *count = count.saturating_add(u32::from(counts));
        }
        if look.stable.requests() > 0.0 {
            now.looks_without_stable = 0;
        } else if look.canary.requests() > 0.0 {
            // A look between two scrapes does not say who serves.
            now.looks_without_stable = now.looks_without_stable.saturating_add(1);
        }
        now.violates.one_sample(look.canary, &self.allowed_violation, dispersion);
        now.warns.one_sample(look.canary, &self.allowed_warning, dispersion);
        now.stable_violates.one_sample(look.stable, &self.allowed_violation, dispersion);
        now.stable_violated |= now.stable_violates.log_e() >= self.conviction;
        now.worse.two_sample(look, 1.0, dispersion);
        now.clearly_worse.two_sample(look, CLEARLY_WORSE, dispersion);
        self.compare_with_before(look.canary, dispersion);
        self.since_start.threshold = self.compare_with_limits();
    }

    fn miss(&mut self, why: Missing) {
        let now = &mut self.since_start;
        let before = now.missing.map_or(0, |(_, looks)| looks);
        now.missing = Some((why, before.saturating_add(1)));
        now.windows.push(Look::default());
        now.stable_window.push(Tally::ZERO);
        // A good look that leaves the window must not make what is left of it a violation: nothing new was seen.
        let slid = self.compare_with_limits();
        self.since_start.threshold = self.since_start.threshold.min(slid);
    }

    /// Feeds C, whose hypothesis follows what the stable pods burn.
    fn compare_with_before(&mut self, canary: Tally, dispersion: Dispersion) {
        let stable = self.since_start.total.stable;
        let burnt = match stable.ratio() {
            Some(ratio) => Some(BurnRate::of_ratio(ratio, self.budget)),
            None => self.baseline.burn(self.budget),
        };
        let burnt = burnt.map_or(0.0, BurnRate::factor);
        let allowed = (self.budget.ratio() * self.violation.factor().max(CLEARLY_WORSE * burnt)).min(0.5);
        let now = &mut self.since_start;
        if now.allowed_before.ratio() != allowed {
            now.allowed_before = Allowed::new(allowed);
        }
        now.worse_than_before.one_sample(canary, &now.allowed_before, dispersion);
    }

    /// The literal rule, on the last window.
    fn compare_with_limits(&self) -> Verdict {
        let canary = self.since_start.windows.last().canary;
        if exceeds(canary, self.violation, self.budget) {
            Verdict::Rollback
        } else if exceeds(canary, self.warning, self.budget) {
            Verdict::Halt
        } else {
            Verdict::Proceed
        }
    }

    fn convicts(&self, process: &Process) -> bool {
        process.log_e() >= self.conviction
    }

    /// Whether what is wrong is the release's fault.
    fn is_to_blame(&self) -> bool {
        let now = &self.since_start;
        let stable_serve = now.total.stable.requests() > 0.0 && now.looks_without_stable < SERVING_LOOKS;
        if !stable_serve {
            let before = now.stable_window.tally();
            let limit = CLEARLY_WORSE * self.violation.factor() * self.budget.ratio() * ROUNDING;
            let burning = before.errors() >= FEWEST_ERRORS && before.ratio().is_some_and(|ratio| ratio > limit);
            self.convicts(&now.worse_than_before) && !now.stable_violated && !burning
        } else if self.convicts(&now.stable_violates) {
            self.convicts(&now.clearly_worse)
        } else {
            self.convicts(&now.worse)
        }
    }

    /// What the looks so far come to.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let (verdict, reason) = match self.rule {
            Rule::Sequential => self.by_evidence(),
            Rule::Threshold => self.by_threshold(),
        };
        Finding { verdict, reason, numbers: self.numbers(), is_whole: false }
    }

    fn by_evidence(&self) -> (Verdict, Reason) {
        let now = &self.since_start;
        if self.convicts(&now.violates) {
            if self.is_to_blame() {
                (Verdict::Rollback, Reason::Violation)
            } else if self.convicts(&now.stable_violates) {
                (Verdict::Halt, Reason::SharedCause)
            } else {
                (Verdict::Halt, Reason::CauseUnclear)
            }
        } else if self.convicts(&now.warns) && self.is_to_blame() {
            (Verdict::Halt, Reason::WorseThanStable)
        } else {
            self.without_suspicion()
        }
    }

    fn by_threshold(&self) -> (Verdict, Reason) {
        match self.since_start.threshold {
            Verdict::Rollback => (Verdict::Rollback, Reason::Violation),
            Verdict::Halt => (Verdict::Halt, Reason::AboveWarning),
            Verdict::Proceed => self.without_suspicion(),
        }
    }

    fn without_suspicion(&self) -> (Verdict, Reason) {
        match self.since_start.missing {
            Some((why, MISSING_LOOKS..)) => without_evidence(why, self.on_missing_evidence),
            _ => (Verdict::Proceed, Reason::NotConvicted),
        }
    }

    fn numbers(&self) -> Numbers {
        let now = &self.since_start;
        let counted = |process: &Process| (process.looks() > 0).then(|| process.log_e());
        Numbers {
            budget: self.budget,
            window: now.windows.last(),
            total: now.total,
            log_evidence: counted(&now.violates),
            log_evidence_vs_stable: counted(&now.worse),
        }
    }

    /// How much was seen since the start or the last resume.
    pub(super) fn seen(&self) -> Seen {
        let [looks, canary_looks, paired_looks] = self.since_start.looks;
        let Look { canary, stable } = self.since_start.total;
        Seen { requests: canary.requests(), stable_requests: stable.requests(), looks, canary_looks, paired_looks }
    }

    /// Whether any look since the start or the last resume brought evidence.
    pub(super) fn has_seen(&self) -> bool {
        self.since_start.seen
    }

    /// Whether the last look brought no evidence, and the policy does not go on without.
    pub(super) fn waits_for_evidence(&self) -> bool {
        self.since_start.missing.is_some() && self.on_missing_evidence == OnMissingEvidence::Hold
    }

    /// How calm the last two windows were.
    pub(super) fn stretch(&self) -> Stretch {
        let Some(windows) = self.since_start.windows.two() else { return Stretch::TooShort };
        let burns = |tally| exceeds(tally, self.violation, self.budget);
        if windows.iter().any(|window| burns(window.canary) || burns(window.stable)) {
            return Stretch::Burning;
        }
        let requests: f64 = windows.iter().map(|window| window.canary.requests() + window.stable.requests()).sum();
        Stretch::Calm { proven: requests >= requests_for_proof(self.budget) }
    }
}

/// What missing evidence leads to where nothing else is suspicious.
pub(super) const fn without_evidence(why: Missing, on_missing_evidence: OnMissingEvidence) -> (Verdict, Reason) {
    let verdict = match on_missing_evidence {
        OnMissingEvidence::Hold => Verdict::Halt,
        OnMissingEvidence::Proceed => Verdict::Proceed,
    };
    (verdict, Reason::EvidenceMissing(why))
}

/// So many requests without an error say, with a confidence of 95 %, that the error ratio is within the budget (the
/// "rule of three": `(1 - b)^(3/b)` is about `e^-3`).
#[must_use]
pub fn requests_for_proof(budget: ErrorBudget) -> f64 {
    3.0 / budget.ratio()
}

impl SinceStart {
    fn new(looks: usize, baseline: &Baseline, allowed: Allowed) -> Self {
        Self {
            violates: Process::new(),
            warns: Process::new(),
            stable_violates: Process::new(),
            stable_violated: false,
            worse: Process::new(),
            clearly_worse: Process::new(),
            worse_than_before: Process::new(),
            allowed_before: allowed,
            windows: Windows::new(looks),
            stable_window: StableWindow::new(looks, baseline.recent()),
            total: Look::default(),
            looks: [0; 3],
            looks_without_stable: 0,
            missing: None,
            seen: false,
            threshold: Verdict::Proceed,
        }
    }
}

#[cfg(test)]
#[path = "objective_tests.rs"]
mod tests;
