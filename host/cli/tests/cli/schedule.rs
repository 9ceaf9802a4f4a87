//! `keywheel schedule`: the next times, without a host and without a state; what is wrong with a schedule, on the binary.

use crate::kit::{Place, Ran, same_as_file};

const ROTATIONS: &str = r#"[schedule]
zone = "Europe/Berlin"
jitter = "0s"
blackout = [{ from = "2026-12-20", to = "2027-01-06" }]

[[rotation]]
name = "app-db"
plugin = "postgres"
secret = "app/db"
schedule = "30 2 * * SUN"

[[rotation]]
name = "founding-sketch"
plugin = "postgres"
secret = "sketch/db"
schedule = { cron = "0 0 */7 * *", zone = "UTC" }

[[rotation]]
name = "fridays-only"
plugin = "postgres"
secret = "billing/db"
schedule = { cron = "@daily", zone = "America/New_York", jitter = "1h", window = [{ start = "0 22 * * FRI", for = "8h" }] }

[[rotation]]
name = "by-hand"
plugin = "postgres"
secret = "hand/db"

[[rotation]]
name = "by-expiry"
plugin = "postgres"
secret = "life/db"
schedule = { before_expiry = "30d" }

[[rotation]]
name = "stopped"
plugin = "postgres"
secret = "stopped/db"
schedule = { every = "36h", paused = true }
"#;

fn place(text: &str) -> Place {
    let place = Place::new();
    place.write("keywheel.toml", text);
    place
}

/// With that line as the schedule of the only rotation.
fn of(line: &str) -> Place {
    place(&format!(
        "[[rotation]]\nname = \"app-db\"\nplugin = \"postgres\"\nsecret = \"app/db\"\nschedule = {line}\n"
    ))
}

fn json(ran: &Ran) -> serde_json::Value {
    assert_eq!(ran.exit, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// The local times that were printed of the first rotation.
fn times(ran: &Ran) -> Vec<String> {
    let times = json(ran)[0]["times"].clone();
    let times = times.as_array().unwrap().iter();
    times
        .map(|time| time["local"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_next_times_are_printed_as_the_clocks_of_their_zones_show_them() {
    let ran = place(ROTATIONS).run("schedule next --at 2026-10-20 --count 3");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let all = format!(
        "$ keywheel schedule next --at 2026-10-20 --count 3\n{}\n{}",
        ran.out, ran.err
    );
    same_as_file("tests/cli/snapshots/schedule.txt", &all);
}

#[test]
fn a_list_has_every_rotation_those_by_hand_too() {
    let place = place(ROTATIONS);
    let listed = json(&place.run("-o json schedule list"));
    let of = |at: usize, key: &str| listed[at][key].clone();
    assert_eq!(listed.as_array().unwrap().len(), 6);
    assert_eq!(of(0, "schedule"), "30 2 * * SUN, 80 % of its life");
    assert_eq!(
        (of(0, "zone"), of(0, "none")),
        ("Europe/Berlin".into(), serde_json::Value::Null)
    );
    assert!(
        of(0, "next")["local"]
            .as_str()
            .unwrap()
            .ends_with(" Europe/Berlin")
    );
    assert_eq!(
        (of(3, "schedule"), of(3, "none")),
        ("by hand".into(), "by hand alone".into())
    );
    assert_eq!(of(4, "none"), "never: its credential has no known expiry");
    assert_eq!(of(5, "none"), "paused");
    let ran = place.run("schedule list");
    assert!(
        ran.out.starts_with("ROTATION ") && ran.out.contains("by hand alone"),
        "{}",
        ran.out
    );
    assert!(
        ran.err
            .contains("the 1st, 8th, 15th, 22nd and 29th, not every 7 days"),
        "{}",
        ran.err
    );
}

#[test]
fn the_sketchs_expressions_mean_the_dates_that_they_mean() {
    let monthly = of("\"0 0 1 * *\"").run("-o json schedule next --at 2026-11-26 --count 2");
    let weekly = of("{ cron = \"0 0 */7 * *\", jitter = \"0s\" }")
        .run("-o json schedule next --at 2026-11-09 --count 5");
    let days = |ran: &Ran| {
        let days = times(ran).into_iter();
        days.map(|time| time[..14].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(days(&monthly), ["Tue 2026-12-01", "Fri 2027-01-01"]);
    assert_eq!(
        days(&weekly),
        [
            "Sun 2026-11-15",
            "Sun 2026-11-22",
            "Sun 2026-11-29",
            "Tue 2026-12-01",
            "Tue 2026-12-08"
        ]
    );
}

#[test]
fn count_and_until_bound_what_is_printed() {
    let place = of("{ cron = \"@daily\", jitter = \"0s\" }");
    let count = |words: &str| {
        times(&place.run(&format!(
            "-o json schedule next --at 2026-11-26T12:00:00Z {words}"
        )))
        .len()
    };
    assert_eq!(count(""), 5);
    assert_eq!(count("--count 7"), 7);
    assert_eq!(count("--until 90d"), 90);
    assert_eq!(count("--until 2026-11-29"), 3);
    assert_eq!(count("--until 90d --count 2"), 2);
    assert_eq!(count("--until 3000d"), 1000, "it is bounded");
    for (words, what) in [
        ("--count 0", "'0'"),
        ("--count 1001", "'1001'"),
        ("--until soon", "a span like 90d"),
        ("--at yesterday", "a time like"),
    ] {
        let ran = place.run(&format!("schedule next {words}"));
        assert_eq!((ran.exit, ran.out.as_str()), (2, ""), "{words}");
        assert!(ran.err.contains(what), "{words}: {}", ran.err);
    }
}

#[test]
fn a_rotation_that_there_is_not_is_named_with_the_nearest() {
    let ran = place(ROTATIONS).run("schedule next app-bd");
    assert_eq!(ran.exit, 23);
    assert!(ran.err.contains("did you mean `app-db`?"), "{}", ran.err);
    let ran = place(ROTATIONS).run("schedule next by-hand");
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (0, "by-hand: nothing is due: by hand alone\n")
    );
}

#[test]
fn a_bad_schedule_is_refused_by_config_check_at_its_characters() {
    for (line, code, place, hint) in [
        (
            "\"0 0 30 2 *\"",
            "schedule.never-comes",
            "5:17",
            "`L` is the last day",
        ),
        ("\"0 0 3 * * SUN\"", "schedule.seconds", "5:12", "seconds = true"),
        ("\"0 3 * * SONNTAG\"", "schedule.expression", "5:21", "MON#1"),
        (
            "\"0 0 13 * FRI\"",
            "schedule.both-days",
            "5:22",
            "leave one of them `*`",
        ),
        (
            "{ cron = \"@daily\", zone = \"Europe/Berln\" }",
            "schedule.zone",
            "5:38",
            "Europe/Berlin",
        ),
    ] {
        let ran = of(line).run("config check");
        assert_eq!((ran.exit, ran.out.as_str()), (20, ""), "{line}");
        for words in [code, place, hint] {
            assert!(ran.err.contains(words), "{line}: {words}: {}", ran.err);
        }
    }
}

#[test]
fn windows_that_leave_no_time_are_refused_by_config_check_and_told_by_schedule() {
    let place = of(
        "{ cron = \"@daily\", window = [{ start = \"0 1 * * *\", for = \"2h\" }], blackout = [{ start = \"0 0 * * *\", for = \"4h\" }] }",
    );
    for words in ["config check", "schedule list", "schedule next"] {
        let ran = place.run(words);
        assert_eq!((ran.exit, ran.out.as_str()), (20, ""), "{words}: {}", ran.err);
        let told = "windows and blackouts leave no time within the next 400 days";
        assert!(
            ran.err.contains("schedule.no-time") && ran.err.contains(told),
            "{words}: {}",
            ran.err
        );
    }
}
