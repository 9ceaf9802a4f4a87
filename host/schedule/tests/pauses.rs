//! What a pause holds back.

#![cfg(test)]

use std::time::Duration;

use keywheel_model::Timestamp;
use keywheel_schedule::{Facts, Idle, Pause, Planned, Schedule, Trigger};

const HOUR: Duration = Duration::from_hours(1);

fn hourly() -> Schedule {
    Schedule {
        trigger: Some(Trigger::Every(HOUR)),
        jitter: Duration::ZERO,
        ..Schedule::default()
    }
}

fn planned(paused: Option<Pause>, now: Timestamp) -> Planned {
    let schedule = hourly();
    let facts = Facts {
        last_success: Some(Timestamp::from_unix_ms(0)),
        paused,
        ..Facts::default()
    };
    let name = "db".parse().unwrap();
    schedule.plan(&name).next(&facts, now)
}

#[test]
fn what_a_pause_holds_back_is_due_once_at_its_end() {
    let now = Timestamp::from_unix_ms(0) + HOUR * 3;
    let due = |planned| match planned {
        Planned::Due(next) => next,
        other => panic!("{other:?}"),
    };
    let as_ever = due(planned(None, now));
    assert!(as_ever.due <= now);
    let until = now + HOUR;
    let held = due(planned(Some(Pause::Until(until)), now));
    assert_eq!(held.due, until);
    assert!(held.late);
    // One that would be due after the pause is not moved.
    let early = Timestamp::from_unix_ms(0) + HOUR / 4;
    let untouched = due(planned(Some(Pause::Until(early + HOUR / 4)), early));
    assert_eq!(untouched.due, Timestamp::from_unix_ms(0) + HOUR);
    // A pause that is over counts no more.
    assert_eq!(due(planned(Some(Pause::Until(now - HOUR)), now)), as_ever);
    assert_eq!(planned(Some(Pause::Open), now), Planned::Idle(Idle::Paused));
}
