//! What the host durably holds, seen from beside it: rows of its database as they are committed, and values that a copy of its state
//! gives away, as it would to whoever restores that copy.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::host::Host;
use crate::record::Version;

/// Of each secret the newest so many versions are looked at: older ones have been dead for long.
const VERSIONS: u32 = 12;

/// A version whose value nobody can read.
pub(crate) const UNREADABLE: &str = "unreadable";

/// The values of one host.
pub(crate) struct Vault {
    database: PathBuf,
    /// Where copies of the state are opened.
    copy: Host,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Labels by value: equal values have one label.
    labels: BTreeMap<String, String>,
    /// Values by the version that has the material. A version's value never changes.
    values: BTreeMap<String, String>,
    copies: u32,
}

/// A version as it stands in the database.
struct Row {
    id: String,
    stage: String,
    /// The version that has its ciphertext.
    material: String,
}

/// A version with its value.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) version: Version,
    pub(crate) value: Option<String>,
}

impl Vault {
    /// Of a host that was just made: the copy has its key and its first configuration.
    pub(crate) fn of(host: &Host, copy: PathBuf) -> Result<Self> {
        for folder in ["plugins", "policies"] {
            fs::create_dir_all(copy.join(folder))?;
        }
        for name in ["keywheel.toml", "vault.key"] {
            fs::copy(host.file(name), copy.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
        Ok(Self {
            database: host.file("state/keywheel.db"),
            copy: host.beside(copy),
            known: Mutex::default(),
        })
    }

    /// The label of a value.
    pub(crate) fn label(&self, value: &str) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let next = known.labels.len() + 1;
        known
            .labels
            .entry(value.to_owned())
            .or_insert_with(|| format!("value-{next}"))
            .clone()
    }

    /// The versions of a secret, newest first, as they are committed at this instant, with their values.
    pub(crate) fn versions(&self, secret: &str) -> Result<Vec<Held>> {
        let connection = self.open()?;
        let rows = rows(&connection, secret)?;
        let unseen = |row: &&Row| {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            !known.values.contains_key(&row.material)
        };
        let unseen: Vec<&Row> = rows.iter().filter(unseen).collect();
        if !unseen.is_empty() {
            self.copy_state(&connection)?;
            for row in unseen {
                self.read(secret, &row.material)?;
            }
        }
        let held = |row: Row| {
            let value = {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.values.get(&row.material).cloned()
            };
            let label = value
                .as_deref()
                .map_or_else(|| UNREADABLE.to_owned(), |value| self.label(value));
            let version = Version {
                id: row.id,
                value: label,
                stage: row.stage,
            };
            Held { version, value }
        };
        Ok(rows.into_iter().map(held).collect())
    }

    /// Whether a rotation has a run that is not over.
    pub(crate) fn has_open_run(&self, rotation: &str) -> Result<bool> {
        let sql = "SELECT count(*) FROM run WHERE rotation = ?1 AND finished IS NULL";
        let count: i64 = self.open()?.query_row(sql, [rotation], |row| row.get(0))?;
        Ok(count > 0)
    }

    /// How many runs that are not over have handed a statement to a transaction that others share, and do not know what became of it.
    pub(crate) fn shared_in_doubt(&self) -> Result<u64> {
        let sql = "SELECT count(DISTINCT run.id) FROM run JOIN intent ON intent.run = run.id
            LEFT JOIN intent_outcome ON intent_outcome.intent = intent.id
            WHERE run.finished IS NULL AND intent_outcome.intent IS NULL
              AND json_extract(intent.session, '$.names[0]') LIKE 'keywheel shared %'";
        let count: i64 = self.open()?.query_row(sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }

    /// The calls that open runs are in, as they are journalled: the run, and the number of the call.
    pub(crate) fn calls(&self) -> Result<Vec<(String, i64)>> {
        let connection = self.open()?;
        let sql = "SELECT id, json_extract(state, '$.op') FROM run
            WHERE finished IS NULL AND json_extract(state, '$.doing.call') IS NOT NULL";
        let mut statement = connection.prepare(sql)?;
        let calls = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(calls.collect::<rusqlite::Result<_>>()?)
    }

    /// A connection that counts changes of the journal.
    pub(crate) fn journal(&self) -> Result<Journal> {
        Ok(Journal(self.open()?))
    }

    /// Reads, and leaves everything as a crash left it: no checkpoint is made when it is closed.
    fn open(&self) -> Result<Connection> {
        let connection = Connection::open_with_flags(&self.database, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .context("cannot open the host's database")?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    }

    /// A copy of the state as it is committed.
    fn copy_state(&self, connection: &Connection) -> Result<()> {
        let state = self.copy.file("state");
        match fs::remove_dir_all(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&state)?,
        }
        mode(&state, 0o700)?;
        let database = state.join("keywheel.db");
        connection.execute("VACUUM INTO ?1", [database.display().to_string()])?;
        mode(&database, 0o600)
    }

    fn read(&self, secret: &str, version: &str) -> Result<()> {
        let to = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.copies += 1;
            self.copy.file(&format!("value-{}", known.copies))
        };
        let path = to.display().to_string();
        let words = [
            "secret",
            "read",
            secret,
            "--version",
            version,
            "--reason",
            "witness",
            "--to",
            &path,
        ];
        let output = self.copy.run(&words, "")?;
        if output.code == 0 {
            let value = fs::read_to_string(&to)?;
            fs::remove_file(&to)?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.values.insert(version.to_owned(), value);
        }
        Ok(())
    }
}

fn rows(connection: &Connection, secret: &str) -> Result<Vec<Row>> {
    let sql = "SELECT id, stage, coalesce(material_of, id) FROM version WHERE secret = ?1 ORDER BY number DESC LIMIT ?2";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map((secret, VERSIONS), |row| {
        Ok(Row {
            id: row.get(0)?,
            stage: row.get(1)?,
            material: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The journal, to be asked often.
pub(crate) struct Journal(Connection);

impl Journal {
    /// How many runs of a rotation are over, and how many are not.
    pub(crate) fn runs(&self, rotation: &str) -> Result<(i64, i64)> {
        let sql = "SELECT count(finished), count(*) - count(finished) FROM run WHERE rotation = ?1";
        Ok(self
            .0
            .prepare_cached(sql)?
            .query_row([rotation], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// States of runs, intents, outcomes and changes of versions that were ever written.
    pub(crate) fn changes(&self) -> Result<u64> {
        let sql = "SELECT (SELECT coalesce(sum(version), 0) FROM run) + (SELECT count(*) FROM intent)
            + (SELECT count(*) FROM intent_outcome) + (SELECT count(*) FROM version_event)";
        let count: i64 = self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }
}
