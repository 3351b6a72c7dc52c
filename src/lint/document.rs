//! Files as kubectl reads them: several documents in one, lists of objects, and the booleans of old YAML.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file larger than this is no manifest.
const LARGEST: u64 = 16 << 20;

/// What old YAML, and so kubectl, takes for booleans when it has no quotes.
const WORDS: [(&str, bool); 16] = [
    ("y", true),
    ("Y", true),
    ("yes", true),
    ("Yes", true),
    ("YES", true),
    ("on", true),
    ("On", true),
    ("ON", true),
    ("n", false),
    ("N", false),
    ("no", false),
    ("No", false),
    ("NO", false),
    ("off", false),
    ("Off", false),
    ("OFF", false),
];

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// The file, as it was named.
    pub(super) file: String,
    /// Which document of it, counted from 1; those with nothing in them are not counted.
    pub(super) number: usize,
    /// Where the object is in the document: empty, or `items[2]`.
    pub(super) within: String,
    /// The object.
    pub(super) object: Value,
}

/// What cannot be read. The message says where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{file}: {problem}")]
pub(super) struct Unreadable {
    pub(super) file: String,
    pub(super) problem: String,
}

/// The text of a file, or of standard input for `-`, with the name that messages give it.
pub(super) fn text(path: &Path, input: &mut impl Read) -> Result<(String, String), Unreadable> {
    let is_input = path == Path::new("-");
    let file = if is_input { "stdin".to_owned() } else { path.display().to_string() };
    let unreadable = |problem: String| Unreadable { file: file.clone(), problem };
    let mut bytes = Vec::new();
    let read = if is_input {
        input.take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|opened| opened.take(LARGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unreadable("it has more than 16 MiB, which no manifest has".to_owned()));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((file, text)),
        Err(_) => Err(unreadable("it is not text in UTF-8".to_owned())),
    }
}

/// All objects of these files, in their order, and what could not be read.
pub(super) fn read(paths: &[PathBuf], mut input: impl Read) -> (Vec<Document>, Vec<Unreadable>) {
    let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        match text(path, &mut input) {
            Ok((file, text)) => {
                let mut number = 0;
                for (line, part) in parts(&text) {
                    match object(part, line) {
                        Ok(Value::Null) => {}
                        Ok(object) => {
                            number += 1;
                            let document = Document { file: file.clone(), number, within: String::new(), object };
                            documents.extend(members(document));
                        }
                        Err(problem) => {
                            number += 1;
                            unreadable.push(Unreadable { file: format!("{file}:{number}"), problem });
                        }
                    }
                }
            }
            Err(error) => unreadable.push(error),
        }
    }
    (documents, unreadable)
}

/// The documents of a text as kubectl parts them, each with the number of lines before it.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut begin, mut begin_line, mut at) = (Vec::new(), 0, 0, 0);
    for (line, content) in text.split_inclusive('\n').enumerate() {
        if content.starts_with("---") {
            parts.push((begin_line, &text[begin..at]));
            (begin, begin_line) = (at + content.len(), line + 1);
        }
        at += content.len();
    }
    parts.push((begin_line, &text[begin..]));
    parts
}

/// The object of one document, as kubectl sends it.
fn object(text: &str, lines_before: usize) -> Result<Value, String> {
    let in_file = |error: serde_norway::Error| match error.location() {
        Some(place) => {
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            format!("line {}, column {}: {words}", place.line() + lines_before, place.column())
        }
        None => error.to_string(),
    };
    // Only this type notices a field that is there twice.
    let mut yaml: serde_norway::Value = serde_norway::from_str(text).map_err(in_file)?;
    yaml.apply_merge().map_err(in_file)?;
    let mut object = serde_json::to_value(yaml).map_err(|error| format!("it cannot be written as JSON: {error}"))?;
    old_booleans(&mut object, text);
    Ok(object)
}

/// Makes booleans of what kubectl takes for one. The parser does not tell whether a word had quotes; the text does.
fn old_booleans(value: &mut Value, text: &str) {
    match value {
        Value::String(word) => {
            let quoted = || text.contains(&format!("\"{word}\"")) || text.contains(&format!("'{word}'"));
            if let Some((_, is)) = WORDS.iter().find(|(known, _)| known == word)
                && !quoted()
            {
                *value = Value::Bool(*is);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| old_booleans(item, text)),
        Value::Object(fields) => fields.values_mut().for_each(|field| old_booleans(field, text)),
        _ => {}
    }
}

/// The object itself, or those of a list.
fn members(document: Document) -> Vec<Document> {
    let is_list = document.object["kind"] == "List" && document.object["apiVersion"] == "v1";
    match document.object.get("items").and_then(Value::as_array) {
        Some(items) if is_list => {
            let member = |(i, object): (usize, &Value)| Document {
                within: format!("items[{i}]"),
                object: object.clone(),
                ..document.clone()
            };
            items.iter().enumerate().map(member).collect()
        }
        _ => vec![document],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_input(text: &str) -> (Vec<Document>, Vec<Unreadable>) {
        read(&["-".into()], text.as_bytes())
    }

    #[test]
    fn documents_are_counted_where_something_is_in_them() {
        let (documents, unreadable) = read_input("# only a comment\n---\na: 1\n--- # more\nb: 2\n---\n");
        assert_eq!(unreadable, []);
        let found: Vec<_> = documents.iter().map(|document| (document.number, document.object.clone())).collect();
        assert_eq!(found, [(1, json!({"a": 1})), (2, json!({"b": 2}))]);
        assert_eq!(documents[0].file, "stdin");
    }

    #[test]
    fn a_list_is_its_items() {
        let (documents, _) = read_input("{apiVersion: v1, kind: List, items: [{a: 1}, {b: 2}]}");
        let found: Vec<_> = documents.iter().map(|document| document.within.as_str()).collect();
        assert_eq!(found, ["items[0]", "items[1]"]);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line_and_the_rest_is_read() {
        let (documents, unreadable) = read_input("a: 1\n---\nb: [\n---\nc: 3\nc: 4\n---\nd: 5\n");
        assert_eq!(documents.iter().map(|document| document.number).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(unreadable.len(), 2);
        assert!(unreadable[0].to_string().starts_with("stdin:2: line "), "{}", unreadable[0]);
        assert!(unreadable[1].to_string().contains("duplicate entry with key \"c\""), "{}", unreadable[1]);
    }

    #[test]
    fn words_without_quotes_are_the_booleans_that_kubectl_reads() {
        let (documents, _) = read_input("a: yes\nb: \"no\"\nc: on\nd: yesterday\n");
        assert_eq!(documents[0].object, json!({"a": true, "b": "no", "c": true, "d": "yesterday"}));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let (_, unreadable) = read(&["nowhere/policy.yaml".into()], "".as_bytes());
        assert!(unreadable[0].to_string().starts_with("nowhere/policy.yaml: cannot be read"), "{}", unreadable[0]);
    }
}
