//! Nothing that a guest reads or writes holds a live secret, in any usual encoding.
//!
//! Order (rules H4 and H5): the caller cuts an answer down to what is declared, then has it scanned whole, then bounds its
//! length. A hit withholds all of it and ends the call. A stream is held back by length, never by what is in it: how much of
//! it comes through says nothing about the secret.
//!
//! One-way forms are not scanned for: targets list them. Values shorter than [`MIN_SCANNED_BYTES`] are not either: they are in
//! every answer, and no secret to speak of. Nor is an imported one that anybody would write without knowing it: a plain word
//! ([`is_weak`]), or what stands in the plugin's own configuration. A value that was generated or captured always is.

mod forms;
mod shown;
mod twice;
mod weak;

use keywheel_model::SecretBytes;

use crate::document::Format;
use crate::error::{Error, Stop};
use crate::handle::{Handle, Labels, Origin, Part};
use crate::state::HostState;

pub use shown::{Hit, Shown};
pub use twice::{copies, doubled};
pub use weak::{holds_weak, is_weak};

/// The shortest value that is scanned for, in bytes.
pub const MIN_SCANNED_BYTES: usize = 4;
/// What stands in the place of a text that held a live secret.
pub(crate) const WITHHELD: &str = "[withheld: it held a live secret]";
/// The longest text by a guest that is kept anywhere, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Every live secret of one call.
#[derive(Default)]
pub struct Mask {
    handles: Vec<Handle>,
    watched: Vec<Watched>,
    longest: usize,
    configuration: Vec<u8>,
}

struct Watched {
    id: String,
    known: bool,
    patterns: Vec<Vec<u8>>,
}

impl Mask {
    /// For a plugin that was given this configuration.
    pub fn beside(configuration: &serde_json::Value) -> Self {
        Self {
            configuration: configuration.to_string().into_bytes(),
            ..Self::default()
        }
    }

    /// Scans for a secret from now on; for a composed document also for the secrets in it.
    pub fn watch(&mut self, handle: &Handle) {
        let labels = handle.labels();
        if labels.origin == Origin::Derived || self.handles.iter().any(|watched| watched.id() == handle.id())
        {
            return;
        }
        self.handles.push(handle.clone());
        let value = handle.value().expose();
        self.watch_value(handle.id(), labels, value);
        let parts = labels.structure.iter().flat_map(|structure| &structure.parts);
        let Some(format) = Format::of(labels) else { return };
        for (pointer, part) in parts {
            let Part::Secret(labels) = part else { continue };
            let forms = [
                format.value_at(value, pointer).ok(),
                format.written_at(value, pointer),
            ];
            for form in forms.into_iter().flatten() {
                self.watch_value(&format!("{}#{pointer}", handle.id()), labels, form.expose());
            }
        }
    }

    /// Scans for a part as it is written in its document, too.
    pub(crate) fn watch_written(&mut self, part: &Handle, written: &SecretBytes) {
        self.watch_value(part.id(), part.labels(), written.expose());
    }

    fn watch_value(&mut self, id: &str, labels: &Labels, value: &[u8]) {
        let is_imported = labels.origin == Origin::Imported;
        if value.len() < MIN_SCANNED_BYTES || is_imported && is_weak(value) {
            return;
        }
        let known = labels.known_to_guest;
        let patterns = forms::of(value);
        // A part is asked for again and again.
        let is_watched = |watched: &Watched| watched.id == id && watched.patterns == patterns;
        if self.watched.iter().any(is_watched) {
            return;
        }
        if is_imported && patterns.iter().any(|form| holds(&self.configuration, form)) {
            return;
        }
        self.longest = patterns.iter().map(Vec::len).fold(self.longest, usize::max);
        self.watched.push(Watched {
            id: id.to_owned(),
            known,
            patterns,
        });
    }

    /// Ids of the secrets in it that the guest may not know. Line breaks are looked over: base64 is often cut into lines.
    pub fn find(&self, text: &[u8]) -> Vec<String> {
        let mut found = self.find_in(text);
        if memchr::memchr2(b'\n', b'\r', text).is_some() {
            let joined: Vec<u8> = text
                .iter()
                .copied()
                .filter(|byte| !b"\r\n".contains(byte))
                .collect();
            found.extend(
                self.find_in(&joined)
                    .into_iter()
                    .filter(|id| !found.contains(id))
                    .collect::<Vec<_>>(),
            );
        }
        found
    }

    fn find_in(&self, text: &[u8]) -> Vec<String> {
        let hit = |watched: &&Watched| {
            !watched.known && watched.patterns.iter().any(|pattern| holds(text, pattern))
        };
        let mut found: Vec<String> = Vec::new();
        for watched in self.watched.iter().filter(hit) {
            if !found.contains(&watched.id) {
                found.push(watched.id.clone());
            }
        }
        found
    }

    /// The text with every value that the guest may know shown as `***`: it does not go into logs either.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in self
            .watched
            .iter()
            .filter(|watched| watched.known)
            .flat_map(|watched| &watched.patterns)
        {
            if let Ok(needle) = std::str::from_utf8(pattern) {
                text = text.replace(needle, "***");
            }
        }
        text
    }

    /// The end of a text by somebody else, as it may be logged, journalled or shown: looked through whole, then cut; none of it where a live secret is in it.
    pub fn shown(&self, text: &[u8], limit_bytes: usize) -> String {
        if !self.find(text).is_empty() {
            return WITHHELD.to_owned();
        }
        let text = printable(&self.redact(&String::from_utf8_lossy(text)));
        let text = text.trim();
        let least = text.len().saturating_sub(limit_bytes);
        let start = (least..=text.len()).find(|at| text.is_char_boundary(*at));
        text[start.unwrap_or(0)..].to_owned()
    }

    /// The live secret that has a value.
    pub(crate) fn live(&self, value: &SecretBytes) -> Option<Handle> {
        self.handles
            .iter()
            .find(|handle| handle.value().same_as(value))
            .cloned()
    }

    /// What a stream is held back by, in bytes that are no line breaks: the longest form of any secret, and the characters before it that
    /// hold the first bits of it in base64.
    pub fn window(&self) -> usize {
        if self.longest == 0 { 0 } else { self.longest + 4 }
    }
}

/// A searcher is made for each search: most texts are shorter than any secret, and need none.
fn holds(text: &[u8], form: &[u8]) -> bool {
    text.len() >= form.len() && memchr::memmem::find(text, form).is_some()
}

/// What was found, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflected {
    /// Ids of the secrets.
    pub secrets: Vec<String>,
    /// In what.
    pub place: String,
}

impl HostState {
    /// Scans an answer before the guest gets it. `place` says what it is, for the audit trail.
    ///
    /// # Errors
    /// [`Stop::Reflection`]: none of it may be shown, and the call ends.
    pub fn clear_bytes(&mut self, answer: &[u8], place: &str) -> Result<(), Error> {
        let secrets = self.mask.find(answer);
        if secrets.is_empty() {
            return Ok(());
        }
        self.report.reflected = Some(Reflected {
            secrets,
            place: place.to_owned(),
        });
        Err(self.stop(Stop::Reflection))
    }

    /// The same for text.
    ///
    /// # Errors
    /// [`Stop::Reflection`].
    pub fn clear_text(&mut self, answer: &str, place: &str) -> Result<(), Error> {
        self.clear_bytes(answer.as_bytes(), place)
    }

    /// The same for an answer in cells: each by itself, and all of them joined, so that a value that a statement cut into
    /// characters is found too.
    ///
    /// # Errors
    /// [`Stop::Reflection`].
    pub fn clear_cells<'c>(
        &mut self,
        cells: impl IntoIterator<Item = &'c [u8]>,
        place: &str,
    ) -> Result<(), Error> {
        let mut joined = Vec::new();
        for cell in cells {
            self.clear_bytes(cell, place)?;
            joined.extend_from_slice(cell);
        }
        self.clear_bytes(&joined, place)
    }

    /// A text by the guest as it may be logged, journalled or shown: scanned, without control characters, bounded.
    ///
    /// # Errors
    /// [`Stop::Reflection`].
    pub fn guest_text(&mut self, text: &str, place: &str) -> Result<String, Error> {
        self.clear_text(text, place)?;
        Ok(bounded(&printable(&self.mask.redact(text)), MAX_TEXT_BYTES))
    }

    /// The same, for what a guest left behind when its call had ended: what holds a secret is replaced.
    pub fn last_words(&mut self, text: &str, place: &str) -> String {
        self.guest_text(text, place)
            .unwrap_or_else(|_withheld| WITHHELD.to_owned())
    }
}

/// Without control characters (they would move a terminal's cursor) and without marks that reorder text.
fn printable(text: &str) -> String {
    let odd = |character: char| {
        character.is_control() && !matches!(character, '\n' | '\t')
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|character| if odd(character) { '\u{fffd}' } else { character })
        .collect()
}

/// Cut at a character's border.
fn bounded(text: &str, limit_bytes: usize) -> String {
    if text.len() <= limit_bytes {
        return text.to_owned();
    }
    let mark = "…";
    let end = (0..=limit_bytes - mark.len())
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}{mark}", &text[..end])
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::handle::Alphabet;

    const VALUE: &str = "pl/nted+7f3\"<q>&w";

    fn mask() -> Mask {
        let mut mask = Mask::default();
        let labels = Labels::imported("text/plain", Alphabet::Text);
        mask.watch(&Handle::stored(
            "ver-1".to_owned(),
            SecretBytes::copy_of(VALUE.as_bytes()),
            labels,
            None,
        ));
        mask
    }

    fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
        bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_usual_encoding_is_found() {
        let mask = mask();
        let utf16: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16_be: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let percent: String = VALUE.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut forms: Vec<Vec<u8>> = vec![
            VALUE.into(),
            hex(VALUE.bytes()).into(),
            hex(VALUE.bytes()).to_uppercase().into(),
            percent.to_lowercase().into(),
            percent.into(),
            b"pl%2Fnted%2B7f3%22%3Cq%3E%26w".into(),
            b"pl%2fnted%2b7f3%22%3cq%3e%26w".into(),
            serde_json::to_string(VALUE).unwrap().into(),
            b"pl\\/nted+7f3\\\"<q>&w".into(),
            b"pl/nted+7f3\\\"\\u003cq\\u003e\\u0026w".into(),
            b"pl/nted+7f3&quot;&lt;q&gt;&amp;w".into(),
            utf16,
            utf16_be,
            VALUE.chars().rev().collect::<String>().into(),
        ];
        for before in ["", "a", "ab"] {
            for engine in [
                base64::engine::general_purpose::STANDARD,
                base64::engine::general_purpose::URL_SAFE,
            ] {
                forms.push(engine.encode(format!("{before}{VALUE}zz")).into());
            }
        }
        for form in forms {
            let answer = [b"before ".as_slice(), &form, b" after"].concat();
            assert_eq!(
                mask.find(&answer),
                ["ver-1"],
                "{}",
                String::from_utf8_lossy(&form)
            );
        }
        let coded = base64::engine::general_purpose::STANDARD.encode(VALUE);
        for cut in ["\n", "\r\n"] {
            assert_eq!(
                mask.find(format!("{}{cut}{}", &coded[..7], &coded[7..]).as_bytes()),
                ["ver-1"]
            );
        }
        assert!(mask.find(b"an answer that holds nothing of it").is_empty());
    }

    #[test]
    fn an_imported_word_is_not_scanned_for_and_a_generated_value_always_is() {
        let configuration = serde_json::json!({"role": "shop-eu-1-production"});
        let found = |value: &str, labels: Labels| {
            let mut mask = Mask::beside(&configuration);
            mask.watch(&Handle::stored(
                "ver-1".to_owned(),
                SecretBytes::copy_of(value.as_bytes()),
                labels,
                None,
            ));
            !mask
                .find(format!("the role {value} is no superuser").as_bytes())
                .is_empty()
        };
        for value in ["shop", "superuser", "shop-eu-1-production", "eu-1-production"] {
            assert!(
                !found(value, Labels::imported("text/plain", Alphabet::Text)),
                "{value}"
            );
            assert!(
                found(value, Labels::generated("text/plain", Alphabet::Text)),
                "{value}"
            );
        }
        assert!(found(
            "shop-eu-2-production",
            Labels::imported("text/plain", Alphabet::Text)
        ));
    }

    #[test]
    fn one_way_forms_are_not_scanned_for() {
        let mut mask = Mask::default();
        let base = Labels::imported("text/plain", Alphabet::Text);
        let hash = SecretBytes::copy_of(b"0123456789abcdef");
        let labels = Labels::derived(&base, "redis.sha256", Alphabet::of("0123456789abcdef"));
        let base = Handle::stored("ver-1".to_owned(), SecretBytes::copy_of(b"planted"), base, None);
        mask.watch(&Handle::derived(hash, labels, &base));
        assert!(mask.find(b"#0123456789abcdef").is_empty());
    }

    #[test]
    fn what_the_guest_knows_is_replaced_in_its_logs() {
        let mut mask = Mask::default();
        let labels = Labels::concealed("text/plain", Alphabet::Text);
        mask.watch(&Handle::concealed(SecretBytes::copy_of(b"known-to-it"), labels));
        assert!(mask.find(b"known-to-it").is_empty());
        assert_eq!(mask.redact("got known-to-it"), "got ***");
    }

    #[test]
    fn a_long_value_is_found_by_its_pieces() {
        let value: Vec<u8> = (0..10_000_u32)
            .flat_map(|number| number.to_string().into_bytes())
            .collect();
        let mut mask = Mask::default();
        let labels = Labels::imported("text/plain", Alphabet::Text);
        mask.watch(&Handle::stored(
            "ver-9".to_owned(),
            SecretBytes::copy_of(&value),
            labels,
            None,
        ));
        assert_eq!(mask.find(&value[5_000..6_000]), ["ver-9"]);
        assert!(mask.window() < 1_000);
    }

    #[test]
    fn text_is_cut_at_a_characters_border_and_loses_control_characters() {
        assert_eq!(bounded("äöü", 6), "äöü");
        assert_eq!(bounded("äöüß", 7), "äö…");
        assert_eq!(printable("a\u{1b}[31mb\u{202e}"), "a\u{fffd}[31mb\u{fffd}");
    }
}
