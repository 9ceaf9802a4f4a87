use std::io;

use super::packet::{Packets, Stream, garbled};
use crate::postgres::{RowLimits, Rows};
use crate::statement::Value;

const OK: u8 = 0x00;
const ERROR: u8 = 0xFF;
const END: u8 = 0xFE;
const NULL: u8 = 0xFB;
const QUERY: u8 = 0x03;

/// Most columns of an answer.
const COLUMNS: u64 = 4096;

/// The character set that means none.
const BINARY: u16 = 63;

/// Takes a packet apart; whatever is not there is none.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn two_bytes(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn until_nul(&mut self) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|byte| *byte == 0)?;
        let taken = self.take(at)?;
        self.byte()?;
        Some(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A number of one, three, four or nine bytes.
    fn number(&mut self) -> Option<u64> {
        let length = match self.byte()? {
            small @ ..=0xFA => return Some(small.into()),
            0xFC => 2,
            0xFD => 3,
            0xFE => 8,
            _ => return None,
        };
        let bytes = self.take(length)?.iter().rev();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// An error as the server sent it.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) number: u16,
    pub(super) sqlstate: String,
    pub(super) message: String,
}

impl Reported {
    /// Before a login the SQLSTATE may be missing.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(packet);
        (fields.byte()? == ERROR).then_some(())?;
        let number = fields.two_bytes()?;
        let mut words = fields.rest();
        let mut sqlstate = "HY000".to_owned();
        if let [b'#', state @ ..] = words
            && let Some((state, rest)) = state.split_at_checked(5)
            && state.iter().all(u8::is_ascii_alphanumeric)
        {
            sqlstate = String::from_utf8_lossy(state).into_owned();
            words = rest;
        }
        Some(Self {
            number,
            sqlstate,
            message: String::from_utf8_lossy(words).into_owned(),
        })
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    Reported(Reported),
    /// The stream ended, brought too much, or what is not of the protocol.
    Stream(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

/// A packet that is no error.
pub(super) async fn next<S: Stream>(packets: &mut Packets<S>) -> Result<Vec<u8>, Trouble> {
    let packet = packets.read().await?;
    match packet.first() {
        Some(&ERROR) => Err(Reported::read(&packet).map_or_else(|| garbled().into(), Trouble::Reported)),
        _ => Ok(packet),
    }
}

/// Sends one statement and reads its answer whole: how many rows it touched, or the rows that it gives back. What is over the limits is
/// read and thrown away.
pub(super) async fn ask<S: Stream>(
    packets: &mut Packets<S>,
    sql: &str,
    limits: RowLimits,
) -> Result<(u64, Rows), Trouble> {
    packets.begin();
    let command = zeroize::Zeroizing::new([&[QUERY], sql.as_bytes()].concat());
    packets.write(&command).await?;
    let first = next(packets).await?;
    let mut fields = Fields::of(&first);
    match first.first() {
        Some(&OK) => {
            fields.byte();
            return Ok((fields.number().ok_or_else(garbled)?, Rows::default()));
        }
        // It asks for a file of this machine.
        Some(&NULL) | None => return Err(garbled().into()),
        _ => {}
    }
    let count = fields
        .number()
        .filter(|count| *count <= COLUMNS)
        .ok_or_else(garbled)?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(Column::read(&next(packets).await?).ok_or_else(garbled)?);
    }
    if !is_end(&next(packets).await?) {
        return Err(garbled().into());
    }
    let mut rows = Rows {
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        ..Rows::default()
    };
    let mut bytes = 0;
    loop {
        let packet = next(packets).await?;
        if is_end(&packet) {
            return Ok((0, rows));
        }
        let row = read_row(&columns, &packet).ok_or_else(garbled)?;
        bytes += packet.len();
        if rows.rows.len() >= limits.rows || bytes > limits.bytes {
            rows.truncated = true;
        } else if !rows.truncated {
            rows.rows.push(row);
        }
    }
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&END) && packet.len() < 9
}

struct Column {
    name: String,
    kind: u8,
    character_set: u16,
}

impl Column {
    fn read(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(packet);
        // Catalogue, schema, table, the table's own name.
        for _ in 0..4 {
            fields.text()?;
        }
        let name = String::from_utf8_lossy(fields.text()?).into_owned();
        let (_own_name, _length_of_what_follows) = (fields.text()?, fields.number()?);
        let character_set = fields.two_bytes()?;
        let _width = fields.take(4)?;
        Some(Self {
            name,
            kind: fields.byte()?,
            character_set,
        })
    }

    /// Values come as text. What has no type here stays that; bytes stay bytes.
    fn value(&self, raw: &[u8]) -> Value {
        const INTEGERS: [u8; 6] = [1, 2, 3, 8, 9, 13];
        const FLOATS: [u8; 2] = [4, 5];
        const BIT: u8 = 16;
        const GEOMETRY: u8 = 255;
        const STRINGS: [u8; 7] = [15, 249, 250, 251, 252, 253, 254];
        let is_binary = self.kind == BIT
            || self.kind == GEOMETRY
            || self.character_set == BINARY && STRINGS.contains(&self.kind);
        let Some(text) = std::str::from_utf8(raw).ok().filter(|_| !is_binary) else {
            return Value::Bytes(raw.to_vec());
        };
        let integer = text.parse().ok().filter(|_| INTEGERS.contains(&self.kind));
        let float = text.parse().ok().filter(|_| FLOATS.contains(&self.kind));
        integer
            .map(Value::Int)
            .or(float.map(Value::Float))
            .unwrap_or_else(|| Value::Text(text.to_owned()))
    }
}

fn read_row(columns: &[Column], packet: &[u8]) -> Option<Vec<Value>> {
    let mut fields = Fields::of(packet);
    let mut row = Vec::with_capacity(columns.len());
    for column in columns {
        if fields.0.first() == Some(&NULL) {
            fields.byte();
            row.push(Value::Null);
        } else {
            row.push(column.value(fields.text()?));
        }
    }
    fields.0.is_empty().then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_with_and_without_its_sqlstate() {
        let with = Reported::read(b"\xFF\x15\x04#28000Access denied").unwrap();
        assert_eq!(
            (with.number, with.sqlstate.as_str(), with.message.as_str()),
            (1045, "28000", "Access denied")
        );
        let without = Reported::read(b"\xFF\x10\x04Too many connections").unwrap();
        assert_eq!(
            (without.number, without.message.as_str()),
            (1040, "Too many connections")
        );
        assert!(Reported::read(b"\xFF\x10").is_none() && Reported::read(b"\0").is_none());
    }

    #[test]
    fn numbers_of_every_length_are_read_and_lengths_beyond_the_packet_are_not() {
        for (bytes, number) in [
            (b"\x07".as_slice(), Some(7)),
            (b"\xFC\x01\x02", Some(0x201)),
            (b"\xFD\x01\x02\x03", Some(0x03_0201)),
            (b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", Some(u64::MAX)),
            (b"\xFD\x01\x02", None),
            (b"\xFB", None),
            (b"", None),
        ] {
            assert_eq!(Fields::of(bytes).number(), number, "{bytes:?}");
        }
        assert!(
            Fields::of(b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFx")
                .text()
                .is_none()
        );
        assert!(Fields::of(b"\x02x").text().is_none());
    }
}
