use super::{Answer, Asked, Carried, Dialect, Request};
use crate::proxy::Kind;

/// Length of three bytes, number of the packet.
const HEADER: usize = 4;
const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const END: u8 = 0xFE;
const ERROR: u8 = 0xFF;
const QUERY: u8 = 0x03;

/// MySQL's protocol, without TLS: the server speaks first, and each command has one answer, of one packet or of a list of rows.
#[derive(Debug, Default)]
pub(crate) struct MySql {
    /// Client: the login was sent. Server: it has greeted.
    begun: bool,
    /// The server has answered the login.
    logged_in: bool,
    /// The ends that the rows of an answer still have before them: of the columns, and of all.
    ends: u8,
}

pub(crate) fn make() -> (Box<dyn Dialect>, Box<dyn Dialect>) {
    (Box::new(MySql::default()), Box::new(MySql::default()))
}

/// The content of the packet at the start of the bytes.
pub(crate) fn packet(bytes: &[u8]) -> Option<&[u8]> {
    let [low, middle, high, _] = *bytes.first_chunk::<HEADER>()?;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    bytes.get(HEADER..HEADER + length)
}

/// The user's name stands after the flags and what is reserved.
fn login(packet: &[u8]) -> Option<Asked> {
    let user = packet.get(32..)?.split(|byte| *byte == 0).next()?;
    Some(Asked {
        kind: Kind::Login,
        account: String::from_utf8_lossy(user).into_owned(),
        carried: None,
    })
}

/// `ALTER USER 'name'@'from' IDENTIFIED VIA … USING '*hash' OR …`: what comes new stands last. MySQL: `… AS '$A$…'`, with one hash, or none.
fn change(sql: &str) -> Option<Asked> {
    let mut quoted = sql.strip_prefix("ALTER USER '")?.split('\'');
    let account = quoted.next()?.to_owned();
    let carried = quoted.rev().find_map(|text| match text.as_bytes() {
        [b'*', ..] => Some(Carried::Native(text.to_owned())),
        [b'$', b'A', b'$', ..] => Some(Carried::Caching(text.to_owned())),
        _ => None,
    });
    Some(Asked {
        kind: Kind::Change,
        account,
        carried,
    })
}

impl Dialect for MySql {
    fn request(&mut self, bytes: &[u8]) -> Option<Request> {
        let packet = packet(bytes)?;
        let is_login = !self.begun;
        self.begun = true;
        // A command begins to count anew; what answers the server's questions within a login goes on.
        let is_command = bytes[3] == 0;
        let sql = packet.strip_prefix(&[QUERY]).filter(|_| is_command);
        let asked = if is_login {
            login(packet)
        } else {
            sql.and_then(|sql| change(&String::from_utf8_lossy(sql)))
        };
        Some(Request {
            length: HEADER + packet.len(),
            ends_group: is_login || is_command,
            asked,
        })
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        let packet = packet(bytes)?;
        let first = packet.first().copied().unwrap_or(ERROR);
        let (ends_group, well) = if !self.begun {
            // A greeting that is an error is the end of it.
            self.begun = true;
            (first == ERROR, false)
        } else if !self.logged_in {
            self.logged_in = !matches!(first, MORE | END);
            (self.logged_in, first == OK)
        } else if self.ends > 0 {
            if first == ERROR {
                self.ends = 0;
            } else if first == END && packet.len() < 9 {
                self.ends -= 1;
            }
            (self.ends == 0, first != ERROR)
        } else {
            self.ends = if matches!(first, OK | ERROR) { 0 } else { 2 };
            (self.ends == 0, first == OK)
        };
        Some(Answer {
            length: HEADER + packet.len(),
            ends_group,
            well,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[length, 0, 0, number], content].concat()
    }

    #[test]
    fn logins_and_changes_are_found_and_parts_are_waited_for() {
        let mut client = MySql::default();
        let whole = frame(1, &[&[0; 32][..], b"app\0answer"].concat());
        assert_eq!(client.request(&whole[..whole.len() - 1]), None);
        let asked = client.request(&whole).unwrap().asked.unwrap();
        assert_eq!((asked.kind, asked.account.as_str()), (Kind::Login, "app"));
        let again = client.request(&frame(3, b"\x03answer to a question")).unwrap();
        assert_eq!((again.asked, again.ends_group), (None, false));

        let sql = b"\x03ALTER USER 'app'@'%' IDENTIFIED VIA mysql_native_password USING '*AB' OR mysql_native_password USING '*CD'";
        let set = client.request(&frame(0, sql)).unwrap();
        assert!(set.ends_group);
        let set = set.asked.unwrap();
        assert_eq!(
            (set.kind, set.account.as_str(), set.carried),
            (Kind::Change, "app", Some(Carried::Native("*CD".to_owned())))
        );
        let sql = b"\x03ALTER USER 'app'@'%' IDENTIFIED WITH caching_sha2_password AS '$A$005$EF' RETAIN CURRENT PASSWORD";
        let set = client.request(&frame(0, sql)).unwrap().asked.unwrap();
        assert_eq!(set.carried, Some(Carried::Caching("$A$005$EF".to_owned())));
        let sql = b"\x03ALTER USER 'app'@'%' DISCARD OLD PASSWORD";
        let gone = client.request(&frame(0, sql)).unwrap().asked.unwrap();
        assert_eq!((gone.kind, gone.carried), (Kind::Change, None));
        assert_eq!(client.request(&frame(0, b"\x03SELECT 1")).unwrap().asked, None);
    }

    #[test]
    fn an_answer_ends_with_its_only_packet_or_with_the_last_of_its_rows() {
        let mut server = MySql::default();
        let mut ends = |content: &[u8]| {
            let answer = server.answer(&frame(0, content)).unwrap();
            (answer.ends_group, answer.well)
        };
        assert_eq!(ends(b"\x0Agreeting"), (false, false));
        assert_eq!(ends(b"\xFEmysql_native_password\0"), (false, false));
        assert_eq!(ends(b"\0ok"), (true, true));
        assert_eq!(ends(b"\x01"), (false, false));
        assert!(!ends(b"\x03def").0 && !ends(b"\xFE\0\0\0\0").0 && !ends(b"\x01a").0);
        assert_eq!(ends(b"\xFE\0\0\0\0"), (true, true));
        assert_eq!(ends(b"\xFFno"), (true, false));
        assert_eq!(ends(b"\0ok"), (true, true));
    }
}
