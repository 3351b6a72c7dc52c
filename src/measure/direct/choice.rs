//! Which pods are read. Counters are differenced pod by pod, so a choice that changed would lose requests: one that is made
//! is kept for as long as its pods serve. Pure.

use std::collections::BTreeSet;

use super::target::{Target, page_of};
use crate::policy::PodPages;
use crate::watch::pod::ServingPod;

/// How many pods are read at most, on either side.
pub const MOST_PODS: usize = 10;

/// The pods of one ReplicaSet that are read.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Those that were Ready the last time; `None` before the first time.
    ready: Option<BTreeSet<String>>,
    /// The uids of those that are read, and whether each was seen to become Ready.
    chosen: Vec<(String, bool)>,
}

impl Choice {
    /// The pods to be read, when these serve: those that were, and where there is room the oldest others, which are the last
    /// that Kubernetes takes away.
    pub fn among(&mut self, serving: &[ServingPod], pages: &PodPages) -> Vec<Target> {
        let now: BTreeSet<String> = serving.iter().map(|pod| pod.uid.clone()).collect();
        self.chosen.retain(|(uid, _)| now.contains(uid));
        let is_chosen = |uid: &str| self.chosen.iter().any(|(chosen, _)| chosen == uid);
        let mut others = serving.iter().filter(|pod| !is_chosen(&pod.uid)).collect::<Vec<_>>();
        others.sort_by_key(|pod| (pod.created, &pod.name));
        let is_new = |pod: &ServingPod| self.ready.as_ref().is_some_and(|before| !before.contains(&pod.uid));
        let room = MOST_PODS.saturating_sub(self.chosen.len());
        let more = others.into_iter().take(room).map(|pod| (pod.uid.clone(), is_new(pod))).collect::<Vec<_>>();
        self.chosen.extend(more);
        self.ready = Some(now);
        let target = |(uid, from_zero): &(String, bool)| {
            let pod = serving.iter().find(|pod| pod.uid == *uid)?;
            let page = page_of(pod, pages).map_err(Into::into);
            Some(Target { pod: pod.name.as_str().into(), from_zero: *from_zero, page })
        };
        self.chosen.iter().filter_map(target).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// A pod that is the older the smaller its number is.
    fn pod(number: u32) -> ServingPod {
        ServingPod {
            name: format!("violet-{number}"),
            uid: format!("u{number}"),
            created: Timestamp::from_second(1_700_000_000 + i64::from(number)).unwrap(),
            ip: IpAddr::from([10, 0, 0, 1]),
            on_host_network: false,
            annotations: BTreeMap::from([("port".to_owned(), "9".to_owned())]),
            ports: BTreeMap::new(),
        }
    }

    /// The numbers of the pods that are read, and which of them count from zero.
    fn among(choice: &mut Choice, numbers: impl IntoIterator<Item = u32>) -> (Vec<u32>, Vec<u32>) {
        let serving = numbers.into_iter().map(pod).collect::<Vec<_>>();
        let targets = choice.among(&serving, &PodPages::default());
        let number = |target: &Target| target.pod.strip_prefix("violet-").unwrap().parse::<u32>().unwrap();
        let new = targets.iter().filter(|target| target.from_zero).map(number).collect();
        (targets.iter().map(number).collect(), new)
    }

    #[test]
    fn of_many_pods_the_ten_oldest_are_read() {
        let (read, _) = among(&mut Choice::default(), (0..30).rev());
        assert_eq!(read, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_read_goes_on_being_read_whatever_comes() {
        let mut choice = Choice::default();
        assert_eq!(among(&mut choice, [20, 21]).0, [20, 21]);
        assert_eq!(among(&mut choice, 0..30).0, [20, 21, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(among(&mut choice, (0..30).rev()).0, [20, 21, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            among(&mut choice, (0..30).filter(|number| *number != 21 && *number != 3)).0,
            [20, 0, 1, 2, 4, 5, 6, 7, 8, 9]
        );
    }

    #[test]
    fn only_pods_that_were_seen_to_become_ready_count_from_zero() {
        let mut choice = Choice::default();
        assert_eq!(among(&mut choice, [1]).1, [0; 0], "what it served before is not known");
        assert_eq!(among(&mut choice, [1, 2]).1, [2]);
        assert_eq!(among(&mut choice, [1, 2]).1, [2], "also when it answers later only");
        among(&mut choice, 1..=12);
        // One that was Ready and not read, until there was room for it.
        let (read, new) = among(&mut choice, 2..=12);
        assert!(read.contains(&11) && !new.contains(&11), "{read:?} {new:?}");
    }

    #[test]
    fn nothing_before_anything_serves_means_that_all_of_it_is_seen() {
        let mut choice = Choice::default();
        assert_eq!(among(&mut choice, []).0, [0; 0]);
        assert_eq!(among(&mut choice, [1, 2]).1, [1, 2]);
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_ten_and_each_once_and_none_leaves_that_serves(
            lists in proptest::collection::vec(proptest::collection::btree_set(0_u32..40, 0..30), 1..8),
        ) {
            let mut choice = Choice::default();
            let mut before = Vec::new();
            for serving in lists {
                let (read, _) = among(&mut choice, serving.iter().copied());
                prop_assert_eq!(read.len(), serving.len().min(MOST_PODS));
                prop_assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len());
                prop_assert!(before.iter().filter(|number| serving.contains(number)).all(|number| read.contains(number)));
                before = read;
            }
        }
    }
}
