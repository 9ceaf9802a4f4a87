//! Labels of a secret: the capabilities' own form, kept whole in the vault's clear metadata.

use keywheel_capability::handle::{Alphabet, Labels, Origin};
use keywheel_model::{ErrorKind, StepError, Timestamp};
use keywheel_vault::{Labels as Kept, Metadata, Origin as KeptOrigin};

/// Where the capabilities' labels stand in the vault's.
const KEY: &str = "capability";

/// What is kept in clear with a value.
///
/// # Errors
/// Never for labels that a plugin can make; they are plain data.
pub(crate) fn metadata(labels: &Labels, expires: Option<Timestamp>) -> Result<Metadata, StepError> {
    let value = serde_json::to_value(labels)
        .map_err(|error| StepError::new(ErrorKind::Other, "host.labels", error.to_string()))?;
    let origin = match labels.origin {
        Origin::Generated => KeptOrigin::Generated,
        Origin::Captured => KeptOrigin::Captured,
        Origin::Imported => KeptOrigin::Imported,
        Origin::Composed | Origin::Derived => KeptOrigin::Composed,
        Origin::Concealed => KeptOrigin::Concealed,
    };
    let mut kept = Kept::new(origin);
    kept.known_to_guest = labels.known_to_guest;
    kept.tainted = labels.known_to_guest || labels.holds_known;
    kept.composed = !labels.origin.is_whole();
    kept.more.insert(KEY.to_owned(), value);
    Ok(Metadata {
        media_type: labels.media_type.clone(),
        expires,
        labels: kept,
        annotations: std::collections::BTreeMap::default(),
    })
}

/// The labels of a stored value. One without the capabilities' form was imported; what it may hold is looked at now.
///
/// # Errors
/// `vault.labels` when they cannot be read: a value without known labels goes nowhere.
pub(crate) fn labels(metadata: &Metadata, value: &[u8]) -> Result<Labels, StepError> {
    match metadata.labels.more.get(KEY) {
        Some(stored) => serde_json::from_value(stored.clone()).map_err(|_| {
            StepError::new(
                ErrorKind::Other,
                "vault.labels",
                "the labels of a stored secret cannot be read",
            )
        }),
        None => Ok(Labels::imported(
            &metadata.media_type,
            Alphabet::of_foreign(value),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_storage_and_taint_with_them() {
        let mut known = Labels::concealed("text/plain", Alphabet::Text);
        known.holds_known = true;
        let stored = metadata(&known, None).unwrap();
        assert!(stored.labels.tainted && stored.labels.composed);
        assert_eq!(labels(&stored, b"x").unwrap(), known);
    }

    #[test]
    fn a_value_without_labels_is_an_import_and_unreadable_labels_are_an_error() {
        let mut stored = Metadata::text(KeptOrigin::Imported);
        assert_eq!(labels(&stored, b"x").unwrap().origin, Origin::Imported);
        stored
            .labels
            .more
            .insert(KEY.to_owned(), serde_json::json!({"origin": "nonsense"}));
        assert_eq!(labels(&stored, b"x").unwrap_err().code, "vault.labels");
    }
}
