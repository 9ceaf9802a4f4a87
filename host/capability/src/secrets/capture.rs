use keywheel_model::SecretBytes;

use super::check_media_type;
use crate::error::Error;
use crate::handle::{Alphabet, Handle, Labels};
use crate::state::HostState;

impl HostState {
    /// A value that a target gave out: in the escrow before the guest hears of it, so that a crash cannot lose it. One that
    /// equals a live secret is that secret, with its labels (rule H9): else an echo would wash them off. Whether it does tells
    /// the guest that a target gave out what it had, which is what slots that are read again are compared for.
    ///
    /// # Errors
    /// `invalid` for a media type that is none; the escrow could not be written, and then the value is not to be used.
    pub(crate) async fn capture(
        &mut self,
        name: &str,
        value: SecretBytes,
        media_type: &str,
    ) -> Result<Handle, Error> {
        check_media_type(media_type)?;
        if let Some(known) = self.mask.live(&value) {
            return Ok(known);
        }
        let labels = Labels::captured(media_type, Alphabet::of_foreign(value.expose()));
        self.check_labels(&labels)?;
        self.clear_text(name, "the name of a captured value")?;
        let identity = self.step.port.escrow(name, &value, &labels).await?;
        let handle = Handle::stored(identity, value, labels, None);
        self.watch(&handle);
        Ok(handle)
    }
}
