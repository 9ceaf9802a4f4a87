use super::{Answer, Asked, Carried, Dialect, Request};
use crate::proxy::Kind;

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;

/// PostgreSQL's protocol, version 3, without TLS.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was seen")]
pub(crate) struct Postgres {
    /// The startup message is over.
    started: bool,
    /// The server has accepted the login.
    logged_in: bool,
    /// The first `ReadyForQuery` belongs to the login.
    ready: bool,
    failed: bool,
}

pub(crate) fn make() -> (Box<dyn Dialect>, Box<dyn Dialect>) {
    (Box::new(Postgres::default()), Box::new(Postgres::default()))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The text up to the next zero byte, and what follows.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn user(mut parameters: &[u8]) -> Option<String> {
    loop {
        let (name, rest) = text(parameters)?;
        let (value, rest) = text(rest)?;
        if name == "user" {
            return Some(value.to_owned());
        }
        parameters = rest;
    }
}

/// `ALTER ROLE "name" PASSWORD …`.
fn change(sql: &str) -> Option<Asked> {
    let rest = sql.strip_prefix("ALTER ROLE ")?;
    let (account, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => rest.split_once(' ')?,
    };
    let carried = rest.split('\'').find(|part| part.starts_with("SCRAM-SHA-256$"));
    Some(Asked {
        kind: Kind::Change,
        account: account.to_owned(),
        carried: carried.map(|verifier| Carried::Scram(verifier.to_owned())),
    })
}

impl Postgres {
    fn start(&mut self, bytes: &[u8]) -> Option<Request> {
        let length = number(bytes, 0)? as usize;
        let whole = bytes.get(..length)?;
        match number(whole, 4)? {
            SSL_REQUEST | CANCEL_REQUEST => Some(Request {
                length,
                ..Request::default()
            }),
            _ => {
                self.started = true;
                Some(Request {
                    length,
                    ends_group: true,
                    asked: user(&whole[8..]).map(|account| Asked {
                        kind: Kind::Login,
                        account,
                        carried: None,
                    }),
                })
            }
        }
    }
}

impl Dialect for Postgres {
    fn request(&mut self, bytes: &[u8]) -> Option<Request> {
        if !self.started {
            return self.start(bytes);
        }
        let kind = *bytes.first()?;
        let length = number(bytes, 1)? as usize + 1;
        let body = bytes.get(5..length)?;
        let asked = match kind {
            b'Q' => text(body).and_then(|(sql, _)| change(sql)),
            b'P' => text(body)
                .and_then(|(_, rest)| text(rest))
                .and_then(|(sql, _)| change(sql)),
            _ => None,
        };
        Some(Request {
            length,
            ends_group: matches!(kind, b'Q' | b'S'),
            asked,
        })
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        let kind = *bytes.first()?;
        let length = number(bytes, 1)? as usize + 1;
        let body = bytes.get(5..length)?;
        if !self.logged_in {
            let accepted = kind == b'R' && number(body, 0) == Some(0);
            self.logged_in = accepted;
            return Some(Answer {
                length,
                ends_group: accepted || kind == b'E',
                well: accepted,
            });
        }
        if kind == b'E' {
            self.failed = true;
        }
        let mut ends_group = kind == b'Z';
        if ends_group && !self.ready {
            self.ready = true;
            ends_group = false;
        }
        let well = !self.failed;
        if ends_group {
            self.failed = false;
        }
        Some(Answer {
            length,
            ends_group,
            well,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn startup(user: &str) -> Vec<u8> {
        let body = format!("\0\u{3}\0\0database\0postgres\0user\0{user}\0\0");
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&length[..], body.as_bytes()].concat()
    }

    #[test]
    fn a_login_is_found_and_a_part_of_a_frame_is_waited_for() {
        let mut client = Postgres::default();
        let whole = startup("app");
        assert_eq!(client.request(&whole[..whole.len() - 1]), None);
        let request = client.request(&whole).unwrap();
        assert_eq!(request.length, whole.len());
        assert_eq!(request.asked.unwrap().account, "app");
    }

    #[test]
    fn a_change_is_found_with_its_account_and_what_it_carries() {
        let mut client = Postgres::default();
        let _ = client.request(&startup("rotator")).unwrap();
        let sql = "ALTER ROLE \"app\" PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$a:b' VALID UNTIL 'infinity'";
        for (kind, body) in [(b'Q', format!("{sql}\0")), (b'P', format!("s0\0{sql}\0\0\0"))] {
            let request = client.request(&frame(kind, body.as_bytes())).unwrap();
            let asked = request.asked.unwrap();
            assert_eq!((asked.kind, asked.account.as_str()), (Kind::Change, "app"));
            let carried = Carried::Scram("SCRAM-SHA-256$4096:c2FsdA==$a:b".to_owned());
            assert_eq!(asked.carried, Some(carried));
            assert_eq!(request.ends_group, kind == b'Q');
        }
        let request = client.request(&frame(b'Q', b"SELECT 'ALTER ROLE x'\0")).unwrap();
        assert_eq!(request.asked, None);
    }

    #[test]
    fn answers_are_counted_in_groups_and_an_error_spoils_its_own() {
        let mut server = Postgres::default();
        let challenge = frame(b'R', &[0, 0, 0, 10]);
        assert!(!server.answer(&challenge).unwrap().ends_group);
        let accepted = server.answer(&frame(b'R', &[0, 0, 0, 0])).unwrap();
        assert!(accepted.ends_group && accepted.well);
        // The login's own.
        assert!(!server.answer(&frame(b'Z', b"I")).unwrap().ends_group);
        assert!(!server.answer(&frame(b'E', b"\0")).unwrap().ends_group);
        let failed = server.answer(&frame(b'Z', b"I")).unwrap();
        assert!(failed.ends_group && !failed.well);
        let well = server.answer(&frame(b'Z', b"I")).unwrap();
        assert!(well.ends_group && well.well);

        let refused = Postgres::default().answer(&frame(b'E', b"\0")).unwrap();
        assert!(refused.ends_group && !refused.well);
    }
}
