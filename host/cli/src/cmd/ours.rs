//! The configuration for every verb but `init` and `doctor`: read only where nobody else can have written what decides for the host.

use keywheel_config::{Config, Draft};
use keywheel_engine::Error;

use crate::cmd::Context;
use crate::errors::Failure;

/// The configuration as far as it could be understood.
///
/// # Errors
/// It cannot be read; it, or grants, pins or a trust set can be changed by others.
pub(crate) fn draft(context: &Context) -> Result<Draft, Failure> {
    let draft = Draft::open(&context.global.config)?;
    let mut open = open_to_others(&draft, context).into_iter();
    let Some(first) = open.next() else {
        return Ok(draft);
    };
    // All at once: nobody wants to close forty files one by one.
    let refused = open.fold(Failure::from(first), |failure, next| {
        failure.maybe_hint(next.hint())
    });
    Err(refused)
}

/// The configuration, checked by itself.
///
/// # Errors
/// As [`draft`]; every problem.
pub(crate) fn config(context: &Context) -> Result<Config, Failure> {
    Ok(draft(context)?.finish()?)
}

/// Everything that decides for the host and that others can change.
pub(crate) fn open_to_others(draft: &Draft, context: &Context) -> Vec<Error> {
    let mut decides = draft.stands_on();
    decides.push(&context.global.config);
    keywheel_engine::open_to_others(decides)
}
