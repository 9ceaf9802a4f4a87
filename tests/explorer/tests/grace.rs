//! How long the previous version lives after a promotion. The explorer's scenes have one consumer and no further grace, so
//! that it does not see the others.

use keywheel_explorer::scene::Scene;
use keywheel_model::{
    Effect as Reach, ErrorKind, Proof, RunId, SlotClass, StepError, Timestamp, Trigger, VersionId,
};
use keywheel_workflow::{Choice, Consumer, Effect, Event, Phase, Report, State, step};

const GRACE_MS: u64 = 1_000;

/// What a promoted and proved run does when the consumers were told, of which these have reported.
fn after_telling(consumers: Vec<Consumer>, reported: &[&str]) -> Option<Effect> {
    told(consumers, reported, None, false, None).doing
}

/// The same as a state, where the host lets nothing be revoked before a time, or a person has answered for it.
fn told(
    consumers: Vec<Consumer>,
    reported: &[&str],
    not_before: Option<Timestamp>,
    revokes_now: bool,
    failed: Option<StepError>,
) -> State {
    let mut settings = Scene::one("grace", SlotClass::A).settings(Trigger::Manual);
    (settings.grace_ms, settings.consumers) = (GRACE_MS, consumers);
    settings.back_off.first_ms = GRACE_MS / 10;
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
        report: Report::Told {
            reported,
            not_before,
            failed,
        },
    };
    state.revokes_now = revokes_now;
    step(&state, &told, Timestamp::default()).state
}

/// Consumers have all left the old version, and the host keeps it. It is no wait for them any more, but the run can be asked and mended within it as
/// in theirs.
#[test]
fn what_the_host_holds_back_is_asked_for_again() {
    let hold = Timestamp::from_unix_ms(7);
    let shop = || {
        vec![Consumer {
            name: "shop".to_owned(),
            stale_ms: 0,
            announce: false,
        }]
    };
    let held = told(shop(), &["shop"], Some(hold), false, None);
    assert_eq!((held.phase, held.held_until), (Phase::Propagate, Some(hold)));
    assert!(matches!(held.doing, Some(Effect::Sleep { until }) if until == hold));
    assert!(held.is_held() && held.waits_for_consumers());
    assert!(held.takes(Choice::Retry) && held.takes(Choice::ApplyCurrent));
    // Consumers come first: until they have left the old version nobody waits for the host.
    let grace = told(shop(), &[], Some(hold), false, None);
    assert!(is_grace(grace.doing.as_ref()) && !grace.is_held());
    // A person who revokes now answers for it.
    let revokes = told(shop(), &["shop"], Some(hold), true, None);
    assert!(revokes.phase != Phase::Propagate && revokes.held_until.is_none());
}

/// A consumer that cannot be told is told again, sooner than the end of its wait and never after it, and keeps nothing back beyond that.
#[test]
fn whoever_could_not_be_told_is_told_again_and_keeps_nothing_back_for_longer() {
    let shop = || {
        vec![Consumer {
            name: "shop".to_owned(),
            stale_ms: 0,
            announce: false,
        }]
    };
    let failed = || Some(StepError::new(ErrorKind::Unavailable, "hook.ended", "code 1"));
    let waits = told(shop(), &[], None, false, failed());
    let Some(Effect::Sleep { until }) = waits.doing else {
        panic!("{:?}", waits.doing)
    };
    assert!(
        until > Timestamp::default() && until < Timestamp::from_unix_ms(GRACE_MS),
        "{until:?}"
    );
    assert_eq!(waits.trouble.as_ref().unwrap().code, "hook.ended");
    // Nothing of it is undone, and nobody can end the run as it stands for it.
    assert!(waits.promoted && waits.parked.is_none() && !waits.can_be_given_up());
    let later = step(&waits, &Event::Timer, until).state;
    assert!(later.promoted && later.phase == Phase::Propagate);
    // It has reported meanwhile, whoever else failed.
    let reported = told(shop(), &["shop"], None, false, failed());
    assert!(reported.phase != Phase::Propagate);
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

const STALE_MS: u64 = 500;

/// A run that waits for a consumer that may use the old version for a while, and then for its grace; a person ends the wait.
fn ended(spares_consumers: bool, proved: bool, evidence: Proof) -> State {
    let mut settings = Scene::one("grace", SlotClass::A).settings(Trigger::Manual);
    (settings.grace_ms, settings.evidence) = (GRACE_MS, evidence);
    let mut state = State::new(RunId::from_number(1), settings);
    state.roles.current = Some(VersionId::from_number(2));
    (state.phase, state.reach, state.seen) = (Phase::Propagate, Reach::Applied, true);
    (state.promoted, state.proved) = (true, proved);
    state.stale_until = Some(Timestamp::from_unix_ms(STALE_MS));
    let until = Timestamp::from_unix_ms(STALE_MS + GRACE_MS);
    (state.op, state.doing, state.pause_until) = (1, Some(Effect::Sleep { until }), Some(until));
    let event = Event::EndWait { spares_consumers };
    step(&state, &event, Timestamp::from_unix_ms(1)).state
}

#[test]
fn a_person_ends_the_grace_and_not_what_consumers_have_declared() {
    let state = ended(true, true, Proof::Login);
    assert_eq!(state.wait_ends, Some(Timestamp::from_unix_ms(STALE_MS)));
    assert!(!state.revokes_now);
    assert!(matches!(state.doing, Some(Effect::Lease)));
}

#[test]
fn a_person_ends_all_of_the_wait() {
    let state = ended(false, true, Proof::Login);
    assert_eq!(state.wait_ends, Some(Timestamp::from_unix_ms(1)));
    assert!(state.revokes_now);
}

/// Where nothing asks the target the wait is what shows that the new credential works: no person ends that.
#[test]
fn a_wait_that_stands_for_a_proof_is_kept() {
    let state = ended(false, false, Proof::None);
    assert_eq!(state.wait_ends, None);
    assert!(matches!(state.doing, Some(Effect::Sleep { .. })));
}
