//! All pods that get traffic: who gets how much, without clock or I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::behaviour::PodBehaviour;
use super::simulation::{Counters, PodSimulation};

/// Names a Deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeploymentKey {
    /// Namespace of the Deployment.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl DeploymentKey {
    /// Names the Deployment `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// What the simulator needs to know of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PodView {
    pub(super) deployment: DeploymentKey,
    pub(super) name: String,
    /// Tells a pod from an earlier one of the same name.
    pub(super) uid: String,
    /// Gets traffic: Ready and not being deleted.
    pub(super) ready: bool,
    pub(super) behaviour: PodBehaviour,
}

/// The pods by Deployment, the rates they share and the outages they suffer from.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    seed: u64,
    deployments: BTreeMap<DeploymentKey, Deployment>,
    /// Namespace and name of pods that Prometheus does not scrape.
    unscraped: BTreeSet<(String, String)>,
}

#[derive(Debug, Default)]
struct Deployment {
    /// Requests per second for all pods together; none: no traffic and no series.
    rate: Option<f64>,
    /// Share of the requests that fail for a reason outside the pods.
    outage_ratio: f64,
    pods: BTreeMap<String, Pod>,
}

#[derive(Debug)]
struct Pod {
    view: PodView,
    /// Begins when the pod is Ready for the first time while its Deployment has a rate.
    simulation: Option<PodSimulation>,
}

impl Fleet {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Sets the Deployment's rate; the pods that are Ready already begin at zero with it.
    pub(super) fn set_rate(&mut self, key: DeploymentKey, requests_per_second: f64) {
        let seed = self.seed;
        let deployment = self.deployments.entry(key).or_default();
        deployment.rate = Some(requests_per_second);
        for pod in deployment.pods.values_mut() {
            pod.begin_if_ready(seed);
        }
    }

    /// Ends the Deployment's traffic and takes its series away.
    pub(super) fn remove_rate(&mut self, key: &DeploymentKey) {
        if let Some(deployment) = self.deployments.get_mut(key) {
            deployment.rate = None;
            for pod in deployment.pods.values_mut() {
                pod.simulation = None;
            }
        }
    }

    pub(super) fn set_outage(&mut self, key: DeploymentKey, outage_ratio: f64) {
        self.deployments.entry(key).or_default().outage_ratio = outage_ratio;
    }

    /// Takes note of a new or changed pod.
    pub(super) fn observe(&mut self, view: PodView) {
        let deployment = self.deployments.entry(view.deployment.clone()).or_default();
        let name = view.name.clone();
        let simulation =
            deployment.pods.remove(&name).filter(|known| known.view.uid == view.uid).and_then(|known| known.simulation);
        let mut pod = Pod { view, simulation };
        if deployment.rate.is_some() {
            pod.begin_if_ready(self.seed);
        }
        deployment.pods.insert(name, pod);
    }

    /// Drops a deleted pod and its counters.
    pub(super) fn forget(&mut self, key: &DeploymentKey, pod: &str) {
        if let Some(deployment) = self.deployments.get_mut(key) {
            deployment.pods.remove(pod);
        }
    }

    /// Drops all pods whose uid is not in the set, in the given namespace or in all.
    pub(super) fn retain(&mut self, namespace: Option<&str>, uids: &BTreeSet<String>) {
        for (key, deployment) in &mut self.deployments {
            if namespace.is_none_or(|namespace| namespace == key.namespace) {
                deployment.pods.retain(|_, pod| uids.contains(&pod.view.uid));
            }
        }
    }

    /// Restarts the pod's container; false when there is no such pod with counters.
    pub(super) fn restart(&mut self, namespace: &str, pod: &str) -> bool {
        let simulation = self
            .deployments
            .iter_mut()
            .filter(|(key, _)| key.namespace == namespace)
            .find_map(|(_, deployment)| deployment.pods.get_mut(pod))
            .and_then(|pod| pod.simulation.as_mut());
        simulation.map(PodSimulation::restart).is_some()
    }

    /// Lets time pass: the Ready pods of each Deployment share its rate equally.
    pub(super) fn advance(&mut self, dt: Duration) {
        for deployment in self.deployments.values_mut() {
            let Some(rate) = deployment.rate else {
                continue;
            };
            let ready = deployment.pods.values().filter(|pod| pod.view.ready).count();
            let share = rate / ready.max(1) as f64;
            for pod in deployment.pods.values_mut() {
                let pod_rate = if pod.view.ready { share } else { 0.0 };
                if let Some(simulation) = &mut pod.simulation {
                    simulation.advance(dt, pod_rate, deployment.outage_ratio);
                }
            }
        }
    }

    /// From now on Prometheus does not scrape the pod, or does again.
    pub(super) fn set_scraped(&mut self, namespace: &str, pod: &str, scraped: bool) {
        let pod = (namespace.to_owned(), pod.to_owned());
        if scraped {
            self.unscraped.remove(&pod);
        } else {
            self.unscraped.insert(pod);
        }
    }

    /// The counters of the pods that Prometheus scrapes.
    pub(super) fn scraped(&self) -> impl Iterator<Item = (&str, &str, &Counters)> {
        let is_scraped =
            |namespace: &str, pod: &str| !self.unscraped.iter().any(|(of, name)| (&**of, &**name) == (namespace, pod));
        self.counters().filter(move |(namespace, pod, _)| is_scraped(namespace, pod))
    }

    /// Namespace, name and counters of every pod that has counters, in a stable order.
    pub(super) fn counters(&self) -> impl Iterator<Item = (&str, &str, &Counters)> {
        self.deployments.iter().flat_map(|(key, deployment)| {
            deployment.pods.iter().filter_map(|(name, pod)| {
                let counters = pod.simulation.as_ref()?.counters();
                Some((key.namespace.as_str(), name.as_str(), counters))
            })
        })
    }

    /// Name, readiness and simulation of the Deployment's pods that have counters.
    pub(super) fn pods_of(&self, key: &DeploymentKey) -> impl Iterator<Item = (&str, bool, &PodSimulation)> {
        let pods = self.deployments.get(key).map(|deployment| &deployment.pods);
        pods.into_iter()
            .flatten()
            .filter_map(|(name, pod)| Some((name.as_str(), pod.view.ready, pod.simulation.as_ref()?)))
    }
}

impl Pod {
    fn begin_if_ready(&mut self, seed: u64) {
        if self.view.ready && self.simulation.is_none() {
            self.simulation = Some(PodSimulation::new(
                seed,
                &self.view.deployment.namespace,
                &self.view.name,
                self.view.behaviour.clone(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cart() -> DeploymentKey {
        DeploymentKey::new("shop", "cart")
    }

    fn view(name: &str, ready: bool) -> PodView {
        PodView {
            deployment: cart(),
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            ready,
            behaviour: PodBehaviour::default(),
        }
    }

    fn fleet(rate: f64, pods: &[(&str, bool)]) -> Fleet {
        let mut fleet = Fleet::new(1);
        fleet.set_rate(cart(), rate);
        for (name, ready) in pods {
            fleet.observe(view(name, *ready));
        }
        fleet
    }

    fn requests(fleet: &Fleet) -> BTreeMap<String, u64> {
        fleet.pods_of(&cart()).map(|(name, _, pod)| (name.to_owned(), pod.requests())).collect()
    }

    fn close(count: u64, expected: f64) -> bool {
        (count as f64 / expected - 1.0).abs() < 0.05
    }

    #[test]
    fn ready_pods_share_the_rate_equally_and_others_get_nothing() {
        let mut fleet = fleet(90_000.0, &[("a", true), ("b", true), ("c", true), ("d", false)]);
        fleet.advance(SECOND);
        let requests = requests(&fleet);
        assert_eq!(requests.len(), 3, "a pod that was never Ready has no counters");
        assert!(requests.values().all(|count| close(*count, 30_000.0)), "{requests:?}");
    }

    #[test]
    fn a_pod_that_is_no_longer_ready_keeps_its_counters_and_leaves_its_share_to_the_others() {
        let mut fleet = fleet(20_000.0, &[("a", true), ("b", true)]);
        fleet.advance(SECOND);
        let before = requests(&fleet);
        fleet.observe(view("a", false));
        fleet.advance(SECOND);
        let after = requests(&fleet);
        assert_eq!(after["a"], before["a"]);
        assert!(close(after["b"] - before["b"], 20_000.0));
    }

    #[test]
    fn a_deleted_pod_takes_its_counters_with_it() {
        let mut fleet = fleet(100.0, &[("a", true), ("b", true)]);
        fleet.forget(&cart(), "a");
        assert_eq!(requests(&fleet).into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_new_pod_of_the_same_name_starts_at_zero() {
        let mut fleet = fleet(1000.0, &[("a", true)]);
        fleet.advance(SECOND);
        fleet.observe(PodView { uid: "another".to_owned(), ..view("a", true) });
        assert_eq!(requests(&fleet)["a"], 0);
    }

    #[test]
    fn a_complete_list_drops_the_pods_that_are_not_on_it_in_its_namespace_only() {
        let mut fleet = fleet(1000.0, &[("a", true), ("b", true)]);
        let listed = BTreeSet::from(["uid-of-b".to_owned()]);
        fleet.retain(Some("elsewhere"), &listed);
        assert_eq!(requests(&fleet).len(), 2);
        fleet.retain(Some("shop"), &listed);
        assert_eq!(requests(&fleet).into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_deployment_without_a_rate_has_no_counters_and_one_with_rate_zero_has() {
        let mut fleet = Fleet::new(1);
        fleet.observe(view("a", true));
        assert!(requests(&fleet).is_empty());
        fleet.set_rate(cart(), 0.0);
        fleet.advance(SECOND);
        assert_eq!(requests(&fleet), BTreeMap::from([("a".to_owned(), 0)]));
        fleet.remove_rate(&cart());
        assert!(requests(&fleet).is_empty());
    }

    #[test]
    fn an_outage_hits_all_pods_until_it_is_over() {
        let mut fleet = fleet(20_000.0, &[("a", true), ("b", true)]);
        let errors = |fleet: &Fleet| -> Vec<u64> { fleet.pods_of(&cart()).map(|(_, _, pod)| pod.errors()).collect() };
        fleet.set_outage(cart(), 0.1);
        fleet.advance(SECOND);
        let during = errors(&fleet);
        assert!(during.iter().all(|errors| (800..1200).contains(errors)), "{during:?}");
        fleet.set_outage(cart(), 0.0);
        fleet.advance(SECOND);
        assert_eq!(errors(&fleet), during);
    }

    #[test]
    fn a_restarted_container_counts_from_zero_and_unknown_pods_are_said() {
        let mut fleet = fleet(1000.0, &[("a", true)]);
        fleet.advance(SECOND);
        assert!(fleet.restart("shop", "a"));
        assert_eq!(requests(&fleet)["a"], 0);
        assert!(!fleet.restart("shop", "b"));
        assert!(!fleet.restart("elsewhere", "a"));
    }
}
