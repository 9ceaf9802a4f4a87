//! What is said before a login is taken: PRELOGIN and LOGIN7 (MS-TDS 2.2.6.4 and 2.2.6.5).

use zeroize::Zeroizing;

use super::fields::Fields;
use crate::postgres::ConnectOptions;

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const MARS: u8 = 4;
const END: u8 = 0xFF;

/// What is said of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Off = 0,
    On = 1,
    NotSupported = 2,
    Required = 3,
}

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 7.4, which every server since 2012 speaks.
    V7 = 0x7400_0004,
    /// 8.0: TLS comes first.
    V8 = 0x0800_0000,
}

pub(super) fn prelogin(encryption: Encryption) -> Vec<u8> {
    // Each with its offset and length; no several statements at a time.
    let options: [(u8, &[u8]); 3] = [
        (VERSION, &[0, 1, 0, 0, 0, 0]),
        (ENCRYPTION, &[encryption as u8]),
        (MARS, &[0]),
    ];
    let (mut head, mut values) = (Vec::new(), Vec::new());
    for (option, value) in options {
        // Both are a few bytes.
        let [offset, length] =
            [5 * options.len() + 1 + values.len(), value.len()].map(|n| u8::try_from(n).unwrap_or(u8::MAX));
        head.extend([option, 0, offset, 0, length]);
        values.extend_from_slice(value);
    }
    head.push(END);
    head.extend(values);
    head
}

/// What the server says of encryption; none if it is not of the protocol.
pub(super) fn encryption_of(prelogin: &[u8]) -> Option<Encryption> {
    let mut options = Fields::of(prelogin);
    loop {
        let option = options.byte()?;
        if option == END {
            return None;
        }
        let (offset, length) = (options.two()?.swap_bytes(), options.two()?.swap_bytes());
        if option == ENCRYPTION {
            let mut value = Fields::of(prelogin.get(usize::from(offset)..)?);
            let said = value.take(length.into())?.first()?;
            return Some(match said {
                0 => Encryption::Off,
                1 => Encryption::On,
                2 => Encryption::NotSupported,
                3 => Encryption::Required,
                _ => return None,
            });
        }
    }
}

/// LOGIN7. None: a name or the password is longer than the protocol takes.
pub(super) fn login(options: &ConnectOptions, version: Version) -> Option<Zeroizing<Vec<u8>>> {
    const FIXED_BYTES: usize = 94;
    const MOST_CHARACTERS: usize = 128;
    let password = options
        .password
        .as_ref()
        .map_or(&[][..], |password| password.expose());
    let password = hidden(std::str::from_utf8(password).ok()?);
    // A place for each in the order of the protocol; what is not given is empty.
    let texts: [Zeroizing<Vec<u8>>; 9] = [
        wide("keywheel"),
        wide(&options.user),
        password,
        wide(&options.application_name),
        wide(&options.host),
        Zeroizing::default(),
        wide("keywheel"),
        Zeroizing::default(),
        wide(&options.database),
    ];
    // The host is what was dialled, whatever the server calls itself: 253 bytes at most, of which it needs none.
    let fits = |(at, text): (usize, &Zeroizing<Vec<u8>>)| text.len() <= 2 * MOST_CHARACTERS || at == 4;
    texts.iter().enumerate().all(fits).then_some(())?;
    let total = FIXED_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(total));
    bytes.extend(u32::try_from(total).ok()?.to_le_bytes());
    bytes.extend((version as u32).to_le_bytes());
    bytes.extend(4096_u32.to_le_bytes());
    // The program's version, its process, the connection's number: of no use to the server.
    bytes.extend([0; 12]);
    // A database or language that is not to be had is an error, and settings are those of ODBC.
    bytes.extend([0xE0, 0x03, 0, 0]);
    // Time zone, locale.
    bytes.extend([0; 8]);
    let mut offset = FIXED_BYTES;
    let mut place = |bytes: &mut Vec<u8>, length: usize| {
        bytes.extend(u16::try_from(offset).ok()?.to_le_bytes());
        bytes.extend(u16::try_from(length / 2).ok()?.to_le_bytes());
        offset += length;
        Some(())
    };
    for text in &texts {
        place(&mut bytes, text.len())?;
    }
    // The address of the network card.
    bytes.extend([0; 6]);
    for _ in 0..3 {
        place(&mut bytes, 0)?;
    }
    bytes.extend([0; 4]);
    for text in &texts {
        bytes.extend_from_slice(text);
    }
    Some(bytes)
}

/// Text of two bytes each, little end first. Reserved in full: no half-written copy is left behind.
pub(super) fn wide(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len()));
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

/// As the protocol writes passwords: halves of each byte exchanged, and some bits turned. It hides nothing.
fn hidden(password: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = wide(password);
    for byte in bytes.iter_mut() {
        *byte = byte.rotate_left(4) ^ 0xA5;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use keywheel_model::SecretBytes;

    use super::*;

    #[test]
    fn a_password_is_written_as_the_specification_has_it() {
        // 'a' is 0x61: 0x16 ^ 0xA5.
        assert_eq!(hidden("a").as_slice(), [0xB3, 0xA5]);
    }

    #[test]
    fn a_login_has_every_text_where_it_says_and_refuses_what_is_too_long() {
        let of =
            |user: &str| ConnectOptions::new("db", 1433, "shop", user, Some(SecretBytes::copy_of(b"pw")));
        let bytes = login(&of("app"), Version::V7).unwrap();
        let at = |place: usize| {
            let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
            super::super::fields::utf16(&bytes[two(place)..two(place) + 2 * two(place + 2)])
        };
        assert_eq!(usize::from(bytes[0]) + 256 * usize::from(bytes[1]), bytes.len());
        assert_eq!(
            (at(40), at(48), at(52), at(68)),
            ("app".into(), "keywheel".into(), "db".into(), "shop".into())
        );
        assert!(login(&of(&"x".repeat(128)), Version::V8).is_some());
        assert!(login(&of(&"x".repeat(129)), Version::V8).is_none());
    }

    #[test]
    fn what_is_said_of_encryption_is_found_and_offsets_beyond_the_message_are_refused() {
        for said in [
            Encryption::Off,
            Encryption::On,
            Encryption::NotSupported,
            Encryption::Required,
        ] {
            let message = prelogin(said);
            assert_eq!(encryption_of(&message), Some(said));
            for cut in 0..message.len() - 1 {
                assert_eq!(encryption_of(&message[..cut]), None, "{cut}");
            }
        }
        assert_eq!(encryption_of(&[ENCRYPTION, 0xFF, 0xFF, 0, 1, END]), None);
        assert_eq!(encryption_of(&[ENCRYPTION, 0, 6, 0, 1, END, 9]), None);
    }
}
