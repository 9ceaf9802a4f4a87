//! The disk of the state: full, read-only, or about to be full. Then nothing is begun, and what is kept there cannot tell of it.

use keywheel_schedule::Zone;
use keywheel_store::Unwritable;

use crate::Error;
use crate::attention::attention;
use crate::engine::Engine;
use crate::view::Attention;

/// With less room than this a person is told: a day's rotations and their audit trail are some megabytes.
const LOW_BYTES: u64 = 32 << 20;

/// What a person is told past the outbox, which cannot be written then.
pub(crate) const UNWRITABLE: &str = "state-unwritable";

/// Where the time of a write stands that was only made to see whether there is room again.
const TRIED: &str = "written-to-try";

impl Engine {
    /// Since when nothing can be kept, and why; none while writes succeed.
    pub fn unwritable(&self) -> Option<Unwritable> {
        self.inner.store.unwritable()
    }

    /// Writes something of no use. Once that is kept, [`Engine::unwritable`] is none again.
    pub(crate) async fn try_to_write(&self) -> Result<(), Error> {
        let now = self.inner.clock.now().to_string();
        let store = &self.inner.store;
        store
            .write(move |tx| Ok::<_, Error>(tx.set_meta(TRIED, &now)?))
            .await
    }

    pub(crate) fn attention_of_disk(&self) -> Option<Attention> {
        let dir = self.inner.config.state_dir.display();
        if let Some(unwritable) = self.unwritable() {
            let Unwritable { since, words, .. } = unwritable;
            let since = Zone::UTC.show(since);
            let what = format!("nothing can be kept since {since}, and nothing is begun: {words}");
            let way_out = format!(
                "make room where \"{dir}\" is, or let it be written again: the host goes on by itself"
            );
            return Some(attention(UNWRITABLE, "state", &what, &way_out));
        }
        let left = room(&self.inner.config.state_dir)?;
        (left < LOW_BYTES).then(|| {
            let what = format!(
                "{} MiB are left for \"{dir}\": without room nothing is rotated",
                left >> 20
            );
            attention("disk-low", "state", &what, "make room there")
        })
    }
}

/// What is left for us on the disk, in bytes; none where it does not say.
fn room(dir: &std::path::Path) -> Option<u64> {
    let said = rustix::fs::statvfs(dir).ok()?;
    (said.f_blocks > 0).then(|| said.f_bavail.saturating_mul(said.f_frsize))
}
