//! The exit codes: a public, stable contract with scripts. `docs/reference/exit-codes.md` is written from here.

use serde::{Serialize, Serializer};

use crate::output::Text;

/// How a command ended. The numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Done; nothing needs attention.
    Ok = 0,
    /// Failed in a way that no other code names.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Advisory: something needs attention, or a plan would change something.
    Attention = 10,
    /// The configuration, a grant or a manifest is invalid.
    ConfigInvalid = 20,
    /// A policy denies it; nothing was done.
    Denied = 21,
    /// A credential was refused: the vault's key, an administrator's login; `target test`: the current credential.
    Auth = 22,
    /// What was named does not exist.
    NotFound = 23,
    /// The state excludes it: another run is open, another host holds the state, a precondition fails.
    Conflict = 24,
    /// A server cannot be reached.
    Unreachable = 30,
    /// The rotation failed: nothing was changed on the target, or it was taken back; the old credential stays current.
    RolledBack = 40,
    /// The run is parked and needs a person: `keywheel run show` says why and what to do.
    Parked = 41,
    /// A verification failed: the audit chain, a plugin's digest.
    VerifyFailed = 42,
    /// `doctor` found failures.
    DoctorFailed = 50,
    /// Gave up waiting. The run goes on when it is resumed.
    TimedOut = 124,
}

impl ExitCode {
    /// Every code, in order of its number.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Unexpected,
        Self::Usage,
        Self::Attention,
        Self::ConfigInvalid,
        Self::Denied,
        Self::Auth,
        Self::NotFound,
        Self::Conflict,
        Self::Unreachable,
        Self::RolledBack,
        Self::Parked,
        Self::VerifyFailed,
        Self::DoctorFailed,
        Self::TimedOut,
    ];

    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// A word for it, as `-o json` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Attention => "attention",
            Self::ConfigInvalid => "config-invalid",
            Self::Denied => "denied",
            Self::Auth => "auth",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unreachable => "unreachable",
            Self::RolledBack => "rolled-back",
            Self::Parked => "parked",
            Self::VerifyFailed => "verify-failed",
            Self::DoctorFailed => "doctor-failed",
            Self::TimedOut => "timed-out",
        }
    }

    /// What it means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "Done; nothing needs attention.",
            Self::Unexpected => "Failed in a way that no other code names.",
            Self::Usage => "The command line is wrong.",
            Self::Attention => "Advisory: something needs attention, or a plan would change something.",
            Self::ConfigInvalid => "The configuration, a grant or a manifest is invalid.",
            Self::Denied => "A policy denies it; nothing was done.",
            Self::Auth => {
                "A credential was refused: the vault's key, an administrator's login; `target test`: the current credential."
            }
            Self::NotFound => "What was named does not exist.",
            Self::Conflict => {
                "The state excludes it: another run is open, another host holds the state, a precondition fails."
            }
            Self::Unreachable => "A server cannot be reached.",
            Self::RolledBack => {
                "The rotation failed: nothing was changed on the target, or it was taken back; the old credential stays current."
            }
            Self::Parked => {
                "The run is parked and needs a person: `keywheel run show` says why and what to do."
            }
            Self::VerifyFailed => "A verification failed: the audit chain, a plugin's digest.",
            Self::DoctorFailed => "`doctor` found failures.",
            Self::TimedOut => {
                "Gave up waiting. The run goes on when it is resumed. After the promotion a run that only sleeps out the grace ends with 0; one that does not get past a failure, with this."
            }
        }
    }

    /// The code of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The page `docs/reference/exit-codes.md`.
    pub fn page() -> String {
        let mut page = Text::default();
        page.line("# Exit codes\n");
        page.line("Of every `keywheel` command. The numbers are stable: scripts may rely on them.\n");
        page.line("| code | name | meaning |\n|---:|---|---|");
        for code in Self::ALL {
            page.line(format_args!(
                "| {} | `{}` | {} |",
                code.number(),
                code.name(),
                code.meaning()
            ));
        }
        page.finish()
    }
}

impl Serialize for ExitCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_the_one_of_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/exit-codes.md");
        if std::env::var_os("KEYWHEEL_BLESS").is_some() {
            std::fs::write(path, ExitCode::page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == ExitCode::page(),
            "run with KEYWHEEL_BLESS=1"
        );
    }

    #[test]
    fn numbers_and_names_are_unique_and_in_order() {
        for pair in ExitCode::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number() && pair[0].name() != pair[1].name());
        }
    }
}
