use std::fmt;
use std::time::Duration;

use keywheel_model::{Fence, RunId, SecretName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::transaction::at;
use crate::{Error, Reader, Transaction};

/// What can be leased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseKey {
    /// An account on a target: the lock that keeps two rotations apart (rule P12).
    Principal(String),
    /// A name in the vault.
    Secret(SecretName),
}

impl LeaseKey {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Principal(name) => ("principal", name),
            Self::Secret(name) => ("secret", name.as_str()),
        }
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.parts();
        write!(f, "{kind} {name}")
    }
}

/// Who wants which leases for how long. All of them or none; one fence for all.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The run.
    pub run: RunId,
    /// The host's instance, for people: `host-1/pid 4711`.
    pub holder: String,
    /// What.
    pub keys: Vec<LeaseKey>,
    /// Until when, unless renewed.
    pub until: Timestamp,
}

/// Frees what no open run answers for: a command that died between taking a lease and ending. For the moment in which the state was opened: its
/// lock is ours, so that whoever took such a lease is dead. What it had begun may still land; that is kept.
pub(crate) fn free_ghosts(connection: &Connection) -> Result<(), Error> {
    let sql = "UPDATE lease SET run = NULL WHERE run IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM run WHERE run.id = lease.run AND run.finished IS NULL)";
    connection.execute(sql, [])?;
    Ok(())
}

/// A lease as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run that holds it; none when it is free.
    pub run: Option<String>,
    /// The instance that took it last.
    pub holder: String,
    /// Its last fence.
    pub fence: Fence,
    /// Until when it is live.
    pub until: Timestamp,
    /// When the last effect begun under it can no longer land.
    pub effects_until: Timestamp,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        run: row.get(0)?,
        holder: row.get(1)?,
        fence: Fence(row.get(2)?),
        until: at(row, 3)?,
        effects_until: at(row, 4)?,
    })
}

impl Reader<'_> {
    /// A lease, if it was ever taken.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn lease(&self, key: &LeaseKey) -> Result<Option<Lease>, Error> {
        let (kind, name) = key.parts();
        let sql = "SELECT run, holder, fence, until, effects_until FROM lease WHERE kind = ?1 AND name = ?2";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([kind, name], read)
            .optional()?)
    }

    /// Refuses unless this fence is the run's live one: of this restore epoch, held, not run out, and none newer. Checked
    /// inside the transaction that it guards.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn check_fence(&self, run: &RunId, fence: Fence) -> Result<(), Error> {
        let sql = "SELECT count(*), coalesce(min(until > ?3), 0) FROM lease WHERE run = ?1 AND fence = ?2";
        let live: bool = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![run.as_str(), fence.0, self.now.as_unix_ms()], |row| {
                Ok(row.get::<_, u32>(0)? > 0 && row.get::<_, bool>(1)?)
            })?;
        if live && self.is_of_this_epoch(fence)? {
            Ok(())
        } else {
            Err(Error::Stale {
                run: run.clone(),
                fence,
            })
        }
    }

    /// As [`Self::check_fence`], and refuses also when another run holds this key.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::LeaseHeld`].
    pub fn check_fence_on(&self, key: &LeaseKey, run: &RunId, fence: Fence) -> Result<(), Error> {
        self.check_fence(run, fence)?;
        match self.lease(key)?.and_then(|lease| lease.run) {
            Some(by) if by != run.as_str() => Err(Error::LeaseHeld {
                key: key.to_string(),
                by,
            }),
            _ => Ok(()),
        }
    }
}

impl Transaction<'_> {
    /// Takes free leases, all or none, under one new fence.
    ///
    /// # Errors
    /// [`Error::LeaseHeld`], also by the same run: that needs [`Self::take_over`].
    pub fn acquire_leases(&self, request: &LeaseRequest) -> Result<Fence, Error> {
        for key in &request.keys {
            if let Some(Lease { run: Some(by), .. }) = self.lease(key)? {
                return Err(Error::LeaseHeld {
                    key: key.to_string(),
                    by,
                });
            }
        }
        self.grant(request)
    }

    /// Takes the leases of a run whose host died, under a new fence. Those that are free are taken too. `effects_until` stays:
    /// whoever took over acts only after that, or when it has ended what could still land (rule P1).
    ///
    /// # Errors
    /// [`Error::LeaseHeld`] by another run: a run that has not ended is never pushed aside.
    pub fn take_over(&self, request: &LeaseRequest) -> Result<Fence, Error> {
        for key in &request.keys {
            if let Some(Lease { run: Some(by), .. }) = self.lease(key)?
                && by != request.run.as_str()
            {
                return Err(Error::LeaseHeld {
                    key: key.to_string(),
                    by,
                });
            }
        }
        self.grant(request)
    }

    /// Mends leases that bear a time ahead of now: the clock was set back since they were taken for `length` or kept. What was left of them then, and
    /// of the time in which something begun under them may land, is what is left now.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn set_leases_back(&self, keys: &[LeaseKey], length: Duration) -> Result<(), Error> {
        let sql = "UPDATE lease SET until = until - ?3, effects_until = max(effects_until - ?3, 0) WHERE kind = ?1 AND name = ?2";
        for key in keys {
            let Some(lease) = self.lease(key)? else { continue };
            let ahead = (lease.until - length)
                .as_unix_ms()
                .saturating_sub(self.now.as_unix_ms());
            if ahead > 0 {
                let (kind, name) = key.parts();
                self.connection
                    .prepare_cached(sql)?
                    .execute(params![kind, name, ahead])?;
            }
        }
        Ok(())
    }

    fn grant(&self, request: &LeaseRequest) -> Result<Fence, Error> {
        let fence = self.next_fence()?;
        let sql = "INSERT INTO lease (kind, name, run, holder, fence, until, effects_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)
                   ON CONFLICT (kind, name) DO UPDATE
                   SET run = excluded.run, holder = excluded.holder, fence = excluded.fence, until = excluded.until";
        for key in &request.keys {
            let (kind, name) = key.parts();
            self.connection.prepare_cached(sql)?.execute(params![
                kind,
                name,
                request.run.as_str(),
                request.holder,
                fence.0,
                request.until.as_unix_ms()
            ])?;
        }
        Ok(fence)
    }

    /// Keeps the leases longer; also after they ran out, as long as nobody took them.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn renew_leases(&self, run: &RunId, fence: Fence, until: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE lease SET until = max(until, ?3) WHERE run = ?1 AND fence = ?2";
        self.touch(sql, run, fence, until)
    }

    /// Notes that an effect begun under this fence can land until then.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn extend_effects(&self, run: &RunId, fence: Fence, until: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE lease SET effects_until = max(effects_until, ?3) WHERE run = ?1 AND fence = ?2";
        self.touch(sql, run, fence, until)
    }

    fn touch(&self, sql: &str, run: &RunId, fence: Fence, until: Timestamp) -> Result<(), Error> {
        let touched = self.connection.prepare_cached(sql)?.execute(params![
            run.as_str(),
            fence.0,
            until.as_unix_ms()
        ])?;
        if touched == 0 {
            Err(Error::Stale {
                run: run.clone(),
                fence,
            })
        } else {
            Ok(())
        }
    }

    /// Gives all leases of this fence back. Repeated, or after a takeover, it changes nothing.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn release_leases(&self, run: &RunId, fence: Fence) -> Result<(), Error> {
        let sql = "UPDATE lease SET run = NULL WHERE run = ?1 AND fence = ?2";
        self.connection
            .prepare_cached(sql)?
            .execute(params![run.as_str(), fence.0])?;
        Ok(())
    }
}
