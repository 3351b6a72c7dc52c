//! Durations as a policy writes them.

use std::time::Duration;

/// Reads hours, minutes and seconds, in this order and each at most once: `30s`, `1h30m`. `None` for anything else.
pub(super) fn hours_minutes_seconds(text: &str) -> Option<Duration> {
    units(text, &[('h', 3600, 4), ('m', 60, 4), ('s', 1, 5)])
}

/// Reads minutes, seconds, milliseconds and microseconds, in this order and each at most once: `250ms`, `1s500ms`. `None` for
/// anything else.
pub(super) fn down_to_microseconds(text: &str) -> Option<Duration> {
    // Both letters of a unit are taken at once, so that neither is taken for a unit of one letter.
    let (coarse, fine) =
        text.split_at(text.find("ms").or_else(|| text.find("us")).map_or(text.len(), |unit| {
            text[..unit].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |before| before + 1)
        }));
    let coarse = if coarse.is_empty() { 0 } else { units(coarse, &[('m', 60, 2), ('s', 1, 4)])?.as_secs() };
    let part = |text: &str, unit: &str| -> Option<u64> {
        let digits = text.strip_suffix(unit)?;
        let good = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| digits.parse().ok())?
    };
    let microseconds = match fine.split_once("ms") {
        None if fine.is_empty() => 0,
        None => part(fine, "us")?,
        Some((milliseconds, rest)) => {
            let rest = if rest.is_empty() { 0 } else { part(rest, "us")? };
            part(milliseconds, "")? * 1000 + rest
        }
    };
    (!text.is_empty()).then(|| Duration::from_secs(coarse) + Duration::from_micros(microseconds))
}

/// Reads whole days or whole hours: `28d`, `36h`. `None` for anything else.
pub(super) fn days_or_hours(text: &str) -> Option<Duration> {
    units(text, &[('d', 86_400, 2)]).or_else(|| units(text, &[('h', 3600, 4)]))
}

/// Reads numbers followed by units, which may each be left out but not all, of at most so many digits.
fn units(text: &str, units: &[(char, u64, usize)]) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0;
    for &(unit, length, digits) in units {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || number.len() > digits || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds += number.parse::<u64>().ok()? * length;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

/// Writes a duration as people do: `28d`, `1h30m`, `47h`, `12s`. Two units at most; whole days only from two days on.
#[must_use]
pub fn humane(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |big: u64, big_unit, small: u64, small_unit| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3600..172_800 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        let seconds = |text| hours_minutes_seconds(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("1h0m5s"), Some(3605));
        assert_eq!(seconds("90m"), Some(5400));
    }

    #[test]
    fn thresholds_go_down_to_microseconds() {
        let microseconds = |text| down_to_microseconds(text).map(|duration| duration.as_micros());
        assert_eq!(microseconds("250ms"), Some(250_000));
        assert_eq!(microseconds("1s"), Some(1_000_000));
        assert_eq!(microseconds("2m"), Some(120_000_000));
        assert_eq!(microseconds("1m1s500ms20us"), Some(61_500_020));
        assert_eq!(microseconds("500us"), Some(500));
        for bad in
            ["", "250", "ms", "-1ms", "1.5s", "1ms1s", "1h", "1us1ms", "1ns", "1ms ", "250 ms", "1234567ms", "1sms"]
        {
            assert_eq!(microseconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused() {
        for bad in
            ["", "30", "s", "30s1m", "1m1m", "-5s", "1.5m", "30 s", "5M", "٣s", "28d", "100000s", "1hh", "\u{a0}1s"]
        {
            assert_eq!(hours_minutes_seconds(bad), None, "{bad:?}");
        }
        for bad in ["", "d", "1d1h", "28", "1w", "30m", "100d"] {
            assert_eq!(days_or_hours(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_budget_window_is_days_or_hours() {
        assert_eq!(days_or_hours("28d"), Some(Duration::from_secs(28 * 86_400)));
        assert_eq!(days_or_hours("36h"), Some(Duration::from_secs(36 * 3600)));
    }

    #[test]
    fn people_read_two_units_at_most() {
        let text = |seconds| humane(Duration::from_secs(seconds));
        assert_eq!(text(28 * 86_400), "28d");
        assert_eq!(text(47 * 3600 + 59), "47h");
        assert_eq!(text(3661), "1h1m");
        assert_eq!(text(90), "1m30s");
        assert_eq!(text(0), "0s");
    }

    proptest! {
        #[test]
        fn what_is_written_below_two_days_is_read_back(seconds in 0_u64..3600) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(hours_minutes_seconds(&humane(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC*") {
            let _ = (hours_minutes_seconds(&text), days_or_hours(&text));
        }
    }
}
