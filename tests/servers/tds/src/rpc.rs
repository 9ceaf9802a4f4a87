//! A call of a procedure: `sp_executesql`, with its parameters.

use crate::login::utf16;
use crate::value::Value;

const EXECUTE_SQL: u16 = 10;

/// A statement and what its variables are.
pub(crate) struct Call {
    pub(crate) sql: String,
    pub(crate) variables: Vec<(String, Value)>,
}

/// None: it is no call of `sp_executesql`, or garbled.
pub(crate) fn read(message: &[u8]) -> Option<Call> {
    let mut bytes = Bytes(after_headers(message)?);
    let name_length = bytes.two()?;
    if name_length == 0xFFFF {
        (bytes.two()? == EXECUTE_SQL).then_some(())?;
    } else {
        let name = utf16(bytes.take(2 * usize::from(name_length))?)?;
        name.to_ascii_lowercase()
            .ends_with("sp_executesql")
            .then_some(())?;
    }
    bytes.two()?;
    let mut parameters = Vec::new();
    while !bytes.0.is_empty() {
        parameters.push(bytes.parameter()?);
    }
    let mut parameters = parameters.into_iter();
    let (_, Value::Text(sql)) = parameters.next()? else {
        return None;
    };
    let declared = parameters
        .next()
        .map(|(_, value)| value.text())
        .unwrap_or_default();
    let mut names = declared.split('@').skip(1).map(|rest| {
        let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
        format!("@{}", rest[..end].to_lowercase())
    });
    let variables = parameters.map(|(name, value)| {
        let declared = names.next().unwrap_or_default();
        (
            if name.is_empty() {
                declared
            } else {
                name.to_lowercase()
            },
            value,
        )
    });
    Some(Call {
        sql,
        variables: variables.collect(),
    })
}

/// What stands behind the headers that begin a message.
pub(crate) fn after_headers(message: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(*message.first_chunk()?);
    message.get(usize::try_from(length).ok().filter(|length| *length >= 4)?..)
}

/// The transaction that the headers say the message is of; 0: none.
pub(crate) fn transaction_of(message: &[u8]) -> Option<u64> {
    const TRANSACTION: u16 = 2;
    let total = message.len() - after_headers(message)?.len();
    let mut headers = Bytes(message.get(4..total)?);
    while !headers.0.is_empty() {
        let length = usize::try_from(u32::from_le_bytes(*headers.take(4)?.first_chunk()?)).ok()?;
        let mut header = Bytes(headers.take(length.checked_sub(4)?)?);
        if header.two()? == TRANSACTION {
            return Some(u64::from_le_bytes(*header.take(8)?.first_chunk()?));
        }
    }
    None
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn one(&mut self) -> Option<u8> {
        self.take(1).map(|one| one[0])
    }

    fn two(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_le_bytes([two[0], two[1]]))
    }

    fn parameter(&mut self) -> Option<(String, Value)> {
        let length = usize::from(self.one()?);
        let name = utf16(self.take(2 * length)?)?;
        let _status = self.one()?;
        Some((name, self.value()?))
    }

    fn value(&mut self) -> Option<Value> {
        let number = |raw: &[u8]| {
            raw.iter()
                .rev()
                .fold(0_i64, |number, byte| number << 8 | i64::from(*byte))
        };
        let signed = |raw: &[u8]| {
            let unused = 64_usize.saturating_sub(8 * raw.len());
            number(raw) << unused >> unused
        };
        Some(match self.one()? {
            // Integers and bits that may be null.
            kind @ (0x26 | 0x68) => {
                self.one()?;
                let length = usize::from(self.one()?);
                let raw = self.take(length)?;
                match (kind, length) {
                    (_, 0) => Value::Null,
                    (0x68, _) => Value::Bit(raw[0] != 0),
                    (_, 1) => Value::Int(raw[0].into()),
                    _ => Value::Int(signed(raw)),
                }
            }
            0x38 => Value::Int(signed(self.take(4)?)),
            0x7F => Value::Int(signed(self.take(8)?)),
            0x34 => Value::Int(signed(self.take(2)?)),
            0x30 => Value::Int(self.one()?.into()),
            0x32 => Value::Bit(self.one()? != 0),
            kind @ (0xE7 | 0xEF | 0xA7 | 0xAF | 0xA5 | 0xAD) => {
                let most = self.two()?;
                if kind != 0xA5 && kind != 0xAD {
                    self.take(5)?;
                }
                let raw = if most == 0xFFFF {
                    self.chunks()?
                } else {
                    self.short()?
                };
                text(kind, raw)?
            }
            // ntext.
            0x63 => {
                self.take(9)?;
                let length = u32::from_le_bytes(*self.take(4)?.first_chunk()?);
                text(0xE7, Some(self.take(usize::try_from(length).ok()?)?.to_vec()))?
            }
            _ => return None,
        })
    }

    /// None within: null.
    #[expect(clippy::option_option, reason = "garbled, or null")]
    fn short(&mut self) -> Option<Option<Vec<u8>>> {
        let length = self.two()?;
        if length == 0xFFFF {
            return Some(None);
        }
        Some(Some(self.take(length.into())?.to_vec()))
    }

    #[expect(clippy::option_option, reason = "garbled, or null")]
    fn chunks(&mut self) -> Option<Option<Vec<u8>>> {
        let total = u64::from_le_bytes(*self.take(8)?.first_chunk()?);
        if total == u64::MAX {
            return Some(None);
        }
        let mut whole = Vec::new();
        loop {
            let length = u32::from_le_bytes(*self.take(4)?.first_chunk()?);
            if length == 0 {
                return Some(Some(whole));
            }
            whole.extend_from_slice(self.take(usize::try_from(length).ok()?)?);
        }
    }
}

fn text(kind: u8, raw: Option<Vec<u8>>) -> Option<Value> {
    let Some(raw) = raw else { return Some(Value::Null) };
    Some(match kind {
        0xE7 | 0xEF => Value::Text(utf16(&raw)?),
        0xA5 | 0xAD => Value::Bytes(raw),
        _ => Value::Text(String::from_utf8_lossy(&raw).into_owned()),
    })
}
