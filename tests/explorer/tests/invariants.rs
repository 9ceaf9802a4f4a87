//! Each invariant by name, planted: a world that is well, and the same with the one thing in it that must not be. The check passes the first and
//! names the second, so no search that finds nothing does so because its checks cannot fail.

use std::sync::Arc;

use keywheel_explorer::driver::Driver;
use keywheel_explorer::invariant::{self, Check, Invariant, at_every_instant, at_rest};
use keywheel_explorer::scene::{Scene, Wrong, span};
use keywheel_explorer::target::{Key, Target};
use keywheel_explorer::vault::{Cred, version_id};
use keywheel_explorer::world::{DRIFT_RUN, FIRST, Mode, World};
use keywheel_model::{SlotClass, Stage, StepName, Timestamp, Trigger};
use keywheel_workflow::{Call, Cause, Effect, Ended, Ending, Event, Next, Parked, Phase, Roles, State, step};

/// What is being rotated in, and something that the vault does not know.
const NEW: Cred = FIRST + 1;
const STRANGE: Cred = 9;

fn scene(class: SlotClass) -> Scene {
    Scene::one("planted", class)
}

fn caught(check: Check) -> Option<Invariant> {
    check.err().map(|violation| violation.invariant)
}

/// A target that accepts this set.
fn accepting(world: &mut World, set: &[Cred]) {
    world.target = Target::Set(set.to_vec());
}

/// The new version is current, the first one previous.
fn promoted(world: &mut World) {
    world.vault.add(NEW, Stage::Pending, Some(1), true);
    world.vault.make_current(NEW);
    accepting(world, &[FIRST, NEW]);
}

fn with_state(world: &mut World, worker: usize, change: impl FnOnce(&mut State)) {
    let mut state = State::clone(&world.workers[worker].state);
    change(&mut state);
    world.workers[worker].state = Arc::new(state);
}

fn park(world: &mut World, cause: Cause) {
    world.workers[0].mode = Mode::Up;
    with_state(world, 0, |state| {
        state.doing = Some(Effect::Park);
        state.parked = Some(Parked {
            cause,
            detail: String::new(),
            back_to: Phase::Verify,
        });
    });
}

fn call(step: StepName, subject: Cred, current: Cred) -> Effect {
    Effect::Call(Call {
        step,
        subject: Some(version_id(subject)),
        roles: Roles {
            current: Some(version_id(current)),
            ..Roles::default()
        },
        attempt: 1,
        interrupted: true,
        deadline: Timestamp::from_unix_ms(2_000),
    })
}

/// Performs an effect for the host that has the lease.
fn perform(scene: &Scene, world: &mut World, effect: &Effect) -> Option<Invariant> {
    world.lease.holder = Some(0);
    performed(scene, world, effect)
}

fn performed(scene: &Scene, world: &mut World, effect: &Effect) -> Option<Invariant> {
    let driver = Driver {
        scene,
        wrong: Wrong::default(),
    };
    driver
        .perform(world, 0, effect, false)
        .err()
        .map(|violation| violation.invariant)
}

fn promote(expected: Cred, version: Cred) -> Effect {
    Effect::Promote {
        expected: Some(version_id(expected)),
        version: version_id(version),
    }
}

#[test]
fn something_held_is_accepted() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    assert_eq!(caught(at_every_instant(&scene, &world)), None);
    accepting(&mut world, &[STRANGE]);
    assert_eq!(
        caught(at_every_instant(&scene, &world)),
        Some(Invariant::SomethingHeldIsAccepted)
    );
}

#[test]
fn going_back_makes_nothing() {
    for (trigger, expected) in [
        (Trigger::Manual, None),
        (Trigger::Rollback, Some(Invariant::GoingBackMakesNothing)),
    ] {
        let scene = Scene {
            trigger,
            ..scene(SlotClass::C)
        };
        let mut world = World::new(&scene);
        let create = call(StepName::Create, NEW, FIRST);
        assert_eq!(perform(&scene, &mut world, &create), expected);
    }
}

#[test]
fn no_consumer_is_refused() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    promoted(&mut world);
    world.holds = vec![(FIRST, Some(world.now + span::STALE)), (NEW, None)];
    assert_eq!(caught(at_every_instant(&scene, &world)), None);
    accepting(&mut world, &[NEW]);
    assert_eq!(
        caught(at_every_instant(&scene, &world)),
        Some(Invariant::NoConsumerIsRefused)
    );
}

#[test]
fn the_gap_of_one_slot_is_as_wide_as_said() {
    let scene = Scene {
        announce: false,
        ..scene(SlotClass::C)
    };
    let mut world = World::new(&scene);
    world.vault.add(NEW, Stage::Pending, Some(1), true);
    world.target = Target::One(NEW);
    let mut in_stage = |stage, sent| {
        let version = world.vault.get_mut(NEW).expect("it was added");
        (version.stage, version.sent) = (stage, sent);
        caught(at_every_instant(&scene, &world))
    };
    // From the apply on that sends it, until consumers have read what is current.
    assert_eq!(in_stage(Stage::Pending, true), None);
    assert_eq!(in_stage(Stage::Current, false), None);
    let wider = Some(Invariant::NoConsumerIsRefused);
    assert_eq!(in_stage(Stage::Pending, false), wider);
    assert_eq!(in_stage(Stage::Abandoned, false), wider);
    assert_eq!(in_stage(Stage::Revoked, false), wider);
}

#[test]
fn current_is_accepted_after_recovery() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    promoted(&mut world);
    assert_eq!(caught(at_rest(&scene, &world)), None);
    accepting(&mut world, &[FIRST]);
    assert_eq!(
        caught(at_rest(&scene, &world)),
        Some(Invariant::CurrentIsAcceptedAfterRecovery)
    );
}

#[test]
fn nothing_is_generated_anew_while_an_older_one_may_be_applied() {
    let mut world = World::new(&scene(SlotClass::A));
    world.vault.add(NEW, Stage::Pending, Some(1), true);
    assert_eq!(caught(invariant::nothing_is_generated_anew(&world)), None);
    world.vault.get_mut(NEW).expect("it was added").sent = true;
    assert_eq!(
        caught(invariant::nothing_is_generated_anew(&world)),
        Some(Invariant::NothingIsGeneratedAnew)
    );
}

#[test]
fn effects_have_a_live_fence() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    let revoke = Effect::MarkRevoked {
        version: version_id(FIRST),
        keep_until: Timestamp::from_unix_ms(2_000),
    };
    assert_eq!(perform(&scene, &mut world, &revoke), None);
    world.lease.holder = None;
    assert_eq!(
        performed(&scene, &mut world, &revoke),
        Some(Invariant::EffectsHaveALiveFence)
    );
}

#[test]
fn promoted_is_never_undone() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    promoted(&mut world);
    world.proved = vec![FIRST, NEW];
    let undone = Some(Invariant::PromotedIsNeverUndone);
    let back = call(StepName::Rollback, NEW, FIRST);
    assert_eq!(perform(&scene, &mut world.clone(), &back), undone);
    world.workers[0].run = DRIFT_RUN;
    assert_eq!(perform(&scene, &mut world.clone(), &promote(NEW, FIRST)), undone);
    // Forward to what has landed late is what the drift check is for.
    world.vault.add(3, Stage::Abandoned, Some(1), true);
    world.proved.push(3);
    accepting(&mut world, &[3]);
    assert_eq!(perform(&scene, &mut world, &promote(NEW, 3)), None);
}

#[test]
fn nothing_is_promoted_unproved() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    world.vault.add(NEW, Stage::Pending, Some(1), true);
    accepting(&mut world, &[FIRST, NEW]);
    let promote = promote(FIRST, NEW);
    assert_eq!(
        perform(&scene, &mut world.clone(), &promote),
        Some(Invariant::NothingIsPromotedUnproved)
    );
    world.proved = vec![NEW];
    assert_eq!(perform(&scene, &mut world, &promote), None);
}

#[test]
fn nothing_is_revoked_unproved() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    promoted(&mut world);
    let revoke = call(StepName::Revoke, FIRST, NEW);
    assert_eq!(
        perform(&scene, &mut world.clone(), &revoke),
        Some(Invariant::NothingIsRevokedUnproved)
    );
    world.proved = vec![NEW];
    assert_eq!(perform(&scene, &mut world, &revoke), None);
}

#[test]
fn failed_logins_are_within_the_budget() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    world.failed_logins = (span::LOCKOUT_BUDGET, world.now + span::LOCKOUT_WINDOW);
    assert_eq!(caught(at_every_instant(&scene, &world)), None);
    world.failed_logins.0 += 1;
    assert_eq!(
        caught(at_every_instant(&scene, &world)),
        Some(Invariant::FailedLoginsWithinBudget)
    );
}

#[test]
fn nothing_kept_is_deleted() {
    let scene = scene(SlotClass::D);
    let mut world = World::new(&scene);
    if let Target::Keys(keys) = &mut world.target {
        keys.push(Key {
            cred: STRANGE,
            run: Some(1),
            from: 0,
        });
    }
    let create = call(StepName::Create, NEW, FIRST);
    assert_eq!(perform(&scene, &mut world.clone(), &create), None);
    // After a restore of the vault the key that it does not know may be the live one.
    world.vault.epoch = 1;
    assert_eq!(
        perform(&scene, &mut world, &create),
        Some(Invariant::NothingKeptIsDeleted)
    );
}

#[test]
fn after_outside_faults_current_is_accepted_or_the_run_is_parked() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    world.outside = true;
    assert_eq!(caught(at_rest(&scene, &world)), None);
    accepting(&mut world, &[STRANGE]);
    assert_eq!(
        caught(at_rest(&scene, &world)),
        Some(Invariant::EndsAcceptedOrParked)
    );
    park(&mut world, Cause::NothingAccepted);
    assert_eq!(caught(at_rest(&scene, &world)), None);
}

#[test]
fn runs_come_to_their_end() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    assert_eq!(caught(at_rest(&scene, &world)), None);
    park(&mut world, Cause::Target);
    assert_eq!(
        caught(at_rest(&scene, &world)),
        Some(Invariant::RunsComeToTheirEnd)
    );
}

#[test]
fn no_orphan_is_left() {
    let scene = scene(SlotClass::D);
    let mut world = World::new(&scene);
    assert_eq!(caught(at_rest(&scene, &world)), None);
    if let Target::Keys(keys) = &mut world.target {
        keys.push(Key {
            cred: STRANGE,
            run: Some(1),
            from: 0,
        });
    }
    assert_eq!(caught(at_rest(&scene, &world)), Some(Invariant::NoOrphanIsLeft));
}

#[test]
fn a_withdrawn_grant_is_obeyed() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    let test = call(StepName::Test, FIRST, FIRST);
    assert_eq!(perform(&scene, &mut world, &test), None);
    world.withdrawn = true;
    assert_eq!(
        perform(&scene, &mut world, &test),
        Some(Invariant::WithdrawnIsObeyed)
    );
}

#[test]
fn an_unknown_credential_is_left_alone() {
    let scene = Scene {
        nothing_imported: true,
        ..scene(SlotClass::C)
    };
    let mut world = World::new(&scene);
    let touched = Some(Invariant::UnknownCredentialIsLeftAlone);
    assert_eq!(caught(at_every_instant(&scene, &world)), None);
    assert_eq!(caught(at_rest(&scene, &world)), touched);
    park(&mut world, Cause::AdoptionRequired);
    assert_eq!(caught(at_rest(&scene, &world)), None);
    world.target = Target::One(NEW);
    assert_eq!(caught(at_every_instant(&scene, &world)), touched);
}

#[test]
fn what_is_delivered_twice_counts_once() {
    let scene = scene(SlotClass::A);
    let world = World::new(&scene);
    let first = step(&world.workers[0].state, &Event::Start, world.time());
    let mut again = Next {
        state: first.state.clone(),
        effect: None,
        notes: Vec::new(),
    };
    let twice = Some(Invariant::DeliveredTwiceCountsOnce);
    assert_eq!(
        caught(invariant::delivered_twice_counts_once(&first.state, &again)),
        None
    );
    again.effect.clone_from(&first.effect);
    assert_eq!(
        caught(invariant::delivered_twice_counts_once(&first.state, &again)),
        twice
    );
    again.effect = None;
    again.state.attempt += 1;
    assert_eq!(
        caught(invariant::delivered_twice_counts_once(&first.state, &again)),
        twice
    );
}

#[test]
fn both_rejected_is_put_back() {
    let scene = scene(SlotClass::C);
    let mut world = World::new(&scene);
    park(&mut world, Cause::BothRejected);
    with_state(&mut world, 0, |state| {
        state.roles.current = Some(version_id(FIRST));
    });
    let state = Arc::clone(&world.workers[0].state);
    assert_eq!(
        caught(invariant::both_rejected_is_put_back(&scene, &world, &state)),
        None
    );
    world.target = Target::One(STRANGE);
    assert_eq!(
        caught(invariant::both_rejected_is_put_back(&scene, &world, &state)),
        Some(Invariant::BothRejectedIsPutBack)
    );
}

#[test]
fn faultless_runs_succeed() {
    let scene = scene(SlotClass::A);
    let mut world = World::new(&scene);
    let mut ended = |ending| {
        with_state(&mut world, 0, |state| {
            state.ended = Some(Ended {
                ending,
                detail: String::new(),
            });
        });
        caught(invariant::faultless_runs_succeed(&scene, &world.workers))
    };
    assert_eq!(ended(Ending::Succeeded), None);
    assert_eq!(ended(Ending::Failed), Some(Invariant::FaultlessRunsSucceed));
}

#[test]
fn no_name_is_left_behind() {
    let scene = scene(SlotClass::A).named_twice();
    let mut world = World::new(&scene);
    world.workers[0].mode = Mode::Idle;
    promoted(&mut world);
    let left = Some(Invariant::NoNameIsLeftBehind);
    assert_eq!(caught(at_rest(&scene, &world)), left);
    world.vault.other_name = Some(NEW);
    assert_eq!(caught(at_rest(&scene, &world)), None);
}

#[test]
fn a_run_that_succeeded_ended_with_current_accepted_at_its_last_proof() {
    let mut world = World::new(&scene(SlotClass::A));
    with_state(&mut world, 0, |state| {
        state.roles.current = Some(version_id(FIRST));
        state.ended = Some(Ended {
            ending: Ending::Succeeded,
            detail: String::new(),
        });
    });
    let state = Arc::clone(&world.workers[0].state);
    let unproved = Some(Invariant::SucceededEndsAccepted);
    let check = |world: &World| caught(invariant::succeeded_ends_accepted(world, 0, &state));
    assert_eq!(check(&world), unproved);
    world.workers[0].saw = Some((NEW, world.now));
    assert_eq!(check(&world), unproved, "another version was accepted");
    world.workers[0].saw = Some((FIRST, world.now));
    assert_eq!(check(&world), None);
    world.now += 1;
    assert_eq!(check(&world), unproved, "it may have been changed since");
}
