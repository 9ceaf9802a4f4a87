//! Logs in all the time with every value that is durably held, and records each attempt.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::record::{Fact, Record, Said};
use crate::target::{Client, Credential};

/// Between two rounds: the server has others to serve.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a round may be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A value to be tried.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) subject: String,
    pub(crate) label: String,
    pub(crate) credential: Credential,
}

/// The thread that logs in.
pub(crate) struct Witness {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    record: Arc<Record>,
    port: AtomicU16,
    client: Mutex<Box<dyn Client>>,
    watches: Mutex<Vec<Watch>>,
    rounds: Mutex<Rounds>,
    ended: Condvar,
    over: AtomicBool,
}

#[derive(Default)]
struct Rounds {
    begun: u64,
    ended: u64,
}

impl Witness {
    pub(crate) fn start(record: Arc<Record>, port: u16, client: Box<dyn Client>) -> Self {
        let shared = Arc::new(Shared {
            record,
            port: AtomicU16::new(port),
            client: Mutex::new(client),
            watches: Mutex::default(),
            rounds: Mutex::default(),
            ended: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !own.over.load(Ordering::SeqCst) {
                let watches = lock(&own.watches).clone();
                own.round(&watches, false);
                thread::sleep(PAUSE);
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// What is tried from the next round on.
    pub(crate) fn watch(&self, watches: Vec<Watch>) {
        *lock(&self.shared.watches) = watches;
    }

    /// Waits for the end of a round that begins after this call.
    pub(crate) fn await_round(&self) -> Result<()> {
        let begun = Instant::now();
        let mut rounds = lock(&self.shared.rounds);
        let wanted = rounds.begun + 1;
        while rounds.ended < wanted {
            ensure!(begun.elapsed() < PATIENCE, "the witness does not come round");
            rounds = self
                .shared
                .ended
                .wait_timeout(rounds, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    /// One round with these, now: the proof after a recovery.
    pub(crate) fn prove(&self, watches: &[Watch]) {
        self.shared.round(watches, true);
    }
}

impl Shared {
    fn round(&self, watches: &[Watch], proof: bool) {
        // Held for the whole round: rounds do not overlap.
        let mut client = lock(&self.client);
        let round = {
            let mut rounds = lock(&self.rounds);
            rounds.begun += 1;
            rounds.begun
        };
        for watch in watches {
            let began = self.record.now();
            let said = client.login(self.port.load(Ordering::SeqCst), &watch.credential);
            self.record.add(Fact::Attempt {
                round,
                subject: watch.subject.clone(),
                value: watch.label.clone(),
                began,
                said,
                proof,
            });
            if said == Said::Unreachable {
                thread::sleep(PAUSE);
            }
        }
        lock(&self.rounds).ended = round;
        self.ended.notify_all();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
