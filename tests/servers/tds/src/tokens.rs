//! The tokens of an answer.

use crate::value::Value;

/// An error or a word of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) number: u32,
    /// As the server's own log has it; a client that is not logged in is told 1.
    pub(crate) state: u8,
    pub(crate) class: u8,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(number: u32, message: impl Into<String>) -> Self {
        Self {
            number,
            state: 1,
            class: 16,
            message: message.into(),
        }
    }

    pub(crate) fn with_state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }
}

/// Latin, ignoring case: what servers are set up with.
const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];
const LONG_CHARACTERS: usize = 4000;

/// An answer under construction.
#[derive(Default)]
pub(crate) struct Tokens(pub(crate) Vec<u8>);

impl Tokens {
    pub(crate) fn error(&mut self, problem: &Problem) {
        self.said(0xAA, problem);
    }

    pub(crate) fn info(&mut self, number: u32, message: &str) {
        let mut word = Problem::new(number, message);
        (word.state, word.class) = (2, 10);
        self.said(0xAB, &word);
    }

    fn said(&mut self, token: u8, said: &Problem) {
        let mut body = said.number.to_le_bytes().to_vec();
        body.extend([said.state, said.class]);
        body.extend(us_text(&said.message));
        body.extend(b_text(crate::SERVER_NAME));
        body.extend(b_text(""));
        body.extend(1_u32.to_le_bytes());
        self.sized(token, &body);
    }

    pub(crate) fn login_ack(&mut self, tds_version: u32) {
        let mut body = vec![1];
        body.extend(tds_version.to_be_bytes());
        body.extend(b_text("Microsoft SQL Server"));
        body.extend(crate::VERSION_BYTES);
        self.sized(0xAD, &body);
    }

    /// Something of the session is another from now on: 1 the database, 2 the language, 4 the size of packets.
    pub(crate) fn change(&mut self, kind: u8, new: &str, old: &str) {
        let body = [vec![kind], b_text(new), b_text(old)].concat();
        self.sized(0xE3, &body);
    }

    pub(crate) fn collation(&mut self) {
        let body = [&[7, 5][..], &COLLATION, &[0]].concat();
        self.sized(0xE3, &body);
    }

    /// A transaction began (8), was committed (9), was rolled back (10).
    pub(crate) fn transaction(&mut self, kind: u8, number: u64) {
        let number = number.to_le_bytes();
        let body = if kind == 8 {
            [&[8, 8][..], &number, &[0]].concat()
        } else {
            [&[kind, 0, 8][..], &number].concat()
        };
        self.sized(0xE3, &body);
    }

    /// The end of a statement (0xFD), within a procedure (0xFF), of a procedure (0xFE).
    pub(crate) fn done(&mut self, token: u8, status: u16, count: Option<u64>) {
        const COUNTED: u16 = 0x10;
        let status = status | if count.is_some() { COUNTED } else { 0 };
        self.0.push(token);
        self.0.extend(status.to_le_bytes());
        self.0.extend(0_u16.to_le_bytes());
        self.0.extend(count.unwrap_or(0).to_le_bytes());
    }

    pub(crate) fn return_status(&mut self, status: i32) {
        self.0.push(0x79);
        self.0.extend(status.to_le_bytes());
    }

    /// Columns, each of the type that its values have, and the rows.
    pub(crate) fn rows(&mut self, columns: &[String], rows: &[Vec<Value>]) {
        let kinds: Vec<Kind> = (0..columns.len()).map(|at| Kind::of(at, rows)).collect();
        self.0.push(0x81);
        self.0
            .extend(u16::try_from(columns.len()).unwrap_or(0).to_le_bytes());
        for (name, kind) in columns.iter().zip(&kinds) {
            // User type, nullable.
            self.0.extend([0, 0, 0, 0, 1, 0]);
            kind.describe(&mut self.0);
            self.0.extend(b_text(name));
        }
        for row in rows {
            self.0.push(0xD1);
            for (value, kind) in row.iter().zip(&kinds) {
                kind.write(value, &mut self.0);
            }
        }
    }

    fn sized(&mut self, token: u8, body: &[u8]) {
        self.0.push(token);
        self.0
            .extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.0.extend_from_slice(body);
    }
}

/// The type of a column.
enum Kind {
    Bit,
    Int,
    BigInt,
    Text,
    LongText,
    Bytes,
}

impl Kind {
    fn of(column: usize, rows: &[Vec<Value>]) -> Self {
        let values = || rows.iter().filter_map(|row| row.get(column));
        let is_long = |value: &Value| matches!(value, Value::Text(text) if text.encode_utf16().count() > LONG_CHARACTERS);
        match values().find(|value| **value != Value::Null) {
            Some(Value::Bit(_)) => Self::Bit,
            Some(Value::Int(_))
                if values()
                    .all(|value| !matches!(value, Value::Int(number) if i32::try_from(*number).is_err())) =>
            {
                Self::Int
            }
            Some(Value::Int(_)) => Self::BigInt,
            Some(Value::Bytes(_)) => Self::Bytes,
            _ if values().any(is_long) => Self::LongText,
            Some(Value::Text(_)) => Self::Text,
            _ => Self::Int,
        }
    }

    fn describe(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bit => bytes.extend([0x68, 1]),
            Self::Int => bytes.extend([0x26, 4]),
            Self::BigInt => bytes.extend([0x26, 8]),
            Self::Bytes => bytes.extend([0xA5, 0x40, 0x1F]),
            Self::Text => bytes.extend([&[0xE7, 0x40, 0x1F][..], &COLLATION].concat()),
            Self::LongText => bytes.extend([&[0xE7, 0xFF, 0xFF][..], &COLLATION].concat()),
        }
    }

    fn write(&self, value: &Value, bytes: &mut Vec<u8>) {
        let text = || {
            value
                .text()
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>()
        };
        match (self, value) {
            (Self::Bit | Self::Int | Self::BigInt, Value::Null) => bytes.push(0),
            (Self::Text | Self::Bytes, Value::Null) => bytes.extend([0xFF, 0xFF]),
            (Self::LongText, Value::Null) => bytes.extend([0xFF; 8]),
            (Self::Bit, value) => bytes.extend([1, u8::from(value.is_true())]),
            (Self::Int, value) => {
                bytes.push(4);
                bytes.extend(i32::try_from(value.number()).unwrap_or(i32::MAX).to_le_bytes());
            }
            (Self::BigInt, value) => {
                bytes.push(8);
                bytes.extend(value.number().to_le_bytes());
            }
            (Self::Text, _) => {
                let text = text();
                bytes.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
                bytes.extend(text);
            }
            (Self::LongText, _) => {
                let text = text();
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
                bytes.extend(text);
                bytes.extend([0; 4]);
            }
            (Self::Bytes, Value::Bytes(raw)) => {
                bytes.extend(u16::try_from(raw.len()).unwrap_or(0).to_le_bytes());
                bytes.extend_from_slice(raw);
            }
            (Self::Bytes, _) => bytes.extend([0xFF, 0xFF]),
        }
    }
}

fn b_text(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().take(255).collect();
    let mut bytes = vec![u8::try_from(units.len()).unwrap_or(0)];
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}

fn us_text(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().take(2000).collect();
    let mut bytes = u16::try_from(units.len()).unwrap_or(0).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}
