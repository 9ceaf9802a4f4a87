use keywheel_manifest::Part as UsedPart;
use keywheel_manifest::{Pointer, SecretRole};
use keywheel_model::{ErrorKind, SecretBytes};
use zeroize::Zeroizing;

use crate::encoding;
use crate::error::Error;
use crate::handle::{Alphabet, Handle, Labels, Origin, Part, Structure};
use crate::json;
use crate::state::HostState;

/// The longest text that replaces a part, in bytes.
const MAX_TEXT_BYTES: usize = 4096;

/// What stands at a place of a document.
enum Found {
    /// A plugin's text.
    Text,
    /// A secret that was inserted whole.
    Whole(Labels),
    /// Parsed by the host out of a document that no plugin made.
    Parsed(Labels),
    /// Neither.
    Mixed,
}

/// The documents whose parts this host takes and gives.
fn check_format(whole: &Handle, format: &str) -> Result<(), Error> {
    match format {
        "json" if whole.labels().media_type == "application/json" => Ok(()),
        "json" => Err(Error::invalid(
            "secret.part",
            "this secret is no JSON document by its media type",
        )),
        "connection-string" | "url" => Err(Error::not_offered(&format!("`part` of the format `{format}`"))),
        other => Err(Error::invalid(
            "secret.part",
            format!("`{}` is no format; there is `json`", other.escape_debug()),
        )),
    }
}

fn pointer(key: &str) -> Result<Pointer, Error> {
    let pointer: Result<Pointer, _> = key.parse();
    let plain = |pointer: &Pointer| pointer.as_str().split('/').all(|segment| segment != "*");
    pointer.ok().filter(plain).ok_or_else(|| {
        Error::invalid(
            "secret.part",
            "a part is named by a JSON pointer, such as `/password`",
        )
    })
}

/// Why there is no string at the place that a plugin asks for. Of other names in the document it is told nothing: they may be secret.
fn missing(document: &[u8], key: &str) -> Error {
    let shown = key.escape_debug();
    let Some(doubled) = json::doubled(document) else {
        return Error::answer(
            ErrorKind::NotFound,
            "secret.part",
            format!("there is no string at `{shown}`"),
        );
    };
    let is_on_the_way = key
        .strip_prefix(&doubled)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let place = if !is_on_the_way {
        "another name".to_owned()
    } else if key == doubled {
        format!("`{shown}`")
    } else {
        format!("the name `{}`", doubled.escape_debug())
    };
    Error::invalid(
        "secret.part",
        format!(
            "what is at `{shown}` is not clear: {place} stands twice in the same object of this JSON document; take the wrong one out"
        ),
    )
}

/// Labels of a string that the host parsed out of a document.
fn parsed(document: &Labels) -> Labels {
    let mut labels = document.clone();
    "text/plain".clone_into(&mut labels.media_type);
    labels.alphabet = if document.alphabet.is_text() {
        Alphabet::Text
    } else {
        Alphabet::Bytes
    };
    labels.structure = None;
    labels
}

fn find(labels: &Labels, key: &str) -> Found {
    match (&labels.structure, labels.origin) {
        (Some(structure), _) => match (structure.parts.get(key), &structure.rest) {
            (Some(Part::Text), _) => Found::Text,
            (Some(Part::Secret(inner)), _) => Found::Whole((**inner).clone()),
            (Some(Part::Mixed), _) | (None, None) => Found::Mixed,
            (None, Some(rest)) => find(rest, key),
        },
        (None, origin) if origin.is_whole() => Found::Parsed(parsed(labels)),
        (None, _) => Found::Mixed,
    }
}

impl HostState {
    /// A piece that was inserted whole, or that the host parsed from a document that no plugin made, as the secret that it was
    /// (rule H3).
    pub(super) async fn part_of(&mut self, whole: &Handle, format: &str, key: &str) -> Result<Handle, Error> {
        check_format(whole, format)?;
        let pointer = pointer(key)?;
        let labels = match find(whole.labels(), key) {
            Found::Whole(labels) | Found::Parsed(labels) => labels,
            Found::Text => {
                return Err(Error::invalid(
                    "secret.part",
                    "this part is text; use `public-part`",
                ));
            }
            Found::Mixed => {
                return Err(self
                    .deny("secret.part", format!("`{key}` was not inserted whole"))
                    .await);
            }
        };
        let part = if let Some(piece) = whole.piece(key) {
            piece.clone()
        } else {
            let document = whole.value().expose();
            let value = json::string_at(document, key).ok_or_else(|| missing(document, key))?;
            Handle::part_of(whole, key, value, labels)
        };
        self.place_like(&part, whole, Some(UsedPart::Json(pointer)));
        Ok(part)
    }

    /// A part that is no secret: text by a plugin, or what the rotation's configuration declares public in a document that no
    /// plugin changed there.
    pub(super) async fn public_part_of(
        &mut self,
        whole: &Handle,
        format: &str,
        key: &str,
    ) -> Result<String, Error> {
        check_format(whole, format)?;
        pointer(key)?;
        let declared = self.step.public_parts.contains(key) && self.is_rotated(whole);
        match find(whole.labels(), key) {
            Found::Text => {}
            Found::Parsed(_) if declared => {}
            _ => {
                let message = format!(
                    "`{key}` is not declared public; list it in the rotation's `public` if it is no secret"
                );
                return Err(self.deny("secret.public-part", message).await);
            }
        }
        let document = whole.value().expose();
        let value = json::string_at(document, key).ok_or_else(|| missing(document, key))?;
        let text = String::from_utf8_lossy(value.expose()).into_owned();
        self.clear_text(&text, "a public part")?;
        Ok(text)
    }

    fn is_rotated(&self, whole: &Handle) -> bool {
        self.secret_use(whole)
            .roles
            .iter()
            .any(|role| matches!(role, SecretRole::Run(_)))
    }

    pub(super) fn with_part_of(
        whole: &Handle,
        format: &str,
        key: &str,
        value: &Handle,
    ) -> Result<Handle, Error> {
        check_format(whole, format)?;
        if !value.labels().alphabet.is_text() {
            return Err(Error::invalid(
                "secret.part",
                "a part of a JSON document is text, and this secret may be any bytes",
            ));
        }
        replaced(whole, key, value.value(), Some(value))
    }

    pub(super) fn with_text_of(whole: &Handle, format: &str, key: &str, text: &str) -> Result<Handle, Error> {
        check_format(whole, format)?;
        if text.len() > MAX_TEXT_BYTES || !Alphabet::of_foreign(text.as_bytes()).is_text() {
            return Err(Error::invalid(
                "secret.part",
                format!("a part is at most {MAX_TEXT_BYTES} bytes of text without control characters"),
            ));
        }
        replaced(whole, key, &SecretBytes::copy_of(text.as_bytes()), None)
    }
}

/// The document with one string replaced, the rest byte for byte.
fn replaced(
    whole: &Handle,
    key: &str,
    value: &SecretBytes,
    secret: Option<&Handle>,
) -> Result<Handle, Error> {
    pointer(key)?;
    let document = whole.value().expose();
    let nodes = json::scan(document).ok_or_else(|| match json::doubled(document) {
        Some(_) => missing(document, key),
        None => Error::invalid("secret.part", "this secret is no JSON document"),
    })?;
    let node = nodes
        .into_iter()
        .find(|node| node.pointer == key && node.string)
        .ok_or_else(|| missing(document, key))?;
    let mut made = Zeroizing::new(Vec::with_capacity(document.len() + value.expose().len() * 2 + 2));
    made.extend_from_slice(&document[..=node.span.start]);
    encoding::json(&String::from_utf8_lossy(value.expose()), &mut made);
    made.extend_from_slice(&document[node.span.end - 1..]);

    let before = whole.labels();
    let inserted = secret.map(Handle::labels);
    let mut labels = Labels::composed(
        "application/json",
        before.alphabet.clone(),
        std::iter::once(before).chain(inserted),
    );
    let (mut parts, rest) = match &before.structure {
        Some(structure) => (structure.parts.clone(), structure.rest.clone()),
        None if before.origin.is_whole() => {
            (std::collections::BTreeMap::new(), Some(Box::new(before.clone())))
        }
        None => (std::collections::BTreeMap::new(), None),
    };
    parts.insert(
        key.to_owned(),
        inserted.map_or(Part::Text, |labels| Part::Secret(Box::new(labels.clone()))),
    );
    // Text does not make a document known, and what the guest may know of it is in the parts that are left.
    labels.known_to_guest = before.known_to_guest && inserted.is_none_or(|labels| labels.known_to_guest);
    labels.holds_known = holds_known(&parts, rest.as_deref(), before);
    labels.structure = Some(Structure { parts, rest });
    let mut pieces = whole.pieces().clone();
    pieces.remove(key);
    if let Some(secret) = secret {
        pieces.insert(key.to_owned(), secret.clone());
    }
    let of: Vec<Handle> = std::iter::once(whole).chain(secret).cloned().collect();
    Ok(Handle::composed(SecretBytes::copy_of(&made), labels, &of, pieces))
}

/// Whether one of the secrets in a document may be known. A document that holds no secret but text is known.
fn holds_known(
    parts: &std::collections::BTreeMap<String, Part>,
    rest: Option<&Labels>,
    before: &Labels,
) -> bool {
    let mut secrets = parts
        .values()
        .filter_map(|part| {
            if let Part::Secret(labels) = part {
                Some(&**labels)
            } else {
                None
            }
        })
        .peekable();
    let mixed = parts.values().any(|part| *part == Part::Mixed);
    match (secrets.peek().is_some(), rest) {
        (false, None) => !mixed || before.holds_known || before.origin == Origin::Concealed,
        (_, rest) => {
            secrets.any(|labels| labels.holds_known)
                || rest.is_some_and(|rest| rest.holds_known)
                || mixed && before.holds_known
        }
    }
}
