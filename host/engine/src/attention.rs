//! What `status` says of one thing.

use keywheel_model::Timestamp;
use keywheel_notify::Severity;
use keywheel_workflow::RunWord;

use crate::view::{Attention, RunView};

/// What can be the matter with an open run. One comes in another's place with each try, while it is one and the same trouble.
const OF_OPEN_RUNS: [&str; 8] = [
    "run-removed",
    "run-awaits-approval",
    "run-parked",
    "run-due",
    "run-waits",
    "run-waits-for-backup",
    "run-in-trouble",
    "run-left",
];

/// What keeps everything, or much of it, from being rotated: it does its harm now.
const OF_ALL: [&str; 10] = [
    "restore-interrupted",
    "state-unwritable",
    "vault-sealed",
    "schedule-held",
    "schedule-braked",
    "configuration-refused",
    "socket-gone",
    "disk-low",
    "clock-behind",
    "clock-jumped",
];

/// What somebody wanted so, or has only to know: it does no harm by itself.
const OF_NOTE: [&str; 4] = [
    "plugin-unknown",
    "schedule-linked",
    "schedule-paused",
    "target-maintenance",
];

/// When an entry does harm, for the order of a list: what stops everything is first, then what has a time, the nearest before, then what stands until somebody
/// comes and nobody knows how long it may, then notes.
pub(crate) fn harm_of(entry: &Attention) -> (u8, Timestamp) {
    let at = entry.harm_at.unwrap_or_default();
    if OF_ALL.contains(&entry.kind) {
        (0, at)
    } else if OF_NOTE.contains(&entry.kind) {
        (3, at)
    } else if entry.harm_at.is_some() {
        (1, at)
    } else {
        (2, at)
    }
}

/// What does harm now, or is about to: somebody is woken up for it.
const CRITICAL: [&str; 6] = [
    "restore-interrupted",
    "rotation-may-expire",
    "secret-expired",
    "secret-expires",
    "state-unwritable",
    "vault-sealed",
];

/// What has to be looked at some time, or is looked after by the host itself.
const WARNINGS: [&str; 16] = [
    "backup-late",
    "clock-behind",
    "clock-jumped",
    "disk-low",
    "notices-refused",
    "run-awaits-approval",
    "run-due",
    "run-given-up",
    "run-in-trouble",
    "run-left",
    "run-waits",
    "run-waits-for-backup",
    "schedule-braked",
    "schedule-overdue",
    "secret-expiring",
    "secret-untried",
];

/// How much an entry matters to whoever is told. What is in no list is something that is not done and has to be.
pub(crate) fn severity_of(kind: &str) -> Severity {
    if CRITICAL.contains(&kind) {
        Severity::Critical
    } else if WARNINGS.contains(&kind) {
        Severity::Warning
    } else if OF_NOTE.contains(&kind) {
        Severity::Info
    } else {
        Severity::Error
    }
}

/// Under which an entry is told, and told to be over.
pub(crate) fn key_of(subject: &str, kind: &str) -> String {
    let kind = if OF_OPEN_RUNS.contains(&kind) {
        "run-open"
    } else if is_of_expiry(kind) {
        "secret-expires"
    } else {
        kind
    };
    format!("{subject}: {kind}")
}

/// Whether it is told again at each rung: as its words change, and it is still one and the same trouble.
pub(crate) fn is_of_expiry(kind: &str) -> bool {
    matches!(kind, "secret-expires" | "secret-expiring" | "secret-expired")
}

/// That a run waits for somebody to approve it.
pub(crate) const APPROVAL: &str = "run-awaits-approval";

/// Whether it stands until somebody decides: worth telling of a run of which something else was told before.
pub(crate) fn stands_until_decided(kind: &str) -> bool {
    matches!(
        kind,
        "run-removed" | APPROVAL | "run-parked" | "run-waits-for-backup"
    )
}

/// Of an open run; none where this host goes on with it by itself and nothing is wrong. Whoever has its turn is at it right now, once it is due.
pub(crate) fn attention_of_run(run: &RunView, has_turn: bool) -> Option<Attention> {
    let goes_on = run.driven && run.parked.is_none() && run.trouble.is_none() && !run.removed;
    let backup = run.backup_way_out();
    if goes_on && backup.is_none() {
        return None;
    }

    let subject = format!("rotation {}", run.rotation);
    let resume = format!("keywheel run resume {}", run.run);
    if run.removed {
        return Some(Attention {
            harm_at: run.waits_until,
            ..attention(
                "run-removed",
                &subject,
                &run.removed_words(),
                &run.removed_way_out(),
            )
        });
    }
    if let Some(waits) = attention_of_approval(run, &subject) {
        return Some(waits);
    }
    let mut entry = match (&run.parked, run.state) {
        (Some(parked), _) => attention(
            "run-parked",
            &subject,
            &format!(
                "run {} is parked ({}): {}",
                run.run,
                parked.cause.as_str(),
                parked.detail
            ),
            &parked.way_out,
        ),
        (None, RunWord::Waiting) if run.due && has_turn && backup.is_none() => Attention {
            way_out: format!(
                "it is tried now: `keywheel run show {}` says how far it is",
                run.run
            ),
            ..under_way(run, &subject, &resume)
        },
        (None, RunWord::Waiting) if run.due && backup.is_none() => Attention {
            harm_at: run.waits_until,
            ..attention(
                "run-due",
                &subject,
                &format!(
                    "run {} is due: its wait for {} is over{}{}",
                    run.run,
                    run.waits_for.unwrap_or("its time"),
                    trouble(run),
                    until_resumed(run)
                ),
                &resume,
            )
        },
        (None, RunWord::Waiting) => waits(run, &subject, backup, resume),
        _ => under_way(run, &subject, &resume),
    };
    if let Some(words) = run.configuration_words() {
        entry.what = format!("{}; {words}", entry.what);
    }
    Some(entry)
}

/// One whose time has not come, or that waits for a backup.
fn waits(run: &RunView, subject: &str, backup: Option<&str>, resume: String) -> Attention {
    let kind = if backup.is_some() {
        "run-waits-for-backup"
    } else {
        "run-waits"
    };
    let what = format!(
        "run {} waits for {}{}{}",
        run.run,
        run.waits_for.unwrap_or("its time"),
        trouble(run),
        until_resumed(run)
    );
    let way_out = match backup {
        Some(backup) => format!("{backup}; then {resume}"),
        None => resume,
    };
    Attention {
        harm_at: run.waits_until,
        ..attention(kind, subject, &what, &way_out)
    }
}

/// One that waits for somebody to approve it.
fn attention_of_approval(run: &RunView, subject: &str) -> Option<Attention> {
    let (approval, parked) = (run.awaits_approval()?, run.parked.as_ref()?);
    let by = approval.requested_by.as_deref().unwrap_or("somebody");
    let what = format!("run {} of {by}: {}", run.run, parked.detail);
    Some(Attention {
        harm_at: approval.until,
        ..attention(APPROVAL, subject, &what, &approval.way_out)
    })
}

/// One that is driven and in trouble, or that nobody drives.
fn under_way(run: &RunView, subject: &str, resume: &str) -> Attention {
    let (kind, stands, alone) = if run.driven {
        ("run-in-trouble", "is under way", "")
    } else {
        ("run-left", "was left in the middle", "; no host drives it")
    };
    let what = format!("run {} {stands} ({}{}){alone}", run.run, run.safety, trouble(run));
    attention(kind, subject, &what, resume)
}

/// What the next try is for.
fn trouble(run: &RunView) -> String {
    run.trouble.as_ref().map_or_else(String::new, |trouble| {
        format!(" ({}: {})", trouble.code, trouble.message)
    })
}

fn until_resumed(run: &RunView) -> &'static str {
    if run.driven {
        ""
    } else {
        "; no host drives it until it is resumed"
    }
}

pub(crate) fn attention(kind: &'static str, subject: &str, what: &str, way_out: &str) -> Attention {
    Attention {
        kind,
        subject: subject.to_owned(),
        what: what.to_owned(),
        way_out: way_out.to_owned(),
        harm_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_secret_is_one_trouble_from_its_first_rung_to_its_last() {
        let keys =
            ["secret-expiring", "secret-expires", "secret-expired"].map(|kind| key_of("secret a", kind));
        assert!(
            keys.iter().all(|key| key == "secret a: secret-expires"),
            "{keys:?}"
        );
        assert_eq!(severity_of("secret-expiring"), Severity::Warning);
        assert_eq!(severity_of("secret-expired"), Severity::Critical);
    }

    #[test]
    fn a_list_begins_with_what_stops_everything_and_ends_with_notes() {
        let at = |kind, ms: Option<u64>| Attention {
            harm_at: ms.map(Timestamp::from_unix_ms),
            ..attention(kind, "", "", "")
        };
        let mut list = [
            at("plugin-unknown", None),
            at("run-failed", None),
            at("secret-expires", Some(9)),
            at("target-maintenance", Some(1)),
            at("run-awaits-approval", Some(3)),
            at("schedule-held", Some(7)),
        ];
        list.sort_by_key(harm_of);
        assert_eq!(
            list.map(|entry| entry.kind),
            [
                "schedule-held",
                "run-awaits-approval",
                "secret-expires",
                "run-failed",
                "plugin-unknown",
                "target-maintenance",
            ]
        );
    }
}
