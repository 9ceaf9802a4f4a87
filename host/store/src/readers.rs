use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keywheel_model::{Clock, Timestamp};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::transaction::frame;
use crate::{Error, Reader};

/// Connections that cannot write, lent to one reader at a time.
pub(crate) struct Readers {
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    store_id: Arc<str>,
    clock: Arc<dyn Clock>,
    reads: AtomicU64,
}

/// Gives the connection back, also when the reader panics.
struct Lent {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    store_id: Arc<str>,
    now: Timestamp,
    /// Given up after the connection is back: whoever has a permit finds one.
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    fn look<T, E: From<Error>>(&self, look: impl FnOnce(&Reader<'_>) -> Result<T, E>) -> Result<T, E> {
        let Some(connection) = &self.connection else {
            return Err(Error::Closed.into());
        };
        frame(connection, "BEGIN").map_err(Error::from)?;
        look(&Reader {
            connection,
            now: self.now,
            store_id: &self.store_id,
        })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            if !connection.is_autocommit() {
                // A read transaction has nothing to lose.
                let _ = frame(&connection, "ROLLBACK");
            }
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

impl Readers {
    pub(crate) fn new(connections: Vec<Connection>, store_id: Arc<str>, clock: Arc<dyn Clock>) -> Self {
        let free = Arc::new(Semaphore::new(connections.len()));
        Self {
            free,
            idle: Arc::new(Mutex::new(connections)),
            store_id,
            clock,
            reads: AtomicU64::new(0),
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// On a thread where it may take its time.
    pub(crate) async fn read<T, E, F>(&self, look: F, wait: Duration) -> Result<T, E>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let lent = self.lend(wait).await?;
        let task = tokio::task::spawn_blocking(move || lent.look(look));
        match timeout(wait, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Panicked.into()),
            Err(_) => Err(Error::Timeout {
                waited_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            }
            .into()),
        }
    }

    /// On the caller's thread.
    pub(crate) async fn read_here<T, E, F>(&self, look: F, wait: Duration) -> Result<T, E>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        let lent = self.lend(wait).await?;
        let looked = catch_unwind(AssertUnwindSafe(|| lent.look(look)));
        looked.unwrap_or_else(|_| Err(Error::Panicked.into()))
    }

    async fn lend(&self, wait: Duration) -> Result<Lent, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let permit = match timeout(wait, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::Closed),
            Err(_) => return Err(Error::Overloaded),
        };
        Ok(Lent {
            connection: self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop(),
            idle: Arc::clone(&self.idle),
            store_id: Arc::clone(&self.store_id),
            now: self.clock.now(),
            _permit: permit,
        })
    }
}
