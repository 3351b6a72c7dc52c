//! A selector of an expression, printed for one revision or for all of some Deployments.

use promql_parser::util::escape_string;

use super::Names;
use crate::measure::placeholder::Placeholder;
use crate::measure::pods::HASH_ALPHABET;
use crate::measure::promql::literal;

/// A vector selector, bound to the policy's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) metric: String,
    pub(super) matchers: Vec<Match>,
}

/// A matcher: its label as it is printed, its operator, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Match {
    pub(super) label: String,
    pub(super) op: &'static str,
    pub(super) value: Vec<Part>,
}

/// A part of a matcher's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Text(String),
    Stands(Placeholder),
}

impl Series {
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.matchers.iter().flat_map(|matcher| &matcher.value).filter_map(|part| match part {
            Part::Stands(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    /// Of one revision.
    pub(super) fn of(&self, names: &Names, range: &str) -> Result<String, String> {
        for placeholder in self.placeholders() {
            placeholder.value(names)?;
        }
        Ok(self.print(range, |placeholder| placeholder.value(names).unwrap_or_default()))
    }

    /// With another text for each placeholder, which is escaped where it stands in a regular expression.
    pub(super) fn print(&self, range: &str, value: impl Fn(&Placeholder) -> String) -> String {
        let matchers = self.matchers.iter().map(|matcher| {
            let parts = matcher.value.iter().map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Stands(placeholder) if matcher.is_regex() => literal(&value(placeholder)),
                Part::Stands(placeholder) => value(placeholder),
            });
            matcher.print(matcher.op, &parts.collect::<String>())
        });
        self.printed(matchers, range)
    }

    /// Of all revisions of these Deployments. What is not the same in all becomes a regular expression.
    pub(super) fn of_all(&self, namespace: &str, deployments: &[&str], range: &str) -> String {
        let any = match deployments {
            [one] => literal(one),
            several => format!("({})", several.iter().map(|name| literal(name)).collect::<Vec<_>>().join("|")),
        };
        let hash = format!("[{HASH_ALPHABET}]{{1,10}}");
        let pattern = |placeholder: &Placeholder| match placeholder {
            Placeholder::Namespace => literal(namespace),
            Placeholder::Deployment => any.clone(),
            Placeholder::ReplicaSet => format!("{any}-{hash}"),
            Placeholder::PodTemplateHash => hash.clone(),
            Placeholder::Revision => "[0-9]+".to_owned(),
            Placeholder::PodLabel(_) => ".*".to_owned(),
        };
        let matchers = self.matchers.iter().map(|matcher| {
            let is_fixed = |part: &Part| match part {
                Part::Text(_) | Part::Stands(Placeholder::Namespace) => true,
                Part::Stands(Placeholder::Deployment) => deployments.len() == 1,
                Part::Stands(_) => false,
            };
            if matcher.value.iter().all(is_fixed) && !matcher.is_regex() {
                let parts = matcher.value.iter().map(|part| match part {
                    Part::Text(text) => text.as_str(),
                    Part::Stands(Placeholder::Namespace) => namespace,
                    Part::Stands(_) => deployments.first().copied().unwrap_or_default(),
                });
                return matcher.print(matcher.op, &parts.collect::<String>());
            }
            let parts = matcher.value.iter().map(|part| match part {
                Part::Text(text) if matcher.is_regex() => text.clone(),
                Part::Text(text) => literal(text),
                Part::Stands(placeholder) => pattern(placeholder),
            });
            let op = if matcher.is_regex() { matcher.op } else { "=~" };
            matcher.print(op, &parts.collect::<String>())
        });
        self.printed(matchers, range)
    }

    fn printed(&self, matchers: impl Iterator<Item = String>, range: &str) -> String {
        format!("{}{{{}}}{range}", self.metric, matchers.collect::<Vec<_>>().join(","))
    }
}

impl Match {
    fn is_regex(&self) -> bool {
        matches!(self.op, "=~" | "!~")
    }

    fn print(&self, op: &str, value: &str) -> String {
        format!("{}{op}\"{}\"", self.label, escape_string(value))
    }
}
