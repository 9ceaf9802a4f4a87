use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Where a secret came from. Survives storage: what was composed once stays composed (rule H3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Made by the host's random generator.
    Generated,
    /// Taken out of a target's answer.
    Captured,
    /// Given by a person or read from a vault, never made by a plugin.
    Imported,
    /// Built by a plugin of text and other secrets.
    Composed,
    /// Given by a plugin as bytes.
    Concealed,
    /// A one-way form of another.
    Derived,
}

impl Origin {
    /// Whether it is a whole that no plugin had a hand in: the only kind that one-way forms and comparisons take (rule H3), and
    /// the only kind that may become a credential (rule H8).
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Generated | Self::Captured | Self::Imported)
    }
}

/// A kind of place that a secret may flow to. The grant says which host and which shape; this says whether at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    /// A declared place of a statement, frame or request.
    Target,
    /// The password of a login.
    Login,
    /// The pending version of the rotated secret, and further names of it.
    Pending,
    /// The run's own secret state.
    State,
    /// Another name in a vault.
    Vault,
}

impl Sink {
    /// Every sink.
    pub fn all() -> BTreeSet<Self> {
        [Self::Target, Self::Login, Self::Pending, Self::State, Self::Vault].into()
    }
}

/// What a value may hold, by where it came from. Compositions succeed or fail by this, never by the bytes (rule H10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alphabet {
    /// Anything.
    Bytes,
    /// UTF-8 without control characters but tab, line feed and carriage return.
    Text,
    /// These ASCII characters only.
    Only(BTreeSet<char>),
}

impl Alphabet {
    /// Of these characters; `Text` if one is not printable ASCII.
    pub fn of(characters: &str) -> Self {
        if characters
            .chars()
            .all(|character| character == ' ' || character.is_ascii_graphic())
        {
            Self::Only(characters.chars().collect())
        } else {
            Self::Text
        }
    }

    /// What can be said of a value that somebody else chose: looked at once, when it enters the host.
    pub fn of_foreign(value: &[u8]) -> Self {
        let plain = |character: char| !character.is_control() || matches!(character, '\t' | '\n' | '\r');
        match std::str::from_utf8(value) {
            Ok(text) if text.chars().all(plain) => Self::Text,
            _ => Self::Bytes,
        }
    }

    /// Whether every value of it is UTF-8 without control characters.
    pub fn is_text(&self) -> bool {
        !matches!(self, Self::Bytes)
    }

    /// Whether every value of it stands in URLs, JSON, XML, shells and connection strings as it is.
    pub fn is_plain(&self) -> bool {
        let plain = |character: &char| {
            character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '~' | '-')
        };
        matches!(self, Self::Only(characters) if characters.iter().all(plain))
    }
}

/// What travels with a secret. Kept with a stored version, and given back with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Labels {
    /// Where it came from.
    pub origin: Origin,
    /// `text/plain`, `application/json`, `application/x-pem-file`, ...
    pub media_type: String,
    /// What it may hold.
    pub alphabet: Alphabet,
    /// Whether the guest may know the value, or all of its parts.
    #[serde(default)]
    pub known_to_guest: bool,
    /// Whether a part of it is a value that the guest may know.
    #[serde(default)]
    pub holds_known: bool,
    /// Where it may go at all.
    pub sinks: BTreeSet<Sink>,
    /// The one-way form that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derivation: Option<String>,
    /// What stands where in a composed JSON document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structure: Option<Structure>,
}

/// What the host knows about the places of a composed JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Structure {
    /// By JSON pointer.
    pub parts: BTreeMap<String, Part>,
    /// The document that it was made from by replacing parts; what is not in `parts` was parsed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Box<Labels>>,
}

/// What stands at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Text by a plugin: it knows it.
    Text,
    /// A secret that was inserted whole.
    Secret(Box<Labels>),
    /// A secret beside text, or in an encoding: neither text nor the secret that it was.
    Mixed,
}

impl Labels {
    fn new(origin: Origin, media_type: &str, alphabet: Alphabet, sinks: BTreeSet<Sink>) -> Self {
        Self {
            origin,
            media_type: media_type.to_owned(),
            alphabet,
            known_to_guest: false,
            holds_known: false,
            sinks,
            derivation: None,
            structure: None,
        }
    }

    /// Of a value from the host's generator: it may become anything.
    pub fn generated(media_type: &str, alphabet: Alphabet) -> Self {
        Self::new(Origin::Generated, media_type, alphabet, Sink::all())
    }

    /// Of a value that the target issued.
    pub fn captured(media_type: &str, alphabet: Alphabet) -> Self {
        Self::new(Origin::Captured, media_type, alphabet, Sink::all())
    }

    /// Of a version of the rotated secret that no plugin made.
    pub fn imported(media_type: &str, alphabet: Alphabet) -> Self {
        Self::new(Origin::Imported, media_type, alphabet, Sink::all())
    }

    /// Of bytes that the guest gave. Never a credential: not for a login, not for `pending` (rule H8).
    pub fn concealed(media_type: &str, alphabet: Alphabet) -> Self {
        let mut labels = Self::new(
            Origin::Concealed,
            media_type,
            alphabet,
            [Sink::State, Sink::Vault].into(),
        );
        labels.known_to_guest = true;
        labels.holds_known = true;
        labels
    }

    /// Of a one-way form.
    pub fn derived(base: &Self, algorithm: &str, alphabet: Alphabet) -> Self {
        let sinks = base
            .sinks
            .iter()
            .copied()
            .filter(|sink| matches!(sink, Sink::Target | Sink::State))
            .collect();
        let mut labels = Self::new(Origin::Derived, "text/plain", alphabet, sinks);
        labels.known_to_guest = base.known_to_guest;
        labels.holds_known = base.holds_known;
        labels.derivation = Some(algorithm.to_owned());
        labels
    }

    /// Of a composition: the union of what is bad, the intersection of where the parts may go. Text alone is known.
    pub fn composed<'l>(
        media_type: &str,
        alphabet: Alphabet,
        of: impl Iterator<Item = &'l Self> + Clone,
    ) -> Self {
        let mut sinks = Sink::all();
        for part in of.clone() {
            sinks = sinks.intersection(&part.sinks).copied().collect();
        }
        let mut labels = Self::new(Origin::Composed, media_type, alphabet, sinks);
        labels.known_to_guest = of.clone().all(|part| part.known_to_guest);
        labels.holds_known = labels.known_to_guest || of.clone().any(|part| part.holds_known);
        labels
    }

    /// Whether a plugin made all of it of what it knows. How it falls into parts then tells nothing.
    pub fn is_text_alone(&self) -> bool {
        self.origin == Origin::Composed && self.known_to_guest
    }

    /// The same, for a secret that this run may only log in and act with: an input, or another secret of a vault. It is never
    /// stored under another name (rule H9).
    #[must_use]
    pub fn for_use_only(mut self) -> Self {
        self.sinks
            .retain(|sink| matches!(sink, Sink::Target | Sink::Login | Sink::State));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composition_has_the_union_of_labels_and_the_intersection_of_sinks() {
        let generated = Labels::generated("text/plain", Alphabet::Text);
        let input = Labels::imported("text/plain", Alphabet::Text).for_use_only();
        let concealed = Labels::concealed("text/plain", Alphabet::Text);
        let composed = Labels::composed("text/plain", Alphabet::Text, [&generated, &input].into_iter());
        assert!(!composed.sinks.contains(&Sink::Pending) && composed.sinks.contains(&Sink::Target));
        assert!(!composed.holds_known);
        let tainted = Labels::composed("text/plain", Alphabet::Text, [&generated, &concealed].into_iter());
        assert!(tainted.holds_known && !tainted.known_to_guest);
        assert!(!tainted.sinks.contains(&Sink::Target));
    }

    #[test]
    fn text_alone_is_known_to_the_guest() {
        let labels = Labels::composed("text/plain", Alphabet::Text, std::iter::empty());
        assert!(labels.known_to_guest && labels.holds_known);
    }

    #[test]
    fn labels_survive_storage() {
        let base = Labels::generated("text/plain", Alphabet::of("abc"));
        let mut labels = Labels::composed("application/json", Alphabet::Text, [&base].into_iter());
        let parts = [
            ("/user".to_owned(), Part::Text),
            ("/password".to_owned(), Part::Secret(Box::new(base))),
        ];
        labels.structure = Some(Structure {
            parts: parts.into(),
            rest: None,
        });
        let text = serde_json::to_string(&labels).unwrap();
        assert_eq!(serde_json::from_str::<Labels>(&text).unwrap(), labels);
    }
}
