//! How a password is proved to a server: by an answer to its nonce, and by two methods also as it is, over TLS.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use keywheel_model::SecretBytes;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// An authentication plugin of a server that this host can log in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `mysql_native_password`: SHA-1; MariaDB's default.
    Native,
    /// `caching_sha2_password`: MySQL's default.
    CachingSha2,
    /// `client_ed25519` of MariaDB.
    Ed25519,
    /// `sha256_password` of MySQL: the password itself, hidden by TLS or by the server's key. MySQL asks for it of users that it does not have, too,
    /// so that nobody can tell.
    Sha256,
}

impl Method {
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::CachingSha2, Self::Ed25519, Self::Sha256]
            .into_iter()
            .find(|method| method.name() == name)
    }

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Native => b"mysql_native_password",
            Self::CachingSha2 => b"caching_sha2_password",
            Self::Ed25519 => b"client_ed25519",
            Self::Sha256 => b"sha256_password",
        }
    }

    /// What asks a server without TLS for the key that hides a password itself; none where that is never sent.
    pub(super) fn key_request(self) -> Option<u8> {
        match self {
            Self::Sha256 => Some(1),
            Self::CachingSha2 => Some(2),
            Self::Native | Self::Ed25519 => None,
        }
    }

    /// The answer to a nonce. Empty for an empty password, which is what servers take that for; none if the nonce is not this method's.
    pub(super) fn answer(self, password: &[u8], nonce: &[u8]) -> Option<Vec<u8>> {
        if password.is_empty() && self != Self::Ed25519 {
            return Some(Vec::new());
        }
        match self {
            Self::Native if nonce.len() == 20 => {
                let once = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(password)));
                let twice = Sha1::digest(*once);
                let mask = Sha1::new().chain_update(nonce).chain_update(twice).finalize();
                Some(xor(&*once, &mask))
            }
            Self::CachingSha2 if nonce.len() == 20 => {
                let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password)));
                let twice = Sha256::digest(*once);
                let mask = Sha256::new().chain_update(twice).chain_update(nonce).finalize();
                Some(xor(&*once, &mask))
            }
            Self::Ed25519 if nonce.len() == 32 => Some(signature(password, nonce)),
            _ => None,
        }
    }
}

/// What MariaDB and MySQL keep of a password under `mysql_native_password`: `*` and forty hexadecimal digits of SHA-1 taken twice.
/// Unsalted: of a password that can be guessed it gives away as much as the password.
pub fn native_password_hash(password: &SecretBytes) -> SecretBytes {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let once = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(password.expose())));
    let mut text = Vec::with_capacity(41);
    text.push(b'*');
    for byte in Sha1::digest(*once) {
        text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    SecretBytes::new(text)
}

/// An Ed25519 signature (RFC 8032) whose key is the hash of the password itself, however long that is: no library takes such a key.
fn signature(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let hashed = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(password)));
    let (mut own, prefix) = (Zeroizing::new([0; 32]), &hashed[32..]);
    own.copy_from_slice(&hashed[..32]);
    let own = Zeroizing::new(Scalar::from_bytes_mod_order(clamp_integer(*own)));
    let public = EdwardsPoint::mul_base(&own).compress();
    let once = Sha512::new().chain_update(prefix).chain_update(nonce).finalize();
    let once = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&once.into()));
    let point = EdwardsPoint::mul_base(&once).compress();
    let challenge = Sha512::new()
        .chain_update(point.as_bytes())
        .chain_update(public.as_bytes())
        .chain_update(nonce)
        .finalize();
    let challenge = Scalar::from_bytes_mod_order_wide(&challenge.into());
    let answer = challenge * *own + *once;
    [point.as_bytes().as_slice(), answer.as_bytes()].concat()
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_the_server_makes() {
        // SELECT PASSWORD('a') on MariaDB 10.11.
        let hash = native_password_hash(&SecretBytes::copy_of(b"a"));
        assert_eq!(hash.expose(), b"*667F407DE7C6AD07358FA38DAED7828A72014B4E");
    }

    /// The nonce, the password and the answers of the tests of other clients (`mysql_common`).
    #[test]
    fn an_answer_is_the_one_that_other_clients_give() {
        let nonce = b"NR3HP:qIYa_9=db?Sd{`";
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let native = Method::Native.answer(b"G!ider27", nonce).unwrap();
        assert_eq!(hex(native), "09cff8855e9e705340ff2270d8fb9fadba906b70");
        let cached = Method::CachingSha2.answer(b"G!ider27", nonce).unwrap();
        let expected = "4f97bbfd202401c42a69deaae53bda077ed7578563c1a80eb816c82119b68d2e";
        assert_eq!(hex(cached), expected);
    }

    #[test]
    fn a_nonce_of_another_length_is_not_answered() {
        for (method, good) in [
            (Method::Native, 20),
            (Method::CachingSha2, 20),
            (Method::Ed25519, 32),
        ] {
            assert!(method.answer(b"x", &vec![1; good]).is_some());
            assert!(method.answer(b"x", &vec![1; good - 1]).is_none());
            assert_eq!(Method::of(method.name()), Some(method));
        }
        assert!(Method::of(b"mysql_clear_password").is_none());
    }
}
