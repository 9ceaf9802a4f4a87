//! The embedded vault through its public interface, on a real store.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may stop, and says what it skips"
)]

mod beside;
mod live;
mod model;
mod rekey;
mod slots;
mod tamper;
mod versions;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keywheel_model::{Clock, Fence, RunId, SecretBytes, SecretName, Timestamp};
use keywheel_store::{LeaseKey, LeaseRequest, Options, Store};
use keywheel_vault::{
    Author, Embedded, Metadata, NewSlot, Origin, Pending, RecoveryIdentity, Rider, SecretValue,
};

/// Where the tests' clock begins, in milliseconds.
const BEGIN: u64 = 1_000_000;

/// A clock that stands still until it is moved.
#[derive(Default)]
struct SetClock(AtomicU64);

impl SetClock {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(BEGIN + self.0.load(Ordering::Relaxed))
    }
}

/// A vault in a directory of its own.
struct Home {
    dir: tempfile::TempDir,
    clock: Arc<SetClock>,
    vault: Embedded,
    recovery: SecretBytes,
}

fn store(dir: &Path, clock: &Arc<SetClock>) -> Store {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Store::open(&dir.join("state"), Options::new(clock)).expect("store")
}

impl Home {
    async fn with(slots: impl FnOnce(&Path) -> Vec<NewSlot>) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let clock = Arc::new(SetClock::default());
        let recovery = RecoveryIdentity::generate().expect("identity");
        let slots = slots(dir.path());
        let made = Embedded::init(store(dir.path(), &clock), &recovery, slots, Rider::none()).await;
        Self {
            dir,
            clock,
            vault: made.expect("init"),
            recovery: recovery.to_text().expect("text"),
        }
    }

    /// With a key file.
    async fn new() -> Self {
        Self::with(|dir| vec![NewSlot::KeyFile(dir.join("key"))]).await
    }

    /// Closes the store, and gives its directory and clock.
    fn close(self) -> (tempfile::TempDir, Arc<SetClock>, SecretBytes) {
        drop(self.vault);
        (self.dir, self.clock, self.recovery)
    }

    /// A run that holds the names for a minute.
    async fn author(&self, run: u64, names: &[&str]) -> Author {
        let run = RunId::from_number(run);
        let keys = names
            .iter()
            .map(|name| LeaseKey::Secret(self::name(name)))
            .collect();
        let request = LeaseRequest {
            run: run.clone(),
            holder: "test".to_owned(),
            keys,
            until: self.clock.now() + MINUTE,
        };
        let fence: Fence = self
            .vault
            .store()
            .write(move |tx| tx.acquire_leases(&request))
            .await
            .expect("leases");
        Author { run, fence }
    }

    async fn release(&self, by: &Author) {
        let by = by.clone();
        let done = self
            .vault
            .store()
            .write(move |tx| tx.release_leases(&by.run, by.fence))
            .await;
        done.expect("release");
    }
}

const MINUTE: std::time::Duration = std::time::Duration::from_mins(1);

fn name(text: &str) -> SecretName {
    text.parse().expect("name")
}

fn value(text: &str) -> SecretValue {
    SecretValue {
        value: SecretBytes::copy_of(text.as_bytes()),
        metadata: Metadata::text(Origin::Generated),
    }
}

fn pending(name: &str, text: &str) -> Pending {
    Pending {
        name: self::name(name),
        secret: value(text),
        outputs: Vec::new(),
    }
}

fn text(value: &SecretBytes) -> &str {
    std::str::from_utf8(value.expose()).expect("text")
}
