//! Answers of LDAP, as the host hands them on: whole messages, of which a result may have lost its words.

use std::collections::BTreeMap;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const OCTETS: u8 = 0x04;
const CONTROLS: u8 = 0xa0;
/// Of an extended operation: its value.
const VALUE: u8 = 0x8b;

/// Of draft-behera-ldap-password-policy.
const PASSWORD_POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The result (RFC 4511 appendix A).
    pub code: u32,
    /// What the password policy says beside it: 0 expired, 1 locked, 2 to be changed before anything else, 3 to 8 why a new one is not taken.
    pub policy: Option<u32>,
    /// Of an extended operation; invalid UTF-8 is replaced.
    pub value: String,
}

/// An entry, or as much of it as was asked for and is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry(BTreeMap<String, Vec<String>>);

impl Entry {
    /// The values of an attribute, whichever letters it is written in.
    pub fn all(&self, attribute: &str) -> &[String] {
        self.0.get(&attribute.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The first value, or nothing.
    pub fn text(&self, attribute: &str) -> &str {
        self.all(attribute).first().map_or("", String::as_str)
    }

    /// Whether one of the values is this.
    pub fn has(&self, attribute: &str, value: &str) -> bool {
        self.all(attribute).iter().any(|one| one.eq_ignore_ascii_case(value))
    }

    /// The number that is its value; 0 for anything else.
    pub fn number(&self, attribute: &str) -> u64 {
        self.text(attribute).parse().unwrap_or(0)
    }
}

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The last of an answer.
    Done(Done),
    Entry(Entry),
    /// Where more could be looked for; nobody does.
    Reference,
}

/// Reads exactly one message, with its number; none for anything else.
pub(super) fn read(bytes: &[u8]) -> Option<(u32, Message)> {
    let (SEQUENCE, mut message, []) = element(bytes)? else { return None };
    let id = number(take(&mut message, INTEGER)?)?;
    let (operation, content, mut rest) = element(message)?;
    let message = match operation {
        0x64 => Message::Entry(entry(content)?),
        0x73 | 0x79 => Message::Reference,
        0x61 | 0x65 | 0x67 | 0x6f | 0x78 => {
            let policy = take(&mut rest, CONTROLS).and_then(policy);
            Message::Done(done(content, policy)?)
        }
        _ => return None,
    };
    Some((id, message))
}

fn done(mut content: &[u8], policy: Option<u32>) -> Option<Done> {
    let code = number(take(&mut content, ENUMERATED)?)?;
    take(&mut content, OCTETS)?;
    take(&mut content, OCTETS)?;
    let mut value = String::new();
    while let Some((tag, octets, rest)) = element(content) {
        if tag == VALUE {
            value = text(octets);
        }
        content = rest;
    }
    Some(Done { code, policy, value })
}

fn entry(mut content: &[u8]) -> Option<Entry> {
    take(&mut content, OCTETS)?;
    let mut attributes = take(&mut content, SEQUENCE)?;
    let mut entry = BTreeMap::new();
    while !attributes.is_empty() {
        let mut attribute = take(&mut attributes, SEQUENCE)?;
        let name = text(take(&mut attribute, OCTETS)?).to_ascii_lowercase();
        let (mut set, mut values) = (take(&mut attribute, SET)?, Vec::new());
        while !set.is_empty() {
            values.push(text(take(&mut set, OCTETS)?));
        }
        entry.insert(name, values);
    }
    Some(Entry(entry))
}

fn policy(mut controls: &[u8]) -> Option<u32> {
    while let Some(mut control) = take(&mut controls, SEQUENCE) {
        if take(&mut control, OCTETS) == Some(PASSWORD_POLICY) {
            let _criticality = take(&mut control, 0x01);
            let mut value = take(&mut control, OCTETS)?;
            let mut value = take(&mut value, SEQUENCE)?;
            let _warning = take(&mut value, 0xa0);
            return number(take(&mut value, 0x81)?);
        }
    }
    None
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Not negative, of four octets at most.
fn number(octets: &[u8]) -> Option<u32> {
    let is_number = (1..=4).contains(&octets.len()) && octets[0] < 0x80;
    is_number.then(|| octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

/// Takes off the first element if it has this tag.
fn take<'b>(bytes: &mut &'b [u8], wanted: u8) -> Option<&'b [u8]> {
    let (tag, content, rest) = element(bytes)?;
    (tag == wanted).then(|| {
        *bytes = rest;
        content
    })
}

/// The first element: its tag of one octet, what is in it by a definite length, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let more = usize::from(first & 0x7f);
    let (length, rest) = match first {
        0..=0x7f => (more, rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(more)?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: &[u8] = &[0x30, 12, 2, 1, 2, 0x61, 7, 0x0a, 1, 49, 4, 0, 4, 0];

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    #[test]
    fn a_result_is_read_with_what_the_password_policy_says() {
        let done = |policy| Message::Done(Done { code: 49, policy, value: String::new() });
        assert_eq!(read(BOUND), Some((2, done(None))));
        let value = wrap(OCTETS, &wrap(SEQUENCE, &[0x81, 1, 1]));
        let control = wrap(SEQUENCE, &[wrap(OCTETS, PASSWORD_POLICY), value].concat());
        let whole = wrap(SEQUENCE, &[&BOUND[2..], &wrap(CONTROLS, &control)].concat());
        assert_eq!(read(&whole), Some((2, done(Some(1)))));
    }

    #[test]
    fn an_entry_is_found_by_attribute_and_an_extended_answer_has_its_value() {
        let values = [wrap(OCTETS, b"top"), wrap(OCTETS, b"person")].concat();
        let attribute = wrap(SEQUENCE, &[wrap(OCTETS, b"objectClass"), wrap(SET, &values)].concat());
        let entry = [wrap(OCTETS, b"cn=app"), wrap(SEQUENCE, &attribute)].concat();
        let whole = wrap(SEQUENCE, &[&[2, 1, 3][..], &wrap(0x64, &entry)].concat());
        let Some((3, Message::Entry(entry))) = read(&whole) else { panic!("no entry") };
        assert!(entry.has("OBJECTCLASS", "Person") && entry.text("objectClass") == "top");
        assert_eq!((entry.text("cn"), entry.number("cn")), ("", 0));
        let content = [&[0x0a, 1, 0, 4, 0, 4, 0][..], &wrap(VALUE, b"dn:cn=app")].concat();
        let whole = wrap(SEQUENCE, &[&[2, 1, 3][..], &wrap(0x78, &content)].concat());
        assert!(matches!(read(&whole), Some((3, Message::Done(done))) if done.value == "dn:cn=app"));
    }

    #[test]
    fn what_is_cut_off_padded_or_no_answer_is_refused() {
        let mut request = BOUND.to_vec();
        request[5] = 0x60;
        for bad in [&BOUND[..13], &[BOUND, &[0]].concat(), &request, &[], &[0x30, 0x80, 0, 0], b"HTTP/1.1 400"] {
            assert_eq!(read(bad), None, "{bad:02x?}");
        }
    }
}
