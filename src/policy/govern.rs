//! Which policy governs a Deployment when several select it.

use std::collections::BTreeMap;

use super::Policy;
use crate::watch::rollout::DeploymentKey;

/// Who is in charge of one Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Governance<'a> {
    /// The policy that governs it; `None` when none selects it.
    pub by: Option<&'a Policy>,
    /// Policies that select it too and must not govern it, oldest first. Each says so in its Ready condition.
    pub conflicting: Vec<&'a Policy>,
}

/// Finds who is in charge of the Deployment with these labels: of all policies of its namespace that select it, the
/// oldest; of those created in the same second, the first by name. The order of `policies` does not matter.
#[must_use]
pub fn govern<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    deployment: &DeploymentKey,
    labels: &BTreeMap<String, String>,
) -> Governance<'a> {
    let mut selecting: Vec<_> = policies
        .into_iter()
        .filter(|policy| policy.key.namespace == deployment.namespace && policy.selector.matches(labels))
        .collect();
    selecting.sort_by(|a, b| (a.created, &a.key.name).cmp(&(b.created, &b.key.name)));
    let mut selecting = selecting.into_iter();
    Governance { by: selecting.next(), conflicting: selecting.collect() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn policy(namespace: &str, name: &str, created: i64, app: &str) -> Policy {
        let object = json!({
            "apiVersion": "errorbudget.dev/v1alpha1",
            "kind": "ErrorBudgetPolicy",
            "metadata": {
                "namespace": namespace, "name": name,
                "creationTimestamp": Timestamp::from_second(created).expect("a time").to_string(),
            },
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "objectives": [{"name": "o", "target": "99", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
            },
        });
        Policy::parse(&serde_json::from_value(object).expect("the shape of a policy")).expect("a sound policy")
    }

    fn who_governs(policies: &[Policy]) -> (Option<String>, Vec<String>) {
        let deployment = DeploymentKey { namespace: "hafen".to_owned(), name: "kran-web".to_owned() };
        let labels = BTreeMap::from([("app".to_owned(), "kran".to_owned())]);
        let governance = govern(policies, &deployment, &labels);
        let name = |policy: &Policy| policy.key.name.clone();
        (governance.by.map(name), governance.conflicting.into_iter().map(name).collect())
    }

    #[test]
    fn a_deployment_that_no_policy_selects_is_not_governed() {
        assert_eq!(who_governs(&[policy("hafen", "bagger", 1, "bagger")]), (None, vec![]));
    }

    #[test]
    fn a_policy_of_another_namespace_does_not_govern() {
        assert_eq!(who_governs(&[policy("werft", "kran", 1, "kran")]), (None, vec![]));
    }

    #[test]
    fn the_older_of_two_policies_governs_and_the_newer_conflicts() {
        let policies = [policy("hafen", "a-neu", 2, "kran"), policy("hafen", "z-alt", 1, "kran")];
        assert_eq!(who_governs(&policies), (Some("z-alt".to_owned()), vec!["a-neu".to_owned()]));
    }

    #[test]
    fn of_two_created_in_one_second_the_first_by_name_governs() {
        let policies = [policy("hafen", "b", 7, "kran"), policy("hafen", "a", 7, "kran")];
        assert_eq!(who_governs(&policies), (Some("a".to_owned()), vec!["b".to_owned()]));
    }

    proptest! {
        #[test]
        fn the_order_in_which_policies_are_known_does_not_matter(
            (order, shuffled) in Just((0..5).collect::<Vec<usize>>()).prop_flat_map(|order| (Just(order.clone()), Just(order).prop_shuffle())),
            ages in proptest::collection::vec(0_i64..3, 5),
        ) {
            let all = |order: Vec<usize>| -> Vec<Policy> {
                order.into_iter().map(|index| policy("hafen", &format!("p{index}"), ages[index], "kran")).collect()
            };
            prop_assert_eq!(who_governs(&all(order)), who_governs(&all(shuffled)));
        }
    }
}
