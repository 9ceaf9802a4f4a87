use std::net::IpAddr;
use std::sync::Arc;

use crate::dial::Dialer;
use crate::tls::TrustStore;

/// What every connection starts from: the dialler and the trust sets. One for the host, shared.
#[derive(Clone)]
pub struct Outbound {
    /// Checks and dials.
    pub dialer: Dialer,
    /// Whom TLS trusts.
    pub trust: Arc<TrustStore>,
}

impl Outbound {
    /// From its parts.
    pub fn new(dialer: Dialer, trust: TrustStore) -> Self {
        Self {
            dialer,
            trust: Arc::new(trust),
        }
    }

    /// The same with one more say in every address that is dialled.
    #[must_use]
    pub fn admitting(&self, admits: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self {
            dialer: self.dialer.admitting(admits),
            trust: Arc::clone(&self.trust),
        }
    }
}
