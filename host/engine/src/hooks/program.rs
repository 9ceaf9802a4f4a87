//! The program of a hook: whether it is fit to be started, and with what.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use keywheel_model::{Stage, VersionId};
use keywheel_notify::Hook;
use keywheel_workflow::State;
use rustix::fs::{Access, access};

use crate::engine::Inner;
use crate::pinned::PinnedHook;

/// Whether a program may answer for a consumer, or be told notices. For `config check`: what is wrong, and the way out.
///
/// # Errors
/// What is wrong: a fragment that goes on from the file's name, and the way out.
pub fn examine_program(path: &Path) -> Result<(), (String, String)> {
    let found = std::fs::metadata(path).map_err(|error| {
        let hint = "it must be a file that the host's user may execute".to_owned();
        (format!("cannot be looked at: {error}"), hint)
    })?;
    if !found.is_file() {
        return Err(("is no file".to_owned(), "name a program".to_owned()));
    }
    if let Err(error) = keywheel_plugin::check_ours(path) {
        let hint = error.hint().unwrap_or_default();
        return Err((
            "can be changed by others than the host's user and root".to_owned(),
            hint,
        ));
    }
    if let Some(folder) = path.parent().filter(|folder| is_open(folder)) {
        return Err((
            "lies in a folder in which everybody can put another file in its place".to_owned(),
            format!("`chmod o-w \"{}\"`", folder.display()),
        ));
    }
    if access(path, Access::EXEC_OK).is_err() {
        return Err((
            "cannot be executed by the host's user".to_owned(),
            format!("`chmod a+x \"{}\"`", path.display()),
        ));
    }
    Ok(())
}

/// Whether everybody may rename what is in a folder.
fn is_open(folder: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o002 != 0 && found.mode() & STICKY == 0)
}

/// What is started: names stand in its arguments and in its environment, never a value.
pub(super) fn of(hook: &PinnedHook, inner: &Inner, state: &State, version: &VersionId, stage: Stage) -> Hook {
    let names = [
        ("secret", "KEYWHEEL_SECRET", state.settings.secret.as_str()),
        ("version", "KEYWHEEL_VERSION", version.as_str()),
        ("rotation", "KEYWHEEL_ROTATION", state.settings.rotation.as_str()),
        ("run", "KEYWHEEL_RUN", state.run.as_str()),
        ("stage", "KEYWHEEL_STAGE", stage.as_str()),
    ];
    let filled = |argument: &String| {
        let fill =
            |text: String, (name, _, value): &(&str, _, &str)| text.replace(&format!("{{{name}}}"), value);
        names.iter().fold(argument.clone(), fill)
    };
    let mut environment: Vec<_> = names
        .iter()
        .map(|(_, variable, value)| (*variable, (*value).to_owned()))
        .collect();
    let parent = inner.traces.parent_of(&state.run);
    environment.extend(parent.map(|parent| ("TRACEPARENT", parent)));
    // Nobody listens there unless a host is running.
    if inner.turns.kept_since().is_some() {
        let socket = &inner.config.socket;
        let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.clone());
        environment.push(("KEYWHEEL_SOCKET", socket.display().to_string()));
    }
    Hook {
        program: hook.program.clone(),
        arguments: hook.arguments.iter().map(filled).collect(),
        environment,
        timeout: Duration::from_millis(hook.timeout_ms),
    }
}
