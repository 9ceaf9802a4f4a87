//! What is old is forgotten: finished runs, versions that are long revoked, and the beginning of the trail. What must stay is the caller's to say; here it is seen to that nothing else goes.

use std::str::FromStr;

use keywheel_audit::{Hash, cut};
use keywheel_model::{RunId, SecretName, Timestamp, VersionId};
use rusqlite::{OptionalExtension, named_params, params};

use crate::transaction::{at, parsed};
use crate::{Error, Reader, Transaction};

/// The run whose journal may be deleted; names none but within the transaction that does so.
const FORGOTTEN: &str = "run-forgotten";

/// The version that may be deleted; names none but within the transaction that does so.
const FORGOTTEN_VERSION: &str = "version-forgotten";

/// The last row of the trail that may be deleted.
const CUT: &str = "audit-cut";

/// Of a version `v`: it was revoked before then, and nothing needs it.
const IS_OLD: &str = "v.stage = 'revoked'
     AND (SELECT max(e.at) FROM version_event e WHERE e.version = v.id) < :before
     AND NOT EXISTS (SELECT 1 FROM version o WHERE o.material_of = v.id)
     AND NOT EXISTS (SELECT 1 FROM version o WHERE o.output_of = v.id)
     AND NOT EXISTS (SELECT 1 FROM run r WHERE r.secret = v.secret AND r.finished IS NULL)
     AND NOT EXISTS (SELECT 1 FROM run r WHERE r.id = v.run AND r.finished IS NULL)";

/// A version that may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldVersion {
    /// Its secret.
    pub secret: SecretName,
    /// Its number within that.
    pub number: u64,
    /// Its id.
    pub id: VersionId,
}

impl Reader<'_> {
    /// Runs that ended before then and that nothing here needs any more: not among the newest of their rotation, without a version that is not revoked, and
    /// with nothing in escrow. In the order of their ends, from the one after `after`, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn old_runs(
        &self,
        before: Timestamp,
        newest: u32,
        after: Option<&(Timestamp, RunId)>,
        limit: u32,
    ) -> Result<Vec<(Timestamp, RunId)>, Error> {
        let sql = "SELECT r.finished, r.id FROM run r
             WHERE r.finished IS NOT NULL AND r.finished < ?1 AND (r.finished, r.id) > (?2, ?3)
             AND (SELECT count(*) FROM (SELECT 1 FROM run n WHERE n.rotation = r.rotation AND n.id > r.id LIMIT ?4)) >= ?4
             AND NOT EXISTS (SELECT 1 FROM version v WHERE v.run = r.id AND v.stage <> 'revoked')
             AND NOT EXISTS (SELECT 1 FROM sealed s WHERE s.run = r.id AND s.kind = 'escrow')
             ORDER BY r.finished, r.id LIMIT ?5";
        let (time, id) = after.map_or((0, ""), |(time, id)| (time.as_unix_ms(), id.as_str()));
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![before.as_unix_ms(), time, id, newest, limit], |row| {
            Ok((at(row, 0)?, parsed(row, 1, RunId::from_str)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The versions that a run has made.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn versions_of_run(&self, run: &RunId) -> Result<Vec<VersionId>, Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id FROM version WHERE run = ?1")?;
        let rows = statement.query_map([run.as_str()], |row| parsed(row, 0, VersionId::from_str))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Versions that were revoked before then and that nothing needs any more: not among the newest numbers of their secret, without another
    /// one that has their value or is their output, and with no open run of their secret or that made them. By secret
    /// and number, from the one after `after`, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn old_versions(
        &self,
        before: Timestamp,
        newest: u32,
        after: Option<&(SecretName, u64)>,
        limit: u32,
    ) -> Result<Vec<OldVersion>, Error> {
        let sql = format!(
            "SELECT v.secret, v.number, v.id FROM version v JOIN secret s ON s.name = v.secret
             WHERE (v.secret, v.number) > (:secret, :number) AND v.number <= s.newest - :newest AND {IS_OLD}
             ORDER BY v.secret, v.number LIMIT :limit"
        );
        let (secret, number) = after.map_or(("", 0), |(secret, number)| (secret.as_str(), *number));
        let mut statement = self.connection.prepare_cached(&sql)?;
        let before = before.as_unix_ms();
        let wanted = named_params! {
            ":secret": secret, ":number": number, ":newest": newest, ":before": before, ":limit": limit,
        };
        let rows = statement.query_map(wanted, |row| {
            Ok(OldVersion {
                secret: parsed(row, 0, SecretName::from_str)?,
                number: row.get(1)?,
                id: parsed(row, 2, VersionId::from_str)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last row of the trail before the first that is from then or later, and its hash; none where that one is the first row that there is.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn audit_before(&self, then: Timestamp) -> Result<Option<(u64, Hash)>, Error> {
        let first = "SELECT seq FROM audit WHERE at >= ?1 ORDER BY seq LIMIT 1";
        let first: Option<u64> = self
            .connection
            .prepare_cached(first)?
            .query_row([then.as_unix_ms()], |row| row.get(0))
            .optional()?;
        let last = "SELECT seq, hash FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT 1";
        let end = first.map_or(i64::MAX, |first| i64::try_from(first).unwrap_or(i64::MAX));
        Ok(self
            .connection
            .prepare_cached(last)?
            .query_row([end], |row| Ok((row.get(0)?, Hash(row.get(1)?))))
            .optional()?)
    }

    /// How many rows of the trail are still there that were cut: a host that was killed has left them.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn audit_left_over(&self) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM audit WHERE seq <= ?1";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([self.cut_to()?], |row| row.get(0))?)
    }

    fn cut_to(&self) -> Result<u64, Error> {
        let text = self.meta(CUT)?;
        let number = text.map_or(Ok(0), |text| text.parse());
        number.map_err(|_| Error::Unreadable {
            what: format!("meta {CUT}"),
        })
    }
}

impl Transaction<'_> {
    /// Forgets a run that is over, with its journal and what it kept for itself.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] when it is open.
    pub fn forget_run(&self, run: &RunId) -> Result<(), Error> {
        let found = self.run(run)?.ok_or_else(|| Error::NotFound {
            what: format!("run {run}"),
        })?;
        if found.finished.is_none() {
            return Err(Error::Conflict {
                what: format!("the end of run {run}"),
            });
        }
        self.set_meta(FORGOTTEN, run.as_str())?;
        for sql in [
            "DELETE FROM intent_outcome WHERE intent IN (SELECT id FROM intent WHERE run = ?1)",
            "DELETE FROM intent WHERE run = ?1",
            "DELETE FROM scratch WHERE run = ?1",
            "DELETE FROM recorded WHERE run = ?1",
            "DELETE FROM sealed WHERE run = ?1 AND kind = 'state'",
            "DELETE FROM run WHERE id = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([run.as_str()])?;
        }
        self.set_meta(FORGOTTEN, "")
    }

    /// Forgets a version with its value, if it is still as [`old_versions`](Reader::old_versions) found it. Whether it was.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn forget_version(&self, id: &VersionId, before: Timestamp) -> Result<bool, Error> {
        let sql = format!("SELECT 1 FROM version v WHERE v.id = :id AND {IS_OLD}");
        let wanted = named_params! {":id": id.as_str(), ":before": before.as_unix_ms()};
        if !self.connection.prepare_cached(&sql)?.exists(wanted)? {
            return Ok(false);
        }
        self.set_meta(FORGOTTEN_VERSION, id.as_str())?;
        for sql in [
            "DELETE FROM annotation WHERE version = ?1",
            "DELETE FROM version_event WHERE version = ?1",
            "DELETE FROM version WHERE id = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([id.as_str()])?;
        }
        self.set_meta(FORGOTTEN_VERSION, "")?;
        Ok(true)
    }

    /// Says in the trail that it is cut after this row, of that hash, and lets the rows up to it be [deleted](Self::delete_cut).
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn cut_audit(&self, through: u64, hash: Hash, by: &str) -> Result<(), Error> {
        self.audit(&cut::entry(through, hash).by(by))?;
        self.set_meta(CUT, &through.to_string())
    }

    /// Deletes rows of the trail that were cut, the oldest first, at most `limit`. How many that were.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn delete_cut(&self, limit: u32) -> Result<usize, Error> {
        let sql =
            "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE seq <= ?1 ORDER BY seq LIMIT ?2)";
        let cut = self.cut_to()?;
        Ok(self
            .connection
            .prepare_cached(sql)?
            .execute(params![cut, limit])?)
    }
}
