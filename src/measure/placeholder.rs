//! Placeholders in the expressions of a policy: `{{namespace}}` and others like it. Pure.

use std::time::Duration;

use super::expression::Names;
use crate::policy::Counts;

/// What stands for something else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Placeholder {
    /// The policy's namespace.
    Namespace,
    /// The Deployment's name.
    Deployment,
    /// The ReplicaSet's name.
    ReplicaSet,
    /// What the ReplicaSet's name has after the Deployment's: the label `pod-template-hash`.
    PodTemplateHash,
    /// The number of the revision.
    Revision,
    /// A label of the ReplicaSet's pods.
    PodLabel(String),
}

/// Those that differ between revisions, for messages.
pub(super) const OF_REVISIONS: &str = "{{replicaSet}}, {{podTemplateHash}}, {{revision}} or {{podLabel.version}}";

/// Begins the name of a pod's label.
const POD_LABEL: &str = "podLabel.";

/// The first of the characters that stand for placeholders while a text is parsed: of no alphabet, so that none is lost.
const FIRST_MARK: u32 = 0xE000;
/// The last one.
const LAST_MARK: u32 = 0xF8FF;

impl Placeholder {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "namespace" => Self::Namespace,
            "deployment" => Self::Deployment,
            "replicaSet" => Self::ReplicaSet,
            "podTemplateHash" => Self::PodTemplateHash,
            "revision" => Self::Revision,
            _ => {
                let key = name.strip_prefix(POD_LABEL).filter(|key| !key.is_empty())?;
                let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
                key.chars().all(is_key).then(|| Self::PodLabel(key.to_owned()))?
            }
        })
    }

    /// Whether it differs from one revision of a Deployment to the next.
    pub(super) const fn is_of_a_revision(&self) -> bool {
        match self {
            Self::ReplicaSet | Self::PodTemplateHash | Self::Revision | Self::PodLabel(_) => true,
            Self::Namespace | Self::Deployment => false,
        }
    }

    /// What it stands for.
    pub(super) fn value(&self, names: &Names) -> Result<String, String> {
        match self {
            Self::Namespace => Ok(names.namespace.clone()),
            Self::Deployment => Ok(names.deployment.clone()),
            Self::ReplicaSet => Ok(names.replica_set.clone()),
            Self::PodTemplateHash => {
                let hash = names.replica_set.strip_prefix(&names.deployment).and_then(|rest| rest.strip_prefix('-'));
                hash.map(str::to_owned).ok_or_else(|| format!("the name {} tells no template hash", names.replica_set))
            }
            Self::Revision if names.revision == 0 => Err(format!("{} has no revision yet", names.replica_set)),
            Self::Revision => Ok(names.revision.to_string()),
            Self::PodLabel(key) => names
                .labels
                .get(key)
                .cloned()
                .ok_or_else(|| format!("the pods of {} have no label {key}", names.replica_set)),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Namespace => "namespace".to_owned(),
            Self::Deployment => "deployment".to_owned(),
            Self::ReplicaSet => "replicaSet".to_owned(),
            Self::PodTemplateHash => "podTemplateHash".to_owned(),
            Self::Revision => "revision".to_owned(),
            Self::PodLabel(key) => format!("{POD_LABEL}{key}"),
        }
    }
}

/// A text in which each placeholder is one character, so that a parser can read it.
#[derive(Debug)]
pub(super) struct Marked {
    /// The text.
    pub(super) text: String,
    placeholders: Vec<Placeholder>,
    range: String,
}

impl Marked {
    /// Marks the placeholders of a text, and writes the range of a look in figures.
    pub(super) fn of(given: &str, counts: Counts, look: Duration) -> Result<Self, String> {
        if given.chars().any(|c| (FIRST_MARK..=LAST_MARK).contains(&u32::from(c))) {
            return Err("it has characters for private use; leave them out".to_owned());
        }
        let range = match counts {
            Counts::Cumulative => String::new(),
            Counts::PerWindow => format!("[{}s]", look.as_secs()),
        };
        let mut marked = Self { text: String::new(), placeholders: Vec::new(), range };
        let mut rest = given;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) =
                after.split_once("}}").ok_or("a placeholder begins with {{ and does not end with }}; write }}")?;
            marked.text.push_str(before);
            rest = match name.trim() {
                "look" => marked.look(after, counts, look)?,
                name => {
                    let placeholder = Placeholder::parse(name).ok_or_else(|| {
                        format!(
                            "there is no placeholder {{{{{name}}}}}; write {{{{namespace}}}}, {{{{deployment}}}}, \
                             {OF_REVISIONS}, or [{{{{look}}}}]"
                        )
                    })?;
                    let mark = marked.mark(&placeholder);
                    let mark = if mark.is_empty() { marked.new_mark(placeholder)? } else { mark };
                    marked.text.push_str(&mark);
                    after
                }
            };
        }
        marked.text.push_str(rest);
        Ok(marked)
    }

    /// Takes the range of a look, of which the bracket before was taken already.
    fn look<'a>(&mut self, after: &'a str, counts: Counts, look: Duration) -> Result<&'a str, String> {
        if counts == Counts::Cumulative {
            return Err("{{look}} is the range of a look, and counts: Cumulative takes counters as they are; leave ranges out, \
                        or write counts: PerWindow"
                .to_owned());
        }
        if !self.text.trim_end().ends_with('[') || !after.trim_start().starts_with(']') {
            return Err(
                "{{look}} stands for a range; write it in brackets, like increase(requests[{{look}}])".to_owned()
            );
        }
        self.text.push_str(&format!("{}s", look.as_secs()));
        Ok(after)
    }

    fn new_mark(&mut self, placeholder: Placeholder) -> Result<String, String> {
        let index = u32::try_from(self.placeholders.len()).unwrap_or(u32::MAX);
        let mark = FIRST_MARK.checked_add(index).filter(|mark| *mark <= LAST_MARK).and_then(char::from_u32);
        self.placeholders.push(placeholder);
        mark.map(String::from).ok_or_else(|| "it has too many placeholders; write fewer".to_owned())
    }

    /// The character that stands for a placeholder; empty when it is not in the text.
    pub(super) fn mark(&self, placeholder: &Placeholder) -> String {
        let index = self.placeholders.iter().position(|known| known == placeholder);
        let mark = index.and_then(|index| char::from_u32(FIRST_MARK + u32::try_from(index).ok()?));
        mark.map(String::from).unwrap_or_default()
    }

    /// The range of each selector, as it stands in the text.
    pub(super) fn range(&self) -> String {
        self.range.clone()
    }

    /// The parts of a text that was marked: text, and as an error what a placeholder is.
    pub(super) fn parts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Result<&'a str, Placeholder>> {
        let is_mark = |c: char| (FIRST_MARK..=LAST_MARK).contains(&u32::from(c));
        let mut parts = Vec::new();
        let mut begin = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_mark(*c)) {
            parts.extend((begin < at).then(|| Ok(&text[begin..at])));
            let index = usize::try_from(u32::from(c) - FIRST_MARK).unwrap_or(usize::MAX);
            parts.extend(self.placeholders.get(index).cloned().map(Err));
            begin = at + c.len_utf8();
        }
        parts.extend((begin < text.len() || text.is_empty()).then(|| Ok(&text[begin..])));
        parts.into_iter()
    }

    /// A text, such as a message, with placeholders as they are written.
    pub(super) fn unmarked(&self, text: &str) -> String {
        let part = |part: Result<&str, Placeholder>| match part {
            Ok(text) => text.to_owned(),
            Err(placeholder) => format!("{{{{{}}}}}", placeholder.name()),
        };
        self.parts(text).map(part).collect()
    }
}
