use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use keywheel_model::{Fence, RunId, Timestamp};
use rusqlite::ffi;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another host has the state directory open.
    #[error("state directory {} is in use{}", dir.display(), holder(*pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other host's process, if it left its number.
        pid: Option<u32>,
    },
    /// The directory or file may be read or written by others, or is not ours.
    #[error("{} is not private: {what}", path.display())]
    NotPrivate {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The directory lies on a file system whose locks and syncs cannot be trusted.
    #[error("{} lies on {kind}, which cannot hold the state safely", path.display())]
    FileSystem {
        /// The directory.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// There is no state there, and none was to be made.
    #[error("there is no state in \"{}\": {what}", dir.display())]
    NoState {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// Written by a newer keywheel.
    #[error("the state is of format {found}, this keywheel knows formats up to {known}")]
    NewerFormat {
        /// Format found.
        found: u32,
        /// Newest known.
        known: u32,
    },
    /// The file is an SQLite database of another program.
    #[error("{} is not a keywheel database", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database file is damaged.
    #[error("the database {} is damaged: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says, or which object is not the host's.
        detail: String,
    },
    /// A setting that durability depends on did not take.
    #[error("SQLite runs with {setting} = {found}, not {wanted}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// What was read back.
        found: String,
    },
    /// The disk is full; nothing of this write was kept.
    #[error("no space left for the state; nothing of this write was kept")]
    Full(#[source] Arc<rusqlite::Error>),
    /// The state may be read and not written.
    #[error("the state cannot be written")]
    ReadOnly(#[source] Arc<rusqlite::Error>),
    /// The group's commit failed; nothing of it was kept.
    #[error("the commit failed; nothing of it was kept")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// The writer gave no answer in time. Whether the write was kept is unknown: read it back.
    #[error("the store gave no answer within {waited_ms} ms; the write may have been kept")]
    Timeout {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The queue of writes stayed full; the write was not begun.
    #[error("the store is overloaded; the write was not begun")]
    Overloaded,
    /// The store was closed; the write was not begun.
    #[error("the store is closed")]
    Closed,
    /// A closure panicked; nothing of it was kept.
    #[error("a write was abandoned by a defect; nothing of it was kept")]
    Panicked,
    /// Somebody else changed the run's state first.
    #[error("run {run} is at state version {found}, not {expected}")]
    StateConflict {
        /// The run.
        run: RunId,
        /// The version that the caller had read.
        expected: u64,
        /// The version in the store.
        found: u64,
    },
    /// Another run holds the lease.
    #[error("{key} is held by run {by}")]
    LeaseHeld {
        /// What is leased, as text.
        key: String,
        /// Who has it.
        by: String,
    },
    /// The fence is not the live one: another holder took over, it was released, or its lease ran out.
    #[error("fence {} of run {run} is no longer live", fence.0)]
    Stale {
        /// The run.
        run: RunId,
        /// The fence it came with.
        fence: Fence,
    },
    /// The account's budget of probes is spent.
    #[error("no more probes of {account} before {free_at}")]
    BudgetSpent {
        /// The account.
        account: String,
        /// When the next one is allowed.
        free_at: Timestamp,
    },
    /// The thing exists already, with other content.
    #[error("{what} exists with other content")]
    Conflict {
        /// What.
        what: String,
    },
    /// No such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// What.
        what: String,
    },
    /// A bound was exceeded.
    #[error("{what} is over its limit of {limit}")]
    Limit {
        /// What.
        what: &'static str,
        /// The bound, in the unit that `what` names.
        limit: usize,
    },
    /// A stored value cannot be read as what it should be.
    #[error("{what} holds something unreadable")]
    Unreadable {
        /// Table and row.
        what: String,
    },
    /// A file could not be used.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The linked SQLite is older than the first safe one.
    #[error("the linked SQLite {found} is older than 3.51.3")]
    Library {
        /// Version number as SQLite gives it.
        found: i32,
    },
    /// SQLite refused.
    #[error("the database refused")]
    Sql(#[source] rusqlite::Error),
}

const FULL: &str = "free some space; `keywheel run resume` goes on where a run stands";
const OF_A_SERVICE: &str = ". Where it is a service's, start that: commands go through it; or go by its user: `runuser -u USER -- keywheel …`";
const READ_ONLY: &str = "the state folder (`state.dir`) must be mounted read-write, belong to the host's user and have mode 0700: `chmod u+rwx` it";

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl Error {
    /// Stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "store.in-use",
            Self::NotPrivate { .. } => "store.not-private",
            Self::FileSystem { .. } => "store.file-system",
            Self::NoState { .. } => "store.no-state",
            Self::NewerFormat { .. } => "store.newer-format",
            Self::NotOurs { .. } => "store.not-ours",
            Self::Damaged { .. } => "store.damaged",
            Self::Setting { .. } => "store.setting",
            Self::Full(_) => "store.full",
            Self::ReadOnly(_) => "store.read-only",
            Self::Commit(_) => "store.commit",
            Self::Timeout { .. } => "store.timeout",
            Self::Overloaded => "store.overloaded",
            Self::Closed => "store.closed",
            Self::Panicked => "store.panicked",
            Self::StateConflict { .. } => "store.state-conflict",
            Self::LeaseHeld { .. } => "store.lease-held",
            Self::Stale { .. } => "store.stale-fence",
            Self::BudgetSpent { .. } => "store.budget-spent",
            Self::Conflict { .. } => "store.conflict",
            Self::NotFound { .. } => "store.not-found",
            Self::Limit { .. } => "store.limit",
            Self::Unreadable { .. } => "store.unreadable",
            Self::File { source, .. } if is_read_only(source) => "store.read-only",
            Self::File { source, .. } if is_full(source) => "store.full",
            Self::File { .. } => "store.file",
            Self::Library { .. } => "store.sqlite-version",
            Self::Sql(_) => "store.sql",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { pid: Some(pid), .. } => {
                format!(
                    "wait until process {pid} has ended; is it the running host, it listens at another `socket` than the configuration says by now: name that in KEYWHEEL_SOCKET, or restart it. Else `kill -INT {pid}` lets its run stop where it can go on"
                )
            }
            Self::InUse { pid: None, .. } => {
                "wait until the other command has ended, or stop it with Ctrl-C: its run stops where it can go on"
                    .to_owned()
            }
            Self::NotPrivate { path, .. } => {
                format!(
                    "`chmod go-rwx {}`; it must belong to the user of the host{OF_A_SERVICE}",
                    path.display()
                )
            }
            Self::FileSystem { .. } => "put the state directory on a local disk".to_owned(),
            Self::NoState { .. } => {
                "is its volume mounted, and `state.dir` spelled right? `keywheel init FOLDER` makes a new host in a new folder, `keywheel vault restore BACKUP` one of a backup".to_owned()
            }
            Self::NewerFormat { .. } => {
                "use the newer keywheel; to go back to this one, `keywheel vault restore --force` the backup from before the upgrade".to_owned()
            }
            Self::NotOurs { .. } => "give another state directory".to_owned(),
            Self::Damaged { .. } => "keep the file, and restore the newest backup; where a table, trigger, view or index is named, somebody has changed the database: take that out in a copy, and hold `audit verify` against a checkpoint that was shipped away".to_owned(),
            Self::Full(_) => FULL.to_owned(),
            Self::ReadOnly(_) => format!("{READ_ONLY}{OF_A_SERVICE}"),
            Self::File { source, .. } if is_read_only(source) => format!("{READ_ONLY}{OF_A_SERVICE}"),
            Self::File { source, .. } if is_full(source) => FULL.to_owned(),
            Self::File { .. } => {
                "the state folder (`state.dir`) must be one of the host's user, with mode 0700, on a disk that takes writes"
                    .to_owned()
            }
            Self::Commit(_) => {
                "see that the disk takes writes (space, quota, limits on files); `keywheel run resume` goes on where a run stands".to_owned()
            }
            Self::LeaseHeld { .. } => {
                "`keywheel run list --open` names the run that is in the way"
                    .to_owned()
            }
            Self::Overloaded => "try again later, or lower the number of runs at once".to_owned(),
            _ => return None,
        })
    }

    /// Whether nothing of the write was kept, for certain.
    pub fn nothing_kept(&self) -> bool {
        !matches!(self, Self::Timeout { .. })
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match of_disk(&error) {
            Some(make) => make(Arc::new(error)),
            None => Self::Sql(error),
        }
    }
}

/// What SQLite's words mean where the disk does not take a write.
pub(crate) fn of_disk(error: &rusqlite::Error) -> Option<fn(Arc<rusqlite::Error>) -> Error> {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => return Some(Error::Full),
        Some(rusqlite::ErrorCode::ReadOnly) => return Some(Error::ReadOnly),
        _ => {}
    }
    Some(match error.sqlite_error()?.extended_code {
        // The index of the log is the first file that grows.
        ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP => Error::Full,
        // SQLite says "full" for `ENOSPC` alone: a limit on files or a quota looks like this, and so does a broken disk.
        ffi::SQLITE_IOERR_WRITE
        | ffi::SQLITE_IOERR_FSYNC
        | ffi::SQLITE_IOERR_DIR_FSYNC
        | ffi::SQLITE_IOERR_TRUNCATE => Error::Commit,
        _ => return None,
    })
}

/// A file of the state that cannot be written because the folder or its disk says so.
fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}
