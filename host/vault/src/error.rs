use std::io::{self, ErrorKind};
use std::path::PathBuf;

use keywheel_model::{SecretName, Stage, VersionId};

/// Why the vault could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The vault is sealed: nothing can be said of any secret.
    #[error("the vault is sealed")]
    Sealed,
    /// The vault cannot be reached: nothing can be said of any secret.
    #[error("the vault cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store has no vault yet.
    #[error("there is no vault yet")]
    NotInitialised,
    /// There is one already.
    #[error("there is a vault already")]
    Initialised,
    /// The key, passphrase or identity is sound but opens no slot.
    #[error("{what} does not open this vault")]
    WrongKey {
        /// Which kind of key.
        what: &'static str,
    },
    /// A record does not decrypt although the key is right, or cannot be read at all.
    #[error("{record} is damaged: {detail}")]
    Damaged {
        /// Which record.
        record: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A record of a format or suite that this build does not know.
    #[error("{record} has format {format}, suite {suite}: newer than this keywheel")]
    NewerFormat {
        /// Which record.
        record: String,
        /// The format byte.
        format: u8,
        /// The suite byte.
        suite: u8,
    },
    /// The key file is not as it must be.
    #[error("key file {} cannot be used: {what}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The key file cannot be read or written.
    #[error("cannot {what} key file {}", path.display())]
    KeyFileAccess {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key given by a person is not of the right form.
    #[error("not {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
    /// No such version.
    #[error("{name} has no version {version}")]
    NoVersion {
        /// The secret.
        name: SecretName,
        /// The version.
        version: VersionId,
    },
    /// Another pending version, or this one with another value, stands there.
    #[error("{name} has a pending version {pending} already")]
    PendingExists {
        /// The secret.
        name: SecretName,
        /// The version that stands there.
        pending: VersionId,
    },
    /// The head is not what the caller believed.
    #[error("{name} has {} as current, not {}", version_or_none(found.as_ref()), version_or_none(expected.as_ref()))]
    HeadMoved {
        /// The secret.
        name: SecretName,
        /// What the caller believed.
        expected: Option<VersionId>,
        /// What is current.
        found: Option<VersionId>,
    },
    /// The version's stage excludes this.
    #[error("version {version} of {name} is {stage}: it cannot be {wanted}")]
    Stage {
        /// The secret.
        name: SecretName,
        /// The version.
        version: VersionId,
        /// Its stage.
        stage: Stage,
        /// What was wanted: `promoted`, `revoked`.
        wanted: &'static str,
    },
    /// The pending version was written by another run.
    #[error("version {version} of {name} belongs to another run")]
    OtherRun {
        /// The secret.
        name: SecretName,
        /// The version.
        version: VersionId,
    },
    /// Without this slot nothing would open the vault any more.
    #[error("slot {slot} is the last one that opens the vault")]
    LastSlot {
        /// Its name.
        slot: String,
    },
    /// The new root cannot be given to a slot whose key is not at hand.
    #[error("the key of slot {slot} is needed to give it the new root")]
    SlotKeyMissing {
        /// Its name.
        slot: String,
    },
    /// There is no such slot.
    #[error("there is no slot {slot}")]
    NoSlot {
        /// Its name.
        slot: String,
    },
    /// A value over the back end's limit.
    #[error("a value may have at most {limit} bytes")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// The key derivation or the random source failed.
    #[error("{what} failed")]
    Crypto {
        /// What.
        what: &'static str,
    },
    /// The file of a backup cannot be read or written.
    #[error("cannot {what} \"{}\"", path.display())]
    BackupFile {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no whole backup.
    #[error("the backup cannot be used: {what}")]
    BackupDamaged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A backup of a newer keywheel.
    #[error("the backup has format {format}: newer than this keywheel")]
    BackupFormat {
        /// Its format.
        format: u32,
    },
    /// The store refused; nothing of the change was kept, unless it says otherwise.
    #[error("the store refused")]
    Store(#[from] keywheel_store::Error),
}

fn version_or_none(version: Option<&VersionId>) -> &str {
    version.map_or("nothing", VersionId::as_str)
}

impl Error {
    /// Stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Sealed => "vault.sealed",
            Self::Unreachable(_) => "vault.unreachable",
            Self::NotInitialised => "vault.not-initialised",
            Self::Initialised => "vault.initialised",
            Self::WrongKey { .. } => "vault.wrong-key",
            Self::Damaged { .. } => "vault.damaged",
            Self::NewerFormat { .. } => "vault.newer-format",
            Self::KeyFile { .. } => "vault.key-file",
            Self::KeyFileAccess { .. } => "vault.key-file-access",
            Self::Malformed { .. } => "vault.malformed",
            Self::NoVersion { .. } => "vault.no-version",
            Self::PendingExists { .. } => "vault.pending-exists",
            Self::HeadMoved { .. } => "vault.head-moved",
            Self::Stage { .. } => "vault.stage",
            Self::OtherRun { .. } => "vault.other-run",
            Self::LastSlot { .. } => "vault.last-slot",
            Self::SlotKeyMissing { .. } => "vault.slot-key-missing",
            Self::NoSlot { .. } => "vault.no-slot",
            Self::TooLarge { .. } => "vault.too-large",
            Self::Crypto { .. } => "vault.crypto",
            Self::BackupFile { source, .. } => match source.kind() {
                ErrorKind::AlreadyExists => "vault.backup-exists",
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                    "vault.backup-missing"
                }
                _ => "vault.backup-file",
            },
            Self::BackupDamaged { .. } => "vault.backup-damaged",
            Self::BackupFormat { .. } => "vault.backup-format",
            Self::Store(error) => error.code(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Sealed => {
                "run the command on a terminal: it asks for the passphrase, or the recovery identity"
                    .to_owned()
            }
            Self::NotInitialised => "`keywheel init`".to_owned(),
            Self::WrongKey { .. } => {
                "use the key that was made with this state directory, or its recovery identity".to_owned()
            }
            Self::Malformed { .. } => "give the whole line that `keywheel init` printed".to_owned(),
            Self::Damaged { .. } => "keep the file, and restore the newest backup".to_owned(),
            Self::BackupFile { what, source, .. } => backup_file_hint(what, source.kind()).to_owned(),
            Self::BackupDamaged { .. } => {
                "nothing was restored: use another copy of it, or an older backup".to_owned()
            }
            Self::NewerFormat { .. } | Self::BackupFormat { .. } => "use the newer keywheel".to_owned(),
            Self::KeyFile { path, .. } => {
                format!(
                    "it must be a plain file of the host's user: `chmod 0400 {}`",
                    path.display()
                )
            }
            Self::PendingExists { .. } => "finish or roll back the run that wrote it".to_owned(),
            Self::HeadMoved { .. } => "somebody else wrote this secret: look at its history".to_owned(),
            Self::SlotKeyMissing { slot } => {
                format!(
                    "nothing was changed; `--key-file FILE` or `--passphrase @FILE` gives it, `--drop {slot}` drops the slot"
                )
            }
            Self::NoSlot { .. } => "`keywheel vault slot list` lists them".to_owned(),
            Self::LastSlot { .. } => "add another first: `keywheel vault slot add`".to_owned(),
            Self::Store(error) => return error.hint(),
            _ => return None,
        })
    }
}

fn backup_file_hint(what: &str, kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AlreadyExists => "nothing was written: name a file that is not there yet",
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory if what == "read" => {
            "nothing was touched: name a file that `keywheel vault backup` wrote"
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            "nothing was written: make that folder, or name a file in one that is there"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if what == "read" => {
            "nothing was touched: the file must be readable for the user who runs this"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the folder it is in must be writable for the user who runs this"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => "free some space",
        _ => "look at the path, its owner and its mode",
    }
}
