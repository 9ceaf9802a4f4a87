use keywheel_manifest::SecretRole;
use keywheel_model::SecretBytes;

use crate::document::Format;
use crate::error::Error;
use crate::handle::{Alphabet, Handle, Labels, Origin, Part, Structure};
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
fn named(format: &str) -> Result<Format, Error> {
    Format::named(format).ok_or_else(|| {
        let format = format.escape_debug();
        Error::invalid(
            "secret.part",
            format!("`{format}` is no format; there are `json`, `connection-string` and `url`"),
        )
    })
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

fn find(labels: &Labels, format: Format, key: &str) -> Found {
    match &labels.structure {
        Some(structure) => match (structure.parts.get(key), &structure.rest) {
            (Some(Part::Text), _) => Found::Text,
            (Some(Part::Secret(inner)), _) => Found::Whole((**inner).clone()),
            (Some(Part::Mixed), _) | (None, None) => Found::Mixed,
            (None, Some(rest)) => find(rest, format, key),
        },
        None if format.is_parsed(labels) => Found::Parsed(parsed(labels)),
        None if format == Format::ConnectionString && labels.is_text_alone() => Found::Text,
        None => Found::Mixed,
    }
}

impl HostState {
    /// What a secret may be taken for. Of text the rotated one alone: whether another one reads as a connection string, and as which, tells of it.
    fn format_of(&self, whole: &Handle, format: &str) -> Result<Format, Error> {
        let known = named(format)?;
        let labels = whole.labels();
        // A generated password reads as nothing, whatever a configuration takes it for since.
        let is_bare = labels.structure.is_none() && matches!(find(labels, known, ""), Found::Mixed);
        let is_rotated = known.may_be(labels) && self.is_rotated(whole);
        if Format::of(labels) == Some(known) || is_rotated && !is_bare {
            return Ok(known);
        }
        let what = match known {
            _ if is_rotated => "generated whole, and no document",
            Format::Json => "no JSON document by its media type",
            Format::ConnectionString => "no connection string by its media type, and not the rotated one",
        };
        Err(Error::invalid("secret.part", format!("this secret is {what}")))
    }

    /// A piece that was inserted whole, or that the host parsed from a document that no plugin made, as the secret that it was
    /// (rule H3).
    pub(super) async fn part_of(&mut self, whole: &Handle, format: &str, key: &str) -> Result<Handle, Error> {
        let format = self.format_of(whole, format)?;
        let pointer = format.pointer(key)?;
        let key = pointer.as_str();
        let labels = match find(whole.labels(), format, key) {
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
            let value = format.value_at(document, key)?;
            let part = Handle::part_of(whole, key, value, labels);
            if let Some(written) = format.written_at(document, key) {
                self.mask.watch_written(&part, &written);
            }
            part
        };
        self.place_like(&part, whole, Some(pointer));
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
        let format = self.format_of(whole, format)?;
        let pointer = format.pointer(key)?;
        let key = pointer.as_str();
        let mut public = self.step.public_parts.iter();
        let declared = public.any(|part| format.is_same(part, key)) && self.is_rotated(whole);
        match find(whole.labels(), format, key) {
            Found::Text => {}
            Found::Parsed(_) if declared => {}
            _ => {
                let message = format!(
                    "`{key}` is not declared public; list it in the rotation's `public` if it is no secret"
                );
                return Err(self.deny("secret.public-part", message).await);
            }
        }
        let value = format.value_at(whole.value().expose(), key)?;
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
        &self,
        whole: &Handle,
        format: &str,
        key: &str,
        value: &Handle,
    ) -> Result<Handle, Error> {
        let format = self.format_of(whole, format)?;
        let alphabet = &value.labels().alphabet;
        // Whether it can be written is decided by what it may hold, never by what it holds (rule H10).
        let (is_writable, wanted) = match format {
            Format::Json => (
                alphabet.is_text(),
                "a part of a JSON document is text, and this secret may be any bytes",
            ),
            Format::ConnectionString => (
                alphabet.is_plain(),
                "a part of a connection string is made of letters, digits, `-`, `.`, `_` and `~`, and this secret may hold more",
            ),
        };
        if !is_writable {
            return Err(Error::invalid("secret.part", wanted));
        }
        replaced(whole, format, key, value.value(), Some(value))
    }

    pub(super) fn with_text_of(
        &self,
        whole: &Handle,
        format: &str,
        key: &str,
        text: &str,
    ) -> Result<Handle, Error> {
        let format = self.format_of(whole, format)?;
        if text.len() > MAX_TEXT_BYTES || !Alphabet::of_foreign(text.as_bytes()).is_text() {
            return Err(Error::invalid(
                "secret.part",
                format!("a part is at most {MAX_TEXT_BYTES} bytes of text without control characters"),
            ));
        }
        replaced(whole, format, key, &SecretBytes::copy_of(text.as_bytes()), None)
    }
}

/// The document with one string replaced, the rest byte for byte.
fn replaced(
    whole: &Handle,
    format: Format,
    key: &str,
    value: &SecretBytes,
    secret: Option<&Handle>,
) -> Result<Handle, Error> {
    let pointer = format.pointer(key)?;
    let key = pointer.as_str();
    let before = whole.labels();
    let is_template = format == Format::ConnectionString && before.is_text_alone();
    if format == Format::ConnectionString
        && before.structure.is_none()
        && !format.is_parsed(before)
        && !is_template
    {
        return Err(Error::invalid(
            "secret.part",
            "only in a connection string that was imported, or is text alone, a part can be replaced",
        ));
    }
    let made = format.replaced(whole.value().expose(), key, value)?;
    let inserted = secret.map(Handle::labels);
    let mut labels = Labels::composed(
        format.media_type(),
        before.alphabet.clone(),
        std::iter::once(before).chain(inserted),
    );
    let (mut parts, rest) = match &before.structure {
        Some(structure) => (structure.parts.clone(), structure.rest.clone()),
        None if before.origin.is_whole() => {
            (std::collections::BTreeMap::new(), Some(Box::new(before.clone())))
        }
        // It holds no secret, so none that may be known.
        None if is_template => {
            let mut rest = before.clone();
            rest.holds_known = false;
            (std::collections::BTreeMap::new(), Some(Box::new(rest)))
        }
        None => (std::collections::BTreeMap::new(), None),
    };
    parts.insert(
        key.to_owned(),
        inserted.map_or(Part::Text, |labels| Part::Secret(Box::new(labels.clone()))),
    );
    // Text does not make a document known, and what the guest may know of it is in the parts that are left.
    labels.known_to_guest = before.known_to_guest && inserted.is_none_or(|labels| labels.known_to_guest);
    labels.holds_known = labels.known_to_guest || holds_known(&parts, rest.as_deref(), before);
    labels.structure = Some(Structure { parts, rest });
    let mut pieces = whole.pieces().clone();
    pieces.remove(key);
    if let Some(secret) = secret {
        pieces.insert(key.to_owned(), secret.clone());
    }
    let of: Vec<Handle> = std::iter::once(whole).chain(secret).cloned().collect();
    Ok(Handle::composed(made, labels, &of, pieces))
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
