//! Kubernetes quantities, as far as telling equal ones apart from unequal ones.

/// The amount in billionths, so that every quantity Kubernetes stores is whole (it rounds up to nano). `None` when the
/// text is no quantity or too large to matter.
pub(super) fn nano(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (unit, exponent) = multiplier(suffix)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    // digits * unit * 10^(9 + exponent - decimals)
    let scale = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let amount = digits.checked_mul(unit)?;
    let power = 10_i128.checked_pow(scale.unsigned_abs())?;
    let amount = match scale {
        0.. => amount.checked_mul(power)?,
        _ => amount / power + i128::from(amount % power != 0),
    };
    Some(sign * amount)
}

/// What a suffix multiplies with: a factor and a power of ten.
fn multiplier(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|exponent: &i32| exponent.abs() <= 18)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_amounts_are_equal_in_every_notation() {
        for [a, b] in
            [["1", "1000m"], ["1Gi", "1024Mi"], ["1e3", "1k"], ["0.5", "500m"], ["+2", "2.0"], ["1.5Gi", "1536Mi"]]
        {
            assert_eq!(nano(a), nano(b), "{a} and {b}");
            assert!(nano(a).is_some(), "{a}");
        }
    }

    #[test]
    fn decimal_and_binary_units_differ() {
        assert_ne!(nano("1G"), nano("1Gi"));
        assert_ne!(nano("1M"), nano("1m"));
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in ["", "Gi", "1X", "1.2.3", "1e99", "--1", "one"] {
            assert_eq!(nano(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = nano(&text);
        }

        #[test]
        fn a_thousand_milli_is_one(number in 0_i64..1_000_000_000) {
            prop_assert_eq!(nano(&format!("{number}000m")), nano(&number.to_string()));
        }
    }
}
