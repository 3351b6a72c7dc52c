//! An object as the API server sent it. Typed structs would drop the fields they do not know, and a rollback must put
//! back a template of any newer Kubernetes whole.

use serde_json::{Map, Value};

/// A Deployment or ReplicaSet, nothing lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(Value);

/// What the API server sent is no such object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object has no {0}")]
pub struct NotAnObject(&'static str);

impl Object {
    /// Checks what every object has: a uid, a generation, and a pod template.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn new(value: Value) -> Result<Self, NotAnObject> {
        if value.pointer("/metadata/uid").is_none_or(|uid| !uid.is_string()) {
            return Err(NotAnObject("metadata.uid"));
        }
        if value.pointer("/metadata/generation").is_none_or(|generation| !generation.is_i64()) {
            return Err(NotAnObject("metadata.generation"));
        }
        if value.pointer("/spec/template").is_none_or(|template| !template.is_object()) {
            return Err(NotAnObject("spec.template"));
        }
        Ok(Self(value))
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// `metadata.generation`.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.0["metadata"]["generation"].as_i64().unwrap_or_default()
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0["metadata"]["annotations"].get(key)?.as_str()
    }

    /// Whether it has a map of annotations to add one to.
    pub(super) fn has_annotations(&self) -> bool {
        self.0["metadata"]["annotations"].is_object()
    }

    /// A field of `spec`.
    pub(super) fn spec(&self, key: &str) -> Option<&Value> {
        self.0["spec"].get(key)
    }

    /// `spec.paused`.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0["spec"]["paused"].as_bool().unwrap_or_default()
    }

    /// Whether the object with that uid is its controller.
    #[must_use]
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.0["metadata"]["ownerReferences"].as_array().is_some_and(|owners| {
            owners.iter().any(|owner| owner["controller"] == Value::Bool(true) && owner["uid"].as_str() == Some(uid))
        })
    }

    /// `spec.template`.
    #[must_use]
    pub fn template(&self) -> &Value {
        &self.0["spec"]["template"]
    }

    /// `spec.template` as a Deployment has it: without the label that Kubernetes adds for a ReplicaSet.
    #[must_use]
    pub fn template_without_hash(&self) -> Value {
        let mut template = self.template().clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
        template
    }

    /// `metadata.managedFields`: who set what. Empty when the server tracks nothing.
    pub(super) fn managed_fields(&self) -> &[Value] {
        self.0["metadata"]["managedFields"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The whole object.
    #[cfg(test)]
    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

/// An empty map, as a JSON value.
pub(super) fn empty_map() -> Value {
    Value::Object(Map::new())
}
