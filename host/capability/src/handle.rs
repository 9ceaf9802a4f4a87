//! Opaque secrets. A handle is a reference to a value in the host's memory and the labels that say where it came from and
//! where it may go; a guest can change neither.

mod labels;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keywheel_model::{SecretBytes, SecretName, Timestamp};

pub use labels::{Alphabet, Labels, Origin, Part, Sink, Structure};

/// A secret in the hands of a guest. Cloning gives a second reference to the same value.
#[derive(Clone)]
pub struct Handle(Arc<Secret>);

struct Secret {
    id: String,
    value: SecretBytes,
    labels: Labels,
    stored: Option<StoredAt>,
    /// Generated values that must be durable before this one may reach a target.
    awaits: Vec<Durable>,
    /// Those of them that this value holds whole, so that storing it makes them durable. A one-way form holds none.
    holds: Vec<Durable>,
    /// Pieces that were inserted whole, by JSON pointer.
    pieces: BTreeMap<String, Handle>,
}

/// Where a stored secret lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAt {
    /// Its name in the vault.
    pub name: SecretName,
    /// The version's id.
    pub version: String,
    /// When the version was made.
    pub created_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// The mark of a generated value: whether a crash of the host would lose it.
#[derive(Clone, Default)]
struct Durable(Arc<AtomicBool>);

impl Handle {
    /// A value that lies in a vault, the escrow or a run's secret state already. `id` is the same for every handle on it.
    pub fn stored(id: String, value: SecretBytes, labels: Labels, stored: Option<StoredAt>) -> Self {
        Self::from(Secret {
            id,
            value,
            labels,
            stored,
            awaits: Vec::new(),
            holds: Vec::new(),
            pieces: BTreeMap::new(),
        })
    }

    /// A value that exists in this process only. Every sink to a target refuses it until it is stored.
    pub fn generated(value: SecretBytes, labels: Labels) -> Self {
        let mark = Durable::default();
        let (awaits, holds) = (vec![mark.clone()], vec![mark]);
        Self::from(Secret {
            id: fresh_id(),
            value,
            labels,
            stored: None,
            awaits,
            holds,
            pieces: BTreeMap::new(),
        })
    }

    /// Bytes that the guest had already.
    pub fn concealed(value: SecretBytes, labels: Labels) -> Self {
        Self::stored(fresh_id(), value, labels, None)
    }

    /// A value that was built of others. It is as durable as the least durable of them.
    pub fn composed(
        value: SecretBytes,
        labels: Labels,
        of: &[Handle],
        pieces: BTreeMap<String, Handle>,
    ) -> Self {
        let awaits = of.iter().flat_map(|part| part.0.awaits.iter().cloned()).collect();
        let holds = of.iter().flat_map(|part| part.0.holds.iter().cloned()).collect();
        Self::from(Secret {
            id: fresh_id(),
            value,
            labels,
            stored: None,
            awaits,
            holds,
            pieces,
        })
    }

    /// A one-way form. It waits for its base to be durable, and storing it does not make the base so.
    pub fn derived(value: SecretBytes, labels: Labels, base: &Handle) -> Self {
        let awaits = base.0.awaits.clone();
        Self::from(Secret {
            id: fresh_id(),
            value,
            labels,
            stored: None,
            awaits,
            holds: Vec::new(),
            pieces: BTreeMap::new(),
        })
    }

    /// A piece of a stored secret, as the secret that it was.
    pub fn part_of(whole: &Handle, pointer: &str, value: SecretBytes, labels: Labels) -> Self {
        let whole = &whole.0;
        Self::from(Secret {
            id: format!("{}#{pointer}", whole.id),
            value,
            labels,
            stored: whole.stored.clone(),
            awaits: whole.awaits.clone(),
            holds: Vec::new(),
            pieces: BTreeMap::new(),
        })
    }

    /// Stable, safe to log: of a stored version its own id, else random. Never derived from the value.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The value. Call it only where a secret enters a sink, and never keep what it returns.
    pub fn value(&self) -> &SecretBytes {
        &self.0.value
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.0.labels
    }

    /// Where it lies, for a secret that came from a vault.
    pub fn stored_at(&self) -> Option<&StoredAt> {
        self.0.stored.as_ref()
    }

    /// The piece that was inserted whole at a JSON pointer in this process.
    pub fn piece(&self, pointer: &str) -> Option<&Handle> {
        self.0.pieces.get(pointer)
    }

    /// All pieces that were inserted whole in this process.
    pub fn pieces(&self) -> &BTreeMap<String, Handle> {
        &self.0.pieces
    }

    /// Whether nothing of it would be lost by a crash of the host.
    pub fn is_durable(&self) -> bool {
        self.0.awaits.iter().all(|mark| mark.0.load(Ordering::Acquire))
    }

    /// Notes that the value is stored, and with it every generated value that it holds.
    pub fn mark_durable(&self) {
        for mark in &self.0.holds {
            mark.0.store(true, Ordering::Release);
        }
    }
}

impl From<Secret> for Handle {
    fn from(secret: Secret) -> Self {
        Self(Arc::new(secret))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.0.id)
    }
}

/// 128 random bits: an id that says nothing about the value.
fn fresh_id() -> String {
    format!("sec-{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> SecretBytes {
        SecretBytes::copy_of(b"planted-value")
    }

    #[test]
    fn a_generated_value_and_what_is_made_of_it_wait_until_it_is_stored() {
        let base = Handle::generated(value(), Labels::generated("text/plain", Alphabet::Text));
        let composed = Handle::composed(
            value(),
            Labels::generated("text/plain", Alphabet::Text),
            std::slice::from_ref(&base),
            BTreeMap::new(),
        );
        let derived = Handle::derived(value(), Labels::generated("text/plain", Alphabet::Text), &base);
        assert!(!base.is_durable() && !composed.is_durable() && !derived.is_durable());
        composed.mark_durable();
        assert!(base.is_durable() && composed.is_durable() && derived.is_durable());
    }

    #[test]
    fn storing_a_one_way_form_does_not_make_its_base_durable() {
        let base = Handle::generated(value(), Labels::generated("text/plain", Alphabet::Text));
        Handle::derived(value(), Labels::generated("text/plain", Alphabet::Text), &base).mark_durable();
        assert!(!base.is_durable());
    }

    #[test]
    fn debug_shows_the_id_only() {
        let handle = Handle::stored(
            "ver-1".to_owned(),
            value(),
            Labels::imported("text/plain", Alphabet::Text),
            None,
        );
        assert_eq!(format!("{handle:?}"), "Handle(ver-1)");
    }
}
