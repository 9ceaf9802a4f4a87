//! How a secret is written where it is inserted. Every encoding takes every value of the alphabets that it accepts: whether a
//! composition succeeds is decided by labels, never by bytes (rule H10).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keywheel_connection_string::quote;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::handle::Alphabet;

/// An encoding by its name in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Inside of a JSON string (RFC 8259).
    Json,
    /// Everything but unreserved characters as `%XX` (RFC 3986).
    Percent,
    /// The same with `+` for a space (`application/x-www-form-urlencoded`).
    Form,
    /// Character data and attribute values of XML.
    Xml,
    /// Base64 with padding (RFC 4648).
    Base64,
    /// URL-safe base64 without padding.
    Base64Url,
    /// Lower-case hexadecimal.
    Hex,
    /// UTF-16, little-endian, without a mark.
    Utf16Le,
    /// A value of an ADO.NET or ODBC connection string, in double quotes that are doubled inside.
    ConnectionString,
    /// A value of a libpq connection string, in single quotes with backslashes.
    Libpq,
    /// A parameter of a JDBC URL: percent-encoded.
    Jdbc,
    /// User information of a URL: percent-encoded.
    Userinfo,
    /// One word of a POSIX shell, in single quotes.
    Shell,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Encoding {
    const ALL: [(&'static str, Self); 14] = [
        ("raw", Self::Raw),
        ("json", Self::Json),
        ("percent", Self::Percent),
        ("form", Self::Form),
        ("xml", Self::Xml),
        ("base64", Self::Base64),
        ("base64url", Self::Base64Url),
        ("hex", Self::Hex),
        ("utf-16le", Self::Utf16Le),
        ("connection-string", Self::ConnectionString),
        ("libpq", Self::Libpq),
        ("jdbc", Self::Jdbc),
        ("userinfo", Self::Userinfo),
        ("shell", Self::Shell),
    ];

    /// By its name.
    ///
    /// # Errors
    /// `invalid` for another name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, encoding)| encoding).ok_or_else(|| {
            let known = Self::ALL.map(|(known, _)| known).join(", ");
            Error::invalid(
                "secret.encoding",
                format!("`{}` is no encoding; there are {known}", name.escape_debug()),
            )
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, encoding)| *encoding == self)
            .map_or("raw", |(name, _)| name)
    }

    /// Whether every value of an alphabet can be written so.
    fn takes(self, alphabet: &Alphabet) -> bool {
        match self {
            Self::Raw
            | Self::Base64
            | Self::Base64Url
            | Self::Hex
            | Self::Percent
            | Self::Form
            | Self::Jdbc
            | Self::Userinfo => true,
            Self::Json | Self::Xml | Self::Utf16Le | Self::ConnectionString | Self::Libpq | Self::Shell => {
                alphabet.is_text()
            }
        }
    }

    /// Whether what it writes cannot break out of any place: letters, digits and a few marks.
    fn is_plain(self) -> bool {
        matches!(self, Self::Base64Url | Self::Hex)
    }

    /// Whether a secret may be written so inside of a document.
    ///
    /// # Errors
    /// `invalid`: the alphabet's label or the document's media type excludes it.
    pub fn check(self, alphabet: &Alphabet, media_type: &str) -> Result<(), Error> {
        if !self.takes(alphabet) {
            let message = format!(
                "`{}` is for text, and this secret may be any bytes; use `base64` or `hex`",
                self.name()
            );
            return Err(Error::invalid("secret.encoding", message));
        }
        let fits = match place(media_type) {
            Place::Unstructured => true,
            _ if self.is_plain() || self == Self::Raw && alphabet.is_plain() => true,
            Place::Json => matches!(
                self,
                Self::Json | Self::Base64 | Self::Percent | Self::Form | Self::Jdbc | Self::Userinfo
            ),
            Place::Xml => matches!(
                self,
                Self::Xml | Self::Base64 | Self::Percent | Self::Form | Self::Jdbc | Self::Userinfo
            ),
            Place::Form => matches!(self, Self::Form | Self::Percent),
            Place::ConnectionString => matches!(
                self,
                Self::ConnectionString | Self::Libpq | Self::Jdbc | Self::Userinfo | Self::Percent
            ),
            Place::Other => self != Self::Raw,
        };
        if fits {
            return Ok(());
        }
        let message = format!(
            "`{}` could break out of its place in {}; use the encoding of that format",
            self.name(),
            media_type.escape_debug()
        );
        Err(Error::invalid("secret.encoding", message))
    }

    /// What the written form may hold.
    pub fn output(self, alphabet: &Alphabet) -> Alphabet {
        match self {
            Self::Raw => alphabet.clone(),
            Self::Utf16Le => Alphabet::Bytes,
            _ => Alphabet::Text,
        }
    }

    /// The most bytes that a value of so many may become: a buffer of that size does not grow, and leaves no copy behind.
    pub fn most(self, bytes: usize) -> usize {
        match self {
            Self::Raw => bytes,
            Self::Base64 | Self::Base64Url => bytes / 3 * 4 + 4,
            Self::Hex | Self::Utf16Le => bytes * 2,
            Self::Percent | Self::Form | Self::Jdbc | Self::Userinfo => bytes * 3,
            Self::Json | Self::Xml | Self::ConnectionString | Self::Libpq | Self::Shell => bytes * 6 + 2,
        }
    }

    /// Writes a value.
    pub fn write(self, value: &[u8], out: &mut Zeroizing<Vec<u8>>) {
        let text = || Zeroizing::new(String::from_utf8_lossy(value).into_owned());
        match self {
            Self::Raw => out.extend_from_slice(value),
            Self::Json => json(&text(), out),
            Self::Percent | Self::Jdbc | Self::Userinfo => {
                out.extend_from_slice(quote::percent(value, "%20").as_bytes());
            }
            Self::Form => out.extend_from_slice(quote::percent(value, "+").as_bytes()),
            Self::Xml => escape(&text(), out, |character| match character {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                '"' => Some("&quot;"),
                '\'' => Some("&#39;"),
                '\r' => Some("&#13;"),
                '\n' => Some("&#10;"),
                '\t' => Some("&#9;"),
                _ => None,
            }),
            Self::Base64 => out.extend_from_slice(Zeroizing::new(STANDARD.encode(value)).as_bytes()),
            Self::Base64Url => {
                out.extend_from_slice(Zeroizing::new(URL_SAFE_NO_PAD.encode(value)).as_bytes());
            }
            Self::Hex => {
                for byte in value {
                    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
            }
            Self::Utf16Le => text()
                .encode_utf16()
                .for_each(|unit| out.extend_from_slice(&unit.to_le_bytes())),
            Self::ConnectionString => {
                out.extend_from_slice(quote::within(&text(), '"', '"').as_bytes());
            }
            Self::Libpq => out.extend_from_slice(quote::backslashed(&text()).as_bytes()),
            Self::Shell => {
                out.push(b'\'');
                escape(&text(), out, |character| (character == '\'').then_some("'\\''"));
                out.push(b'\'');
            }
        }
    }
}

enum Place {
    Unstructured,
    Json,
    Xml,
    Form,
    ConnectionString,
    Other,
}

fn place(media_type: &str) -> Place {
    match media_type {
        "text/plain" | "application/octet-stream" => Place::Unstructured,
        "application/json" => Place::Json,
        "application/xml" | "text/xml" => Place::Xml,
        "application/x-www-form-urlencoded" => Place::Form,
        "application/vnd.keywheel.connection-string" => Place::ConnectionString,
        other if other.ends_with("+json") => Place::Json,
        other if other.ends_with("+xml") => Place::Xml,
        _ => Place::Other,
    }
}

fn escape(text: &str, out: &mut Zeroizing<Vec<u8>>, replace: impl Fn(char) -> Option<&'static str>) {
    for character in text.chars() {
        match replace(character) {
            Some(replacement) => out.extend_from_slice(replacement.as_bytes()),
            None => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The inside of a JSON string.
pub(crate) fn json(text: &str, out: &mut Zeroizing<Vec<u8>>) {
    escape(text, out, |character| match character {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        '\t' => Some("\\t"),
        control if control < ' ' => CONTROLS.get(control as usize).copied(),
        _ => None,
    });
}

/// Control characters as a JSON string has them: none may stand there as it is.
const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\u0008",
    "\\u0009", "\\u000a", "\\u000b", "\\u000c", "\\u000d", "\\u000e", "\\u000f", "\\u0010", "\\u0011",
    "\\u0012", "\\u0013", "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a",
    "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn written(encoding: &str, value: &str) -> String {
        let mut out = Zeroizing::new(Vec::new());
        Encoding::named(encoding)
            .unwrap()
            .write(value.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn each_encoding_writes_what_its_format_reads() {
        let value = "a\"b'c\\d&<e> ;ä";
        assert_eq!(
            serde_json::from_str::<String>(&format!("\"{}\"", written("json", value))).unwrap(),
            value
        );
        let controls: String = (0..0x20_u8).map(char::from).collect();
        assert_eq!(
            serde_json::from_str::<String>(&format!("\"{}\"", written("json", &controls))).unwrap(),
            controls
        );
        assert_eq!(written("percent", value), "a%22b%27c%5Cd%26%3Ce%3E%20%3B%C3%A4");
        assert_eq!(written("form", "a b"), "a+b");
        assert_eq!(written("xml", value), "a&quot;b&#39;c\\d&amp;&lt;e&gt; ;ä");
        assert_eq!(written("base64", "a?>"), "YT8+");
        assert_eq!(written("base64url", "a?>"), "YT8-");
        assert_eq!(written("hex", "az"), "617a");
        assert_eq!(written("utf-16le", "ab"), "a\0b\0");
        assert_eq!(written("connection-string", "a;\"b"), "\"a;\"\"b\"");
        assert_eq!(written("libpq", "a'b\\"), "'a\\'b\\\\'");
        assert_eq!(written("shell", "a'b"), "'a'\\''b'");
        assert_eq!(written("userinfo", "a:b@c"), "a%3Ab%40c");
    }

    #[test]
    fn raw_is_refused_where_the_label_does_not_exclude_breaking_out() {
        let plain = Alphabet::of("abcXYZ019_-");
        for place in [
            "application/json",
            "application/xml",
            "application/vnd.keywheel.connection-string",
            "application/x-pem-file",
        ] {
            assert!(Encoding::Raw.check(&Alphabet::Text, place).is_err(), "{place}");
            assert!(
                Encoding::Raw.check(&Alphabet::of("ab\""), place).is_err(),
                "{place}"
            );
            assert!(Encoding::Raw.check(&plain, place).is_ok(), "{place}");
        }
        assert!(Encoding::Raw.check(&Alphabet::Bytes, "text/plain").is_ok());
    }

    #[test]
    fn an_encoding_of_another_format_is_refused() {
        assert!(
            Encoding::Libpq
                .check(&Alphabet::Text, "application/json")
                .is_err()
        );
        assert!(Encoding::Json.check(&Alphabet::Text, "application/xml").is_err());
        assert!(
            Encoding::Json
                .check(&Alphabet::Bytes, "application/json")
                .is_err()
        );
        assert!(Encoding::named("rot13").is_err());
    }
}
