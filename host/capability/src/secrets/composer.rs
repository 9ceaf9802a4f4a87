use std::collections::BTreeMap;

use keywheel_model::SecretBytes;
use zeroize::Zeroizing;

use super::check_media_type;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::handle::{Alphabet, Handle, Labels, Part, Structure};
use crate::json;

/// Text of one composition, in bytes. The secrets are not counted by their bytes: the limit would tell their length.
const MAX_TEXT_BYTES: usize = 256 << 10;
/// Secrets in one composition.
const MAX_SECRETS: usize = 64;

/// Builds a secret out of text and other secrets.
pub struct Composer {
    media_type: String,
    pieces: Vec<Piece>,
    text_bytes: usize,
}

enum Piece {
    Text(Vec<u8>),
    Secret(Handle, Encoding),
}

impl Composer {
    pub(crate) fn new(media_type: String) -> Self {
        Self {
            media_type,
            pieces: Vec::new(),
            text_bytes: 0,
        }
    }

    pub(crate) fn text(&mut self, text: &[u8]) -> Result<(), Error> {
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(Error::limit(
                "secret.composer",
                format!("a composition has at most {MAX_TEXT_BYTES} bytes of text"),
            ));
        }
        self.pieces.push(Piece::Text(text.to_vec()));
        Ok(())
    }

    pub(crate) fn secret(&mut self, secret: Handle, encoding: Encoding) -> Result<(), Error> {
        check_media_type(&self.media_type)?;
        encoding.check(&secret.labels().alphabet, &self.media_type)?;
        if self.secrets().count() == MAX_SECRETS {
            return Err(Error::limit(
                "secret.composer",
                format!("a composition has at most {MAX_SECRETS} secrets"),
            ));
        }
        self.pieces.push(Piece::Secret(secret, encoding));
        Ok(())
    }

    fn secrets(&self) -> impl Iterator<Item = &Handle> + Clone {
        self.pieces.iter().filter_map(|piece| {
            if let Piece::Secret(secret, _) = piece {
                Some(secret)
            } else {
                None
            }
        })
    }

    /// The whole. Whether it succeeds is decided by the text and the labels alone (rule H10).
    pub(crate) fn finish(self) -> Result<Handle, Error> {
        check_media_type(&self.media_type)?;
        let mut value = Zeroizing::new(Vec::with_capacity(self.most()));
        let mut text = true;
        for piece in &self.pieces {
            match piece {
                Piece::Text(bytes) => {
                    value.extend_from_slice(bytes);
                    text &= Alphabet::of_foreign(bytes).is_text();
                }
                Piece::Secret(secret, encoding) => {
                    encoding.write(secret.value().expose(), &mut value);
                    text &= encoding.output(&secret.labels().alphabet).is_text();
                }
            }
        }
        let alphabet = if text { Alphabet::Text } else { Alphabet::Bytes };
        let mut labels = Labels::composed(&self.media_type, alphabet, self.secrets().map(Handle::labels));
        let mut pieces = BTreeMap::new();
        if self.media_type == "application/json" {
            let parts = self.parts(&mut pieces)?;
            labels.structure = Some(Structure { parts, rest: None });
        }
        let secrets: Vec<Handle> = self.secrets().cloned().collect();
        Ok(Handle::composed(
            SecretBytes::copy_of(&value),
            labels,
            &secrets,
            pieces,
        ))
    }

    /// The most bytes that it may have: what is reserved, so that the buffer does not grow and leave a copy behind.
    pub(super) fn most(&self) -> usize {
        let of = |piece: &Piece| match piece {
            Piece::Text(bytes) => bytes.len(),
            Piece::Secret(secret, encoding) => encoding.most(secret.value().expose().len()),
        };
        self.pieces.iter().map(of).sum()
    }

    /// What stands where: found in the document with one letter in place of each secret, so that nothing depends on one.
    fn parts(&self, whole: &mut BTreeMap<String, Handle>) -> Result<BTreeMap<String, Part>, Error> {
        let mut template = Vec::new();
        let mut places = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(bytes) => template.extend_from_slice(bytes),
                Piece::Secret(secret, encoding) => {
                    places.push((template.len(), secret, *encoding));
                    template.push(b'x');
                }
            }
        }
        let broken = || {
            Error::invalid(
                "secret.json",
                "the text is no JSON document, or a secret stands in a name or outside of quotes",
            )
        };
        let nodes = json::scan(&template).ok_or_else(broken)?;
        let mut parts = BTreeMap::new();
        let mut placed = 0;
        for node in nodes.iter().filter(|node| node.string) {
            let inside = node.inside();
            let within: Vec<_> = places.iter().filter(|(at, ..)| inside.contains(at)).collect();
            placed += within.len();
            let part = match within.as_slice() {
                [] => Part::Text,
                [(at, secret, Encoding::Json | Encoding::Raw)] if inside == (*at..at + 1) => {
                    whole.insert(node.pointer.clone(), (*secret).clone());
                    Part::Secret(Box::new(secret.labels().clone()))
                }
                _ => Part::Mixed,
            };
            parts.insert(node.pointer.clone(), part);
        }
        if placed == places.len() {
            Ok(parts)
        } else {
            Err(broken())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str, alphabet: Alphabet) -> Handle {
        Handle::generated(
            SecretBytes::copy_of(value.as_bytes()),
            Labels::generated("text/plain", alphabet),
        )
    }

    fn json(pieces: &[(&str, Option<(&Handle, &str)>)]) -> Result<Handle, Error> {
        let mut composer = Composer::new("application/json".to_owned());
        for (text, inserted) in pieces {
            composer.text(text.as_bytes())?;
            if let Some((secret, encoding)) = inserted {
                composer.secret((*secret).clone(), Encoding::named(encoding)?)?;
            }
        }
        composer.finish()
    }

    #[test]
    fn a_document_knows_what_was_inserted_whole_and_what_is_text() {
        let password = secret("p\"w", Alphabet::Text);
        let token = secret("tok", Alphabet::Text);
        let document = json(&[
            (r#"{"user": "app", "password": ""#, Some((&password, "json"))),
            (r#"", "header": "Bearer "#, Some((&token, "json"))),
            (r#"", "coded": ""#, Some((&token, "base64"))),
            (r#""}"#, None),
        ])
        .unwrap();
        let expected = r#"{"user": "app", "password": "p\"w", "header": "Bearer tok", "coded": "dG9r"}"#;
        assert_eq!(document.value().expose(), expected.as_bytes());
        let parts = &document.labels().structure.as_ref().unwrap().parts;
        assert_eq!(parts["/user"], Part::Text);
        assert_eq!(
            parts["/password"],
            Part::Secret(Box::new(password.labels().clone()))
        );
        assert_eq!(
            (&parts["/header"], &parts["/coded"]),
            (&Part::Mixed, &Part::Mixed)
        );
        assert_eq!(document.piece("/password").unwrap().id(), password.id());
    }

    #[test]
    fn whether_it_succeeds_does_not_depend_on_the_bytes() {
        for value in ["plain", "quote\"", "back\\slash", "\\", "line\nfeed", "", "}"] {
            let inserted = secret(value, Alphabet::Text);
            assert!(
                json(&[(r#"{"a": ""#, Some((&inserted, "json"))), (r#""}"#, None)]).is_ok(),
                "{value:?}"
            );
            // Raw text is refused by its label, also where these bytes would do no harm.
            assert!(
                json(&[(r#"{"a": ""#, Some((&inserted, "raw"))), (r#""}"#, None)]).is_err(),
                "{value:?}"
            );
            // Out of quotes, in a name, after a lone backslash: refused whatever it holds.
            for (before, after) in [
                (r#"{"a": "#, "}"),
                (r#"{""#, r#"": 1}"#),
                (r#"{"a": "\"#, r#""}"#),
                (r#"{"a": "\u00"#, r#"0"}"#),
            ] {
                assert!(
                    json(&[(before, Some((&inserted, "json"))), (after, None)]).is_err(),
                    "{value:?} {before}"
                );
            }
        }
    }

    #[test]
    fn the_limit_counts_text_and_not_the_secrets_bytes() {
        for length in [1, 1_000_000] {
            let mut composer = Composer::new("text/plain".to_owned());
            composer
                .secret(secret(&"x".repeat(length), Alphabet::Text), Encoding::Raw)
                .unwrap();
            composer.text(&vec![b'a'; MAX_TEXT_BYTES]).unwrap();
            assert!(composer.text(b"a").is_err(), "{length}");
        }
    }

    #[test]
    fn text_alone_is_known_to_the_guest() {
        let mut composer = Composer::new("text/plain".to_owned());
        composer.text(b"hunter2").unwrap();
        assert!(composer.finish().unwrap().labels().known_to_guest);
    }
}
