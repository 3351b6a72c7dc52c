//! The control group: stable pods that stay beside the new ones while these are monitored, so that what befalls both is not
//! blamed on the release.

use jiff::SignedDuration;

use super::super::announcement::EventReason;
use super::super::holding::{self, Next, Surplus};
use super::super::state::{Control, Phase};
use super::release_if_held;
use super::step::{NOTHING_IS_HELD, Step};
use crate::policy::Mode;
use crate::watch::rollout::{Pause, Revision, Strategy};

impl<'a> Step<'a> {
    /// Whether the policy wants stable pods beside this release. What goes back to a revision that succeeded is not compared
    /// with what it goes away from.
    fn wants_control(&self) -> bool {
        let state = &self.decision.state;
        self.input.monitor.control_pods > 0
            && self.input.mode == Mode::Enforce
            && state.stable.as_ref().is_some_and(|stable| stable.template != state.newest.template)
            && !state.succeeded.contains(&state.newest.template)
    }

    /// The stable ReplicaSet, and how many of its pods are to stay; `None` when none can.
    fn control_group(&self) -> Option<(&'a Revision, u32)> {
        let there = match self.decision.state.control {
            Some(Control::Gone) => return None,
            Some(Control::Kept { pods, .. }) => Some(pods),
            None => None,
        };
        let stable = self.stable().filter(|stable| stable.desired > 0 && self.wants_control())?;
        // Kubernetes may have been faster with some: those that are left will do.
        let wanted = self.input.monitor.control_pods.min(there.unwrap_or(stable.desired));
        Some((stable, holding::control_pods(wanted, self.input.facts))).filter(|(_, pods)| *pods > 0)
    }

    const fn keeps_control(&self) -> bool {
        matches!(self.decision.state.control, Some(Control::Kept { .. }))
    }

    /// Kubernetes rolls on with the owner's own strategy, until it could take the stable pods away that are to stay.
    pub(super) fn roll_on(&mut self) {
        let facts = self.input.facts;
        self.decision.action = release_if_held(facts);
        let Some((stable, pods)) = self.control_group() else {
            if facts.canary.is_some() && facts.replicas > 0 && self.stable().is_none_or(|stable| stable.desired == 0) {
                self.miss_control();
            }
            return;
        };
        let is_due = self.keeps_control() || holding::is_near_control(facts, stable, pods);
        if !is_due || facts.strategy == Strategy::Recreate || facts.pause == Pause::User {
            return;
        }
        if self.keeps_control() && stable.desired > pods && !holding::will_spare(facts, pods) {
            // More pods are wanted than when it was held: Kubernetes adds them first, within its owner's limits.
            self.decision.state.control = None;
            return;
        }
        match self.keep(stable, pods) {
            Next::Wait => {
                let text =
                    format!("{}; {pods} stable pods stay, and it waits for the new ones", self.decision.state.message);
                self.decision.state.message = text;
            }
            Next::Reached if self.are_ready() => self.compare_with(stable, pods),
            Next::Do(_) | Next::Reached => {}
        }
    }

    /// Asks for what is missing to keep so many stable pods.
    fn keep(&mut self, stable: &Revision, pods: u32) -> Next {
        let (facts, now) = (self.input.facts, self.input.now);
        let (since, ready_before) = match self.decision.state.control {
            Some(Control::Kept { since, ready_since, .. }) => (since, ready_since),
            _ => (now, None),
        };
        let ready_since = holding::can_spare(facts, pods).then(|| ready_before.unwrap_or(now));
        self.decision.state.control = Some(Control::Kept { pods, since, ready_since });
        // Kubernetes does not say any more which pods are available as the owner understands it.
        let min_ready = SignedDuration::from_secs(facts.own_settings().min_ready_seconds.into());
        let surplus = match ready_since {
            _ if self.decision.state.phase == Phase::Monitoring => Surplus::GoesAtOnce,
            Some(since) if now.duration_since(since) >= min_ready => Surplus::Goes,
            _ => Surplus::Stays,
        };
        let next = holding::with_control(facts, stable, pods, surplus, self.mark());
        self.decision.action = match &next {
            Next::Do(action) => action.clone(),
            Next::Wait | Next::Reached => super::Action::None,
        };
        next
    }

    fn are_ready(&self) -> bool {
        self.input.facts.canary.as_ref().is_some_and(|canary| canary.ready >= canary.desired)
    }

    /// The new pods are all there, beside the stable ones that stay: the bake begins.
    fn compare_with(&mut self, stable: &Revision, pods: u32) {
        self.monitor();
        let all = pods + self.input.facts.canary.as_ref().map_or(0, |canary| canary.desired);
        let until = self.decision.state.monitor_until.unwrap_or(self.input.now);
        let note = format!(
            "{pods} of {all} pods stay on revision {} until {until:.0}, to compare revision {} with",
            stable.number, self.decision.state.newest.revision
        );
        self.announce(EventReason::ControlPodsKept, note);
    }

    /// Keeps them through the bake.
    pub(super) fn keep_control(&mut self) {
        self.decision.action = release_if_held(self.input.facts);
        // A process that released it at the end of the bake may have died before it noted that.
        let is_released = self.input.facts.hold.is_none() && self.is_over();
        if !self.keeps_control() || is_released {
            return;
        }
        match self.control_group() {
            Some((stable, pods)) if self.input.facts.pause != Pause::User => {
                let _ = self.keep(stable, pods);
            }
            Some(_) => {}
            None => self.lose_control("they have been taken away"),
        }
    }

    /// None is kept from here on, though the policy wants some, and there were some to keep.
    pub(super) fn miss_control(&mut self) {
        if self.decision.state.control.is_some() || !self.wants_control() {
            return;
        }
        let facts = self.input.facts;
        let why = match facts.strategy {
            Strategy::Recreate => "strategy Recreate takes them away before the first new one is there",
            Strategy::RollingUpdate if facts.replicas == 0 => "it has no replicas",
            Strategy::RollingUpdate if holding::control_pods(1, facts) == 0 => {
                "with one replica and maxSurge 0 there is no room for one"
            }
            Strategy::RollingUpdate => "Kubernetes had replaced them before the rollout could be held",
        };
        self.lose_control(why);
    }

    fn lose_control(&mut self, why: &str) {
        let state = &mut self.decision.state;
        state.control = Some(Control::Gone);
        let revision = state.stable.as_ref().map_or(0, |stable| stable.revision);
        let note = format!(
            "no pod of revision {revision} is left to compare with: {why}; an outage that begins now looks like the release's fault"
        );
        self.announce(EventReason::ControlPodsGone, note);
    }

    /// The policy wants none any more, or holds nothing: the rollout is completed, and looks go on.
    pub(super) fn drop_unwanted_control(&mut self) {
        let phase = self.decision.state.phase;
        let is_on = matches!(phase, Phase::Promoting | Phase::Monitoring | Phase::Halted);
        if !is_on || !self.keeps_control() || self.wants_control() {
            return;
        }
        self.decision.state.control = None;
        let why = match self.input.mode {
            Mode::Observe => NOTHING_IS_HELD,
            Mode::Enforce => "the policy keeps none any more",
        };
        self.announce(EventReason::Resumed, format!("the rollout is completed without control pods: {why}"));
    }

    /// The bake is over, and with it the control group: what is to be said of that.
    pub(super) fn end_control(&mut self) -> String {
        let control = self.decision.state.control.take();
        let stable = self.decision.state.stable.as_ref().map_or(0, |stable| stable.revision);
        match control {
            Some(Control::Kept { pods, .. }) => {
                format!("; the {pods} pods of revision {stable} that stayed are replaced now")
            }
            Some(Control::Gone) | None => String::new(),
        }
    }
}
