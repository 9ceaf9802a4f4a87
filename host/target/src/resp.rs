//! Replies of RESP2, the protocol of Redis and Valkey, within bounds.

use keywheel_model::Effect;

use crate::channel::Channel;
use crate::{Deadline, Error};

/// What a reply may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all of it together.
    pub bytes: usize,
    /// Elements of all arrays together.
    pub elements: usize,
    /// Arrays within arrays.
    pub depth: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 256 * 1024,
            elements: 16 * 1024,
            depth: 8,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-WRONGPASS invalid …`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// `$3`; none is the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// `*2`; none is the null array.
    Array(Option<Vec<Reply>>),
}

/// What a caller that sent a secret gets to see of a reply: servers quote their arguments in the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The simple string.
    Simple(String),
    /// The error's first word: `WRONGPASS`, `NOAUTH`, `ERR`.
    Error(String),
    /// An integer, bulk string or array, of which nothing is shown.
    Other,
}

impl Reply {
    /// The status and nothing else.
    pub fn status(&self) -> Status {
        match self {
            Self::Simple(text) => Status::Simple(word(text)),
            Self::Error(text) => Status::Error(word(text)),
            _ => Status::Other,
        }
    }
}

/// The first word if it is a status word (upper-case letters, digits, `_`, `-`; at most 32), else `ERR`.
fn word(text: &str) -> String {
    let first = text.split(' ').next().unwrap_or_default();
    let good = (1..=32).contains(&first.len())
        && first
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    if good { first.to_owned() } else { "ERR".to_owned() }
}

/// Reads one reply; the write that it answers counts as answered then.
///
/// # Errors
/// [`Error::Protocol`] for what is not RESP2, [`Error::Limit`], [`Error::Timeout`], [`Error::Lost`]; the effect is `maybe` when
/// something had been sent.
pub async fn read_reply(channel: &mut Channel, bounds: Bounds, deadline: Deadline) -> Result<Reply, Error> {
    let mut reader = Reader {
        left: bounds,
        effect: channel.effect(),
    };
    let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
    loop {
        let mut reply = match reader.item(channel, deadline).await? {
            Item::Array(length) if length > 0 => {
                if open.len() >= bounds.depth {
                    return Err(reader.limit("the depth of the reply", bounds.depth));
                }
                open.push((length, Vec::new()));
                continue;
            }
            Item::Array(_) => Reply::Array(Some(Vec::new())),
            Item::Whole(reply) => reply,
        };
        loop {
            let Some((length, mut items)) = open.pop() else {
                channel.settle();
                return Ok(reply);
            };
            items.push(reply);
            if items.len() < length {
                open.push((length, items));
                break;
            }
            reply = Reply::Array(Some(items));
        }
    }
}

enum Item {
    Whole(Reply),
    Array(usize),
}

struct Reader {
    left: Bounds,
    effect: Effect,
}

impl Reader {
    async fn item(&mut self, channel: &mut Channel, deadline: Deadline) -> Result<Item, Error> {
        let line = self.line(channel, deadline).await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| self.protocol())?;
        let number = || rest.parse::<i64>().map_err(|_| self.protocol());
        Ok(match (kind, rest) {
            ("+", text) => Item::Whole(Reply::Simple(text.to_owned())),
            ("-", text) => Item::Whole(Reply::Error(text.to_owned())),
            (":", _) => Item::Whole(Reply::Integer(number()?)),
            ("$", "-1") => Item::Whole(Reply::Bulk(None)),
            ("*", "-1") => Item::Whole(Reply::Array(None)),
            ("$", _) => {
                let length = usize::try_from(number()?).map_err(|_| self.protocol())?;
                Item::Whole(Reply::Bulk(Some(self.bulk(channel, length, deadline).await?)))
            }
            ("*", _) => {
                let length = usize::try_from(number()?).map_err(|_| self.protocol())?;
                let elements = self.left.elements;
                self.left.elements = elements
                    .checked_sub(length)
                    .ok_or_else(|| self.limit("the number of the reply's elements", elements))?;
                Item::Array(length)
            }
            _ => return Err(self.protocol()),
        })
    }

    async fn line(&mut self, channel: &mut Channel, deadline: Deadline) -> Result<String, Error> {
        self.spend(0)?;
        let mut line = channel
            .read_until(b"\r\n", self.left.bytes, deadline)
            .await
            .map_err(|e| e.at_least(self.effect))?;
        self.spend(line.len())?;
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| self.protocol())
    }

    async fn bulk(
        &mut self,
        channel: &mut Channel,
        length: usize,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Error> {
        self.spend(length.saturating_add(2))?;
        let all = channel
            .read_exact_secret(length + 2, deadline)
            .await
            .map_err(|e| e.at_least(self.effect))?;
        match all.expose().strip_suffix(b"\r\n") {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(self.protocol()),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        let left = self.left.bytes;
        match left.checked_sub(bytes) {
            Some(rest) if rest > 0 => {
                self.left.bytes = rest;
                Ok(())
            }
            _ => Err(self.limit("the size of the reply", left)),
        }
    }

    fn protocol(&self) -> Error {
        Error::Protocol {
            expected: "a reply of RESP2",
            effect: self.effect,
        }
    }

    fn limit(&self, what: &'static str, limit: usize) -> Error {
        Error::Limit {
            what,
            limit,
            effect: self.effect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_only_a_status_word_is_shown() {
        let error = |text: &str| Reply::Error(text.into()).status();
        assert_eq!(
            error("WRONGPASS invalid username-password pair"),
            Status::Error("WRONGPASS".into())
        );
        assert_eq!(
            error("ERR Error in ACL SETUSER modifier '>hunter2'"),
            Status::Error("ERR".into())
        );
        assert_eq!(error("hunter2"), Status::Error("ERR".into()));
        assert_eq!(error(&"A".repeat(33)), Status::Error("ERR".into()));
        assert_eq!(Reply::Simple("OK".into()).status(), Status::Simple("OK".into()));
        assert_eq!(Reply::Bulk(Some(b"hunter2".to_vec())).status(), Status::Other);
    }
}
