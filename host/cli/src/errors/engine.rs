//! Which exit code an error of the engine ends with. The codes of errors are stable, so that one table holds for all layers.

use keywheel_engine::Error;

use crate::errors::Failure;
use crate::exit_code::ExitCode;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Config(problems) = error {
            return Self::Config(problems);
        }
        let exit = exit_of(&error);
        Self::from_error(exit, error.code(), &error).maybe_hint(error.hint())
    }
}

fn exit_of(error: &Error) -> ExitCode {
    match error {
        // The step's own code says why the target could not be looked at.
        Error::Plan { code, .. } => of_step_code(code),
        error => of_code(error.code()),
    }
}

/// The exit code for the code of a failed step.
pub(crate) fn of_step_code(code: &str) -> ExitCode {
    match code.split_once('.') {
        Some(("net" | "tls" | "vault" | "store", _)) => of_code(code),
        Some(("sql", state)) if state.starts_with("28") => ExitCode::Auth,
        Some(("sql", state)) if state.starts_with("08") || state.starts_with("57p") => ExitCode::Unreachable,
        Some(("admin", "refused")) => ExitCode::Auth,
        Some(("policy", _)) => ExitCode::Denied,
        _ => ExitCode::Conflict,
    }
}

fn of_code(code: &str) -> ExitCode {
    let listed = CODES.iter().find(|(_, codes)| codes.contains(&code));
    match (listed, code.split_once('.')) {
        (Some((exit, _)), _) => *exit,
        (None, Some(("plugin" | "manifest" | "policy" | "config" | "capability", _))) => {
            ExitCode::ConfigInvalid
        }
        (None, Some(("tls", _))) => ExitCode::Unreachable,
        (None, _) => ExitCode::Unexpected,
    }
}

/// What is not here goes by its first word, or is unexpected.
const CODES: [(ExitCode, &[&str]); 10] = [
    (
        ExitCode::Unexpected,
        &["plugin.read", "plugin.write", "plugin.engine", "plugin.thread"],
    ),
    (
        ExitCode::Usage,
        &["secret.value", "vault.too-large", "vault.malformed"],
    ),
    (ExitCode::ConfigInvalid, &["rotation.mode", "net.host"]),
    (
        ExitCode::Denied,
        &[
            "policy.denied",
            "run.own-approval",
            "run.not-approver",
            "secret.not-granted",
            "plugin.more-than-granted",
            "plugin.not-pinned",
            "net.not-allowed",
            "net.forbidden-address",
            "net.plaintext-denied",
            "net.unsafe-stream",
        ],
    ),
    (
        ExitCode::Auth,
        &[
            "vault.sealed",
            "vault.wrong-key",
            "vault.key-file",
            "vault.key-file-access",
        ],
    ),
    (
        ExitCode::NotFound,
        &[
            "rotation.not-found",
            "target.not-found",
            "secret.not-found",
            "secret.no-version",
            "secret.no-part",
            "run.not-found",
            "vault.no-version",
            "vault.no-slot",
            "store.not-found",
            "store.no-state",
            "plugin.unknown",
            "plugin.gone",
            "plugin.no-folder",
            "vault.backup-missing",
        ],
    ),
    (
        ExitCode::Conflict,
        &[
            "store.in-use",
            "store.newer-format",
            "store.not-ours",
            "store.not-private",
            "store.file-system",
            "store.state-conflict",
            "store.lease-held",
            "store.stale-fence",
            "store.budget-spent",
            "store.conflict",
            "vault.not-initialised",
            "vault.initialised",
            "vault.newer-format",
            "vault.pending-exists",
            "vault.head-moved",
            "vault.stage",
            "vault.other-run",
            "vault.last-slot",
            "vault.slot-key-missing",
            "run.open",
            "run.over",
            "run.past-no-return",
            "run.choice",
            "run.no-approval",
            "run.approved",
            "run.approval-late",
            "run.other-plan",
            "rotation.linked",
            "run.rotation-gone",
            "run.newer-state",
            "secret.already-current",
            "secret.not-readable",
            "rotation.input-missing",
            "plan.refused",
            "plugin.changed",
            "plugin.downgrade",
            "file.exists",
            "init.at-work",
            "restore.state-there",
            "vault.backup-exists",
            "vault.backup-format",
        ],
    ),
    (
        ExitCode::Unreachable,
        &[
            "vault.unreachable",
            "net.unresolved",
            "net.unreachable",
            "net.timeout",
            "net.lost",
            "net.protocol",
        ],
    ),
    (ExitCode::TimedOut, &["store.timeout"]),
    (
        ExitCode::VerifyFailed,
        &[
            "vault.damaged",
            "vault.backup-damaged",
            "store.damaged",
            "plugin.digest",
            "plugin.signature",
            "plugin.unsigned",
            "audit.broken",
            "audit.behind",
            "audit.cut-off",
            "audit.other-store",
            "audit.signature",
            "audit.other-key",
            "audit.unsigned",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_all_layers_have_their_exit_code() {
        for (code, exit) in [
            ("store.in-use", ExitCode::Conflict),
            ("store.damaged", ExitCode::VerifyFailed),
            ("store.full", ExitCode::Unexpected),
            ("vault.wrong-key", ExitCode::Auth),
            ("plugin.digest", ExitCode::VerifyFailed),
            ("plugin.symlink", ExitCode::ConfigInvalid),
            ("manifest.two", ExitCode::ConfigInvalid),
            ("policy.denied", ExitCode::Denied),
            ("policy.invalid", ExitCode::ConfigInvalid),
            ("net.timeout", ExitCode::Unreachable),
            ("something.new", ExitCode::Unexpected),
        ] {
            assert_eq!(of_code(code), exit, "{code}");
        }
    }

    #[test]
    fn a_failed_step_ends_with_what_its_target_said() {
        for (code, exit) in [
            ("sql.28p01", ExitCode::Auth),
            ("sql.57p03", ExitCode::Unreachable),
            ("net.unreachable", ExitCode::Unreachable),
            ("net.unsafe-stream", ExitCode::Denied),
            ("net.host", ExitCode::ConfigInvalid),
            ("net.protocol", ExitCode::Unreachable),
            ("tls.name", ExitCode::Unreachable),
            ("policy.denied", ExitCode::Denied),
            ("vault.damaged", ExitCode::VerifyFailed),
            ("sql.42501", ExitCode::Conflict),
            ("odd", ExitCode::Conflict),
        ] {
            assert_eq!(of_step_code(code), exit, "{code}");
        }
    }
}
