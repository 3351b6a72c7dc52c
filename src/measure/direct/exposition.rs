//! The text formats in which pods expose their metrics: that of Prometheus, and OpenMetrics. Pure.
//!
//! As strict as Prometheus is itself: a page with a line that cannot be read is no page, since what would be left out may be
//! what matters. Times that a page gives to its samples are not used: what counts is when it was read.

use std::borrow::Cow;

/// What a page is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' own text format, 0.0.4.
    Prometheus,
    /// OpenMetrics, whose pages end with a mark.
    OpenMetrics,
}

impl Format {
    /// The one that a `Content-Type` names; Prometheus' own where it names none.
    pub(super) fn of_content_type(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// One series and its value.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    /// The value of a label; empty when the series does not have it, which means the same.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// Where a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no metric in the Prometheus text format: {expected} was expected")]
pub(super) struct Malformed {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) expected: &'static str,
}

/// Calls `each` with every sample of a page, in their order.
///
/// # Errors
/// At the first line that cannot be read, or when the mark at the end is missing; what came before was handed on already.
pub(super) fn samples<'a>(text: &'a str, format: Format, mut each: impl FnMut(&Sample<'a>)) -> Result<(), Malformed> {
    let mut sample = Sample::default();
    let (mut lines, mut ended) = (0, false);
    for (index, line) in text.split('\n').enumerate() {
        lines = index + 1;
        if line.trim_matches(BLANK).is_empty() {
            continue;
        }
        let at = |expected| Malformed { line: lines, expected };
        if ended {
            return Err(at("nothing after # EOF"));
        }
        if line.starts_with('#') {
            ended = format == Format::OpenMetrics && line == "# EOF";
            continue;
        }
        read(line, &mut sample).map_err(at)?;
        each(&sample);
    }
    match format {
        Format::OpenMetrics if !ended => Err(Malformed { line: lines, expected: "# EOF at the end of the page" }),
        _ => Ok(()),
    }
}

/// What stands between the parts of a line.
const BLANK: [char; 2] = [' ', '\t'];

/// Reads a line; what was expected where it cannot be.
fn read<'a>(line: &'a str, sample: &mut Sample<'a>) -> Result<(), &'static str> {
    const VALUE: &str = "a number";
    let mut rest = Rest(line);
    sample.labels.clear();
    sample.name = Cow::Borrowed("");
    rest.blanks();
    let named = rest.word(&[':']);
    rest.blanks();
    if rest.take('{') {
        rest.labels(sample)?;
    }
    match named {
        Some(_) if !sample.name.is_empty() => return Err("one name only"),
        Some(name) => sample.name = Cow::Borrowed(name),
        None if sample.name.is_empty() => return Err("the name of a metric"),
        None => {}
    }
    sample.value = rest.number().ok_or(VALUE)?;
    if rest.is_more() {
        rest.number().ok_or("a time")?;
    }
    if rest.is_more() { Err("the end of the line") } else { Ok(()) }
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches(BLANK);
    }

    fn take(&mut self, what: char) -> bool {
        let rest = self.0.strip_prefix(what);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A name, in which these are allowed beside letters, digits and underscores.
    fn word(&mut self, extra: &[char]) -> Option<&'a str> {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || extra.contains(&c);
        let length = self.0.find(|c| !inside(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(length);
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.0 = rest;
        Some(word)
    }

    /// A text in quotes, without them.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?;
        let (mut end, mut escaped, mut any) = (None, false, false);
        for (i, byte) in inner.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => (escaped, any) = (true, true),
                b'"' => {
                    end = Some(i);
                    break;
                }
                _ => {}
            }
        }
        let (text, rest) = inner.split_at(end?);
        self.0 = rest.strip_prefix('"')?;
        Some(if any { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) })
    }

    /// What stands in braces, of which the first is taken. A name in quotes without a value is that of the metric.
    fn labels(&mut self, sample: &mut Sample<'a>) -> Result<(), &'static str> {
        loop {
            self.blanks();
            if self.take('}') {
                return Ok(());
            }
            let quoted = self.quoted();
            let is_quoted = quoted.is_some();
            let name = quoted.or_else(|| self.word(&[]).map(Cow::Borrowed)).ok_or("the name of a label")?;
            self.blanks();
            if self.take('=') {
                self.blanks();
                let value = self.quoted().ok_or("a value in quotes")?;
                sample.labels.push((name, value));
            } else if is_quoted && sample.name.is_empty() {
                sample.name = name;
            } else {
                return Err("= after the name of a label");
            }
            self.blanks();
            if !self.take(',') && !self.0.starts_with('}') {
                return Err("a comma or a closing brace");
            }
        }
    }

    /// A number, after blanks.
    fn number(&mut self) -> Option<f64> {
        self.blanks();
        let length = self.0.find(BLANK).unwrap_or(self.0.len());
        let (number, rest) = self.0.split_at(length);
        self.0 = rest;
        number.parse().ok()
    }

    /// Whether something follows that is no example of a single request.
    fn is_more(&mut self) -> bool {
        self.blanks();
        !self.0.is_empty() && !self.0.starts_with('#')
    }
}

/// With `\n`, `\"` and `\\` put in place. A backslash before anything else is one.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => plain.push(c),
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(c @ ('"' | '\\')) => plain.push(c),
                other => {
                    plain.push('\\');
                    plain.extend(other);
                }
            },
        }
    }
    plain
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
