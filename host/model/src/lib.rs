//! The words everything else speaks: names, ids, hosts, stages, steps, slot classes, effects and errors' shared kinds. Pure: no I/O, no async, no clock of its own.

#![forbid(unsafe_code)]

pub mod address;
mod clock;
mod error;
mod id;
mod name;
mod secret;
mod slot;
mod socket;
mod step;
mod version;

pub use clock::{Clock, Timestamp};
pub use error::{Effect, ErrorKind, StepError};
pub use id::{Epoch, Fence, ParseIdError, RunId, VersionId};
pub use name::{NameError, PluginName, RotationName, SecretName};
pub use secret::SecretBytes;
pub use slot::{Proof, SlotClass, Strategy};
pub use socket::SocketFolder;
pub use step::{Outcome, Role, Safety, StepName, Trigger, Verdict};
pub use version::Stage;
