use super::{Answer, Asked, Carried, Dialect, Request};
use crate::proxy::Kind;

/// RESP, both versions. Each command has one reply, in order.
#[derive(Debug, Default)]
pub(crate) struct Redis;

pub(crate) fn make() -> (Box<dyn Dialect>, Box<dyn Dialect>) {
    (Box::new(Redis), Box::new(Redis))
}

/// The line at a place, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

fn number(line: &[u8]) -> i64 {
    let text = std::str::from_utf8(line.get(1..).unwrap_or_default());
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Where the value that begins here ends.
fn end(bytes: &[u8], at: usize) -> Option<usize> {
    let (head, mut next) = line(bytes, at)?;
    let count = usize::try_from(number(head)).unwrap_or(0);
    match head.first() {
        Some(b'$' | b'=' | b'!') if number(head) >= 0 => {
            next += count + 2;
            (bytes.len() >= next).then_some(next)
        }
        Some(kind @ (b'*' | b'~' | b'>' | b'%')) => {
            let items = if *kind == b'%' { 2 * count } else { count };
            for _ in 0..items {
                next = end(bytes, next)?;
            }
            Some(next)
        }
        _ => Some(next),
    }
}

/// The words of a command.
fn words(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let (head, mut next) = line(bytes, 0)?;
    let mut words = Vec::new();
    for _ in 0..number(head) {
        let (size, start) = line(bytes, next)?;
        let length = usize::try_from(number(size)).unwrap_or(0);
        let word = bytes.get(start..start + length)?;
        next = start + length + 2;
        words.push(String::from_utf8_lossy(word).into_owned());
    }
    (bytes.len() >= next).then_some((words, next))
}

fn asked(words: &[String]) -> Option<Asked> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (kind, account, carried) = match words.as_slice() {
        ["AUTH", account, _] => (Kind::Login, *account, None),
        ["ACL", "SETUSER", account, rules @ ..] => {
            let added = rules.iter().find_map(|rule| rule.strip_prefix('#'));
            (Kind::Change, *account, added)
        }
        ["ACL", "SAVE"] | ["CONFIG", "REWRITE"] => (Kind::Change, "", None),
        _ => return None,
    };
    Some(Asked {
        kind,
        account: account.to_owned(),
        carried: carried.map(|hash| Carried::Sha256(hash.to_owned())),
    })
}

impl Dialect for Redis {
    fn request(&mut self, bytes: &[u8]) -> Option<Request> {
        let (words, length) = words(bytes)?;
        Some(Request {
            length,
            ends_group: true,
            asked: asked(&words),
        })
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        Some(Answer {
            length: end(bytes, 0)?,
            ends_group: true,
            well: !matches!(bytes.first(), Some(b'-' | b'!')),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn command(words: &[&str]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            let _ = write!(bytes, "${}\r\n{word}\r\n", word.len());
        }
        bytes.into_bytes()
    }

    #[test]
    fn logins_and_changes_are_found_and_parts_are_waited_for() {
        let login = command(&["AUTH", "app", "secret"]);
        assert_eq!(Redis.request(&login[..login.len() - 1]), None);
        let request = Redis.request(&login).unwrap();
        assert_eq!(request.length, login.len());
        let asked = request.asked.unwrap();
        assert_eq!((asked.kind, asked.account.as_str()), (Kind::Login, "app"));

        let asked = |words: &[&str]| Redis.request(&command(words)).unwrap().asked;
        let set = asked(&["ACL", "SETUSER", "app", "#abc"]).unwrap();
        assert_eq!(
            (set.kind, set.carried),
            (Kind::Change, Some(Carried::Sha256("abc".to_owned())))
        );
        assert_eq!(asked(&["ACL", "SETUSER", "app", "!abc"]).unwrap().carried, None);
        assert_eq!(asked(&["ACL", "SAVE"]).unwrap().account, "");
        assert_eq!(asked(&["ACL", "GETUSER", "app"]), None);
    }

    #[test]
    fn a_reply_ends_where_its_last_value_ends() {
        let reply = b"*2\r\n$3\r\nabc\r\n%1\r\n+a\r\n:1\r\n+OK\r\n";
        let first = Redis.answer(reply).unwrap();
        assert_eq!(first.length, reply.len() - 5);
        assert_eq!(Redis.answer(&reply[..first.length - 1]), None);
        assert!(Redis.answer(b"+OK\r\n").unwrap().well);
        assert!(!Redis.answer(b"-WRONGPASS no\r\n").unwrap().well);
        assert_eq!(Redis.answer(b"$-1\r\n").unwrap().length, 5);
    }
}
