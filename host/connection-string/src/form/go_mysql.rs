//! `user:password@protocol(address)/database?key=value`: go-sql-driver/mysql ("DSN (Data Source Name)"). User name and password stand as they are.

use std::ops::Range;

use super::{Quoting, url};
use crate::Pair;

/// Reads a text that names protocol and address; those that leave them out look like other things. The error is where it is none.
pub(super) fn read(text: &str) -> Result<Vec<Pair>, usize> {
    // The last of each: a password may have them, too.
    let slash = text.rfind('/').ok_or(text.len())?;
    let at = text[..slash].rfind('@').ok_or(0_usize)?;
    let address = address(text, at + 1..slash).ok_or(at + 1)?;
    let pair = |key: &str, value: Range<usize>, quoting| Pair {
        key: key.to_owned(),
        value,
        quoting,
    };
    let colon = text[..at].find(':');
    let mut pairs = vec![pair("user", 0..colon.unwrap_or(at), Quoting::Plain)];
    pairs.extend(colon.map(|colon| pair("password", colon + 1..at, Quoting::Plain)));
    let port = text[address.clone()]
        .rfind(':')
        .map(|colon| address.start + colon);
    pairs.push(pair(
        "host",
        address.start..port.unwrap_or(address.end),
        Quoting::Plain,
    ));
    pairs.extend(port.map(|colon| pair("port", colon + 1..address.end, Quoting::Plain)));
    let query = text[slash..].find('?').map_or(text.len(), |query| slash + query);
    if query > slash + 1 {
        pairs.push(pair("database", slash + 1..query, Quoting::Percent));
    }
    if query < text.len() {
        url::of_query(text, query + 1..text.len(), Quoting::Query, &mut pairs)?;
    }
    let is_written = |pair: &&Pair| pair.quoting.read(&text[pair.value.clone()]).is_some();
    match pairs.iter().find(|pair| !is_written(pair)) {
        Some(pair) => Err(pair.value.start),
        None => Ok(pairs),
    }
}

/// Where the address stands in `protocol(address)`.
fn address(text: &str, all: Range<usize>) -> Option<Range<usize>> {
    let (protocol, _) = text[all.clone()].split_once('(')?;
    let is_word = !protocol.is_empty() && protocol.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_word && text[all.clone()].ends_with(')')).then(|| all.start + protocol.len() + 1..all.end - 1)
}
