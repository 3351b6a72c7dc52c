//! Which pods belong to which ReplicaSet, told from their names alone. No pod is watched for it.

use std::collections::BTreeSet;

/// Kubernetes cuts the base of a generated name to this many bytes (names of 63, 5 of them random).
const BASE_LENGTH: usize = 58;

/// How many random characters end a generated name.
pub const SUFFIX_LENGTH: usize = 5;

/// What those random characters are drawn from: no vowels and nothing that looks like one, so that no words arise.
pub const SUFFIX_ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";

/// What template hashes are written in: the decimal digits of a 32-bit number, each as one of the letters above.
pub const HASH_ALPHABET: &str = "456789bcdf";

/// How many digits such a number has at most.
const HASH_LENGTH: usize = 10;

/// The longest name of a Deployment of which no pod's name is cut: the name, a dash, ten digits, a dash.
pub const LONGEST_UNCUT: usize = BASE_LENGTH - 2 - HASH_LENGTH;

/// A regular expression for what the names of all pods of a Deployment have after its name, whatever the revision, where
/// nothing is cut.
#[must_use]
pub fn after_deployment() -> String {
    format!("-[{HASH_ALPHABET}]{{1,{HASH_LENGTH}}}-[{SUFFIX_ALPHABET}]{{{SUFFIX_LENGTH}}}")
}

/// The Deployment and the ReplicaSet that a pod's name tells of, where it is one that they give and nothing is cut.
#[must_use]
pub fn owners(pod: &str) -> Option<(&str, &str)> {
    let replica_set = PodPrefix::in_pod_name(pod)?.strip_suffix('-')?;
    let (deployment, hash) = replica_set.rsplit_once('-')?;
    let is_hash = (1..=HASH_LENGTH).contains(&hash.len()) && hash.chars().all(|c| HASH_ALPHABET.contains(c));
    (is_hash && !deployment.is_empty() && deployment.len() <= LONGEST_UNCUT).then_some((deployment, replica_set))
}

/// The part of a Deployment's name that the names of its pods begin with, and a regular expression for the rest, where
/// the name is longer than [`LONGEST_UNCUT`]: the longer it is, the less of the hash is left.
#[must_use]
pub fn cut(name: &str) -> (String, String) {
    let suffix = format!("[{SUFFIX_ALPHABET}]{{{SUFFIX_LENGTH}}}");
    let base = name.chars().chain(['-']).take(BASE_LENGTH).collect::<String>();
    let hash = format!("[{HASH_ALPHABET}]");
    let rest = match BASE_LENGTH - base.chars().count() {
        0 => suffix,
        1 => format!("{hash}{suffix}"),
        // The whole hash and its dash fit, or as much of the hash as there is room for.
        room => format!("({hash}{{1,{}}}-|{hash}{{{}}}){suffix}", (room - 1).min(HASH_LENGTH), room.min(HASH_LENGTH)),
    };
    (base, rest)
}

/// What the name of every pod of a ReplicaSet has before its 5 random characters: the ReplicaSet's name and a dash, cut
/// to 58 characters. So a name of 58 characters or more leaves no room for the dash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodPrefix(String);

impl PodPrefix {
    /// The prefix of the pods that a ReplicaSet of this name creates.
    #[must_use]
    pub fn of_replica_set(name: &str) -> Self {
        // Names of Kubernetes objects are ASCII; anything else could not be a ReplicaSet's, and is not cut in the middle
        // of a character either.
        Self(name.chars().chain(['-']).take(BASE_LENGTH).collect())
    }

    /// The text before the random characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The prefix that a pod's name has if a controller generated it; `None` when it does not end as such names do.
    #[must_use]
    pub fn in_pod_name(pod: &str) -> Option<&str> {
        let (prefix, suffix) = pod.split_at_checked(pod.len().checked_sub(SUFFIX_LENGTH)?)?;
        (!prefix.is_empty() && suffix.chars().all(|c| SUFFIX_ALPHABET.contains(c))).then_some(prefix)
    }
}

/// True when the pods of two ReplicaSets can be told apart by their names. If not, the pods of both are listed by label
/// and named one by one: [`PodGroup::Names`].
#[must_use]
pub fn told_apart(one: &str, other: &str) -> bool {
    // Every generated name is its prefix and 5 characters more, so two different prefixes share no name.
    PodPrefix::of_replica_set(one) != PodPrefix::of_replica_set(other)
}

/// The pods of one ReplicaSet, as far as a query needs to know them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PodGroup {
    /// All pods with names of this prefix, also those that come later.
    Prefix(PodPrefix),
    /// Just these pods, where prefixes cannot tell two ReplicaSets apart. Whoever names them keeps the list up to date.
    Names(BTreeSet<String>),
}

impl PodGroup {
    /// The pods that a ReplicaSet of this name creates.
    #[must_use]
    pub fn of_replica_set(name: &str) -> Self {
        Self::Prefix(PodPrefix::of_replica_set(name))
    }

    /// True when a pod of this name belongs to the group.
    #[must_use]
    pub fn contains(&self, pod: &str) -> bool {
        match self {
            Self::Prefix(prefix) => PodPrefix::in_pod_name(pod) == Some(prefix.as_str()),
            Self::Names(names) => names.contains(pod),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_name_keeps_its_dash() {
        assert_eq!(PodPrefix::of_replica_set("checkout-7d9f8b6c5d").as_str(), "checkout-7d9f8b6c5d-");
        assert!(PodGroup::of_replica_set("checkout-7d9f8b6c5d").contains("checkout-7d9f8b6c5d-x2b4z"));
    }

    #[test]
    fn a_name_of_57_characters_keeps_its_dash_and_one_of_58_loses_it() {
        let name_57 = "a".repeat(57);
        assert_eq!(PodPrefix::of_replica_set(&name_57).as_str(), format!("{name_57}-"));
        let name_58 = "a".repeat(58);
        assert_eq!(PodPrefix::of_replica_set(&name_58).as_str(), name_58);
        let name_70 = "a".repeat(70);
        assert_eq!(PodPrefix::of_replica_set(&name_70).as_str(), name_58);
    }

    #[test]
    fn replica_sets_that_are_equal_in_58_characters_are_not_told_apart() {
        let long = "a".repeat(58);
        assert!(!told_apart(&format!("{long}-7d9f8b6c5d"), &format!("{long}-5f6b7c8d9f")));
        assert!(told_apart("checkout-7d9f8b6c5d", "checkout-5f6b7c8d9f"));
    }

    #[test]
    fn pods_of_a_longer_named_sibling_are_not_mine() {
        let web = PodGroup::of_replica_set("web-7d9f8b6c5d");
        assert!(!web.contains("web-7d9f8b6c5d-x2b4z-x2b4z"));
        assert!(!web.contains("other-web-7d9f8b6c5d-x2b4z"));
        assert!(!web.contains("web-7d9f8b6c5d-aeiou"), "vowels are never generated");
        assert!(!web.contains("web-7d9f8b6c5d-"));
        assert!(!web.contains("x2b4z"));
        assert!(!web.contains("wéb"), "a cut inside a character must not panic");
    }

    #[test]
    fn a_pod_tells_of_its_deployment_and_its_replica_set() {
        assert_eq!(owners("web-api-7d9f8b6c5d-x2b4z"), Some(("web-api", "web-api-7d9f8b6c5d")));
        assert_eq!(owners("search-7-x2b4z"), Some(("search", "search-7")));
        for other in ["database-0", "web-x2b4z", "web-7d9f8b6c5dd-x2b4z", "node-exporter-x2b4z", "-7-x2b4z", ""] {
            assert_eq!(owners(other), None, "{other}");
        }
        assert_eq!(owners(&format!("{}-7d9f8b6c5d-x2b4z", "a".repeat(47))), None, "this name would have been cut");
    }

    #[test]
    fn named_pods_are_just_those() {
        let group = PodGroup::Names(BTreeSet::from(["checkout-abc".to_owned()]));
        assert!(group.contains("checkout-abc"));
        assert!(!group.contains("checkout-abd"));
    }

    #[test]
    fn the_longer_a_name_the_less_of_the_hash_is_left() {
        let rest = |length: usize| {
            let (base, rest) = cut(&"a".repeat(length));
            (base.len(), rest.replace(SUFFIX_ALPHABET, "s").replace(HASH_ALPHABET, "h"))
        };
        assert_eq!(rest(47), (48, "([h]{1,9}-|[h]{10})[s]{5}".to_owned()));
        assert_eq!(rest(55), (56, "([h]{1,1}-|[h]{2})[s]{5}".to_owned()));
        assert_eq!(rest(56), (57, "[h][s]{5}".to_owned()));
        assert_eq!(rest(57), (58, "[s]{5}".to_owned()));
        assert_eq!(rest(70), (58, "[s]{5}".to_owned()));
        assert_eq!(LONGEST_UNCUT, 46);
    }

    proptest! {
        #[test]
        fn every_pod_is_found_in_its_own_group_and_in_no_other_told_apart(
            name in "[a-z][a-z0-9-]{0,80}", other in "[a-z][a-z0-9-]{0,80}", suffix in "[bcdfghjklmnpqrstvwxz2456789]{5}",
        ) {
            let pod = format!("{}{suffix}", PodPrefix::of_replica_set(&name).as_str());
            prop_assert!(pod.len() <= 63);
            prop_assert!(PodGroup::of_replica_set(&name).contains(&pod));
            prop_assert_eq!(PodGroup::of_replica_set(&other).contains(&pod), !told_apart(&name, &other));
        }
    }
}
