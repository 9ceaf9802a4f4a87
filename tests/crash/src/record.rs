use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Microseconds since the run began, by a clock that only goes forward.
pub(crate) type Micros = u64;

/// A credential that nobody has.
pub(crate) const UNKNOWN: &str = "unknown";

/// What a login with a value came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    Accepted,
    Refused,
    /// Nobody could say.
    Unreachable,
}

/// What became of a change on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// It is on its way; from now on the target may be in between.
    Sent,
    /// The target answered that it is done.
    Done,
    /// The target answered that it is not done.
    Failed,
    /// The connection ended without an answer.
    Unanswered,
}

/// A version that the vault holds. A value has a label; equal values have the same one. No value is in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) stage: String,
}

/// One thing that was seen. Nothing in it is the product's word for what it did: versions are rows of its database, read from beside it and
/// opened in a copy of its state; the rest was seen by the witness and by the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub(crate) enum Fact {
    /// A kill begins.
    Begun {
        number: u32,
        target: &'static str,
        path: &'static str,
        point: &'static str,
        detail: String,
    },
    /// What is durably held of a subject from now on.
    Held {
        subject: String,
        /// Whether the target takes the old and the new value at once.
        two_slot: bool,
        /// Newest first.
        versions: Vec<Version>,
        /// A value that a person still has: what stood on the target before it was imported or overwritten.
        by_hand: Option<String>,
    },
    /// The witness's login; the entry's time is its end. Attempts of one round have one number.
    Attempt {
        round: u64,
        subject: String,
        value: String,
        began: Micros,
        said: Said,
        /// Of the round that follows a recovery.
        proof: bool,
    },
    /// A statement that changes credentials, by the host through the proxy or by hand.
    Change {
        change: u64,
        subject: String,
        phase: Phase,
    },
    /// A statement carries a credential that is no held version's.
    Foreign { subject: String },
    /// A statement that changes credentials is sent by a step that is past its deadline.
    Late { subject: String },
    /// What the server's own books say after a recovery that a subject's accounts take, by labels; [`UNKNOWN`] is nobody's.
    Books { subject: String, values: Vec<String> },
    /// The host logged in.
    HostLogin { account: String, refused: bool },
    /// The server went or came.
    Server { up: bool },
    /// What was done to the host.
    Fault { what: String },
    /// A command of the host ended.
    Ended { command: String, code: i32 },
    /// The recovery is over: from now on current must be accepted.
    Recovered,
}

/// A fact and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) at: Micros,
    #[serde(flatten)]
    pub(crate) fact: Fact,
}

struct Inner {
    entries: Vec<Entry>,
    file: File,
}

/// Everything that was seen, in the order of time, in a file of JSON lines and, since the last kill began, in memory.
pub(crate) struct Record {
    start: Instant,
    inner: Mutex<Inner>,
}

impl Record {
    pub(crate) fn create(file: &Path, start: Instant) -> Result<Self> {
        let file = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        let inner = Inner {
            entries: Vec::new(),
            file,
        };
        Ok(Self {
            start,
            inner: Mutex::new(inner),
        })
    }

    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes the time under the lock, so that the order in the file is the order of time.
    pub(crate) fn add(&self, fact: Fact) -> Micros {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.now();
        let entry = Entry { at, fact };
        if let Ok(mut line) = serde_json::to_vec(&entry) {
            line.push(b'\n');
            // The entry in memory is what is judged; the file is for people.
            let _ = inner.file.write_all(&line);
        }
        inner.entries.push(entry);
        at
    }

    /// What was seen since the last call.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut inner.entries)
    }
}
