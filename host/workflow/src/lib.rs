//! The rotation machine: a pure `step(state, event, now) -> (state, effect, notes)`. It knows the protocol and the classes of slots; it must not know
//! any target, plugin, vault, store, or clock.

#![forbid(unsafe_code)]

mod cause;
mod describe;
mod effect;
mod event;
mod mutant;
mod note;
mod settings;
mod state;
mod step;

pub use cause::Cause;
pub use describe::{DescribedStep, Description, describe};
pub use effect::{Call, Effect, Roles};
pub use event::{Choice, Event, Head, Kept, Lease, Report, StepOk, StoreFailure};
#[cfg(feature = "mutants")]
pub use mutant::{Mutation, Mutations, step_mutated};
pub use note::{Note, NoteKind};
pub use settings::{BackOff, Consumer, First, Pinned, Principal, ProofPolicy, Settings};
pub use state::{
    Candidate, Check, Ended, Ending, Entry, FORMAT, Parked, Phase, RunWord, State, StepLog, Trouble, Wish,
};
pub use step::{Next, step};
