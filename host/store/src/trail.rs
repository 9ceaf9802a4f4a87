use keywheel_audit::{Checkpoint, Entry, Hash, Report, Row, Verifier, genesis, link};
use keywheel_model::{RunId, SecretBytes, Timestamp};
use rusqlite::{OptionalExtension, params};

use crate::transaction::at;
use crate::{Error, Reader, Transaction};

/// Which rows of the trail. Empty: all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only of this resource.
    pub resource: Option<String>,
    /// Only what touched this secret: rows of it, uses of it by a plugin, and what was asked of its runs.
    pub secret: Option<String>,
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only in this run.
    pub run: Option<RunId>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Only rows with greater numbers: the next page, oldest first.
    pub after: u64,
    /// Only rows with smaller numbers: the next page, newest first.
    pub before: Option<u64>,
    /// The newest row first, instead of the oldest.
    pub newest_first: bool,
}

/// The names that the trail has, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditNames {
    /// Of secrets.
    pub secrets: Vec<String>,
    /// Of whatever something was done to.
    pub resources: Vec<String>,
    /// Of those who did it.
    pub actors: Vec<String>,
    /// What was done.
    pub actions: Vec<String>,
    /// Runs.
    pub runs: Vec<String>,
}

const COLUMNS: &str = "seq, at, actor, action, resource, outcome, run, details, prev, hash, seal";

/// A row of the secret `?10`. A use names the version, `name@version`; rows of a run's own are under the rotation's name.
const OF_SECRET: &str = "(resource = ?10
    OR (json_valid(details) AND (details ->> '$.secret' = ?10
        OR substr(details ->> '$.secret', 1, length(?10) + 1) = ?10 || '@'))
    OR EXISTS (SELECT 1 FROM run r WHERE r.id = audit.run AND r.secret = ?10 AND r.rotation = audit.resource))";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get(0)?,
        at: at(row, 1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        resource: row.get(4)?,
        outcome: row.get(5)?,
        run: row.get(6)?,
        details: row.get(7)?,
        prev: Hash(row.get(8)?),
        hash: Hash(row.get(9)?),
        seal: row.get::<_, Option<[u8; 32]>>(10)?.map(Hash),
    })
}

/// Whether it is a row's own field that cannot be read, and not the database.
fn is_of_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    )
}

impl Reader<'_> {
    /// Rows of the trail that match, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn audit_rows(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<Row>, Error> {
        let order = if filter.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {COLUMNS} FROM audit WHERE seq > ?1 AND (?2 IS NULL OR resource = ?2) AND (?3 IS NULL OR actor = ?3)
             AND (?4 IS NULL OR action = ?4) AND (?5 IS NULL OR run = ?5) AND (?6 IS NULL OR at >= ?6)
             AND (?7 IS NULL OR at < ?7) AND (?9 IS NULL OR seq < ?9) AND (?10 IS NULL OR {OF_SECRET}) ORDER BY seq {order} LIMIT ?8"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(
            params![
                filter.after,
                filter.resource,
                filter.actor,
                filter.action,
                filter.run.as_ref().map(RunId::as_str),
                filter.from.map(Timestamp::as_unix_ms),
                filter.to.map(Timestamp::as_unix_ms),
                limit,
                filter.before,
                filter.secret
            ],
            read,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The names in the whole trail.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn audit_names(&self) -> Result<AuditNames, Error> {
        let all = |sql: &str| -> Result<Vec<String>, Error> {
            let mut statement = self.connection.prepare(sql)?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        };
        Ok(AuditNames {
            secrets: all("SELECT DISTINCT secret FROM run")?
                .into_iter()
                .chain(self.secrets()?.into_iter().map(|name| name.to_string()))
                .collect(),
            resources: all("SELECT DISTINCT resource FROM audit")?,
            actors: all("SELECT DISTINCT actor FROM audit")?,
            actions: all("SELECT DISTINCT action FROM audit")?,
            runs: all("SELECT DISTINCT run FROM audit WHERE run IS NOT NULL")?,
        })
    }

    /// The head of the trail now, to be kept outside of the store.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn audit_checkpoint(&self) -> Result<Checkpoint, Error> {
        let (seq, hash) = self.head()?;
        Ok(Checkpoint {
            store: self.store_id.to_owned(),
            seq,
            hash,
            at: self.now,
        })
    }

    /// Checks the whole trail, row by row: the chain, the seals where a key is given, the checkpoints.
    ///
    /// # Errors
    /// What SQLite refuses. What is wrong with the trail is the inner result.
    pub fn audit_verify(
        &self,
        key: Option<&SecretBytes>,
        checkpoints: &[Checkpoint],
    ) -> Result<Result<Report, keywheel_audit::Error>, Error> {
        self.audit_verify_since(&[], key, checkpoints)
    }

    /// The same where the vault's keys were changed: each key of `past` has sealed the rows up to its number.
    ///
    /// # Errors
    /// As [`Reader::audit_verify`].
    pub fn audit_verify_since(
        &self,
        past: &[(u64, SecretBytes)],
        key: Option<&SecretBytes>,
        checkpoints: &[Checkpoint],
    ) -> Result<Result<Report, keywheel_audit::Error>, Error> {
        let mut verifier = match Verifier::new(self.store_id, key, checkpoints) {
            Ok(verifier) => verifier.after(past),
            Err(error) => return Ok(Err(error)),
        };
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq"))?;
        for row in statement.query_map([], read)? {
            let row = match row {
                Ok(row) => row,
                Err(error) if is_of_the_row(&error) => return Ok(Err(verifier.unreadable())),
                Err(error) => return Err(error.into()),
            };
            if let Err(error) = verifier.push(&row) {
                return Ok(Err(error));
            }
        }
        Ok(verifier.finish())
    }

    fn head(&self) -> Result<(u64, Hash), Error> {
        let sql = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
        let last = self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get(0)?, Hash(row.get(1)?))))
            .optional()?;
        Ok(last.unwrap_or_else(|| (0, genesis(self.store_id))))
    }
}

impl Transaction<'_> {
    /// Appends to the trail, in the transaction of the change that it tells of. Returns the row's number.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn audit(&self, entry: &Entry) -> Result<u64, Error> {
        let (seq, prev) = self.head()?;
        let row = link(prev, seq + 1, self.now, entry, self.audit_key);
        let sql =
            format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
        self.connection.prepare_cached(&sql)?.execute(params![
            row.seq,
            row.at.as_unix_ms(),
            row.actor,
            row.action,
            row.resource,
            row.outcome,
            row.run,
            row.details,
            row.prev.0,
            row.hash.0,
            row.seal.map(|seal| seal.0)
        ])?;
        Ok(row.seq)
    }
}
