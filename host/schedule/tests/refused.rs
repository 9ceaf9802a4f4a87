//! What is no schedule: each is refused with its code, its field and column, and a way out.

#![cfg(test)]

use keywheel_schedule::{Blackout, Error, Expression, Zone, Zones};

fn refused(text: &str) -> Error {
    Expression::parse(text, false).unwrap_err()
}

/// A text, its code, and what is said of it.
const NONSENSE: &[(&str, &str, &str)] = &[
    ("", "schedule.expression", "expected 5 fields, found 0"),
    ("often", "schedule.expression", "expected 5 fields, found 1"),
    ("0 3 * *", "schedule.expression", "expected 5 fields, found 4"),
    (
        "0 0 3 * * SUN",
        "schedule.seconds",
        "six fields: the first one would be seconds, and nothing says so",
    ),
    (
        "0 0 3 * * SUN 2026",
        "schedule.expression",
        "expected 5 fields, found 7",
    ),
    (
        "60 3 * * *",
        "schedule.expression",
        "minute (column 1): `60` is not a number from 0 to 59",
    ),
    (
        "0 24 * * *",
        "schedule.expression",
        "hour (column 3): `24` is not a number from 0 to 23",
    ),
    (
        "0 0 32 * *",
        "schedule.expression",
        "day of the month (column 5): `32` is not a number from 1 to 31",
    ),
    (
        "0 0 0 * *",
        "schedule.expression",
        "day of the month (column 5): `0` is not a number from 1 to 31",
    ),
    (
        "0 0 * 13 *",
        "schedule.expression",
        "month (column 7): `13` is not a number from 1 to 12, or JAN to DEC",
    ),
    (
        "0 0 * * 8",
        "schedule.expression",
        "day of the week (column 9): `8` is not a number from 0 to 7, or SUN to SAT",
    ),
    (
        "0 0 * * SONNTAG",
        "schedule.expression",
        "day of the week (column 9): `SONNTAG` is not a number from 0 to 7, or SUN to SAT",
    ),
    (
        "0 0 * * 1SUN",
        "schedule.expression",
        "day of the week (column 9): `1SUN` is not a number from 0 to 7, or SUN to SAT",
    ),
    (
        "0 1,,2 * * *",
        "schedule.expression",
        "hour (column 5): an entry of the list is empty",
    ),
    (
        "0 1,99 * * *",
        "schedule.expression",
        "hour (column 5): `99` is not a number from 0 to 23",
    ),
    (
        "*/0 * * * *",
        "schedule.expression",
        "minute (column 1): the step `0` is not a number from 1 to 59",
    ),
    (
        "*/90 * * * *",
        "schedule.expression",
        "minute (column 1): the step `90` is not a number from 1 to 59",
    ),
    (
        "5/10 * * * *",
        "schedule.expression",
        "minute (column 1): a step follows `*` or a range, and `5` is neither",
    ),
    (
        "0 22-2 * * *",
        "schedule.expression",
        "hour (column 3): the range `22-2` ends before it begins",
    ),
    (
        "-5 * * * *",
        "schedule.expression",
        "minute (column 1): `` is not a number from 0 to 59",
    ),
    (
        "0 0 * * MON#6",
        "schedule.expression",
        "day of the week (column 9): after `#` stands which of the month it is, 1 to 5",
    ),
    (
        "L * * * *",
        "schedule.expression",
        "minute (column 1): `L` is not a number from 0 to 59",
    ),
    (
        "H(5 * * * *",
        "schedule.expression",
        "minute (column 1): this is no form of `H`",
    ),
    (
        "Hx * * * *",
        "schedule.expression",
        "minute (column 1): this is no form of `H`",
    ),
    (
        "٣ * * * *",
        "schedule.expression",
        "minute (column 1): `٣` is not a number from 0 to 59",
    ),
    (
        "@fortnightly",
        "schedule.expression",
        "unknown word `@fortnightly`",
    ),
    ("@reboot", "schedule.expression", "unknown word `@reboot`"),
];

#[test]
fn nonsense_is_refused_at_its_field_and_column() {
    for &(text, code, message) in NONSENSE {
        let error = refused(text);
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (code, message),
            "{text:?}"
        );
        assert!(!error.hint().is_empty(), "{text:?}");
    }
}

#[test]
fn the_place_is_the_characters_that_are_wrong() {
    let text = "0  1,2,99 * * *";
    let range = refused(text).range().unwrap();
    assert_eq!(&text[range], "99");
    let text = "0 0 13 * FRI";
    let range = refused(text).range().unwrap();
    assert_eq!(&text[range], "FRI");
}

#[test]
fn a_day_that_never_comes_is_an_error_and_not_silence() {
    for (text, message) in [
        (
            "0 0 30 2 *",
            "day of the month (column 5): this day never comes: FEB has at most 29 days",
        ),
        (
            "0 0 31 4,JUN *",
            "day of the month (column 5): this day never comes: APR, JUN has at most 30 days",
        ),
        (
            "0 0 30-31 2 *",
            "day of the month (column 5): this day never comes: FEB has at most 29 days",
        ),
        (
            "0 0 31W 9 *",
            "day of the month (column 5): this day never comes: SEP has at most 30 days",
        ),
    ] {
        let error = refused(text);
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("schedule.never-comes", message),
            "{text:?}"
        );
    }
    // `H` may choose February.
    for text in ["0 0 31 H *", "0 0 31 H/9 *", "0 0 H(30-31) H *"] {
        assert_eq!(refused(text).code(), "schedule.never-comes", "{text:?}");
    }
    for text in [
        "0 0 29 2 *",
        "0 0 31 2,3 *",
        "0 0 L 2 *",
        "0 0 * 2 *",
        "0 0 29 H *",
    ] {
        assert!(Expression::parse(text, false).is_ok(), "{text:?}");
    }
}

#[test]
fn both_day_fields_restricted_are_refused() {
    for text in ["0 0 13 * FRI", "0 0 */2 * MON", "0 0 1 * 0-6", "0 0 L * 1"] {
        assert_eq!(refused(text).code(), "schedule.both-days", "{text:?}");
    }
}

#[test]
fn seconds_are_taken_where_they_were_asked_for_and_there_alone() {
    assert!(Expression::parse("30 0 3 * * SUN", true).is_ok());
    assert!(Expression::parse("@daily", true).is_ok());
    let error = Expression::parse("0 3 * * SUN", true).unwrap_err();
    assert_eq!(error.to_string(), "expected 6 fields, found 5");
}

#[test]
fn a_long_text_is_refused_without_being_repeated() {
    let error = refused(&"9".repeat(1 << 20));
    assert!(error.to_string().len() < 100, "{error}");
    let error = refused(&format!("@{}", "x".repeat(200)));
    assert!(error.to_string().len() < 100, "{error}");
}

#[test]
fn a_zone_is_a_name_and_no_offset() {
    let zones = Zones::bundled();
    for name in [
        "",
        "Europe/Berln",
        "+02:00",
        "GMT+2",
        "local",
        "../UTC",
        "CET-1CEST",
    ] {
        let error = Zone::named(name, &zones).unwrap_err();
        assert_eq!(error.code(), "schedule.zone", "{name:?}");
    }
    for name in ["UTC", "Europe/Berlin", "america/new_york", "Australia/Lord_Howe"] {
        assert!(Zone::named(name, &zones).is_ok(), "{name:?}");
    }
}

#[test]
fn a_blackout_has_two_dates_in_their_order() {
    let between = |from, to| Blackout::between(from, to, &Zone::UTC);
    assert!(between("2026-12-20", "2026-12-20").is_ok(), "one day");
    assert!(between("2026-12-20T18:00", "2026-12-20T18:30").is_ok());
    assert_eq!(between("2026-12-20", "2026-12-19"), Err(Error::Backwards));
    assert_eq!(between("2026-02-30", "2026-03-01"), Err(Error::Date));
    assert_eq!(between("2026-12-20", "2026-12-21T25:00"), Err(Error::Date));
    assert_eq!(between("soon", "later"), Err(Error::Date));
}
