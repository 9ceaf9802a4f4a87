//! What must hold, as rules.md words it. Each invariant is a function, or a check where the forbidden thing would happen, and has its own name.

use keywheel_model::{SlotClass, Stage, Trigger};
use keywheel_workflow::{Cause, Ending, Next, State};

use crate::scene::Scene;
use crate::vault::{Cred, Version, cred_of, value_of};
use crate::world::{Worker, World};

/// The names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// At every instant at least one durably held credential is accepted.
    SomethingHeldIsAccepted,
    /// After recovery the vault's current one is.
    CurrentIsAcceptedAfterRecovery,
    /// Nothing is generated anew while an older pending value may be applied.
    NothingIsGeneratedAnew,
    /// No effect without a live fence.
    EffectsHaveALiveFence,
    /// A promotion is never undone, only rolled forward.
    PromotedIsNeverUndone,
    /// What a consumer may hold is never revoked before its declared staleness has passed.
    NoConsumerIsRefused,
    /// Nothing is promoted before what its proof asks for.
    NothingIsPromotedUnproved,
    /// Nothing is revoked before a login has proved the new version.
    NothingIsRevokedUnproved,
    /// Failed logins per account stay within its budget.
    FailedLoginsWithinBudget,
    /// No kept version and no orphan that may be the live credential is deleted.
    NothingKeptIsDeleted,
    /// Under outside faults: the run ends with current accepted, or parked with its cause and the way out.
    EndsAcceptedOrParked,
    /// A run comes to its end once the faults are over.
    RunsComeToTheirEnd,
    /// A lost create leaves nothing behind on the target.
    NoOrphanIsLeft,
    /// A plugin is not called once its grant is taken away.
    WithdrawnIsObeyed,
    /// A credential that is in use and not in the vault is left alone.
    UnknownCredentialIsLeftAlone,
    /// A result that is delivered twice counts once.
    DeliveredTwiceCountsOnce,
    /// A run that parks because the target refuses both versions has put current back first, wherever the host can.
    BothRejectedIsPutBack,
    /// Without any fault a run succeeds.
    FaultlessRunsSucceed,
    /// A run that puts an older value back makes no other one instead.
    GoingBackMakesNothing,
    /// At rest each name shows the current value.
    NoNameIsLeftBehind,
    /// A run that succeeded ended with current accepted, as its last login saw it: no time had passed since.
    SucceededEndsAccepted,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of what.
    pub invariant: Invariant,
    /// How.
    pub detail: String,
}

/// Ok, or the violation of an invariant.
pub type Check = Result<(), Violation>;

/// A violation.
pub fn violated<T>(invariant: Invariant, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation {
        invariant,
        detail: detail.into(),
    })
}

/// What must hold at every instant.
pub fn at_every_instant(scene: &Scene, world: &World) -> Check {
    something_held_is_accepted(scene, world)?;
    no_consumer_is_refused(scene, world)?;
    failed_logins_within_budget(world)
}

/// At every instant, whatever crashes, is lost or lands late, at least one credential that the vault durably holds is accepted.
pub fn something_held_is_accepted(scene: &Scene, world: &World) -> Check {
    if world.outside || scene.nothing_imported || is_left_to_the_clock(scene, world) {
        return Ok(());
    }
    let accepted = |cred: Cred| world.target.accepts(cred, world.now);
    if world.vault.versions.iter().any(|version| accepted(version.cred)) {
        return Ok(());
    }
    violated(
        Invariant::SomethingHeldIsAccepted,
        "locked out: the target accepts nothing that the vault holds",
    )
}

/// What a consumer may hold is accepted. The gap of a one-slot target is as wide as this: from `apply` on, a consumer that cannot hold two is refused
/// until it has read the promoted version; and only because the slot holds the version that is being rotated in.
pub fn no_consumer_is_refused(scene: &Scene, world: &World) -> Check {
    if world.outside || world.beyond_deadline || is_left_to_the_clock(scene, world) {
        return Ok(());
    }
    let accepted = |cred: Cred| world.target.accepts(cred, world.now);
    for (cred, _) in &world.holds {
        let second = world.announced.filter(|_| scene.announce);
        if world.mixed || !accepted(*cred) && !second.is_some_and(accepted) {
            let in_gap = scene.has_gap() && !world.mixed && is_in_gap(world);
            if !in_gap {
                let name = if scene.nothing_imported {
                    Invariant::UnknownCredentialIsLeftAlone
                } else {
                    Invariant::NoConsumerIsRefused
                };
                return violated(
                    name,
                    format!("a consumer may hold {cred}, which the target refuses"),
                );
            }
        }
    }
    Ok(())
}

/// Whether a person has told the host to leave a target alone that ends current by its own clock once something newer was issued: that cannot be undone,
/// and only the run that was given up would have handed out the newer one in time.
fn is_left_to_the_clock(scene: &Scene, world: &World) -> bool {
    world.given_up && scene.class == SlotClass::F
}

/// Whether the only slot holds what is being rotated in, or what is current already and not yet read by every consumer: the whole extent of the
/// gap.
fn is_in_gap(world: &World) -> bool {
    let rotated_in = |version: &&Version| {
        matches!(
            (version.stage, version.sent),
            (Stage::Current, _) | (Stage::Pending, true)
        )
    };
    world.target.creds().iter().all(|held| {
        let mut new = world.vault.versions.iter().filter(rotated_in);
        new.any(|version| value_of(version.cred) == *held)
    })
}

/// The number of failed logins is within the account's budget.
pub fn failed_logins_within_budget(world: &World) -> Check {
    if world.failed_logins.0 <= crate::scene::span::LOCKOUT_BUDGET {
        return Ok(());
    }
    violated(
        Invariant::FailedLoginsWithinBudget,
        format!("{} failed logins", world.failed_logins.0),
    )
}

/// Whether the vault's current version opens the target.
pub fn current_is_accepted(world: &World) -> bool {
    world
        .vault
        .current()
        .is_some_and(|current| world.target.shows(current, world.now))
}

/// At rest: every host is idle or parked and nothing is on its way.
pub fn at_rest(scene: &Scene, world: &World) -> Check {
    let parked = (0..world.workers.len()).find(|worker| world.is_parked(*worker));
    let cause = parked.and_then(|worker| world.workers[worker].state.parked.as_ref());
    let says_why = cause.is_some_and(|parked| !parked.cause.way_out().is_empty());
    if scene.nothing_imported {
        return if says_why {
            Ok(())
        } else {
            violated(
                Invariant::UnknownCredentialIsLeftAlone,
                "the run did not ask for the adoption",
            )
        };
    }
    if world.outside {
        return if current_is_accepted(world) || says_why {
            Ok(())
        } else {
            violated(
                Invariant::EndsAcceptedOrParked,
                "current is refused and nobody is asked",
            )
        };
    }
    if !current_is_accepted(world) {
        return violated(
            Invariant::CurrentIsAcceptedAfterRecovery,
            "at rest the target refuses current",
        );
    }
    no_name_is_left_behind(world)?;
    if let Some(parked) = cause {
        let detail = format!("parked for ever: {}: {}", parked.cause.as_str(), parked.detail);
        return violated(Invariant::RunsComeToTheirEnd, detail);
    }
    no_orphan_is_left(world)
}

/// Where the host holds the value that the target has to get, it does not leave it to a person to put current back (rule P11).
pub fn both_rejected_is_put_back(scene: &Scene, world: &World, state: &State) -> Check {
    let parks = state
        .parked
        .as_ref()
        .is_some_and(|parked| parked.cause == Cause::BothRejected);
    let current = state.roles.current.as_ref().map(cred_of);
    let works = current.is_some_and(|current| world.target.shows(current, world.now));
    if !parks || scene.class.target_issues() || works {
        return Ok(());
    }
    violated(
        Invariant::BothRejectedIsPutBack,
        "parked while the target refuses current, which the host could have put back",
    )
}

/// A run ends well only when its last login has just shown that the version is accepted which the vault had as current when it was read. One that a later
/// run has overtaken leaves that to the later run.
pub fn succeeded_ends_accepted(world: &World, worker: usize, state: &State) -> Check {
    let current = state.roles.current.as_ref().map(cred_of);
    let succeeds = state.ended.as_ref().map(|ended| ended.ending) == Some(Ending::Succeeded);
    let proved = current.is_some_and(|current| world.workers[worker].saw == Some((current, world.now)));
    if !succeeds || state.superseded || proved {
        return Ok(());
    }
    violated(
        Invariant::SucceededEndsAccepted,
        "succeeded, and since the last login that saw current accepted time has passed",
    )
}

/// Without any fault a run succeeds. Of two hosts at least one does; the other may find the work done.
pub fn faultless_runs_succeed(scene: &Scene, begun: &[Worker]) -> Check {
    if scene.nothing_imported {
        return Ok(());
    }
    let ended = |worker: &Worker| worker.state.ended.as_ref().map(|ended| ended.ending);
    if begun
        .iter()
        .any(|worker| ended(worker) == Some(Ending::Succeeded))
    {
        return Ok(());
    }
    violated(
        Invariant::FaultlessRunsSucceed,
        format!(
            "{:?} though nothing went wrong",
            begun.iter().map(ended).collect::<Vec<_>>()
        ),
    )
}

/// Another name of the secret shows what is current.
fn no_name_is_left_behind(world: &World) -> Check {
    match world.vault.other_name {
        Some(shown) if world.vault.current() != Some(shown) => violated(
            Invariant::NoNameIsLeftBehind,
            format!("the other name shows {shown}"),
        ),
        _ => Ok(()),
    }
}

/// Every issued credential on the target is known to the vault. Where a run was given up nobody has looked. A lost disk takes the run with it whose marker would have told: what it had
/// issued and not yet mirrored is for the inventory to find.
pub fn no_orphan_is_left(world: &World) -> Check {
    if world.disk_lost || world.given_up {
        return Ok(());
    }
    let issued = match &world.target {
        crate::target::Target::Keys(keys) => keys.iter().map(|key| key.cred).collect::<Vec<_>>(),
        crate::target::Target::Clock { newest, .. } => vec![newest.cred],
        _ => return Ok(()),
    };
    match issued.into_iter().find(|cred| !world.vault.holds(*cred)) {
        Some(orphan) => violated(
            Invariant::NoOrphanIsLeft,
            format!("{orphan} is on the target and nowhere else"),
        ),
        None => Ok(()),
    }
}

/// A result that comes a second time changes nothing and asks for nothing.
pub fn delivered_twice_counts_once(first: &State, again: &Next) -> Check {
    if again.effect.is_none() && again.state == *first {
        return Ok(());
    }
    violated(
        Invariant::DeliveredTwiceCountsOnce,
        format!("{:?} on the second delivery", again.effect),
    )
}

/// A plugin is asked for a new value: not by a run that is to put an older one back.
pub fn nothing_is_made_by_going_back(world: &World, run: u8) -> Check {
    let goes_back = |host: &&Worker| host.run == run && host.state.settings.trigger == Trigger::Rollback;
    if world.workers.iter().any(|host| goes_back(&host)) {
        return violated(
            Invariant::GoingBackMakesNothing,
            format!("run {run} is to put an older value back, and makes a new one"),
        );
    }
    Ok(())
}

/// A new value is stored as pending: no older pending one may be on the target.
pub fn nothing_is_generated_anew(world: &World) -> Check {
    let open = |version: &&crate::vault::Version| version.stage == Stage::Pending && version.sent;
    match world.vault.versions.iter().find(open) {
        Some(version) => violated(
            Invariant::NothingIsGeneratedAnew,
            format!("{} may be applied and a new one is made", version.cred),
        ),
        None => Ok(()),
    }
}
