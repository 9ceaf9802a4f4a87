use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use keywheel_failpoint::{Point, reach};
use keywheel_model::{Clock, SecretBytes, Timestamp};
use rusqlite::{Connection, ffi};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::of_disk;
use crate::open::Options;
use crate::transaction::frame;
use crate::{Error, Reader, Transaction};

/// The key that seals audit rows, shared with the store's handle.
pub(crate) type AuditKey = Arc<Mutex<Option<SecretBytes>>>;

/// What was done since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits, each one sync of the disk.
    pub commits: u64,
    /// Changes that they kept.
    pub changes: u64,
    /// Looks, short ones and long ones.
    pub reads: u64,
}

/// A change together with its caller's answer. Given a transaction it runs; given a failure it only answers.
type Job = Box<dyn FnOnce(Result<&Transaction<'_>, Failure>) -> Option<Kept> + Send>;

/// A change that ran well and waits for the commit; called with how that went.
type Kept = Box<dyn FnOnce(Result<(), Failure>)>;

/// Why a group was not kept. One for all its callers.
#[derive(Clone)]
struct Failure(Arc<rusqlite::Error>);

impl From<Failure> for Error {
    fn from(Failure(error): Failure) -> Self {
        of_disk(&error).unwrap_or(Self::Commit)(error)
    }
}

/// Since when nothing can be kept, and why: the disk is full or read-only, or a commit failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// The first write that was not kept.
    pub since: Timestamp,
    /// The error's code.
    pub code: &'static str,
    /// The error's words.
    pub words: String,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    changes: AtomicU64,
    unwritable: Mutex<Option<Unwritable>>,
}

impl Counters {
    fn unwritable(&self) -> MutexGuard<'_, Option<Unwritable>> {
        self.unwritable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only what the disk says: what SQLite has against one change is its caller's.
    fn failed(&self, error: Arc<rusqlite::Error>, now: Timestamp) -> Failure {
        if of_disk(&error).is_some() {
            let error: Error = Failure(Arc::clone(&error)).into();
            self.unwritable().get_or_insert_with(|| Unwritable {
                since: now,
                code: error.code(),
                words: error.to_string(),
            });
        }
        Failure(error)
    }
}

/// The one thread that writes, and the bounded queue before it.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        store_id: Arc<str>,
        audit_key: AuditKey,
        options: &Options,
    ) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(options.queue.max(1));
        let counters = Arc::new(Counters::default());
        let writing = Writing {
            connection,
            store_id,
            audit_key,
            clock: Arc::clone(&options.clock),
            group: options.group.max(1),
            counters: Arc::clone(&counters),
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writing.run(jobs))
            .map_err(|source| Error::File {
                what: "start the writer of",
                path: "store".into(),
                source,
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            counters,
        })
    }

    pub(crate) fn unwritable(&self) -> Option<Unwritable> {
        self.counters.unwritable().clone()
    }

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            commits: self.counters.commits.load(Ordering::Relaxed),
            changes: self.counters.changes.load(Ordering::Relaxed),
            reads: 0,
        }
    }

    pub(crate) async fn write<T, E, F>(&self, change: F, wait: Duration) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |transaction| {
            let result = match transaction {
                Ok(transaction) => change(transaction),
                Err(failure) => Err(E::from(failure.into())),
            };
            match result {
                Ok(value) => Some(Box::new(move |committed| {
                    // A caller that went away has no use for the answer.
                    let _ = reply.send(
                        committed
                            .map(|()| value)
                            .map_err(|failure| E::from(failure.into())),
                    );
                })),
                Err(error) => {
                    let _ = reply.send(Err(error));
                    None
                }
            }
        });
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        match timeout(wait, queue.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::Closed.into()),
            Err(_) => return Err(Error::Overloaded.into()),
        }
        match timeout(wait, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Panicked.into()),
            Err(_) => Err(Error::Timeout {
                waited_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            }
            .into()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The last handle may be dropped by a change, on the writer's own thread.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

struct Writing {
    connection: Connection,
    store_id: Arc<str>,
    audit_key: AuditKey,
    clock: Arc<dyn Clock>,
    group: usize,
    counters: Arc<Counters>,
}

impl Writing {
    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            self.group(first, &mut jobs);
        }
    }

    /// One transaction: the first job and all that come while it and its followers run, up to the limit.
    fn group(&self, first: Job, jobs: &mut mpsc::Receiver<Job>) {
        if let Err(error) = frame(&self.connection, "BEGIN IMMEDIATE") {
            first(Err(self.failed(error)));
            return;
        }
        let mut kept: Vec<Kept> = Vec::new();
        let mut next = Some(first);
        let mut ran = 0;
        let mut has_written = false;
        while let Some(job) = next {
            let before = self.connection.total_changes();
            let one = self.one(job);
            // What is undone counts as a change too.
            has_written |= one.is_some() && self.connection.total_changes() != before;
            kept.extend(one);
            ran += 1;
            if self.connection.is_autocommit() {
                settle(kept, &Err(lost()));
                return;
            }
            next = if ran < self.group {
                jobs.try_recv().ok()
            } else {
                None
            };
        }
        let outcome = self.commit(kept.len());
        // A commit that had nothing to write says nothing of the disk.
        if outcome.is_ok() && has_written {
            *self.counters.unwritable() = None;
        }
        settle(kept, &outcome);
    }

    fn failed(&self, error: rusqlite::Error) -> Failure {
        self.counters.failed(Arc::new(error), self.clock.now())
    }

    /// Runs one job in a savepoint, and undoes what it wrote if it failed.
    fn one(&self, job: Job) -> Option<Kept> {
        if let Err(error) = frame(&self.connection, "SAVEPOINT change") {
            return job(Err(Failure(Arc::new(error))));
        }
        let key = self.audit_key.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = Transaction {
            reader: Reader {
                connection: &self.connection,
                now: self.clock.now(),
                store_id: &self.store_id,
            },
            audit_key: key.as_ref(),
        };
        let kept = catch_unwind(AssertUnwindSafe(|| job(Ok(&transaction)))).unwrap_or_default();
        reach(Point::ChangeMade);
        if self.connection.is_autocommit() {
            return kept;
        }
        let undone = match kept {
            Some(_) => Ok(()),
            None => frame(&self.connection, "ROLLBACK TO change"),
        };
        match undone.and_then(|()| frame(&self.connection, "RELEASE change")) {
            Ok(()) => kept,
            Err(error) => {
                // Without its end the savepoint's state is unknown: give up the whole group.
                let _ = frame(&self.connection, "ROLLBACK");
                if let Some(kept) = kept {
                    kept(Err(Failure(Arc::new(error))));
                }
                None
            }
        }
    }

    fn commit(&self, changes: usize) -> Result<(), Failure> {
        if changes == 0 {
            // Nothing was kept; a failing rollback leaves nothing either.
            let _ = frame(&self.connection, "ROLLBACK");
            return Ok(());
        }
        reach(Point::CommitBefore);
        if let Err(error) = frame(&self.connection, "COMMIT") {
            if !self.connection.is_autocommit() {
                let _ = frame(&self.connection, "ROLLBACK");
            }
            tracing::error!(error = %error, changes, "a commit failed; nothing of it was kept");
            return Err(self.failed(error));
        }
        reach(Point::CommitAfter);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters
            .changes
            .fetch_add(u64::try_from(changes).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(())
    }
}

fn settle(kept: Vec<Kept>, outcome: &Result<(), Failure>) {
    for answer in kept {
        answer(outcome.clone());
    }
}

/// SQLite rolls the whole transaction back on some errors (disk full, I/O) of a single statement.
fn lost() -> Failure {
    let text = "the transaction was rolled back by an earlier failure of its group";
    Failure(Arc::new(rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_ABORT),
        Some(text.to_owned()),
    )))
}
