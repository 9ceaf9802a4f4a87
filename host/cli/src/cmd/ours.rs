//! The configuration for every verb but `init` and `doctor`: read only where nobody else can have written what decides for the host. `init`
//! makes a host only there.

use std::path::{Path, PathBuf};

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
    none_of(open_to_others(&draft, context))?;
    Ok(draft)
}

/// A folder in which a host is to be made: all that would be refused once it is made is refused before anything is.
///
/// # Errors
/// Others can change the folder, or what decides for the host and is in it already.
pub(crate) fn folder(folder: &Path) -> Result<(), Failure> {
    let mut decides: Vec<_> = ["keywheel.toml", "plugins.lock", "policies", "plugins"]
        .map(|name| folder.join(name))
        .into();
    let plugins = folder.join("plugins").read_dir().into_iter().flatten().flatten();
    decides.extend(plugins.map(|plugin| plugin.path()));
    none_of(keywheel_engine::open_to_others(
        decides.iter().map(PathBuf::as_path),
    ))
}

/// All at once: nobody wants to close forty files one by one.
fn none_of(open: Vec<Error>) -> Result<(), Failure> {
    let mut open = open.into_iter();
    let Some(first) = open.next() else {
        return Ok(());
    };
    Err(open.fold(Failure::from(first), |failure, next| {
        failure.maybe_hint(next.hint())
    }))
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
    let mut open = keywheel_engine::open_to_others(decides);
    // Whoever can take the socket's place is told what commands tell the host.
    let folder = draft.socket().parent();
    open.extend(folder.and_then(keywheel_engine::writable_by_others));
    open
}
