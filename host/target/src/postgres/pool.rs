use std::collections::{HashMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use keywheel_model::{Effect, VersionId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::gathering::{Opening, Seat, Transactions};
use super::{ConnectOptions, Security, Session};
use crate::dial::Allow;
use crate::{Deadline, Error, Outbound};

/// The pool's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Sessions at once for one target, user and version of the credential, in use and idle.
    pub sessions: usize,
    /// How long a session may lie idle.
    pub idle: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            sessions: 16,
            idle: Duration::from_mins(1),
        }
    }
}

/// Sessions of administrators, kept per target, user and version of the credential. What was logged in with a version dies with it.
/// The login of `test` never comes from here: it is the proof.
#[derive(Clone)]
pub struct Pool {
    limits: PoolLimits,
    shelves: Arc<Mutex<Shelves>>,
    pub(super) transactions: Arc<Transactions>,
    /// The newest so many versions that are not current any more: nothing is kept that is logged in with them.
    retired: Arc<Mutex<VecDeque<VersionId>>>,
}

/// A version is asked for after its end only by a step that was under way then.
const RETIRED: usize = 64;

type Shelves = HashMap<Key, Shelf>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    host: String,
    port: u16,
    database: String,
    user: String,
    tls: bool,
    trust: Option<String>,
    version: VersionId,
}

struct Shelf {
    slots: Arc<Semaphore>,
    /// A login with this version was accepted.
    accepted: bool,
    idle: Vec<(Session, Instant)>,
}

impl Pool {
    /// An empty one.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            shelves: Arc::default(),
            transactions: Arc::default(),
            retired: Arc::default(),
        }
    }

    /// A session as `options` say, logged in with `version` of the credential: an idle one that is alive, its state reset; else a new one.
    /// Waits while all are in use. Options with a client identity are not pooled, nor is a version that was retired: they get a session of their own.
    ///
    /// # Errors
    /// As [`Session::open`]; [`Error::Timeout`] when no session gets free.
    pub async fn checkout(
        &self,
        outbound: &Outbound,
        rules: &[Allow],
        options: &ConnectOptions,
        version: &VersionId,
        deadline: Deadline,
    ) -> Result<Pooled, Error> {
        let Some(key) = key_of(options, version).filter(|_| !self.is_retired(version)) else {
            return Ok(Pooled {
                session: Some(Session::open(outbound, rules, options, deadline).await?),
                home: None,
            });
        };
        let slots = Arc::clone(&self.shelf(&key, |shelf| Arc::clone(&shelf.slots)));
        let waited = deadline
            .run("waiting for a free session", Effect::None, slots.acquire_owned())
            .await?;
        let permit = waited.map_err(|_| Error::invalid("the credential's version was retired"))?;
        while let Some(mut session) = self
            .shelf(&key, |shelf| shelf.idle.pop())
            .map(|(session, _)| session)
        {
            session.recheck(&outbound.dialer, rules, &options.host)?;
            // A dead one is dropped, and the next tried.
            if session.reset(&options.application_name, deadline).await.is_ok() {
                return Ok(self.lend(session, key, permit));
            }
        }
        let session = Session::open(outbound, rules, options, deadline).await?;
        self.shelf(&key, |shelf| shelf.accepted = true);
        Ok(self.lend(session, key, permit))
    }

    /// Whether the server has let this login in, and sessions of it are kept: then one of them can be had when it is needed.
    pub fn knows(&self, options: &ConnectOptions, version: &VersionId) -> bool {
        key_of(options, version)
            .is_some_and(|key| lock(&self.shelves).get(&key).is_some_and(|shelf| shelf.accepted))
    }

    /// A place in a transaction of several runs, for one statement. `by` says whose statements may go together. None: such options are not pooled.
    pub fn join(&self, opening: Arc<Opening>, by: &str) -> Option<Seat> {
        let key = key_of(&opening.options, &opening.version)?;
        Some(Seat::take(self, key, opening, by))
    }

    /// Closes every idle session of a version of a credential, and those in use when they come back. Call it when the version is no
    /// longer current.
    pub fn retire(&self, version: &VersionId) {
        {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            if retired.len() >= RETIRED {
                retired.pop_front();
            }
            retired.push_back(version.clone());
        }
        let gone: Vec<Shelf> = {
            let mut shelves = lock(&self.shelves);
            let keys: Vec<Key> = shelves
                .keys()
                .filter(|key| key.version == *version)
                .cloned()
                .collect();
            keys.iter().filter_map(|key| shelves.remove(key)).collect()
        };
        for shelf in &gone {
            shelf.slots.close();
        }
    }

    fn is_retired(&self, version: &VersionId) -> bool {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.contains(version)
    }

    /// Closes what lay idle too long. Call it now and then; a checkout does it for its own target.
    pub fn sweep(&self) {
        let idle = self.limits.idle;
        let mut old = Vec::new();
        let mut shelves = lock(&self.shelves);
        for shelf in shelves.values_mut() {
            old.extend(shelf.take_old(idle));
        }
        let sessions = self.limits.sessions;
        shelves.retain(|_, shelf| !shelf.idle.is_empty() || shelf.slots.available_permits() < sessions);
        drop(shelves);
    }

    /// How many sessions lie idle.
    pub fn idle(&self) -> usize {
        lock(&self.shelves).values().map(|shelf| shelf.idle.len()).sum()
    }

    fn shelf<T>(&self, key: &Key, look: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut all = lock(&self.shelves);
        let new = || Shelf {
            slots: Arc::new(Semaphore::new(self.limits.sessions)),
            accepted: false,
            idle: Vec::new(),
        };
        let mine = all.entry(key.clone()).or_insert_with(new);
        let old = mine.take_old(self.limits.idle);
        let seen = look(mine);
        drop(all);
        drop(old);
        seen
    }

    fn lend(&self, session: Session, key: Key, permit: OwnedSemaphorePermit) -> Pooled {
        Pooled {
            session: Some(session),
            home: Some((Arc::downgrade(&self.shelves), key, permit)),
        }
    }
}

impl Shelf {
    fn take_old(&mut self, idle: Duration) -> Vec<(Session, Instant)> {
        let now = Instant::now();
        self.idle
            .extract_if(.., |(session, since)| {
                now.duration_since(*since) >= idle || !session.is_usable()
            })
            .collect()
    }
}

fn key_of(options: &ConnectOptions, version: &VersionId) -> Option<Key> {
    let (tls, trust) = match &options.security {
        Security::Plaintext => (false, None),
        Security::Tls(tls) if tls.identity.is_some() => return None,
        Security::Tls(tls) => (true, tls.trust.clone()),
    };
    let (host, database, user) = (
        options.host.clone(),
        options.database.clone(),
        options.user.clone(),
    );
    Some(Key {
        host,
        port: options.port,
        database,
        user,
        tls,
        trust,
        version: version.clone(),
    })
}

/// Nothing panics while it holds this lock, and a shelf is whole at any time.
fn lock(shelves: &Mutex<Shelves>) -> std::sync::MutexGuard<'_, Shelves> {
    shelves.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lent session; dropping it gives it back, if it is usable, outside a transaction, and its version still lives.
pub struct Pooled {
    session: Option<Session>,
    home: Option<(Weak<Mutex<Shelves>>, Key, OwnedSemaphorePermit)>,
}

impl Pooled {
    /// Gives it back.
    ///
    /// # Errors
    /// [`Error::OpenTransaction`] when a transaction is open (rule H13); the session is closed then.
    pub fn give_back(mut self) -> Result<(), Error> {
        match &self.session {
            Some(session) if session.in_transaction() => {
                self.session = None;
                Err(Error::OpenTransaction)
            }
            _ => Ok(()),
        }
    }
}

impl Deref for Pooled {
    type Target = Session;

    #[expect(
        clippy::expect_used,
        reason = "the session leaves only in give_back and drop, which end this value"
    )]
    fn deref(&self) -> &Session {
        self.session.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Pooled {
    #[expect(
        clippy::expect_used,
        reason = "the session leaves only in give_back and drop, which end this value"
    )]
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("present until dropped")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let (Some(session), Some((shelves, key, permit))) = (self.session.take(), self.home.take()) else {
            return;
        };
        let Some(shelves) = shelves.upgrade() else { return };
        if session.is_usable() && !session.in_transaction() {
            // Without a shelf the version was retired: the session ends here. A shelf made anew after that has other slots.
            let mut shelves = lock(&shelves);
            if let Some(shelf) = shelves
                .get_mut(&key)
                .filter(|shelf| Arc::ptr_eq(&shelf.slots, permit.semaphore()))
            {
                shelf.idle.push((session, Instant::now()));
            }
        }
        drop(permit);
    }
}
