//! `evaluate`: the verdict of the operator's own code on looks that anyone can write down.
//!
//! Each line in is one look of one rollout, each line out is what all looks of that rollout so far come to. Nothing is
//! known of the time before, and nothing ever resumes. A rollout takes about two kilobytes of memory however many looks
//! it has; rollouts are kept until the input ends.

mod line;

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind, Write};
use std::time::Duration;

use self::line::{Answer, Question};
use crate::decide::analysis::{Analysis, Verdict};
use crate::decide::baseline::{Baseline, Dispersion};
use crate::decide::explain::{Span, sentence};
use crate::policy::{BurnRate, Confidence, Detection, ErrorBudget, OnMissingEvidence, Rule};

/// A longer line is no look.
const LONGEST_LINE: usize = 64 * 1024;

/// Rounding must not refuse a violation that equals the largest burn rate there is.
const ROUNDING: f64 = 1.0 + 1e-12;

/// The flags of `evaluate`.
#[derive(Debug, Clone, clap::Args)]
pub struct EvaluateArgs {
    /// The objective in percent: how many requests must be good.
    #[arg(long, value_name = "PERCENT", value_parser = ErrorBudget::of_target)]
    pub target: ErrorBudget,
    /// Burn rate above which it is a Rollback.
    #[arg(long, value_name = "FACTOR", default_value = "1.0", value_parser = BurnRate::parse)]
    pub violation: BurnRate,
    /// Burn rate above which it is a Halt.
    #[arg(long, value_name = "FACTOR", default_value = "0.5", value_parser = BurnRate::parse)]
    pub warning: BurnRate,
    /// How sure a conviction must be: at most the rest to 100 percent of healthy rollouts is convicted by chance.
    #[arg(long, value_name = "PERCENT", default_value = "99", value_parser = Confidence::parse_percent)]
    pub confidence: Confidence,
    /// How many looks make a window.
    #[arg(long, value_name = "LOOKS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub looks_per_window: u32,
    /// How errors cluster, variance over mean: 1 if they are independent, 5 if they come in bursts of five.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = dispersion)]
    pub dispersion: Dispersion,
    /// How the verdict is reached.
    #[arg(long, value_enum, default_value_t = RuleArg::Sequential)]
    pub rule: RuleArg,
}

/// `--rule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RuleArg {
    /// Gather evidence that stays valid however often one looks.
    Sequential,
    /// Compare the window's burn rate directly, no statistics.
    Threshold,
}

fn dispersion(text: &str) -> Result<Dispersion, String> {
    text.parse().ok().and_then(Dispersion::new).ok_or_else(|| format!("{text:?} is not a number of at least 1"))
}

/// Why `evaluate` stopped. All looks before the one that is named have been answered.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The flags contradict each other.
    #[error("{0}")]
    Flags(String),
    /// The input cannot be read.
    #[error("cannot read the looks: {0}")]
    Read(#[source] std::io::Error),
    /// The answers cannot be written.
    #[error("cannot write the verdicts: {0}")]
    Write(#[source] std::io::Error),
    /// A line is no look.
    #[error("line {number}: {what}; write for example {}", line::EXAMPLE)]
    Line {
        /// Which, counted from 1.
        number: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl EvaluateArgs {
    /// What the flags ask for, as a policy would.
    ///
    /// # Errors
    /// When the limits contradict each other or cannot be reached.
    fn detection(&self) -> Result<Detection, EvaluateError> {
        let (violation, warning, budget) = (self.violation.factor(), self.warning.factor(), self.target.ratio());
        if warning > violation {
            return Err(EvaluateError::Flags(format!(
                "--warning {warning} is above --violation {violation}; write a warning of at most {violation}"
            )));
        }
        if violation * budget > ROUNDING {
            return Err(EvaluateError::Flags(format!(
                "--violation {violation} cannot be reached: with this --target a burn rate is at most {}; write less",
                1.0 / budget
            )));
        }
        Ok(Detection {
            // Nobody knows how far apart the looks are; the verdict does not depend on it.
            window: Duration::ZERO,
            looks: self.looks_per_window,
            violation: self.violation,
            warning: self.warning,
            confidence: self.confidence,
            rule: match self.rule {
                RuleArg::Sequential => Rule::Sequential,
                RuleArg::Threshold => Rule::Threshold,
            },
            on_missing_evidence: OnMissingEvidence::Hold,
        })
    }
}

/// Answers the looks in `input` line by line on `output` until the input ends.
///
/// Answers are written out whenever no more input is at hand, so that a program can ask and read in turns, and in bulk
/// otherwise. Blank lines are skipped. If the reader of `output` goes away, that is a good end.
///
/// # Errors
/// When the flags contradict each other, and at the first line that is no look, with all lines before it answered.
pub fn run(args: &EvaluateArgs, input: impl BufRead, output: impl Write) -> Result<(), EvaluateError> {
    let mut evaluation = Evaluation::new(args)?;
    match evaluation.run(input, output) {
        Err(EvaluateError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        end => end,
    }
}

/// All rollouts met so far.
struct Evaluation {
    detection: Detection,
    budget: ErrorBudget,
    baseline: Baseline,
    rollouts: HashMap<String, Rollout>,
    line: u64,
}

struct Rollout {
    analysis: Analysis,
    looks: u64,
}

impl Evaluation {
    fn new(args: &EvaluateArgs) -> Result<Self, EvaluateError> {
        Ok(Self {
            detection: args.detection()?,
            budget: args.target,
            baseline: Baseline::with_dispersion(args.dispersion),
            rollouts: HashMap::new(),
            line: 0,
        })
    }

    fn run(&mut self, mut input: impl BufRead, mut output: impl Write) -> Result<(), EvaluateError> {
        let mut answers = Vec::new();
        // The beginning of a line whose end is not at hand yet.
        let mut begun = Vec::new();
        loop {
            let chunk = match input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(EvaluateError::Read(error)),
            };
            let read = chunk.len();
            let answered = if read == 0 {
                self.answer(&begun, &mut answers)
            } else {
                self.answer_chunk(chunk, &mut begun, &mut answers)
            };
            output.write_all(&answers).and_then(|()| output.flush()).map_err(EvaluateError::Write)?;
            answers.clear();
            answered?;
            if read == 0 {
                return Ok(());
            }
            input.consume(read);
        }
    }

    /// Answers every line that ends in `chunk`, and keeps the beginning of the next one.
    fn answer_chunk(&mut self, chunk: &[u8], begun: &mut Vec<u8>, answers: &mut Vec<u8>) -> Result<(), EvaluateError> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if begun.is_empty() {
                self.answer(line, answers)?;
            } else {
                begun.extend_from_slice(line);
                self.answer(begun, answers)?;
                begun.clear();
            }
            rest = after;
        }
        begun.extend_from_slice(rest);
        if begun.len() > LONGEST_LINE {
            return Err(EvaluateError::Line {
                number: self.line + 1,
                what: format!("longer than {LONGEST_LINE} bytes"),
            });
        }
        Ok(())
    }

    fn answer(&mut self, line: &[u8], answers: &mut Vec<u8>) -> Result<(), EvaluateError> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let question = Question::parse(line).map_err(|what| EvaluateError::Line { number: self.line, what })?;
        let id = question.rollout;
        if !self.rollouts.contains_key(id.as_ref()) {
            let analysis = Analysis::new(&self.detection, &[self.budget], vec![self.baseline.clone()]);
            self.rollouts.insert(id.clone().into_owned(), Rollout { analysis, looks: 0 });
        }
        let rollout = self.rollouts.get_mut(id.as_ref()).expect("it was put there if it was not");
        rollout.looks += 1;
        rollout.analysis.observe(&[question.evidence]);
        let assessment = rollout.analysis.assess();
        let finding = assessment.deciding();
        let text = sentence(finding, &self.detection, 1, Span::Looks(self.detection.looks));
        let numbers = &finding.numbers;
        Answer {
            rollout: &id,
            look: rollout.looks,
            burn_rate: numbers.burn(numbers.window.canary).map(BurnRate::factor),
            stable_burn_rate: numbers.burn(numbers.window.stable).map(BurnRate::factor),
            log_evidence: numbers.log_evidence,
            log_evidence_vs_stable: numbers.log_evidence_vs_stable,
            verdict: Verdict::as_str(assessment.verdict),
            reason: format!("{}: {text}", assessment.reason.as_str()),
        }
        .write(answers);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
