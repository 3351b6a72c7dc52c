//! What other tools keep of the objectives that policies name: their SLOs as Prometheus has them, in the rules that the tools
//! generated.
//!
//! [`rules`] reads the list of rules, [`sloth`] and [`pyrra`] make of it what a policy could have said itself, and
//! [`promise`] finds the counters in their queries. All of that is pure; only [`Slos`] asks.

mod promise;
mod pyrra;
mod resolver;
mod rules;
mod sloth;

pub use resolver::{Answer, Slos};
pub(in crate::measure) use rules::read;
pub use rules::{Rule, Rules};

use promql_parser::parser::Expr;

use crate::policy::{Slo, SloName};

/// Why an SLO cannot be taken from its tool, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// There is no such SLO, or a part of it is not there.
    #[error("{0}")]
    NotFound(String),
    /// There are several of that name.
    #[error("{0}")]
    Ambiguous(String),
    /// Its query does not come down to counters that each pod exports.
    #[error("{0}")]
    NotUnderstood(String),
    /// Prometheus did not tell.
    #[error("{0}")]
    Unanswered(String),
}

impl Unread {
    /// The reason, as a condition has it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "SloNotFound",
            Self::Ambiguous(_) => "SloAmbiguous",
            Self::NotUnderstood(_) => "SloNotUnderstood",
            Self::Unanswered(_) => "SloUnanswered",
        }
    }
}

/// What these rules say of an SLO.
///
/// # Errors
/// When they do not say all of it, or nothing that can be measured pod by pod.
pub fn slo(rules: &[Rule], name: &SloName) -> Result<Slo, Unread> {
    match name {
        SloName::Sloth { service, slo } => sloth::slo(rules, name, service, slo),
        SloName::Pyrra { name: pyrra } => pyrra::slo(rules, name, pyrra),
    }
}

/// The one expression that these rules of an SLO have; `None` without any.
fn only<'a>(
    mut expressions: impl Iterator<Item = &'a str>,
    name: &SloName,
    record: &str,
) -> Result<Option<&'a str>, Unread> {
    let Some(first) = expressions.next() else { return Ok(None) };
    match expressions.find(|other| *other != first) {
        None => Ok(Some(first)),
        Some(_) => Err(Unread::Ambiguous(format!(
            "there are several rules {record} for {name} that differ, as of several SLOs of one name; give them names of \
             their own"
        ))),
    }
}

/// Expressions longer than this, in bytes, are not understood.
const LONGEST: usize = 8192;

/// How deep parentheses may be nested in one: what walks a tree needs stack for each.
const DEEPEST: usize = 64;

/// How many operators may be in one: each may nest what comes before it, or after it.
const MOST_OPERATORS: usize = 64;

/// An expression of a rule, within bounds: whoever may load rules must not be able to end the operator.
fn parsed(expression: &str) -> Result<Expr, String> {
    if expression.len() > LONGEST {
        return Err(format!("it has {} bytes, and at most {LONGEST} are looked into", expression.len()));
    }
    let bare = without_strings(expression);
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in bare.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEEPEST {
        return Err(format!("its parentheses are nested {deepest} deep, and at most {DEEPEST} are looked into"));
    }
    let operators = operators(&bare);
    if operators > MOST_OPERATORS {
        return Err(format!("it has {operators} operators, and at most {MOST_OPERATORS} are looked into"));
    }
    promql_parser::parser::parse(expression).map_err(|error| format!("it is no PromQL that is understood: {error}"))
}

/// An expression without what is within quotes, and without comments, as PromQL has them.
fn without_strings(expression: &str) -> String {
    let (mut bare, mut chars) = (String::new(), expression.chars());
    while let Some(c) = chars.next() {
        bare.push(c);
        match c {
            '#' => drop(chars.by_ref().find(|c| matches!(c, '\n' | '\r'))),
            '"' | '\'' | '`' => {
                while let Some(inner) = chars.next().filter(|inner| *inner != c) {
                    if inner == '\\' && c != '`' {
                        chars.next();
                    }
                }
            }
            _ => {}
        }
    }
    bare
}

/// How many operators there are at most, those of matchers but `=`, `=~` among them, and subqueries, which nest like them.
fn operators(bare: &str) -> usize {
    let signs = bare.chars().filter(|c| "+-*/%^<>![".contains(*c)).count();
    let words = bare.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let named = |word: &&str| ["and", "or", "unless", "atan2"].iter().any(|name| word.eq_ignore_ascii_case(name));
    signs + bare.matches("==").count() + words.filter(named).count()
}

/// The number that an expression is: `0.99`, `vector(30)`.
fn number(expression: &str) -> Option<f64> {
    fn of(tree: &Expr) -> Option<f64> {
        match tree {
            Expr::NumberLiteral(number) => Some(number.val).filter(|number| number.is_finite()),
            Expr::Paren(inner) => of(&inner.expr),
            Expr::Call(call) if call.func.name == "vector" => of(call.args.args.first()?),
            _ => None,
        }
    }
    of(&parsed(expression).ok()?)
}

/// A ratio as a policy writes a target. Tools compute with floats, so what is beyond six decimals is noise.
fn percent(ratio: f64) -> String {
    format!("{:.6}", ratio * 100.0).trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "slos/tests.rs"]
mod tests;
