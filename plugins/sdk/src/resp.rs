//! Commands and answers of Redis' protocol (RESP2) over whole frames.

use crate::bindings::keywheel::net::frames::{Frame, receive};
use crate::bindings::keywheel::net::tcp::{Channel, TlsOptions};
use crate::error::{error, missing};
use crate::nodes::Node;
use crate::{Error, ErrorKind, Secret};

const ANSWER_LIMIT_BYTES: u32 = 256 * 1024;
const DEEPEST: usize = 8;

/// One piece of an argument.
#[derive(Clone, Copy)]
pub enum Piece<'a> {
    /// Text without a secret.
    Text(&'a str),
    /// A secret.
    Secret(&'a Secret),
}

/// A connection on which one command at a time is sent and its answer awaited.
pub struct Session {
    channel: Channel,
    timeout_ms: u32,
}

impl Session {
    /// With TLS and a verified certificate, unless `plaintext`: only where the operator's configuration asks for it in words.
    /// `trust` names a trust set of the host's configuration.
    ///
    /// # Errors
    /// The server cannot be reached, is not who it should be, or the grant does not say `plaintext`.
    pub fn connect(node: &Node, plaintext: bool, trust: Option<&str>, timeout_ms: u32) -> Result<Self, Error> {
        if plaintext {
            return Ok(Self { channel: Channel::connect(&node.host, node.port, timeout_ms)?, timeout_ms });
        }
        let options = TlsOptions::new(&node.host);
        if let Some(trust) = trust {
            options.trust(trust);
        }
        let channel = Channel::connect_tls(&node.host, node.port, &options, timeout_ms)?;
        Ok(Self { channel, timeout_ms })
    }

    /// Sends words without a secret.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn words(&self, words: &[&str]) -> Result<Reply, Error> {
        self.call(&words.iter().map(|word| [Piece::Text(word)]).collect::<Vec<_>>())
    }

    /// The same where an error of the server is an error: `denied` for `NOPERM`.
    ///
    /// # Errors
    /// As [`Session::call`], and `resp.refused`.
    pub fn ask(&self, words: &[&str]) -> Result<Reply, Error> {
        self.words(words)?.accepted()
    }

    /// Logs in. An error of the server (`WRONGPASS`) is an answer.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn authenticate(&self, user: &str, password: &Secret) -> Result<Reply, Error> {
        self.call(&[[Piece::Text("AUTH")], [Piece::Text(user)], [Piece::Secret(password)]])
    }

    /// Sends a command, each argument in pieces, and gives its answer. An error of the server is an answer.
    ///
    /// # Errors
    /// Of the host, or an answer that is no RESP.
    pub fn call<'a, A: AsRef<[Piece<'a>]>>(&self, arguments: &[A]) -> Result<Reply, Error> {
        let frame = Frame::new("resp");
        for argument in arguments {
            frame.open(0);
            for piece in argument.as_ref() {
                match piece {
                    Piece::Text(text) => frame.bytes(text.as_bytes()),
                    Piece::Secret(secret) => frame.secret(secret, "raw"),
                }
            }
            frame.close();
        }
        Frame::send(frame, &self.channel)?;
        let bytes = receive(&self.channel, "resp", ANSWER_LIMIT_BYTES, self.timeout_ms)?;
        parse(&bytes).ok_or_else(|| error(ErrorKind::Other, "resp.malformed", "the server's answer is no RESP message"))
    }
}

/// The code of [`refused`].
pub const REFUSED: &str = "resp.refused";

/// What an error of the server is to a step.
pub fn refused(word: &str) -> Error {
    let kind = if word == "NOPERM" { ErrorKind::Denied } else { ErrorKind::Other };
    error(kind, REFUSED, format!("the server answered {word}"))
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-WRONGPASS …`; where the manifest shows the status only, the first word.
    Error(String),
    /// `:1`
    Integer(i64),
    /// A string; invalid UTF-8 is replaced.
    Bulk(String),
    /// A list.
    Array(Vec<Reply>),
    /// Nothing, or nothing that is shown.
    Null,
}

impl Reply {
    /// The same, unless it is null: then there is no account of that name.
    ///
    /// # Errors
    /// [`crate::error::missing`].
    pub fn or_missing(self, what: &str, name: &str) -> Result<Self, Error> {
        if self == Self::Null { Err(missing(what, name)) } else { Ok(self) }
    }

    /// The first word of an error.
    pub fn error_word(&self) -> Option<&str> {
        if let Self::Error(text) = self { text.split(' ').next() } else { None }
    }

    /// The answer, if it is no error of the server.
    ///
    /// # Errors
    /// [`refused`].
    pub fn accepted(self) -> Result<Self, Error> {
        match self.error_word() {
            Some(word) => Err(refused(word)),
            None => Ok(self),
        }
    }

    /// The text of a string or a status.
    pub fn text(&self) -> &str {
        match self {
            Self::Simple(text) | Self::Bulk(text) => text,
            _ => "",
        }
    }

    /// The elements of a list.
    pub fn items(&self) -> &[Self] {
        if let Self::Array(items) = self { items } else { &[] }
    }

    /// The value after a key in a flat list of keys and values (`ACL GETUSER`, `CONFIG GET`).
    pub fn field(&self, key: &str) -> Option<&Self> {
        self.items().chunks_exact(2).find(|pair| pair[0].text() == key).map(|pair| &pair[1])
    }

    /// Whether the list after a key has a text (`flags` in `ACL GETUSER`).
    pub fn lists(&self, key: &str, text: &str) -> bool {
        self.field(key).is_some_and(|list| list.items().iter().any(|item| item.text() == text))
    }

    /// What stands after a key and a colon in a text of lines (`INFO`); empty if nothing does.
    pub fn info(&self, key: &str) -> &str {
        let mut lines = self.text().lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == key).map_or("", |(_, value)| value)
    }

    /// Whether there is a text after a key that is not empty.
    pub fn has_text(&self, key: &str) -> bool {
        self.field(key).is_some_and(|value| !value.text().is_empty())
    }
}

/// Reads exactly one message; `None` for anything else.
fn parse(bytes: &[u8]) -> Option<Reply> {
    let (reply, rest) = read(bytes, 0)?;
    rest.is_empty().then_some(reply)
}

fn read(bytes: &[u8], depth: usize) -> Option<(Reply, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, line) = bytes[..end].split_first()?;
    let (line, rest) = (String::from_utf8_lossy(line), &bytes[end + 2..]);
    match kind {
        b'+' => Some((Reply::Simple(line.into_owned()), rest)),
        b'-' => Some((Reply::Error(line.into_owned()), rest)),
        b':' => Some((Reply::Integer(line.parse().ok()?), rest)),
        b'$' | b'*' if line == "-1" => Some((Reply::Null, rest)),
        b'$' => {
            let (text, rest) = rest.split_at_checked(line.parse().ok()?)?;
            Some((Reply::Bulk(String::from_utf8_lossy(text).into_owned()), rest.strip_prefix(b"\r\n")?))
        }
        b'*' if depth < DEEPEST => {
            let (mut items, mut rest) = (Vec::new(), rest);
            for _ in 0..line.parse::<usize>().ok()? {
                let (item, after) = read(rest, depth + 1)?;
                items.push(item);
                rest = after;
            }
            Some((Reply::Array(items), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_answer_is_read_and_found_by_key() {
        let reply = parse(b"*4\r\n$5\r\nflags\r\n*2\r\n$2\r\non\r\n$6\r\nnopass\r\n$4\r\nkeys\r\n$-1\r\n").unwrap();
        let flags: Vec<_> = reply.field("flags").unwrap().items().iter().map(Reply::text).collect();
        assert_eq!(flags, ["on", "nopass"]);
        assert!(reply.lists("flags", "on") && !reply.lists("flags", "off") && !reply.has_text("keys"));
        assert_eq!(reply.field("keys"), Some(&Reply::Null));
        assert_eq!(reply.field("absent"), None);
    }

    #[test]
    fn a_text_of_lines_is_read_by_its_keys() {
        let reply = parse(b"$41\r\n# Server\r\nos:Linux\r\nconfig_file:/r.conf\r\n\r\n").unwrap();
        assert_eq!(["os", "config_file", "config", ""].map(|key| reply.info(key)), ["Linux", "/r.conf", "", ""]);
    }

    #[test]
    fn statuses_errors_and_numbers_are_told_apart() {
        assert_eq!(parse(b"+OK\r\n"), Some(Reply::Simple("OK".into())));
        assert_eq!(parse(b"-WRONGPASS invalid\r\n").unwrap().error_word(), Some("WRONGPASS"));
        assert_eq!(parse(b":12\r\n"), Some(Reply::Integer(12)));
    }

    #[test]
    fn what_is_cut_off_padded_or_bottomless_is_refused() {
        let deep = [b"*1\r\n".repeat(64), b":1\r\n".to_vec()].concat();
        for bad in [
            &b"+OK"[..],
            b"$5\r\nab\r\n",
            b"*2\r\n:1\r\n",
            b":1\r\n:2\r\n",
            b"?\r\n",
            b"",
            b"$99999999999999999999\r\n",
            &deep,
        ] {
            assert_eq!(parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
