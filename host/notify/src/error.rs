use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a receiver's own word on when to come again is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Why a notice was not taken. No word of a URL, a key or a password is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be started.
    #[error("\"{}\" cannot be started", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ended, and not well.
    #[error("\"{}\" ended with {ended}", program.display())]
    Ended {
        /// The program.
        program: PathBuf,
        /// Its exit code, or the signal.
        ended: String,
    },
    /// It did not end in time, and was killed.
    #[error("\"{}\" did not end within {} s", program.display(), timeout.as_secs())]
    Late {
        /// The program.
        program: PathBuf,
        /// The time it had.
        timeout: Duration,
    },
    /// The vault is sealed, and what the sink is reached by is in it.
    #[error("the vault is sealed, and the secret \"{secret}\" of this sink is in it: notices wait")]
    Sealed {
        /// The secret's name.
        secret: String,
    },
    /// What the sink is reached by is not in the vault.
    #[error("the secret \"{secret}\" of this sink has no current version")]
    NoSecret {
        /// The secret's name.
        secret: String,
    },
    /// The vault does not give it.
    #[error("the secret \"{secret}\" of this sink cannot be read ({code})")]
    Unreadable {
        /// The secret's name.
        secret: String,
        /// The vault's code.
        code: String,
    },
    /// It is not what this kind of sink is reached by.
    #[error("the secret \"{secret}\" of this sink {what}")]
    Unfit {
        /// The secret's name.
        secret: String,
        /// What is wrong, in words that go on from it.
        what: &'static str,
    },
    /// No connection, or none that can be believed.
    #[error("it cannot be reached")]
    Reach(#[source] Box<keywheel_target::Error>),
    /// It does not speak HTTP, or broke off.
    #[error("it does not answer by HTTP")]
    Http(#[source] hyper::Error),
    /// No answer in time.
    #[error("it has not answered within {} s", timeout.as_secs())]
    Silent {
        /// The time it had.
        timeout: Duration,
    },
    /// It takes none now: it is asked too often, or in trouble.
    #[error("it has answered {status}: not now")]
    Busy {
        /// The status of HTTP, or the code of SMTP.
        status: u16,
        /// When it wants to be asked again, where it says so.
        retry_after: Option<Duration>,
    },
    /// It does not take this one.
    #[error("it has refused this notice ({status}{})", said(word.as_deref()))]
    Refused {
        /// The status of HTTP, or the code of SMTP.
        status: u16,
        /// The receiver's word for it, where it is one that is known.
        word: Option<String>,
    },
    /// It takes none: it is not there any more, or lets nobody in with this.
    #[error("it takes no notice at all ({status}{})", said(word.as_deref()))]
    Gone {
        /// The status of HTTP, or the code of SMTP.
        status: u16,
        /// The receiver's word for it, where it is one that is known.
        word: Option<String>,
    },
    /// The mail server speaks otherwise than was agreed.
    #[error("the mail server cannot be spoken to: {what}")]
    Mail {
        /// What is wrong.
        what: String,
    },
}

fn said(word: Option<&str>) -> String {
    word.map_or_else(String::new, |word| format!(" {word}"))
}

/// What becomes of a notice that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is handed over again later; not before this, where the receiver says so.
    Later(Option<Duration>),
    /// This one never will be taken; the next one may be.
    Drop,
    /// None will be taken before a person has mended it.
    Halt,
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "notify.start",
            Self::Ended { .. } => "notify.ended",
            Self::Late { .. } | Self::Silent { .. } => "notify.late",
            Self::Sealed { .. } => "notify.sealed",
            Self::NoSecret { .. } | Self::Unreadable { .. } | Self::Unfit { .. } => "notify.secret",
            Self::Reach(_) | Self::Http(_) | Self::Mail { .. } => "notify.unreachable",
            Self::Busy { .. } => "notify.busy",
            Self::Refused { .. } => "notify.refused",
            Self::Gone { .. } => "notify.gone",
        }
    }

    /// What becomes of the notice.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Busy { retry_after, .. } => {
                Remedy::Later(retry_after.map(|after| after.min(RETRY_AFTER_MAX)))
            }
            Self::Refused { .. } => Remedy::Drop,
            Self::Gone { .. } | Self::NoSecret { .. } | Self::Unfit { .. } => Remedy::Halt,
            _ => Remedy::Later(None),
        }
    }
}
