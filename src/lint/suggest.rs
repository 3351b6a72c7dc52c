//! What may have been meant.

use serde_json::Value;

/// Words for a field that is not known among those of `schema`: one that is written alike, the place where a field of
/// this name is, or all that there are. `root` is the whole schema.
pub(super) fn instead_of(name: &str, schema: &Value, root: &Value) -> String {
    let known: Vec<&str> =
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if let Some(alike) = nearest(name, known.iter().copied()) {
        return format!("did you mean {alike}?");
    }
    let mut elsewhere = Vec::new();
    places(name, root, "", &mut elsewhere);
    match elsewhere.as_slice() {
        [] => format!("write one of {}", known.join(", ")),
        places => format!("did you mean {}?", places.join(" or ")),
    }
}

/// The known word that is most like `word`, if one is so much like it that it may have been meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = (word.chars().count() / 3).clamp(1, 3);
    known
        .map(|known| (distance(&word, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many characters must be changed, added, left out or swapped with their neighbour to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let change = last[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                let swapped: &Vec<usize> = &before_last;
                least = least.min(swapped[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

/// Where fields of this name are.
fn places(name: &str, schema: &Value, path: &str, found: &mut Vec<String>) {
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = super::definition::join(path, field);
        if field == name {
            found.push(path.clone());
        }
        places(name, schema, &path, found);
        places(name, &schema["items"], &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let known = ["window", "looks", "violation", "warning"];
        let nearest = |word| nearest(word, known.iter().copied());
        assert_eq!(nearest("windw"), Some("window"));
        assert_eq!(nearest("widnow"), Some("window"));
        assert_eq!(nearest("Look"), Some("looks"));
        assert_eq!(nearest("threshold"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn a_field_in_the_wrong_place_is_shown_its_own() {
        let root = json!({"properties": {"spec": {"properties": {
            "mode": {}, "detection": {"properties": {"violation": {}}},
            "objectives": {"items": {"properties": {"target": {}}}},
        }}}});
        let spec = &root["properties"]["spec"];
        assert_eq!(instead_of("violation", spec, &root), "did you mean spec.detection.violation?");
        assert_eq!(instead_of("target", spec, &root), "did you mean spec.objectives[].target?");
        assert_eq!(instead_of("colour", spec, &root), "write one of detection, mode, objectives");
    }
}
