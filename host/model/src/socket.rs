//! Unix sockets as they are written: the folder that they are in, in the place of a host.

use std::fmt;
use std::str::FromStr;

use crate::address::ParseHostError;

/// The path of a socket has at most 107 bytes (`sockaddr_un`), of which the name in its folder takes some.
const MOST_BYTES: usize = 90;

/// The folder of a server's Unix sockets, in the one spelling that is taken: from the root, without `.`, `..` and empty parts, of letters, digits, `.`,
/// `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketFolder(String);

impl SocketFolder {
    /// Whether a text that stands for a host means one: no host begins so.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with('/')
    }

    /// The folder.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the socket that a PostgreSQL server with this port has there.
    pub fn of_postgres(&self, port: u16) -> String {
        format!("{}/.s.PGSQL.{port}", self.0)
    }
}

impl fmt::Display for SocketFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SocketFolder {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, ParseHostError> {
        let refuse = |why| {
            Err(ParseHostError {
                host: text.chars().take(64).collect(),
                why,
            })
        };
        let Some(rest) = text.strip_prefix('/') else {
            return refuse("the folder of a Unix socket is written from the root: /run/postgresql");
        };
        if text.len() > MOST_BYTES {
            return refuse("the folder of a Unix socket has at most 90 bytes");
        }
        let good = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !rest.split('/').all(good) {
            return refuse("a part of a folder has letters, digits, `.`, `_` and `-`, and is not `..`");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_a_folder_is_taken() {
        let folder: SocketFolder = "/run/postgresql".parse().unwrap();
        assert_eq!(folder.of_postgres(5432), "/run/postgresql/.s.PGSQL.5432");
        for other in [
            "",
            "/",
            "run",
            "run/postgresql",
            "/run/",
            "//run",
            "/run//x",
            "/run/../etc",
            "/run/./x",
            "/..",
            "/a b",
            "/a:5432 tls",
            "/a\0b",
            "/a\nb",
            "/ä",
            "@abstract",
            &format!("/{}", "a".repeat(90)),
        ] {
            assert!(other.parse::<SocketFolder>().is_err(), "{other:?}");
        }
    }
}
