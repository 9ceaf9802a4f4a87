//! The file format of age, version 1, for one X25519 recipient and a payload of one chunk: so that a person can open the
//! recovery slot with the `age` tool and nothing of ours. Format: <https://c2sp.org/age>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use keywheel_model::SecretBytes;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::Error;
use crate::seal::fill;

pub(crate) mod stream;

const VERSION_LINE: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const MAC_LINE: &str = "---";
const WRAP_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const PUBLIC_PREFIX: Hrp = Hrp::parse_unchecked("age");
const SECRET_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");
/// Longest payload of one chunk.
const CHUNK: usize = 64 * 1024;
/// The first chunk's number (11 bytes of 0), which is the last one (1).
const FIRST_AND_LAST: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Why an age file does not open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It is not what this code writes, or was altered.
    Damaged,
}

/// The secret half: whoever has it opens the vault.
pub(crate) struct Identity(StaticSecret);

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recipient(PublicKey);

impl Identity {
    pub(crate) fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(&mut *bytes)?;
        Ok(Self(StaticSecret::from(*bytes)))
    }

    /// Reads `AGE-SECRET-KEY-1…`; spaces around it are allowed.
    pub(crate) fn parse(text: &SecretBytes) -> Result<Self, Error> {
        let malformed = Error::Malformed {
            what: "a recovery identity: it begins with AGE-SECRET-KEY-1",
        };
        let text = std::str::from_utf8(text.expose()).map(str::trim);
        match text.ok().and_then(|text| decode(text, SECRET_PREFIX)) {
            Some(bytes) => Ok(Self(StaticSecret::from(*bytes))),
            None => Err(malformed),
        }
    }

    /// As a person writes it down: `AGE-SECRET-KEY-1…`.
    pub(crate) fn to_text(&self) -> Result<SecretBytes, Error> {
        let text = bech32::encode_upper::<Bech32>(SECRET_PREFIX, self.0.as_bytes());
        text.map(|text| SecretBytes::new(text.into_bytes()))
            .map_err(|_| Error::Crypto { what: "bech32" })
    }

    pub(crate) fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }
}

impl Recipient {
    /// Reads `age1…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        decode(text, PUBLIC_PREFIX).map(|bytes| Self(PublicKey::from(*bytes)))
    }

    pub(crate) fn to_text(self) -> Result<String, Error> {
        bech32::encode::<Bech32>(PUBLIC_PREFIX, self.0.as_bytes())
            .map_err(|_| Error::Crypto { what: "bech32" })
    }
}

fn decode(text: &str, prefix: Hrp) -> Option<Zeroizing<[u8; 32]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if checked.hrp() != prefix {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    let mut length = 0;
    for byte in checked.byte_iter() {
        *bytes.get_mut(length)? = byte;
        length += 1;
    }
    (length == bytes.len()).then_some(bytes)
}

/// Encrypts a payload of at most 64 KiB to a recipient; a binary age file.
pub(crate) fn encrypt(recipient: Recipient, payload: &SecretBytes) -> Result<Vec<u8>, Error> {
    if payload.expose().len() > CHUNK {
        return Err(Error::TooLarge { limit: CHUNK });
    }
    let mut file_key = Zeroizing::new([0; 16]);
    fill(&mut *file_key)?;
    let (share, body) = wrap_stanza(recipient, &file_key)?;
    let mut file = format!(
        "{VERSION_LINE}{STANZA}{share}\n{}\n{MAC_LINE}",
        STANDARD_NO_PAD.encode(body)
    )
    .into_bytes();
    let mac = header_mac(&*file_key, &file)?.finalize().into_bytes();
    file.extend(format!(" {}\n", STANDARD_NO_PAD.encode(mac)).bytes());
    let mut nonce = [0; 16];
    fill(&mut nonce)?;
    file.extend(nonce);
    let payload_key = expand(&*file_key, Some(&nonce), b"payload")?;
    match chacha(&payload_key).encrypt(&Nonce::from(FIRST_AND_LAST), payload.expose()) {
        Ok(sealed) => file.extend(sealed),
        Err(_) => return Err(FAILED),
    }
    Ok(file)
}

const FAILED: Error = Error::Crypto {
    what: "encryption to the recovery recipient",
};

/// A file's key for a recipient: the ephemeral share, and the wrapped key.
fn wrap_stanza(recipient: Recipient, file_key: &[u8; 16]) -> Result<(String, Vec<u8>), Error> {
    let ephemeral = Identity::generate()?;
    let share = ephemeral.recipient();
    let wrap_key = wrap_key(&ephemeral.0, recipient, share, recipient).ok_or(FAILED)?;
    let body = chacha(&wrap_key)
        .encrypt(&Nonce::from([0; 12]), file_key.as_slice())
        .map_err(|_| FAILED)?;
    Ok((STANDARD_NO_PAD.encode(share.0.as_bytes()), body))
}

/// The file's key, if it was wrapped for this identity.
fn unwrap_stanza(identity: &Identity, share: &str, body: &[u8]) -> Option<Zeroizing<[u8; 16]>> {
    let share: [u8; 32] = STANDARD_NO_PAD.decode(share).ok()?.try_into().ok()?;
    let share = Recipient(PublicKey::from(share));
    let wrap_key = wrap_key(&identity.0, share, share, identity.recipient())?;
    let plain = Zeroizing::new(chacha(&wrap_key).decrypt(&Nonce::from([0; 12]), body).ok()?);
    let mut file_key = Zeroizing::new([0; 16]);
    (plain.len() == file_key.len()).then(|| file_key.copy_from_slice(&plain))?;
    Some(file_key)
}

/// Opens a file that [`encrypt`] made, or the `age` tool for one X25519 recipient. That the identity is the right one is
/// known beforehand: the slot names its recipient.
pub(crate) fn decrypt(identity: &Identity, file: &[u8]) -> Result<SecretBytes, Unopened> {
    open(identity, file).ok_or(Unopened::Damaged)
}

fn open(identity: &Identity, file: &[u8]) -> Option<SecretBytes> {
    let rest = file
        .strip_prefix(VERSION_LINE.as_bytes())?
        .strip_prefix(STANZA.as_bytes())?;
    let (share, rest) = line(rest)?;
    let (body, rest) = line(rest)?;
    let (mac, payload) = line(rest.strip_prefix(MAC_LINE.as_bytes())?.strip_prefix(b" ")?)?;
    let share = std::str::from_utf8(share).ok()?;
    let file_key = unwrap_stanza(identity, share, &STANDARD_NO_PAD.decode(body).ok()?)?;
    let header = &file[..file.len() - rest.len() + MAC_LINE.len()];
    header_mac(&*file_key, header)
        .ok()?
        .verify_slice(&STANDARD_NO_PAD.decode(mac).ok()?)
        .ok()?;
    let (nonce, sealed) = payload.split_at_checked(16)?;
    let payload_key = expand(&*file_key, Some(nonce), b"payload").ok()?;
    chacha(&payload_key)
        .decrypt(&Nonce::from(FIRST_AND_LAST), sealed)
        .ok()
        .map(SecretBytes::new)
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The key that wraps the file key. None when the other side's share is of low order.
fn wrap_key(
    secret: &StaticSecret,
    other: Recipient,
    share: Recipient,
    recipient: Recipient,
) -> Option<Zeroizing<[u8; 32]>> {
    let shared = secret.diffie_hellman(&other.0);
    if !shared.was_contributory() {
        return None;
    }
    let salt = [share.0.to_bytes(), recipient.0.to_bytes()].concat();
    expand(shared.as_bytes(), Some(&salt), WRAP_LABEL).ok()
}

fn header_mac(file_key: &[u8], header: &[u8]) -> Result<Hmac<Sha256>, Error> {
    let key = expand(file_key, None, b"header")?;
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*key).map_err(|_| Error::Crypto {
        what: "key derivation",
    })?;
    mac.update(header);
    Ok(mac)
}

fn expand(key: &[u8], salt: Option<&[u8]>, info: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, key)
        .expand(info, &mut *bytes)
        .map_err(|_| Error::Crypto {
            what: "key derivation",
        })?;
    Ok(bytes)
}

fn chacha(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&Key::from(*key))
}
