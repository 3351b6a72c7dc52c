//! What the API server would refuse: the schema of the CustomResourceDefinition that is built in, its bounds and its
//! rules, read off the definition itself, so that nothing that is added to it is forgotten here.

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value};

use super::suggest;
use crate::api;

/// Something that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The path of the field, as `kubectl explain` takes it, with the index of a list's entry.
    pub(super) field: String,
    /// What is wrong, and what to write instead.
    pub(super) problem: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

/// What may be written as a whole number or as a text.
const INT_OR_STRING: &str = "int or string";

/// The definition of an `ErrorBudgetPolicy`.
pub(super) struct Definition {
    schema: Value,
    rules: CompiledSchema,
    validator: Validator,
}

impl Definition {
    /// The one that this binary prints.
    pub(super) fn built_in() -> Self {
        let definition = serde_json::to_value(api::custom_resource_definition()).unwrap_or_default();
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        if let Some(properties) = schema["properties"].as_object_mut() {
            // Nobody writes status, and where somebody does the API server drops it.
            properties.remove("status");
        }
        Self { rules: compile_schema(&schema), schema, validator: Validator::new() }
    }

    /// Everything that the API server would refuse in the spec of this object, and the object as it would be stored:
    /// with defaults.
    pub(super) fn check(&self, object: &Value) -> (Vec<Problem>, Value) {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let mut stored = Value::Object(Map::from_iter([("spec".to_owned(), spec)]));
        tidied(&mut stored, &self.schema);
        let mut walk = Walk { schema: &self.schema, problems: Vec::new(), broken: false };
        walk.value(&stored, &self.schema, "");
        let Walk { mut problems, broken, .. } = walk;
        let stored = kube_cel::apply_defaults(&self.schema, &stored);
        // As in the API server, a rule is not asked about what has not even the shape it expects.
        if !broken && let Err(refused) = self.validator.validate_compiled(&self.rules, &stored, None) {
            problems.extend(refused.iter().map(|refused| Problem::new(&refused.field_path, &refused.message)));
        }
        (problems, stored)
    }
}

/// What the API server makes of an object before it looks further: what is null is taken away, but in a list, where nothing
/// can be; and a whole number is one, however it is written.
fn tidied(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            for (name, field) in fields {
                tidied(field, property(schema, name).unwrap_or(&Value::Null));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| tidied(item, &schema["items"])),
        Value::Number(number) if schema["type"] == "integer" && !number.is_i64() => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
            if let Some(whole) = whole {
                *value = (whole as i64).into();
            }
        }
        _ => {}
    }
}

/// The schema of a field of an object, or of a value of a map.
fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get("properties").and_then(|all| all.get(name)).or_else(|| schema.get("additionalProperties"))
}

struct Walk<'a> {
    schema: &'a Value,
    problems: Vec<Problem>,
    /// Something has not the shape that rules expect.
    broken: bool,
}

impl Walk<'_> {
    fn say(&mut self, path: &str, problem: impl ToString) {
        self.problems.push(Problem::new(path, problem));
    }

    fn say_broken(&mut self, path: &str, problem: impl ToString) {
        self.broken = true;
        self.say(path, problem);
    }

    fn value(&mut self, value: &Value, schema: &Value, path: &str) {
        let expected = match schema["x-kubernetes-int-or-string"].as_bool() {
            Some(true) => INT_OR_STRING,
            _ => schema["type"].as_str().unwrap_or_default(),
        };
        match (expected, value) {
            (INT_OR_STRING, Value::Number(number)) if number.is_i64() => {}
            (INT_OR_STRING | "string", Value::String(text)) => self.string(text, schema, path),
            ("object", Value::Object(fields)) => self.object(fields, schema, path),
            ("array", Value::Array(items)) => self.array(items, schema, path),
            ("integer", Value::Number(number)) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
                self.number(number.as_f64().unwrap_or_default(), schema, path);
            }
            ("boolean", Value::Bool(_)) => {}
            _ => self.say_broken(path, wrong_type(expected, value)),
        }
    }

    fn object(&mut self, fields: &Map<String, Value>, schema: &Value, path: &str) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                let meaning = property(schema, name).and_then(|field| field["description"].as_str()).unwrap_or("");
                let meaning = meaning.split(". ").next().unwrap_or_default().trim_end_matches('.');
                self.say_broken(&join(path, name), format!("it is required and not there; write it: {meaning}"));
            }
        }
        if let Some(most) = schema["maxProperties"].as_u64().filter(|most| fields.len() as u64 > *most) {
            self.say_broken(path, format!("it has {} entries; write at most {most}", fields.len()));
        }
        for (name, field) in fields {
            let path = join(path, name);
            match property(schema, name) {
                Some(schema) => self.value(field, schema, &path),
                None => {
                    let words = suggest::instead_of(name, schema, self.schema);
                    self.say(&path, format!("there is no such field; {words}"));
                }
            }
        }
    }

    fn array(&mut self, items: &[Value], schema: &Value, path: &str) {
        if let Some(least) = schema["minItems"].as_u64().filter(|least| (items.len() as u64) < *least) {
            self.say_broken(path, format!("it has {} entries; write at least {least}", items.len()));
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| items.len() as u64 > *most) {
            self.say_broken(path, format!("it has {} entries; write at most {most}", items.len()));
        }
        let keys: Vec<&str> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (i, item) in items.iter().enumerate() {
            let same = |other: &&Value| keys.iter().all(|key| other[*key] == item[*key]);
            if !keys.is_empty() && items[..i].iter().any(|other| same(&other)) {
                let key = keys.join(" and ");
                let problem = format!("another entry has this {key}, {}; write a different one", item[keys[0]]);
                self.say(&format!("{path}[{i}].{}", keys[0]), problem);
            }
            self.value(item, &schema["items"], &format!("{path}[{i}]"));
        }
    }

    fn string(&mut self, text: &str, schema: &Value, path: &str) {
        let length = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            let problem = if length == 0 { "it is empty".to_owned() } else { format!("it has {length} characters") };
            self.say(path, format!("{problem}; write at least {least}"));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.say_broken(path, format!("it has {length} characters; write at most {most}"));
        }
        let known: Vec<&str> = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !known.is_empty() && !known.contains(&text) {
            let nearest = suggest::nearest(text, known.iter().copied());
            let meant = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            self.say(path, format!("{text:?} is not known here; write {}{meant}", known.join(" or ")));
        }
    }

    fn number(&mut self, number: f64, schema: &Value, path: &str) {
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let words = match (least, most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("of at least {least}"),
                (None, most) => format!("of at most {}", most.unwrap_or_default()),
            };
            self.say(path, format!("it is {number}; write a number {words}"));
        }
    }
}

/// The path of a field of an object. What is no plain name stands in brackets.
pub(super) fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (path.is_empty(), plain) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (false, false) => format!("{path}[{name}]"),
    }
}

fn wrong_type(expected: &str, value: &Value) -> String {
    let (is, quoted) = match value {
        Value::Null => ("nothing (null)".to_owned(), None),
        Value::Bool(is) => {
            (format!("the boolean {is}, as are yes, no, on and off without quotes"), Some(is.to_string()))
        }
        Value::Number(number) => (format!("the number {number}"), Some(number.to_string())),
        Value::String(text) => (format!("the text {text:?}"), None),
        Value::Array(_) => ("a list".to_owned(), None),
        Value::Object(_) => ("an object".to_owned(), None),
    };
    let instead = match (expected, quoted) {
        ("string", Some(text)) => format!("a text in quotes, for example \"{text}\""),
        ("string", None) => "a text".to_owned(),
        ("integer", _) => "a whole number without quotes, for example 3".to_owned(),
        (INT_OR_STRING, _) => "a whole number without quotes, or a text".to_owned(),
        ("boolean", _) => "true or false, without quotes".to_owned(),
        ("array", _) => "a list: entries that begin with a dash".to_owned(),
        _ => "an object: fields with values".to_owned(),
    };
    format!("it is {is}; write {instead}")
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
