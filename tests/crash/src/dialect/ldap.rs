use super::{Answer, Asked, Carried, Dialect, Request};
use crate::proxy::Kind;

const SEQUENCE: u8 = 0x30;
const BIND: u8 = 0x60;
const MODIFY: u8 = 0x66;
/// An entry, a reference, an intermediate response.
const PARTS: [u8; 3] = [0x64, 0x73, 0x79];
/// With it a change is not made.
const NO_OPERATION: &[u8] = b"1.3.6.1.4.1.4203.666.5.2";
const DELETE: &[u8] = &[1];

/// LDAP, without TLS. Each request has one answer, of one message or of entries before it.
#[derive(Debug, Default)]
pub(crate) struct Ldap;

pub(crate) fn make() -> (Box<dyn Dialect>, Box<dyn Dialect>) {
    (Box::new(Ldap), Box::new(Ldap))
}

/// The element at the start: its tag, what is in it, and its whole length.
pub(crate) fn element(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [tag, first] = *bytes.first_chunk()?;
    let more = if first < 0x80 {
        0
    } else {
        usize::from(first & 0x7f)
    };
    let octets = bytes.get(2..2 + more)?;
    let long = octets
        .iter()
        .fold(0, |length, octet| length << 8 | usize::from(*octet));
    let length = if first < 0x80 { usize::from(first) } else { long };
    let end = (2 + more).checked_add(length)?;
    Some((tag, bytes.get(2 + more..end)?, end))
}

/// The elements in an element.
fn elements(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let Some((tag, content, length)) = element(bytes) {
        all.push((tag, content));
        bytes = &bytes[length..];
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn asked(message: &[u8]) -> Option<Asked> {
    let all = elements(message);
    let [_, (operation, content), ..] = all.as_slice() else {
        return None;
    };
    let asked = |kind, name: &[u8], carried| {
        let account = text(name);
        Some(Asked {
            kind,
            account,
            carried,
        })
    };
    match (*operation, elements(content).as_slice()) {
        (BIND, [_, (_, name), _]) => asked(Kind::Login, name, None),
        (MODIFY, [(_, name), (_, changes)])
            if !message
                .windows(NO_OPERATION.len())
                .any(|part| part == NO_OPERATION) =>
        {
            let (_, change, _) = element(changes)?;
            let [(_, kind), (_, attribute)] = *elements(change).as_slice() else {
                return None;
            };
            let values = elements(attribute).get(1).map(|(_, set)| elements(set))?;
            let added = values.first().filter(|_| kind != DELETE);
            asked(
                Kind::Change,
                name,
                added.map(|(_, value)| Carried::Directory(text(value))),
            )
        }
        _ => None,
    }
}

impl Dialect for Ldap {
    fn request(&mut self, bytes: &[u8]) -> Option<Request> {
        let (_, message, length) = element(bytes)?;
        Some(Request {
            length,
            ends_group: true,
            asked: asked(message),
        })
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        let (tag, message, length) = element(bytes)?;
        let all = elements(message);
        let (operation, content) = all.get(1).copied().filter(|_| tag == SEQUENCE)?;
        let code = element(content).map(|(_, code, _)| code);
        Some(Answer {
            length,
            ends_group: !PARTS.contains(&operation),
            well: code == Some(&[0]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, 0x81, length][..], &content].concat()
    }

    fn message(operation: u8, parts: &[&[u8]], control: &[u8]) -> Vec<u8> {
        wrap(SEQUENCE, &[&[2, 1, 3], &wrap(operation, parts), control])
    }

    fn change(kind: u8, control: &[u8]) -> Option<Asked> {
        let values = wrap(0x31, &[&wrap(4, &[b"{SSHA}abc"])]);
        let attribute = wrap(SEQUENCE, &[&wrap(4, &[b"userPassword"]), &values]);
        let one = wrap(SEQUENCE, &[&[0x0a, 1, kind], &attribute]);
        let whole = message(
            MODIFY,
            &[&wrap(4, &[b"cn=app"]), &wrap(SEQUENCE, &[&one])],
            control,
        );
        Ldap.request(&whole).unwrap().asked
    }

    #[test]
    fn logins_and_changes_are_found_and_parts_are_waited_for() {
        let bind = message(
            BIND,
            &[&[2, 1, 3], &wrap(4, &[b"cn=app"]), &wrap(0x80, &[b"secret"])],
            &[],
        );
        let request = Ldap.request(&bind).unwrap();
        let asked = request.asked.unwrap();
        assert_eq!((asked.kind, asked.account.as_str()), (Kind::Login, "cn=app"));
        assert_eq!(
            (request.length, Ldap.request(&bind[..bind.len() - 1])),
            (bind.len(), None)
        );
        let added = change(0, &[]).unwrap();
        assert_eq!((added.kind, added.account.as_str()), (Kind::Change, "cn=app"));
        assert_eq!(added.carried, Some(Carried::Directory("{SSHA}abc".to_owned())));
        assert_eq!(change(1, &[]).unwrap().carried, None);
        assert_eq!(change(0, &wrap(0xa0, &[NO_OPERATION])), None);
    }

    #[test]
    fn an_answer_ends_with_its_result() {
        let result = |code| message(0x67, &[&[0x0a, 1, code, 4, 0, 4, 0]], &[]);
        let done = Ldap.answer(&result(0)).unwrap();
        assert!(done.ends_group && done.well);
        assert!(!Ldap.answer(&result(49)).unwrap().well);
        assert!(!Ldap.answer(&message(0x64, &[&[4, 0]], &[])).unwrap().ends_group);
        assert_eq!(Ldap.answer(&result(0)[..5]), None);
    }
}
