//! What the host understands of LDAP (RFC 4511): where a message ends, what its result says, and the forms in which a directory keeps
//! passwords. Which messages there are is for a plugin to know.

mod hash;

use keywheel_model::Effect;

use crate::channel::Channel;
use crate::{Deadline, Error};

pub use hash::{salted_sha1, salted_sha512};

/// Elements within elements, at most. An entry has six.
const DEPTH: usize = 16;
/// Elements of a message, at most.
const ELEMENTS: usize = 16 * 1024;
/// The longest length: four octets after the first.
const LENGTH_OCTETS: usize = 4;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const OCTETS: u8 = 0x04;
const CONTROLS: u8 = 0xa0;
const CONSTRUCTED: u8 = 0x20;

const BIND_RESPONSE: u8 = 0x61;
/// An entry, a reference, an intermediate response: more of the same answer follows.
const PARTS: [u8; 3] = [0x64, 0x73, 0x79];
/// The results of bind, search, modify, add, delete, rename, compare and extended operations.
const RESULTS: [u8; 8] = [BIND_RESPONSE, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x78];

/// Of draft-behera-ldap-password-policy: why a password is not taken, beside the result.
const PASSWORD_POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";
/// The last of its errors, `passwordInHistory`.
const LAST_POLICY_ERROR: u8 = 8;

/// Success; what a comparison says.
const DONE: [u32; 3] = [0, 5, 6];
/// The server failed, or somebody in front of it lost it: operations error, time limit, administrative limit, unavailable, loop, other.
const IN_DOUBT: [u32; 6] = [1, 3, 11, 52, 54, 80];
/// `16654`: what a modify with the no-op control is answered where it could have been done.
const NO_OPERATION: u32 = 0x410e;
/// The last code that RFC 4511 knows. Others are a proxy's or a library's.
const LAST_OWN: u32 = 71;

const INVALID_CREDENTIALS: u32 = 49;

/// What a bind says of the password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It opens the directory.
    Accepted,
    /// It is the right one, and good for nothing before it is changed.
    MustChange,
    /// It is the wrong one, or there is no such entry.
    Rejected,
    /// The entry is locked, or its password has expired.
    Account,
    /// Nothing.
    Unknown,
}

/// A whole message of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    whole: Vec<u8>,
    id: u32,
    operation: u8,
    code: Option<u32>,
    policy: Option<u8>,
}

impl Answer {
    /// Of exactly one message; none if it is not one of a server's, whole and within bounds.
    pub fn parse(whole: Vec<u8>) -> Option<Self> {
        let mut count = 0;
        is_sound(&whole, DEPTH, &mut count).then_some(())?;
        let (SEQUENCE, mut message, []) = element(&whole)? else {
            return None;
        };
        let id = number(take(&mut message, INTEGER)?)?;
        let (operation, content, mut rest) = element(message)?;
        let code = if RESULTS.contains(&operation) {
            Some(result_code(content)?)
        } else {
            PARTS.contains(&operation).then_some(())?;
            None
        };
        let policy = match take(&mut rest, CONTROLS) {
            Some(controls) => policy_error(controls),
            None => None,
        };
        rest.is_empty().then_some(())?;
        Some(Self {
            whole,
            id,
            operation,
            code,
            policy,
        })
    }

    /// All of it, as it came.
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Whether no more of the same answer follows.
    pub fn is_last(&self) -> bool {
        self.code.is_some()
    }

    /// The result's code (RFC 4511 appendix A); none of a part.
    pub fn code(&self) -> Option<u32> {
        self.code
    }

    /// What became of the request.
    pub fn effect(&self) -> Effect {
        match self.code {
            Some(code) if DONE.contains(&code) => Effect::Applied,
            Some(NO_OPERATION) => Effect::None,
            Some(code) if code > LAST_OWN || IN_DOUBT.contains(&code) => Effect::Maybe,
            Some(_) => Effect::None,
            None => Effect::Maybe,
        }
    }

    /// What it says of the password in a bind.
    pub fn bound(&self) -> Bound {
        match (self.operation, self.code, self.policy) {
            (BIND_RESPONSE, Some(0), Some(2)) => Bound::MustChange,
            (BIND_RESPONSE, Some(0), _) => Bound::Accepted,
            (BIND_RESPONSE, Some(INVALID_CREDENTIALS), Some(0 | 1)) => Bound::Account,
            (BIND_RESPONSE, Some(INVALID_CREDENTIALS), _) => Bound::Rejected,
            _ => Bound::Unknown,
        }
    }

    /// The result without any words of the server's: as a message of its own, with the code, and the password policy's error if there is one. Empty of
    /// a part.
    pub fn status(&self) -> Vec<u8> {
        let Some(code) = self.code else {
            return Vec::new();
        };
        let words = tlv(OCTETS, &[]);
        let result = [tlv(ENUMERATED, &integer(code)), words.clone(), words].concat();
        let mut message = [tlv(INTEGER, &integer(self.id)), tlv(self.operation, &result)].concat();
        if let Some(error) = self.policy {
            let value = tlv(SEQUENCE, &tlv(0x81, &[error]));
            let control = [tlv(OCTETS, PASSWORD_POLICY), tlv(OCTETS, &value)].concat();
            message.extend(tlv(CONTROLS, &tlv(SEQUENCE, &control)));
        }
        tlv(SEQUENCE, &message)
    }

    /// The values in it, one by one.
    pub fn values(&self) -> Vec<&[u8]> {
        let mut values = Vec::new();
        collect(&self.whole, &mut values);
        values
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("operation", &self.operation)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// Reads one message of at most so many bytes. The request that it answers counts as answered with the last part of its answer.
///
/// # Errors
/// [`Error::Protocol`] for what is not LDAP, [`Error::Limit`], [`Error::Timeout`], [`Error::Lost`]; the effect is `maybe` when something had been
/// sent.
pub async fn read_answer(channel: &mut Channel, limit: usize, deadline: Deadline) -> Result<Answer, Error> {
    let whole = read_element(channel, limit, deadline).await?;
    let answer = Answer::parse(whole).ok_or_else(|| Error::Protocol {
        expected: "a message of LDAP",
        effect: channel.effect(),
    })?;
    if answer.is_last() {
        channel.settle();
    }
    Ok(answer)
}

/// Reads one BER element with a tag of one octet and a definite length (X.690 8.1.3), of at most so many bytes.
///
/// # Errors
/// As [`read_answer`].
pub async fn read_element(channel: &mut Channel, limit: usize, deadline: Deadline) -> Result<Vec<u8>, Error> {
    let wrong = |channel: &Channel| Error::Protocol {
        expected: "a BER element with a short tag and a definite length",
        effect: channel.effect(),
    };
    let mut message = channel.read_exact_secret(2, deadline).await?.expose().to_vec();
    let (tag, first) = (message[0], message[1]);
    let more = usize::from(first & 0x7f);
    if tag & 0x1f == 0x1f || first == 0x80 || first >= 0x80 && more > LENGTH_OCTETS {
        return Err(wrong(channel));
    }
    let mut length = more;
    if first >= 0x80 {
        let octets = channel.read_exact_secret(more, deadline).await?;
        length = octets
            .expose()
            .iter()
            .fold(0, |length, octet| length << 8 | usize::from(*octet));
        message.extend_from_slice(octets.expose());
    }
    if message.len().saturating_add(length) > limit {
        return Err(Error::Limit {
            what: "the size of the answer",
            limit,
            effect: channel.effect(),
        });
    }
    if length > 0 {
        message.extend_from_slice(channel.read_exact_secret(length, deadline).await?.expose());
    }
    Ok(message)
}

/// The first element: its tag, what is in it, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    if tag & 0x1f == 0x1f || first == 0x80 {
        return None;
    }
    let more = usize::from(first & 0x7f);
    let (length, rest) = if first < 0x80 {
        (more, rest)
    } else if more <= LENGTH_OCTETS {
        let (octets, rest) = rest.split_at_checked(more)?;
        let length = octets
            .iter()
            .fold(0, |length, octet| length << 8 | usize::from(*octet));
        (length, rest)
    } else {
        return None;
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Takes off the first element if it has this tag.
fn take<'b>(bytes: &mut &'b [u8], wanted: u8) -> Option<&'b [u8]> {
    let (tag, content, rest) = element(bytes)?;
    (tag == wanted).then(|| {
        *bytes = rest;
        content
    })
}

/// Not negative, of four octets at most.
fn number(octets: &[u8]) -> Option<u32> {
    let is_number = (1..=4).contains(&octets.len()) && octets[0] < 0x80;
    is_number.then(|| {
        octets
            .iter()
            .fold(0, |number, octet| number << 8 | u32::from(*octet))
    })
}

fn result_code(mut content: &[u8]) -> Option<u32> {
    let code = number(take(&mut content, ENUMERATED)?)?;
    take(&mut content, OCTETS)?;
    take(&mut content, OCTETS)?;
    Some(code)
}

fn policy_error(mut controls: &[u8]) -> Option<u8> {
    while let Some(mut control) = take(&mut controls, SEQUENCE) {
        if take(&mut control, OCTETS) == Some(PASSWORD_POLICY) {
            let _criticality = take(&mut control, 0x01);
            let mut value = take(&mut control, OCTETS)?;
            let mut value = take(&mut value, SEQUENCE)?;
            let _warning = take(&mut value, 0xa0);
            let error = number(take(&mut value, 0x81)?)?;
            return u8::try_from(error)
                .ok()
                .filter(|error| *error <= LAST_POLICY_ERROR);
        }
    }
    None
}

/// Whether these are whole elements, of which the constructed ones hold whole elements, within bounds.
fn is_sound(mut bytes: &[u8], depth: usize, count: &mut usize) -> bool {
    while !bytes.is_empty() {
        *count += 1;
        let Some((tag, content, rest)) = element(bytes).filter(|_| depth > 0 && *count <= ELEMENTS) else {
            return false;
        };
        if tag & CONSTRUCTED != 0 && !is_sound(content, depth - 1, count) {
            return false;
        }
        bytes = rest;
    }
    true
}

/// No deeper than [`is_sound`] went.
fn collect<'b>(mut bytes: &'b [u8], values: &mut Vec<&'b [u8]>) {
    while let Some((tag, content, rest)) = element(bytes) {
        if tag & CONSTRUCTED == 0 {
            values.push(content);
        } else {
            collect(content, values);
        }
        bytes = rest;
    }
}

/// As few octets as there may be, the first below 0x80.
fn integer(number: u32) -> Vec<u8> {
    let octets = [&[0][..], &number.to_be_bytes()].concat();
    let is_needed = |at: usize| octets[at] != 0 || octets.get(at + 1).is_none_or(|next| *next >= 0x80);
    let first = (0..octets.len()).find(|at| is_needed(*at)).unwrap_or(0);
    octets[first..].to_vec()
}

/// Of what is written here alone: shorter than 128 octets.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(0x7f);
    [&[tag, length], content].concat()
}

#[cfg(test)]
mod tests;
