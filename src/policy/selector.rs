//! Which Deployments a policy governs, with the semantics of a Kubernetes label selector.

use std::collections::{BTreeMap, BTreeSet};

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there with one of the values.
    In(String, BTreeSet<String>),
    /// The label is not there, or has another value.
    NotIn(String, BTreeSet<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

/// All of its requirements must be met. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// A selector of these requirements; `None` when there is none, which would select everything.
    #[must_use]
    pub fn new(requirements: Vec<Requirement>) -> Option<Self> {
        (!requirements.is_empty()).then_some(Self(requirements))
    }

    /// Whether something with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn values(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn selector(requirements: Vec<Requirement>) -> Selector {
        Selector::new(requirements).expect("at least one requirement")
    }

    #[test]
    fn a_selector_without_requirements_cannot_be_made() {
        assert_eq!(Selector::new(Vec::new()), None);
    }

    #[test]
    fn not_in_matches_when_the_label_is_absent() {
        let selector = selector(vec![Requirement::NotIn("tier".into(), values(&["batch"]))]);
        assert!(selector.matches(&labels(&[])));
        assert!(selector.matches(&labels(&[("tier", "web")])));
        assert!(!selector.matches(&labels(&[("tier", "batch")])));
    }

    #[test]
    fn in_needs_the_label() {
        let selector = selector(vec![Requirement::In("tier".into(), values(&["web", "api"]))]);
        assert!(!selector.matches(&labels(&[])));
        assert!(selector.matches(&labels(&[("tier", "api")])));
    }

    #[test]
    fn every_requirement_must_be_met() {
        let selector = selector(vec![
            Requirement::In("app".into(), values(&["zwiebel-7"])),
            Requirement::DoesNotExist("errorbudget.dev/exempt".into()),
        ]);
        assert!(selector.matches(&labels(&[("app", "zwiebel-7")])));
        assert!(!selector.matches(&labels(&[("app", "zwiebel-7"), ("errorbudget.dev/exempt", "")])));
        assert!(!selector.matches(&labels(&[("app", "zwiebel")])));
    }

    proptest! {
        #[test]
        fn not_in_is_the_opposite_of_in(value in proptest::option::of("[abc]"), listed in proptest::collection::btree_set("[abc]", 1..3)) {
            let labels = value.map(|value| ("k".to_owned(), value)).into_iter().collect();
            let within = selector(vec![Requirement::In("k".into(), listed.clone())]);
            let without = selector(vec![Requirement::NotIn("k".into(), listed)]);
            prop_assert_ne!(within.matches(&labels), without.matches(&labels));
        }

        #[test]
        fn exists_is_the_opposite_of_does_not_exist(present in any::<bool>()) {
            let labels = if present { labels(&[("k", "v")]) } else { labels(&[]) };
            let there = selector(vec![Requirement::Exists("k".into())]);
            let absent = selector(vec![Requirement::DoesNotExist("k".into())]);
            prop_assert_eq!(there.matches(&labels), present);
            prop_assert_ne!(there.matches(&labels), absent.matches(&labels));
        }
    }
}
