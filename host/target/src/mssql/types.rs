//! Types of columns, and their values (MS-TDS 2.2.5.4 and 2.2.5.5).

use super::fields::{Fields, utf16};
use crate::statement::Value;

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bit,
    Int,
    Float,
    /// Two bytes a character.
    Wide,
    /// By the column's code page: taken as UTF-8, else as bytes.
    Narrow,
    Bytes,
    /// Not read here: the statement has to cast it.
    Other,
}

/// How long a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Fixed(usize),
    /// In one byte; 0 is null.
    Byte,
    /// In two bytes; 65535 is null.
    Two,
    /// In four bytes; 0 is null.
    Four,
    /// In parts.
    Parts,
}

/// A column.
pub(super) struct Column {
    pub(super) name: String,
    kind: Kind,
    length: Length,
    pub(super) number: u8,
}

impl Column {
    /// None: it is not of the protocol, or of a type that nobody needs here and whose description is of its own (`xml`, `text`, CLR types).
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let _user_type_and_flags = fields.take(6)?;
        let number = fields.byte()?;
        let (kind, length) = describe(number, fields)?;
        Some(Self {
            name: fields.short_text()?,
            kind,
            length,
            number,
        })
    }

    /// Whether its values can be read.
    pub(super) fn is_readable(&self) -> bool {
        self.kind != Kind::Other
    }

    pub(super) fn value(&self, fields: &mut Fields<'_>) -> Option<Value> {
        let parts;
        let raw = match self.length {
            Length::Fixed(length) => Some(fields.take(length)?),
            Length::Byte => match fields.byte()? {
                0 => None,
                length => Some(fields.take(length.into())?),
            },
            Length::Two => match fields.two()? {
                u16::MAX => None,
                length => Some(fields.take(length.into())?),
            },
            Length::Four => match fields.four()? {
                0 => None,
                length => Some(fields.take(usize::try_from(length).ok()?)?),
            },
            Length::Parts => {
                parts = in_parts(fields)?;
                parts.as_deref()
            }
        };
        let Some(raw) = raw else {
            return Some(Value::Null);
        };
        Some(match self.kind {
            Kind::Bit => Value::Bool(*raw.first()? != 0),
            Kind::Int => Value::Int(integer(raw)?),
            Kind::Float => Value::Float(float(raw)?),
            Kind::Wide => Value::Text(utf16(raw)),
            Kind::Narrow => match std::str::from_utf8(raw) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Bytes(raw.to_vec()),
            },
            Kind::Bytes | Kind::Other => Value::Bytes(raw.to_vec()),
        })
    }
}

fn describe(number: u8, fields: &mut Fields<'_>) -> Option<(Kind, Length)> {
    let fixed = |kind, length| Some((kind, Length::Fixed(length)));
    match number {
        0x1F => fixed(Kind::Other, 0),
        0x30 => fixed(Kind::Int, 1),
        0x32 => fixed(Kind::Bit, 1),
        0x34 => fixed(Kind::Int, 2),
        0x38 => fixed(Kind::Int, 4),
        0x7F => fixed(Kind::Int, 8),
        0x3B => fixed(Kind::Float, 4),
        0x3E => fixed(Kind::Float, 8),
        // Money and dates.
        0x3A | 0x7A => fixed(Kind::Other, 4),
        0x3C | 0x3D => fixed(Kind::Other, 8),
        // The same where they may be null; identifiers; then decimals with two more bytes, times with one, dates with none.
        0x26 | 0x68 | 0x6D | 0x24 | 0x6E | 0x6F => {
            fields.byte()?;
            let kind = match number {
                0x26 => Kind::Int,
                0x68 => Kind::Bit,
                0x6D => Kind::Float,
                _ => Kind::Other,
            };
            Some((kind, Length::Byte))
        }
        0x6A | 0x6C => fields.take(3).map(|_| (Kind::Other, Length::Byte)),
        0x29..=0x2B => fields.take(1).map(|_| (Kind::Other, Length::Byte)),
        0x28 => Some((Kind::Other, Length::Byte)),
        // A value of any type.
        0x62 => fields.take(4).map(|_| (Kind::Other, Length::Four)),
        0xA5 | 0xAD | 0xA7 | 0xAF | 0xE7 | 0xEF => {
            let most = fields.two()?;
            let kind = match number {
                0xA5 | 0xAD => Kind::Bytes,
                0xA7 | 0xAF => Kind::Narrow,
                _ => Kind::Wide,
            };
            if kind != Kind::Bytes {
                let _collation = fields.take(5)?;
            }
            let length = if most == u16::MAX {
                Length::Parts
            } else {
                Length::Two
            };
            Some((kind, length))
        }
        _ => None,
    }
}

/// None within: null.
#[expect(clippy::option_option, reason = "garbled, or null")]
fn in_parts(fields: &mut Fields<'_>) -> Option<Option<Vec<u8>>> {
    if fields.eight()? == u64::MAX {
        return Some(None);
    }
    let mut whole = Vec::new();
    loop {
        let length = usize::try_from(fields.four()?).ok()?;
        if length == 0 {
            return Some(Some(whole));
        }
        whole.extend_from_slice(fields.take(length)?);
    }
}

/// The shortest is without a sign.
fn integer(raw: &[u8]) -> Option<i64> {
    Some(match *raw {
        [one] => one.into(),
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        _ => i64::from_le_bytes(*raw.first_chunk()?),
    })
}

fn float(raw: &[u8]) -> Option<f64> {
    Some(match *raw {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).into(),
        _ => f64::from_le_bytes(*raw.first_chunk()?),
    })
}
