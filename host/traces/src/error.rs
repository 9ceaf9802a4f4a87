use std::io;
use std::time::Duration;

/// Why spans did not get to their collector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to it.
    #[error("cannot reach the collector")]
    Reach(#[source] io::Error),
    /// It has no certificate that can be believed.
    #[error("cannot speak TLS with the collector")]
    Tls(#[source] Box<keywheel_target::Error>),
    /// It does not speak HTTP, or broke off.
    #[error("the collector does not answer by HTTP")]
    Http(#[source] hyper::Error),
    /// No answer in time.
    #[error("the collector has not answered within {} s", after.as_secs())]
    Silent {
        /// How long it was waited.
        after: Duration,
    },
    /// An answer that is not well.
    #[error("the collector has answered {status}")]
    Refused {
        /// The status of HTTP.
        status: u16,
    },
}

impl Error {
    /// Stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "traces.refused",
            _ => "traces.unreachable",
        }
    }

    /// Whether the same may be taken later: what OTLP says of each status.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status } => matches!(status, 429 | 502 | 503 | 504),
            _ => true,
        }
    }
}
