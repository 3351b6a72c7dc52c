//! Stable pods stay beside the new ones while these are monitored.

use std::time::Duration;

use proptest::prelude::*;

use super::super::action::{CanaryHold, Room};
use super::super::holding;
use super::super::state::Control;
use super::gate_tests::v1;
use super::tests::{at, facts, halting, healthy, input, reasons, revision, violating};
use super::*;
use crate::watch::rollout::{Amount, Ask, Asks, Held, Revision, Strategy as UpdateStrategy};

fn keeping(pods: u32) -> Monitor {
    Monitor { timeout: Duration::from_secs(300), auto_rollback: true, control_pods: pods }
}

/// As much of Kubernetes as replaces the pods of the Deployment `teapot`: what its controllers do in one step each.
#[derive(Debug, Clone)]
struct Kubernetes {
    replicas: u32,
    own: Settings,
    now: Settings,
    paused: bool,
    is_held: bool,
    stable: Set,
    new: Set,
    /// The fewest stable pods that there ever were.
    fewest: u32,
}

/// A ReplicaSet. Stable pods are always Ready.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Set {
    desired: u32,
    ready: u32,
    available: u32,
    /// Pods of the whole Deployment when its size was last set.
    most: u32,
}

impl Kubernetes {
    /// v2 is there without pods, beside v1.
    fn rolling(replicas: u32, max_surge: Amount, max_unavailable: Amount) -> Self {
        let own = Settings { max_surge, max_unavailable, ..Settings::DEFAULT };
        let none = Set { desired: 0, ready: 0, available: 0, most: replicas };
        let stable = Set { desired: replicas, ready: replicas, available: replicas, ..none };
        Self { replicas, own, now: own, paused: false, is_held: false, stable, new: none, fewest: replicas }
    }

    fn room(&self) -> (u32, u32) {
        match (self.now.max_surge.rounded_up(self.replicas), self.now.max_unavailable.rounded_down(self.replicas)) {
            (0, 0) => (0, 1),
            room => room,
        }
    }

    /// The Deployment's controller looks once, then those of the ReplicaSets and their pods: all but new pods' readiness.
    fn sync(&mut self) {
        if self.paused {
            self.scale()
        } else {
            self.roll()
        }
        self.new.ready = self.new.ready.min(self.new.desired);
        let counts = self.now.min_ready_seconds != Settings::HELD_MIN_READY_SECONDS;
        self.new.available = if counts { self.new.ready } else { 0 };
        (self.stable.ready, self.stable.available) = (self.stable.desired, self.stable.desired);
        self.fewest = self.fewest.min(self.stable.desired);
    }

    fn roll(&mut self) {
        let (surge, unavailable) = self.room();
        let most = self.replicas + surge;
        let all = self.stable.desired + self.new.desired;
        let more = most.saturating_sub(all).min(self.replicas.saturating_sub(self.new.desired));
        if self.new.desired > self.replicas || more > 0 {
            self.new.desired = (self.new.desired + more).min(self.replicas);
            self.new.most = most;
            return;
        }
        let needed = self.replicas.saturating_sub(unavailable);
        let missing = self.new.desired - self.new.available.min(self.new.desired);
        let available = self.stable.available + self.new.available;
        if all > needed + missing && available > needed {
            self.stable.desired = self.stable.desired.saturating_sub(available - needed);
            self.stable.most = most;
        }
    }

    fn scale(&mut self) {
        let most = self.replicas + self.room().0;
        if self.new.desired == 0 || self.stable.desired == 0 {
            let only = if self.new.desired == 0 { &mut self.stable } else { &mut self.new };
            only.desired = self.replicas;
        } else if self.new.desired == self.replicas && self.new.available == self.replicas {
            self.stable.desired = 0;
        } else {
            let all = i64::from(self.stable.desired + self.new.desired);
            let more = i64::from(most) - all;
            let stable_is_first = match more < 0 {
                true => self.stable.desired >= self.new.desired,
                false => self.stable.desired > self.new.desired,
            };
            let (first, second) = match stable_is_first {
                true => (&mut self.stable, &mut self.new),
                false => (&mut self.new, &mut self.stable),
            };
            let share = |set: &Set, left: i64| {
                let size = (f64::from(set.desired) * f64::from(most) / f64::from(set.most)).round() as i64;
                let change = size - i64::from(set.desired);
                if left > 0 { change.min(left) } else { change.max(left) }
            };
            if more != 0 {
                let of_first = share(first, more);
                let of_second = share(second, more - of_first);
                let grown = |set: &Set, by: i64| u32::try_from(i64::from(set.desired) + by).unwrap_or(0);
                (first.desired, second.desired) = (grown(first, more - of_second), grown(second, of_second));
            }
        }
        (self.stable.most, self.new.most) = (most, most);
    }

    fn set(&self, version: &str, number: u64, set: Set) -> Revision {
        let Set { desired, ready, available, .. } = set;
        Revision { desired, existing: desired, available, ..revision(version, number, ready) }
    }

    fn facts(&self) -> Rollout {
        let (stable, new) = (self.set("v1", 1, self.stable), self.set("v2", 2, self.new));
        let complete = stable.desired == 0 && new.desired == self.replicas && new.available == self.replicas;
        let held = Held { policy: "afternoon".into(), reason: "NotConvicted".into(), own: Some(self.own) };
        Rollout {
            replicas: self.replicas,
            canary: Some(new),
            settings: self.now,
            pause: if self.paused { Pause::Ours } else { Pause::None },
            hold: self.is_held.then_some(held),
            ..facts("v2", 2, complete, vec![stable])
        }
    }

    fn take(&mut self, action: &Action) {
        match action {
            Action::None => {}
            Action::HoldCanary(CanaryHold { paused, room, .. }) => {
                let (surge, unavailable) = match *room {
                    Room::Beside(pods) => (pods, 0),
                    Room::InPlaceOf(pods) => (0, pods),
                };
                assert!(surge + unavailable > 0, "the API server refuses it");
                self.now = Settings {
                    max_surge: Amount::Pods(surge),
                    max_unavailable: Amount::Pods(unavailable),
                    min_ready_seconds: Settings::HELD_MIN_READY_SECONDS,
                    progress_deadline_seconds: Settings::NO_PROGRESS_DEADLINE,
                };
                (self.paused, self.is_held) = (*paused, true);
            }
            Action::Resize(sizes) => {
                assert!(self.paused);
                for size in sizes {
                    let set = if size.uid == "uid-v1" { &mut self.stable } else { &mut self.new };
                    set.desired = size.pods;
                }
            }
            Action::Release => (self.now, self.paused, self.is_held) = (self.own, false, false),
            Action::Pause(_) => (self.paused, self.is_held) = (true, true),
            other => panic!("nobody asked for {other:?}"),
        }
    }
}

/// A rollout of v2 that is judged as healthy.
struct Story {
    kubernetes: Kubernetes,
    state: State,
    monitor: Monitor,
    second: i64,
    told: Vec<EventReason>,
}

impl Story {
    fn begin(kubernetes: Kubernetes, pods: u32) -> Self {
        let begun = decide(Some(&v1()), &input(&kubernetes.facts(), &healthy(), 0)).state;
        Self { kubernetes, state: begun, monitor: keeping(pods), second: 0, told: Vec::new() }
    }

    fn decide(&mut self, judgement: &Judgement) -> Decision {
        let facts = self.kubernetes.facts();
        let decision =
            decide(Some(&self.state), &Input { monitor: &self.monitor, ..input(&facts, judgement, self.second) });
        self.told.extend(reasons(&decision));
        self.state = decision.state.clone();
        decision
    }

    /// Everybody acts until nothing is left to do before more pods become Ready.
    fn settle(&mut self, judgement: &Judgement) {
        for _ in 0..40 {
            let before = self.kubernetes.clone();
            self.kubernetes.sync();
            let phase = self.state.phase;
            let action = self.decide(judgement).action;
            self.kubernetes.take(&action);
            if self.kubernetes.facts() == before.facts() && action == Action::None && self.state.phase == phase {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.kubernetes);
    }

    /// So many more new pods become Ready, and everybody acts.
    fn ready(&mut self, pods: u32) {
        self.second += 1;
        self.kubernetes.new.ready = (self.kubernetes.new.ready + pods).min(self.kubernetes.new.desired);
        let counts = self.kubernetes.now.min_ready_seconds != Settings::HELD_MIN_READY_SECONDS;
        if counts {
            self.kubernetes.new.available = self.kubernetes.new.ready;
        }
        self.settle(&healthy());
    }

    /// Until the bake begins.
    fn monitored(mut self) -> Self {
        self.settle(&healthy());
        for _ in 0..200 {
            if self.state.phase == Phase::Monitoring {
                return self;
            }
            self.ready(1);
        }
        panic!("it is never monitored: {:?}", self.kubernetes);
    }

    fn pods(&self) -> (u32, u32) {
        (self.kubernetes.stable.desired, self.kubernetes.new.desired)
    }
}

fn one_by_one() -> Kubernetes {
    Kubernetes::rolling(10, Amount::Pods(1), Amount::Pods(0))
}

/// Monitored beside two control pods since some second.
fn baking() -> Story {
    Story::begin(one_by_one(), 2).monitored()
}

#[test]
fn the_last_stable_pods_stay_while_the_new_ones_are_monitored_and_go_when_it_is_over() {
    let mut story = baking();
    assert_eq!((story.pods(), story.kubernetes.fewest), ((2, 9), 2), "one pod more than replicas is the owner's");
    assert!(story.kubernetes.paused);
    assert_eq!(story.told, [EventReason::ControlPodsKept]);
    let until = story.state.monitor_until.expect("the clock runs");
    story.second += 299;
    story.settle(&healthy());
    assert_eq!((story.state.phase, story.pods()), (Phase::Monitoring, (2, 9)));
    story.second += 1;
    assert_eq!(at(story.second), until);
    let done = story.decide(&healthy());
    assert_eq!((done.state.phase, &done.action), (Phase::Succeeded, &Action::Release));
    assert_eq!(done.state.stable.as_ref().map(|stable| stable.revision), Some(2));
    assert_eq!(done.state.control, None);
    assert!(done.state.message.ends_with("; the 2 pods of revision 1 that stayed are replaced now"), "{done:?}");
    story.kubernetes.take(&done.action);
    for _ in 0..9 {
        story.ready(1);
    }
    assert_eq!(story.pods(), (0, 10));
    assert_eq!(story.told, [EventReason::ControlPodsKept, EventReason::Promoted]);
}

#[test]
fn without_control_pods_kubernetes_rolls_to_the_end_first() {
    let story = Story::begin(one_by_one(), 0).monitored();
    assert_eq!((story.pods(), story.told, story.state.control), ((0, 10), vec![], None));
}

#[test]
fn where_the_owner_has_no_room_for_another_pod_they_stay_in_place_of_new_ones() {
    let story = Story::begin(Kubernetes::rolling(10, Amount::Pods(0), Amount::Percent(30)), 2).monitored();
    assert_eq!((story.pods(), story.kubernetes.fewest), ((2, 8), 2));
    let story = Story::begin(Kubernetes::rolling(1, Amount::Pods(1), Amount::Pods(0)), 2).monitored();
    assert_eq!(story.pods(), (1, 1));
}

#[test]
fn kubernetes_that_was_faster_is_said_once_and_the_bake_goes_on_without() {
    let mut story = Story::begin(one_by_one(), 2);
    (story.kubernetes.stable.desired, story.kubernetes.new.desired) = (0, 10);
    let story = story.monitored();
    assert_eq!((story.pods(), story.told), ((0, 10), vec![EventReason::ControlPodsGone]));
    assert_eq!(story.state.control, Some(Control::Gone));
}

#[test]
fn of_control_pods_that_kubernetes_had_partly_replaced_the_rest_stays() {
    let mut story = Story::begin(one_by_one(), 3);
    story.kubernetes.stable.desired = 1;
    story.kubernetes.new = Set { desired: 10, ready: 8, available: 8, ..story.kubernetes.new };
    story.decide(&healthy());
    assert!(matches!(story.state.control, Some(Control::Kept { pods: 1, .. })), "{:?}", story.state.control);
}

#[test]
fn where_none_can_stay_that_is_said_with_the_reason() {
    let told = |change: fn(&mut Rollout)| {
        let mut facts = facts("v2", 2, true, vec![revision("v1", 1, 0)]);
        change(&mut facts);
        let monitor = keeping(2);
        let begun = decide(Some(&v1()), &input(&super::gate_tests::pushed(), &healthy(), 0)).state;
        let decision = decide(Some(&begun), &Input { monitor: &monitor, ..input(&facts, &healthy(), 60) });
        assert_eq!((decision.state.phase, reasons(&decision)), (Phase::Monitoring, vec![EventReason::ControlPodsGone]));
        decision.announcements[0].note.clone()
    };
    assert!(told(|_| {}).contains(": Kubernetes had replaced them before the rollout could be held; "));
    assert!(told(|facts| facts.strategy = UpdateStrategy::Recreate).contains(": strategy Recreate takes them away"));
    let one = |facts: &mut Rollout| {
        facts.replicas = 1;
        facts.settings.max_surge = Amount::Pods(0);
    };
    assert!(told(one).contains(": with one replica and maxSurge 0 there is no room for one; "));
    assert!(told(|facts| facts.replicas = 0).contains(": it has no replicas; "));
}

#[test]
fn the_first_release_and_one_that_goes_back_are_not_compared_with_anything() {
    let monitor = keeping(2);
    let first = facts("v1", 1, false, vec![]);
    let begun = decide(None, &Input { monitor: &monitor, ..input(&first, &healthy(), 0) }).state;
    let complete = facts("v1", 1, true, vec![]);
    let first = decide(Some(&begun), &Input { monitor: &monitor, ..input(&complete, &healthy(), 60) });
    assert_eq!((first.state.phase, reasons(&first)), (Phase::Monitoring, vec![]));

    let v2 = State { succeeded: vec![TemplateId("v1".into()), TemplateId("v2".into())], ..baking().state };
    let v2 = State { stable: Some(v2.newest.clone()), phase: Phase::Succeeded, control: None, ..v2 };
    let back = facts("v1", 3, false, vec![revision("v2", 2, 2)]);
    let begun = decide(Some(&v2), &Input { monitor: &monitor, ..input(&back, &healthy(), 900) });
    let rolling = decide(Some(&begun.state), &Input { monitor: &monitor, ..input(&back, &healthy(), 901) });
    assert_eq!((rolling.state.phase, &rolling.action), (Phase::Promoting, &Action::None));
}

#[test]
fn a_shared_outage_stops_the_clock_of_the_bake_and_moves_no_pod() {
    let mut story = baking();
    let until = story.state.monitor_until.expect("the clock runs");
    story.settle(&halting(Cause::SharedCause));
    assert_eq!((story.state.phase, story.state.clock_stopped), (Phase::Monitoring, Some(at(story.second))));
    assert_eq!(story.told.last(), Some(&EventReason::Halted));
    story.second += 1000;
    story.settle(&halting(Cause::SharedCause));
    assert_eq!((story.state.phase, story.pods()), (Phase::Monitoring, (2, 9)), "also long after its time");
    let resumed = story.decide(&healthy());
    assert!(resumed.restart_evidence);
    assert_eq!(resumed.state.monitor_until, Some(until + SignedDuration::from_secs(1000)));
    assert_eq!((story.told.last(), story.pods()), (Some(&EventReason::Resumed), (2, 9)));
}

#[test]
fn a_violation_of_the_new_pods_alone_is_rolled_back_to_the_pods_that_stayed() {
    let mut story = baking();
    let convicted = story.decide(&violating());
    let Action::RollBack { to_replica_set, .. } = &convicted.action else { panic!("{:?}", convicted.action) };
    assert_eq!(to_replica_set, "teapot-v1");
    let facts = story.kubernetes.facts();
    let back = rolled_back(&convicted.state, &input(&facts, &violating(), story.second), SignedDuration::ZERO).state;
    assert_eq!((back.phase, back.control), (Phase::Recovering, None));
}

#[test]
fn a_rollout_that_is_halted_on_its_way_there_goes_back_to_it() {
    let mut story = Story::begin(one_by_one(), 2);
    story.settle(&healthy());
    while story.state.control.is_none() {
        story.ready(1);
    }
    story.settle(&halting(Cause::CauseUnclear));
    assert_eq!((story.state.phase, story.kubernetes.paused), (Phase::Halted, true));
    let story = story.monitored();
    assert_eq!((story.pods(), story.kubernetes.fewest), ((2, 9), 2));
    let told = [EventReason::Halted, EventReason::Resumed, EventReason::ControlPodsKept];
    assert_eq!(story.told, told);
}

#[test]
fn pods_that_somebody_takes_away_in_the_bake_are_missed_and_nothing_is_held_for_them() {
    let mut story = baking();
    story.kubernetes.stable.desired = 0;
    let lost = story.decide(&healthy());
    assert_eq!((lost.state.control, &lost.action), (Some(Control::Gone), &Action::Release));
    assert!(lost.announcements[0].note.contains(": they have been taken away; "), "{:?}", lost.announcements);
    story.kubernetes.take(&lost.action);
    let later = story.decide(&healthy());
    assert_eq!((later.state.phase, &later.action, reasons(&later)), (Phase::Monitoring, &Action::None, vec![]));
}

#[test]
fn what_unpauses_it_in_the_bake_is_made_good_while_pods_are_left() {
    let mut story = baking();
    (story.kubernetes.paused, story.kubernetes.now) = (false, story.kubernetes.own);
    let again = story.decide(&healthy());
    assert!(matches!(&again.action, Action::HoldCanary(hold) if hold.paused), "{:?}", again.action);
}

#[test]
fn a_policy_that_keeps_none_any_more_or_observes_completes_the_rollout_and_says_so() {
    for (mode, monitor) in [(Mode::Enforce, keeping(0)), (Mode::Observe, keeping(2))] {
        let story = baking();
        let (facts, judgement) = (story.kubernetes.facts(), healthy());
        let now = Input { mode, monitor: &monitor, ..input(&facts, &judgement, story.second + 10) };
        let released = decide(Some(&story.state), &now);
        assert_eq!((released.state.phase, &released.action), (Phase::Monitoring, &Action::Release), "{mode:?}");
        assert_eq!((reasons(&released), released.state.control), (vec![EventReason::Resumed], None));
        assert_eq!(released.state.monitor_until, story.state.monitor_until, "looks go on");
    }
}

#[test]
fn a_newer_template_in_the_bake_starts_over_and_the_pods_that_stayed_are_those_to_go_back_to() {
    let story = baking();
    let (stable, bad) = (story.kubernetes.facts().others[0].clone(), revision("v2", 2, 9));
    let newer = Rollout { others: vec![bad, stable], ..story.kubernetes.facts() };
    let newer = Rollout { canary: None, template: TemplateId("v3".into()), ..newer };
    let begun = decide(Some(&story.state), &input(&newer, &healthy(), story.second + 10));
    assert_eq!((begun.state.phase, begun.state.control), (Phase::Promoting, None));
    assert_eq!(begun.state.stable.map(|stable| stable.revision), Some(1));
    assert_eq!(begun.action, Action::Release);
}

#[test]
fn a_person_may_have_it_rolled_back_in_the_bake() {
    let story = baking();
    let ask = Ask { value: "v2".into(), by: Some("ann".into()) };
    let asked = Rollout { asks: Asks { rollback: Some(ask), ..Asks::default() }, ..story.kubernetes.facts() };
    let convicted = decide(Some(&story.state), &input(&asked, &healthy(), story.second + 10));
    assert!(matches!(convicted.action, Action::RollBack { .. }), "{:?}", convicted.action);
}

#[test]
fn a_process_that_died_after_the_release_and_before_it_noted_the_success_finds_it() {
    let mut story = baking();
    story.second += 300;
    let noted = story.state.clone();
    let done = story.decide(&healthy());
    story.kubernetes.take(&done.action);
    (0..3).for_each(|_| story.kubernetes.sync());
    story.state = noted;
    let unread = story.decide(&Judgement { unread: true, ..healthy() });
    assert_eq!((unread.state.phase, &unread.action, reasons(&unread)), (Phase::Monitoring, &Action::None, vec![]));
    let again = story.decide(&healthy());
    assert_eq!((again.state.phase, &again.action), (Phase::Succeeded, &Action::None));
    assert_eq!(reasons(&again), [EventReason::Promoted]);
}

#[test]
fn stable_pods_beyond_those_that_stay_wait_for_the_owners_min_ready_seconds() {
    let mut kubernetes = one_by_one();
    kubernetes.own.min_ready_seconds = 30;
    kubernetes.now = kubernetes.own;
    let mut story = Story::begin(kubernetes, 2);
    story.settle(&healthy());
    while story.kubernetes.new.ready < 8 {
        story.ready(1);
    }
    assert_eq!((story.pods().0, story.kubernetes.paused), (3, true), "Ready is not enough");
    story.second += 30;
    story.settle(&healthy());
    assert_eq!(story.pods().0, 2);
}

#[test]
fn replicas_that_move_in_the_bake_leave_the_pods_that_stayed_as_many() {
    for (replicas, new) in [(20, 19), (5, 4)] {
        let mut story = baking();
        story.kubernetes.replicas = replicas;
        story.settle(&healthy());
        for _ in 0..20 {
            story.ready(1);
        }
        assert_eq!((story.state.phase, story.pods()), (Phase::Monitoring, (2, new)), "{replicas}");
    }
}

#[test]
fn of_replicas_that_grow_before_the_bake_kubernetes_adds_pods_before_a_stable_one_goes() {
    let mut kubernetes = Kubernetes::rolling(10, Amount::Percent(25), Amount::Percent(25));
    let (_, missing) = kubernetes.room();
    kubernetes.replicas = 10;
    let mut story = Story::begin(kubernetes, 2);
    story.settle(&healthy());
    while story.state.control.is_none() {
        story.ready(1);
    }
    story.kubernetes.replicas = 20;
    for _ in 0..60 {
        story.ready(1);
        let Kubernetes { stable, new, .. } = &story.kubernetes;
        assert!(stable.ready + new.ready + missing >= 10, "{stable:?} {new:?}");
        if story.state.phase == Phase::Monitoring {
            break;
        }
    }
    assert_eq!((story.state.phase, story.pods().0), (Phase::Monitoring, 2));
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![(0..6_u32).prop_map(Amount::Pods), (0..=100_u32).prop_map(Amount::Percent)]
}

proptest! {
    #[test]
    fn however_pods_are_replaced_and_however_many_become_ready_at_once_the_control_pods_stay(
        (replicas, surge, unavailable, wanted) in (1..40_u32, amount(), amount(), 1..6_u32),
        readiness in prop::collection::vec(1..20_u32, 1..8),
    ) {
        let kubernetes = Kubernetes::rolling(replicas, surge, unavailable);
        let (more, missing) = kubernetes.room();
        let mut story = Story::begin(kubernetes, wanted);
        let kept = holding::control_pods(wanted, &story.kubernetes.facts());
        // What Kubernetes may take at once is gone before anybody looks.
        prop_assume!(kept > 0 && kept + missing <= replicas);
        story.settle(&healthy());
        for pods in readiness.iter().cycle().take(400) {
            if story.state.phase == Phase::Monitoring {
                break;
            }
            story.ready(*pods);
            let Kubernetes { stable, new, .. } = &story.kubernetes;
            prop_assert!(stable.desired + new.desired <= replicas + more, "no more pods than its owner allows");
            prop_assert!(stable.ready + new.ready + missing >= replicas, "no fewer either");
        }
        prop_assert_eq!(story.state.phase, Phase::Monitoring);
        prop_assert_eq!(&story.told, &[EventReason::ControlPodsKept]);
        let (stable, new) = story.pods();
        prop_assert_eq!((stable, story.kubernetes.fewest), (kept, kept));
        prop_assert!(new > 0 && stable + new >= replicas);
        story.second += 300;
        let done = story.decide(&healthy());
        prop_assert_eq!((done.state.phase, &done.action), (Phase::Succeeded, &Action::Release));
    }
}
