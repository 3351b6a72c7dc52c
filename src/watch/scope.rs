//! Which namespaces are watched.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

/// Which namespaces are watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of them: needs a ClusterRole.
    #[default]
    All,
    /// These, in order and each once: a Role in each is enough. At least one.
    Namespaces(Vec<String>),
}

impl Scope {
    /// The scope of a list of names; all namespaces when it is empty.
    #[must_use]
    pub fn of(namespaces: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<_> = namespaces.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { Self::All } else { Self::Namespaces(names) }
    }

    /// One client for each watch that is needed, with the namespace it is for; `None` is for all.
    pub(super) fn apis<K>(&self, client: &Client) -> Vec<(Option<String>, Api<K>)>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => vec![(None, Api::all(client.clone()))],
            Self::Namespaces(names) => {
                names.iter().map(|name| (Some(name.clone()), Api::namespaced(client.clone(), name))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_all_namespaces() {
        assert_eq!(Scope::of([]), Scope::All);
    }

    #[test]
    fn a_name_given_twice_is_watched_once() {
        let names = ["shop", "lager", "shop"].map(ToOwned::to_owned);
        assert_eq!(Scope::of(names), Scope::Namespaces(vec!["lager".to_owned(), "shop".to_owned()]));
    }
}
