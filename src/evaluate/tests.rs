use std::io::{BufReader, Read};

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: EvaluateArgs,
}

fn args(flags: &str) -> EvaluateArgs {
    let words = std::iter::once("evaluate").chain(flags.split_whitespace());
    Command::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args
}

/// The answers, and how it ended.
fn answers(flags: &str, input: &str) -> (Vec<Value>, Result<(), EvaluateError>) {
    let mut output = Vec::new();
    // A buffer that is shorter than a line: every line is put together from pieces.
    let end = run(&args(flags), BufReader::with_capacity(7, input.as_bytes()), &mut output);
    let text = String::from_utf8(output).expect("UTF-8");
    (text.lines().map(|line| serde_json::from_str(line).expect("an answer is JSON")).collect(), end)
}

fn good(flags: &str, input: &str) -> Vec<Value> {
    let (answers, end) = answers(flags, input);
    end.expect("all lines are good");
    answers
}

fn refusal(input: &str) -> String {
    answers("--target 99.9", input).1.expect_err("a line is bad").to_string()
}

#[test]
fn a_look_is_answered_with_all_its_numbers() {
    let found = good(
        "--target 99.9",
        r#"{"rollout":"r1","canary":{"errors":3,"requests":1000},"stable":{"errors":1,"requests":9000}}"#,
    );
    let answer = &found[0];
    let keys: Vec<&str> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 8, "{keys:?}");
    assert_eq!(answer["rollout"], "r1");
    assert_eq!(answer["look"], 1);
    assert_eq!(answer["burnRate"], 3.0);
    assert!((answer["stableBurnRate"].as_f64().expect("a number") - 1.0 / 9.0).abs() < 1e-12);
    assert!(answer["logEvidence"].as_f64().expect("a number") > 0.0);
    assert!(answer["logEvidenceVsStable"].as_f64().expect("a number") > 0.0);
    assert_eq!(answer["verdict"], "Proceed");
    assert!(
        answer["reason"].as_str().expect("text").starts_with("NotConvicted: 3 errors in 1,000 requests"),
        "{answer}"
    );
}

#[test]
fn rollouts_are_kept_apart_and_answered_in_order() {
    let bad = r#"{"rollout":"bad","canary":{"errors":50,"requests":100},"stable":{"errors":0,"requests":900}}"#;
    let fine = r#"{"rollout":"fine","canary":{"errors":0,"requests":100},"stable":{"errors":0,"requests":900}}"#;
    let found = good("--target 99.9", &[bad, fine].repeat(4).join("\n"));
    let told: Vec<_> = found.iter().map(|answer| (&answer["rollout"], &answer["look"], &answer["verdict"])).collect();
    assert_eq!(
        told[6..],
        [(&json!("bad"), &json!(4), &json!("Rollback")), (&json!("fine"), &json!(4), &json!("Proceed"))]
    );
}

#[test]
fn what_was_not_seen_is_null() {
    let found = good(
        "--target 99.9",
        "{\"rollout\":\"r1\",\"canary\":{\"errors\":0,\"requests\":0}}\n\n{\"rollout\":\"r1\",\"missing\":\"Stale\"}\n",
    );
    for key in ["burnRate", "stableBurnRate", "logEvidence", "logEvidenceVsStable"] {
        assert_eq!((&found[0][key], &found[1][key]), (&Value::Null, &Value::Null), "{key}");
    }
    assert_eq!(found[1]["look"], 2, "a blank line is no look");
}

#[test]
fn two_looks_without_evidence_halt_and_a_fresh_one_goes_on() {
    let missing = r#"{"rollout":"r1","missing":"NoSeries"}"#;
    let fresh = r#"{"rollout":"r1","canary":{"errors":0,"requests":10}}"#;
    let found = good("--target 99.9", &[missing, missing, fresh, missing].join("\n"));
    let verdicts: Vec<_> = found.iter().map(|answer| answer["verdict"].as_str().expect("text")).collect();
    assert_eq!(verdicts, ["Proceed", "Halt", "Proceed", "Proceed"]);
    assert!(found[1]["reason"].as_str().expect("text").starts_with("EvidenceMissing: "), "{}", found[1]);
}

#[test]
fn the_burn_rate_is_that_of_the_last_window() {
    let look = |errors: u32| format!(r#"{{"rollout":"r1","canary":{{"errors":{errors},"requests":1000}}}}"#);
    let found = good("--target 99 --looks-per-window 2", &[look(30), look(10), look(0), look(0)].join("\n"));
    let burnt: Vec<_> = found.iter().map(|answer| answer["burnRate"].as_f64().expect("a number")).collect();
    assert_eq!(burnt, [3.0, 2.0, 0.5, 0.0]);
}

#[test]
fn the_literal_rule_compares_the_window_directly() {
    let look = |errors: u32| format!(r#"{{"rollout":"r1","canary":{{"errors":{errors},"requests":1000}}}}"#);
    let lines = [look(0), look(6), look(10), look(11)].join("\n");
    let found = good("--target 99 --rule threshold --looks-per-window 1", &lines);
    let verdicts: Vec<_> = found.iter().map(|answer| answer["verdict"].as_str().expect("text")).collect();
    assert_eq!(verdicts, ["Proceed", "Halt", "Halt", "Rollback"]);
}

#[test]
fn dispersion_makes_errors_weigh_less() {
    let look = r#"{"rollout":"r1","canary":{"errors":5,"requests":1000}}"#;
    let evidence = |flags: &str| good(flags, look)[0]["logEvidence"].as_f64().expect("a number");
    assert!(evidence("--target 99.9 --dispersion 5") < evidence("--target 99.9"));
}

#[test]
fn looks_before_a_bad_line_are_answered() {
    let (found, end) = answers("--target 99.9", "{\"rollout\":\"r1\",\"missing\":\"Stale\"}\nnonsense\n");
    assert_eq!(found.len(), 1);
    assert!(end.expect_err("the second line is bad").to_string().starts_with("line 2: "));
}

#[test]
fn a_bad_line_is_refused_with_what_is_wrong_and_what_to_write() {
    for (line, what) in [
        ("{", "line 1: EOF while parsing an object at column 1; write for example {\"rollout\":\"r1\""),
        ("[1]", "line 1: "),
        ("{}", "missing field `rollout`"),
        (r#"{"rollout":"r"}"#, "there is neither \"canary\" nor \"missing\""),
        (r#"{"rollout":"r","stable":{"errors":0,"requests":1}}"#, "neither \"canary\" nor \"missing\""),
        (
            r#"{"rollout":"r","missing":"Lost"}"#,
            "\"Lost\" is no reason for missing evidence; write one of Unreachable, ",
        ),
        (r#"{"rollout":"r","missing":"Stale","canary":{"errors":0,"requests":1}}"#, "beside counts"),
        (r#"{"rollout":"r","canary":{"errors":2,"requests":1}}"#, "canary has more errors (2) than requests (1)"),
        (r#"{"rollout":"r","canary":{"errors":-1,"requests":1}}"#, "errors of canary are -1"),
        (r#"{"rollout":"r","canary":{"errors":0,"requests":1e300}}"#, "requests of canary are 1"),
        (r#"{"rollout":"r","canary":{"errors":0,"requests":"1"}}"#, "invalid type: string"),
        (r#"{"rollout":"r","canary":{"requests":1}}"#, "missing field `errors`"),
        (r#"{"rollout":"r","stabel":{"errors":0,"requests":1}}"#, "unknown field `stabel`"),
    ] {
        let error = refusal(line);
        assert!(error.contains(what), "{line}: {error}");
        assert!(error.starts_with("line 1: "), "{error}");
    }
    assert!(refusal(&"x".repeat(LONGEST_LINE + 100)).contains("longer than"));
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let refused = |flags: &str| match answers(flags, "").1 {
        Err(EvaluateError::Flags(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused("--target 99.9 --violation 0.4"),
        "--warning 0.5 is above --violation 0.4; write a warning of at most 0.4"
    );
    assert!(refused("--target 90 --violation 11").contains("a burn rate is at most 10"));
    good("--target 90 --violation 10", "");
    for flags in ["", "--target 100", "--target 99 --dispersion 0.5", "--target 99 --looks-per-window 11"] {
        let words = std::iter::once("evaluate").chain(flags.split_whitespace());
        assert!(Command::try_parse_from(words).is_err(), "{flags}");
    }
}

/// Gives one line at a time, and checks that the line before has been answered when the next is asked for.
struct Dialogue<'a> {
    written: &'a std::cell::Cell<usize>,
    asked: usize,
}

impl Read for Dialogue<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert_eq!(self.written.get(), self.asked, "every look is answered before the next is read");
        if self.asked == 5 {
            return Ok(0);
        }
        self.asked += 1;
        let line = b"{\"rollout\":\"r\",\"canary\":{\"errors\":0,\"requests\":1}}\n";
        buffer[..line.len()].copy_from_slice(line);
        Ok(line.len())
    }
}

/// Counts the lines that are flushed.
struct Flushed<'a> {
    pending: usize,
    written: &'a std::cell::Cell<usize>,
}

impl Write for Flushed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.pending += bytes.iter().filter(|&&byte| byte == b'\n').count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.written.set(self.written.get() + self.pending);
        self.pending = 0;
        Ok(())
    }
}

#[test]
fn a_program_can_ask_and_read_in_turns() {
    let written = std::cell::Cell::new(0);
    let input = BufReader::new(Dialogue { written: &written, asked: 0 });
    run(&args("--target 99.9"), input, Flushed { pending: 0, written: &written }).expect("all lines are good");
    assert_eq!(written.get(), 5);
}

/// A pipe that nobody reads any more.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_a_good_end() {
    let line = "{\"rollout\":\"r\",\"missing\":\"Stale\"}\n";
    run(&args("--target 99.9"), line.as_bytes(), Closed).expect("nobody is left to answer");
}

#[test]
fn the_help_shows_lines_that_are_understood() {
    let mut command = <crate::cli::Cli as clap::CommandFactory>::command();
    let evaluate = command.find_subcommand_mut("evaluate").expect("the subcommand");
    let help = evaluate.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().filter_map(|line| line.find('{').map(|at| &line[at..])).take(2).collect();
    assert_eq!(good("--target 99.9", &lines.join("\n")).len(), 2, "{help}");
}
