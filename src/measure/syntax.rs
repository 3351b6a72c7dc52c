//! Where a text stops being a bare selector. The parser is the judge of what is PromQL; it only seldom says where it gave up,
//! and this scan finds the place for the message.

/// A place in a text and what a bare selector would have there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted in characters from 1.
    pub(super) column: usize,
    /// What was expected there.
    pub(super) expected: &'static str,
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self, length: usize) {
        self.at += length;
    }

    /// Skips white space and comments.
    fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            self.skip(rest.len() - rest.trim_start().len());
            if !self.rest().starts_with('#') {
                return;
            }
            self.skip(self.rest().find('\n').unwrap_or(self.rest().len()));
        }
    }

    /// Takes one of these, longest first.
    fn token(&mut self, tokens: &[&str]) -> Option<&'a str> {
        self.blanks();
        let token = tokens.iter().find(|token| self.rest().starts_with(**token))?;
        let found = &self.rest()[..token.len()];
        self.skip(token.len());
        Some(found)
    }

    fn word(&mut self, extra: &[char]) -> Option<()> {
        self.blanks();
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || extra.contains(&c)));
        let length = length.unwrap_or(rest.len());
        let starts_well = rest.chars().next().is_some_and(|c| !c.is_ascii_digit());
        (length > 0 && starts_well).then(|| self.skip(length))
    }

    fn string(&mut self) -> Option<()> {
        self.blanks();
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\'' | '`'))?;
        let mut escaped = false;
        for (i, c) in chars {
            if escaped {
                escaped = false;
            } else if c == '\\' && quote != '`' {
                escaped = true;
            } else if c == quote {
                self.skip(i + 1);
                return Some(());
            } else if c == '\n' && quote != '`' {
                return None;
            }
        }
        None
    }

    /// The whole selector; what was expected at the place where it stopped.
    fn selector(&mut self) -> Result<(), &'static str> {
        self.word(&[':']).ok_or("the name of a metric")?;
        if self.token(&["{"]).is_some() && self.token(&["}"]).is_none() {
            self.matchers()?;
        }
        self.blanks();
        if self.rest().is_empty() { Ok(()) } else { Err("the end") }
    }

    fn matchers(&mut self) -> Result<(), &'static str> {
        loop {
            self.word(&[]).ok_or("the name of a label")?;
            self.token(&["=~", "!~", "!=", "="]).ok_or("one of = != =~ !~")?;
            self.string().ok_or("a value in quotes")?;
            match self.token(&[",", "}"]) {
                Some(",") if self.token(&["}"]).is_some() => return Ok(()),
                Some(",") => {}
                Some(_) => return Ok(()),
                None => return Err("a comma or a closing brace"),
            }
        }
    }
}

/// Where `text` first differs from a bare selector. `None` when it does not, and the error is in what a string says.
pub(super) fn first_error(text: &str) -> Option<Place> {
    let mut scan = Scan { text, at: 0 };
    let expected = scan.selector().err()?;
    Some(Place { column: text[..scan.at].chars().count() + 1, expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_place_is_where_the_text_stops_being_a_selector() {
        let place = |text| first_error(text).map(|place| (place.column, place.expected));
        assert_eq!(place("http_requests_total{code=5}"), Some((26, "a value in quotes")));
        assert_eq!(place("http_requests_total{code=~\"5..\""), Some((32, "a comma or a closing brace")));
        assert_eq!(place("http_requests_total{code \"5\"}"), Some((26, "one of = != =~ !~")));
        assert_eq!(place("{code=\"5\"}"), Some((1, "the name of a metric")));
        assert_eq!(place("größe"), Some((3, "the end")));
        assert_eq!(place("up{a=\"ö\" b=\"c\"}"), Some((10, "a comma or a closing brace")));
        assert_eq!(place("up # {\n {a=\"b\",}"), None);
    }

    proptest! {
        #[test]
        fn any_text_has_a_place_within_it(text in "\\PC{0,40}|[a-z{}=~!\"'`,# \\\\\n]{0,40}") {
            if let Some(place) = first_error(&text) {
                prop_assert!(place.column >= 1 && place.column <= text.chars().count() + 1);
            }
        }
    }
}
