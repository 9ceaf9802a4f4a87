//! Why what is late is not believed at once.

/// Why many rotations may be late at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// The host was started: it may have been away for long, or its state is an older one.
    Started,
    /// Its clock jumped.
    Jumped,
}

impl Suspicion {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Started => "the host was started",
            Self::Jumped => "its clock jumped",
        }
    }
}
