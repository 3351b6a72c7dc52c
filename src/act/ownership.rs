//! Who owns the fields that we write. Pure.
//!
//! A server-side applier owns the fields of its manifest, and the API server deletes those that its next manifest lacks
//! and nobody else owns. A rollback, a hold and its release take the fields they change away from their owners: the next
//! apply would be refused for a conflict with us, and what its manifest does not have any more would never be deleted. So
//! they are handed back, in `metadata.managedFields`:
//!
//! - a field goes to whoever owned it before our write;
//! - a field of the template that only the stable one has was dropped by whoever wrote the bad one, and goes to the
//!   applier that wrote last;
//! - any other field that nobody owned is nobody's again.
//!
//! What we took is what the API server says that we own, so nothing needs to know the schema, and it can be handed back
//! by a successor too. That one cannot know the owners before: it gives all of the template to the last applier, the same
//! where there is but one, and leaves the rest to nobody, so that at least no apply is refused.
//!
//! So it is in the hold too ([`hand_back_in_hold`]): or the fix for a held release, applied with its whole manifest, would
//! be refused because of the settings that are ours for now.

use std::collections::{BTreeMap, BTreeSet};

use json_patch::Patch;
use serde_json::{Map, Value};

use super::annotations::{CHANGE_CAUSE, LAST_APPLIED};
use super::object::{Object, empty_map};
use super::patch;

/// Under which name we write.
pub const FIELD_MANAGER: &str = "error-budget-gatekeeper";

/// `metadata.managedFields` as it was before a write of ours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Owners(Vec<Entry>);

impl Owners {
    /// Those of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        Self(object.managed_fields().iter().filter_map(Entry::parse).collect())
    }

    /// The applier that wrote last of those that own a part of the template, else the last other writer.
    fn last_writer(&self) -> Option<usize> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, entry)| !entry.is_ours() && entry.fields.0.iter().any(is_of_template))
            .max_by_key(|(_, entry)| (entry.is_applier(), entry.text("time")))
            .map(|(index, _)| index)
    }
}

/// Hands back what we own of the template and the settings, when a hold or a bad release is over. `None` when we own
/// nothing of it.
#[must_use]
pub fn hand_back(deployment: &Object, before: Option<&Owners>) -> Option<Patch> {
    let now = Owners::of(deployment);
    hand_back_if(deployment, &now, before.unwrap_or(&now), is_to_hand_back)
}

/// Hands back the settings that we own while the hold goes on, where anybody applies from the server's side: to others it
/// makes no difference who owns them. `None` when there is nothing to hand back, or nobody to.
#[must_use]
pub fn hand_back_in_hold(deployment: &Object, before: &Owners) -> Option<Patch> {
    before.0.iter().find(|entry| entry.is_applier())?;
    hand_back_if(deployment, &Owners::of(deployment), before, is_setting)
}

/// The entries it changes are tested to be the ones it read, not the whole list: status updates move that all the time.
fn hand_back_if(
    deployment: &Object,
    now: &Owners,
    before: &Owners,
    is_to_hand_back: impl Fn(&Path) -> bool,
) -> Option<Patch> {
    let found = deployment.managed_fields();
    let ours = now.0.iter().find(|entry| entry.is_ours())?;
    let taken: Vec<_> = ours.fields.0.iter().filter(|path| is_to_hand_back(path)).collect();
    if taken.is_empty() {
        return None;
    }
    let last_writer = before.last_writer();

    let mut gains: BTreeMap<usize, FieldSet> = BTreeMap::new();
    for path in &taken {
        let may_own = |entry: &Entry| !entry.is_ours() && entry.is_of_version(ours);
        let owned_it = |(_, entry): &(usize, &Entry)| may_own(entry) && entry.fields.0.contains(*path);
        let mut owners: Vec<_> = before.0.iter().enumerate().filter(owned_it).map(|(index, _)| index).collect();
        if owners.is_empty() && is_of_template(path) {
            owners.extend(last_writer.filter(|&index| may_own(&before.0[index])));
        }
        for owner in owners {
            gains.entry(owner).or_default().0.insert((*path).clone());
        }
    }

    let mut steps = patch::tests(deployment);
    let index_of = |entry: &Entry| found.iter().position(|other| entry.is_same_owner(other));
    for (owner, gained) in gains {
        let owner = &before.0[owner];
        match index_of(owner) {
            Some(index) => {
                let mut fields = FieldSet::parse(&found[index]["fieldsV1"]);
                fields.0.extend(gained.0);
                let index_text = index.to_string();
                steps.push(patch::test(&["metadata", "managedFields", &index_text], found[index].clone()));
                steps.push(patch::replace(&["metadata", "managedFields", &index_text, "fieldsV1"], fields.to_value()));
            }
            // All it owned was taken, and its entry is gone.
            None => steps.push(patch::add(&["metadata", "managedFields", "-"], owner.with_fields(&gained))),
        }
    }

    let index = index_of(ours)?;
    let index_text = index.to_string();
    let rest = FieldSet(ours.fields.0.iter().filter(|path| !is_to_hand_back(path)).cloned().collect());
    steps.push(patch::test(&["metadata", "managedFields", &index_text], found[index].clone()));
    steps.push(if rest.0.is_empty() {
        patch::remove(&["metadata", "managedFields", &index_text])
    } else {
        patch::replace(&["metadata", "managedFields", &index_text, "fieldsV1"], rest.to_value())
    });
    Some(Patch(steps))
}

/// A field's way from the root, in the words of `fieldsV1`: `f:spec`, `k:{"name":"web"}`.
type Path = Vec<String>;

fn is_of_template(path: &Path) -> bool {
    path.len() >= 2 && path[0] == "f:spec" && path[1] == "f:template"
}

/// What a hold sets of a Deployment's `spec`.
fn is_setting(path: &Path) -> bool {
    const SETTINGS: [&str; 4] = ["f:strategy", "f:minReadySeconds", "f:progressDeadlineSeconds", "f:paused"];
    path.len() >= 2 && path[0] == "f:spec" && SETTINGS.contains(&path[1].as_str())
}

fn is_to_hand_back(path: &Path) -> bool {
    let is_annotation = |key: &str| {
        path.len() == 3
            && path[0] == "f:metadata"
            && path[1] == "f:annotations"
            && path[2].strip_prefix("f:") == Some(key)
    };
    is_of_template(path) || is_setting(path) || is_annotation(CHANGE_CAUSE) || is_annotation(LAST_APPLIED)
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    value: Value,
    fields: FieldSet,
}

impl Entry {
    /// What makes an entry another owner's.
    const IDENTITY: [&str; 4] = ["manager", "operation", "apiVersion", "subresource"];

    /// `None` for an entry in a format of a later API.
    fn parse(value: &Value) -> Option<Self> {
        (value["fieldsType"].as_str() == Some("FieldsV1"))
            .then(|| Self { fields: FieldSet::parse(&value["fieldsV1"]), value: value.clone() })
    }

    fn text(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or_default()
    }

    fn is_ours(&self) -> bool {
        self.text("manager") == FIELD_MANAGER
            && self.text("operation") == "Update"
            && self.text("subresource").is_empty()
    }

    fn is_applier(&self) -> bool {
        self.text("operation") == "Apply"
    }

    fn is_of_version(&self, other: &Self) -> bool {
        self.text("apiVersion") == other.text("apiVersion") && self.text("subresource").is_empty()
    }

    fn is_same_owner(&self, other: &Value) -> bool {
        Self::IDENTITY.iter().all(|key| self.text(key) == other[*key].as_str().unwrap_or_default())
    }

    fn with_fields(&self, fields: &FieldSet) -> Value {
        let mut value = self.value.clone();
        value["fieldsV1"] = fields.to_value();
        value
    }
}

/// A set of fields as `fieldsV1` writes it: a tree, in which a node without children, or with the child `.`, is a member.
#[derive(Debug, Clone, Default, PartialEq)]
struct FieldSet(BTreeSet<Path>);

impl FieldSet {
    fn parse(tree: &Value) -> Self {
        fn walk(node: &Map<String, Value>, path: &mut Path, members: &mut BTreeSet<Path>) {
            for (key, child) in node {
                if key == "." {
                    members.insert(path.clone());
                    continue;
                }
                path.push(key.clone());
                match child.as_object() {
                    Some(children) if !children.is_empty() => walk(children, path, members),
                    _ => {
                        members.insert(path.clone());
                    }
                }
                path.pop();
            }
        }
        let mut members = BTreeSet::new();
        if let Some(root) = tree.as_object() {
            walk(root, &mut Vec::new(), &mut members);
        }
        Self(members)
    }

    fn to_value(&self) -> Value {
        tree(self.0.iter().map(Vec::as_slice))
    }
}

/// The tree whose members are at the ends of these ways.
fn tree<'a>(paths: impl Iterator<Item = &'a [String]>) -> Value {
    let mut children: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
    let mut is_member = false;
    for path in paths {
        match path.split_first() {
            Some((key, rest)) => children.entry(key).or_default().push(rest),
            None => is_member = true,
        }
    }
    let mut node: Map<_, _> =
        children.into_iter().map(|(key, rests)| (key.to_owned(), tree(rests.into_iter()))).collect();
    if is_member && !node.is_empty() {
        node.insert(".".to_owned(), empty_map());
    }
    Value::Object(node)
}

#[cfg(test)]
mod tests;
