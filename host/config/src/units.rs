use std::time::Duration;

/// Why a text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number and a unit.
    #[error("expected {expected}")]
    Malformed {
        /// What would be right, with an example.
        expected: &'static str,
    },
    /// A unit that nobody knows.
    #[error("unknown unit `{unit}`")]
    Unit {
        /// What was written; cut to a few characters.
        unit: String,
        /// The units there are.
        known: &'static str,
    },
    /// Too large to mean anything.
    #[error("more than {limit}")]
    TooLarge {
        /// The largest one.
        limit: &'static str,
    },
}

impl UnitError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } | Self::TooLarge { .. } => None,
            Self::Unit { known, unit } => Some(match short(unit).filter(|_| *known == DURATION_WORDS) {
                Some("7d") => format!("a week is `7d`; units are {known}"),
                Some(short) => format!("write `{short}` for it; units are {known}"),
                None => format!("units are {known}"),
            }),
        }
    }
}

/// What a unit is called here that was written out.
fn short(unit: &str) -> Option<&'static str> {
    let unit = unit.to_lowercase();
    let names = [
        ("milli", "ms"),
        ("sec", "s"),
        ("min", "m"),
        ("hour", "h"),
        ("hr", "h"),
        ("day", "d"),
        ("week", "7d"),
    ];
    names
        .iter()
        .find(|(long, _)| unit.starts_with(long))
        .map(|(_, short)| *short)
}

const DURATION_WORDS: &str = "ms, s, m, h, d";
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const DURATION_MAX_MS: u64 = 3_660 * 86_400_000;
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const SIZE_MAX_BYTES: u64 = 64 << 30;

/// Reads `"90s"`, `"24h"`, `"1h 30m"`, `"250ms"`: whole numbers with units, largest first, each at most once.
///
/// # Errors
/// Says what is wrong; never repeats a long input.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const EXPECTED: &str = "a number with its unit, like \"90s\", \"24h\" or \"1h 30m\"";
    let malformed = UnitError::Malformed { expected: EXPECTED };
    let mut rest = text.trim();
    let mut total_ms = 0_u64;
    let mut last_factor = u64::MAX;
    if rest.is_empty() || rest.len() > 64 {
        return Err(malformed);
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or(malformed.clone())?;
        let unit_length = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        if unit.is_empty() {
            // `5 minutes`: the word is what is wrong, and then the space.
            let word = after.split_whitespace().next();
            word.map(|word| factor_of(word, &DURATION_UNITS, DURATION_WORDS))
                .transpose()?;
            return Err(malformed);
        }
        let factor = factor_of(unit, &DURATION_UNITS, DURATION_WORDS)?;
        if factor >= last_factor {
            return Err(malformed);
        }
        last_factor = factor;
        let too_large = UnitError::TooLarge { limit: "3660d" };
        let part = number.checked_mul(factor).ok_or(too_large.clone())?;
        total_ms = total_ms
            .checked_add(part)
            .filter(|ms| *ms <= DURATION_MAX_MS)
            .ok_or(too_large)?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(total_ms))
}

/// Reads `"128 MiB"`, `"64KiB"`, `"512 B"`.
///
/// # Errors
/// Says what is wrong; never repeats a long input.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let malformed = UnitError::Malformed {
        expected: "a number with its unit, like \"128 MiB\"",
    };
    let text = text.trim();
    let (number, after) = split_number(text)
        .filter(|_| text.len() <= 64)
        .ok_or(malformed.clone())?;
    let unit = after.trim_start();
    if unit.is_empty() || !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(malformed);
    }
    let factor = factor_of(unit, &SIZE_UNITS, "B, KiB, MiB, GiB")?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes <= SIZE_MAX_BYTES)
        .ok_or(UnitError::TooLarge { limit: "64 GiB" })
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    Some((digits.parse().ok()?, rest))
}

fn factor_of(unit: &str, units: &[(&str, u64)], known: &'static str) -> Result<u64, UnitError> {
    let found = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    found.ok_or_else(|| UnitError::Unit {
        unit: unit.chars().take(12).collect(),
        known,
    })
}

/// The shortest text that `parse_duration` reads back as the same duration (to the millisecond).
pub fn show_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest_ms == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, factor) in DURATION_UNITS.iter().rev() {
        if rest_ms >= *factor {
            parts.push(format!("{}{unit}", rest_ms / factor));
            rest_ms %= factor;
        }
    }
    parts.join(" ")
}

/// The text that `parse_size` reads back as the same size, in the largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    let fits = |factor: u64| bytes != 0 && bytes.is_multiple_of(factor);
    let (unit, factor) = SIZE_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| fits(*factor))
        .unwrap_or(&SIZE_UNITS[0]);
    format!("{} {unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_are_shown() {
        for text in ["0s", "250ms", "90s", "24h", "1h 30m", "7d", "3660d", "1h30m"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration), "{text}");
        }
        assert_eq!(show_duration(parse_duration("90m").unwrap()), "1h 30m");
    }

    #[test]
    fn a_duration_without_unit_or_with_a_wrong_one_is_refused() {
        for bad in [
            "", "24", "h", "24 h", "-1s", "1.5h", "30m 1h", "1h 1h", "1h,30m", "٣s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
        let error = parse_duration("24hours").unwrap_err();
        assert_eq!(
            (error.to_string(), error.hint()),
            (
                "unknown unit `hours`".into(),
                Some("write `h` for it; units are ms, s, m, h, d".into())
            )
        );
    }

    #[test]
    fn a_duration_past_ten_years_is_refused_and_nothing_overflows() {
        for bad in ["3661d", "18446744073709551615d", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_need_a_binary_unit() {
        assert_eq!(parse_size("128 MiB"), Ok(128 << 20));
        assert_eq!(parse_size("64KiB"), Ok(64 << 10));
        for bad in ["", "128", "128 MB", "1.5 MiB", "65 GiB", "MiB", "-1 MiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
        for bytes in [0, 1, 1024, 1025, 128 << 20] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
    }
}
