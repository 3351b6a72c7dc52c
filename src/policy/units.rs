//! Ratios that cannot be confused or be out of range. They are written as decimal strings in a policy.

/// Why a decimal string of a policy is not usable. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a plain decimal number.
    #[error("{0:?} is not a decimal number; write for example \"99.9\"")]
    NotDecimal(String),
    /// A number, but not one that can be meant.
    #[error("{what} is {given}; write a number {range}")]
    OutOfRange {
        /// Which quantity.
        what: &'static str,
        /// What was written.
        given: String,
        /// What is allowed.
        range: &'static str,
    },
}

/// Reads a plain decimal as (digits, scale): `99.95` is (9995, 2). No sign, no exponent, at most 15 digits.
fn decimal(text: &str) -> Result<(u64, u32), UnitError> {
    let not_decimal = || UnitError::NotDecimal(text.to_owned());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.len() + fraction.len() > 15 {
        return Err(not_decimal());
    }
    let digits = format!("{whole}{fraction}").parse().map_err(|_| not_decimal())?;
    let scale = u32::try_from(fraction.len()).map_err(|_| not_decimal())?;
    Ok((digits, scale))
}

/// `100 % - percent`, as a ratio, exact to the last bit: 99.9 gives 0.001 and not 0.00099999999999994.
fn complement_of_percent(text: &str, what: &'static str) -> Result<f64, UnitError> {
    let (digits, scale) = decimal(text)?;
    let hundred = 100 * 10_u64.pow(scale);
    if digits == 0 || digits >= hundred {
        return Err(UnitError::OutOfRange { what, given: text.to_owned(), range: "above 0 and below 100" });
    }
    // Both are whole and below 2^53, so the one rounding is that of the division.
    Ok((hundred - digits) as f64 / hundred as f64)
}

/// The share of requests that may be bad: `1 - target`. Above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct ErrorBudget(f64);

impl ErrorBudget {
    /// The budget that an objective in percent ("99.9") leaves.
    ///
    /// # Errors
    /// When it is not a decimal number between 0 and 100, both excluded.
    pub fn of_target(percent: &str) -> Result<Self, UnitError> {
        complement_of_percent(percent, "target").map(Self)
    }

    /// As a ratio: 0.001 for a target of 99.9 %.
    #[must_use]
    pub const fn ratio(self) -> f64 {
        self.0
    }
}

/// A share of the error budget that may be spent. Above 0; above 1 is more than there is.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct SpentShare(f64);

impl SpentShare {
    /// Reads "0.8".
    ///
    /// # Errors
    /// When it is not a decimal number above 0.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (digits, scale) = decimal(text)?;
        if digits == 0 {
            return Err(UnitError::OutOfRange { what: "threshold", given: text.to_owned(), range: "above 0" });
        }
        Ok(Self(digits as f64 / 10_u64.pow(scale) as f64))
    }

    /// What must be left of the budget, as a ratio: 0.2 of a threshold of 0.8; below 0 when more may be spent than there
    /// is.
    #[must_use]
    pub fn remaining(self) -> f64 {
        1.0 - self.0
    }
}

/// Error ratio over error budget. 1 spends the budget in just its window. Finite, 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct BurnRate(f64);

impl BurnRate {
    /// Reads "1.0".
    ///
    /// # Errors
    /// When it is not a decimal number above 0.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (digits, scale) = decimal(text)?;
        if digits == 0 {
            return Err(UnitError::OutOfRange { what: "burn rate", given: text.to_owned(), range: "above 0" });
        }
        Ok(Self(digits as f64 / 10_u64.pow(scale) as f64))
    }

    /// What an error ratio (0..=1) burns of a budget.
    #[must_use]
    pub fn of_ratio(error_ratio: f64, budget: ErrorBudget) -> Self {
        Self(error_ratio.clamp(0.0, 1.0) / budget.ratio())
    }

    /// As a factor: 2.3 is 2.3 times the allowed rate.
    #[must_use]
    pub const fn factor(self) -> f64 {
        self.0
    }
}

/// How sure a conviction must be: the chance that a healthy rollout is never convicted. Above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence {
    alpha: f64,
}

impl Confidence {
    /// Reads percent: "99".
    ///
    /// # Errors
    /// When it is not a decimal number between 0 and 100, both excluded.
    pub fn parse_percent(text: &str) -> Result<Self, UnitError> {
        Ok(Self { alpha: complement_of_percent(text, "confidence")? })
    }

    /// `1 - confidence`: the share of healthy rollouts that chance may convict.
    #[must_use]
    pub const fn alpha(self) -> f64 {
        self.alpha
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_exact_to_the_last_bit() {
        assert_eq!(ErrorBudget::of_target("99.9").unwrap().ratio(), 0.001);
        assert_eq!(ErrorBudget::of_target("99.99").unwrap().ratio(), 0.0001);
        assert_eq!(ErrorBudget::of_target("25").unwrap().ratio(), 0.75);
    }

    #[test]
    fn what_is_no_percentage_is_refused_with_words() {
        for bad in ["", "0", "100", "100.0", "-1", "1e1", "99,9", ".5", "NaN", "1234567890123456", "٣"] {
            assert!(ErrorBudget::of_target(bad).is_err(), "{bad}");
        }
        let error = ErrorBudget::of_target("100").unwrap_err().to_string();
        assert_eq!(error, "target is 100; write a number above 0 and below 100");
    }

    #[test]
    fn a_burn_rate_is_the_ratio_over_the_budget() {
        let budget = ErrorBudget::of_target("99.9").unwrap();
        assert_eq!(BurnRate::of_ratio(0.003, budget).factor(), 3.0);
        assert_eq!(BurnRate::parse("2.3").unwrap().factor(), 2.3);
        assert!(BurnRate::parse("0").is_err());
    }
}
