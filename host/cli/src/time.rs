//! Times and spans as people read them. Always UTC, so that two people see the same.

use jiff::Timestamp as Instant;
use keywheel_model::Timestamp;

/// `2026-11-25 01:58:50Z`
pub(crate) fn show(at: Timestamp) -> String {
    let instant = i64::try_from(at.as_unix_ms())
        .ok()
        .and_then(|ms| Instant::from_millisecond(ms).ok());
    instant.map_or_else(
        || "out of range".to_owned(),
        |instant| instant.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// The same to the millisecond and in one word, to be read again.
pub(crate) fn exact(at: Timestamp) -> String {
    let instant = i64::try_from(at.as_unix_ms())
        .ok()
        .and_then(|ms| Instant::from_millisecond(ms).ok());
    instant.map_or_else(|| "out of range".to_owned(), |instant| instant.to_string())
}

/// `2026-11-25 01:58:50Z`, or a dash.
pub(crate) fn show_or_dash(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), show)
}

/// Reads `2026-11-25`, `2026-11-25T01:58:50Z`, `2026-11-25 01:58:50Z`: without a zone it is UTC.
///
/// # Errors
/// It is none of these.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let instant = text.parse::<Instant>().or_else(|_| {
        let civil = text.parse::<jiff::civil::DateTime>()?;
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map(|zoned| zoned.timestamp())
    });
    let ms = instant
        .ok()
        .and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
    ms.map(Timestamp::from_unix_ms)
        .ok_or_else(|| "expected a time like 2026-11-25 or 2026-11-25T01:58:50Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        let at = Timestamp::from_unix_ms(1_795_571_930_000);
        assert_eq!(show(at), "2026-11-25 01:58:50Z");
        assert_eq!(parse(&show(at)), Ok(at));
        assert_eq!(parse("2026-11-25T01:58:50"), Ok(at));
        assert_eq!(
            parse("2026-11-25").map(show),
            Ok("2026-11-25 00:00:00Z".to_owned())
        );
    }

    #[test]
    fn other_texts_and_times_before_1970_are_refused() {
        for bad in ["", "yesterday", "2026-13-01", "1969-12-31"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(show(Timestamp::from_unix_ms(u64::MAX)), "out of range");
    }
}
