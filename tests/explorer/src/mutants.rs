//! The wrong protocols, each with the scene in which it is tried and the invariant that must catch it.

use keywheel_model::{SlotClass, Strategy, Trigger};
use keywheel_workflow::{Mutation, ProofPolicy};

use crate::invariant::Invariant;
use crate::scene::{Fault, Kinds, Scene, Wrong};

/// A wrong protocol.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The rule that it breaks.
    pub rule: &'static str,
    /// What is wrong.
    pub wrong: Wrong,
    /// Where it is tried.
    pub scene: Scene,
    /// What must catch it.
    pub caught_by: Invariant,
}

fn machine(rule: &'static str, mutation: Mutation, scene: Scene, caught_by: Invariant) -> Mutant {
    Mutant {
        rule,
        wrong: Wrong::machine(mutation),
        scene,
        caught_by,
    }
}

fn fake(rule: &'static str, fault: Fault, scene: Scene, caught_by: Invariant) -> Mutant {
    Mutant {
        rule,
        wrong: Wrong::fake(fault),
        scene,
        caught_by,
    }
}

/// Crashes and effects that are lost, late, doubled: everything but people and outside faults.
fn inside(class: SlotClass) -> Scene {
    let kinds = Kinds {
        outside: false,
        people: false,
        ..Kinds::ALL
    };
    Scene {
        kinds,
        faults: 2,
        ..Scene::one("mutant", class)
    }
}

/// With a person who stops the run or rolls it back.
fn people(class: SlotClass) -> Scene {
    let kinds = Kinds {
        outside: false,
        ..Kinds::ALL
    };
    Scene {
        kinds,
        ..inside(class)
    }
}

/// With fewer faults, where the mistake needs no more.
fn few(faults: u8, scene: Scene) -> Scene {
    Scene { faults, ..scene }
}

fn going_back(scene: Scene) -> Scene {
    Scene {
        trigger: Trigger::Rollback,
        ..scene
    }
}

fn alternating() -> Scene {
    Scene {
        strategy: Strategy::TwoSlot,
        announce: false,
        ..inside(SlotClass::C)
    }
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    let mut mutants = rules();
    mutants.extend(protocol());
    mutants
}

/// P1 to P16, each left out.
fn rules() -> Vec<Mutant> {
    use Invariant as I;
    use SlotClass as C;
    let first = Scene {
        nothing_imported: true,
        ..inside(C::C)
    };
    let outside = |class| Scene {
        faults: 2,
        ..Scene::one("mutant", class)
    };
    vec![
        machine(
            "P1 late effects are not waited for",
            Mutation::NotSettled,
            inside(C::B),
            I::NoConsumerIsRefused,
        ),
        fake(
            "P1 an abandoned version is forgotten",
            Fault::AbandonedForgotten,
            people(C::C),
            I::SomethingHeldIsAccepted,
        ),
        machine(
            "P2 a restore is overlooked",
            Mutation::RestoreIgnored,
            outside(C::D),
            I::NothingKeptIsDeleted,
        ),
        machine(
            "P3 the head is read at the start only",
            Mutation::HeadNotVerified,
            Scene::two("mutant", C::A).weak(),
            I::NothingIsGeneratedAnew,
        ),
        machine(
            "P4 pending in one place",
            Mutation::NotMirrored,
            outside(C::C).weak(),
            I::SomethingHeldIsAccepted,
        ),
        machine(
            "P5 a lost issue stands still",
            Mutation::LostIssueStandsStill,
            few(1, inside(C::F)),
            I::RunsComeToTheirEnd,
        ),
        fake(
            "P6 the old key is captured",
            Fault::OldKeyCaptured,
            inside(C::E),
            I::NoConsumerIsRefused,
        ),
        machine(
            "P7 a takeover acts at once",
            Mutation::NotSettled,
            Scene::two("mutant", C::B),
            I::NoConsumerIsRefused,
        ),
        machine(
            "P8 nothing is announced",
            Mutation::NotAnnounced,
            inside(C::C),
            I::NoConsumerIsRefused,
        ),
        machine(
            "P9 a rejection counts at once",
            Mutation::BeliefIgnored,
            few(0, inside(C::D)),
            I::FaultlessRunsSucceed,
        ),
        machine(
            "P10 an older version is made current",
            Mutation::OlderPromoted,
            outside(C::C),
            I::PromotedIsNeverUndone,
        ),
        machine(
            "P11 both rejected, nothing put back",
            Mutation::NothingPutBack,
            few(1, outside(C::C)),
            I::BothRejectedIsPutBack,
        ),
        fake(
            "P12 locked by name",
            Fault::LockedByName,
            few(0, Scene::two("mutant", C::B)),
            I::NothingIsGeneratedAnew,
        ),
        machine(
            "P12 a withdrawn grant is overlooked",
            Mutation::WithdrawalIgnored,
            outside(C::A),
            I::WithdrawnIsObeyed,
        ),
        fake(
            "P13 user name and password apart",
            Fault::PairSplit,
            alternating(),
            I::NoConsumerIsRefused,
        ),
        Mutant {
            rule: "P14 an expected refusal is probed over and over",
            wrong: Wrong {
                fake: Some(Fault::NoBudget),
                ..Wrong::machine(Mutation::RefusalProbedOverAndOver)
            },
            scene: inside(C::A),
            caught_by: I::FailedLoginsWithinBudget,
        },
        machine(
            "P15 a first run sets",
            Mutation::FirstRunSets,
            first,
            I::UnknownCredentialIsLeftAlone,
        ),
        machine(
            "P16 an unreadable vault is empty",
            Mutation::UnreadableIsEmpty,
            inside(C::A),
            I::RunsComeToTheirEnd,
        ),
    ]
}

/// The rest of the protocol.
fn protocol() -> Vec<Mutant> {
    use Invariant as I;
    use SlotClass as C;
    let deferred = Scene {
        proof: ProofPolicy::Deferred,
        ..inside(C::A)
    };
    vec![
        fake(
            "set before store",
            Fault::SetBeforeStored,
            inside(C::C),
            I::NoConsumerIsRefused,
        ),
        machine(
            "promote before set",
            Mutation::PromoteBeforeSet,
            inside(C::A),
            I::NothingIsPromotedUnproved,
        ),
        machine(
            "no probe",
            Mutation::NoProbe,
            inside(C::C),
            I::NothingIsPromotedUnproved,
        ),
        machine(
            "unreachable is denied",
            Mutation::UnreachableIsDenied,
            inside(C::F),
            I::RunsComeToTheirEnd,
        ),
        machine(
            "regenerate on retry",
            Mutation::RegenerateOnRetry,
            few(1, inside(C::C)),
            I::NothingIsGeneratedAnew,
        ),
        Mutant {
            rule: "no lease, and nobody looks at the fence",
            wrong: Wrong {
                fake: Some(Fault::FenceUnchecked),
                ..Wrong::machine(Mutation::NoLease)
            },
            scene: few(0, inside(C::C)),
            caught_by: I::EffectsHaveALiveFence,
        },
        fake(
            "no fence",
            Fault::FenceUnchecked,
            few(1, Scene::two("mutant", C::C)),
            I::EffectsHaveALiveFence,
        ),
        fake(
            "takeover without waiting",
            Fault::TakeoverAtOnce,
            Scene::two("mutant", C::B),
            I::NoConsumerIsRefused,
        ),
        machine(
            "previous dropped early",
            Mutation::PreviousDroppedEarly,
            inside(C::A),
            I::NoConsumerIsRefused,
        ),
        fake(
            "takeover without the holder's deadline",
            Fault::DeadlineForgotten,
            Scene {
                ends_sessions: false,
                ..Scene::two("mutant", C::B)
            },
            I::NoConsumerIsRefused,
        ),
        fake(
            "takeover without ending sessions",
            Fault::SessionsLeft,
            Scene::two("mutant", C::B),
            I::NoConsumerIsRefused,
        ),
        fake(
            "previous not kept",
            Fault::PreviousForgotten,
            inside(C::C),
            I::RunsComeToTheirEnd,
        ),
        fake(
            "revoked not kept",
            Fault::RevokedForgotten,
            inside(C::C),
            I::RunsComeToTheirEnd,
        ),
        machine(
            "revoke before propagate",
            Mutation::RevokeBeforePropagate,
            inside(C::A),
            I::NoConsumerIsRefused,
        ),
        Mutant {
            rule: "RETAIN replayed",
            wrong: Wrong {
                fake: Some(Fault::AppliedBlindly),
                ..Wrong::machine(Mutation::ApplyReplayed)
            },
            scene: inside(C::B),
            caught_by: I::NoConsumerIsRefused,
        },
        fake(
            "the other name forgotten",
            Fault::OtherNameForgotten,
            inside(C::A).named_twice(),
            I::NoConsumerIsRefused,
        ),
        fake(
            "the other name first",
            Fault::OtherNameFirst,
            people(C::A).named_twice(),
            I::NoConsumerIsRefused,
        ),
        fake(
            "RETAIN delivered twice",
            Fault::AppliedBlindly,
            inside(C::B),
            I::NoConsumerIsRefused,
        ),
        fake(
            "the slot in use regenerated",
            Fault::SlotInUseRegenerated,
            inside(C::E),
            I::SomethingHeldIsAccepted,
        ),
        fake(
            "orphan of a lost create kept",
            Fault::OrphanKept,
            inside(C::D),
            I::NoOrphanIsLeft,
        ),
        machine(
            "promotion undone",
            Mutation::PromotionUndone,
            people(C::C),
            I::PromotedIsNeverUndone,
        ),
        machine(
            "revoked unproved",
            Mutation::RevokedUnproved,
            deferred,
            I::NothingIsRevokedUnproved,
        ),
        machine(
            "goes back to a value that was never stored",
            Mutation::GoesBackToNothing,
            going_back(few(1, inside(C::C))),
            I::GoingBackMakesNothing,
        ),
        machine(
            "ends well unproved after the wait",
            Mutation::EndsUnproved,
            few(1, Scene::one("mutant", C::C)),
            I::SucceededEndsAccepted,
        ),
        machine(
            "a look at current ends the wait for consumers",
            Mutation::LookEndsWait,
            few(1, Scene::one("mutant", C::A)),
            I::NoConsumerIsRefused,
        ),
    ]
}
