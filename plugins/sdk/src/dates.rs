//! Dates as services write them: days of the calendar, UTC.

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The day of a time in milliseconds since the epoch: `2026-11-28`.
pub fn day(ms: u64) -> String {
    // Days from 0000-03-01, so that the day that a year may lack is its last one.
    let days = ms / DAY_MS + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * shifted + 2) / 5 + 1)
}

/// The same with its time, in whole seconds: `2026-11-28T17:30:00Z` (RFC 3339).
pub fn instant(ms: u64) -> String {
    let seconds = ms % DAY_MS / 1000;
    format!("{}T{:02}:{:02}:{:02}Z", day(ms), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The midnight with which the day of a time begins, so many days later.
pub fn midnight_after(ms: u64, days: u32) -> u64 {
    (ms / DAY_MS + u64::from(days)) * DAY_MS
}

/// So many days later.
pub fn after(ms: u64, days: u32) -> u64 {
    ms + u64::from(days) * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_440_938_160, "2015-08-30T12:36:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(instant(seconds * 1000 + 999), text);
        }
        let noon = 1_440_938_160_000;
        assert_eq!(day(midnight_after(noon, 2)), "2015-09-01");
        assert_eq!(instant(midnight_after(noon, 0)), "2015-08-30T00:00:00Z");
        assert_eq!(instant(after(noon, 1)), "2015-08-31T12:36:00Z");
    }
}
