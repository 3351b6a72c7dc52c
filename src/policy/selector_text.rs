//! A label selector as people type it for `kubectl --selector`: `team=web`, `tier in (a, b),!legacy`.

use std::collections::BTreeSet;

use super::{Requirement, Selector};

/// How requirements are written, for whoever wrote something else.
const FORMS: &str = "write requirements as for kubectl --selector, with commas between them: key=value, key!=value, \
                     key in (a, b), key notin (a, b), key, !key";

impl Selector {
    /// Reads a selector as `kubectl --selector` takes it.
    ///
    /// # Errors
    /// When a requirement cannot be read, or there is none: what is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = split(text)
            .into_iter()
            .map(|part| requirement(part.trim()).ok_or_else(|| format!("{:?} cannot be read; {FORMS}", part.trim())));
        let requirements = requirements.collect::<Result<Vec<_>, _>>()?;
        Self::new(requirements).ok_or_else(|| FORMS.to_owned())
    }
}

/// At the commas that are not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    if let Some(key) = text.strip_prefix('!') {
        return Some(Requirement::DoesNotExist(word(key)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(word(key)?, BTreeSet::from([value_of(value)?])));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(word(key)?, BTreeSet::from([value_of(value)?])));
    }
    let Some((head, values)) = text.split_once('(') else { return Some(Requirement::Exists(word(text)?)) };
    let values = values.strip_suffix(')')?.split(',').map(value_of).collect::<Option<BTreeSet<_>>>()?;
    let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
    match operator {
        "in" => Some(Requirement::In(word(key)?, values)),
        "notin" => Some(Requirement::NotIn(word(key)?, values)),
        _ => None,
    }
}

/// A key: letters, digits and `-_./`.
fn word(text: &str) -> Option<String> {
    value_of(text).filter(|word| !word.is_empty())
}

/// A value may be empty.
fn value_of(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    text.chars().all(fits).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn every_form_that_kubectl_takes_is_read() {
        let text = "team=web, example.com/tier == gold,zone!=b,ring in (early, late),size notin (xl),live,!legacy";
        let expected = vec![
            Requirement::In("team".into(), values(&["web"])),
            Requirement::In("example.com/tier".into(), values(&["gold"])),
            Requirement::NotIn("zone".into(), values(&["b"])),
            Requirement::In("ring".into(), values(&["early", "late"])),
            Requirement::NotIn("size".into(), values(&["xl"])),
            Requirement::Exists("live".into()),
            Requirement::DoesNotExist("legacy".into()),
        ];
        assert_eq!(Selector::parse(text), Ok(Selector::new(expected).expect("not empty")));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_to_write_instead() {
        for wrong in ["", "team=web,", "team is web", "team in web", "team in (web", "=web", "team=a=b", "team>3"] {
            let said = Selector::parse(wrong).expect_err(wrong);
            assert!(said.contains("key in (a, b)"), "{wrong}: {said}");
        }
        assert!(Selector::parse("team=web,tier>gold").is_err_and(|said| said.starts_with("\"tier>gold\" cannot")));
    }
}
