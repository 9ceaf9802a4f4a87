//! `[schedule]` and a rotation's `schedule`: what they mean, and every kind of bad input at its place.

#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use keywheel_config::{Config, Draft, Problem, parse};
use keywheel_model::Timestamp;
use keywheel_schedule::{CatchUp, Schedule, Trigger};

const ROTATION: &str = "[[rotation]]\nname = \"app-db\"\nplugin = \"postgres\"\nsecret = \"app/db\"\n";
const HOUR: Duration = Duration::from_hours(1);

/// A moment: 2026-11-26T12:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_ms(1_795_694_400_000);

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    parse(text, Path::new("keywheel.toml")).map_err(|problems| problems.iter().cloned().collect())
}

fn schedule(text: &str) -> Schedule {
    read(text).unwrap().rotations[0].schedule.clone()
}

/// Of a rotation with that line.
fn of(line: &str) -> Schedule {
    schedule(&format!("{ROTATION}{line}\n"))
}

fn problems(line: &str) -> Vec<Problem> {
    read(&format!("{ROTATION}{line}\n")).unwrap_err()
}

fn only(line: &str) -> Problem {
    let all = problems(line);
    assert_eq!(all.len(), 1, "{line}: {all:#?}");
    all.into_iter().next().unwrap()
}

/// What is underlined of the line.
fn marked(problem: &Problem) -> String {
    let line = problem.line_text.as_deref().unwrap();
    line.chars()
        .skip(problem.place.column - 1)
        .take(problem.length)
        .collect()
}

fn cron(schedule: &Schedule) -> &str {
    match &schedule.trigger {
        Some(Trigger::Cron(expression)) => expression.as_str(),
        other => panic!("no expression: {other:?}"),
    }
}

#[test]
fn without_a_schedule_it_runs_by_hand_alone() {
    assert!(of("").is_manual());
    assert!(of("schedule = \"manual\"").is_manual());
    let text = format!("[schedule]\nrenew_at = 0.5\nbefore_expiry = \"30d\"\n{ROTATION}");
    assert!(
        schedule(&text).is_manual(),
        "defaults schedule nothing by themselves"
    );
}

#[test]
fn the_usual_case_is_one_line() {
    let weekly = of("schedule = \"0 3 * * SUN\"");
    assert_eq!(cron(&weekly), "0 3 * * SUN");
    assert_eq!(weekly.zone.name(), "UTC");
    assert_eq!((weekly.renew_at, weekly.before_expiry), (Some(800), None));
    assert_eq!((weekly.jitter, weekly.catch_up), (HOUR / 4, CatchUp::One));
    assert_eq!(cron(&of("schedule = \"@daily\"")), "@daily");
    for line in [
        "schedule = \"@every 36h\"",
        "schedule = { every = \"36h\" }",
        "schedule = { cron = \"@every  36h\" }",
    ] {
        assert_eq!(of(line).trigger, Some(Trigger::Every(36 * HOUR)), "{line}");
    }
}

#[test]
fn a_table_says_more_and_stands_over_the_defaults() {
    let text = format!(
        r#"
[schedule]
zone = "Europe/Berlin"
jitter = "1h"
catch_up = "skip"
max_lateness = "2h"
before_expiry = "20d"
window = [{{ start = "0 22 * * FRI", for = "8h" }}]
blackout = [{{ from = "2026-12-20", to = "2027-01-06" }}]
{ROTATION}
[rotation.schedule]
cron = "30 0 3 * * *"
seconds = true
zone = "America/New_York"
renew_at = 0.667
jitter = "0s"
on_start = true
window = []
blackout = [{{ start = "0 8 * * MON-FRI", for = "10h" }}]
"#
    );
    let own = schedule(&text);
    assert_eq!(own.zone.name(), "America/New_York");
    assert_eq!(
        (own.jitter, own.catch_up, own.max_lateness),
        (Duration::ZERO, CatchUp::Skip, Some(2 * HOUR))
    );
    assert_eq!(
        (own.renew_at, own.before_expiry),
        (Some(667), None),
        "its own word on its life"
    );
    assert_eq!(
        (own.windows.len(), own.blackouts.len()),
        (0, 2),
        "blackouts add up"
    );
    assert!(own.on_start && !own.paused);
    let text = text.split("[rotation.schedule]").next().unwrap().to_owned();
    let shared = schedule(&format!("{text}schedule = \"@daily\"\n"));
    assert_eq!(shared.zone.name(), "Europe/Berlin");
    assert_eq!((shared.renew_at, shared.before_expiry), (None, Some(480 * HOUR)));
    assert_eq!((shared.windows.len(), shared.blackouts.len()), (1, 1));
    assert_eq!(shared.windows[0].zone.name(), "Europe/Berlin");
}

#[test]
fn each_wrong_expression_is_marked_at_the_characters_that_are_wrong() {
    for (line, code, wrong) in [
        ("schedule = \"often\"", "schedule.expression", "\"often\""),
        ("schedule = \"0 25 * * *\"", "schedule.expression", "25"),
        ("schedule = '0 1,2,99 * * *'", "schedule.expression", "99"),
        (
            "schedule = \"0 0 3 * * SUN\"",
            "schedule.seconds",
            "\"0 0 3 * * SUN\"",
        ),
        ("schedule = \"0 0 30 2 *\"", "schedule.never-comes", "30"),
        ("schedule = \"0 0 13 * FRI\"", "schedule.both-days", "FRI"),
        (
            "schedule = \"@fortnightly\"",
            "schedule.expression",
            "\"@fortnightly\"",
        ),
        ("schedule = \"@every\"", "config.unit", "\"@every\""),
        ("schedule = \"@every 36\"", "config.unit", "\"@every 36\""),
        ("schedule = \"@every 2weeks\"", "config.unit", "\"@every 2weeks\""),
        ("schedule = { cron = \"0 3 * * 8\" }", "schedule.expression", "8"),
        (
            "schedule = { cron = \"0 3 * * SUN\", seconds = true }",
            "schedule.expression",
            "\"0 3 * * SUN\"",
        ),
        (
            "schedule = { window = [{ start = \"0 99 * * *\", for = \"1h\" }] }",
            "schedule.expression",
            "99",
        ),
        (
            "schedule = { blackout = [{ start = \"x * * * *\", for = \"1h\" }] }",
            "schedule.expression",
            "x",
        ),
    ] {
        let problem = only(line);
        assert_eq!((problem.code, marked(&problem).as_str()), (code, wrong), "{line}");
        assert!(problem.hint.is_some(), "{line}");
    }
}

#[track_caller]
fn told(cases: &[(&str, &str, &str)]) {
    for (line, code, words) in cases {
        let problem = only(line);
        assert_eq!(problem.code, *code, "{line}: {problem:#?}");
        assert!(problem.message.contains(words), "{line}: {}", problem.message);
    }
}

#[test]
fn everything_else_that_is_wrong_is_told_too() {
    told(&[
        ("schedule = 5", "config.type", "expected a string or a table"),
        (
            "schedule = { crno = \"@daily\" }",
            "config.unknown-key",
            "unknown key `crno`",
        ),
        (
            "schedule = { zone = \"Europe/Berln\" }",
            "schedule.zone",
            "no time zone `Europe/Berln`",
        ),
        (
            "schedule = { zone = \"+02:00\" }",
            "schedule.zone",
            "no time zone `+02:00`",
        ),
        ("schedule = { renew_at = 80 }", "config.value", "more than 0.99"),
        ("schedule = { renew_at = 0.0 }", "config.value", "less than 0.05"),
        ("schedule = { every = \"0s\" }", "config.range", "from 1s"),
        ("schedule = \"@every 0s\"", "config.range", "from 1s"),
        (
            "schedule = { every = \"36\" }",
            "config.unit",
            "a number with its unit",
        ),
        (
            "schedule = { cron = \"@daily\", every = \"36h\" }",
            "config.value",
            "side by side",
        ),
        (
            "schedule = { every = \"36h\", seconds = true }",
            "config.value",
            "no expression",
        ),
        (
            "schedule = { catch_up = \"all\" }",
            "config.value",
            "\"one\" or \"skip\"",
        ),
        ("schedule = { jitter = \"2d\" }", "config.range", "to 1d"),
    ]);
    let hint = only("schedule = { zone = \"Europe/Berln\" }").hint.unwrap();
    assert_eq!(hint, "did you mean \"Europe/Berlin\"?");
}

#[test]
fn what_is_wrong_with_a_window_or_a_blackout_is_told() {
    told(&[
        (
            "schedule = { window = [{ start = \"@daily\" }] }",
            "config.missing-key",
            "`for`",
        ),
        (
            "schedule = { window = [{ start = \"@daily\", for = \"0s\" }] }",
            "config.range",
            "from 1m",
        ),
        (
            "schedule = { blackout = [{ from = \"2026-12-20\" }] }",
            "config.value",
            "`from` and `to`",
        ),
        (
            "schedule = { blackout = [{ from = \"2026-12-20\", for = \"1h\" }] }",
            "config.value",
            "`from` and `to`",
        ),
        (
            "schedule = { blackout = [{ from = \"Christmas\", to = \"2026-12-20\" }] }",
            "schedule.blackout",
            "expected a date",
        ),
        (
            "schedule = { blackout = [{ from = \"2026-12-20\", to = \"2026-12-19\" }] }",
            "schedule.blackout",
            "before it begins",
        ),
        (
            "schedule = { blackout = [{ from = 2026-12-20, to = \"2026-12-21\" }] }",
            "config.datetime",
            "date",
        ),
    ]);
}

#[test]
fn all_that_is_wrong_comes_at_once() {
    let text = format!(
        "[schedule]\nzone = \"Mars\"\nwindow = [{{ start = \"0 99 * * *\", for = \"1h\" }}]\n{ROTATION}schedule = {{ cron = \"0 0 30 2 *\", \
         jitter = \"1\", zone = \"Venus\" }}\n"
    );
    let codes: Vec<_> = read(&text)
        .unwrap_err()
        .iter()
        .map(|problem| problem.code)
        .collect();
    assert_eq!(
        codes,
        [
            "schedule.zone",
            "schedule.expression",
            "schedule.never-comes",
            "config.unit",
            "schedule.zone"
        ]
    );
}

#[test]
fn windows_and_blackouts_that_leave_no_time_are_an_error() {
    let no_time = |line: &str| {
        let mut draft = Draft::read(&format!("{ROTATION}{line}\n"), Path::new("keywheel.toml"));
        draft.examine_schedules(NOW);
        draft.finish().err().map(|problems| problems.code())
    };
    let overlap = "schedule = { cron = \"@daily\", window = [{ start = \"0 1 * * *\", for = \"2h\" }], \
                   blackout = [{ start = \"0 0 * * *\", for = \"4h\" }] }";
    assert_eq!(no_time(overlap), Some("schedule.no-time"));
    let years =
        "schedule = { cron = \"@daily\", blackout = [{ from = \"2026-01-01\", to = \"2028-12-31\" }] }";
    assert_eq!(no_time(years), Some("schedule.no-time"));
    let leaves_an_hour = overlap.replace("4h", "2h");
    assert_eq!(no_time(&leaves_an_hour), None);
    let is_over = years.replace("2028", "2026");
    assert_eq!(no_time(&is_over), None);
}

#[test]
fn what_is_often_not_meant_is_warned_of_at_its_place() {
    let text = format!("{ROTATION}schedule = \"0 0 */7 * *\"\n");
    let warnings = read(&text).unwrap().schedule_warnings();
    let [(place, told)] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert_eq!((place.line, place.column), (5, 1));
    assert!(
        told.contains("the 1st, 8th, 15th, 22nd and 29th, not every 7 days"),
        "{told}"
    );
    for quiet in [
        "0 0 * * SUN",
        "*/15 */6 * * *",
        "0 0 1 */3 *",
        "@monthly",
        "0 0 L * *",
    ] {
        let text = format!("{ROTATION}schedule = \"{quiet}\"\n");
        assert_eq!(read(&text).unwrap().schedule_warnings(), [], "{quiet}");
    }
}

#[test]
fn times_that_fall_short_of_their_windows_by_days_are_warned_of() {
    let warnings = |cron: &str, start: &str| {
        let schedule = format!("{{ cron = \"{cron}\", window = [{{ start = \"{start}\", for = \"2h\" }}] }}");
        let told = read(&format!("{ROTATION}schedule = {schedule}\n")).unwrap();
        let told = told.schedule_warnings().into_iter().map(|(_, words)| words);
        told.collect::<Vec<_>>()
    };
    let late = warnings("0 23 * * SUN", "0 0 * * SUN");
    assert!(
        late.len() == 1 && late[0].contains("more than a day before a window"),
        "{late:?}"
    );
    for (cron, start) in [
        ("0 23 * * SUN", "0 22 * * SUN"),
        ("@daily", "0 1 * * *"),
        ("0 23 * * *", "0 0 * * SUN"),
    ] {
        assert_eq!(warnings(cron, start), [""; 0], "{cron} {start}");
    }
}

#[test]
fn what_counts_is_shown_with_its_origin() {
    let config = read(&format!(
        "[schedule]\nzone = \"Europe/Berlin\"\n{ROTATION}schedule = \"@daily\"\n"
    ))
    .unwrap();
    let entries = config.effective();
    let of = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap();
    assert_eq!(of("schedule.zone").value, "Europe/Berlin");
    assert_eq!(of("schedule.jitter").value, "15m");
    let own = &of("rotation.app-db.schedule").value;
    assert_eq!(
        (&own["cron"], &own["zone"], &own["renew_at"]),
        (&"@daily".into(), &"Europe/Berlin".into(), &0.8.into())
    );
}
