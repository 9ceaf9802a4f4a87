use super::{Answer, Asked, Carried, Dialect, Request};
use crate::proxy::Kind;

/// Type, whether it is the last of its message, length, and what is not used.
const HEADER: usize = 8;
const BATCH: u8 = 0x01;
const LOGIN: u8 = 0x10;

/// TDS without TLS: each message has one answer, of packets of which the last says so.
#[derive(Debug, Default)]
pub(crate) struct Tds;

pub(crate) fn make() -> (Box<dyn Dialect>, Box<dyn Dialect>) {
    (Box::new(Tds), Box::new(Tds))
}

/// The packet at the start of the bytes, with its header.
fn packet(bytes: &[u8]) -> Option<&[u8]> {
    let [_, _, high, low, ..] = *bytes.first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low])).max(HEADER);
    bytes.get(..length)
}

fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

/// The user's name stands where its offset says.
fn login(message: &[u8]) -> Option<Asked> {
    let two = |at: usize| {
        Some(usize::from(u16::from_le_bytes(
            *message.get(at..at + 2)?.first_chunk()?,
        )))
    };
    let (offset, characters) = (two(40)?, two(42)?);
    Some(Asked {
        kind: Kind::Login,
        account: text(message.get(offset..offset + 2 * characters)?),
        carried: None,
    })
}

/// `… ALTER LOGIN [name] WITH PASSWORD = N'password'`, or `CREATE`; or without one.
fn change(sql: &str) -> Option<Asked> {
    let begins = ["ALTER LOGIN [", "CREATE LOGIN ["];
    let (_, rest) = begins.iter().find_map(|begin| sql.split_once(begin))?;
    let (account, rest) = rest.split_once(']')?;
    let password = rest
        .strip_prefix(" WITH PASSWORD = N'")
        .and_then(|rest| rest.strip_suffix('\''));
    Some(Asked {
        kind: Kind::Change,
        account: account.to_owned(),
        carried: password.map(|password| Carried::Plain(password.to_owned())),
    })
}

impl Dialect for Tds {
    fn request(&mut self, bytes: &[u8]) -> Option<Request> {
        let packet = packet(bytes)?;
        let content = &packet[HEADER..];
        let asked = match packet[0] {
            LOGIN => login(content),
            // Headers stand before the text.
            BATCH => content.get(22..).and_then(|sql| change(&text(sql))),
            _ => None,
        };
        Some(Request {
            length: packet.len(),
            ends_group: packet[1] & 1 == 1,
            asked,
        })
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        const DONE: u8 = 0xFD;
        const FAILED: u8 = 2;
        let packet = packet(bytes)?;
        // Status of the last token: twelve bytes before the end.
        let last = packet.len().checked_sub(13).and_then(|at| packet.get(at..at + 2));
        Some(Answer {
            length: packet.len(),
            ends_group: packet[1] & 1 == 1,
            well: matches!(last, Some([DONE, status]) if status & FAILED == 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len() + HEADER).unwrap();
        [&[kind, 1, 0, length, 0, 0, 1, 0], content].concat()
    }

    fn batch(sql: &str) -> Vec<u8> {
        let text: Vec<u8> = sql.encode_utf16().flat_map(u16::to_le_bytes).collect();
        frame(BATCH, &[&[0; 22], text.as_slice()].concat())
    }

    #[test]
    fn logins_and_changes_are_found_and_parts_are_waited_for() {
        let mut message = vec![0; 44];
        (message[40], message[42]) = (44, 3);
        message.extend(b"a\0p\0p\0");
        let whole = frame(LOGIN, &message);
        assert_eq!(Tds.request(&whole[..whole.len() - 1]), None);
        let asked = Tds.request(&whole).unwrap().asked.unwrap();
        assert_eq!((asked.kind, asked.account.as_str()), (Kind::Login, "app"));
        let set = Tds.request(&batch(
            "SET LOCK_TIMEOUT 9;\nALTER LOGIN [app] WITH PASSWORD = N'x-1'",
        ));
        let set = set.unwrap().asked.unwrap();
        assert_eq!(
            (set.account.as_str(), set.carried),
            ("app", Some(Carried::Plain("x-1".to_owned())))
        );
        assert_eq!(Tds.request(&batch("SELECT 1")).unwrap().asked, None);
    }

    #[test]
    fn an_answer_is_well_if_its_last_token_says_so() {
        let done = |status: u8| frame(4, &[&[0xFD, status], [0; 11].as_slice()].concat());
        assert!(Tds.answer(&done(0)).unwrap().well && !Tds.answer(&done(2)).unwrap().well);
        assert!(!Tds.answer(&frame(4, b"short")).unwrap().well);
    }
}
