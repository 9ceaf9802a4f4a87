use crate::document::Format;

/// An imported value with fewer bytes is a guess away.
const SHORT_BYTES: usize = 8;
/// A plain word of more bytes is taken for a secret all the same.
const WORD_BYTES: usize = 15;

/// Whether an imported value is one that texts hold by chance (`shop`, `password`, `localhost`), so that it cannot be watched for: shorter than
/// 8 bytes, or up to 15 that are letters of one case (the first may be a capital) with `-`, `_`, `.`; or digits alone.
pub fn is_weak(value: &[u8]) -> bool {
    let joins = |byte: &u8| b"-_.".contains(byte);
    let rest = value.get(1..).unwrap_or_default();
    let lower = |byte: &u8| byte.is_ascii_lowercase() || joins(byte);
    let is_word = value
        .first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || joins(byte))
        && rest.iter().all(lower)
        || value.iter().all(|byte| byte.is_ascii_uppercase() || joins(byte))
        || value.iter().all(u8::is_ascii_digit);
    value.len() < SHORT_BYTES || value.len() <= WORD_BYTES && is_word
}

/// The same of a value that may be a document with a user and a password in it.
pub fn holds_weak(value: &[u8]) -> bool {
    let formats = [Format::Json, Format::ConnectionString].into_iter();
    let mut passwords = formats.filter_map(|format| format.value_at(value, "/password").ok());
    is_weak(value) || passwords.any(|password| is_weak(password.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_short_values_are_weak() {
        for weak in [
            "shop",
            "x9Q!z2w",
            "password",
            "Password",
            "localhost",
            "administrator",
            "POSTGRES",
            "12345678",
            "shop-owner",
        ] {
            assert!(is_weak(weak.as_bytes()), "{weak}");
        }
        for strong in [
            "planted-7f3",
            "x9Qkz2wP",
            "correcthorsebattery",
            "1234567890123456",
            "passWord",
        ] {
            assert!(!is_weak(strong.as_bytes()), "{strong}");
        }
        assert!(holds_weak(br#"{"username":"pa","password":"shop"}"#));
        assert!(!holds_weak(br#"{"username":"pa","password":"x9Qkz2wP"}"#));
        assert!(holds_weak(b"postgres://pa:shop@db.internal/shop"));
        assert!(!holds_weak(b"postgres://pa:x9Qkz2wP@db.internal/shop"));
    }
}
