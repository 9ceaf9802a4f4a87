//! The queue, retries, the alarm, and who may break a blackout.

#![cfg(test)]

use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::{
    Admission, Blackout, Expression, Override, Priority, Retry, Schedule, Waiting, Window, Zone,
};

const HOUR: Duration = Duration::from_hours(1);

fn at(hours: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000) + HOUR * u32::try_from(hours).unwrap()
}

fn name(text: &str) -> RotationName {
    text.parse().unwrap()
}

fn waiting(text: &str, priority: Priority, due: u64, expires: Option<u64>) -> Waiting {
    Waiting {
        rotation: name(text),
        priority,
        due: at(due),
        expires: expires.map(at),
    }
}

fn order(mut queue: Vec<Waiting>, now: Timestamp) -> Vec<String> {
    queue.sort_by_key(|waiting| waiting.rank(now));
    queue.iter().map(|waiting| waiting.rotation.to_string()).collect()
}

#[test]
fn emergencies_go_first_then_what_is_near_its_expiry_then_the_rest() {
    let queue = vec![
        waiting("routine", Priority::Routine, 0, Some(500)),
        waiting("never-expires", Priority::Routine, 0, None),
        waiting("expires-later", Priority::NearExpiry, 0, Some(40)),
        waiting("expires-soon", Priority::NearExpiry, 3, Some(5)),
        waiting("leaked", Priority::Emergency(None), 4, None),
    ];
    assert_eq!(
        order(queue, at(4)),
        [
            "leaked",
            "expires-soon",
            "expires-later",
            "routine",
            "never-expires"
        ]
    );
}

#[test]
fn who_waits_long_rises_by_one_class_and_never_to_the_emergencies() {
    let queue = vec![
        waiting("leaked", Priority::Emergency(None), 100, None),
        waiting("near", Priority::NearExpiry, 99, Some(150)),
        waiting("old", Priority::Routine, 90, Some(140)),
        waiting("older-without-expiry", Priority::Routine, 0, None),
        waiting("new", Priority::Routine, 99, Some(101)),
    ];
    assert_eq!(
        order(queue, at(100)),
        ["leaked", "old", "near", "older-without-expiry", "new"]
    );
}

#[test]
fn a_tenth_of_its_life_left_is_near() {
    let of = |now| Priority::of_due(false, Some(at(0)), Some(at(100)), at(now));
    assert_eq!(of(89), Priority::Routine);
    assert_eq!(of(90), Priority::NearExpiry);
    assert_eq!(of(200), Priority::NearExpiry);
    assert_eq!(Priority::of_due(true, None, None, at(0)), Priority::NearExpiry);
    assert_eq!(Priority::of_due(false, None, None, at(0)), Priority::Routine);
}

#[test]
fn pauses_double_up_to_an_hour_and_differ_between_rotations() {
    let retry = Retry::default();
    let pause = |text: &str, failed| retry.pause(&name(text), failed, at(0), None).unwrap();
    for failed in 1..=8 {
        let full = Duration::from_mins(1 << (failed - 1)).min(HOUR);
        for text in ["a", "b", "c"] {
            let pause = pause(text, failed);
            assert!(full / 2 <= pause && pause <= full, "{failed} {pause:?}");
        }
    }
    assert_ne!(pause("a", 8), pause("b", 8));
    assert_eq!(pause("a", 8), pause("a", 8));
    assert_eq!(retry.pause(&name("a"), 9, at(0), None), None);
}

#[test]
fn no_pause_takes_more_than_an_eighth_of_the_life_that_is_left() {
    let retry = Retry::default();
    let pause = |left: Duration| retry.pause(&name("a"), 8, at(0), Some(at(0) + left)).unwrap();
    assert_eq!(pause(Duration::from_mins(8)), Duration::from_mins(1));
    assert_eq!(pause(Duration::ZERO), Duration::from_secs(1), "it is still tried");
    assert!(pause(100 * HOUR) <= HOUR);
}

#[test]
fn the_alarm_comes_while_every_try_that_is_left_still_fits() {
    let retry = Retry {
        first: Duration::from_mins(10),
        longest: Duration::from_mins(30),
        tries: 4,
    };
    let run = Duration::from_mins(5);
    // 10 + 20 + 30 + 30 minutes of pauses, and five runs.
    assert_eq!(retry.time_needed(0, run), Duration::from_mins(90 + 25));
    assert_eq!(retry.time_needed(2, run), Duration::from_mins(60 + 15));
    assert_eq!(retry.time_needed(4, run), run);
    let expires = at(10);
    assert_eq!(
        retry.alarm_at(0, run, expires),
        expires - Duration::from_mins(115)
    );
    let endless = Retry {
        tries: u32::MAX,
        ..retry
    };
    assert_eq!(endless.alarm_at(0, run, expires), Timestamp::from_unix_ms(0));
}

#[test]
fn only_an_emergency_that_somebody_answers_for_breaks_a_blackout() {
    let schedule = Schedule {
        blackouts: vec![Blackout::Once {
            from: at(0),
            until: at(10),
        }],
        windows: vec![Window {
            start: Expression::parse("0 * * * *", false).unwrap(),
            length: HOUR,
            zone: Zone::UTC,
        }],
        ..Schedule::default()
    };
    let plan = schedule.plan(&name("a"));
    let closed = Admission::Closed { until: Some(at(10)) };
    for priority in [Priority::Routine, Priority::NearExpiry, Priority::Emergency(None)] {
        assert_eq!(plan.admits(at(5), &priority), closed, "{priority:?}");
        assert_eq!(plan.admits(at(10), &priority), Admission::Open);
    }
    let by = Override {
        actor: "alice".to_owned(),
        reason: "posted in a chat".to_owned(),
    };
    let priority = Priority::Emergency(Some(by.clone()));
    assert_eq!(plan.admits(at(5), &priority), Admission::Overridden(by));
}
