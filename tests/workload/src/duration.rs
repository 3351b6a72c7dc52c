//! Durations as people write them.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Reads a number of `ms`, `s` or `m`: `250ms`.
///
/// # Errors
/// When it is something else.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|character: char| character.is_alphabetic()).unwrap_or(text.len()));
    let number: u64 = number.parse().with_context(|| format!("{text:?} is no duration such as 250ms or 2s"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => bail!("{text:?} needs a unit: ms, s or m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms").ok(), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m").ok(), Some(Duration::from_secs(120)));
        assert!(parse_duration("2").is_err_and(|error| error.to_string().contains("unit")));
        assert!(parse_duration("s").is_err());
    }
}
