use crate::dial::Dialer;
use crate::tls::TrustStore;

/// What every connection starts from: the dialler and the trust sets. One for the host, shared.
pub struct Outbound {
    /// Checks and dials.
    pub dialer: Dialer,
    /// Whom TLS trusts.
    pub trust: TrustStore,
}

impl Outbound {
    /// From its parts.
    pub fn new(dialer: Dialer, trust: TrustStore) -> Self {
        Self { dialer, trust }
    }
}
