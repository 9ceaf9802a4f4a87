//! What a client says before it is let in: PRELOGIN and LOGIN7.

/// What is said of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Of the login alone.
    Off = 0,
    On = 1,
    None = 2,
    Required = 3,
}

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const END: u8 = 0xFF;

/// What the client wishes; none if the message is not of the protocol. `strict`: TLS is there already, and the word has no meaning.
pub(crate) fn wish(prelogin: &[u8], strict: bool) -> Option<Wish> {
    let mut at = 0;
    loop {
        let option = *prelogin.get(at)?;
        if option == END {
            return None;
        }
        let field = |from: usize| -> Option<usize> {
            Some(usize::from(u16::from_be_bytes([
                *prelogin.get(at + from)?,
                *prelogin.get(at + from + 1)?,
            ])))
        };
        let (offset, length) = (field(1)?, field(3)?);
        let value = prelogin.get(offset..offset + length)?;
        if option == ENCRYPTION {
            // The highest bit speaks of certificates of clients.
            return Some(match value.first()? & 0x7F {
                0 => Wish::Off,
                1 => Wish::On,
                2 => Wish::None,
                3 => Wish::Required,
                _ if strict => Wish::On,
                _ => return None,
            });
        }
        at += 5;
    }
}

/// The server's PRELOGIN.
pub(crate) fn prelogin(wish: Wish) -> Vec<u8> {
    let mut bytes = vec![VERSION, 0, 16, 0, 6];
    bytes.extend([ENCRYPTION, 0, 22, 0, 1]);
    // No instance by another name, no several statements at once.
    bytes.extend([4, 0, 23, 0, 1, END]);
    bytes.resize(16, 0);
    bytes.extend(super::VERSION_BYTES);
    bytes.extend([0, 0, wish as u8, 0]);
    bytes
}

/// LOGIN7 taken apart.
pub(crate) struct Login {
    pub(crate) tds_version: u32,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) program: String,
    pub(crate) database: String,
}

impl Login {
    /// None if it is not of the protocol: every offset stands within the message, text is text.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let four = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..at + 4)?.first_chunk()?));
        let two = |at: usize| {
            Some(usize::from(u16::from_le_bytes(
                *bytes.get(at..at + 2)?.first_chunk()?,
            )))
        };
        if usize::try_from(four(0)?).ok()? != bytes.len() {
            return None;
        }
        let raw = |at: usize| {
            let (from, characters) = (two(at)?, two(at + 2)?);
            if characters == 0 {
                return Some(Vec::new());
            }
            bytes.get(from..from + 2 * characters).map(<[u8]>::to_vec)
        };
        let text = |at: usize| utf16(&raw(at)?);
        let mut password = raw(44)?;
        for byte in &mut password {
            *byte = (*byte ^ 0xA5).rotate_left(4);
        }
        Some(Self {
            tds_version: four(4)?,
            user: text(40)?,
            password: utf16(&password)?,
            program: text(48)?,
            database: text(68)?,
        })
    }
}

/// Text of two bytes each, little end first.
pub(crate) fn utf16(bytes: &[u8]) -> Option<String> {
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .collect();
    String::from_utf16(&units).ok()
}
