//! How long the previous version lives after a promotion. The explorer's scenes have one consumer and no further grace, so
//! that it does not see the others.

use keywheel_explorer::scene::Scene;
use keywheel_model::{Effect as Reach, RunId, SlotClass, Timestamp, Trigger, VersionId};
use keywheel_workflow::{Consumer, Effect, Event, Phase, Report, State, step};

const GRACE_MS: u64 = 1_000;

/// What a promoted and proved run does when the consumers were told, of which these have reported.
fn after_telling(consumers: Vec<Consumer>, reported: &[&str]) -> Option<Effect> {
    let mut settings = Scene::one("grace", SlotClass::A).settings(Trigger::Manual);
    (settings.grace_ms, settings.consumers) = (GRACE_MS, consumers);
    let mut state = State::new(RunId::from_number(1), settings);
    let version = VersionId::from_number(2);
    state.roles.current = Some(version.clone());
    state.roles.previous = Some(VersionId::from_number(1));
    (state.phase, state.reach, state.seen) = (Phase::Propagate, Reach::Applied, true);
    (state.promoted, state.proved) = (true, true);
    state.stale_until = Some(Timestamp::default());
    (state.op, state.doing) = (1, Some(Effect::Propagate { version }));
    let reported = reported.iter().map(|name| (*name).to_owned()).collect();
    let told = Event::Done {
        op: 1,
        report: Report::Told { reported },
    };
    step(&state, &told, Timestamp::default()).effect
}

fn is_grace(effect: Option<&Effect>) -> bool {
    matches!(effect, Some(Effect::Sleep { until }) if *until == Timestamp::from_unix_ms(GRACE_MS))
}

#[test]
fn the_grace_is_waited_until_every_consumer_has_reported() {
    let shop = Consumer {
        name: "shop".to_owned(),
        stale_ms: 0,
        announce: false,
    };
    assert!(is_grace(after_telling(vec![shop.clone()], &[]).as_ref()));
    let next = after_telling(vec![shop], &["shop"]);
    assert!(next.is_some() && !is_grace(next.as_ref()));
}

#[test]
fn the_grace_is_waited_where_no_consumer_is_declared() {
    assert!(is_grace(after_telling(Vec::new(), &[]).as_ref()));
}
