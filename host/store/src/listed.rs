//! Rotations of tables: their rows, a generation at a time, and when each is to be looked at.

use std::str::FromStr;

use keywheel_model::{PluginName, RotationName, SecretName, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use crate::transaction::parsed;
use crate::{Error, Reader, Transaction};

/// A row of a table, as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRow {
    /// The name of its rotation.
    pub name: RotationName,
    /// Which table it is of.
    pub part: u32,
    /// Its cells; opaque here.
    pub cells: String,
}

/// A row that is to be accepted.
#[derive(Clone, Debug)]
pub struct NewListed {
    /// The row.
    pub row: ListedRow,
    /// The secret that its rotation rotates.
    pub secret: SecretName,
    /// The plugin.
    pub plugin: PluginName,
    /// The targets that it works on, as one text.
    pub target: String,
    /// When it is looked at first, if it was never before and its past is not known; none: nothing of it is due by itself.
    pub look: Option<Timestamp>,
}

/// One whose time to be looked at has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The rotation.
    pub rotation: RotationName,
    /// Since when.
    pub look: Timestamp,
}

/// What is not asked for while it is looked for what is due.
#[derive(Clone, Debug, Default)]
pub struct Except {
    /// Targets that take nothing now.
    pub targets: Vec<String>,
    /// Plugins that take nothing now.
    pub plugins: Vec<String>,
    /// What was due by then is held back, but for what is near its end.
    pub held: Option<Timestamp>,
    /// What is near its end is held back, too.
    pub pressing_too: bool,
}

/// So many are moved or removed in one transaction: others write between two of them.
const STEP: u32 = 2_000;

fn row(row: &Row<'_>) -> rusqlite::Result<ListedRow> {
    Ok(ListedRow {
        name: parsed(row, 0, RotationName::from_str)?,
        part: row.get(1)?,
        cells: row.get(2)?,
    })
}

fn watched(row: &Row<'_>) -> rusqlite::Result<Watched> {
    Ok(Watched {
        rotation: parsed(row, 0, RotationName::from_str)?,
        look: crate::transaction::at(row, 1)?,
    })
}

/// Names of targets and plugins are texts of any kind.
fn list(names: &[String]) -> String {
    serde_json::json!(names).to_string()
}

impl Reader<'_> {
    /// The row of a rotation.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn listed(&self, generation: u64, name: &RotationName) -> Result<Option<ListedRow>, Error> {
        let sql = "SELECT name, part, cells FROM listed WHERE generation = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement
            .query_row(params![generation, name.as_str()], row)
            .optional()?)
    }

    /// The row of the rotation that rotates a secret.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn listed_of_secret(&self, generation: u64, secret: &SecretName) -> Result<Option<ListedRow>, Error> {
        let sql = "SELECT name, part, cells FROM listed WHERE generation = ?1 AND secret = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement
            .query_row(params![generation, secret.as_str()], row)
            .optional()?)
    }

    /// Rows by name, those behind a name, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn listed_page(
        &self,
        generation: u64,
        after: Option<&RotationName>,
        limit: u32,
    ) -> Result<Vec<ListedRow>, Error> {
        let sql =
            "SELECT name, part, cells FROM listed WHERE generation = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
        let after = after.map_or("", RotationName::as_str);
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement
            .query_map(params![generation, after, limit], row)?
            .collect::<Result<_, _>>()?)
    }

    /// What is to be looked at by now: first what is near its end, then what waits the longest; at most `limit` of each.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn to_look_at(&self, now: Timestamp, except: &Except, limit: u32) -> Result<Vec<Watched>, Error> {
        let (targets, plugins) = (list(&except.targets), list(&except.plugins));
        let free = "target NOT IN (SELECT value FROM json_each(?2)) AND plugin NOT IN (SELECT value FROM json_each(?3))";
        let pressing = format!(
            "SELECT rotation, look FROM watched INDEXED BY watched_presses
             WHERE presses <= ?1 AND look <= ?1 AND {free} ORDER BY presses LIMIT ?4"
        );
        let waiting = format!(
            "SELECT rotation, look FROM watched INDEXED BY watched_look
             WHERE look > ?5 AND look <= ?1 AND {free} ORDER BY look LIMIT ?4"
        );
        let (at, held) = (now.as_unix_ms(), except.held.map_or(-1, ms));
        let mut found: Vec<Watched> = Vec::new();
        if !except.pressing_too {
            let mut statement = self.connection.prepare_cached(&pressing)?;
            let rows = statement.query_map(params![at, targets, plugins, limit], watched)?;
            found = rows.collect::<Result<_, _>>()?;
        }
        let mut statement = self.connection.prepare_cached(&waiting)?;
        for row in statement.query_map(params![at, targets, plugins, limit, held], watched)? {
            let row = row?;
            if !found.contains(&row) {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// When one is to be looked at next, after now.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn next_look(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT look FROM watched INDEXED BY watched_look WHERE look > ?1 ORDER BY look LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let next = statement.query_row([now.as_unix_ms()], |row| crate::transaction::at(row, 0));
        Ok(next.optional()?)
    }

    /// How many were to be looked at by then, but for those near their end; counted up to `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn waiting_since(&self, by: Timestamp, limit: u32) -> Result<usize, Error> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM watched INDEXED BY watched_look
                   WHERE look <= ?1 AND (presses IS NULL OR presses > ?1) LIMIT ?2)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let count: i64 = statement.query_row(params![by.as_unix_ms(), limit], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Those that were to be looked at by then, the longest first, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn overdue(&self, by: Timestamp, limit: u32) -> Result<Vec<RotationName>, Error> {
        let sql = "SELECT rotation, look FROM watched INDEXED BY watched_look WHERE look <= ?1 ORDER BY look LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![by.as_unix_ms(), limit], watched)?;
        Ok(rows
            .map(|row| row.map(|row| row.rotation))
            .collect::<Result<_, _>>()?)
    }

    /// Those whose last run came to nothing, by name, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn ill(&self, limit: u32) -> Result<Vec<RotationName>, Error> {
        let sql =
            "SELECT rotation FROM watched INDEXED BY watched_ill WHERE ill = 1 ORDER BY rotation LIMIT ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([limit], |row| parsed(row, 0, RotationName::from_str))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// When one was seen first; none: it is of no table.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn seen(&self, rotation: &RotationName) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT seen FROM watched WHERE rotation = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let seen = statement.query_row([rotation.as_str()], |row| crate::transaction::at(row, 0));
        Ok(seen.optional()?)
    }

    /// The targets that rotations of tables work on.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn watched_targets(&self) -> Result<Vec<String>, Error> {
        // One look into the index for each, however many rotations it has.
        let sql = "WITH RECURSIVE t(target) AS (
                     SELECT min(target) FROM watched
                     UNION ALL SELECT (SELECT min(target) FROM watched WHERE target > t.target) FROM t WHERE target IS NOT NULL)
                   SELECT target FROM t WHERE target IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Of the rotations of tables on a target: how many there are, and how many of them were to be looked at by now.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn watched_on(&self, target: &str, now: Timestamp) -> Result<(usize, usize), Error> {
        let sql = "SELECT count(*), coalesce(sum(look <= ?2), 0) FROM watched WHERE target = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (all, due): (i64, i64) = statement.query_row(params![target, now.as_unix_ms()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let count = |count| usize::try_from(count).unwrap_or_default();
        Ok((count(all), count(due)))
    }

    /// Names behind a prefix of keys that hold something: `paused-`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn kept_under(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let sql = "SELECT substr(key, length(?1) + 1) FROM meta
                   WHERE key >= ?1 AND key < ?2 AND value <> '' ORDER BY key";
        let mut end = prefix.to_owned();
        end.push(char::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([prefix, &end], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a rotation or its secret has a past: then when it is due is not told by the calendar alone.
    fn has_past(&self, new: &NewListed) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM run WHERE rotation = ?1) OR EXISTS (SELECT 1 FROM secret WHERE name = ?2)
                   OR EXISTS (SELECT 1 FROM meta WHERE key = 'first-seen-' || ?1)";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([new.row.name.as_str(), new.secret.as_str()], |row| row.get(0))?)
    }
}

impl Transaction<'_> {
    /// Writes rows of a generation that does not count yet. `before` is the one that counts, if its rows are made of the same template.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn stage_listed(
        &self,
        generation: u64,
        before: Option<u64>,
        rows: &[NewListed],
    ) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO listed (generation, name, secret, part, cells, plugin, target, look, kept)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        for new in rows {
            let is_kept = match before {
                Some(before) => self.listed(before, &new.row.name)?.as_ref() == Some(&new.row),
                None => false,
            };
            // One that nothing is known of is due by its schedule alone; of another one somebody has to find that out.
            let look = if !is_kept && self.has_past(new)? {
                Some(self.now())
            } else {
                new.look
            };
            self.connection.prepare_cached(sql)?.execute(params![
                generation,
                new.row.name.as_str(),
                new.secret.as_str(),
                new.row.part,
                new.row.cells,
                new.plugin.as_str(),
                new.target,
                look.map(ms),
                is_kept
            ])?;
        }
        Ok(())
    }

    /// Takes over what is known of some rotations of the generation that counts, those behind a name. The last of them; none: all were.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn watch_listed(
        &self,
        generation: u64,
        after: Option<&RotationName>,
    ) -> Result<Option<RotationName>, Error> {
        let page = self.listed_page(generation, after, STEP)?;
        let Some(last) = page.last() else { return Ok(None) };
        let sql = "INSERT INTO watched (rotation, generation, plugin, target, seen, look, presses, ill)
                   SELECT name, generation, plugin, target, ?4, look, NULL, 0 FROM listed
                   WHERE generation = ?1 AND name > ?2 AND name <= ?3
                   ON CONFLICT (rotation) DO UPDATE SET
                     generation = excluded.generation, plugin = excluded.plugin, target = excluded.target,
                     look = CASE WHEN (SELECT kept FROM listed
                                       WHERE listed.generation = excluded.generation AND name = excluded.rotation) = 1
                            THEN watched.look ELSE excluded.look END";
        let after = after.map_or("", RotationName::as_str);
        self.connection.prepare_cached(sql)?.execute(params![
            generation,
            after,
            last.name.as_str(),
            self.now().as_unix_ms()
        ])?;
        Ok(Some(last.name.clone()))
    }

    /// Forgets some of what is of other generations. False: nothing is left of them.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn forget_listed(&self, counts: u64) -> Result<bool, Error> {
        let mut removed = 0;
        for which in ["< ?1", "> ?1"] {
            let sql = format!(
                "DELETE FROM listed WHERE (generation, name) IN
                 (SELECT generation, name FROM listed WHERE generation {which} LIMIT ?2)"
            );
            removed += self
                .connection
                .prepare_cached(&sql)?
                .execute(params![counts, STEP])?;
        }
        Ok(removed > 0)
    }

    /// Forgets some of the rotations that the generation that counts does not have. False: nothing is left of them.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn forget_watched(&self, counts: u64) -> Result<bool, Error> {
        let sql = "DELETE FROM watched WHERE rotation IN
                   (SELECT rotation FROM watched WHERE generation < ?1 LIMIT ?2)";
        let removed = self
            .connection
            .prepare_cached(sql)?
            .execute(params![counts, STEP])?;
        Ok(removed > 0)
    }

    /// When one is to be looked at next, and from when its end is near. One that is of no table is left alone.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn set_look(
        &self,
        rotation: &RotationName,
        look: Option<Timestamp>,
        presses: Option<Timestamp>,
    ) -> Result<(), Error> {
        let sql = "UPDATE watched SET look = ?2, presses = ?3 WHERE rotation = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![rotation.as_str(), look.map(ms), presses.map(ms)])?;
        Ok(())
    }

    /// Something has become of one: it is looked at now. One that is of no table is left alone.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn look_at(&self, rotation: &RotationName) -> Result<(), Error> {
        let sql = "UPDATE watched SET look = min(coalesce(look, ?2), ?2) WHERE rotation = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![rotation.as_str(), self.now().as_unix_ms()])?;
        Ok(())
    }

    /// A run of one has come to its end, to nothing or not. One that is of no table is left alone.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn note_end(&self, rotation: &RotationName, ill: bool) -> Result<(), Error> {
        let sql = "UPDATE watched SET ill = ?2, look = ?3 WHERE rotation = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![rotation.as_str(), ill, self.now().as_unix_ms()])?;
        Ok(())
    }
}

fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.as_unix_ms()).unwrap_or(i64::MAX)
}
