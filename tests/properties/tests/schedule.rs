//! When a rotation runs, for any expression, zone, window, life and instant: it ends, it never goes back, it is never the instant it was asked from, it
//! stays in its window and before its expiry, and the answer is the same whenever it is asked.

#![allow(clippy::expect_used, reason = "a test may stop")]

use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};
use keywheel_properties::{any_text, budget};
use keywheel_schedule::{
    Admission, Blackout, CatchUp, Expression, Facts, Next, Pause, Planned, Priority, Retry, Schedule,
    Trigger, Window, Zone, Zones,
};
use proptest::prelude::*;
use proptest::sample::select;

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Antarctica/Troll",
];

/// From 1990 to 2150, in milliseconds.
const INSTANTS: std::ops::Range<u64> = 631_152_000_000..5_680_281_600_000;

fn field(low: u8, high: u8, special: &'static [&'static str]) -> impl Strategy<Value = String> {
    let one = (low..=high).prop_map(|one| one.to_string());
    let range = (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let stepped = (low..=high, low..=high, 1..=high.max(1))
        .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b)));
    let every = (1..=high.max(1)).prop_map(|step| format!("*/{step}"));
    let hashed = (1..=high.max(1)).prop_map(|step| format!("H/{step}"));
    let list = (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}"));
    let special = select(special).prop_map(ToOwned::to_owned);
    prop_oneof![
        2 => Just("*".to_owned()),
        4 => one,
        1 => range,
        1 => stepped,
        1 => every,
        1 => hashed,
        2 => list,
        2 => special,
    ]
}

fn cron() -> impl Strategy<Value = String> {
    let days = field(1, 31, &["L", "LW", "15W", "1W", "H"]).prop_map(|day| (day, "*".to_owned()));
    let weekdays = field(0, 7, &["MON#1", "FRIL", "5#5", "H", "SUN"]).prop_map(|day| ("*".to_owned(), day));
    let day = prop_oneof![days, weekdays];
    (
        field(0, 59, &["H", "H(0-9)"]),
        field(0, 23, &["H", "2"]),
        day,
        field(1, 12, &["H", "JAN,FEB"]),
    )
        .prop_map(|(minute, hour, (day, weekday), month)| format!("{minute} {hour} {day} {month} {weekday}"))
}

fn expression() -> impl Strategy<Value = Expression> {
    cron().prop_filter_map("a day that never comes", |text| {
        Expression::parse(&text, false).ok()
    })
}

fn zone() -> impl Strategy<Value = Zone> {
    select(&ZONES[..]).prop_map(|name| Zone::named(name, &Zones::bundled()).expect("a zone"))
}

fn span(most_hours: u32) -> impl Strategy<Value = Duration> {
    (1..=most_hours * 60).prop_map(|minutes| Duration::from_mins(minutes.into()))
}

fn window() -> impl Strategy<Value = Window> {
    (expression(), span(200), zone()).prop_map(|(start, length, zone)| Window { start, length, zone })
}

fn blackout(now: u64) -> impl Strategy<Value = Blackout> {
    let once = (0..200_u64, 1..2000_u64).prop_map(move |(from, hours)| {
        let from = Timestamp::from_unix_ms(now) + Duration::from_hours(from);
        Blackout::Once {
            from,
            until: from + Duration::from_hours(hours),
        }
    });
    prop_oneof![once, window().prop_map(Blackout::Recurring)]
}

fn schedule(now: u64) -> impl Strategy<Value = Schedule> {
    let trigger = prop_oneof![
        4 => expression().prop_map(|expression| Some(Trigger::Cron(expression))),
        1 => span(2000).prop_map(|every| Some(Trigger::Every(every))),
        1 => Just(None),
    ];
    let life = (
        proptest::option::of(1..1000_u16),
        proptest::option::of(span(3000)),
    );
    let rules = (
        proptest::collection::vec(window(), 0..3),
        proptest::collection::vec(blackout(now), 0..3),
    );
    let late = (
        select(&[CatchUp::One, CatchUp::Skip][..]),
        proptest::option::of(span(500)),
    );
    (trigger, life, rules, late, zone(), span(10)).prop_map(
        |(
            trigger,
            (renew_at, before_expiry),
            (windows, blackouts),
            (catch_up, max_lateness),
            zone,
            jitter,
        )| Schedule {
            trigger,
            renew_at,
            before_expiry,
            zone,
            jitter,
            catch_up,
            max_lateness,
            windows,
            blackouts,
            ..Schedule::default()
        },
    )
}

/// What is known of a rotation at an instant: all of it lies before, but for the expiry.
fn facts(now: u64) -> impl Strategy<Value = Facts> {
    let ago = move || {
        proptest::option::of(
            (0..10_000_u64).prop_map(move |hours| Timestamp::from_unix_ms(now - hours * 3_600_000)),
        )
    };
    let expires = proptest::option::of(
        (0..20_000_u64)
            .prop_map(move |hours| Timestamp::from_unix_ms(now - 3_600_000_000 + hours * 3_600_000)),
    );
    (ago(), ago(), ago(), expires).prop_map(|(last_success, first_seen, issued, expires)| Facts {
        last_success,
        first_seen,
        issued,
        expires,
        ..Facts::default()
    })
}

fn world() -> impl Strategy<Value = (Schedule, Facts, Timestamp)> {
    INSTANTS.prop_flat_map(|now| (schedule(now), facts(now), Just(Timestamp::from_unix_ms(now))))
}

fn name() -> RotationName {
    "app-db".parse().expect("a name")
}

/// What holds for each answer by itself.
fn holds(next: &Next, schedule: &Schedule, facts: &Facts, now: Timestamp) -> Result<(), TestCaseError> {
    let plan = schedule.plan(&name());
    let runs = next.due.max(now);
    prop_assert_eq!(
        plan.admits(runs, &Priority::Routine),
        Admission::Open,
        "closed at {}",
        runs
    );
    prop_assert!(next.jitter <= schedule.jitter);
    if let Some(open) = next.window {
        prop_assert_eq!(open.from + next.jitter, next.due);
        prop_assert!(open.until.is_none_or(|until| next.due < until));
    }
    if let Some(last) = facts.last_success {
        prop_assert!(next.due > last, "due at {}, last success {}", next.due, last);
    }
    if let Some(expires) = facts.expires.filter(|expires| *expires > now && !next.late) {
        prop_assert!(
            next.due <= expires || !next.because.is_lifetime(),
            "due at {}, expires {}",
            next.due,
            expires
        );
    }
    Ok(())
}

/// Minutes, hours and days of the week that an expression names; nothing else.
#[derive(Clone, Debug)]
struct Named {
    minutes: std::ops::RangeInclusive<i8>,
    hours: Vec<i8>,
    weekdays: Vec<i8>,
}

impl Named {
    fn any() -> impl Strategy<Value = Self> {
        let minutes = (0..60_i8, 0..60_i8).prop_map(|(a, b)| a.min(b)..=a.max(b));
        let hours = proptest::collection::vec(0..24_i8, 1..4);
        let weekdays = proptest::collection::vec(0..7_i8, 1..4);
        (minutes, hours, weekdays).prop_map(|(minutes, hours, weekdays)| Self {
            minutes,
            hours,
            weekdays,
        })
    }

    fn expression(&self) -> Expression {
        let list = |numbers: &[i8]| numbers.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        let (from, to) = (self.minutes.start(), self.minutes.end());
        let text = format!("{from}-{to} {} * * {}", list(&self.hours), list(&self.weekdays));
        Expression::parse(&text, false).expect("an expression")
    }

    /// The first real minute after an instant whose clock shows one of them: each is looked at, one after the other.
    fn after(&self, at: jiff::Timestamp, zone: &jiff::tz::TimeZone) -> i64 {
        const TWO_WEEKS: i64 = 14 * 24 * 60;
        let first = at.as_second().div_euclid(60) + 1;
        let shows = |minute: &i64| {
            let shown = zone.to_datetime(jiff::Timestamp::from_second(minute * 60).expect("a minute"));
            let weekday = shown.weekday().to_sunday_zero_offset();
            self.minutes.contains(&shown.minute())
                && self.hours.contains(&shown.hour())
                && self.weekdays.contains(&weekday)
        };
        (first..first + TWO_WEEKS)
            .find(shows)
            .expect("every week has one")
            * 60
    }
}

proptest! {
    #![proptest_config(budget(256))]

    #[test]
    fn what_repeats_is_the_next_real_minute_that_shows_it(named in Named::any(), zone in select(&ZONES[..]), after in INSTANTS) {
        let schedule = Schedule {
            trigger: Some(Trigger::Cron(named.expression())),
            zone: Zone::named(zone, &Zones::bundled()).expect("a zone"),
            jitter: Duration::ZERO,
            ..Schedule::default()
        };
        let rules = jiff::tz::TimeZoneDatabase::bundled().get(zone).expect("a zone");
        let facts = Facts { first_seen: Some(Timestamp::from_unix_ms(after)), ..Facts::default() };
        let mut last = jiff::Timestamp::from_millisecond(i64::try_from(after).expect("small")).expect("a time");
        for next in schedule.plan(&name()).upcoming(facts, Timestamp::from_unix_ms(after)).take(6) {
            let expected = named.after(last, &rules);
            prop_assert_eq!(i64::try_from(next.due.as_unix_ms() / 1000).expect("small"), expected);
            last = jiff::Timestamp::from_second(expected).expect("a time");
        }
    }

    #[test]
    fn what_is_due_is_within_its_windows_and_the_same_whenever_it_is_asked((schedule, facts, now) in world()) {
        let plan = schedule.plan(&name());
        let planned = plan.next(&facts, now);
        prop_assert_eq!(schedule.plan(&name()).next(&facts, now), planned, "another plan of the same");
        let Planned::Due(next) = planned else { return Ok(()) };
        holds(&next, &schedule, &facts, now)?;
        // Nothing is known of when it began: each look begins anew. What is late runs as soon as it is open.
        let is_anchored = facts.last_success.or(facts.first_seen).is_some();
        if is_anchored && !next.late && next.due > now && facts.expires.is_none_or(|expires| expires > next.due) {
            let later = now + next.due.saturating_since(now) / 2;
            let Planned::Due(asked_later) = plan.next(&facts, later) else {
                return Err(TestCaseError::fail("nothing is due any more"));
            };
            prop_assert_eq!(asked_later.due, next.due, "asked half way");
        }
    }

    #[test]
    fn one_time_comes_after_the_other((schedule, facts, now) in world()) {
        let plan = schedule.plan(&name());
        let mut last: Option<Timestamp> = None;
        for next in plan.upcoming(facts, now).take(12) {
            let runs = next.due.max(now);
            prop_assert!(last.is_none_or(|last| runs > last), "{:?} after {:?}", next, last);
            last = Some(runs);
        }
    }

    #[test]
    fn an_expression_fires_at_whole_minutes_that_never_go_back(expression in expression(), zone in zone(), after in INSTANTS) {
        let schedule = Schedule {
            trigger: Some(Trigger::Cron(expression)),
            zone,
            jitter: Duration::ZERO,
            ..Schedule::default()
        };
        let after = Timestamp::from_unix_ms(after);
        let facts = Facts { first_seen: Some(after), ..Facts::default() };
        let mut last = after;
        for next in schedule.plan(&name()).upcoming(facts, after).take(20) {
            prop_assert!(next.due > last, "{} after {}", next.due, last);
            prop_assert_eq!(next.due.as_unix_ms() % 1000, 0);
            last = next.due;
        }
        prop_assert!(last > after, "it never fires");
    }

    #[test]
    fn retries_are_total(first in any::<Duration>(), longest in any::<Duration>(), tries in any::<u32>(), failed in any::<u32>(),
                         run in any::<Duration>(), at in any::<u64>(), expires in any::<u64>()) {
        let retry = Retry { first, longest, tries };
        let (at, expires) = (Timestamp::from_unix_ms(at), Timestamp::from_unix_ms(expires));
        let pause = retry.pause(&name(), failed, at, Some(expires));
        prop_assert_eq!(pause.is_none(), failed > tries);
        let most = longest.max(Duration::from_secs(1));
        prop_assert!(pause.is_none_or(|pause| Duration::from_secs(1) <= pause && pause <= most));
        prop_assert!(retry.alarm_at(failed, run, expires) <= expires);
        prop_assert!(retry.time_needed(failed.saturating_add(1), run) <= retry.time_needed(failed, run));
    }

    #[test]
    fn no_number_stops_it(schedule in INSTANTS.prop_flat_map(schedule), at in any::<[u64; 8]>()) {
        let [now, last_success, first_seen, issued, expires, started, forced, paused] = at.map(Timestamp::from_unix_ms);
        let facts = Facts {
            last_success: Some(last_success),
            first_seen: Some(first_seen),
            issued: Some(issued),
            expires: Some(expires),
            started: Some(started),
            forced: Some(forced).filter(|_| now > forced),
            paused: Some(Pause::Until(paused)).filter(|_| now > forced),
        };
        let _ = schedule.plan(&name()).upcoming(facts, now).take(3).count();
    }

    #[test]
    fn any_text_is_an_expression_or_says_why_not_in_few_words(text in any_text(), seconds in any::<bool>()) {
        match Expression::parse(&text, seconds) {
            Ok(expression) => prop_assert_eq!(Expression::parse(expression.as_str(), seconds), Ok(expression)),
            Err(error) => {
                prop_assert!(error.to_string().chars().count() < 200, "{}", error);
                prop_assert!(!error.hint().is_empty());
                if let Some(range) = error.range() {
                    prop_assert!(range.start < range.end && range.end <= text.chars().count().max(range.start + 1));
                }
            }
        }
    }
}
