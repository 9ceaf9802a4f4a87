//! One spelling for each host and port, so that two rotations on one server are seen as such (rule P12).

use std::net::IpAddr;

/// Where a target is, in the one spelling that every other spelling of it shares: literal addresses as RFC 5952 writes them, IPv4
/// inside IPv6 as IPv4; names in lower case without the root's dot (RFC 4343); ports without leading zeros; `host:port` as both. What
/// is none of these stays as it is. Two names that resolve to one address stay two: only a resolver could tell.
pub fn canonical(text: &str) -> String {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().to_string();
    }
    if let Ok(port) = text.parse::<u16>() {
        return port.to_string();
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && let Ok(port) = port.parse::<u16>()
    {
        return format!("{}:{port}", canonical(host));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.bytes().all(in_names) && !name.ends_with('.') {
        name.to_ascii_lowercase()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_host_is_one() {
        for (spellings, canonical_form) in [
            (
                &["localhost", "LOCALHOST", "localhost.", "LocalHost."][..],
                "localhost",
            ),
            (&["db_1.Internal", "DB_1.internal."], "db_1.internal"),
            (&["127.0.0.1", "::ffff:127.0.0.1", "[::FFFF:7f00:1]"], "127.0.0.1"),
            (&["::1", "[::1]", "0:0:0:0:0:0:0:1"], "::1"),
            (&["5432", "05432", "+5432"], "5432"),
            (&["DB:5432", "db.:05432"], "db:5432"),
            (&["[2001:DB8::0]:1", "[2001:db8::]:01"], "2001:db8:::1"),
        ] {
            for spelling in spellings {
                assert_eq!(canonical(spelling), canonical_form, "{spelling}");
            }
        }
    }

    #[test]
    fn what_is_no_address_stays_as_it_is() {
        for text in [
            "",
            "/Var/Run/X",
            "https://Host/Path",
            "a b",
            "Straße",
            "DB..",
            "DB..:1",
            "fe80::1%ETH0",
            "a\",\"B",
        ] {
            assert_eq!(canonical(text), text);
        }
        assert_ne!(canonical("a.b"), canonical("a-b"));
        assert_ne!(canonical("127.0.0.1"), canonical("127.0.0.2"));
    }
}
