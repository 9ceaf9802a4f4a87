use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use keywheel_model::{Fence, RunId, SecretName, Stage, Timestamp, VersionId};
use rusqlite::{OptionalExtension, Row, params};

use crate::transaction::{at, parsed};
use crate::{Error, Reader, Transaction};

/// Where a version's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// Here, as ciphertext that only the vault can open.
    Own {
        /// The value's ciphertext.
        ciphertext: Vec<u8>,
        /// Its key, wrapped.
        wrapped_key: Vec<u8>,
    },
    /// It is that of an older version of the same secret (which has its own).
    Of(VersionId),
}

/// A version as it is made.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// Its id.
    pub id: VersionId,
    /// The secret's name.
    pub secret: SecretName,
    /// Its first stage.
    pub stage: Stage,
    /// The run that writes it.
    pub run: RunId,
    /// The fence under which.
    pub fence: Fence,
    /// The version whose further name this is.
    pub output_of: Option<VersionId>,
    /// Its value.
    pub material: Material,
    /// What the vault notes with it, JSON, not secret.
    pub meta: String,
}

/// A version as stored, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: VersionId,
    /// The secret's name.
    pub secret: SecretName,
    /// 1, 2, 3 ... within the secret.
    pub number: u64,
    /// Its stage now.
    pub stage: Stage,
    /// The run that wrote it.
    pub run: RunId,
    /// The fence under which.
    pub fence: Fence,
    /// The version whose further name this is.
    pub output_of: Option<VersionId>,
    /// The version whose value it shares.
    pub material_of: Option<VersionId>,
    /// What the vault noted with it, JSON.
    pub meta: String,
    /// When it was made.
    pub created: Timestamp,
}

impl Version {
    /// The version that has the value itself.
    pub fn holder(&self) -> &VersionId {
        self.material_of.as_ref().unwrap_or(&self.id)
    }
}

/// A change of a version's stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageEvent {
    /// Which version.
    pub version: VersionId,
    /// Its new stage.
    pub stage: Stage,
    /// The run that changed it.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}

const COLUMNS: &str = "id, secret, number, stage, run, fence, output_of, material_of, meta, created";

fn stage_from(word: &str) -> Result<Stage, serde::de::value::Error> {
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    Stage::deserialize(word.into_deserializer())
}

fn optional_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<VersionId>> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null {
        return Ok(None);
    }
    parsed(row, column, VersionId::from_str).map(Some)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        id: parsed(row, 0, VersionId::from_str)?,
        secret: parsed(row, 1, SecretName::from_str)?,
        number: row.get(2)?,
        stage: parsed(row, 3, stage_from)?,
        run: parsed(row, 4, RunId::from_str)?,
        fence: Fence(row.get(5)?),
        output_of: optional_id(row, 6)?,
        material_of: optional_id(row, 7)?,
        meta: row.get(8)?,
        created: at(row, 9)?,
    })
}

impl Reader<'_> {
    /// Names of all secrets, sorted.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn secrets(&self) -> Result<Vec<SecretName>, Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT name FROM secret ORDER BY name")?;
        let names = statement.query_map([], |row| parsed(row, 0, SecretName::from_str))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// All versions of a secret, newest first. None at all: the secret does not exist.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn versions(&self, secret: &SecretName) -> Result<Vec<Version>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM version WHERE secret = ?1 ORDER BY number DESC");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement
            .query_map([secret.as_str()], read)?
            .collect::<Result<_, _>>()?)
    }

    /// The versions of a secret that are not revoked, those that share a value with one of these or with one of `also`, and the newest, whatever it is;
    /// newest first. Each of `also` is among them, if it is of this secret. However many others there are, they are not read. None at all: the secret
    /// does not exist.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn live_versions(&self, secret: &SecretName, also: &[VersionId]) -> Result<Vec<Version>, Error> {
        let live = format!(
            "SELECT {COLUMNS} FROM version WHERE secret = ?1 AND stage <> 'revoked' ORDER BY number DESC"
        );
        let newest = format!("SELECT {COLUMNS} FROM version WHERE secret = ?1 ORDER BY number DESC LIMIT 1");
        let mut found = BTreeMap::new();
        for sql in [live, newest] {
            let mut statement = self.connection.prepare_cached(&sql)?;
            for version in statement.query_map([secret.as_str()], read)? {
                let version = version?;
                found.insert(version.number, version);
            }
        }
        for id in also {
            if let Some(version) = self.version(id)?.filter(|version| version.secret == *secret) {
                found.insert(version.number, version);
            }
        }
        let holders: BTreeSet<VersionId> = found.values().map(|version| version.holder().clone()).collect();
        let same = format!("SELECT {COLUMNS} FROM version WHERE material_of = ?1");
        let mut statement = self.connection.prepare_cached(&same)?;
        for holder in holders {
            for version in statement.query_map([holder.as_str()], read)? {
                let version = version?;
                found.insert(version.number, version);
            }
            if let Some(version) = self.version(&holder)? {
                found.insert(version.number, version);
            }
        }
        Ok(found.into_values().rev().collect())
    }

    /// How many versions a secret has had.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn version_count(&self, secret: &SecretName) -> Result<usize, Error> {
        let sql = "SELECT count(*) FROM version WHERE secret = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([secret.as_str()], |row| row.get(0))?)
    }

    /// The version of a secret that is current.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn current_version(&self, secret: &SecretName) -> Result<Option<VersionId>, Error> {
        let sql = "SELECT id FROM version WHERE secret = ?1 AND stage = 'current'";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([secret.as_str()], |row| parsed(row, 0, VersionId::from_str));
        Ok(found.optional()?)
    }

    /// One version.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn version(&self, id: &VersionId) -> Result<Option<Version>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM version WHERE id = ?1");
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_row([id.as_str()], read)
            .optional()?)
    }

    /// The further names of a version.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn outputs(&self, of: &VersionId) -> Result<Vec<Version>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM version WHERE output_of = ?1 ORDER BY secret");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement
            .query_map([of.as_str()], read)?
            .collect::<Result<_, _>>()?)
    }

    /// Where a version's value is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn material(&self, id: &VersionId) -> Result<Material, Error> {
        let sql = "SELECT material_of, ciphertext, wrapped_key FROM version WHERE id = ?1";
        let found = self
            .connection
            .prepare_cached(sql)?
            .query_row([id.as_str()], |row| match optional_id(row, 0)? {
                Some(of) => Ok(Material::Of(of)),
                None => Ok(Material::Own {
                    ciphertext: row.get(1)?,
                    wrapped_key: row.get(2)?,
                }),
            })
            .optional()?;
        found.ok_or_else(|| Error::NotFound {
            what: format!("version {id}"),
        })
    }

    /// A version's annotations, by key.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn annotations(&self, version: &VersionId) -> Result<Vec<(String, String)>, Error> {
        let sql = "SELECT key, value FROM annotation WHERE version = ?1 ORDER BY key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([version.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How the stages of a secret's versions changed, oldest first.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn stage_events(&self, secret: &SecretName) -> Result<Vec<StageEvent>, Error> {
        let sql =
            "SELECT e.version, e.stage, e.run, e.at FROM version_event e JOIN version v ON v.id = e.version
                   WHERE v.secret = ?1 ORDER BY e.id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([secret.as_str()], |row| {
            Ok(StageEvent {
                version: parsed(row, 0, VersionId::from_str)?,
                stage: parsed(row, 1, stage_from)?,
                run: parsed(row, 2, RunId::from_str)?,
                at: at(row, 3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Adds a version as the secret's newest, and the secret with its first. Returns its number.
    ///
    /// # Errors
    /// [`Error::Sql`] where the secret already has one `pending` or `current`.
    pub fn add_version(&self, version: &NewVersion) -> Result<u64, Error> {
        let now = self.now.as_unix_ms();
        let sql = "INSERT INTO secret (name, newest, created) VALUES (?1, 1, ?2)
                   ON CONFLICT (name) DO UPDATE SET newest = newest + 1 RETURNING newest";
        let number: u64 = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![version.secret.as_str(), now], |row| row.get(0))?;
        let (material_of, ciphertext, wrapped_key) = match &version.material {
            Material::Own {
                ciphertext,
                wrapped_key,
            } => (None, Some(ciphertext), Some(wrapped_key)),
            Material::Of(id) => (Some(id.as_str()), None, None),
        };
        let sql = format!(
            "INSERT INTO version ({COLUMNS}, ciphertext, wrapped_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
        );
        self.connection.prepare_cached(&sql)?.execute(params![
            version.id.as_str(),
            version.secret.as_str(),
            number,
            version.stage.as_str(),
            version.run.as_str(),
            version.fence.0,
            version.output_of.as_ref().map(VersionId::as_str),
            material_of,
            version.meta,
            now,
            ciphertext,
            wrapped_key
        ])?;
        self.stage_event(&version.id, version.stage, &version.run)?;
        Ok(number)
    }

    /// Moves a version to another stage, and remembers that it did.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_stage(&self, id: &VersionId, stage: Stage, run: &RunId) -> Result<(), Error> {
        let sql = "UPDATE version SET stage = ?2 WHERE id = ?1";
        if self
            .connection
            .prepare_cached(sql)?
            .execute([id.as_str(), stage.as_str()])?
            == 0
        {
            return Err(Error::NotFound {
                what: format!("version {id}"),
            });
        }
        self.stage_event(id, stage, run)
    }

    /// Sets an annotation of a version.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn annotate(&self, version: &VersionId, key: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO annotation (version, key, value) VALUES (?1, ?2, ?3)
                   ON CONFLICT (version, key) DO UPDATE SET value = excluded.value";
        self.connection
            .prepare_cached(sql)?
            .execute([version.as_str(), key, value])?;
        Ok(())
    }

    fn stage_event(&self, id: &VersionId, stage: Stage, run: &RunId) -> Result<(), Error> {
        let sql = "INSERT INTO version_event (version, stage, run, at) VALUES (?1, ?2, ?3, ?4)";
        let now = self.now.as_unix_ms();
        self.connection.prepare_cached(sql)?.execute(params![
            id.as_str(),
            stage.as_str(),
            run.as_str(),
            now
        ])?;
        Ok(())
    }
}
