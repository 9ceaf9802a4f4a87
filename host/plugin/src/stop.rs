//! Why a call was ended before the guest came back: in words of the host, never with anything from the guest's memory.

use std::fmt;

use keywheel_model::{ErrorKind, StepError};
use wasmtime::Trap;

/// What ended a call. The guest's instance is gone; whatever it had sent may have landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It computed for longer than it may.
    Cpu,
    /// The call took longer than it may.
    WallClock,
    /// It asked for more memory than it may have.
    Memory,
    /// It asked for more table elements than it may have.
    Tables,
    /// It is made of more instances, memories or tables than it may have.
    Instances,
    /// It recursed too deeply.
    Stack,
    /// It gave up by itself: a panic, an uncaught exception, an abort.
    Panic,
    /// Another trap, in the words of the WebAssembly specification.
    Trap(&'static str),
    /// It called what the host does not offer or broke the rules of the component model (a handle that is not its own).
    Misuse,
    /// A host function ended it: too many calls or handles, or a secret would have come back.
    Guarded(keywheel_capability::Stop),
    /// The host failed in a function that the guest called, and that has no way to say so: what it failed with, if that has words of the host's.
    Host(Option<Box<StepError>>),
}

impl Stop {
    /// Stable, dotted, lower case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cpu => "plugin.cpu",
            Self::WallClock => "plugin.wall-clock",
            Self::Memory => "plugin.memory",
            Self::Tables => "plugin.tables",
            Self::Instances => "plugin.instances",
            Self::Stack => "plugin.stack",
            Self::Panic => "plugin.panic",
            Self::Trap(_) => "plugin.trap",
            Self::Misuse => "plugin.misuse",
            Self::Guarded(stop) => stop.code(),
            Self::Host(_) => "plugin.host",
        }
    }

    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        use keywheel_capability::Stop as Guard;
        match self {
            Self::WallClock | Self::Guarded(Guard::Deadline) => ErrorKind::Timeout,
            Self::Cpu
            | Self::Memory
            | Self::Tables
            | Self::Instances
            | Self::Stack
            | Self::Guarded(Guard::HostCalls | Guard::Handles) => ErrorKind::Limit,
            Self::Guarded(Guard::Reflection | Guard::Composed) => ErrorKind::Denied,
            Self::Host(Some(error)) => error.kind,
            Self::Panic | Self::Trap(_) | Self::Misuse | Self::Host(None) => ErrorKind::Other,
        }
    }

    /// The reason inside an error that a call of the engine ended with.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if let Some(stop) = error.downcast_ref::<Self>() {
            return stop.clone();
        }
        if let Some(stop) = error.downcast_ref() {
            return Self::Guarded(*stop);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Cpu,
            Some(Trap::StackOverflow) => Self::Stack,
            Some(Trap::UnreachableCodeReached) => Self::Panic,
            Some(Trap::MemoryOutOfBounds) => Self::Trap("out of bounds memory access"),
            Some(Trap::TableOutOfBounds) => Self::Trap("out of bounds table access"),
            Some(Trap::IndirectCallToNull) => Self::Trap("uninitialized element"),
            Some(Trap::BadSignature) => Self::Trap("indirect call type mismatch"),
            Some(Trap::IntegerOverflow) => Self::Trap("integer overflow"),
            Some(Trap::IntegerDivisionByZero) => Self::Trap("integer divide by zero"),
            Some(Trap::BadConversionToInteger) => Self::Trap("invalid conversion to integer"),
            Some(_) => Self::Misuse,
            None if error.downcast_ref::<wasmtime_wasi::I32Exit>().is_some() => Self::Panic,
            None if is_foreign_handle(error) => Self::Misuse,
            None if is_over_count(error) => Self::Instances,
            None => Self::Host(error.downcast_ref::<StepError>().cloned().map(Box::new)),
        }
    }
}

/// Whether the guest gave a handle that is none of its own: the engine has a text for that and no type.
fn is_foreign_handle(error: &wasmtime::Error) -> bool {
    let words = error.root_cause().to_string();
    words.starts_with("unknown handle index") || words.starts_with("handle index ")
}

/// Whether there would be more instances, memories or tables than the limiter lets be: again a text and no type.
fn is_over_count(error: &wasmtime::Error) -> bool {
    let words = error.root_cause().to_string();
    words.starts_with("resource limit exceeded: ") && words.contains(" count too high ")
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "the plugin computed for longer than it may",
            Self::WallClock => "the step took longer than it may",
            Self::Memory => "the plugin asked for more memory than it may have",
            Self::Tables => "the plugin asked for more table elements than it may have",
            Self::Instances => "the plugin is made of more instances, memories or tables than it may have",
            Self::Stack => "the plugin recursed too deeply",
            Self::Panic => "the plugin panicked",
            Self::Trap(what) => return write!(f, "the plugin trapped: {what}"),
            Self::Misuse => "the plugin called something that the host does not offer, or used a handle that is not its own",
            Self::Guarded(stop) => return stop.fmt(f),
            Self::Host(Some(error)) => &error.message,
            Self::Host(None) => "a host function failed",
        })
    }
}

impl std::error::Error for Stop {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_function_failed_with_is_said_where_it_has_words() {
        let full = StepError::new(ErrorKind::Unavailable, "store.full", "no space left");
        let stop = Stop::of(&wasmtime::Error::new(full.clone()));
        assert_eq!(stop, Stop::Host(Some(Box::new(full))));
        assert_eq!(
            (stop.kind(), stop.to_string()),
            (ErrorKind::Unavailable, "no space left".to_owned())
        );
        let other = Stop::of(&wasmtime::Error::msg("words of a library"));
        assert_eq!(
            (other.code(), other.to_string()),
            ("plugin.host", "a host function failed".to_owned())
        );
    }
}
