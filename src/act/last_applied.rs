//! What kubectl remembers of the last manifest, after a rollback. Pure.
//!
//! `kubectl apply` from the client's side deletes what its last manifest had and the new one has not; what no manifest
//! had, it leaves alone. After a rollback the things that only the stable template has are back without any manifest:
//! the bad manifest, applied again, would keep them and so make a *third* template, and the fix would keep what it
//! meant to drop. So the record is rewritten as if the stable manifest had been the last one.
//!
//! That manifest is not known, only the template it made, with the API server's defaults and other people's edits in
//! it. It is rebuilt from the difference: a field that both templates have alike, and the bad manifest did not have, was
//! set by somebody else (or by default) and stays nobody's. Everything else of the stable template is taken for its
//! manifest's. A default taken for it does no harm: the next apply deletes it and the API server sets it again.

use serde_json::{Map, Value};

/// The annotation's text after the rollback from `bad` to `stable`. `None` when the text is no manifest with a
/// template: then nothing can be said for it, and it stays as it is.
#[must_use]
pub fn restored(text: &str, bad: &Value, stable: &Value) -> Option<String> {
    let mut manifest: Value = serde_json::from_str(text).ok()?;
    let template = manifest.pointer_mut("/spec/template").filter(|template| template.is_object())?;
    *template = manifest_of(stable, Some(bad), Some(template)).unwrap_or_else(super::object::empty_map);
    // kubectl ends it with a line feed, and compares nothing but the parsed value.
    Some(format!("{manifest}\n"))
}

/// The part of `stable` that its manifest is taken to have had.
fn manifest_of(stable: &Value, bad: Option<&Value>, manifest: Option<&Value>) -> Option<Value> {
    if manifest.is_none() && bad == Some(stable) {
        return None;
    }
    match stable {
        Value::Object(fields) => {
            let kept: Map<_, _> = fields
                .iter()
                .filter_map(|(key, value)| {
                    let (bad, manifest) = (bad.and_then(|bad| bad.get(key)), manifest.and_then(|known| known.get(key)));
                    let kept = match merge_key(key) {
                        Some(by) => items_of(by, value, bad, manifest),
                        None => manifest_of(value, bad, manifest),
                    };
                    Some((key.clone(), kept?))
                })
                .collect();
            // A map of nothing but defaults was in no manifest, unless it was written there as it is.
            (!kept.is_empty() || manifest.is_some() || fields.is_empty()).then_some(Value::Object(kept))
        }
        other => Some(other.clone()),
    }
}

/// The same for a list whose items have names: each is compared with its namesake.
fn items_of(by: MergeKey, stable: &Value, bad: Option<&Value>, manifest: Option<&Value>) -> Option<Value> {
    let Some(items) = stable.as_array().filter(|items| items.iter().all(|item| by.of(item).is_some())) else {
        return manifest_of(stable, bad, manifest);
    };
    let namesake = |list: Option<&'_ Value>, item: &Value| -> Option<Value> {
        list?.as_array()?.iter().find(|other| by.of(other) == by.of(item)).cloned()
    };
    let kept: Vec<_> = items
        .iter()
        .filter_map(|item| {
            let mut kept = manifest_of(item, namesake(bad, item).as_ref(), namesake(manifest, item).as_ref())?;
            for key in by.fields {
                if let (Some(kept), Some(name)) = (kept.as_object_mut(), item.get(key)) {
                    kept.insert((*key).to_owned(), name.clone());
                }
            }
            Some(kept)
        })
        .collect();
    (!kept.is_empty() || manifest.is_some()).then_some(Value::Array(kept))
}

/// By what the items of a list in a pod template are told apart, as kubectl does.
#[derive(Clone, Copy)]
struct MergeKey {
    fields: &'static [&'static str],
}

impl MergeKey {
    /// An item's name. A port's protocol may be left out in a manifest and is TCP then.
    fn of(self, item: &Value) -> Option<Vec<String>> {
        let name = item.get(self.fields.first()?)?;
        let rest = self.fields[1..].iter().map(|key| item.get(key).map_or("\"TCP\"".to_owned(), Value::to_string));
        Some(std::iter::once(name.to_string()).chain(rest).collect())
    }
}

/// The lists of a pod template that are merged item by item, from the API's own `patchMergeKey`s.
fn merge_key(list: &str) -> Option<MergeKey> {
    let fields: &'static [&'static str] = match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims" => &["name"],
        "ports" => &["containerPort", "protocol"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "hostAliases" => &["ip"],
        "topologySpreadConstraints" => &["topologyKey"],
        _ => return None,
    };
    Some(MergeKey { fields })
}

#[cfg(test)]
mod tests;
