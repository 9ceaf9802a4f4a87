use keywheel_model::address::Host;
use keywheel_policy::Transport;
use keywheel_target::Error as TargetError;

use crate::error::Error;
use crate::guard::Peer;

const MAX_URL_BYTES: usize = 4096;

/// Where a request goes: scheme, host, port and path in the one spelling that is taken. No user, no query, no fragment.
#[derive(Debug)]
pub(super) struct Url {
    pub(super) peer: Peer,
    /// Encoded, with the first slash.
    pub(super) path: String,
}

fn wrong(why: &str) -> Error {
    Error::invalid("http.url", format!("the address of the request {why}"))
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_URL_BYTES {
            return Err(wrong("is too long"));
        }
        let (transport, usual, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Transport::Tls, 443, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Transport::Plaintext, 80, rest)
        } else {
            return Err(wrong(
                "begins with https:// (or http://, where the grant says plaintext)",
            ));
        };
        let odd = |byte: u8| !byte.is_ascii_graphic() || b"\\\"<>^`{|}".contains(&byte);
        if rest.bytes().any(odd) {
            return Err(wrong(
                "is printable ASCII without \\ \" < > ^ ` { | }: write others as %XX",
            ));
        }
        for (mark, why) in [
            (
                '@',
                "has no user and no `@`: credentials go in by `basic`, and in a path it is %40",
            ),
            ('#', "has no fragment"),
            ('?', "has no query: its parameters go in by `query`"),
        ] {
            if rest.contains(mark) {
                return Err(wrong(why));
            }
        }
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = split(authority)?;
        check_path(path)?;
        host.parse::<Host>()
            .map_err(|error| Error::Answer(TargetError::from(error).to_step_error()))?;
        Ok(Self {
            peer: Peer {
                host: host.to_owned(),
                port: port.unwrap_or(usual),
                transport,
            },
            path: path.to_owned(),
        })
    }
}

/// Host and port; an IPv6 address without its brackets.
fn split(authority: &str) -> Result<(&str, Option<u16>), Error> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(|| wrong("has an open bracket"))?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err(wrong("has something behind its bracket"));
            }
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let number = |port: &str| {
        let good = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        port.parse()
            .ok()
            .filter(|_| good)
            .ok_or_else(|| wrong("has a port of 1 to 65535"))
    };
    Ok((host, port.map(number).transpose()?))
}

/// One reading alone: no segment goes up, and no slash hides in a code.
fn check_path(path: &str) -> Result<(), Error> {
    let codes = path.split('%').skip(1);
    for code in codes {
        let byte = code.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(b'/' | b'\\' | b'%' | 0..=0x1f | 0x7f) => {
                return Err(wrong(
                    "has a code for a slash, for `%` or for a control character",
                ));
            }
            Some(_) => {}
            None => return Err(wrong("has a `%` that is no code")),
        }
    }
    let goes_up = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        matches!(plain.split(';').next(), Some("." | ".."))
    };
    if path.split('/').any(goes_up) {
        return Err(wrong("has a segment `.` or `..`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_host_port_and_path() {
        for (text, host, port, path) in [
            (
                "https://api.example.net/v3/keys",
                "api.example.net",
                443,
                "/v3/keys",
            ),
            ("https://api.example.net", "api.example.net", 443, "/"),
            ("http://127.0.0.1:8080/a%20b", "127.0.0.1", 8080, "/a%20b"),
            ("https://[::1]:8443/", "::1", 8443, "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (url.peer.host.as_str(), url.peer.port, url.path.as_str()),
                (host, port, path)
            );
        }
    }

    /// Abuse cases 2 and 6 of the design: spellings that readers disagree on are sent to nobody.
    #[test]
    fn an_address_with_two_readings_is_refused() {
        for text in [
            "ftp://api.example.net/",
            "https:/api.example.net/",
            "HTTPS://api.example.net/",
            "https://user:pass@api.example.net/",
            "https://api.example.net/@evil",
            "https://api.example.net/?token=x",
            "https://api.example.net/#x",
            "https://api.example.net\\@evil.example/",
            "https://api.example.net/a\r\nHost: evil",
            "https://api.example.net/a\0",
            "https://api.example.net/a b",
            "https://аpi.example.net/",
            "https://api.example.net./",
            "https://2852039166/",
            "https://0251.0376.0251.0376/",
            "https://0xa9fea9fe/",
            "https://api.example.net:0443/",
            "https://api.example.net:+443/",
            "https://api.example.net:70000/",
            "https://api.example.net:/",
            "https://[::1/",
            "https://[::1]x/",
            "https:///path",
            "https://api.example.net/a/../b",
            "https://api.example.net/a/%2e%2E/b",
            "https://api.example.net/..;/b",
            "https://api.example.net/a%2fb",
            "https://api.example.net/a%5Cb",
            "https://api.example.net/a%00b",
            "https://api.example.net/a%252e",
            "https://api.example.net/a%zz",
            "https://api.example.net/a%2",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }
}
