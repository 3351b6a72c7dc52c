//! The counters in the query of somebody else's SLO, which gives the share of bad requests. Pure.

use promql_parser::label::MatchOp;
use promql_parser::parser::Expr;

use super::parsed;
use crate::measure::counter::Counter;
use crate::measure::histogram::{BOUND, bound, duration, unit_of};
use crate::policy::{HistogramType, Indicator, Latency};

/// What an expression for the share of bad requests is made of.
///
/// # Errors
/// Why that cannot be asked pod by pod.
pub(super) fn indicator(expression: &str) -> Result<Indicator, String> {
    let tree = parsed(expression)?;
    let counter = |tree: Expr| Counter::of_part(expression, tree);
    match bare(tree) {
        Expr::Binary(quotient) if quotient.op.to_string() == "/" => {
            let total = counter(*quotient.rhs)?;
            match bare(*quotient.lhs) {
                Expr::Binary(difference) if difference.op.to_string() == "-" => {
                    let (all, good) = (counter(*difference.lhs)?, counter(*difference.rhs)?);
                    if all.selector() != total.selector() {
                        return Err(format!(
                            "{} is subtracted from, and divided is by {}",
                            all.selector(),
                            total.selector()
                        ));
                    }
                    of_good(good, total)
                }
                errors => ratio(counter(errors)?, total),
            }
        }
        Expr::Binary(rest) if rest.op.to_string() == "-" && is_one(&rest.lhs) => match bare(*rest.rhs) {
            Expr::Binary(quotient) if quotient.op.to_string() == "/" => {
                of_good(counter(*quotient.lhs)?, counter(*quotient.rhs)?)
            }
            Expr::Call(call) if call.func.name == "histogram_fraction" => {
                let [from, to, of] = call.args.args.as_slice() else {
                    return Err("histogram_fraction has not its three arguments".to_owned());
                };
                native(from, to, counter(of.as_ref().clone())?)
            }
            _ => Err(format!("{expression:?} is no quotient of bad requests and all")),
        },
        _ => Err(format!("{expression:?} is no quotient of bad requests and all")),
    }
}

/// The selectors of an expression `1 - errors / total` over what was recorded.
pub(super) fn recorded(expression: &str) -> Option<(Counter, Counter)> {
    let Expr::Binary(rest) = bare(parsed(expression).ok()?) else { return None };
    let Expr::Binary(quotient) = bare(*rest.rhs) else { return None };
    let fits = rest.op.to_string() == "-" && is_one(&rest.lhs) && quotient.op.to_string() == "/";
    let counter = |tree: Expr| Counter::of_part(expression, tree).ok().filter(|counter| counter.over.is_none());
    fits.then_some(())?;
    Some((counter(*quotient.lhs)?, counter(*quotient.rhs)?))
}

fn bare(tree: Expr) -> Expr {
    match tree {
        Expr::Paren(inner) => bare(*inner.expr),
        other => other,
    }
}

fn literal(tree: &Expr) -> Option<f64> {
    match tree {
        Expr::NumberLiteral(number) => Some(number.val),
        Expr::Paren(inner) => literal(&inner.expr),
        _ => None,
    }
}

fn is_one(tree: &Expr) -> bool {
    literal(tree) == Some(1.0)
}

/// Both count over the same time, so that their quotient is that of the counters.
fn over_the_same(one: &Counter, other: &Counter) -> Result<(), String> {
    match (&one.over, &other.over) {
        (Some(one), Some(other)) if one == other => Ok(()),
        (Some(_), Some(_)) => Err("its parts are not over the same time".to_owned()),
        _ => Err("it has no rate() or increase() around its series, so that they need not be counters".to_owned()),
    }
}

fn ratio(errors: Counter, total: Counter) -> Result<Indicator, String> {
    over_the_same(&errors, &total)?;
    let (errors, total) = (errors.selector(), total.selector());
    if errors == total {
        return Err(format!("{total} is divided by itself"));
    }
    Ok(Indicator::Ratio { errors, total })
}

/// Good requests and all of them.
fn of_good(mut good: Counter, total: Counter) -> Result<Indicator, String> {
    over_the_same(&good, &total)?;
    if !good.has(BOUND) {
        let errors = total.without(&good).ok_or_else(|| {
            format!("no single selector matches what {} has and {} has not", total.selector(), good.selector())
        })?;
        return ratio(errors, total);
    }
    let within = good.take(BOUND).and_then(|matcher| match &matcher.op {
        MatchOp::Equal => Some(matcher.value),
        // So that whole numbers are found as Prometheus 2 and 3 write them.
        MatchOp::Re(_) => matcher.value.strip_suffix("(\\.0)?").map(ToOwned::to_owned),
        MatchOp::NotEqual | MatchOp::NotRe(_) => None,
    });
    let within = within.as_deref().and_then(bound).ok_or("its bucket is not that of one bound")?;
    if !good.strip_suffix("_bucket") {
        return Err(format!("{} has a bound and is no bucket of a histogram", good.selector()));
    }
    let mut all = total.clone();
    let is_whole = all.strip_suffix("_count")
        || (all.strip_suffix("_bucket") && all.take(BOUND).is_some_and(|matcher| matcher.value == "+Inf"));
    if !is_whole || all.selector() != good.selector() {
        return Err(format!("{} is not the count of the histogram {}", total.selector(), good.selector()));
    }
    latency(&good, within, HistogramType::Classic)
}

fn native(from: &Expr, to: &Expr, histogram: Counter) -> Result<Indicator, String> {
    over_the_same(&histogram, &histogram)?;
    match (literal(from), literal(to)) {
        (Some(0.0), Some(to)) => latency(&histogram, to, HistogramType::Native),
        _ => Err("its histogram_fraction is not from 0 to a number".to_owned()),
    }
}

fn latency(histogram: &Counter, within: f64, kind: HistogramType) -> Result<Indicator, String> {
    let unit = unit_of(histogram.metric());
    let threshold = duration(within, unit)
        .ok_or_else(|| format!("its threshold {within} is no duration of 1us to 1h in whole microseconds"))?;
    Ok(Indicator::Latency(Latency { histogram: histogram.selector(), threshold, kind, unit: Some(unit) }))
}

#[cfg(test)]
#[path = "promise_tests.rs"]
mod tests;
