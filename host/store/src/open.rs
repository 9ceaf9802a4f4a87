use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keywheel_model::{Clock, SecretBytes};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::files::{self, Files, Missing};
use crate::lease;
use crate::readers::Readers;
use crate::writer::{AuditKey, Statistics, Unwritable, Writer};
use crate::{Error, FORMAT, Reader, Transaction, meta, schema};

/// First SQLite without the race that could lose commits when a log is reset (3.51.3).
const OLDEST_SAFE_SQLITE: i32 = 3_051_003;

/// How a store is run.
#[derive(Clone)]
pub struct Options {
    /// Where the times in rows come from.
    pub clock: Arc<dyn Clock>,
    /// How long a caller waits for the queue and for an answer.
    pub wait: Duration,
    /// Most writes waiting.
    pub queue: usize,
    /// Most writes sharing one commit.
    pub group: usize,
    /// Connections that read.
    pub readers: usize,
}

impl Options {
    /// The defaults: 30 seconds, 1024 waiting, 256 a commit, 4 readers.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            wait: Duration::from_secs(30),
            queue: 1024,
            group: 256,
            readers: 4,
        }
    }
}

/// One state directory, held exclusively. Clones share it; the last one closes it and gives its lock back.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

// Fields are dropped in this order: connections first, the lock last.
struct Inner {
    writer: Writer,
    readers: Readers,
    /// For looks that are short and wait for nobody.
    glance: Mutex<Connection>,
    audit_key: AuditKey,
    id: Arc<str>,
    files: Files,
    options: Options,
}

impl Store {
    /// Opens the directory's database, or creates both. Blocks for some milliseconds, as long as a migration runs.
    ///
    /// # Errors
    /// [`Error::InUse`] while another host has it, [`Error::NotPrivate`], [`Error::FileSystem`], [`Error::NewerFormat`],
    /// [`Error::NotOurs`], [`Error::Damaged`], [`Error::Setting`].
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::open_or(Missing::Make, dir, options)
    }

    /// The same where there is a state; where there is none, nothing is made.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Error::NoState`].
    pub fn open_existing(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::open_or(Missing::Refuse, dir, options)
    }

    fn open_or(missing: Missing, dir: &Path, options: Options) -> Result<Self, Error> {
        let library = rusqlite::version_number();
        if library < OLDEST_SAFE_SQLITE {
            return Err(Error::Library { found: library });
        }
        let files = files::claim(dir, missing)?;
        Self::open_claimed(files, dir, missing, options)
    }

    fn open_claimed(files: Files, dir: &Path, missing: Missing, options: Options) -> Result<Self, Error> {
        let path = files.database.clone();
        let explain = |error| explain(error, &path);
        let mut connection = connect(&path).map_err(explain)?;
        let format = format_of(&connection, &path).map_err(explain)?;
        if format == 0 && missing == Missing::Refuse {
            return Err(Error::NoState {
                dir: dir.to_owned(),
                what: "its keywheel.db is empty",
            });
        }
        configure(&connection).map_err(explain)?;
        schema::migrate(&mut connection, format).map_err(explain)?;
        if let Some(detail) = schema::strangers(&connection).map_err(explain)? {
            return Err(Error::Damaged {
                path: path.clone(),
                detail,
            });
        }
        let id: Arc<str> = meta::establish(&mut connection, options.clock.now())
            .map_err(explain)?
            .into();
        lease::free_ghosts(&connection).map_err(explain)?;
        let readers = (0..options.readers.max(1))
            .map(|_| connect_reader(&path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(explain)?;
        let glance = Mutex::new(connect_reader(&path).map_err(explain)?);
        let audit_key = AuditKey::default();
        let readers = Readers::new(readers, Arc::clone(&id), Arc::clone(&options.clock));
        let writer = Writer::start(connection, Arc::clone(&id), Arc::clone(&audit_key), &options)?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                readers,
                glance,
                audit_key,
                id,
                files,
                options,
            }),
        })
    }

    /// The store's id: random, made with it, kept by backups.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.files.database
    }

    /// The clock that the rows' times come from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.options.clock
    }

    /// Runs `change` in the writer's transaction and answers after that was committed and synced. Calls made at the same
    /// time share one commit. When `change` fails, what it wrote is undone and the others' is kept; when the commit
    /// fails, every call of the group gets that error. A caller that gives up waiting does not undo the change.
    ///
    /// # Errors
    /// What `change` returns; [`Error::Full`] or [`Error::Commit`] when nothing was kept; [`Error::Timeout`] when that is
    /// not known; [`Error::Overloaded`].
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.inner.writer.write(change, self.inner.options.wait).await
    }

    /// Runs `look` at once, on the thread of the caller: for a row by its key, or a page of them, and nothing that takes long.
    ///
    /// # Errors
    /// What `look` returns.
    pub fn glance<T>(&self, look: impl FnOnce(&Reader<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let inner = &self.inner;
        let connection = inner.glance.lock().unwrap_or_else(PoisonError::into_inner);
        look(&Reader {
            connection: &connection,
            now: inner.options.clock.now(),
            store_id: &inner.id,
        })
    }

    /// Runs `look` on one consistent view, on a connection that cannot write.
    ///
    /// # Errors
    /// What `look` returns; [`Error::Overloaded`] when no connection came free in time.
    pub async fn read<T, E, F>(&self, look: F) -> Result<T, E>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.inner.readers.read(look, self.inner.options.wait).await
    }

    /// As [`Store::read`], on the thread of the caller: for some rows that an index finds. To change threads would cost more than that look.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_here<T, E, F>(&self, look: F) -> Result<T, E>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        self.inner.readers.read_here(look, self.inner.options.wait).await
    }

    /// From now on audit rows are sealed with this key; `None` when the vault is sealed. A row that is written meanwhile has no
    /// seal, and `audit_verify` with the key calls it forged: a sealed host writes none.
    pub fn set_audit_key(&self, key: Option<SecretBytes>) {
        *self
            .inner
            .audit_key
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = key;
    }

    /// Since when nothing can be kept; none while writes succeed. The next write that is kept ends it.
    pub fn unwritable(&self) -> Option<Unwritable> {
        self.inner.writer.unwritable()
    }

    /// How many commits, how many changes they kept, and how many looks there were, since the store was opened.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            reads: self.inner.readers.reads(),
            ..self.inner.writer.statistics()
        }
    }
}

/// A connection for the writer.
fn connect(path: &PathBuf) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(128);
    // Else a statement that could have used a partial index (`WHERE stage = 'current'`) is planned anew for each value that it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn connect_reader(path: &PathBuf) -> Result<Connection, Error> {
    let connection = connect(path)?;
    set(&connection, "mmap_size", "0", "0")?;
    set(&connection, "query_only", "1", "1")?;
    Ok(connection)
}

/// The file's format: 0 when it is new.
fn format_of(connection: &Connection, path: &Path) -> Result<u32, Error> {
    let application: u32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let format: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let ours = application == schema::APPLICATION_ID || application == 0 && format == 0 && tables == 0;
    if !ours {
        return Err(Error::NotOurs {
            path: path.to_owned(),
        });
    }
    if format > FORMAT {
        return Err(Error::NewerFormat {
            found: format,
            known: FORMAT,
        });
    }
    Ok(format)
}

/// Sets what durability depends on. SQLite accepts unknown values in silence: each one is read back.
fn configure(connection: &Connection) -> Result<(), Error> {
    set(connection, "journal_mode", "wal", "wal")?;
    set(connection, "synchronous", "full", "2")?;
    set(connection, "mmap_size", "0", "0")?;
    set(connection, "foreign_keys", "1", "1")?;
    set(connection, "trusted_schema", "0", "0")?;
    set(connection, "cell_size_check", "1", "1")?;
    if cfg!(target_os = "macos") {
        set(connection, "fullfsync", "1", "1")?;
    }
    Ok(())
}

fn set(
    connection: &Connection,
    name: &'static str,
    value: &'static str,
    wanted: &'static str,
) -> Result<(), Error> {
    connection.execute_batch(&format!("PRAGMA {name} = {value}"))?;
    let found = connection.query_row(&format!("PRAGMA {name}"), [], |row| {
        let value: rusqlite::types::Value = row.get(0)?;
        Ok(match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{:?}", other.data_type()),
        })
    })?;
    if found == wanted {
        Ok(())
    } else {
        Err(Error::Setting {
            setting: name,
            wanted,
            found,
        })
    }
}

/// Says "damaged" where SQLite's words mean that.
pub(crate) fn explain(error: Error, path: &Path) -> Error {
    let Error::Sql(inner) = &error else { return error };
    match inner.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Error::Damaged {
            path: path.to_owned(),
            detail: inner.to_string(),
        },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_setting_that_did_not_take_is_refused() {
        let connection = Connection::open_in_memory().expect("database");
        // SQLite takes the unknown word without complaint, and means NORMAL.
        let error = set(&connection, "synchronous", "wal", "2").expect_err("not FULL");
        assert!(
            matches!(
                error,
                Error::Setting {
                    setting: "synchronous",
                    ..
                }
            ),
            "{error}"
        );
        set(&connection, "synchronous", "full", "2").expect("FULL");
    }

    #[test]
    fn the_writer_syncs_and_readers_cannot_write() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("keywheel.db");
        drop(Connection::open(&path).expect("database"));
        let writer = connect(&path).expect("writer");
        configure(&writer).expect("settings");
        schema::migrate(&mut connect(&path).expect("migrator"), 0).expect("migrations");
        let read = |name: &str| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            writer.query_row(&sql, [], |row| row.get(0)).expect("setting")
        };
        assert_eq!(
            [read("journal_mode"), read("synchronous"), read("foreign_keys")],
            ["wal", "2", "1"]
        );
        let reader = connect_reader(&path).expect("reader");
        assert!(reader.execute("INSERT INTO meta VALUES ('k', 'v')", []).is_err());
        assert_eq!(
            writer
                .execute("INSERT INTO meta VALUES ('k', 'v')", [])
                .expect("writes"),
            1
        );
    }

    #[test]
    fn a_statement_is_planned_once_whatever_it_is_given() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("keywheel.db");
        schema::migrate(&mut Connection::open(&path).expect("database"), 0).expect("migrations");
        // A partial index of `stage` serves one value of `?2`; the number of rows may change the plan too.
        let sql = "SELECT id FROM version WHERE secret = ?1 AND stage = ?2 ORDER BY number LIMIT ?3";
        let plans = |connection: &Connection| {
            let mut statement = connection.prepare(sql).expect("a statement");
            for (stage, limit) in [("current", 1), ("pending", 2), ("revoked", 3)] {
                let found = statement.query_map(("app", stage, limit), |row| row.get::<_, String>(0));
                assert_eq!(found.expect("rows").count(), 0);
            }
            statement.get_status(StatementStatus::RePrepare)
        };
        assert_eq!(plans(&connect_reader(&path).expect("reader")), 0);
        // It is not so by itself.
        assert!(plans(&Connection::open(&path).expect("another")) > 0);
    }

    #[test]
    fn every_table_is_strict() {
        let mut connection = Connection::open_in_memory().expect("database");
        schema::migrate(&mut connection, 0).expect("migrations");
        let loose = "SELECT count(*), sum(strict) FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'";
        let (tables, strict): (u32, u32) = connection
            .query_row(loose, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("tables");
        assert!(tables > 10);
        assert_eq!(tables, strict);
    }
}
