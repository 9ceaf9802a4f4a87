use std::fmt;

use keywheel_model::SecretBytes;

use crate::chain::{hash_of, seal_holds};
use crate::{Checkpoint, Hash, PublicKey, Row, cut, genesis};

/// What is wrong with the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A row is missing before this one, or the order was changed.
    Missing,
    /// The row's text does not give its hash.
    Edited,
    /// A field of the row is none that the host writes.
    Unreadable,
    /// The row does not follow from the row before it.
    Unlinked,
    /// The row's seal was not made with the audit key.
    Forged,
    /// The row has no seal: whoever wrote it did not have the audit key.
    Unsealed,
    /// The row was there when the checkpoint was taken and is there no more.
    Truncated,
    /// Another row stood here when the checkpoint was taken: the chain was recomputed, from a row after `after` on.
    Rewritten {
        /// The last row that stands as an earlier checkpoint saw it; 0 where there is none.
        after: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a row is missing or out of order here",
            Self::Edited => "the row was edited",
            Self::Unreadable => "the row was edited: it holds what the host never writes",
            Self::Unlinked => "the row does not follow the one before it",
            Self::Forged => "the row's seal is not ours",
            Self::Unsealed => "the row has no seal, and this host writes none without",
            Self::Truncated => "the trail ends before a checkpoint",
            Self::Rewritten { after } => {
                return write!(
                    f,
                    "the trail differs from a checkpoint: the rows from {} up to this one are not those of then",
                    after + 1
                );
            }
        })
    }
}

/// Why the trail cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first row that is wrong.
    #[error("audit trail broken at seq {seq}: {fault}")]
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
    /// The text is no checkpoint.
    #[error("it is no checkpoint: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The checkpoint's signature was not made with the key that it names: it was altered.
    #[error("the checkpoint's signature does not fit its text")]
    Signature,
    /// The checkpoint was signed with another key.
    #[error("the checkpoint is signed by {found}, not by {expected}")]
    OtherKey {
        /// The key that is trusted.
        expected: PublicKey,
        /// The key that signed.
        found: PublicKey,
    },
    /// The checkpoint has no signature, and one is asked for.
    #[error("the checkpoint has no signature")]
    Unsigned,
    /// What the checkpoint saw was cut off since.
    #[error(
        "the checkpoint is of row {seq}, and the trail was cut after row {through}: nothing is left to compare it with"
    )]
    Cut {
        /// The row of the checkpoint.
        seq: u64,
        /// The last one that was cut.
        through: u64,
    },
    /// The signing key is of another kind or length.
    #[error("the signing key cannot be used")]
    Key,
}

impl Error {
    /// Stable code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "audit.broken",
            Self::OtherStore { .. } => "audit.other-store",
            Self::Malformed { .. } => "audit.checkpoint",
            Self::Signature => "audit.signature",
            Self::OtherKey { .. } => "audit.other-key",
            Self::Unsigned => "audit.unsigned",
            Self::Cut { .. } => "audit.cut-off",
            Self::Key => "audit.key-unusable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let way_out = match self {
            Self::Broken { .. } => {
                "keep the state directory as it is and compare it with a backup and its checkpoints"
            }
            Self::OtherStore { .. } => "use a checkpoint that was exported from this store",
            Self::Malformed { .. } => "`keywheel audit checkpoint --out FILE` writes one",
            Self::Signature => "it was altered on its way: take the copy that was shipped away first",
            Self::OtherKey { .. } => {
                "`--public-key` names the key that is trusted; `keywheel audit checkpoint --public-key` prints this host's"
            }
            Self::Unsigned => {
                "without `--public-key` a head of an older keywheel is taken as it is: only where nobody else could write it"
            }
            Self::Cut { .. } => {
                "take a newer checkpoint; `audit` in `[retention]` says how long rows are kept"
            }
            Self::Key => return None,
        };
        Some(way_out.to_owned())
    }
}

/// What a sound trail looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Number of rows.
    pub rows: u64,
    /// The last row that was cut off before them; 0 where none was.
    pub cut: u64,
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
    /// Keys of before: the last row that each has sealed.
    past: &'a [(u64, SecretBytes)],
    checkpoints: &'a [Checkpoint],
    /// The last row that a checkpoint has vouched for.
    vouched: u64,
    /// The row before the first that there is, and its hash, as the first one has it.
    before: (u64, Hash),
    /// The last row that was cut off, by what the rows say up to now.
    cut: u64,
    /// The last row.
    last: u64,
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
                    fault: Fault::Rewritten { after: 0 },
                });
            }
        }
        Ok(Self {
            store,
            key,
            past: &[],
            checkpoints,
            vouched: 0,
            before: (0, head),
            cut: 0,
            last: 0,
            report: Report {
                rows: 0,
                cut: 0,
                head,
                sealed_to: None,
            },
        })
    }

    /// The same where other keys have sealed the first rows: each with the last row that it has sealed, ascending.
    #[must_use]
    pub fn after(self, past: &'a [(u64, SecretBytes)]) -> Self {
        Self { past, ..self }
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
        if self.report.rows == 0 && row.seq > 1 {
            // Whether that may be is known at the end: a later row must say that it was cut off.
            self.begin_after(row)?;
        }
        let seq = self.last + 1;
        let broken = |fault| Err(Error::Broken { seq, fault });
        if (1..=self.before.0).contains(&row.seq) {
            // What would have been cut off stands here: it is in another place, and the first row is missing where it should be.
            return Err(Error::Broken {
                seq: 1,
                fault: Fault::Missing,
            });
        }
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
            let past = self.past.iter().find(|(last, _)| seq <= *last);
            let key = past.map_or(key, |(_, key)| key);
            match row.seal {
                None => return broken(Fault::Unsealed),
                Some(seal) if !seal_holds(row.hash, key, seal) => return broken(Fault::Forged),
                Some(_) => self.report.sealed_to = Some(seq),
            }
        }
        for checkpoint in self.checkpoints.iter().filter(|checkpoint| checkpoint.seq == seq) {
            if checkpoint.hash != row.hash {
                return broken(Fault::Rewritten { after: self.vouched });
            }
            self.vouched = seq;
        }
        if let Some((through, hash)) = cut::of(row) {
            let (before, prev) = self.before;
            if through == before && hash != prev {
                return broken(Fault::Unlinked);
            }
            self.cut = self.cut.max(through);
        }
        self.last = seq;
        self.report.rows += 1;
        self.report.head = row.hash;
        Ok(())
    }

    fn begin_after(&mut self, first: &Row) -> Result<(), Error> {
        let before = first.seq - 1;
        for checkpoint in self
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.seq == before)
        {
            if checkpoint.hash != first.prev {
                return Err(Error::Broken {
                    seq: before,
                    fault: Fault::Rewritten { after: 0 },
                });
            }
            self.vouched = before;
        }
        self.last = before;
        self.before = (before, first.prev);
        self.report.head = first.prev;
        self.report.cut = before;
        Ok(())
    }

    /// What to say of the next row, where it cannot even be read.
    pub fn unreadable(&self) -> Error {
        Error::Broken {
            seq: self.last + 1,
            fault: Fault::Unreadable,
        }
    }

    /// After the last row.
    ///
    /// # Errors
    /// [`Error::Broken`] with [`Fault::Truncated`] where a checkpoint lies behind the end, with [`Fault::Missing`] where there is
    /// a key and no row (the making of the key is the first one), and where the first rows are gone and no row says that they were cut off;
    /// [`Error::Cut`] for a checkpoint from before the cut.
    pub fn finish(self) -> Result<Report, Error> {
        if self.key.is_some() && self.report.rows == 0 {
            return Err(Error::Broken {
                seq: 1,
                fault: Fault::Missing,
            });
        }
        let (before, _) = self.before;
        if before > self.cut {
            return Err(Error::Broken {
                seq: self.cut + 1,
                fault: Fault::Missing,
            });
        }
        if self
            .checkpoints
            .iter()
            .any(|checkpoint| checkpoint.seq > self.last)
        {
            return Err(Error::Broken {
                seq: self.last + 1,
                fault: Fault::Truncated,
            });
        }
        let mut seen = self.checkpoints.iter().map(|checkpoint| checkpoint.seq);
        if let Some(seq) = seen.find(|seq| (1..before).contains(seq)) {
            return Err(Error::Cut { seq, through: before });
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
