//! When to show a line: one that is written over and over on a terminal, few that stay elsewhere.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use jiff::Timestamp;

use super::super::Problem;
use super::line::Line;
use crate::policy::humane;

/// Without a terminal, numbers are shown this often at most. A change of place is shown at once.
const EVERY: Duration = Duration::from_secs(10);

/// Back to the line's beginning, empty, and cut at the terminal's edge instead of wrapped into a second line.
const BEGIN: &str = "\r\x1b[2K\x1b[?7l";
/// Long lines are wrapped again.
const FINISH: &str = "\x1b[?7h";

/// Where lines are shown.
pub(super) struct Screen<W> {
    output: W,
    is_terminal: bool,
    began: Timestamp,
    /// What was shown last, and when.
    shown: Option<(Line, Timestamp)>,
}

impl<W: Write> Screen<W> {
    pub(super) const fn new(output: W, is_terminal: bool, began: Timestamp) -> Self {
        Self { output, is_terminal, began, shown: None }
    }

    /// Shows what is so now, if it is time to.
    pub(super) fn show(&mut self, line: &Line, now: Timestamp) -> Result<(), Problem> {
        let (same_place, same_details, due) = match &self.shown {
            None => (false, false, true),
            Some((last, at)) => {
                let since = Duration::try_from(now.duration_since(*at)).unwrap_or_default();
                (last.place == line.place, last.details == line.details, since >= EVERY)
            }
        };
        let text = self.text(line, now);
        let written = if self.is_terminal {
            // A place that was left stays above.
            let gap = if same_place || self.shown.is_none() { "" } else { "\n" };
            format!("{gap}{BEGIN}{text}{FINISH}")
        } else if !same_place || (!same_details && due) {
            format!("{text}\n")
        } else {
            return Ok(());
        };
        self.shown = Some((line.clone(), now));
        self.write(&written)
    }

    /// Shows how it ended, in lines that stay.
    pub(super) fn end(&mut self, text: &str) -> Result<(), Problem> {
        let gap = if self.is_terminal && self.shown.is_some() { "\n" } else { "" };
        self.write(&format!("{gap}{text}\n"))
    }

    fn text(&self, Line { place, details }: &Line, now: Timestamp) -> String {
        let elapsed = humane(Duration::try_from(now.duration_since(self.began)).unwrap_or_default());
        format!("{elapsed:>6}  {place:24}  {details}").trim_end().to_owned()
    }

    fn write(&mut self, text: &str) -> Result<(), Problem> {
        match self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush()) {
            // Nobody reads it any more; the exit code still says how it ended.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(Problem::Output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).expect("a time")
    }

    fn line(place: &str, details: &str) -> Line {
        Line { place: place.to_owned(), details: details.to_owned() }
    }

    /// What is written for these lines, one each second, and an end.
    fn written(is_terminal: bool, lines: &[(i64, Line)]) -> String {
        let mut output = Vec::new();
        let mut screen = Screen::new(&mut output, is_terminal, at(0));
        for (second, line) in lines {
            screen.show(line, at(*second)).expect("memory takes it");
        }
        screen.end("done").expect("memory takes it");
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn without_a_terminal_a_new_place_is_told_at_once_and_numbers_every_ten_seconds() {
        let lines = [
            (0, line("Canary", "1m left")),
            (1, line("Canary", "59s left")),
            (9, line("Canary", "51s left")),
            (10, line("Canary", "50s left")),
            (11, line("Halted", "50s left")),
            (40, line("Halted", "50s left")),
        ];
        let expected = "    0s  Canary                    1m left\n   10s  Canary                    50s left\n   \
                        11s  Halted                    50s left\ndone\n";
        assert_eq!(written(false, &lines), expected);
    }

    #[test]
    fn on_a_terminal_one_line_is_kept_current_and_each_place_that_was_left_stays() {
        let lines = [(0, line("Canary", "2s left")), (1, line("Canary", "1s left")), (2, line("Promoting", ""))];
        let text = written(true, &lines);
        let shown: Vec<&str> = text.split('\n').collect();
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(shown[0].ends_with("\r\x1b[2K\x1b[?7l    1s  Canary                    1s left\x1b[?7h"), "{shown:?}");
        assert_eq!(shown[1], "\r\x1b[2K\x1b[?7l    2s  Promoting\x1b[?7h");
        assert_eq!((shown[2], shown[3]), ("done", ""));
    }
}
