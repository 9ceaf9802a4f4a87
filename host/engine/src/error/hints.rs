//! What a person can do, and words that are made of parts.

use std::io::ErrorKind;

use keywheel_model::{RotationName, RunId, SecretName};

use crate::Error;
use crate::linked::Apart;
use crate::view::RunView;

pub(super) fn file_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the folder it is in must be writable for the user who runs this"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => "free some space",
        _ => "look at the path, its owner and its mode",
    }
}

/// So many targets are named.
const TARGETS_MAX: usize = 8;

pub(super) fn targets_hint(known: &[String]) -> String {
    match known {
        [] => "no rotation is configured whose plugin is there".to_owned(),
        known => {
            let more = if known.len() > TARGETS_MAX { ", …" } else { "" };
            let named: Vec<&str> = known.iter().take(TARGETS_MAX).map(String::as_str).collect();
            format!("the rotations work on {}{more}", named.join(", "))
        }
    }
}

pub(super) fn linked_hint(rotation: &RotationName, apart: &Apart) -> String {
    match &apart.open {
        Some(run) => format!(
            "nothing was begun; `keywheel run show {run}` tells where that one stands: two are never open at once"
        ),
        None => format!(
            "nothing was begun; wait, or answer for it: `keywheel rotate {rotation} --ignore-offset --reason TEXT`"
        ),
    }
}

/// Of a value that is not there, or not given.
pub(super) fn of_wanted(error: &Error) -> Option<String> {
    Some(match error {
        Error::NoSecret { .. } => {
            "`keywheel secret list` lists the secrets; `keywheel secret import` adds one".to_owned()
        }
        Error::NotGranted { secret, uid } => not_granted(secret, *uid),
        Error::NoPart { .. } => {
            "a part is a string of a JSON document, by its name or JSON pointer, or a key of a connection string, such as `password`"
                .to_owned()
        }
        Error::NoVersion { secret, .. }
        | Error::NoneInStage { secret, .. }
        | Error::NotReadable { secret, .. } => {
            format!("`keywheel secret history {secret}` lists its versions")
        }
        _ => return None,
    })
}

/// The lines that would give it, and the way for a person.
fn not_granted(secret: &SecretName, uid: u32) -> String {
    format!(
        "on a terminal, or with `--to FILE`, a person reads it (`--reason` says why); a program needs these lines in keywheel.toml:\n\
         [[grant]]\nuid = {uid}\nallow = [\"read-plaintext\"]\nsecrets = [\"{secret}\"]"
    )
}

pub(super) fn named_inputs(inputs: &[(String, SecretName)]) -> String {
    let words: Vec<_> = inputs
        .iter()
        .map(|(input, secret)| format!("input `{input}` (secret {secret})"))
        .collect();
    words.join(" and ")
}

pub(super) fn removed_words(runs: &[RunView]) -> String {
    let words: Vec<_> = runs.iter().map(RunView::removed_words).collect();
    words.join("; ")
}

/// What to do where an answer does not fit that a run does not wait for.
pub(super) fn unfit(option: &str, run: &RunId) -> String {
    format!(
        "nothing was done; {}: `keywheel run resume {run}` goes on with this one, and parks it if its target keeps refusing; \
         `keywheel run show {run}` says where it stands",
        fits(option)
    )
}

/// Where an answer fits that does not fit everywhere.
fn fits(option: &str) -> String {
    let place = match option {
        "--end-grace" | "--revoke-now" => {
            "one whose new credential is current, and that waits for consumers (--revoke-now: if a login can prove that one)"
        }
        "--apply-current" => {
            "a run that is parked, or whose new credential is current and that waits for consumers"
        }
        _ => "a run that is parked",
    };
    format!("{option} is for {place}")
}

/// What can be done about a run that is in the way.
pub(super) fn open_run_hint(run: &RunId, forward: bool) -> String {
    let rest = if forward {
        format!(
            "it can only go forward: `keywheel run resume {run}` brings it to its end, once it has waited for consumers that may still use the old \
             credential (--end-grace ends its grace, --revoke-now all of that wait); if its target is gone for good, \
             `keywheel run cancel {run} --give-up --reason TEXT` ends it as it stands"
        )
    } else {
        format!("`keywheel run resume {run}` goes on with it, `keywheel run cancel {run}` gives it up")
    };
    format!("`keywheel run show {run}` tells where it stands; {rest}")
}

pub(super) fn over_hint(run: &RunId) -> String {
    format!(
        "nothing is left to do: `keywheel run show {run}` has what became of it; `keywheel rotate` begins another"
    )
}

pub(super) fn plan_hint(way_past: Option<&str>) -> String {
    let way_past = way_past.unwrap_or("see that the target can be reached and its administrator may look");
    format!("nothing was written; {way_past}")
}
