//! When what is in use stops to be valid. It stands in clear beside the values, so that a host whose vault is sealed can tell it, too.

use std::str::FromStr as _;

use keywheel_model::{SecretName, Timestamp};
use rusqlite::Row;

use crate::transaction::parsed;
use crate::{Error, Reader};

/// A version in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The secret that it is current of.
    pub secret: SecretName,
    /// Since when there is this version.
    pub created: Timestamp,
    /// When it stops to be valid, where that is known.
    pub expires: Option<Timestamp>,
}

fn in_use(row: &Row<'_>) -> rusqlite::Result<InUse> {
    let expires: Option<u64> = row.get(2)?;
    Ok(InUse {
        secret: parsed(row, 0, SecretName::from_str)?,
        created: Timestamp::from_unix_ms(row.get(1)?),
        expires: expires.map(Timestamp::from_unix_ms),
    })
}

impl Reader<'_> {
    /// Those that stop to be valid before this, the first of them first; no more than `most`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn expiring(&self, before: Timestamp, most: u32) -> Result<Vec<InUse>, Error> {
        let mut statement = self.connection.prepare_cached(
            "SELECT secret, created, json_extract(meta, '$.expires') AS expires FROM version \
             WHERE stage = 'current' AND json_extract(meta, '$.expires') IS NOT NULL \
             AND json_extract(meta, '$.expires') < ?1 ORDER BY 3 LIMIT ?2",
        )?;
        let found = statement.query_map((before.as_unix_ms(), most), in_use)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Those of which nobody knows when they stop to be valid, by the names of their secrets.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn without_expiry(&self) -> Result<Vec<InUse>, Error> {
        let mut statement = self.connection.prepare_cached(
            "SELECT secret, created, NULL FROM version \
             WHERE stage = 'current' AND json_extract(meta, '$.expires') IS NULL ORDER BY secret",
        )?;
        let found = statement.query_map([], in_use)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
