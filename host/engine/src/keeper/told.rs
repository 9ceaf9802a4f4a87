//! What the log of a service says of a run that was started or gone on with.

use keywheel_model::RotationName;
use keywheel_schedule::Zone;

use crate::Error;
use crate::RunWord;
use crate::view::RunView;

/// Where it stands now. What is ill is a warning with its code; what the target or the plugin says of it stands in the run, and not in the log.
pub(super) fn tell(view: &RunView) {
    let failure = view.last_failure();
    let code = failure.map(|failure| failure.code).unwrap_or_default();
    let until = view.waits_until.filter(|_| view.finished_at.is_none());
    let until = until.map(|until| Zone::UTC.show(until)).unwrap_or_default();
    let (rotation, run, state) = (&view.rotation, &view.run, view.state.as_str());
    let cause = view.parked.as_ref().map(|parked| parked.cause.as_str());
    let code = cause.unwrap_or(&code);
    let message = match (&view.parked, view.state) {
        (Some(_), _) => "it waits for a person",
        (None, RunWord::Failed | RunWord::RolledBack) => "it came to nothing",
        (None, _) if !code.is_empty() => "it is in trouble, and goes on by itself",
        (None, _) => {
            tracing::info!(%rotation, %run, state, until, "went on");
            return;
        }
    };
    tracing::warn!(%rotation, %run, state, until, code, "{message}");
}

/// What was due and could not be started.
pub(super) fn tell_refused(rotation: &RotationName, error: &Error) {
    let code = match error {
        // Its own is always the same.
        Error::Plan { code, .. } => code,
        error => error.code(),
    };
    tracing::error!(%rotation, code, "what is due was not started");
}
