//! `key=value key='value'`: PostgreSQL, "Keyword/Value Connection Strings".

use std::ops::Range;

use zeroize::Zeroizing;

use super::Quoting;
use crate::Pair;
use crate::quote::backslashed;

/// Keys of libpq 18 (PostgreSQL documentation, 32.1.2). Another one is refused by libpq itself, and tells this form from others here.
const KEYS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

pub(super) fn read(text: &str) -> Result<Vec<Pair>, usize> {
    let mut pairs = Vec::new();
    let mut at = 0;
    loop {
        at = after_spaces(text, at);
        if at == text.len() {
            return Ok(pairs);
        }
        let equals = text[at..].find('=').map(|equals| at + equals).ok_or(at)?;
        let key = text[at..equals].trim_end_matches(' ');
        if !KEYS.contains(&key) {
            return Err(at);
        }
        let begin = after_spaces(text, equals + 1);
        let value = value_at(text, begin).ok_or(begin)?;
        at = value.end;
        pairs.push(Pair {
            key: key.to_owned(),
            value,
            quoting: Quoting::Libpq,
        });
    }
}

fn after_spaces(text: &str, from: usize) -> usize {
    from + (text[from..].len() - text[from..].trim_start_matches(' ').len())
}

/// Where a value is, with its quotes.
fn value_at(text: &str, begin: usize) -> Option<Range<usize>> {
    let is_quoted = text[begin..].starts_with('\'');
    let from = if is_quoted { begin + 1 } else { begin };
    let mut is_escaped = false;
    for (at, char) in text[from..].char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if char == '\\' {
            is_escaped = true;
        } else if is_quoted && char == '\'' {
            return Some(begin..from + at + 1);
        } else if !is_quoted && char == ' ' {
            return Some(begin..from + at);
        }
    }
    (!is_quoted).then_some(begin..text.len())
}

/// Whether each of these characters stands in a quoted value.
pub(super) fn has_all(text: &str, char: char, pairs: &[Pair]) -> bool {
    let is_within = |at: usize| {
        let mut values = pairs.iter().map(|pair| &pair.value);
        values.any(|value| value.contains(&at) && text[value.start..].starts_with('\''))
    };
    text.match_indices(char).all(|(at, _)| is_within(at))
}

pub(super) fn unquoted(raw: &str) -> Zeroizing<String> {
    let inner = raw
        .strip_prefix('\'')
        .and_then(|inner| inner.strip_suffix('\''))
        .unwrap_or(raw);
    let mut text = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner.chars();
    while let Some(char) = rest.next() {
        match char {
            '\\' => text.extend(rest.next()),
            char => text.push(char),
        }
    }
    text
}

pub(super) fn quoted(value: &str) -> Zeroizing<String> {
    // libpq takes a `;` as it is; whoever looks for the form does not.
    let is_plain = |char: char| !char.is_whitespace() && !['\'', '\\', ';'].contains(&char);
    if !value.is_empty() && value.chars().all(is_plain) {
        return Zeroizing::new(value.to_owned());
    }
    backslashed(value)
}
