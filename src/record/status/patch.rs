//! JSON merge patches (RFC 7396): what has to be sent to make one document another.

use serde_json::{Map, Value};

/// The merge patch that turns `current` into `desired`, or `None` when nothing has to change.
///
/// It names only what differs. What `desired` does not have is removed (null). A null in `desired` counts as absent, as a
/// merge patch has no way to write one.
pub(super) fn merge_patch(current: &Map<String, Value>, desired: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut patch = Map::new();
    for (key, wanted) in desired.iter().filter(|(_, wanted)| !wanted.is_null()) {
        match (current.get(key), wanted) {
            (Some(Value::Object(have)), Value::Object(wanted)) => {
                if let Some(inner) = merge_patch(have, wanted) {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Some(have), wanted) if same(have, wanted) => {}
            _ => {
                patch.insert(key.clone(), without_nulls(wanted));
            }
        }
    }
    let gone =
        current.iter().filter(|(key, have)| !have.is_null() && desired.get(key.as_str()).is_none_or(Value::is_null));
    for (key, _) in gone {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(patch)
}

/// Whether two values mean the same. Numbers are compared by value: the API server may give 1.0 back as 1.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64().is_some() && a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// In a value that is written whole, nulls are left out of objects at every depth that a merge patch reaches: those of
/// arrays are taken as they are.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("not an object"),
        }
    }

    /// What an API server does with a merge patch.
    fn apply(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
        for (key, change) in patch {
            match change {
                Value::Null => {
                    target.remove(key);
                }
                Value::Object(change) => {
                    let slot = target.entry(key.clone()).or_insert_with(|| json!({}));
                    if !slot.is_object() {
                        *slot = json!({});
                    }
                    apply(slot.as_object_mut().unwrap(), change);
                }
                other => {
                    target.insert(key.clone(), other.clone());
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (-3_i64..3).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn document() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[abcd]", value(), 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_patch_makes_the_one_document_the_other(current in document(), desired in document()) {
            let mut target = current.clone();
            if let Some(patch) = merge_patch(&current, &desired) {
                apply(&mut target, &patch);
            }
            prop_assert_eq!(target, desired);
        }

        #[test]
        fn equal_documents_need_no_patch(document in document()) {
            prop_assert_eq!(merge_patch(&document, &document), None);
        }
    }

    #[test]
    fn only_what_differs_is_named() {
        let current = object(json!({"rollouts": {"tin": {"phase": "Promoting", "revision": 3}, "straw": {"a": 1}}}));
        let desired = object(json!({"rollouts": {"tin": {"phase": "Monitoring", "revision": 3}}}));
        let patch = merge_patch(&current, &desired).unwrap();
        assert_eq!(Value::Object(patch), json!({"rollouts": {"tin": {"phase": "Monitoring"}, "straw": null}}));
    }

    #[test]
    fn a_whole_number_that_came_back_without_its_point_is_no_change() {
        let current = object(json!({"burnRate": 1, "list": [{"a": 2}]}));
        let desired = object(json!({"burnRate": 1.0, "list": [{"a": 2.0}]}));
        assert_eq!(merge_patch(&current, &desired), None);
    }

    #[test]
    fn a_null_in_what_is_wanted_is_absence() {
        let current = object(json!({"a": 1}));
        let desired = object(json!({"a": null, "b": {"c": null, "d": 1}}));
        assert_eq!(Value::Object(merge_patch(&current, &desired).unwrap()), json!({"a": null, "b": {"d": 1}}));
        assert_eq!(merge_patch(&Map::new(), &object(json!({"a": null}))), None);
    }
}
