use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a notice was not taken.
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
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "notify.start",
            Self::Ended { .. } => "notify.ended",
            Self::Late { .. } => "notify.late",
        }
    }
}
