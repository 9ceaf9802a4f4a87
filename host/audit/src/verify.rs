use keywheel_model::SecretBytes;

use crate::chain::{hash_of, seal_holds};
use crate::{Checkpoint, Hash, Row, genesis};

/// What is wrong with the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A row is missing before this one, or the order was changed.
    Missing,
    /// The row's text does not give its hash.
    Edited,
    /// The row does not follow from the row before it.
    Unlinked,
    /// The row's seal was not made with the audit key.
    Forged,
    /// The row has no seal: whoever wrote it did not have the audit key.
    Unsealed,
    /// The row was there when the checkpoint was taken and is there no more.
    Truncated,
    /// Another row stood here when the checkpoint was taken: the chain was recomputed.
    Rewritten,
}

impl Fault {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "a row is missing or out of order here",
            Self::Edited => "the row was edited",
            Self::Unlinked => "the row does not follow the one before it",
            Self::Forged => "the row's seal is not ours",
            Self::Unsealed => "the row has no seal, and this host writes none without",
            Self::Truncated => "the trail ends before a checkpoint",
            Self::Rewritten => "the trail differs from a checkpoint",
        }
    }
}

/// Why the trail cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first row that is wrong.
    #[error("audit trail broken at seq {seq}: {}", fault.words())]
    Broken {
        /// Its number; the first missing one where rows are gone.
        seq: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The checkpoint belongs to another store.
    #[error("the checkpoint is of store {found}, the trail of store {expected}")]
    OtherStore {
        /// The store whose trail was read.
        expected: String,
        /// The store that the checkpoint names.
        found: String,
    },
}

impl Error {
    /// Stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "audit.broken",
            Self::OtherStore { .. } => "audit.other-store",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Broken { .. } => {
                "keep the state directory as it is and compare with a backup made before this row".to_owned()
            }
            Self::OtherStore { .. } => "use a checkpoint that was exported from this store".to_owned(),
        })
    }
}

/// What a sound trail looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Number of rows.
    pub rows: u64,
    /// Hash of the last one; the genesis hash if there is none.
    pub head: Hash,
    /// Last row with a seal that was checked. With a key that is the last row; without one no seal was checked, and anybody
    /// who owns the file could have written the rows.
    pub sealed_to: Option<u64>,
}

/// Checks rows as they stream by, in the order of their numbers.
pub struct Verifier<'a> {
    store: &'a str,
    key: Option<&'a SecretBytes>,
    checkpoints: &'a [Checkpoint],
    report: Report,
}

impl<'a> Verifier<'a> {
    /// Begins before the first row. With `key` every row must have its seal: the host writes to the trail only while it has the
    /// key. Without it seals are not checked.
    ///
    /// # Errors
    /// [`Error::OtherStore`], and a checkpoint of no rows whose hash is not the genesis.
    pub fn new(
        store: &'a str,
        key: Option<&'a SecretBytes>,
        checkpoints: &'a [Checkpoint],
    ) -> Result<Self, Error> {
        let head = genesis(store);
        for checkpoint in checkpoints {
            if checkpoint.store != store {
                let found = checkpoint.store.clone();
                return Err(Error::OtherStore {
                    expected: store.to_owned(),
                    found,
                });
            }
            if checkpoint.seq == 0 && checkpoint.hash != head {
                return Err(Error::Broken {
                    seq: 0,
                    fault: Fault::Rewritten,
                });
            }
        }
        Ok(Self {
            store,
            key,
            checkpoints,
            report: Report {
                rows: 0,
                head,
                sealed_to: None,
            },
        })
    }

    /// The store whose trail this is.
    pub fn store(&self) -> &str {
        self.store
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// [`Error::Broken`] naming this row, or the first missing one.
    pub fn push(&mut self, row: &Row) -> Result<(), Error> {
        let seq = self.report.rows + 1;
        let broken = |fault| Err(Error::Broken { seq, fault });
        if row.seq != seq {
            return broken(Fault::Missing);
        }
        if hash_of(row) != row.hash {
            return broken(Fault::Edited);
        }
        if row.prev != self.report.head {
            return broken(Fault::Unlinked);
        }
        if let Some(key) = self.key {
            match row.seal {
                None => return broken(Fault::Unsealed),
                Some(seal) if !seal_holds(row.hash, key, seal) => return broken(Fault::Forged),
                Some(_) => self.report.sealed_to = Some(seq),
            }
        }
        if self
            .checkpoints
            .iter()
            .any(|checkpoint| checkpoint.seq == seq && checkpoint.hash != row.hash)
        {
            return broken(Fault::Rewritten);
        }
        self.report.rows = seq;
        self.report.head = row.hash;
        Ok(())
    }

    /// After the last row.
    ///
    /// # Errors
    /// [`Error::Broken`] with [`Fault::Truncated`] where a checkpoint lies behind the end, with [`Fault::Missing`] where there is
    /// a key and no row: the making of the key is the first one.
    pub fn finish(self) -> Result<Report, Error> {
        if self.key.is_some() && self.report.rows == 0 {
            return Err(Error::Broken {
                seq: 1,
                fault: Fault::Missing,
            });
        }
        if self
            .checkpoints
            .iter()
            .any(|checkpoint| checkpoint.seq > self.report.rows)
        {
            return Err(Error::Broken {
                seq: self.report.rows + 1,
                fault: Fault::Truncated,
            });
        }
        Ok(self.report)
    }
}

/// Checks a whole trail at once; see [`Verifier`].
///
/// # Errors
/// The first thing that is wrong.
pub fn verify<'r>(
    rows: impl IntoIterator<Item = &'r Row>,
    store: &str,
    key: Option<&SecretBytes>,
    checkpoints: &[Checkpoint],
) -> Result<Report, Error> {
    let mut verifier = Verifier::new(store, key, checkpoints)?;
    rows.into_iter().try_for_each(|row| verifier.push(row))?;
    verifier.finish()
}
