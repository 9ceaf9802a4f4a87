//! A copy of the whole store in one file, and what it becomes again.
//!
//! The file is an age file (<https://c2sp.org/age>) for the recovery recipients, so that the `age` tool and an SQLite shell are enough in the
//! worst case. One more stanza holds the key slots, and the file's key under a key of the vault's: whoever opens a slot opens the backup,
//! too. Its payload is a line that names format and contents, a line of JSON, and the database as SQLite copied it while the host ran.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_failpoint::{Point, reach};
use keywheel_model::{SecretBytes, Timestamp};
use keywheel_store::{KeySlot, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Embedded, Unlock, blocking};
use crate::Error;
use crate::age::Recipient;
use crate::age::stream::{FileKey, Opener, Sealer, Stanza};
use crate::keys::derive;
use crate::seal::{Place, open_blob, seal_blob};
use crate::slots::{self, Key, Way};

const FORMAT: u32 = 1;
const TITLE: &str = "keywheel backup ";
/// The kind of the stanza with the key slots.
const SLOTS: &str = "keywheel-slots";
const PURPOSE: &str = "keywheel backup";
/// What is copied at once.
const PIECE: usize = 64 * 1024;
/// The longest line before the database.
const LINE_MAX: u64 = 4096;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contents {
    /// The store's id.
    pub store: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// The database's length in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What is in it.
    pub contents: Contents,
    /// The SHA-256 of the file itself, in hexadecimal digits.
    pub digest: String,
}

/// The body of the stanza with the slots.
#[derive(Serialize, Deserialize)]
struct SlotsBody {
    store: String,
    slots: Vec<SlotBody>,
    /// The file's key, under a key of the vault's.
    key: String,
}

#[derive(Serialize, Deserialize)]
struct SlotBody {
    id: String,
    kind: String,
    header: String,
    wrapped: String,
}

impl Embedded {
    /// Writes a backup into a new file (0600), while the host goes on. It is there as a whole, or not at all.
    ///
    /// # Errors
    /// [`Error::Sealed`]; [`Error::BackupFile`], also when the file is there; the store.
    pub async fn backup(&self, to: &Path) -> Result<Written, Error> {
        let store = &self.inner.store;
        let root = self.keyring()?.root().duplicate();
        if to.symlink_metadata().is_ok() {
            return Err(failed("overwrite", to)(io::ErrorKind::AlreadyExists.into()));
        }
        let folder = folder_of(to);
        if !folder.is_dir() {
            let what = format!("there is no folder \"{}\"", folder.display());
            return Err(failed("write", to)(io::Error::new(io::ErrorKind::NotFound, what)));
        }
        // Beside the database it is as private as the database.
        let copy = store.path().with_extension("backup");
        gone(&copy)?;
        store.backup_to(&copy).await?;
        let slots = store.read(|reader| Ok::<_, Error>(reader.key_slots()?)).await?;
        let (id, taken, to) = (store.id().to_owned(), store.clock().now(), to.to_owned());
        blocking(move || {
            let written =
                describe(&copy, id, taken).and_then(|contents| pack(&copy, &to, contents, &slots, &root));
            let cleared = gone(&copy);
            written.and_then(|written| cleared.map(|()| written))
        })
        .await
    }

    /// The database of a backup, into a new file (0600) of a folder that is there; and the vault in it, opened with the same key. It is a copy
    /// of an earlier time: whoever goes on with it raises the restore epoch.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when the key opens neither; [`Error::BackupDamaged`], [`Error::BackupFormat`], [`Error::BackupFile`].
    pub async fn unpack(
        from: &Path,
        unlock: Unlock,
        database: &Path,
    ) -> Result<(Contents, BackupKey), Error> {
        let (from, database) = (from.to_owned(), database.to_owned());
        let key = key_of(unlock)?;
        blocking(move || {
            let contents = unpack(&from, &key, &database)?;
            Ok((contents, BackupKey(key)))
        })
        .await
    }

    /// Opens the vault of a store that was unpacked.
    ///
    /// # Errors
    /// [`Error::NotInitialised`], [`Error::Damaged`].
    pub async fn open_unpacked(store: Store, key: BackupKey) -> Result<Self, Error> {
        let vault = Self::open(store, None).await?;
        vault.unseal_with(key.0).await?;
        Ok(vault)
    }
}

/// The key that opened a backup.
pub struct BackupKey(Key);

pub(super) fn key_of(unlock: Unlock) -> Result<Key, Error> {
    Ok(match unlock {
        Unlock::KeyFile(path) => {
            Key::File(crate::key_file::read(&path)?.ok_or_else(|| Error::KeyFileAccess {
                what: "find",
                path,
                source: io::ErrorKind::NotFound.into(),
            })?)
        }
        Unlock::Passphrase(passphrase) => Key::Passphrase(passphrase),
        Unlock::Recovery(text) => Key::Recovery(crate::age::Identity::parse(&text)?),
    })
}

fn describe(copy: &Path, store: String, taken: Timestamp) -> Result<Contents, Error> {
    let mut file = File::open(copy).map_err(failed("read", copy))?;
    let mut hashing = Hashing {
        to: io::sink(),
        digest: Sha256::new(),
    };
    let bytes = pump(&mut file, &mut hashing).map_err(failed("read", copy))?;
    Ok(Contents {
        store,
        taken,
        bytes,
        sha256: hex(&hashing.digest.finalize()),
    })
}

fn pack(
    copy: &Path,
    to: &Path,
    contents: Contents,
    slots: &[KeySlot],
    root: &SecretBytes,
) -> Result<Written, Error> {
    let part = beside(to);
    let digest = write_part(copy, &part, &contents, slots, root).and_then(|digest| {
        reach(Point::BackupBefore);
        fs::rename(&part, to).map_err(failed("write", to))?;
        sync_folder(to)?;
        reach(Point::BackupAfter);
        Ok(digest)
    });
    match digest {
        Ok(digest) => Ok(Written { contents, digest }),
        Err(error) => {
            // What is told is the first error; what stays is named as a part.
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

fn write_part(
    copy: &Path,
    part: &Path,
    contents: &Contents,
    slots: &[KeySlot],
    root: &SecretBytes,
) -> Result<String, Error> {
    let failed = |error| failed("write", part)(error);
    gone(part)?;
    let file = private_file(part)?;
    let hashing = Hashing {
        to: BufWriter::new(file),
        digest: Sha256::new(),
    };
    let recipients = recipients(slots)?;
    let more = |key: &FileKey| Ok(vec![slots_stanza(&contents.store, slots, root, key)?]);
    let mut sealer = Sealer::begin(hashing, &recipients, more)?.map_err(failed)?;
    let json = serde_json::to_string(contents).map_err(|_| Error::Crypto {
        what: "writing a backup's contents",
    })?;
    let mut database = File::open(copy).map_err(failed)?;
    let copied = writeln!(sealer, "{TITLE}{FORMAT}\n{json}").and_then(|()| pump(&mut database, &mut sealer));
    if copied.map_err(failed)? != contents.bytes {
        return Err(failed(io::Error::other(
            "the copy of the database changed on the way",
        )));
    }
    let hashing = sealer.finish().map_err(failed)?;
    let file = hashing
        .to
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(hex(&hashing.digest.finalize()))
}

fn recipients(slots: &[KeySlot]) -> Result<Vec<Recipient>, Error> {
    let mut found = Vec::new();
    for slot in slots {
        if let Way::Recovery { recipient } = slots::read_header(slot)? {
            let damaged = || Error::Damaged {
                record: format!("key slot {}", slot.id),
                detail: "its recipient is unreadable",
            };
            found.push(Recipient::parse(&recipient).ok_or_else(damaged)?);
        }
    }
    Ok(found)
}

fn place(store: &str) -> Place<'_> {
    Place {
        store,
        path: "backup",
        version: "",
    }
}

fn backup_key(root: &SecretBytes, store: &str) -> Result<SecretBytes, Error> {
    derive(root, store, &["keywheel sub-key 1", "backup"])
}

fn slots_stanza(store: &str, slots: &[KeySlot], root: &SecretBytes, key: &FileKey) -> Result<Stanza, Error> {
    let wrapped = seal_blob(&backup_key(root, store)?, PURPOSE, 0, place(store), &**key)?;
    let body = SlotsBody {
        store: store.to_owned(),
        slots: slots
            .iter()
            .map(|slot| SlotBody {
                id: slot.id.clone(),
                kind: slot.kind.clone(),
                header: slot.header.clone(),
                wrapped: STANDARD.encode(&slot.wrapped),
            })
            .collect(),
        key: STANDARD.encode(wrapped),
    };
    let body = serde_json::to_vec(&body).map_err(|_| Error::Crypto {
        what: "writing a backup's slots",
    })?;
    Ok(Stanza {
        words: vec![SLOTS.to_owned()],
        body,
    })
}

/// The file's key, by the identity or by a slot.
fn file_key(stanzas: &[Stanza], key: &Key) -> Result<FileKey, Error> {
    if let Key::Recovery(identity) = key {
        let found = stanzas.iter().find_map(|stanza| stanza.open(identity));
        return found.ok_or(Error::WrongKey {
            what: "the recovery identity",
        });
    }
    let damaged = || Error::BackupDamaged {
        what: "its key slots cannot be read",
    };
    let stanza = stanzas.iter().find(|stanza| stanza.words == [SLOTS]);
    let body: SlotsBody = serde_json::from_slice(&stanza.ok_or_else(damaged)?.body).map_err(|_| damaged())?;
    let slot = |slot: SlotBody| {
        Some(KeySlot {
            id: slot.id,
            kind: slot.kind,
            header: slot.header,
            wrapped: STANDARD.decode(slot.wrapped).ok()?,
            created: Timestamp::default(),
        })
    };
    let rows: Option<Vec<KeySlot>> = body.slots.into_iter().map(slot).collect();
    let root = slots::open_any(&body.store, &rows.ok_or_else(damaged)?, key)?;
    let wrapped = STANDARD.decode(body.key).map_err(|_| damaged())?;
    let opened = open_blob(
        &backup_key(&root, &body.store)?,
        PURPOSE,
        place(&body.store),
        &wrapped,
    );
    let mut file_key = FileKey::default();
    match opened {
        Ok(opened) if opened.expose().len() == file_key.len() => file_key.copy_from_slice(opened.expose()),
        _ => return Err(damaged()),
    }
    Ok(file_key)
}

fn unpack(from: &Path, key: &Key, database: &Path) -> Result<Contents, Error> {
    let file = File::open(from).map_err(failed("read", from))?;
    if file.metadata().map_err(failed("read", from))?.is_dir() {
        return Err(failed("read", from)(io::ErrorKind::IsADirectory.into()));
    }
    let opener = Opener::begin(BufReader::new(file), |stanzas| file_key(stanzas, key))?;
    let mut payload = BufReader::with_capacity(PIECE, opener);
    let failed_to_read = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => Error::BackupDamaged {
            what: "a part of it was altered, or its end is missing",
        },
        _ => failed("read", from)(error),
    };
    let format = line(&mut payload).map_err(failed_to_read)?;
    let format = format.strip_prefix(TITLE).and_then(|format| format.parse().ok());
    match format {
        Some(FORMAT) => {}
        Some(format) => return Err(Error::BackupFormat { format }),
        None => {
            return Err(Error::BackupDamaged {
                what: "it is an age file of another kind",
            });
        }
    }
    let contents = serde_json::from_str(&line(&mut payload).map_err(failed_to_read)?);
    let contents: Contents = contents.map_err(|_| Error::BackupDamaged {
        what: "its contents are not described",
    })?;
    let mut hashing = Hashing {
        to: private_file(database)?,
        digest: Sha256::new(),
    };
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        let read = payload.read(&mut buffer).map_err(failed_to_read)?;
        if read == 0 {
            break;
        }
        bytes += u64::try_from(read).unwrap_or(u64::MAX);
        hashing
            .write_all(&buffer[..read])
            .map_err(failed("write", database))?;
    }
    hashing.to.sync_all().map_err(failed("write", database))?;
    if bytes != contents.bytes || hex(&hashing.digest.finalize()) != contents.sha256 {
        return Err(Error::BackupDamaged {
            what: "its database is not the one that it describes",
        });
    }
    sync_folder(database)?;
    Ok(contents)
}

fn line(from: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE_MAX).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// Writes through, and hashes what was written.
struct Hashing<W> {
    to: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Copies piece by piece; how many bytes.
fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    io::copy(&mut BufReader::with_capacity(PIECE, from), to)
}

fn private_file(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("write", path))
}

/// Where a file is made before it gets its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn gone(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn sync_folder(of: &Path) -> Result<(), Error> {
    File::open(folder_of(of))
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", of))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::BackupFile { what, path, source }
}
