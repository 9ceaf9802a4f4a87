//! `key=value;key=value`: ADO.NET (Microsoft's `DbConnectionStringBuilder`), ODBC (MS-ODBCSTR) and mssql-jdbc.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{JDBC, Quoting};
use crate::Pair;
use crate::quote::within;

/// What follows `jdbc:` in a URL of SQL Server.
pub(super) const SQL_SERVER: &str = "sqlserver://";

/// `jdbc:sqlserver://host\instance:port;key=value`.
pub(super) fn of_sql_server(text: &str) -> Result<Vec<Pair>, usize> {
    let begin = JDBC.len() + SQL_SERVER.len();
    if !text.starts_with(JDBC) || !text[JDBC.len()..].starts_with(SQL_SERVER) {
        return Err(0);
    }
    let end = text[begin..].find(';').map_or(text.len(), |at| begin + at);
    let mut pairs = read(text, (end + 1).min(text.len()), Quoting::Braces)?;
    if end > begin {
        let colon = text[begin..end].rfind(':').map(|colon| begin + colon);
        let plain = |key: &str, value: Range<usize>| Pair {
            key: key.to_owned(),
            value,
            quoting: Quoting::Plain,
        };
        pairs.push(plain("host", begin..colon.unwrap_or(end)));
        pairs.extend(colon.map(|colon| plain("port", colon + 1..end)));
    }
    Ok(pairs)
}

/// Reads from a byte of the text on. The error is where it goes wrong.
pub(super) fn read(text: &str, from: usize, quoting: Quoting) -> Result<Vec<Pair>, usize> {
    let mut pairs = Vec::new();
    let mut at = from;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches([' ', ';']).len();
        if at == text.len() {
            return Ok(pairs);
        }
        let equals = end_of_key(text, at, quoting).ok_or(at)?;
        let key = text[at..equals].trim();
        let is_of_key = |char: char| char.is_alphanumeric() || " _-.=".contains(char);
        if key.is_empty() || !key.chars().all(is_of_key) {
            return Err(at);
        }
        let value = value_at(text, equals + 1, quoting).ok_or(equals + 1)?;
        at = value.end + (text[value.end..].len() - text[value.end..].trim_start_matches(' ').len());
        if at < text.len() && !text[at..].starts_with(';') {
            return Err(at);
        }
        pairs.push(Pair {
            key: key.replace("==", "="),
            value,
            quoting,
        });
    }
}

/// Where the `=` is that ends a key. In ADO.NET two of them are one of the key.
fn end_of_key(text: &str, from: usize, quoting: Quoting) -> Option<usize> {
    let mut at = from;
    loop {
        at += text[at..].find('=')?;
        if quoting != Quoting::AdoNet || !text[at + 1..].starts_with('=') {
            return Some(at);
        }
        at += 2;
    }
}

/// Where a value is, with its quotes and without the spaces around it.
fn value_at(text: &str, from: usize, quoting: Quoting) -> Option<Range<usize>> {
    let begin = from + (text[from..].len() - text[from..].trim_start_matches(' ').len());
    let quote = text[begin..].chars().next().filter(|quote| match quoting {
        Quoting::AdoNet => ['"', '\''].contains(quote),
        _ => *quote == '{',
    });
    let Some(quote) = quote else {
        let end = text[begin..].find(';').map_or(text.len(), |at| begin + at);
        let value = text[begin..end].trim_end_matches(' ');
        return Some(begin..begin + value.len());
    };
    let closing = if quote == '{' { '}' } else { quote };
    let mut at = begin + 1;
    loop {
        at += text[at..].find(closing)? + 1;
        if !text[at..].starts_with(closing) {
            return Some(begin..at);
        }
        at += 1;
    }
}

/// The value of what [`value_at`] found. What quotes in one form is a letter like any other in the other.
pub(super) fn unquoted(raw: &str, quoting: Quoting) -> Zeroizing<String> {
    let closing = match raw.chars().next() {
        Some('{') if quoting == Quoting::Braces => '}',
        Some(quote @ ('"' | '\'')) if quoting == Quoting::AdoNet => quote,
        _ => return Zeroizing::new(raw.to_owned()),
    };
    let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner.chars();
    while let Some(char) = rest.next() {
        text.push(char);
        if char == closing {
            let _ = rest.next();
        }
    }
    text
}

/// As every client reads it. `DbConnectionStringBuilder` would write single quotes around a double one, which go-mssqldb takes for letters.
pub(super) fn quoted(value: &str) -> Zeroizing<String> {
    let special = |char: char| char.is_whitespace() || "\"'=;{}".contains(char);
    if !value.is_empty() && !value.contains(special) {
        return Zeroizing::new(value.to_owned());
    }
    within(value, '"', '"')
}

/// As ODBC and mssql-jdbc read it. psqlodbc takes `%41` and `+` outside of braces for what they are in a URL.
pub(super) fn braced(value: &str) -> Zeroizing<String> {
    let special = |char: char| char.is_whitespace() || "[]{}(),;?*=!@\"'%+".contains(char);
    if !value.is_empty() && !value.contains(special) {
        return Zeroizing::new(value.to_owned());
    }
    within(value, '{', '}')
}
