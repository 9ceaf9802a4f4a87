//! The form in which RabbitMQ keeps passwords.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_model::SecretBytes;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What `rabbit_password_hashing_sha256` keeps: base64 of the salt and SHA-256 over salt and password (RabbitMQ's documentation, "Credentials and Passwords").
pub fn salted_sha256(password: &SecretBytes, salt: [u8; 4]) -> SecretBytes {
    let sum = Sha256::new_with_prefix(salt)
        .chain_update(password.expose())
        .finalize();
    let salted = Zeroizing::new([&salt[..], &sum[..]].concat());
    SecretBytes::new(STANDARD.encode(&*salted).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RabbitMQ's documentation.
    #[test]
    fn it_is_what_the_documentation_computes() {
        let made = salted_sha256(&SecretBytes::copy_of(b"test12"), [0x90, 0x8d, 0xc6, 0x0a]);
        assert_eq!(made.expose(), b"kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }
}
