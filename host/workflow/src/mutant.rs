//! Wrong protocols on purpose, so that the explorer can show that each rule is needed. Without the feature `mutants` there is no way to ask for
//! one, and every question whether one is wanted is answered no at compile time.

#![cfg_attr(
    not(feature = "mutants"),
    allow(unreachable_pub, reason = "exported with the feature only")
)]

/// A way in which the protocol can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mutation {
    /// P1, P7: effects that may be in flight are not waited for, sessions not ended; a takeover acts at once.
    NotSettled,
    /// P2: a raised restore epoch is overlooked.
    RestoreIgnored,
    /// P3: the head is read at the start only.
    HeadNotVerified,
    /// P4: the pending version is not mirrored in the remote vault.
    NotMirrored,
    /// P5: a create whose reply was lost is not tried again.
    LostIssueStandsStill,
    /// P8: nothing is announced.
    NotAnnounced,
    /// P9: a rejection counts at once.
    BeliefIgnored,
    /// P10: a refused current version is not applied again though an older one is accepted.
    OlderPromoted,
    /// P11: both refused: nothing is put back.
    NothingPutBack,
    /// P12: a withdrawn grant is overlooked.
    WithdrawalIgnored,
    /// P14: an expected refusal is probed again at once, without end.
    RefusalProbedOverAndOver,
    /// P15: a first run sets a new credential though nothing was imported.
    FirstRunSets,
    /// P16: an unreadable vault is read as an empty one.
    UnreadableIsEmpty,
    /// Pending becomes current before the target was made to accept it.
    PromoteBeforeSet,
    /// An effect that may have happened is taken for one that has.
    NoProbe,
    /// Unreachable is read as denied.
    UnreachableIsDenied,
    /// A new value after every interrupted apply. The pending version in the vault would stop it, so that one is passed over too.
    RegenerateOnRetry,
    /// Revoked before any consumer was told.
    RevokeBeforePropagate,
    /// Consumers are told and not waited for.
    PreviousDroppedEarly,
    /// An interrupted apply is repeated without asking (MySQL `RETAIN` replayed).
    ApplyReplayed,
    /// The lease is not taken. Without the fence, no driver starts an effect: shown with one that does not look at it.
    NoLease,
    /// A roll back is obeyed after the promotion.
    PromotionUndone,
    /// A deferred proof is not made before the revocation.
    RevokedUnproved,
    /// Given up: the version that the target may have is abandoned, though it pushes current out.
    GivenUpForgotten,
    /// A look at current within the wait for consumers ends that wait.
    LookEndsWait,
    /// A run that slept ends well without asking the target whether current is still accepted.
    EndsUnproved,
    /// A run that is to put an older value back, and has none, makes a new one.
    GoesBackToNothing,
}

#[cfg(feature = "mutants")]
mod set {
    use super::Mutation;
    use crate::step::{Next, run};
    use crate::{Event, State};
    use keywheel_model::Timestamp;

    /// A set of mutations.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Mutations(u32);

    impl Mutations {
        /// The protocol as it is.
        pub const fn none() -> Self {
            Self(0)
        }

        /// The protocol with one mistake.
        pub const fn only(mutation: Mutation) -> Self {
            Self(1 << mutation as u32)
        }

        pub(crate) const fn has(self, mutation: Mutation) -> bool {
            self.0 & 1 << mutation as u32 != 0
        }
    }

    /// [`step`](crate::step()) with mistakes.
    pub fn step_mutated(state: &State, event: &Event, now: Timestamp, wrong: Mutations) -> Next {
        run(state, event, now, wrong)
    }
}

#[cfg(not(feature = "mutants"))]
mod set {
    use super::Mutation;

    #[derive(Clone, Copy)]
    pub(crate) struct Mutations;

    impl Mutations {
        pub(crate) const fn none() -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "the twin with the feature looks at itself")]
        pub(crate) const fn has(self, _mutation: Mutation) -> bool {
            false
        }
    }
}

#[cfg(not(feature = "mutants"))]
pub(crate) use set::Mutations;
#[cfg(feature = "mutants")]
pub use set::{Mutations, step_mutated};
