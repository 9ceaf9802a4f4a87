use keywheel_model::{Effect, ErrorKind, StepError};
use wasmtime::component::ResourceTableError;

use crate::bindings::keywheel::core::types;
use crate::state::HostState;

/// How a host function fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An answer to the guest, as `error` of `wit/core`.
    #[error(transparent)]
    Answer(#[from] StepError),
    /// The call of the guest ends here.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The guest broke the rules of the component model, or the host failed; the call ends here.
    #[error("a host function failed")]
    Host(#[source] wasmtime::Error),
}

impl Error {
    /// An answer without effect on a target.
    pub fn answer(kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self::Answer(StepError::new(kind, code, message))
    }

    /// The policy, the manifest or a label forbids it.
    pub fn denied(code: &str, message: impl Into<String>) -> Self {
        Self::answer(ErrorKind::Denied, code, message)
    }

    /// The guest asks for something that makes no sense.
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::answer(ErrorKind::Invalid, code, message)
    }

    /// A bound of the host is reached.
    pub fn limit(code: &str, message: impl Into<String>) -> Self {
        Self::answer(ErrorKind::Limit, code, message)
    }

    /// In the contract, and not offered by this host yet.
    pub fn not_offered(what: &str) -> Self {
        Self::invalid(
            "host.not-offered",
            format!("{what} is not offered by this host yet"),
        )
    }

    /// For functions of the contract that have no error: the call ends instead.
    pub fn into_trap(self) -> wasmtime::Error {
        match self {
            Self::Answer(error) => wasmtime::Error::new(error),
            Self::Stop(stop) => wasmtime::Error::new(stop),
            Self::Host(error) => error,
        }
    }
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        match error {
            ResourceTableError::Full => Self::Stop(Stop::Handles),
            other => Self::Host(other.into()),
        }
    }
}

impl From<wasmtime::Error> for Error {
    fn from(error: wasmtime::Error) -> Self {
        Self::Host(error)
    }
}

/// Why the host ends a guest's call from within a host function. Found again by downcasting the error that the call ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Stop {
    /// Something that the guest would have read, or wrote, held a live secret (rule H4). The run parks; it is never retried by itself.
    #[error("a live secret came back to the plugin or out of it; the whole answer was withheld")]
    Reflection,
    /// More host calls than one step may make.
    #[error("the plugin made more host calls than one step may make")]
    HostCalls,
    /// More handles at once than one step may hold.
    #[error("the plugin holds more handles than one step may hold")]
    Handles,
    /// More bytes of secrets composed than one may have, or one step may make. Where it ends tells how long they are: the run parks.
    #[error("the plugin composed a larger secret than the host keeps, or more than one step may make")]
    Composed,
    /// The step's time is over.
    #[error("the step's deadline has passed")]
    Deadline,
}

impl Stop {
    /// Stable, dotted, lower case.
    pub fn code(self) -> &'static str {
        match self {
            Self::Reflection => "plugin.reflection",
            Self::HostCalls => "plugin.host-calls",
            Self::Handles => "plugin.handles",
            Self::Composed => "plugin.composed",
            Self::Deadline => "plugin.deadline",
        }
    }
}

/// To the guest's form. Everything in it is scanned, like any other answer.
impl types::Host for HostState {
    fn convert_error(&mut self, error: Error) -> wasmtime::Result<types::Error> {
        match error {
            Error::Answer(error) => {
                self.clear_text(&error.message, "an error's message")
                    .map_err(Error::into_trap)?;
                self.clear_text(&error.code, "an error's code")
                    .map_err(Error::into_trap)?;
                Ok(error.into())
            }
            other => Err(other.into_trap()),
        }
    }
}

impl From<StepError> for types::Error {
    fn from(error: StepError) -> Self {
        Self {
            kind: error.kind.into(),
            effect: error.effect.into(),
            code: error.code,
            message: error.message,
            retry_after: error.retry_after_ms,
        }
    }
}

impl From<types::Error> for StepError {
    fn from(error: types::Error) -> Self {
        Self {
            kind: error.kind.into(),
            effect: error.effect.into(),
            code: error.code,
            message: error.message,
            retry_after_ms: error.retry_after,
        }
    }
}

macro_rules! both_ways {
    ($ours:ident, $theirs:path: $($case:ident),+) => {
        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $($ours::$case => Self::$case),+ }
            }
        }

        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                match value { $(<$theirs>::$case => Self::$case),+ }
            }
        }
    };
}

both_ways!(ErrorKind, types::ErrorKind: Denied, Invalid, NotFound, Conflict, Unauthenticated, Unavailable, Timeout, Limit, Cancelled, Other);
both_ways!(Effect, types::Effect: None, Maybe, Applied);
