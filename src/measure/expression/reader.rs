//! Takes the tree of an expression apart, and refuses what is not understood.

use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{BinaryExpr, Expr, LabelModifier, VectorSelector};

use super::series::{Match, Part, Series};
use super::{NAMESPACE_LABELS, Piece};
use crate::measure::placeholder::{Marked, Placeholder};
use crate::policy::Counts;

/// Functions of plain values that are understood.
const OF_VALUES: [&str; 5] = ["label_replace", "label_join", "clamp_min", "histogram_count", "vector"];

/// Functions of ranges that count what was served in them.
const OF_RANGES: [&str; 3] = ["increase", "sum_over_time", "count_over_time"];

/// Aggregations that leave counters what they are.
const AGGREGATIONS: [&str; 3] = ["sum", "max", "min"];

/// Operators that do.
const OPERATORS: [&str; 6] = ["+", "-", "*", "/", "or", "unless"];

/// What it is told of the policy, and the pieces that it has found so far.
pub(super) struct Reader<'a> {
    pub(super) marked: &'a Marked,
    pub(super) namespace: &'a str,
    pub(super) namespace_label: &'a str,
    pub(super) counts: Counts,
    pub(super) look: Duration,
    pub(super) pieces: Vec<Piece>,
}

impl Reader<'_> {
    /// The pieces of an expression, or what of it is not understood.
    pub(super) fn pieces_of(mut self, tree: &Expr) -> Result<Vec<Piece>, String> {
        self.read(tree)?;
        Ok(self.pieces)
    }

    fn text(&mut self, text: impl Into<String>) {
        let text = text.into();
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => self.pieces.push(Piece::Text(text)),
        }
    }

    fn read(&mut self, tree: &Expr) -> Result<(), String> {
        match tree {
            Expr::VectorSelector(selector) if self.counts == Counts::Cumulative => self.series(selector),
            Expr::VectorSelector(selector) => Err(format!(
                "with counts: PerWindow the selector {} needs the range of a look; write increase({}[{{{{look}}}}])",
                self.shown(selector),
                self.shown(selector)
            )),
            Expr::MatrixSelector(matrix) if self.counts == Counts::PerWindow && matrix.range == self.look => {
                self.series(&matrix.vs)
            }
            Expr::MatrixSelector(_) if self.counts == Counts::PerWindow => {
                Err("it has a range that is not that of a look; write [{{look}}]".to_owned())
            }
            Expr::MatrixSelector(_) => {
                Err("it has a range, and counts: Cumulative takes counters as they are; leave rates and \
                                            ranges out, or write counts: PerWindow and [{{look}}]"
                    .to_owned())
            }
            Expr::Aggregate(aggregate) => {
                let op = aggregate.op.to_string();
                one_of(&AGGREGATIONS, &op, "the aggregation")?;
                self.text(op);
                match &aggregate.modifier {
                    Some(LabelModifier::Include(labels)) => self.text(format!(" by ({labels}) ")),
                    Some(LabelModifier::Exclude(labels)) => self.text(format!(" without ({labels}) ")),
                    None => {}
                }
                self.inner("(", &aggregate.expr, ")")
            }
            Expr::Call(call) => {
                let understood = match self.counts {
                    Counts::Cumulative => OF_VALUES.to_vec(),
                    Counts::PerWindow => [&OF_VALUES[..], &OF_RANGES].concat(),
                };
                one_of(&understood, call.func.name, "the function")?;
                self.text(format!("{}(", call.func.name));
                for (index, argument) in call.args.args.iter().enumerate() {
                    self.inner(if index == 0 { "" } else { ", " }, argument, "")?;
                }
                self.text(")");
                Ok(())
            }
            Expr::Binary(BinaryExpr { op, lhs, rhs, modifier }) => {
                one_of(&OPERATORS, &op.to_string(), "the operator")?;
                self.read(lhs)?;
                let modifier = modifier.as_ref().map(ToString::to_string).unwrap_or_default();
                self.text(format!(" {op}{modifier} "));
                self.read(rhs)
            }
            Expr::Paren(paren) => self.inner("(", &paren.expr, ")"),
            Expr::NumberLiteral(number) => {
                self.text(number.to_string());
                Ok(())
            }
            Expr::StringLiteral(string) => {
                if self.marked.parts(&string.val).any(|part| part.is_err()) {
                    return Err(
                        "a placeholder stands in a string; it can only be the value of a label in braces".to_owned()
                    );
                }
                self.text(string.to_string());
                Ok(())
            }
            Expr::Unary(_) => Err("it has a sign; leave it out".to_owned()),
            Expr::Subquery(_) => Err("it has a subquery; leave it out, or record it as a series".to_owned()),
            Expr::Extension(_) => Err("it has an extension of the language; leave it out".to_owned()),
        }
    }

    fn inner(&mut self, before: &str, tree: &Expr, after: &str) -> Result<(), String> {
        self.text(before);
        self.read(tree)?;
        self.text(after);
        Ok(())
    }

    fn series(&mut self, selector: &VectorSelector) -> Result<(), String> {
        let shown = self.shown(selector);
        if selector.offset.is_some() || selector.at.is_some() {
            return Err(format!("{shown} is moved in time; leave offset and @ out"));
        }
        if !selector.matchers.or_matchers.is_empty() {
            return Err(format!("{shown} has an \"or\" between its matchers; write two selectors"));
        }
        let Some(metric) = selector.name.clone().filter(|name| !name.is_empty()) else {
            return Err(format!("{shown} has no metric name before the braces; write one"));
        };
        let matchers =
            selector.matchers.matchers.iter().map(|matcher| self.matcher(matcher)).collect::<Result<Vec<_>, _>>()?;
        let is_bound = |matcher: &Match| {
            let own = match matcher.value.as_slice() {
                [Part::Stands(Placeholder::Namespace)] => true,
                [Part::Text(text)] => text == self.namespace,
                _ => false,
            };
            own && matcher.op == "="
                && (NAMESPACE_LABELS.contains(&matcher.label.as_str()) || matcher.label == self.namespace_label)
        };
        if !matchers.iter().any(is_bound) {
            return Err(format!(
                "{shown} is not bound to the policy's namespace; write namespace=\"{{{{namespace}}}}\" in its braces, or \
                 another of the labels {}",
                NAMESPACE_LABELS[1..].join(", ")
            ));
        }
        self.pieces.push(Piece::Series(Series { metric, matchers }));
        Ok(())
    }

    fn matcher(&self, matcher: &Matcher) -> Result<Match, String> {
        if matcher.name == "__name__" {
            return Err("a metric is named by __name__; write its name before the braces".to_owned());
        }
        let op = match &matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        let part = |part: Result<&str, Placeholder>| part.map_or_else(Part::Stands, |text| Part::Text(text.to_owned()));
        let value = self.marked.parts(&matcher.value).map(part).collect::<Vec<_>>();
        if op.starts_with('!') && value.iter().any(|part| matches!(part, Part::Stands(_))) {
            return Err(format!("the label {} has a placeholder after {op}; write = or =~", matcher.name));
        }
        // The label as the parser prints it, which quotes unusual names.
        let printed = Matcher::new(MatchOp::Equal, &matcher.name, "").to_string();
        let label = printed.strip_suffix("=\"\"").unwrap_or(&matcher.name).to_owned();
        Ok(Match { label, op, value })
    }

    fn shown(&self, selector: &VectorSelector) -> String {
        self.marked.unmarked(&selector.to_string())
    }
}

fn one_of(understood: &[&str], found: &str, kind: &str) -> Result<(), String> {
    if understood.contains(&found) {
        return Ok(());
    }
    let hint = match found {
        "rate" | "irate" => "; it is a count that is needed, not a rate",
        _ => "",
    };
    Err(format!("it has {kind} {found}{hint}; write one of {}", understood.join(", ")))
}
