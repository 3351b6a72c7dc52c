//! What the looks of one rollout have shown so far, and what they say.

use std::time::Duration;

use jiff::Timestamp;

use super::policies::InForce;
use crate::decide::analysis::{Analysis, Assessment, Calm, MISSING_LOOKS, Seen};
use crate::decide::baseline::Baseline;
use crate::decide::recovery::Recovery;
use crate::decide::state::{Outcome, Phase, State};
use crate::measure::direct::choice::MOST_PODS;
use crate::measure::ledger::{Counting, Entry, Ledger, Terms};
use crate::measure::look::{Missing, Tally};
use crate::measure::scrape::{Origin, Scrape, Side};
use crate::policy::{EvidenceFrom, OnMissingEvidence, Policy};
use crate::watch::rollout::Rollout;

/// Ledger and evidence of one rollout, from its start or from when its stable pods were put back.
#[derive(Debug)]
pub(super) struct Measured {
    terms: Terms,
    ledger: Ledger,
    /// Exists from the first look on: it needs the baseline, which the back-fill brings before it.
    analysis: Option<Analysis>,
    recovery: Option<Recovery>,
    recovered: Option<Outcome>,
    /// For each objective, whether it does not tell canary and stable pods apart.
    whole: Vec<bool>,
    /// The first look of those that burn above the violation now: what detection is timed from.
    burning_since: Option<Timestamp>,
    troubled: bool,
    looked_at: Option<Timestamp>,
    late: Option<Timestamp>,
    part_told: bool,
}

impl Measured {
    /// Nothing seen yet of the rollout that `state` is about.
    pub(super) fn new(state: &State, in_force: &InForce) -> Self {
        let policy = &in_force.policy;
        let terms = Terms {
            since: state.started,
            window: policy.detection.window,
            look_interval: policy.detection.look_interval(),
            objectives: policy.objectives.iter().map(Counting::of).collect(),
        };
        Self {
            ledger: Ledger::new(terms.clone()),
            terms,
            analysis: None,
            recovery: None,
            recovered: None,
            whole: in_force.indicators.iter().map(|indicator| !indicator.tells_revisions_apart()).collect(),
            burning_since: None,
            troubled: false,
            looked_at: None,
            late: None,
            part_told: false,
        }
    }

    /// Takes in what the sampler brought, oldest first. Answers, for each live look, how old its newest sample was or why
    /// it brought no evidence.
    pub(super) fn enter(
        &mut self,
        scrapes: &[Scrape],
        state: &State,
        facts: &Rollout,
        policy: &Policy,
    ) -> Vec<Result<Duration, Missing>> {
        let ready = facts.canary.as_ref().map_or(0, |canary| canary.ready);
        let mut looks = Vec::new();
        let mut filling = false;
        for scrape in scrapes {
            let back_fill = scrape.origin == Origin::BackFill;
            if back_fill && !filling {
                // It holds everything since before the rollout began, also what was found missing meanwhile.
                self.ledger = Ledger::new(self.terms.clone());
                self.analysis = None;
            }
            filling = back_fill;
            self.troubled = !scrape.silent.is_empty() || scrape.objectives.iter().any(Result::is_err);
            let Some(entry) = self.ledger.enter(scrape, ready) else { continue };
            if entry.evidence.iter().all(Result::is_ok) {
                self.looked_at = Some(entry.at);
            }
            if !back_fill {
                looks.push(self.age(&entry));
            }
            if matches!(state.phase, Phase::Recovering | Phase::RolledBack) {
                self.watch_recovery(&entry, state, facts, policy);
            }
            if entry.at > state.evidence_since {
                let silent = self.ledger.silence(MISSING_LOOKS).is_some() || self.minor_part().is_some();
                let analysis = self.analysis_mut(policy);
                analysis.observe(&entry.evidence);
                analysis.note_silence(silent);
                self.time_violation(entry.at, policy);
            }
        }
        looks
    }

    fn analysis_mut(&mut self, policy: &Policy) -> &mut Analysis {
        self.analysis.get_or_insert_with(|| {
            let budgets: Vec<_> = policy.objectives.iter().map(|objective| objective.budget).collect();
            let baselines = (0..budgets.len()).map(|index| Baseline::of_looks(self.ledger.baseline(index))).collect();
            Analysis::new(&policy.detection, &budgets, baselines)
        })
    }

    fn time_violation(&mut self, at: Timestamp, policy: &Policy) {
        let Some((assessment, ..)) = self.assess() else { return };
        let burning = assessment.findings.iter().any(|finding| {
            let burn = finding.numbers.burn(finding.numbers.window.canary);
            burn.is_some_and(|burn| burn > policy.detection.violation)
        });
        self.burning_since = if burning { self.burning_since.or(Some(at)) } else { None };
    }

    /// Since when the canary burns above the violation, without a pause.
    pub(super) fn burning_since(&self) -> Option<Timestamp> {
        self.burning_since
    }

    /// Looks at the restored pods count once all of them are Ready and have a sample of their own.
    fn watch_recovery(&mut self, entry: &Entry, state: &State, facts: &Rollout, policy: &Policy) {
        let read = match policy.evidence {
            EvidenceFrom::Prometheus => usize::MAX,
            EvidenceFrom::Pods(_) => MOST_PODS,
        };
        let restored = read.min(facts.replicas as usize);
        let all_fresh = facts.complete && self.ledger.fresh_pods(Side::Canary, state.since) >= restored;
        if self.recovery.is_none() && !all_fresh {
            return;
        }
        let budgets: Vec<_> = policy.objectives.iter().map(|objective| objective.budget).collect();
        let recovery = self.recovery.get_or_insert_with(|| Recovery::new(&policy.detection, &budgets, &[]));
        let served: Vec<Result<Tally, Missing>> =
            entry.evidence.iter().map(|look| look.map(|look| look.canary)).collect();
        self.recovered = self.recovered.or(recovery.observe(&served));
    }

    fn age(&self, entry: &Entry) -> Result<Duration, Missing> {
        if let Some(missing) = entry.evidence.iter().find_map(|look| look.err()) {
            return Err(missing);
        }
        let newest = self.ledger.newest_sample(Side::Canary).unwrap_or(entry.at);
        Ok(Duration::try_from(entry.at.duration_since(newest)).unwrap_or_default())
    }

    /// Forgets what the looks showed: after a resume, evidence starts anew.
    pub(super) fn restart(&mut self) {
        if let Some(analysis) = &mut self.analysis {
            analysis.restart();
        }
    }

    /// What the looks say, how calm it was lately, and whether nothing at all was seen; `None` before the first look.
    pub(super) fn assess(&self) -> Option<(Assessment, Calm, bool)> {
        self.analysis.as_ref().map(|analysis| {
            let mut assessment = analysis.assess();
            for (finding, is_whole) in assessment.findings.iter_mut().zip(&self.whole) {
                finding.is_whole = *is_whole;
            }
            (assessment, analysis.calm(), analysis.is_blind())
        })
    }

    /// How much the looks have seen.
    pub(super) fn seen(&self) -> Seen {
        self.analysis.as_ref().map(Analysis::seen).unwrap_or_default()
    }

    /// The time of the newest look that brought evidence.
    pub(super) fn looked_at(&self) -> Option<Timestamp> {
        self.looked_at
    }

    /// How the restored pods do, once that is known.
    pub(super) fn recovered(&self) -> Option<Outcome> {
        self.recovered
    }

    /// For each objective, whether its error selector matched anything so far.
    pub(super) fn errors_seen(&self) -> Vec<bool> {
        (0..self.terms.objectives.len()).map(|objective| self.ledger.errors_seen(objective)).collect()
    }

    /// Why the last look could not be read, or not for all canary pods, in words.
    pub(super) fn failure(&self) -> Option<String> {
        let failure = (0..self.terms.objectives.len()).find_map(|index| self.ledger.failure(index));
        let failure = failure.map(ToString::to_string);
        let silence = || self.ledger.silence(MISSING_LOOKS).map(|silence| silence.to_string());
        failure.or_else(silence).or_else(|| self.minor_part())
    }

    /// Of how few canary pods something is known, where that is less than half of them: what it says of the others is as
    /// good as nothing.
    fn minor_part(&self) -> Option<String> {
        self.ledger.part_of_pods().filter(|part| part.is_minor()).map(|part| part.to_string())
    }

    /// Of how many canary pods something is known, where that is not all of them, but half or more.
    pub(super) fn part(&self) -> Option<String> {
        self.ledger.part_of_pods().filter(|part| !part.is_minor()).map(|part| part.to_string())
    }

    /// Of how many canary pods something is known, when it is the first time that this is not all of them and no hold tells it.
    pub(super) fn part_to_tell(&mut self, policy: &Policy) -> Option<String> {
        let holds = policy.detection.on_missing_evidence == OnMissingEvidence::Hold;
        let part = self.ledger.part_of_pods().filter(|part| !(holds && part.is_minor()))?;
        let is_first = !std::mem::replace(&mut self.part_told, true);
        is_first.then(|| part.to_string())
    }

    /// Whether canary pods are Ready of which nothing was seen.
    pub(super) fn lacks_pods(&self) -> bool {
        self.ledger.lacks_pods()
    }

    /// Whether pods could not be read at the last look, all of them or some.
    pub(super) fn is_troubled(&self) -> bool {
        self.troubled
    }

    /// From now on what was served before is not known: the pods that are read keep no past.
    pub(super) fn begins_late(&mut self, now: Timestamp) {
        self.late = Some(now);
    }

    /// Since when counters are read, where that is not since the rollout began.
    pub(super) fn late(&self) -> Option<Timestamp> {
        self.late
    }
}
