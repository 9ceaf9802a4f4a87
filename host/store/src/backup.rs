use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::open::explain;
use crate::{Error, Store, files, schema};

/// Pages copied before writers get their turn.
const PAGES: i32 = 256;

impl Store {
    /// Copies the database to a new file (0600) while the host runs, and syncs it. Secrets in it are ciphertext, the rest is
    /// readable. The copy has this store's id.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the file exists and holds something, [`Error::File`], [`Error::Full`].
    pub async fn backup_to(&self, path: &Path) -> Result<(), Error> {
        let path = path.to_owned();
        self.read(move |reader| {
            let file = files::open_private(&path, "create")?;
            if file.metadata().map_err(files::failed("inspect", &path))?.len() > 0 {
                return Err(Error::Conflict {
                    what: path.display().to_string(),
                });
            }
            let mut copy = Connection::open(&path)?;
            Backup::new(reader.connection, &mut copy)?.run_to_completion(PAGES, Duration::ZERO, None)?;
            copy.close().map_err(|(_, error)| error)?;
            file.sync_all().map_err(files::failed("sync", &path))?;
            match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => files::sync_directory(parent),
                _ => files::sync_directory(Path::new(".")),
            }
        })
        .await
    }

    /// Reads the whole database and says whether it is sound: pages, indices, references, and that the triggers which keep
    /// history are there. Takes time in proportion to its size.
    ///
    /// # Errors
    /// [`Error::Damaged`] with what was found.
    pub async fn check(&self) -> Result<(), Error> {
        let path = self.path().to_owned();
        self.read(move |reader| {
            let found = inspect(reader.connection).map_err(|error| explain(error, &path))?;
            if found == "ok" {
                Ok(())
            } else {
                Err(Error::Damaged { path, detail: found })
            }
        })
        .await
    }
}

fn inspect(connection: &Connection) -> Result<String, Error> {
    let pages: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if pages != "ok" {
        return Ok(pages);
    }
    let strays: u32 = connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
        row.get(0)
    })?;
    if strays > 0 {
        return Ok(format!("{strays} rows refer to rows that are gone"));
    }
    Ok(schema::strangers(connection)?.unwrap_or(pages))
}
