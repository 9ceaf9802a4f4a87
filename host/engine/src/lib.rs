//! The embedded engine: drives the workflow over store, vault and plugins. The only crate that knows them all.
//!
//! **Invariant:** a state is durable before its effect begins, where the machine says that the effect needs it. **Invariant:** an
//! effect that can change something begins under a live fence, checked in the transaction that makes the state durable.

#![forbid(unsafe_code)]

mod actor;
mod attention;
mod back;
mod backed_up;
mod backup;
mod capabilities;
mod check;
mod clock;
mod drift;
mod driver;
mod due;
mod engine;
mod error;
mod given_up;
mod glance;
mod grants;
mod hosts;
mod inputs;
mod inspect;
mod interrupted;
mod journal;
mod keeper;
mod labels;
mod measured;
mod observe;
mod ours;
mod paused;
mod perform;
mod pinned;
mod plan;
mod plugins;
mod port;
mod principal;
mod removed;
mod restore;
mod runs;
mod secrets;
mod settings;
mod setup;
mod shown;
mod slots;
mod standing;
mod takeover;
mod teller;
mod trail;
mod trust;
mod turns;
mod twice;
mod untried;
pub mod view;
mod words;

pub use actor::{acting_as, of_user};
pub use back::RolledBack;
pub use backup::{BackupView, Restore, RestoredView};
pub use check::check_settings;
pub use clock::SystemClock;
pub use drift::{DriftView, Found};
pub use driver::{Left, Stop, Stopper};
pub use engine::Engine;
pub use error::Error;
pub use hosts::wants_plaintext;
pub use keeper::Keeper;
pub use keywheel_audit::{Exported, PublicKey};
pub use keywheel_capability::refuse::OFFERED_CAPABILITIES;
pub use keywheel_metrics::{MEDIA_TYPE, Metrics, Snapshot};
pub use keywheel_plugin::{Addition, Listed, Status};
pub use keywheel_vault::{NewSlot, RecoveryIdentity, Unlock};
pub use keywheel_workflow::{DescribedStep, Description, RunWord, State, Trouble, describe};
pub use observe::{Observer, Patience, Silent, Wait};
pub use ours::open_to_others;
pub use paused::Paused;
pub use removed::runs_without_rotation;
pub use runs::{Order, Wish};
pub use secrets::{Import, Imported};
pub use setup::{Begun, Setup, SetupDone};
pub use slots::RewrappedView;
pub use teller::Teller;
pub use trail::{AuditQuery, AuditReport, SignedCheckpoint, UnknownName};
pub use trust::examine_trust_file;
pub use words::{KEY_FILE_IS_GONE, NEEDS_PASSPHRASE, way_past};
