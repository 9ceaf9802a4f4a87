//! What a call has read already: it sees one state of the vault, but for what it writes itself, and no version is read twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keywheel_model::{SecretBytes, SecretName, VersionId};
use keywheel_vault::Head;

/// For as long as the call lasts.
#[derive(Default)]
pub(super) struct Seen {
    heads: Mutex<BTreeMap<SecretName, Arc<Head>>>,
    /// A version's value never changes.
    values: Mutex<BTreeMap<VersionId, SecretBytes>>,
}

impl Seen {
    pub(super) fn head(&self, name: &SecretName) -> Option<Arc<Head>> {
        lock(&self.heads).get(name).map(Arc::clone)
    }

    pub(super) fn note_head(&self, head: Head) -> Arc<Head> {
        let head = Arc::new(head);
        lock(&self.heads).insert(head.name.clone(), Arc::clone(&head));
        head
    }

    pub(super) fn value(&self, version: &VersionId) -> Option<SecretBytes> {
        lock(&self.values).get(version).map(SecretBytes::duplicate)
    }

    pub(super) fn note_value(&self, version: VersionId, value: SecretBytes) {
        lock(&self.values).insert(version, value);
    }

    /// The call has written: versions and their stages are others now.
    pub(super) fn forget_heads(&self) {
        lock(&self.heads).clear();
    }
}

/// Each change is one insertion: a panic elsewhere leaves nothing half done.
fn lock<T>(seen: &Mutex<T>) -> MutexGuard<'_, T> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
