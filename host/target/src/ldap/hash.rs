//! The forms of `userPassword` (RFC 2307 5.3, and what OpenLDAP and others made of it): a scheme in braces, then the sum and its salt in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_model::SecretBytes;
use sha1::Sha1;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// `{SSHA}`: SHA-1 of password and salt. Every directory takes it. The same password and salt give the same text, so that a step may be repeated.
pub fn salted_sha1(password: &SecretBytes, salt: &[u8; 8]) -> SecretBytes {
    salted::<Sha1>("{SSHA}", password, salt)
}

/// `{SSHA512}`: the same by SHA-512. OpenLDAP takes it with its module `pw-sha2`.
pub fn salted_sha512(password: &SecretBytes, salt: &[u8; 16]) -> SecretBytes {
    salted::<Sha512>("{SSHA512}", password, salt)
}

fn salted<D: Digest>(scheme: &str, password: &SecretBytes, salt: &[u8]) -> SecretBytes {
    let mut sum = Zeroizing::new(
        D::new_with_prefix(password.expose())
            .chain_update(salt)
            .finalize()
            .to_vec(),
    );
    sum.extend_from_slice(salt);
    SecretBytes::new(format!("{scheme}{}", STANDARD.encode(&*sum)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `slapd` checks them: the salt is what follows the sum.
    #[test]
    fn the_salt_stands_behind_the_sum() {
        let password = SecretBytes::copy_of(b"secret");
        let text = |made: SecretBytes| String::from_utf8(made.expose().to_vec()).unwrap();
        let made = text(salted_sha1(&password, b"saltsalt"));
        let bytes = STANDARD.decode(made.strip_prefix("{SSHA}").unwrap()).unwrap();
        assert_eq!(bytes[..20], Sha1::digest(b"secretsaltsalt")[..]);
        assert_eq!(&bytes[20..], b"saltsalt");
        assert_eq!(made, text(salted_sha1(&password, b"saltsalt")));
        assert_ne!(made, text(salted_sha1(&password, b"saltsalx")));
        let made = text(salted_sha512(&password, &[7; 16]));
        let bytes = STANDARD.decode(made.strip_prefix("{SSHA512}").unwrap()).unwrap();
        assert_eq!((bytes.len(), &bytes[64..]), (80, &[7; 16][..]));
    }
}
