use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tap::{Tap, Tapped};

/// How many more bytes the server may send. The driver holds a whole message in memory before anybody can look at its size.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// A new allowance, for the next answer.
    pub(super) fn renew(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: u64) {
        // Only the connection's task reads, so nothing is lost between the two.
        self.0.store(
            self.0.load(Ordering::Relaxed).saturating_sub(bytes),
            Ordering::Relaxed,
        );
    }
}

/// A stream that fails once its allowance is spent.
pub(super) type Metered<S> = Tapped<S, Allowance>;

impl Tap for Allowance {
    fn admit(&self) -> io::Result<()> {
        if self.is_spent() {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the answer is too large",
            ));
        }
        Ok(())
    }

    fn look(&mut self, read: &[u8]) {
        self.spend(read.len() as u64);
    }
}
