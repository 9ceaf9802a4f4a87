//! A webhook of one's own: a CloudEvent of version 1.0 in structured JSON, signed as Standard Webhooks say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keywheel_model::SecretBytes;
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Notice;
use crate::words::{self, Sender};

/// The type of the body.
pub(crate) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// How a key begins that is written in base64.
const BASE64_KEY: &[u8] = b"whsec_";

/// Fewer bytes of a key can be guessed.
const KEY_BYTES: usize = 16;

/// A key by which bodies are signed.
pub struct SigningKey(SecretBytes);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

impl SigningKey {
    /// Of a value of the vault: `whsec_` and base64, or bytes as they are.
    ///
    /// # Errors
    /// What is wrong with it, in words that go on from the secret's name.
    pub fn parse(value: &SecretBytes) -> Result<Self, &'static str> {
        let value = value.expose().trim_ascii();
        let key = match value.strip_prefix(BASE64_KEY) {
            Some(text) => Zeroizing::new(
                STANDARD
                    .decode(text)
                    .map_err(|_| "is not base64 behind `whsec_`")?,
            ),
            None => Zeroizing::new(value.to_vec()),
        };
        if key.len() < KEY_BYTES {
            return Err("is too short to sign with: 16 bytes at least");
        }
        Ok(Self(SecretBytes::copy_of(&key)))
    }
}

/// What no other event has, by which a receiver recognises a repetition.
pub(crate) fn id_of(notice: &Notice, sender: &Sender) -> String {
    format!("{}-{}", sender.store, notice.id)
}

/// The event.
pub(crate) fn event(notice: &Notice, sender: &Sender) -> Vec<u8> {
    json!({
        "specversion": "1.0",
        "id": id_of(notice, sender),
        "source": format!("/keywheel/{}", sender.store),
        "type": format!("keywheel.{}", notice.topic),
        "subject": notice.key,
        "time": words::time(notice.at),
        "datacontenttype": "application/json",
        "data": notice,
    })
    .to_string()
    .into_bytes()
}

/// The headers that say who has sent the body, and when: a signature of each key.
pub(crate) fn headers(
    id: &str,
    seconds: u64,
    body: &[u8],
    keys: &[SigningKey],
) -> Vec<(&'static str, String)> {
    let signatures: Vec<String> = keys.iter().map(|key| signature(id, seconds, body, key)).collect();
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ]
}

fn signature(id: &str, seconds: u64, body: &[u8], key: &SigningKey) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.0.expose()).expect("any key");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let key =
            SigningKey::parse(&SecretBytes::copy_of(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, &key),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_key_that_can_be_guessed_is_none() {
        for (value, why) in [
            (&b"short"[..], "too short"),
            (b"whsec_c2hvcnQ=", "too short"),
            (b"whsec_!!", "not base64"),
        ] {
            let refused = SigningKey::parse(&SecretBytes::copy_of(value)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let key = SigningKey::parse(&SecretBytes::copy_of(b"planted-0123456789\n")).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(***)");
    }
}
