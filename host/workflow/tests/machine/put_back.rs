//! A run that is to put an older value back, and whose host died before that value was pending.

use keywheel_model::{Fence, RunId, Stage, Timestamp, Trigger, VersionId};
use keywheel_workflow::{Effect, Ending, Event, Head, Kept, Lease, Phase, Report, State, step};

use crate::settings;

fn first_look(versions: Vec<Kept>) -> State {
    let settings = keywheel_workflow::Settings {
        trigger: Trigger::Rollback,
        ..settings()
    };
    let mut state = State::new(RunId::from_number(7), settings);
    let now = Timestamp::default();
    let reports = [
        None,
        Some(Report::Lease(Lease::Held {
            fence: Fence(1),
            settled_at: now,
        })),
        Some(Report::Head(Head {
            versions,
            ..Head::default()
        })),
    ];
    for report in reports {
        let event = report.map_or(Event::Recovered, |report| Event::Done { op: state.op, report });
        state = step(&state, &event, now).state;
    }
    state
}

fn kept(number: u64, stage: Stage, run: u64) -> Kept {
    Kept {
        version: VersionId::from_number(number),
        stage,
        run: Some(RunId::from_number(run)),
    }
}

#[test]
fn it_makes_no_new_credential_instead() {
    let state = first_look(vec![kept(2, Stage::Current, 6), kept(1, Stage::Revoked, 5)]);
    let ended = state.ended.unwrap();
    assert_eq!(ended.ending, Ending::Cancelled, "{}", ended.detail);
    assert!(state.roles.pending.is_none());
}

#[test]
fn the_older_value_is_proved_first_where_it_is_pending() {
    let state = first_look(vec![kept(1, Stage::Pending, 7), kept(2, Stage::Current, 6)]);
    assert_eq!(state.phase, Phase::Prove);
    assert!(
        matches!(&state.doing, Some(Effect::Call(call)) if call.subject == Some(VersionId::from_number(1)))
    );
}
