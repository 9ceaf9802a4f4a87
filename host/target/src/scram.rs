//! One-way forms of passwords that servers take instead of the password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use keywheel_model::SecretBytes;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::Error;

/// PostgreSQL's default number of rounds (`scram_iterations`).
pub const DEFAULT_ROUNDS: u32 = 4096;

/// Most rounds that are computed or taken: a thousandfold of the default would block a login for seconds.
pub const MAX_ROUNDS: u32 = 4_096_000;

const PREFIX: &str = "SCRAM-SHA-256$";

/// The verifier that PostgreSQL stores: `SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>` (RFC 5802, RFC 7677). Same password,
/// salt and rounds give the same text, so that a step may be repeated.
///
/// Passwords are prepared by SASLprep (RFC 4013), as the server and its clients do.
///
/// # Errors
/// [`Error::Invalid`] for an empty or unpreparable password (not UTF-8, unassigned or control characters), a salt outside 8 to 64 bytes,
/// or rounds outside 4096 to [`MAX_ROUNDS`]. Where servers fall back to the raw bytes, this refuses: clients differ there.
pub fn verifier(password: &SecretBytes, salt: &[u8], rounds: u32) -> Result<SecretBytes, Error> {
    if !(8..=64).contains(&salt.len()) {
        return Err(Error::invalid("a SCRAM salt has 8 to 64 bytes"));
    }
    if !(DEFAULT_ROUNDS..=MAX_ROUNDS).contains(&rounds) {
        return Err(Error::invalid(format!(
            "SCRAM takes {DEFAULT_ROUNDS} to {MAX_ROUNDS} rounds"
        )));
    }
    let prepared = prepare(password)?;
    let salted = salted_password(prepared.as_bytes(), salt, rounds);
    let stored_key = Sha256::digest(mac(&*salted, b"Client Key"));
    let server_key = mac(&*salted, b"Server Key");
    let text = format!(
        "{PREFIX}{rounds}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key),
        BASE64.encode(server_key)
    );
    Ok(SecretBytes::new(text.into_bytes()))
}

/// Whether the bytes are a verifier in the exact shape that PostgreSQL knows. A server takes anything else, silently, as a plaintext
/// password: the account would be locked out.
///
/// # Errors
/// [`Error::Invalid`] for any other shape.
pub fn check_verifier(verifier: &SecretBytes) -> Result<(), Error> {
    let good = std::str::from_utf8(verifier.expose())
        .ok()
        .and_then(parse)
        .is_some();
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            "not a SCRAM-SHA-256 verifier; the server would take it as a plaintext password",
        ))
    }
}

fn parse(text: &str) -> Option<()> {
    let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
    let (rounds, salt) = head.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let plain = rounds.bytes().all(|b| b.is_ascii_digit()) && !rounds.starts_with('0');
    let rounds: u32 = rounds.parse().ok().filter(|_| plain)?;
    let decode = |text: &str| BASE64.decode(text).ok();
    let sizes =
        (8..=64).contains(&decode(salt)?.len()) && decode(stored)?.len() == 32 && decode(server)?.len() == 32;
    ((DEFAULT_ROUNDS..=MAX_ROUNDS).contains(&rounds) && sizes).then_some(())
}

/// The SHA-256 of the bytes in lower-case hexadecimal: what Redis keeps of a password (`ACL SETUSER u #…`). Unsalted and fast: for
/// generated secrets of high entropy only.
pub fn sha256_hex(bytes: &SecretBytes) -> SecretBytes {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(64);
    for byte in Sha256::digest(bytes.expose()) {
        text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    SecretBytes::new(text)
}

fn prepare(password: &SecretBytes) -> Result<Zeroizing<String>, Error> {
    let text = std::str::from_utf8(password.expose())
        .map_err(|_| Error::invalid("a password for SCRAM is UTF-8 text"))?;
    let prepared = stringprep::saslprep(text)
        .map_err(|_| Error::invalid("SASLprep refuses a character of the password"))?;
    if prepared.is_empty() {
        return Err(Error::invalid("a password for SCRAM is not empty"));
    }
    Ok(Zeroizing::new(prepared.into_owned()))
}

/// PBKDF2 with one block: the pads of the key are hashed once and cloned for each round.
fn salted_password(password: &[u8], salt: &[u8], rounds: u32) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut *out);
    out
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(secret: &SecretBytes) -> &str {
        std::str::from_utf8(secret.expose()).unwrap()
    }

    /// RFC 7677 section 3: user `user`, password `pencil`; the proof and the server's signature are recomputed from the verifier's keys.
    #[test]
    fn the_exchange_of_rfc_7677_follows_from_the_verifier() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = verifier(&SecretBytes::copy_of(b"pencil"), &salt, 4096).unwrap();
        let keys = text(&verifier)
            .rsplit_once('$')
            .unwrap()
            .1
            .split_once(':')
            .unwrap();
        let (stored, server) = (BASE64.decode(keys.0).unwrap(), BASE64.decode(keys.1).unwrap());
        let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                    c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(
            BASE64.encode(mac(&server, auth.as_bytes())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let proof = BASE64
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let client_key: Vec<u8> = proof
            .iter()
            .zip(mac(&stored, auth.as_bytes()))
            .map(|(a, b)| a ^ b)
            .collect();
        assert_eq!(Sha256::digest(client_key).as_slice(), stored);
    }

    #[test]
    fn the_same_input_gives_the_same_verifier_and_its_shape_is_accepted() {
        let make = |rounds| verifier(&SecretBytes::copy_of(b"pw"), b"0123456789abcdef", rounds).unwrap();
        assert!(make(4096).same_as(&make(4096)));
        assert!(!make(4096).same_as(&make(4097)));
        assert!(check_verifier(&make(4096)).is_ok());
    }

    #[test]
    fn anything_but_a_whole_verifier_is_refused() {
        let good =
            text(&verifier(&SecretBytes::copy_of(b"pw"), b"0123456789abcdef", 4096).unwrap()).to_owned();
        let (head, _) = good.rsplit_once(':').unwrap();
        let bad = [
            String::new(),
            "SCRAM-SHA-256$4096:bad".into(),
            "hunter2".into(),
            head.into(),
            format!("{head}:"),
            format!("{good} "),
            format!("{good}\n"),
            good.replace("4096", "0"),
            good.replace("4096", "1"),
            good.replace("4096", "04096"),
            good.replace("4096", "+4096"),
            good.replace("4096", "99999999"),
            good.replace("SHA-256", "sha-256"),
            good.replace("SCRAM-SHA-256$", "SCRAM-SHA-256"),
            good[..good.len() - 4].into(),
            good.trim_end_matches('=').into(),
        ];
        for text in bad {
            assert!(
                check_verifier(&SecretBytes::copy_of(text.as_bytes())).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn passwords_are_prepared_and_the_unpreparable_refused() {
        let make = |password: &str| {
            verifier(
                &SecretBytes::copy_of(password.as_bytes()),
                b"0123456789abcdef",
                4096,
            )
        };
        assert!(
            make("I\u{ad}X").unwrap().same_as(&make("IX").unwrap()),
            "a soft hyphen is mapped to nothing"
        );
        assert!(
            make("\u{2168}").unwrap().same_as(&make("IX").unwrap()),
            "compatibility forms are one"
        );
        for bad in ["", "\u{7}", "a\0b", "\u{0627}\u{0031}"] {
            assert!(make(bad).is_err(), "{bad:?}");
        }
        assert!(verifier(&SecretBytes::copy_of(&[0xff]), b"0123456789abcdef", 4096).is_err());
    }

    #[test]
    fn sha256_hex_is_what_sha256sum_prints() {
        let hex = sha256_hex(&SecretBytes::copy_of(b"abc"));
        assert_eq!(
            text(&hex),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
