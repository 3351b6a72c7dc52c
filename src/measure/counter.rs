//! A query of somebody else, down to the bare selector in it, where the two say exactly the same of a ratio.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};

/// A counter that a query is made of.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    metric: String,
    matchers: Vec<Matcher>,
    /// What was around it, which must be the same for both counters of a ratio: `rate` over seconds.
    pub(crate) over: Option<(String, u64)>,
}

impl Counter {
    /// Reads a query: a bare selector, or `sum`, `rate` and `increase` around one, and `or vector(0)` after it.
    ///
    /// # Errors
    /// What stands there instead, and what to write.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let tree = parser::parse(query).map_err(|error| format!("{query:?} is no PromQL: {error}"))?;
        Self::of(query, tree, &[])
    }

    /// The same of a histogram, whose sums may keep the bounds apart. `tree` is a part of the query.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub(crate) fn of_buckets(query: &str, tree: Expr) -> Result<Self, String> {
        Self::of(query, tree, &["le"])
    }

    /// The same of a part of a query.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub(crate) fn of_part(query: &str, tree: Expr) -> Result<Self, String> {
        Self::of(query, tree, &[])
    }

    /// `kept` are labels that sums may keep apart.
    fn of(query: &str, tree: Expr, kept: &[&str]) -> Result<Self, String> {
        let mut over = None;
        let refuse = |what: &str| {
            format!(
                "{query:?} has {what}, so that it is not the same as a counter; write the counter that it is made of, such as \
                 http_requests_total{{code=~\"5..\"}}"
            )
        };
        let selector = unwrapped(tree, kept, &mut over).map_err(|what| refuse(&what))?;
        let is_plain = selector.offset.is_none() && selector.at.is_none() && selector.matchers.or_matchers.is_empty();
        if !is_plain {
            return Err(refuse("an offset, an @ modifier or an \"or\" between matchers"));
        }
        let (named, mut matchers): (Vec<_>, Vec<_>) =
            selector.matchers.matchers.into_iter().partition(|matcher| matcher.name == "__name__");
        let metric = match (selector.name, named.as_slice()) {
            (Some(name), _) => name,
            (None, [one]) if one.op == MatchOp::Equal => one.value.clone(),
            _ => return Err(refuse("no name of one metric")),
        };
        matchers.sort_by_key(ToString::to_string);
        matchers.dedup_by_key(|matcher| matcher.to_string());
        Ok(Self { metric, matchers, over })
    }

    /// As a bare selector.
    pub(crate) fn selector(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        if matchers.is_empty() { self.metric.clone() } else { format!("{}{{{}}}", self.metric, matchers.join(",")) }
    }

    /// Its name.
    pub(crate) fn metric(&self) -> &str {
        &self.metric
    }

    /// Takes this off the end of its name; false where it does not end so.
    pub(crate) fn strip_suffix(&mut self, suffix: &str) -> bool {
        let base = self.metric.strip_suffix(suffix).map(ToOwned::to_owned);
        base.map(|base| self.metric = base).is_some()
    }

    /// Takes off its matcher for a label; `None` where it has none, or several.
    pub(crate) fn take(&mut self, label: &str) -> Option<Matcher> {
        let of_label = |matcher: &Matcher| matcher.name == label;
        let place = self.matchers.iter().position(of_label)?;
        (self.matchers.iter().filter(|matcher| of_label(matcher)).count() == 1).then(|| self.matchers.remove(place))
    }

    /// Whether it has a matcher for a label.
    pub(crate) fn has(&self, label: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.name == label)
    }

    /// The value that a label must have, if it must have one.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let equal = |matcher: &&Matcher| matcher.name == name && matcher.op == MatchOp::Equal;
        self.matchers.iter().find(equal).map(|matcher| matcher.value.as_str())
    }

    /// What of `self` the selector `part` does not match: `None` where no single selector does. `part` must be `self` with
    /// one matcher more.
    pub(crate) fn without(&self, part: &Self) -> Option<Self> {
        let has = |all: &[Matcher], one: &Matcher| all.iter().any(|other| other.to_string() == one.to_string());
        let more: Vec<&Matcher> = part.matchers.iter().filter(|one| !has(&self.matchers, one)).collect();
        let ([only], true) = (more.as_slice(), self.metric == part.metric && self.over == part.over) else {
            return None;
        };
        if !self.matchers.iter().all(|one| has(&part.matchers, one)) {
            return None;
        }
        let mut rest = self.clone();
        rest.matchers.push(opposite(only));
        rest.matchers.sort_by_key(ToString::to_string);
        Some(rest)
    }

    /// The selector that matches what either of the two does: `None` where no single one does. They must differ in one
    /// matcher alone, which one has and the other has the opposite of.
    pub(crate) fn together(&self, other: &Self) -> Option<Self> {
        (0..self.matchers.len()).find_map(|i| {
            let mut all = self.clone();
            all.matchers.remove(i);
            let rest = all.without(self)?;
            (rest.selector() == other.selector() && rest.over == other.over).then_some(all)
        })
    }
}

/// What matches just the series that the other does not.
fn opposite(matcher: &Matcher) -> Matcher {
    let op = match &matcher.op {
        MatchOp::Equal => MatchOp::NotEqual,
        MatchOp::NotEqual => MatchOp::Equal,
        MatchOp::Re(regex) => MatchOp::NotRe(regex.clone()),
        MatchOp::NotRe(regex) => MatchOp::Re(regex.clone()),
    };
    Matcher { op, ..matcher.clone() }
}

/// `vector(0)`.
fn is_zero(tree: &Expr) -> bool {
    match tree {
        Expr::Paren(inner) => is_zero(&inner.expr),
        Expr::Call(call) if call.func.name == "vector" => {
            matches!(call.args.args.first().map(AsRef::as_ref), Some(Expr::NumberLiteral(number)) if number.val == 0.0)
        }
        _ => false,
    }
}

/// The selector in a tree; what is around it beside `sum`, `rate` and `increase`.
fn unwrapped(tree: Expr, kept: &[&str], over: &mut Option<(String, u64)>) -> Result<VectorSelector, String> {
    match tree {
        Expr::VectorSelector(selector) => Ok(selector),
        Expr::Paren(inner) => unwrapped(*inner.expr, kept, over),
        Expr::Aggregate(sum) if sum.op.to_string() == "sum" => match sum.modifier {
            None => unwrapped(*sum.expr, kept, over),
            Some(LabelModifier::Include(labels))
                if labels.labels.iter().all(|label| kept.contains(&label.as_str())) =>
            {
                unwrapped(*sum.expr, kept, over)
            }
            Some(_) => Err("a grouping, so that it gives several numbers".to_owned()),
        },
        Expr::Aggregate(other) => Err(format!("the aggregation {}", other.op)),
        Expr::Call(call) if ["rate", "increase"].contains(&call.func.name) && over.is_none() => {
            match call.args.args.first().map(|argument| argument.as_ref().clone()) {
                Some(Expr::MatrixSelector(matrix)) => {
                    *over = Some((call.func.name.to_owned(), matrix.range.as_secs()));
                    Ok(matrix.vs)
                }
                _ => Err(format!("something else than a selector in {}", call.func.name)),
            }
        }
        Expr::Call(call) => Err(format!("the function {}", call.func.name)),
        // Where nothing was counted yet it gives zero, and no series is zero here anyway.
        Expr::Binary(either) if either.op.to_string() == "or" && is_zero(&either.rhs) => {
            unwrapped(*either.lhs, kept, over)
        }
        Expr::Binary(_) => Err("an operator between two expressions".to_owned()),
        Expr::MatrixSelector(_) => Err("a range in brackets without a function around it".to_owned()),
        Expr::Subquery(_) => Err("a subquery".to_owned()),
        Expr::Unary(_) => Err("a sign".to_owned()),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Err("no selector in it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(query: &str) -> Counter {
        Counter::parse(query).expect(query)
    }

    #[test]
    fn sums_and_rates_around_a_selector_are_taken_off() {
        for query in [
            r#"http_requests_total{code=~"5.."}"#,
            r#"sum(http_requests_total{code=~"5.."})"#,
            r#"sum(rate(http_requests_total{code=~"5.."}[5m]))"#,
            r#"(sum by () (increase(http_requests_total{code=~"5.."}[1h])))"#,
            r#"{__name__="http_requests_total",code=~"5.."}"#,
            r#"sum(rate(http_requests_total{code=~"5.."}[5m])) or vector(0)"#,
            r#"sum(http_requests_total{code=~"5.."} or on() vector(0))"#,
        ] {
            assert_eq!(counter(query).selector(), r#"http_requests_total{code=~"5.."}"#, "{query}");
        }
        assert_eq!(counter("sum(rate(a[5m]))").over, Some(("rate".to_owned(), 300)));
    }

    #[test]
    fn what_is_not_the_same_as_a_counter_is_refused_with_what_it_has() {
        for (query, says) in [
            ("sum by (service) (rate(a[5m]))", "a grouping"),
            ("irate(a[5m])", "the function irate"),
            ("max(a)", "the aggregation max"),
            ("a or vector(1)", "an operator between two expressions"),
            ("a - b", "an operator between two expressions"),
            ("a[5m]", "a range in brackets without a function"),
            ("rate(a[5m:1m])", "something else than a selector in rate"),
            ("rate(a[5m] offset 1h)", "an offset"),
            ("histogram_quantile(0.9, a)", "the function histogram_quantile"),
            ("{code=\"5\"}", "no name of one metric"),
            ("sum(", "is no PromQL"),
        ] {
            let said = Counter::parse(query).expect_err(query);
            assert!(said.contains(says), "{query}: {said}");
        }
    }

    #[test]
    fn bad_requests_are_all_but_the_good_ones_where_one_matcher_tells_them_apart() {
        let rest = |total: &str, good: &str| counter(total).without(&counter(good)).map(|rest| rest.selector());
        assert_eq!(rest("t", r#"t{code!~"5.."}"#).as_deref(), Some(r#"t{code=~"5.."}"#));
        assert_eq!(rest(r#"t{job="a"}"#, r#"t{code="200",job="a"}"#).as_deref(), Some(r#"t{code!="200",job="a"}"#));
        assert_eq!(rest("t", r#"t{code!~"5..",path!="/health"}"#), None, "two matchers have no single opposite");
        assert_eq!(rest("t", "g"), None, "another metric");
        assert_eq!(rest("rate(t[5m])", r#"rate(t{code="200"}[1m])"#), None, "another range");
    }

    #[test]
    fn good_and_bad_requests_are_all_where_one_matcher_tells_them_apart() {
        let all = |one: &str, other: &str| counter(one).together(&counter(other)).map(|all| all.selector());
        assert_eq!(all(r#"t{code=~"5..",job="a"}"#, r#"t{code!~"5..",job="a"}"#).as_deref(), Some(r#"t{job="a"}"#));
        assert_eq!(all(r#"t{code="500"}"#, r#"t{code="200"}"#), None);
    }
}
