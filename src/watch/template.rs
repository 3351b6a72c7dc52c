//! Names pod templates by content.
//!
//! Kubernetes finds the ReplicaSet of a Deployment by comparing templates, whatever their labels say. The id is made so
//! that two templates have the same one when Kubernetes takes them for equal: nulls, empty lists and empty maps of
//! labels or annotations say nothing, and quantities are compared by amount.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::annotations::{POD_TEMPLATE_HASH, RESTARTED_AT};
use super::quantity;
use super::rollout::TemplateId;

/// The ids of one template. Made while an object is read, so that the template itself is never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateIds {
    /// Of the template.
    pub id: TemplateId,
    /// Of the template as if it had never been restarted.
    pub without_restart: TemplateId,
    /// The images of its containers, in their order, with spaces between them.
    pub images: String,
}

impl TemplateIds {
    /// The ids of a pod template (`spec.template`).
    #[must_use]
    pub fn of(mut template: Value) -> Self {
        remove(&mut template, "labels", POD_TEMPLATE_HASH);
        let images = images(&template);
        let id = digest(&template);
        let without_restart = match remove(&mut template, "annotations", RESTARTED_AT) {
            true => digest(&template),
            false => id.clone(),
        };
        Self { id, without_restart, images }
    }
}

impl<'de> Deserialize<'de> for TemplateIds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::of)
    }
}

fn images(template: &Value) -> String {
    let containers = ["/spec/initContainers", "/spec/containers"].map(|path| template.pointer(path)?.as_array());
    let images = containers.into_iter().flatten().flatten().filter_map(|container| container["image"].as_str());
    images.collect::<Vec<_>>().join(" ")
}

/// Removes a key from the template's labels or annotations. True when it was there.
fn remove(template: &mut Value, map: &str, key: &str) -> bool {
    let map = template.get_mut("metadata").and_then(|metadata| metadata.get_mut(map));
    map.and_then(Value::as_object_mut).is_some_and(|map| map.remove(key).is_some())
}

/// 16 hexadecimal digits. A Deployment has few revisions: that two of them collide is out of reach.
fn digest(template: &Value) -> TemplateId {
    let mut text = String::with_capacity(4096);
    write(&mut text, template, Place::Anywhere);
    TemplateId(Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Where in a template a value stands, as far as it changes what equality means there.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Anywhere,
    /// `resources`: its maps hold quantities.
    Resources,
    /// `limits`, `requests`: the values are quantities.
    Quantities,
    /// The value is a quantity.
    Quantity,
}

impl Place {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Quantities, _) | (Self::Anywhere, "sizeLimit" | "divisor") => Self::Quantity,
            (Self::Resources, "limits" | "requests") | (Self::Anywhere, "overhead") => Self::Quantities,
            (Self::Anywhere, "resources") => Self::Resources,
            _ => Self::Anywhere,
        }
    }
}

/// Writes a canonical form: keys sorted, what says nothing left out, every part delimited.
fn write(text: &mut String, value: &Value, place: Place) {
    match value {
        Value::Object(fields) => write_object(text, fields, place),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write(text, item, Place::Anywhere);
                text.push(',');
            }
            text.push(']');
        }
        Value::String(quantity) if place == Place::Quantity => match quantity::nano(quantity) {
            Some(amount) => text.push_str(&format!("#{amount}")),
            None => text.push_str(&value.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

fn write_object(text: &mut String, fields: &Map<String, Value>, place: Place) {
    let mut fields: Vec<_> = fields.iter().filter(|(key, value)| says_something(key, value)).collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    text.push('{');
    for (key, value) in fields {
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        write(text, value, place.below(key));
        text.push(',');
    }
    text.push('}');
}

/// Whether a field differs from an absent one. API servers of different versions print these empty or not at all. An
/// empty map elsewhere may be a choice: `emptyDir: {}`.
fn says_something(key: &str, value: &Value) -> bool {
    const SILENT_WHEN_EMPTY: [&str; 7] =
        ["metadata", "labels", "annotations", "resources", "limits", "requests", "nodeSelector"];
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) if SILENT_WHEN_EMPTY.contains(&key) => {
            fields.iter().any(|(key, value)| says_something(key, value))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "möhre-9"}},
            "spec": {
                "containers": [{
                    "name": "c0ntainer",
                    "image": "registry.example/möhre:7",
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                }],
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            },
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> TemplateIds {
        let mut template = template();
        change(&mut template);
        TemplateIds::of(template)
    }

    #[test]
    fn an_id_is_16_hexadecimal_digits() {
        let TemplateId(id) = TemplateIds::of(template()).id;
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }

    #[test]
    fn a_replica_sets_hash_label_does_not_count() {
        let of_replica_set = changed(|template| template["metadata"]["labels"]["pod-template-hash"] = json!("6d4cf5"));
        assert_eq!(of_replica_set, TemplateIds::of(template()));
    }

    #[test]
    fn nulls_and_what_is_empty_do_not_count() {
        let padded = changed(|template| {
            template["metadata"]["creationTimestamp"] = Value::Null;
            template["metadata"]["annotations"] = json!({});
            template["spec"]["initContainers"] = json!([]);
            template["spec"]["containers"].as_array_mut().expect("a list").iter_mut().for_each(|container| {
                container["resources"]["requests"] = json!({});
            });
        });
        assert_eq!(padded, TemplateIds::of(template()));
    }

    #[test]
    fn an_empty_object_that_is_a_choice_counts() {
        let other = changed(|template| template["spec"]["volumes"][0] = json!({"name": "scratch"}));
        assert_ne!(other.id, TemplateIds::of(template()).id);
    }

    #[test]
    fn another_image_is_another_template() {
        let other = changed(|template| template["spec"]["containers"][0]["image"] = json!("registry.example/möhre:8"));
        assert_ne!(other.id, TemplateIds::of(template()).id);
    }

    #[test]
    fn the_order_of_containers_counts() {
        let [ab, ba] = [["a", "b"], ["b", "a"]].map(|[first, second]| {
            TemplateIds::of(json!({"spec": {"containers": [{"name": first}, {"name": second}]}})).id
        });
        assert_ne!(ab, ba);
    }

    #[test]
    fn equal_quantities_are_equal_however_written() {
        let rewritten = changed(|template| {
            template["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "1000m", "memory": "1024Mi"});
        });
        assert_eq!(rewritten, TemplateIds::of(template()));
    }

    #[test]
    fn a_text_that_looks_like_a_quantity_elsewhere_is_text() {
        let [one, thousand] = ["1", "1000m"].map(|value| {
            TemplateIds::of(json!({"spec": {"containers": [{"env": [{"name": "LIMIT", "value": value}]}]}})).id
        });
        assert_ne!(one, thousand);
    }

    #[test]
    fn a_restart_is_another_template_and_the_same_without_it() {
        let restarted =
            changed(|template| template["metadata"]["annotations"] = json!({RESTARTED_AT: "2026-02-03T04:05:06Z"}));
        let original = TemplateIds::of(template());
        assert_ne!(restarted.id, original.id);
        assert_eq!(restarted.without_restart, original.id);
        assert_eq!(original.without_restart, original.id);
    }

    proptest! {
        #[test]
        fn values_never_run_into_each_other(a in "[a-c\",:{}]{0,4}", b in "[a-c\",:{}]{0,4}", c in "[a-c\",:{}]{0,4}", d in "[a-c\",:{}]{0,4}") {
            let id = |first: &str, second: &str| TemplateIds::of(json!({"x": first, "y": [second]})).id;
            prop_assert_eq!(id(&a, &b) == id(&c, &d), (&a, &b) == (&c, &d));
        }
    }
}
