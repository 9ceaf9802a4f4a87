//! The beginning of a trail may be cut off. The trail itself says so, in a row that is chained and sealed as every other, before the first row goes: whoever
//! takes rows away without such a row has no seal for it, and is found.

use serde_json::{Value, json};

use crate::{Entry, Hash, Row};

const ACTION: &str = "audit.cut";

/// The entry that says that the trail is cut after this row.
pub fn entry(through: u64, hash: Hash) -> Entry {
    Entry::of_host(ACTION, "audit", "ok").with(json!({ "through": through, "hash": hash.to_string() }))
}

/// After which row, of which hash, the trail is cut: what a row says of that.
pub(crate) fn of(row: &Row) -> Option<(u64, Hash)> {
    if row.action != ACTION {
        return None;
    }
    let details: Value = serde_json::from_str(&row.details).ok()?;
    let through = details["through"].as_u64().filter(|through| *through < row.seq)?;
    Some((through, details["hash"].as_str()?.parse().ok()?))
}
