//! A clock that was set back makes no wait longer.

use std::time::Duration;

use keywheel_model::{RunId, StepName, Timestamp};
use keywheel_workflow::{Call, Effect, Roles, State};

use crate::settings;

#[test]
fn what_was_left_of_each_wait_is_what_is_left_and_an_end_of_validity_stays() {
    let at = Timestamp::from_unix_ms;
    let mut state = State::new(RunId::fresh(at(1)), settings());
    state.settled_at = at(90_002_000);
    state.believe_at = at(90_003_000);
    state.pause_until = Some(at(90_004_000));
    state.stale_until = Some(at(90_005_000));
    state.wait_ends = Some(at(90_007_000));
    state.old_valid_until = Some(at(90_006_000));
    state.doing = Some(Effect::Sleep {
        until: at(90_004_000),
    });
    state.set_back(Duration::from_hours(24));
    assert_eq!(
        (state.settled_at, state.believe_at),
        (at(3_602_000), at(3_603_000))
    );
    assert_eq!(
        (state.pause_until, state.stale_until),
        (Some(at(3_604_000)), Some(at(3_605_000)))
    );
    assert_eq!(state.doing, Some(Effect::Sleep { until: at(3_604_000) }));
    assert_eq!(state.old_valid_until, Some(at(90_006_000)));
    assert_eq!(state.wait_ends, Some(at(3_607_000)));
    let call = |deadline| {
        Effect::Call(Call {
            step: StepName::Apply,
            subject: None,
            roles: Roles::default(),
            attempt: 1,
            interrupted: false,
            deadline,
        })
    };
    state.doing = Some(call(at(90_002_000)));
    state.set_back(Duration::from_hours(24));
    assert_eq!(state.doing, Some(call(at(3_602_000))));
    // Nothing was set back: nothing changes.
    let before = state.clone();
    state.set_back(Duration::ZERO);
    assert_eq!(state, before);
}
