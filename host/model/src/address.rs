//! Hosts as they are written, and how far the addresses that they lead to may be opened.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// How far an address may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A rule with the host's name is enough.
    Public,
    /// RFC 1918, RFC 4193, RFC 6598: a rule with the exact host name, the address or a network.
    Private,
    /// A rule that names loopback.
    Loopback,
    /// No rule opens it; says what it is.
    Never(&'static str),
}

/// The class of an address; an IPv6 address that wraps an IPv4 address has at least the wrapped one's.
pub fn classify(address: IpAddr) -> Class {
    match address.to_canonical() {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => match unwrap_v4(v6) {
            // A translator or tunnel to a public address: the outer form says nothing of its own.
            Some(inner) => classify_v4(inner),
            None => classify_v6(v6),
        },
    }
}

fn classify_v4(a: Ipv4Addr) -> Class {
    match a.octets() {
        [0, ..] => Class::Never("this network (RFC 1122)"),
        [169, 254, ..] => Class::Never("link-local, where clouds serve instance metadata"),
        [168, 63, 129, 16] => Class::Never("Azure's wire server"),
        [100, 100, 100, 200] => Class::Never("Alibaba Cloud's instance metadata"),
        [192, 0, 0, _] => Class::Never("IETF protocol assignments (RFC 6890)"),
        [224..=239, ..] => Class::Never("multicast"),
        [240..=255, ..] => Class::Never("reserved or broadcast"),
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => {
            Class::Private
        }
        _ => Class::Public,
    }
}

fn classify_v6(a: Ipv6Addr) -> Class {
    let s = a.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, _] => Class::Never("AWS instance services"),
        [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => Class::Never("Google Cloud's instance metadata"),
        [0x2001, 0, ..] => Class::Never("Teredo (RFC 4380)"),
        [0x0100, 0, 0, 0, ..] => Class::Never("discard only (RFC 6666)"),
        _ if s[0] & 0xffc0 == 0xfe80 => Class::Never("link-local"),
        _ if s[0] & 0xff00 == 0xff00 => Class::Never("multicast"),
        _ if s[0] & 0xfe00 == 0xfc00 || s[0] & 0xffc0 == 0xfec0 => Class::Private,
        _ => Class::Public,
    }
}

/// The IPv4 address that an IPv6 address leads to by a well-known rule, if any: compatible (RFC 4291 2.5.5.1), translated (RFC 2765),
/// NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), ISATAP (RFC 5214). Mapped ones are canonical IPv4 already.
fn unwrap_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x0064, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

/// A host in the one spelling that is taken: a DNS name in lower-case ASCII without a trailing dot, or an address in its usual form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Resolved by the dialler, once.
    Name(String),
    /// Dialled as it is.
    Address(IpAddr),
}

/// A spelling of a host that is not taken: decimal, octal or hexadecimal addresses, a trailing dot, other than ASCII letters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host:?} is not a host: {why}")]
pub struct ParseHostError {
    /// At most 64 characters of it.
    pub host: String,
    /// What is wrong.
    pub why: &'static str,
}

impl Host {
    /// `localhost` or a name under it (RFC 6761).
    pub fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name == "localhost" || name.ends_with(".localhost"))
    }
}

/// What a name is that leads to the addresses of instance metadata wherever it leads anywhere: no rule opens it either.
pub fn closed_name(name: &str) -> Option<&'static str> {
    // By their labels.
    const NAMES: [(&[&str], &str); 5] = [
        (&["metadata", "goog"], "Google Cloud's instance metadata"),
        (
            &["metadata", "google", "internal"],
            "Google Cloud's instance metadata",
        ),
        (&["instance-data"], "AWS instance metadata"),
        (&["instance-data", "ec2", "internal"], "AWS instance metadata"),
        (
            &["metadata", "tencentyun", "com"],
            "Tencent Cloud's instance metadata",
        ),
    ];
    let labels: Vec<&str> = name.split('.').collect();
    let found = NAMES.iter().find(|(known, _)| *known == labels);
    found.map(|(_, what)| *what)
}

impl FromStr for Host {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, ParseHostError> {
        let refuse = |why| {
            Err(ParseHostError {
                host: text.chars().take(64).collect(),
                why,
            })
        };
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(v6) = bare.parse::<Ipv6Addr>() {
            return Ok(Self::Address(IpAddr::V6(v6).to_canonical()));
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(v4.into()));
        }
        if !text.is_ascii() {
            return refuse("only ASCII is taken");
        }
        let name = text.to_ascii_lowercase();
        if name.ends_with('.') {
            return refuse("a trailing dot is not taken");
        }
        if name.is_empty() || name.len() > 253 {
            return refuse("a name has 1 to 253 characters");
        }
        let good = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !name.split('.').all(good) {
            return refuse("a part has 1 to 63 letters, digits, - or _");
        }
        // What inet_aton would read as an address: the last part is a decimal, octal or hexadecimal number.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
            return refuse("an address is written as four decimal numbers");
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_metadata_address_is_refused_or_never_opened() {
        for text in [
            "169.254.169.254",
            "[::ffff:a9fe:a9fe]",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "::ffff:0:a9fe:a9fe",
            "2001:db8::5efe:a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            let Host::Address(address) = text.parse::<Host>().unwrap() else {
                panic!("{text} is an address")
            };
            assert!(matches!(classify(address), Class::Never(_)), "{text}");
        }
        for text in [
            "2852039166",
            "0xa9fea9fe",
            "0xA9FEA9FE",
            "025177524776",
            "0251.0376.0251.0376",
            "0xa9.0xfe.0xa9.0xfe",
            "169.254.43518",
            "169.16689662",
            "169.254.169.254.",
            "127.1",
            "0",
            "0x",
            "0x7f.1",
            "127.0.0.1.",
            "①②⑦.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "localhost.",
            "metadata.google.internal.",
            "münchen.example",
            "a..b",
            "",
            "-a.b",
            "user@host",
            "host:80",
            "host/path",
            "a b",
            "a\r\nb",
            "a\0b",
            "[::1",
            "fe80::1%eth0",
            "127.0.0.01",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn wrapped_loopback_and_private_addresses_keep_their_class() {
        for (text, class) in [
            ("::1", Class::Loopback),
            ("127.8.9.1", Class::Loopback),
            ("::ffff:127.0.0.1", Class::Loopback),
            ("64:ff9b::7f00:1", Class::Loopback),
            ("2002:a00:1::", Class::Private),
            ("10.0.0.1", Class::Private),
            ("172.31.255.255", Class::Private),
            ("172.32.0.0", Class::Public),
            ("100.64.0.1", Class::Private),
            ("fd12::1", Class::Private),
            ("64:ff9b::808:808", Class::Public),
            ("2606:4700::1", Class::Public),
        ] {
            assert_eq!(classify(text.parse().unwrap()), class, "{text}");
        }
    }

    #[test]
    fn a_name_is_kept_in_lower_case() {
        assert_eq!(
            "DB-7.Internal".parse::<Host>().unwrap(),
            Host::Name("db-7.internal".into())
        );
    }
}
