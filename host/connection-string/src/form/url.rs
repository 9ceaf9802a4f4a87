//! URLs (RFC 3986): what is in the authority, the path and the query.

use std::ops::Range;

use zeroize::Zeroizing;

use super::Quoting;
use crate::Pair;

/// Reads a URL that begins at a byte of the text. The error is where it is none.
pub(super) fn read(text: &str, from: usize, query: Quoting) -> Result<Vec<Pair>, usize> {
    let scheme = text[from..].find("://").ok_or(from)?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:".contains(&byte);
    if scheme == 0 || !text[from..from + scheme].bytes().all(is_scheme) {
        return Err(from);
    }
    let begin = from + scheme + 3;
    let end_of = |from: usize, stops: &[char]| text[from..].find(stops).map_or(text.len(), |at| from + at);
    let authority = begin..end_of(begin, &['/', '?', '#']);
    let mut pairs = Vec::new();
    of_authority(text, authority.clone(), &mut pairs);
    let path = end_of(authority.end, &['?', '#']);
    if path > authority.end + 1 {
        pairs.push(pair("database", authority.end + 1..path, Quoting::Percent));
    }
    if text[path..].starts_with('?') {
        let end = end_of(path, &['#']);
        of_query(text, path + 1..end, query, &mut pairs)?;
    }
    let is_written = |pair: &&Pair| pair.quoting.read(&text[pair.value.clone()]).is_some();
    match pairs.iter().find(|pair| !is_written(pair)) {
        Some(pair) => Err(pair.value.start),
        None => Ok(pairs),
    }
}

fn pair(key: &str, value: Range<usize>, quoting: Quoting) -> Pair {
    Pair {
        key: key.to_owned(),
        value,
        quoting,
    }
}

/// `user:password@host:port`. The last `@` ends the user: some clients take others for a part of the password.
fn of_authority(text: &str, all: Range<usize>, pairs: &mut Vec<Pair>) {
    let mut server = all.clone();
    if let Some(at) = text[all.clone()].rfind('@') {
        let end = all.start + at;
        server.start = end + 1;
        let colon = text[all.start..end].find(':').map(|colon| all.start + colon);
        pairs.push(pair("user", all.start..colon.unwrap_or(end), Quoting::Percent));
        if let Some(colon) = colon {
            pairs.push(pair("password", colon + 1..end, Quoting::Percent));
        }
    }
    // Of several servers none is the host.
    if server.is_empty() || text[server.clone()].contains(',') {
        return;
    }
    let after_brackets = text[server.clone()].find(']').map_or(0, |at| at + 1);
    let colon = text[server.clone()][after_brackets..]
        .rfind(':')
        .map(|colon| server.start + after_brackets + colon);
    pairs.push(pair(
        "host",
        server.start..colon.unwrap_or(server.end),
        Quoting::Percent,
    ));
    if let Some(colon) = colon {
        pairs.push(pair("port", colon + 1..server.end, Quoting::Plain));
    }
}

/// `key=value` with `&` between them.
pub(super) fn of_query(
    text: &str,
    all: Range<usize>,
    quoting: Quoting,
    pairs: &mut Vec<Pair>,
) -> Result<(), usize> {
    let mut from = all.start;
    while from < all.end {
        let end = text[from..all.end].find('&').map_or(all.end, |at| from + at);
        if let Some(equals) = text[from..end].find('=') {
            let key = quoting.read(&text[from..from + equals]).ok_or(from)?;
            pairs.push(pair(&key, from + equals + 1..end, quoting));
        }
        from = end + 1;
    }
    Ok(())
}

/// None: a `%` without two digits, or no UTF-8.
pub(super) fn decoded(raw: &str, plus_is_space: bool) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(raw.len()));
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| {
                    char::from(byte)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}
